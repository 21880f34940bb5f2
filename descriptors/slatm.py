"""SLATM: spectra of London and Axilrod-Teller-Muto potentials."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_positive
from kernchem.descriptors import slatm_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.pairs import element_kinds, pair_name, point_names
from kernchem.descriptors.radii import element_numbers
from kernchem.elements import formula, symbol
from kernchem.environments import Environments
from kernchem.errors import LayoutError, SettingError
from kernchem.structures import Structures

__all__ = ["SLATM"]

_Array = npt.NDArray[np.float64]
_Type = tuple[int, ...]

# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 32
# The first distance of the grid, angstrom, and how far the angles reach beyond 0 and pi: those of
# the first implementation.
_R_FIRST = 0.1
_MARGIN = math.radians(20.0)
# A Gaussian is cut off this many widths from its centre: exp(-8.9^2 / 2) = 6e-18. Distances are
# weighted with r^-6, so that the near tail counts for more.
_REACH = 8.9
_REACH_R = 10.0
# Widths from a fifth of the step of the grid, below which Gaussians fall between its points, up
# to the length of the grid; so many points per spectrum, and such a power, at most.
_NARROWEST = 0.2
_MOST_POINTS = 10_000
_LARGEST_POWER = 30.0
# More atoms of one element than this make no other types.
_MOST = 3


class SLATM(Descriptor):
    r"""SLATM: spectra of London and Axilrod-Teller-Muto potentials, per molecule or per atom.

    There is one number per element, one spectrum of distances per pair of elements and one of
    angles per triple, in which the element at the corner is told apart. With
    :math:`g_\sigma(x) = \exp(-x^2 / (2 \sigma^2)) / (\sigma \sqrt{2 \pi})`

    .. math::
        F_A &= Z_A n_A \\
        F_{AB}(r) &= \Delta_r \sum_{ij} Z_i Z_j\, r^{-p}\, g_{\sigma_r}(r - r_{ij}) \\
        F_{ABC}(\theta) &= \Delta_\theta \sum_{ijk} Z_i Z_j Z_k
            \frac{1 + \cos\theta \cos\theta_i \cos\theta_k}{3\, (r_{ij} r_{jk} r_{ik})^3}\,
            g_{\sigma_\theta}(\theta - \theta_j)

    over the :math:`n_A` atoms, the pairs and the triangles of these elements, :math:`\theta_j` the
    angle at atom j, of element B. Each pair counts once, and each triangle once at each of its
    corners; the sides of all are shorter than ``r_cut``. With ``per_atom`` an atom has its own Z,
    half of its pairs, and the angles at whose corner it is: the rows of a molecule's atoms sum to
    the row of the molecule.

    Parameters
    ----------
    per_atom : bool, default False
        One row of features per atom instead of one per molecule.
    elements : sequence of str or int, optional
        Symbols or atomic numbers of elements whose pairs and triples all have columns; by default
        those that occur together in a molecule in ``fit``.
    r_cut : float, default 4.8
        Longest side of a pair or triangle, angstrom.
    sigma_r, sigma_theta : float, default 0.05
        Widths of the Gaussians, angstrom and radian.
    step_r, step_theta : float, default 0.03
        Spacing of the grids and weight of the spectra, angstrom and radian.
    power : float, default 6.0
        Power of the inverse distance; 6 is London's.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    types_ : list of tuple of int
        Atomic numbers of each type: one, two, or three with the corner in the middle.
    distances_ : array (n_distances,)
        The grid from 0.1 angstrom to ``r_cut``.
    angles_ : array (n_angles,)
        The grid from -20 to 200 degrees, in radian.
    elements_ : tuple of int
        Atomic numbers in the layout.
    n_features_out_ : int
        One per element, ``n_distances`` per pair and ``n_angles`` per triple.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have.
    LayoutError
        By ``transform``, if a molecule brings together elements as none did in ``fit``; never with
        ``elements``.

    Notes
    -----
    The usual spectra have 157 and 128 points, so that five elements make up to 12,000 columns: 7101
    molecules of QM7 take 0.6 GB in float64, and 15 times as much per atom (zeros that were never
    written need no memory). Peak memory of ``transform``: the output, 8 bytes per number, 50 bytes
    per atom, and for each thread 40 bytes per atom of the largest molecule. Cost O(n k^2) per
    molecule of n atoms with k neighbours.

    The numbers are those of qmllib (``generate_slatm`` with ``mbtypes=types_``) to rounding, but
    for atoms on a line, whose angle it takes from an arc cosine that is good to 1e-8. Like there
    the grids end at ``r_cut`` and at 200 degrees, so that their spacing is a little wider than the
    step that weights the spectra; normalised Gaussians add up to one per pair only up to that.
    Gaussians are cut off where they are below 1e-17 of their height.

    Features jump where a side grows past ``r_cut``, and have a kink where three atoms pass through
    a line. They do not change under reflection.

    A Gaussian kernel needs a large length scale, 8 to 16 times the median distance, on small
    organic molecules.

    References
    ----------
    .. [1] B. Huang, O. A. von Lilienfeld, Nat. Chem. 12, 945 (2020),
       https://doi.org/10.1038/s41557-020-0527-z
    .. [2] B. Huang, N. O. Symonds, O. A. von Lilienfeld, in Handbook of Materials Modeling (2018),
       https://doi.org/10.1007/978-3-319-42913-7_67-1

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = SLATM().fit([molecule("H2O"), molecule("CO")])
    >>> descriptor.types_
    [(1,), (6,), (8,), (1, 1), (1, 8), (6, 8), (1, 1, 8), (1, 8, 1)]
    >>> features = descriptor.transform(molecule("H2O"))
    >>> features.shape, features[0, :3].tolist()
    ((1, 730), [2.0, 0.0, 8.0])
    """

    citation = (
        "B. Huang, O. A. von Lilienfeld, Quantum machine learning using atom-in-molecule-based "
        "fragments selected on the fly, Nat. Chem. 12, 945 (2020), "
        "https://doi.org/10.1038/s41557-020-0527-z"
    )
    recommended_kernel = "gaussian"

    def __init__(
        self,
        per_atom: bool = False,
        *,
        elements: Sequence[str | int] | None = None,
        r_cut: float = 4.8,
        sigma_r: float = 0.05,
        sigma_theta: float = 0.05,
        step_r: float = 0.03,
        step_theta: float = 0.03,
        power: float = 6.0,
        n_jobs: int | None = None,
    ) -> None:
        self.per_atom = per_atom
        self.elements = elements
        self.r_cut = r_cut
        self.sigma_r = sigma_r
        self.sigma_theta = sigma_theta
        self.step_r = step_r
        self.step_theta = step_theta
        self.power = power
        self.n_jobs = n_jobs

    @property
    def local(self) -> bool:
        """Whether there is one row per atom: with ``per_atom``."""
        return self.per_atom is True

    def _learn(self, structures: Structures) -> None:
        if not isinstance(self.per_atom, bool):
            raise SettingError(f"per_atom={self.per_atom!r} must be True or False")
        for name in ("r_cut", "sigma_r", "sigma_theta", "step_r", "step_theta", "power"):
            value = getattr(self, name)
            if not is_positive(value):
                raise SettingError(f"{name}={value!r} must be a finite number above 0")
        self.distances_ = _grid(_R_FIRST, self.r_cut, self.step_r, "step_r")
        self.angles_ = _grid(-_MARGIN, math.pi + _MARGIN, self.step_theta, "step_theta")
        _require_width(self.distances_, self.sigma_r, "sigma_r", self.step_r, "step_r")
        _require_width(self.angles_, self.sigma_theta, "sigma_theta", self.step_theta, "step_theta")
        if self.power > _LARGEST_POWER:
            raise SettingError(f"power={self.power!r}; give {_LARGEST_POWER:g} at most")
        if self.elements is None:
            self._set_types(set().union(*_types_of(structures)[0]))
            return
        self.elements_ = element_numbers(self.elements)
        self._require_known_elements(structures)
        self._set_types(_combinations(dict.fromkeys(self.elements_, _MOST)))

    def _set_types(self, types: Iterable[_Type]) -> None:
        """Lay out these types: elements, pairs, then triples by the element at the corner."""
        self.types_ = sorted(types, key=lambda t: (len(t), t[1:2] if len(t) == 3 else (), t))
        self.n_features_out_ = sum(self._widths())

    def _widths(self) -> list[int]:
        """Return the number of columns of each type."""
        widths = (1, len(self.distances_), len(self.angles_))
        return [widths[len(members) - 1] for members in self.types_]

    def _require_fit(self, structures: Structures) -> None:
        if self.elements is not None:
            return
        types, owners = _types_of(structures)
        known = set(self.types_)
        missing = np.array([not found <= known for found in types], dtype=bool)[owners]
        if not missing.any():
            return
        k = int(np.flatnonzero(missing)[0])
        names = sorted(_name(members) for members in types[owners[k]] - known)
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        owner = (
            ", or let an estimator own the descriptor, which then widens it: "
            "KRR(descriptor=SLATM())"
        )
        raise LayoutError(
            f"structure {k} ({formula(structures[k].numbers)}) has {shown}, which no molecule had "
            f"that SLATM was fitted on ({missing.sum()} such structures in all); pass "
            f"elements={[symbol(number) for number in self.elements_]} for all types of them"
            + ("" if self.local else owner)
        )

    def _widen(self, structures: Structures) -> tuple[Descriptor, npt.NDArray[np.int64]]:
        wider = copy.copy(self)
        if self.elements is None:
            wider._set_types(set(self.types_).union(*_types_of(structures)[0]))
        starts = dict(zip(wider.types_, _starts(wider._widths()), strict=True))
        moved = np.array([starts[members] for members in self.types_], dtype=np.int64)
        widths = self._widths()
        columns = np.arange(self.n_features_out_) + np.repeat(moved - _starts(widths), widths)
        return (wider if len(wider.types_) > len(self.types_) else self), columns

    def _compute(self, structures: Structures) -> _Array | Environments:
        n_rows = len(structures.numbers) if self.local else len(structures)
        out = np.zeros((n_rows, self.n_features_out_))
        kinds = element_kinds(structures.numbers, self.elements_)
        charges = np.array(self.elements_, dtype=np.float64)
        starts_1, starts_2, starts_3 = self._first_columns()
        weight_r = self.step_r / (self.sigma_r * math.sqrt(2.0 * math.pi))
        radial = _spectrum(
            self.distances_,
            weight_r / self.distances_ ** float(self.power),
            self.sigma_r,
            _REACH_R,
        )
        angular = _spectrum(self.angles_, np.cos(self.angles_), self.sigma_theta, _REACH)
        height = self.step_theta / (3.0 * self.sigma_theta * math.sqrt(2.0 * math.pi))
        largest = int(structures.sizes.max(initial=0))

        def fill(start: int, stop: int) -> None:
            slatm_jit.fill_slatm(
                kinds,
                structures.positions,
                structures.offsets,
                charges,
                starts_1,
                starts_2,
                starts_3,
                radial,
                angular,
                height,
                float(self.r_cut),
                self.local,
                out,
                start,
                stop,
                largest,
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        if not self.local:
            return out
        return Environments._unchecked(out, structures.numbers, structures.offsets)

    def _first_columns(self) -> list[npt.NDArray[np.int64]]:
        """Return the first column of each type by its elements, -1 for those that have none."""
        n = len(self.elements_)
        place = {number: k for k, number in enumerate(self.elements_)}
        tables = [np.full((n,) * order, -1, dtype=np.int64) for order in (1, 2, 3)]
        for members, start in zip(self.types_, _starts(self._widths()), strict=True):
            kinds = tuple(place[number] for number in members)
            table = tables[len(kinds) - 1]
            table[kinds] = table[kinds[::-1]] = start
        return tables

    def _feature_names(self) -> list[str]:
        points = (
            [""],
            [f"(r={r})" for r in point_names(self.distances_, "f", 4)],
            [f"(theta={theta})" for theta in point_names(self.angles_, "f", 4)],
        )
        return [
            _name(members) + point for members in self.types_ for point in points[len(members) - 1]
        ]


def _grid(first: float, last: float, step: float, name: str) -> _Array:
    """Return a grid from ``first`` to ``last`` whose spacing is ``step`` or little more."""
    n = int(min((last - first) / step, _MOST_POINTS)) + 1
    if n > _MOST_POINTS:
        raise SettingError(
            f"{name}={step!r} makes more than {_MOST_POINTS} points between {first:.3g} and "
            f"{last:.3g}; choose a larger step"
            + (" or a smaller r_cut" if name == "step_r" else "")
        )
    if n < 2:
        raise SettingError(
            f"{name}={step!r} leaves less than two points between {first:.3g} and {last:.3g}"
        )
    return np.linspace(first, last, n)


def _require_width(grid: _Array, sigma: float, name: str, step: float, step_name: str) -> None:
    """Raise SettingError if Gaussians fall between the points of a grid, or are flat."""
    if sigma < _NARROWEST * step:
        raise SettingError(
            f"{name}={sigma!r} lets Gaussians fall between the points of the grid: it must be "
            f"{_NARROWEST * step:.2g} or more with {step_name}={step!r}; choose a larger width or "
            "a smaller step"
        )
    if sigma > grid[-1] - grid[0]:
        raise SettingError(
            f"{name}={sigma!r} is wider than the whole grid, {grid[-1] - grid[0]:.3g}; choose a "
            "smaller width"
        )


def _spectrum(
    grid: _Array, profile: _Array, sigma: float, reach: float
) -> tuple[_Array, _Array, float, int]:
    """Return what the compiled code needs to know of a spectrum; see there."""
    n_window = 2.0 * reach * sigma / (grid[1] - grid[0]) + 2.0
    # Whole vector registers: the points that they have room for cost nothing.
    n_window = 8 * math.ceil(min(n_window, len(grid)) / 8)
    return grid, profile, -0.5 / float(sigma) ** 2, min(n_window, len(grid))


def _starts(widths: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.cumsum(widths, dtype=np.int64) - np.array(widths, dtype=np.int64)


def _types_of(structures: Structures) -> tuple[list[set[_Type]], npt.NDArray[np.int64]]:
    """Return the sets of types that occur, and for each structure the number of its set."""
    elements = np.unique(structures.numbers)
    n, n_kinds = len(structures), len(elements)
    cells = np.repeat(np.arange(n) * n_kinds, structures.sizes)
    cells += element_kinds(structures.numbers, tuple(elements))
    counts = np.bincount(cells, minlength=n * n_kinds).reshape(n, n_kinds)
    signatures, owners = np.unique(np.minimum(counts, _MOST), axis=0, return_inverse=True)
    atoms = [dict(zip(elements.tolist(), row, strict=True)) for row in signatures.tolist()]
    return [_combinations(row) for row in atoms], owners.reshape(-1)


def _combinations(atoms: dict[int, int]) -> set[_Type]:
    """Return the types that so many atoms of each element can make, the smaller end first."""
    present = sorted(number for number, n in atoms.items() if n > 0)
    found: set[_Type] = set()
    for i, a in enumerate(present):
        found.add((a,))
        for c in present[i:]:
            if atoms[a] <= (a == c):
                continue
            found.add((a, c))
            found.update((a, b, c) for b in present if atoms[b] > (a == b) + (c == b))
    return found


def _name(members: _Type) -> str:
    """Return the name of a type, the ends in the order of the alphabet: ``C-H``, ``C-O-H``."""
    if len(members) == 1:
        return symbol(members[0])
    first, last = pair_name(members[0], members[-1]).split("-")
    return "-".join([first, *(symbol(number) for number in members[1:-1]), last])
