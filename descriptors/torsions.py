"""Torsions: distributions of the torsions of chains of three bonds, by elements and lengths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_positive, is_whole
from kernchem.descriptors import torsions_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.pairs import element_kinds
from kernchem.descriptors.radii import bond_radii, element_numbers
from kernchem.elements import symbol
from kernchem.errors import SettingError
from kernchem.structures import Structures

__all__ = ["Torsions"]

_Type = tuple[int, ...]

# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 32
# Functions of the torsion: 1, cos, cos of twice the angle.
_N_ANGULAR = 3
# The smallest ratio of a Gaussian's width to a reduced length: none of them is narrower.
_LEAST_SIGMA = 1e-4
# More points than this between two bonded atoms tell nothing new.
_MOST_POINTS = 50


class Torsions(Descriptor):
    r"""Torsions: distributions of the torsions of chains of three bonds, by elements and lengths.

    For each type of chain of elements A-B-C-D, each three points a, m, b of a grid of reduced
    bond lengths :math:`x_{ij} = r_{ij} / (R_i + R_j)` with covalent radii R, and p = 0, 1, 2

    .. math::
        F_{ABCD,\,amb,\,p} = \sum_{ijkl} h_a(x_{ij})\, h_m(x_{jk})\, h_b(x_{kl})\, t_p, \quad
        h_g(x) = w(x) \exp\!\left(-\frac{(x - x_g)^2}{2 \sigma^2}\right)

    over the chains i-j-k-l of four different atoms, where w falls smoothly from 1 to 0 within
    ``bond_range``. With the angles :math:`\theta` between the bonds and the torsion
    :math:`\varphi`

    .. math::
        t_0 = 1, \quad t_1 = \sin\theta_{ijk} \sin\theta_{jkl} \cos\varphi, \quad
        t_2 = \sin^2\theta_{ijk} \sin^2\theta_{jkl} \cos 2\varphi .

    These are polynomials in the unit vectors of the bonds: nothing is ill-defined where three atoms
    are on a line. A bond to hydrogen at an end of a chain counts with w(x) whatever its length.

    Four atoms in a chain tell what pairs and triangles do not: conjugation and its loss by
    twisting, and the strain of eclipsed bonds. The features are meant to be added, with a wide
    Gaussian, to kernels over other descriptors (:func:`kernchem.models.composite`).

    Parameters
    ----------
    elements : sequence of str or int, optional
        Symbols or atomic numbers of elements that ``transform`` accepts, at least those seen in
        ``fit``; by default just those.
    grid : (float, float, int), default (0.8, 0.98, 3)
        First and last reduced bond length and their number: of carbon, a triple bond is at 0.79, a
        double bond at 0.88, an aromatic one at 0.92, a single bond at 1.01.
    sigma : float, default 0.055
        Width of the Gaussians, a reduced length.
    bond_range : (float, float), default (1.2, 1.4)
        Reduced lengths between which a bond fades out.
    radii : mapping of str to float, optional
        Covalent radii in angstrom by element symbol, in place of those of Cordero et al. [2]_.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers that ``transform`` accepts.
    grid_ : array (n_grid,)
        Reduced bond lengths.
    types_ : list of tuple of int
        Four atomic numbers of each type of chain seen in ``fit``, in the order of the columns.
    n_features_out_ : int
        ``3 n_grid^3`` per type, a factor ``n_grid`` less for each end that is hydrogen; 1 if there
        are no types.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have, or an element has no known radius.

    Notes
    -----
    Chains of a type that no molecule had in ``fit`` do not count. A set without chains of three
    bonds has no types, and one column of zeros.

    The features are smooth in the positions but at the ends of ``bond_range``, where the second
    derivative jumps. They do not change under reflection. Cost O(n^2) per molecule of n atoms for
    its bonds, and ``3 n_grid^3`` per chain. Nothing but the features is held for more than one
    molecule.

    Related distributions are the torsions of BAML [1]_ and the four-body term of many-body tensor
    representations [3]_; lengths of bonds do not enter there.

    References
    ----------
    .. [1] B. Huang, O. A. von Lilienfeld, J. Chem. Phys. 145, 161102 (2016),
       https://doi.org/10.1063/1.4964627
    .. [2] B. Cordero et al., Dalton Trans. 2832 (2008), https://doi.org/10.1039/b801115j
    .. [3] H. Huo, M. Rupp, Mach. Learn.: Sci. Technol. 3, 045017 (2022),
       https://doi.org/10.1088/2632-2153/aca005

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = Torsions().fit([molecule("H2O2"), molecule("C2H6")])
    >>> descriptor.types_
    [(1, 6, 6, 1), (1, 8, 8, 1)]
    >>> descriptor.transform(molecule("C2H6")).round(3)[0, [0, 3, 6]].tolist()
    [0.01, 1.094, 8.252]
    """

    citation = (
        "B. Huang, O. A. von Lilienfeld, Understanding molecular representations in machine "
        "learning: The role of uniqueness and target similarity, J. Chem. Phys. 145, 161102 "
        "(2016), https://doi.org/10.1063/1.4964627"
    )
    recommended_kernel = "gaussian"

    def __init__(
        self,
        *,
        elements: Sequence[str | int] | None = None,
        grid: tuple[float, float, int] = (0.8, 0.98, 3),
        sigma: float = 0.055,
        bond_range: tuple[float, float] = (1.2, 1.4),
        radii: Mapping[str, float] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.elements = elements
        self.grid = grid
        self.sigma = sigma
        self.bond_range = bond_range
        self.radii = radii
        self.n_jobs = n_jobs

    def _learn(self, structures: Structures) -> None:
        if not is_positive(self.sigma) or self.sigma < _LEAST_SIGMA:
            raise SettingError(f"sigma={self.sigma!r} must be a finite number from 0.0001 on")
        self.grid_ = _points(self.grid)
        self._near, self._far = _range(self.bond_range)
        if self.elements is not None:
            self.elements_ = element_numbers(self.elements)
            self._require_known_elements(structures)
        self._radii = bond_radii(self.elements_, self.radii)
        n = len(self.elements_)
        marks = np.zeros((n, n, n, n), dtype=np.bool_)
        torsions_jit.mark_types(
            element_kinds(structures.numbers, self.elements_),
            structures.positions,
            structures.offsets,
            self._radii,
            self._far,
            marks,
        )
        self._set_types(tuple(self.elements_[k] for k in kinds) for kinds in np.argwhere(marks))

    def _set_types(self, types: Iterable[_Type]) -> None:
        """Lay out these types, each in one direction."""
        self.types_ = sorted({min(members, members[::-1]) for members in types})
        # Kernels and scikit-learn want a column.
        self.n_features_out_ = max(1, sum(self._widths()))

    def _widths(self) -> list[int]:
        """Return the number of columns of each type."""
        n = len(self.grid_)
        return [
            _N_ANGULAR * n * (1 if first == 1 else n) * (1 if last == 1 else n)
            for first, _, _, last in self.types_
        ]

    def _compute(self, structures: Structures) -> npt.NDArray[np.float64]:
        out = np.zeros((len(structures), self.n_features_out_))
        kinds = element_kinds(structures.numbers, self.elements_)
        place = {number: k for k, number in enumerate(self.elements_)}
        columns = np.full((len(self.elements_),) * 4, -1, dtype=np.int64)
        widths = self._widths()
        for members, stop, width in zip(self.types_, np.cumsum(widths), widths, strict=True):
            columns[tuple(place[number] for number in members)] = stop - width
        is_plain = np.array([number == 1 for number in self.elements_], dtype=np.bool_)

        def fill(start: int, stop: int) -> None:
            torsions_jit.fill_torsions(
                kinds,
                is_plain,
                structures.positions,
                structures.offsets,
                self._radii,
                self._near,
                self._far,
                self.grid_,
                float(self.sigma),
                columns,
                out,
                start,
                stop,
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return out

    def _feature_names(self) -> list[str]:
        if not self.types_:
            return ["no chain"]
        every = range(len(self.grid_))
        names = []
        for members in self.types_:
            chain = "-".join(symbol(number) for number in members)
            left, right = (["*"] if end == 1 else every for end in (members[0], members[3]))
            names += [
                f"{chain}[{a},{m},{b}](cos {p} phi)"
                for a in left
                for m in every
                for b in right
                for p in range(_N_ANGULAR)
            ]
        return names


def _points(grid: tuple[float, float, int]) -> npt.NDArray[np.float64]:
    """Return the reduced lengths that a user's triple stands for."""
    if isinstance(grid, tuple | list) and len(grid) == 3:
        first, last, n = grid
        numbers = is_positive(first) and is_positive(last) and is_whole(n, 2)
        if numbers and first < last and n <= _MOST_POINTS:
            return np.linspace(first, last, int(n))
    raise SettingError(
        f"grid={grid!r} is no grid; give (first, last, number) of reduced bond lengths with "
        f"0 < first < last and 2 to {_MOST_POINTS} points"
    )


def _range(bond_range: tuple[float, float]) -> tuple[float, float]:
    if isinstance(bond_range, tuple | list) and len(bond_range) == 2:
        near, far = bond_range
        if is_positive(near) and is_positive(far) and near < far:
            return float(near), float(far)
    raise SettingError(
        f"bond_range={bond_range!r} is no range; give (near, far) of reduced bond lengths with "
        "0 < near < far"
    )
