"""SOAP: power spectra of the smoothed density of an atom's neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_positive, is_whole
from kernchem.descriptors import soap_jit, soap_neighbours_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.pairs import element_kinds
from kernchem.descriptors.radii import element_numbers
from kernchem.descriptors.soap_radial import padding, radial_table
from kernchem.descriptors.soap_tables import harmonic_recurrences, harmonic_starts, weight_numbers
from kernchem.elements import symbol
from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import SettingError
from kernchem.structures import Structures

__all__ = ["SOAP"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

# Molecules per panel: calling the compiled code costs nothing beside them.
_PANEL = 16

# Beyond these, tables of radial functions would take minutes and gigabytes.
_RANGES = {"n_max": (1, 24), "l_max": (0, 20)}
_LONGEST = 100.0
_NARROWEST = 200.0
_BASES = ("gto", "polynomial")
_COMPRESSIONS = ("off", "mu1nu1", "mu2", "crossover")
_AVERAGES = (None, "inner", "outer")
# Which pairs of elements have columns: all, each with itself, each with the sum of all. "mu2" has
# all pairs of the one element that it makes of all.
_PAIRINGS = {"off": 0, "mu2": 0, "crossover": 1, "mu1nu1": 2}


class SOAP(Descriptor):
    r"""Smooth overlap of atomic positions: power spectra of the density of an atom's neighbours.

    Neighbours of element Z, the atom itself among them, make up a density that is expanded in
    radial functions and real spherical harmonics,

    .. math::
        \rho^Z(r) &= \sum_{j \in Z} w(r_j) \exp(-|r - r_j|^2 / (2 \sigma^2)) \\
        c^Z_{nlm} &= \int g_{nl}(|r|) Y_{lm}(r) \rho^Z(r) dr \\
        p^{ZZ'}_{nn'l} &= \pi \sqrt{\frac{8}{2l + 1}} \sum_m c^Z_{nlm} c^{Z'}_{n'lm}

    The features are the power spectrum p of each pair of elements, by default divided by the length
    of the whole.

    Parameters
    ----------
    r_cut : float, default 5.0
        Radius of the surroundings of an atom, angstrom, at most 100; above 1 for the basis "gto".
    n_max : int, default 8
        Number of radial functions, at most 24.
    l_max : int, default 6
        Largest degree of the spherical harmonics, at most 20.
    sigma : float, default 0.3
        Width of the Gaussians of the density, angstrom, from ``r_cut / 200`` to ``r_cut``.
    radial_basis : {"gto", "polynomial"}, default "gto"
        Gaussians times :math:`r^l`, or polynomials that vanish at ``r_cut``; both orthonormalised.
    weighting : dict, optional
        Weights of neighbours by their distance, with the "function" "poly"
        :math:`c (1 + 2 (r/r_0)^3 - 3 (r/r_0)^2)^m` up to :math:`r_0`, "pow"
        :math:`c / (d + (r/r_0)^m)` or "exp" :math:`c / (d + e^{-r/r_0})`, e.g. ``{"function":
        "poly", "r0": 5.0, "c": 1.0, "m": 2.0}``. "w0" is the weight of the atom itself.
    cutoff : float, optional
        Width, in angstrom, of the shell inside ``r_cut`` in which the weights fall to zero as half
        a wave of a cosine. None takes every atom up to ``r_cut`` plus 3.7 ``sigma`` in full.
    normalise : bool, default True
        Whether to divide each row of features by its Euclidean length.
    average : {None, "inner", "outer"}, default None
        None gives a row per atom. One row per molecule is the spectrum of the averaged coefficients
        with "inner", and the averaged spectrum with "outer".
    species : sequence of str or int, optional
        Symbols or atomic numbers of the elements in the layout; by default those seen in ``fit``.
    compression : {"off", "mu1nu1", "mu2", "crossover"}, default "off"
        Pairs of elements with columns: all; each element and the sum of all; the sum of all
        elements with itself; each element with itself.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers in the layout, ascending.
    n_features_out_ : int
        With N = ``n_max``, L = ``l_max + 1`` and Z elements: L Z N (Z N + 1) / 2, with "mu1nu1"
        L Z N^2, with "mu2" L N (N + 1) / 2, with "crossover" L Z N (N + 1) / 2.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have, or if ``n_max`` radial functions are
        too similar for double precision.

    Notes
    -----
    Without ``normalise``, values and order of columns are those of DScribe: pairs of elements
    (a, b), a <= b, sorted by a and then by b; in each of them l, then n, then n', with n' >= n only
    where a = b. So are the options, where ``rbf``, ``average="off"`` and ``compression={"mode":
    ...}`` have other names; but no ``r_cut`` is derived from the weights, and ``cutoff`` is ours.
    Like there, every atom within ``r_cut`` plus 3.7 ``sigma`` counts. Features then jump where a
    neighbour passes that distance; they are smooth with ``cutoff``, or with the weights "poly"
    where ``r0`` is not above ``r_cut``.

    Both bases are orthonormalised in 80 digits, the same on every machine. Errors, relative to the
    largest feature, against integrals in many digits: 1e-12 with polynomials, whatever ``n_max``;
    with "gto" and ``r_cut=5`` 1e-12 for ``n_max=8``, 1e-10 for 12 and 1e-8 for 16. Where they would
    exceed 1e-7, ``fit`` refuses. DScribe 2.1.2 orthonormalises in double precision and is off by
    1e-10 and 2e-6 with "gto" and ``n_max`` 8 and 12, and by 3e-10, 2e-6 and 1e-3 with "polynomial"
    and 5, 8 and 10: with narrow Gaussians the two agree as far as that. With wide ones it is off by
    more: with "polynomial", ``n_max=3`` and ``r_cut=3.5`` by 3e-6 for ``sigma=1`` and a neighbour
    at 3 angstrom, 2e-4 for one at 5.5, and 29 % for ``sigma=3.5`` and one at 2.

    The element of the atom itself is in no column of its own: kernels between atoms compare atoms
    of the same element only. Features do not change under reflection.

    Cost per atom of m neighbours of k elements, with L = ``l_max + 1`` and N = ``n_max``: O(m N
    L^2) for the coefficients, which do not depend on pairs of neighbours, and O(k^2 N^2 L^2) for
    the spectrum. Radial functions come from a table that is made once per setting.

    Only blocks of elements that are within reach are computed and kept
    (:attr:`~kernchem.environments.Environments.blocks`); averages are full rows. Peak memory of
    ``transform``: the output, 8 bytes per number; 100 bytes per atom; the table, 24 L (N + 3) bytes
    for each of its several hundred distances, and five times as much and 20 megabytes while it is
    made; and for each thread 8 (k + 1) (N + 3) L (L + 2) bytes, 150 bytes per pair of atoms within
    reach in its largest molecule, and with averages 16 bytes per column.

    References
    ----------
    .. [1] A. P. Bartok, R. Kondor, G. Csanyi, Phys. Rev. B 87, 184115 (2013),
       https://doi.org/10.1103/PhysRevB.87.184115
    .. [2] L. Himanen et al., Comput. Phys. Commun. 247, 106949 (2020),
       https://doi.org/10.1016/j.cpc.2019.106949: DScribe.
    .. [3] J. P. Darby, J. R. Kermode, G. Csanyi, npj Comput. Mater. 8, 166 (2022),
       https://doi.org/10.1038/s41524-022-00847-y: compression.
    .. [4] M. A. Caro, Phys. Rev. B 100, 024112 (2019),
       https://doi.org/10.1103/PhysRevB.100.024112: weights "poly".

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = SOAP(3.0, n_max=2, l_max=1, average="inner").fit([molecule("H2O")])
    >>> descriptor.transform(molecule("H2O")).round(3)[0, :4].tolist()
    [0.416, 0.466, 0.523, 0.0]
    >>> SOAP(3.0, n_max=2, l_max=1).fit_transform(molecule("H2O"))
    Environments(1 structures, 3 atoms, 20 features)
    """

    citation = (
        "A. P. Bartok, R. Kondor, G. Csanyi, On representing chemical environments, Phys. Rev. B "
        "87, 184115 (2013), https://doi.org/10.1103/PhysRevB.87.184115"
    )
    recommended_kernel = "gaussian"

    def __init__(
        self,
        r_cut: float = 5.0,
        n_max: int = 8,
        l_max: int = 6,
        sigma: float = 0.3,
        *,
        radial_basis: str = "gto",
        weighting: Mapping[str, Any] | None = None,
        cutoff: float | None = None,
        normalise: bool = True,
        average: str | None = None,
        species: Sequence[str | int] | None = None,
        compression: str = "off",
        n_jobs: int | None = None,
    ) -> None:
        self.r_cut = r_cut
        self.n_max = n_max
        self.l_max = l_max
        self.sigma = sigma
        self.radial_basis = radial_basis
        self.weighting = weighting
        self.cutoff = cutoff
        self.normalise = normalise
        self.average = average
        self.species = species
        self.compression = compression
        self.n_jobs = n_jobs

    @property
    def local(self) -> bool:
        """Whether there is one row per atom: without ``average``."""
        return self.average is None

    def _learn(self, structures: Structures) -> None:
        self._check_settings()
        self._basis()
        self._weights()
        if self.species is not None:
            self.elements_ = element_numbers(self.species, "species")
            self._require_known_elements(structures)
        self.n_features_out_ = int(self._block_ends().max())

    def _check_settings(self) -> None:
        for name in ("r_cut", "sigma"):
            if not is_positive(getattr(self, name)):
                raise SettingError(
                    f"{name}={getattr(self, name)!r} must be a finite number of angstrom above 0"
                )
        for name, (smallest, largest) in _RANGES.items():
            value = getattr(self, name)
            if not is_whole(value, smallest) or value > largest:
                raise SettingError(
                    f"{name}={value!r}; give a whole number from {smallest} to {largest}"
                )
        if self.r_cut > _LONGEST:
            raise SettingError(f"r_cut={self.r_cut!r}; give {_LONGEST:g} angstrom at most")
        if not self.r_cut / _NARROWEST <= self.sigma <= self.r_cut:
            raise SettingError(
                f"sigma={self.sigma!r} must not be below r_cut / {_NARROWEST:g}, nor above "
                f"r_cut={self.r_cut!r}: choose a width of some tenths of an angstrom"
            )
        choices: dict[str, tuple[Any, ...]] = {
            "radial_basis": _BASES,
            "average": _AVERAGES,
            "compression": _COMPRESSIONS,
            "normalise": (True, False),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if not isinstance(value, str | bool | None) or value not in allowed:
                names = ", ".join(map(repr, allowed))
                raise SettingError(f"{name}={value!r} is unknown; choose one of {names}")
        if self.radial_basis == "gto" and self.r_cut <= 1.0:
            raise SettingError(
                f"r_cut={self.r_cut!r} is too short for the functions of the basis 'gto', which "
                "end at 1 angstrom and beyond; give more than 1, or radial_basis='polynomial'"
            )
        if self.cutoff is not None and not (is_positive(self.cutoff) and self.cutoff <= self.r_cut):
            raise SettingError(
                f"cutoff={self.cutoff!r} must be a width in angstrom above 0 and not above "
                f"r_cut={self.r_cut!r}, or None"
            )

    def _basis(self) -> tuple[_Array, float, _Array, _Rows]:
        """Return what the compiled code makes coefficients of."""
        table = radial_table(
            self.radial_basis,
            float(self.r_cut),
            int(self.n_max),
            int(self.l_max),
            float(self.sigma),
        )
        degrees = int(self.l_max)
        return table.values, table.step, harmonic_recurrences(degrees), harmonic_starts(degrees)

    def _weights(self) -> _Array:
        """Return the weights of neighbours as the numbers that the compiled code takes."""
        return weight_numbers(self.weighting, float(self.r_cut), self.cutoff, self._reach())

    def _reach(self) -> float:
        """Return the distance up to which neighbours count, angstrom."""
        return float(self.r_cut) + (0.0 if self.cutoff is not None else padding(float(self.sigma)))

    def _kinds(self, structures: Structures) -> tuple[_Rows, int]:
        """Return the number of each atom's element, and how many elements are told apart."""
        if self.compression == "mu2":
            return np.zeros(len(structures.numbers), dtype=np.int64), 1
        return element_kinds(structures.numbers, self.elements_), len(self.elements_)

    def _block_ends(self) -> _Rows:
        """Return first and last column of each pair of elements, array (n, n, 2); 0 if none."""
        n_kinds = 1 if self.compression == "mu2" else len(self.elements_)
        pairing = _PAIRINGS[self.compression]
        square, triangle = self.n_max**2, self.n_max * (self.n_max + 1) // 2
        ends = np.zeros((n_kinds, n_kinds, 2), dtype=np.int64)
        place = 0
        for a in range(n_kinds):
            for b in range(a, n_kinds if pairing == 0 else a + 1):
                width = triangle if a == b and pairing < 2 else square
                ends[a, b] = place, place + (self.l_max + 1) * width
                place = ends[a, b, 1]
        return ends

    def _compute(self, structures: Structures) -> _Array | Environments:
        kinds, n_kinds = self._kinds(structures)
        owners = np.repeat(np.arange(len(structures)), structures.sizes)
        settings: tuple[Any, ...] = (
            kinds,
            np.lexsort((kinds, owners)),
            structures.positions,
            structures.offsets,
            self._reach(),
            self._weights(),
            self._basis(),
            int(self.n_max),
            _PAIRINGS[self.compression],
            bool(self.normalise),
        )
        # The checker of types cannot count the arguments that a tuple of any length stands for.
        averages: Callable[..., None] = soap_jit.fill_averages
        filling: Callable[..., None] = soap_jit.fill_rows
        if not self.local:
            average = 1 if self.average == "inner" else 2
            ends, out = self._block_ends(), np.zeros((len(structures), self.n_features_out_))

            def fill(start: int, stop: int) -> None:
                averages(*settings, average, ends, start, stop, out)

            run_panels(fill, len(structures), _PANEL, self.n_jobs)
            return out
        seen = np.zeros((len(kinds), n_kinds), dtype=bool)

        def mark(start: int, stop: int) -> None:
            soap_neighbours_jit.mark_elements(
                kinds, structures.positions, structures.offsets, self._reach(), start, stop, seen
            )

        run_panels(mark, len(structures), _PANEL, self.n_jobs)
        blocks, places, values = self._layout(seen)

        def fill_rows(start: int, stop: int) -> None:
            filling(*settings, seen, places, start, stop, values)

        run_panels(fill_rows, len(structures), _PANEL, self.n_jobs)
        return Environments.from_blocks(
            blocks, structures.numbers, structures.offsets, self.n_features_out_
        )

    def _layout(self, seen: npt.NDArray[np.bool_]) -> tuple[list[FeatureBlock], _Rows, _Array]:
        """Return empty blocks of atoms that see the same elements.

        They are views of one array, the last one returned, in which ``places`` (n_atoms, 2) bounds
        the row of each atom.
        """
        signatures, of_atom = _distinct_rows(seen)
        ends = self._block_ends()
        places = np.empty((len(seen), 2), dtype=np.int64)
        shapes: list[tuple[_Rows, _Rows, int]] = []
        total = 0
        for number, signature in enumerate(signatures):
            pairs = np.outer(signature, signature)
            columns = np.concatenate([np.arange(*pair) for pair in ends[pairs]])
            atoms = np.flatnonzero(of_atom == number)
            starts = total + len(columns) * np.arange(len(atoms) + 1)
            places[atoms, 0], places[atoms, 1] = starts[:-1], starts[1:]
            shapes.append((atoms, columns, total))
            total = int(starts[-1])
        values = np.empty(total)
        blocks = [
            FeatureBlock(
                atoms,
                columns,
                values[start : start + len(atoms) * len(columns)].reshape(len(atoms), -1),
            )
            for atoms, columns, start in shapes
        ]
        return blocks, places, values

    def _feature_names(self) -> list[str]:
        names = [symbol(number) for number in self.elements_]
        found: list[str] = []
        for a, b in zip(*np.nonzero(self._block_ends()[..., 1]), strict=True):
            left, right = names[a], names[b]
            if self.compression == "mu1nu1":
                right = "all"
            elif self.compression == "mu2":
                left = right = "all"
            for degree in range(self.l_max + 1):
                for n in range(self.n_max):
                    found.extend(
                        f"{left}-{right}(n={n}, n'={k}, l={degree})"
                        for k in range(n if left == right else 0, self.n_max)
                    )
        return found


def _distinct_rows(
    marks: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.bool_], _Rows]:
    """Return the distinct rows, and the number of each row among them."""
    if not len(marks):
        return marks, np.empty(0, dtype=np.int64)
    packed = np.packbits(marks, axis=1)
    keys = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, of_row = np.unique(keys, return_index=True, return_inverse=True)
    return marks[first], of_row
