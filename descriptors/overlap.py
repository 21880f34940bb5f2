"""Eigenvalues of overlap matrices: spectra that identify molecules and surroundings of atoms."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from kernchem._threads import run_panels
from kernchem._validation import check_size, is_length, is_positive
from kernchem.descriptors import overlap_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.comparison import groups_within, matching_cost, same_composition
from kernchem.descriptors.radii import radius_table
from kernchem.elements import formula, symbol
from kernchem.environments import Environments
from kernchem.errors import LayoutError, SettingError
from kernchem.structures import Structures

__all__ = ["OverlapEigenvalues"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

_N_ORBITALS = {"s": 1, "sp": 4}
# Elements of the matrices of a panel, if the largest one is small enough (4 MiB): so many that a
# call of LAPACK costs little beside them.
_PANEL_ELEMENTS = 1 << 19
# Rows of a matrix of distances per panel.
_PANEL_DISTANCES = 16


class OverlapEigenvalues(Descriptor):
    r"""Eigenvalues of the overlap matrix of Gaussian orbitals, per molecule or per atom.

    Every atom carries the normalised s orbital :math:`\exp(-a r^2)`,
    :math:`a = 1 / (2 r_{cov}^2)` with its covalent radius, and, for "sp", the three p orbitals that
    are its normalised derivatives. With :math:`d = r_i - r_j`,
    :math:`g = 2 \sqrt{a_i a_j} / (a_i + a_j)` and :math:`m = a_i a_j / (a_i + a_j)` the elements of
    the matrix are

    .. math::
        \langle s_i | s_j \rangle &= S = g^{3/2} \exp(-m |d|^2) \\
        \langle p_{i,c} | s_j \rangle &= -g \sqrt{a_j}\, d_c S \\
        \langle s_i | p_{j,c} \rangle &= +g \sqrt{a_i}\, d_c S \\
        \langle p_{i,c} | p_{j,e} \rangle &= g S (\delta_{ce} - 2 m d_c d_e)

    The features are its eigenvalues in descending order, padded with zeros. With ``r_cut`` there is
    one spectrum per atom: that of the matrix of all atoms within ``r_cut``, each orbital multiplied
    by :math:`(1 - d^2 / r_{cut}^2)^2` with the distance d of its atom from the central one.

    Parameters
    ----------
    orbitals : {"s", "sp"}, default "sp"
        Orbitals of each atom. "s" gives n numbers for the 3 n - 6 coordinates of n atoms, so that
        some different geometries look the same.
    r_cut : float, optional
        Radius of the surroundings of an atom, angstrom; None gives one spectrum per molecule.
    size : int, optional
        Number of atoms of the largest molecule (with ``r_cut``, of the largest surroundings, the
        central atom included) that fits; by default that of the largest in ``fit``.
    radii : mapping of str to float, optional
        Covalent radii in angstrom by element symbol, in place of those of Cordero et al. [4]_.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    size_ : int
        Number of atoms of the largest molecule, or of the largest surroundings, that fits.
    elements_ : tuple of int
        Atomic numbers seen in ``fit``.
    n_features_out_ : int
        ``size_`` times the number of orbitals of an atom, 1 or 4.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have, or if an element has no known radius.
    LayoutError
        By ``fit`` and ``transform``, if a molecule, or the surroundings of an atom, has more atoms
        than ``size_``.

    Notes
    -----
    Cost O(n^3) per spectrum of n atoms, nearly all of it spent by LAPACK on eigenvalues. A spectrum
    of a molecule sums to its number of orbitals, and no eigenvalue is negative. Single eigenvalues
    have kinks where two of them cross; sums of smooth functions of them do not.

    Eigenvalues do not change under reflection: mirror images look the same. They know elements only
    by their radii: compare element counts beside them, as :meth:`find_duplicates` does.

    The weights vanish at ``r_cut`` together with their first derivatives: an atom that enters the
    surroundings adds eigenvalues that grow smoothly from zero.

    The matrix is that of libfp, which agrees to rounding for equal radii (its orbitals are "s" or
    "sp" as well, its exponent of the weights is 2). A formula that was printed for the elements
    between p and s lacks a factor; the matrix then has negative eigenvalues.

    References
    ----------
    .. [1] A. Sadeghi et al., J. Chem. Phys. 139, 184118 (2013), https://doi.org/10.1063/1.4828704
    .. [2] L. Zhu et al., J. Chem. Phys. 144, 034203 (2016), https://doi.org/10.1063/1.4940026:
       spectra per atom, with a cutoff.
    .. [3] libfp, https://github.com/Rutgers-ZRG/libfp
    .. [4] B. Cordero et al., Dalton Trans. 2832 (2008), https://doi.org/10.1039/b801115j

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = OverlapEigenvalues("s").fit([molecule("H2O"), molecule("CO2")])
    >>> descriptor.transform(molecule("H2O")).round(3).tolist()
    [[1.396, 0.998, 0.606]]
    >>> OverlapEigenvalues("s", r_cut=2.0).fit_transform(molecule("H2O"))
    Environments(1 structures, 3 atoms, 3 features)
    """

    citation = (
        "A. Sadeghi, S. A. Ghasemi, B. Schaefer, S. Mohr, M. A. Lill, S. Goedecker, Metrics for "
        "measuring distances in configuration spaces, J. Chem. Phys. 139, 184118 (2013), "
        "https://doi.org/10.1063/1.4828704"
    )
    recommended_kernel = "laplacian"

    def __init__(
        self,
        orbitals: str = "sp",
        *,
        r_cut: float | None = None,
        size: int | None = None,
        radii: Mapping[str, float] | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.orbitals = orbitals
        self.r_cut = r_cut
        self.size = size
        self.radii = radii
        self.n_jobs = n_jobs

    @property
    def local(self) -> bool:
        """Whether there is one spectrum per atom: with ``r_cut``."""
        return self.r_cut is not None

    def distances(self, X: Any, Y: Any = None) -> _Array:
        r"""Return distances between structures; the descriptor need not be fitted.

        .. math::
            d(A, B) &= \left(\frac{1}{N} \sum_k (a_k - b_k)^2\right)^{1/2}
                \quad \text{per molecule} \\
            d(A, B) &= \left(\frac{1}{N} \min_\pi \sum_i |a_i - b_{\pi(i)}|^2\right)^{1/2}
                \quad \text{per atom, with } r_{cut}

        N is the number of atoms of the larger structure. Spectra are padded with zeros; so are the
        atoms of the smaller structure, which are matched with those of the larger one at the least
        cost, whatever their elements.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules of any size; ``size`` does not matter here.
        Y : Structures or sequence of ase.Atoms, optional
            Molecules to compare with; None compares those of ``X`` with one another.

        Returns
        -------
        array (n, m)
            Dimensionless, zero for structures that differ by a rotation, translation, reflection or
            the order of atoms.

        Raises
        ------
        SettingError
            If an argument of the constructor has a value it cannot have, or if an element has no
            known radius.
        StructureError
            If a structure is periodic.

        Notes
        -----
        Between structures of equally many atoms both obey the triangle inequality; they are zero
        for structures with the same spectra only. Noise of 0.001 angstrom in all coordinates moves
        a molecule by about 0.0006 ("sp").

        Cost O(n m) after the spectra, with ``r_cut`` O(n m) matchings, each cubic in the number of
        atoms.

        libfp matches atoms within each element, by the sum of distances and not of their squares.
        """
        rows = self._accepted(X)
        columns = rows if Y is None else self._accepted(Y)
        self._check_settings()
        size = max(self._largest(rows), self._largest(columns))
        first = self._spectra(rows, self._roots(rows), size)
        second = first if Y is None else self._spectra(columns, self._roots(columns), size)
        squares = np.empty((len(rows), len(columns)))

        def fill(start: int, stop: int) -> None:
            if not self.local:
                squares[start:stop] = cdist(first[start:stop], second, "sqeuclidean")
                return
            for k in range(start, stop):
                own = _atoms_of(rows, k, first)
                # Of a symmetric matrix only the part right of the diagonal.
                for j in range(k + 1 if Y is None else 0, len(columns)):
                    squares[k, j] = matching_cost(own, _atoms_of(columns, j, second))

        run_panels(fill, len(rows), _PANEL_DISTANCES, self.n_jobs)
        if self.local and Y is None:
            squares = np.triu(squares, 1)
            squares += squares.T
        return np.sqrt(squares / np.maximum.outer(rows.sizes, columns.sizes))

    def find_duplicates(self, X: Any, *, tolerance: float = 1e-3) -> list[list[int]]:
        """Return groups of structures that are the same but for position and order of atoms.

        Two structures are the same if they have as many atoms of each element, and their distance
        (see :meth:`distances`) is not above ``tolerance``: rotations, translations, reflections and
        the order of atoms do not count. Neither do charges, multiplicities and properties.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules; the descriptor need not be fitted.
        tolerance : float, default 1e-3
            Largest distance of the same structure, dimensionless. With "sp" the default finds
            copies whose coordinates carry noise of 0.0005 angstrom; different molecules of QM7 with
            the same atoms are 0.007 apart or more.

        Returns
        -------
        list of list of int
            Numbers of the structures in each group of two or more, ascending. The groups are
            ordered by their first structures.

        Raises
        ------
        SettingError
            If an argument has a value it cannot have, or if an element has no known radius.
        StructureError
            If a structure is periodic.

        Notes
        -----
        A structure joins the first group whose first structure is within the tolerance, so a long
        row of small changes, as in a trajectory, is not one group. Mirror images are the same: what
        must be kept as an enantiomer has to be told apart otherwise.

        Cost: the spectra, then little more than linear in the number of structures, frames of
        one molecule included, unless ``tolerance`` is about the distance of most of them. With
        ``r_cut`` every atom has a spectrum, which costs about as many times more as there are atoms
        in a molecule.

        Examples
        --------
        >>> from ase.build import molecule
        >>> water, turned = molecule("H2O"), molecule("H2O")
        >>> turned.rotate(40, "x")
        >>> OverlapEigenvalues().find_duplicates([water, molecule("CO2"), turned])
        [[0, 2]]
        """
        if not is_positive(tolerance):
            raise SettingError(f"tolerance={tolerance!r} must be a finite number above 0")
        structures = self._accepted(X)
        self._check_settings()
        if len(structures) == 0:
            return []
        spectra = self._spectra(structures, self._roots(structures), self._largest(structures))
        sizes = structures.sizes
        groups: list[list[int]] = []
        if not self.local:
            points = spectra / np.sqrt(sizes)[:, None]
            for members in same_composition(structures):
                groups += groups_within(members, points, tolerance)
            return sorted(group for group in groups if len(group) > 1)

        # The distance of two means is not above the distance of the structures (Jensen).
        means = np.add.reduceat(spectra, structures.offsets[:-1]) / sizes[:, None]

        def is_near(a: int, b: int) -> bool:
            own, other = _atoms_of(structures, a, spectra), _atoms_of(structures, b, spectra)
            return matching_cost(own, other) <= tolerance**2 * len(own)

        for members in same_composition(structures):
            groups += groups_within(members, means, tolerance, is_near)
        return sorted(group for group in groups if len(group) > 1)

    def _learn(self, structures: Structures) -> None:
        self._check_settings()
        self._set_size(self._largest(structures) if self.size is None else int(self.size))
        self._roots(structures)
        self._require_fit(structures)

    def _check_settings(self) -> None:
        if not isinstance(self.orbitals, str) or self.orbitals not in _N_ORBITALS:
            raise SettingError(f"orbitals={self.orbitals!r} is unknown; choose 's' or 'sp'")
        if self.r_cut is not None and not is_length(self.r_cut):
            raise SettingError(
                f"r_cut={self.r_cut!r} must be a number of angstrom from 1e-150 to 1e150, or None "
                "for one spectrum per molecule"
            )
        check_size(self.size)

    def _set_size(self, size: int) -> None:
        self.size_ = size
        self.n_features_out_ = size * _N_ORBITALS[self.orbitals]

    def _counts(self, structures: Structures) -> _Rows:
        """Return the number of atoms behind each spectrum, array (n,) or (n_atoms,)."""
        if self.r_cut is None:
            return structures.sizes
        counts = np.empty(len(structures.numbers), dtype=np.int64)
        overlap_jit.count_neighbours(
            structures.positions, structures.offsets, float(self.r_cut), counts
        )
        return counts

    def _largest(self, structures: Structures) -> int:
        return int(self._counts(structures).max(initial=0))

    def _require_fit(self, structures: Structures) -> None:
        counts = self._counts(structures)
        too_large = np.flatnonzero(counts > self.size_)
        if not len(too_large):
            return
        row = int(too_large[0])
        if not self.local:
            raise LayoutError(
                f"structure {row} ({formula(structures[row].numbers)}) has {counts[row]} atoms, "
                f"but OverlapEigenvalues holds {self.size_} ({len(too_large)} such structures in "
                f"all); pass size={counts.max()}, or let an estimator own the descriptor, which "
                "then widens it: KRR(descriptor=OverlapEigenvalues())"
            )
        k = int(np.searchsorted(structures.offsets, row, side="right")) - 1
        raise LayoutError(
            f"structure {k} ({formula(structures[k].numbers)}): atom "
            f"{row - structures.offsets[k]} has {counts[row]} atoms within {self.r_cut} angstrom, "
            f"itself included, but OverlapEigenvalues holds {self.size_} ({len(too_large)} such "
            f"atoms in all); pass size={counts.max()}, or fit on surroundings as large"
        )

    def _compute(self, structures: Structures) -> _Array | Environments:
        spectra = self._spectra(structures, self._roots(structures), self.size_)
        if not self.local:
            return spectra
        return Environments._unchecked(spectra, structures.numbers, structures.offsets)

    def _roots(self, structures: Structures) -> _Array:
        """Return the square root of each atom's exponent, 1/angstrom."""
        roots: _Array = (np.sqrt(0.5) / radius_table(self.radii))[structures.numbers]
        unknown = np.flatnonzero(np.isnan(roots))
        if len(unknown):
            name = symbol(structures.numbers[unknown[0]])
            raise SettingError(
                f"no covalent radius of {name} is known, so its orbitals have no width: pass "
                f"radii={{{name!r}: ...}} in angstrom"
            )
        return roots

    def _spectra(self, structures: Structures, roots: _Array, size: int) -> _Array:
        """Return eigenvalues by descending size, padded to ``size`` atoms, of molecules or atoms.

        Matrices of as many rows are made together and go to LAPACK by one call. They are not
        padded, as that would change the last bits of the eigenvalues with ``size``.
        """
        positions, offsets = structures.positions, structures.offsets
        n_orbitals = _N_ORBITALS[self.orbitals]
        counts = self._counts(structures)
        order = np.argsort(counts, kind="stable")
        firsts = np.repeat(offsets[:-1], structures.sizes)
        lasts = np.repeat(offsets[1:], structures.sizes)
        out = np.zeros((len(counts), size * n_orbitals))

        def fill(start: int, stop: int) -> None:
            panel = order[start:stop]
            for members in np.split(panel, np.flatnonzero(np.diff(counts[panel])) + 1):
                n_rows = counts[members[0]] * n_orbitals
                matrices = np.empty((len(members), n_rows, n_rows))
                if self.r_cut is None:
                    overlap_jit.fill_molecules(
                        positions, roots, offsets[members], n_orbitals, matrices
                    )
                else:
                    overlap_jit.fill_environments(
                        positions,
                        roots,
                        firsts[members],
                        lasts[members],
                        float(self.r_cut),
                        members,
                        n_orbitals,
                        matrices,
                    )
                # LAPACK reads the lower triangle only; nothing was written to the upper one.
                out[members, :n_rows] = np.linalg.eigvalsh(matrices, UPLO="L")[:, ::-1]

        largest = max(1, int(counts.max(initial=1)) * n_orbitals)
        run_panels(fill, len(order), max(1, _PANEL_ELEMENTS // largest**2), self.n_jobs)
        return out

    def _feature_names(self) -> list[str]:
        return [f"eigenvalue[{i}]" for i in range(self.n_features_out_)]

    def _widen(self, structures: Structures) -> tuple[Descriptor, _Rows]:
        columns = np.arange(self.n_features_out_)
        needed = self._largest(structures)
        if needed <= self.size_:
            return self, columns
        wider = copy.copy(self)
        wider._set_size(needed)
        return wider, columns


def _atoms_of(structures: Structures, k: int, spectra: _Array) -> _Array:
    """Return the spectra of the atoms of one structure."""
    return spectra[structures.offsets[k] : structures.offsets[k + 1]]
