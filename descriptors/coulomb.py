"""Coulomb matrices: the interactions of bare nuclei as features of a molecule."""

from __future__ import annotations

import copy
import itertools
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import check_size, generator_of, is_not_negative
from kernchem.descriptors import coulomb_jit
from kernchem.descriptors.base import Descriptor
from kernchem.elements import MAX_ATOMIC_NUMBER, formula
from kernchem.errors import LayoutError, SettingError
from kernchem.structures import Structures

__all__ = ["CoulombMatrix"]

_PERMUTATIONS = ("sorted", "none", "eigenspectrum", "random")
# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 256
# 0.5 Z^2.4 is a fit to the energies of free atoms (Rupp et al. 2012); index = atomic number.
_DIAGONAL: npt.NDArray[np.float64] = 0.5 * np.arange(MAX_ATOMIC_NUMBER + 1.0) ** 2.4


class CoulombMatrix(Descriptor):
    """Coulomb matrix, as a packed triangle or as its eigenvalues.

    ``C_ii = 0.5 Z_i^2.4`` and ``C_ij = Z_i Z_j / |r_i - r_j|``, distances in angstrom.

    Parameters
    ----------
    permutation : {"sorted", "none", "eigenspectrum", "random"}, default "sorted"
        What is done about the order of the atoms. "sorted" orders rows and columns by descending
        Euclidean norm of the rows, "random" does so after adding normal noise to the norms, "none"
        keeps the order of the atoms (for frames of one molecule), and "eigenspectrum" gives the
        eigenvalues by descending magnitude instead of the matrix.
    size : int, optional
        Number of atoms of the largest molecule that fits; by default that of the largest molecule
        in ``fit``. Smaller molecules are padded with zeros.
    sigma : float, default 1.0
        Standard deviation of the noise of "random", in the unit of the norms (e^2/angstrom).
    random_state : int, RandomState or None, default None
        Seed of the noise of "random".
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    size_ : int
        Number of atoms of the largest molecule that fits.
    elements_ : tuple of int
        Atomic numbers seen in ``fit``.
    n_features_out_ : int
        ``size_ (size_ + 1) / 2``, or ``size_`` for "eigenspectrum".
    noise_seed_ : int
        What ``random_state`` became; only for "random".

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have.
    LayoutError
        By ``fit`` and ``transform``, if a molecule has more atoms than ``size_``.

    Notes
    -----
    The lower triangle is packed by rows: ``C_ij`` with ``i >= j`` stands in column
    ``i (i + 1) / 2 + j``, so that a larger ``size`` only appends columns. Cost O(n^2) per molecule
    of n atoms, O(n^3) for "eigenspectrum".

    Rows whose norms agree within a relative 1e-10 keep the order of the atoms: the sorted matrix of
    a symmetric molecule depends on the order of its equivalent atoms. Where sorting swaps two rows
    the features change abruptly; they are no basis for forces.

    The noise of "random" depends on the seed and on the molecule's own atoms and coordinates, not
    on the molecules beside it: a molecule always gets the same features. Moved or rotated, it gets
    others.

    qmllib and DScribe use the same units. DScribe returns the whole matrix; qmllib orders
    eigenvalues by value, negative ones behind the padding.

    References
    ----------
    .. [1] M. Rupp, A. Tkatchenko, K.-R. Mueller, O. A. von Lilienfeld, Phys. Rev. Lett. 108,
       058301 (2012), https://doi.org/10.1103/PhysRevLett.108.058301
    .. [2] G. Montavon et al., Learning invariant representations of molecules for atomization
       energy prediction, NIPS 25 (2012): the randomly sorted matrix.
    .. [3] K. Hansen et al., J. Chem. Theory Comput. 9, 3404 (2013),
       https://doi.org/10.1021/ct400195d

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = CoulombMatrix().fit([molecule("H2O"), molecule("NH3")])
    >>> descriptor.transform(molecule("H2O")).round(3).tolist()
    [[73.517, 8.259, 0.5, 8.259, 0.655, 0.5, 0.0, 0.0, 0.0, 0.0]]
    >>> descriptor.get_feature_names_out()[:3].tolist()
    ['C[0,0]', 'C[1,0]', 'C[1,1]']
    """

    citation = (
        "M. Rupp, A. Tkatchenko, K.-R. Mueller, O. A. von Lilienfeld, Fast and accurate modeling "
        "of molecular atomization energies with machine learning, Phys. Rev. Lett. 108, 058301 "
        "(2012), https://doi.org/10.1103/PhysRevLett.108.058301"
    )
    recommended_kernel = "laplacian"

    def __init__(
        self,
        permutation: str = "sorted",
        *,
        size: int | None = None,
        sigma: float = 1.0,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.permutation = permutation
        self.size = size
        self.sigma = sigma
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _learn(self, structures: Structures) -> None:
        if not isinstance(self.permutation, str) or self.permutation not in _PERMUTATIONS:
            raise SettingError(
                f"permutation={self.permutation!r} is unknown; choose one of "
                + ", ".join(repr(name) for name in _PERMUTATIONS)
            )
        check_size(self.size)
        if not is_not_negative(self.sigma):
            raise SettingError(
                f"sigma={self.sigma!r} is no standard deviation; give a finite number >= 0"
            )
        # An earlier fit with another permutation may have left one.
        self.__dict__.pop("noise_seed_", None)
        if self.permutation == "random":
            self.noise_seed_ = int(generator_of(self.random_state).randint(2**31 - 1))
        self._set_size(int(structures.sizes.max()) if self.size is None else int(self.size))
        self._require_fit(structures)

    def _set_size(self, size: int) -> None:
        self.size_ = size
        triangle = size * (size + 1) // 2
        self.n_features_out_ = size if self.permutation == "eigenspectrum" else triangle

    def _require_fit(self, structures: Structures) -> None:
        sizes = structures.sizes
        too_large = np.flatnonzero(sizes > self.size_)
        if not len(too_large):
            return
        k = int(too_large[0])
        raise LayoutError(
            f"structure {k} ({formula(structures[k].numbers)}) has {sizes[k]} atoms, but "
            f"CoulombMatrix holds {self.size_} ({len(too_large)} such structures in all); pass "
            f"size={sizes.max()}, or let an estimator own the descriptor, which then widens it: "
            "KRR(descriptor=CoulombMatrix())"
        )

    def _compute(self, structures: Structures) -> npt.NDArray[np.float64]:
        out = np.zeros((len(structures), self.n_features_out_))
        if len(structures) == 0:
            return out
        positions, offsets = structures.positions, structures.offsets
        charges = structures.numbers.astype(np.float64)
        diagonal = _DIAGONAL[structures.numbers]
        largest = int(structures.sizes.max())
        noise = self._noise(structures)

        def fill(start: int, stop: int) -> None:
            if self.permutation == "eigenspectrum":
                _fill_spectra(charges, diagonal, positions, offsets, out, start, stop)
            elif self.permutation == "none":
                coulomb_jit.fill_unsorted(
                    charges, diagonal, positions, offsets, out, start, stop, largest
                )
            else:
                coulomb_jit.fill_sorted(
                    charges, diagonal, positions, offsets, noise, out, start, stop, largest
                )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return out

    def _noise(self, structures: Structures) -> npt.NDArray[np.float64]:
        """Return what is added to the norm of each row, array (n_atoms,)."""
        noise = np.zeros(len(structures.numbers))
        if self.permutation == "random":
            offsets = structures.offsets
            for start, stop in itertools.pairwise(offsets):
                own = zlib.crc32(structures.numbers[start:stop].tobytes())
                # Not -0.0, which equals 0.0.
                positions = structures.positions[start:stop] + 0.0
                own = zlib.crc32(positions.tobytes(), own)
                generator = np.random.default_rng([self.noise_seed_, own])
                noise[start:stop] = generator.normal(0.0, self.sigma, stop - start)
        return noise

    def _feature_names(self) -> list[str]:
        if self.permutation == "eigenspectrum":
            return [f"eigenvalue[{i}]" for i in range(self.size_)]
        return [f"C[{i},{j}]" for i in range(self.size_) for j in range(i + 1)]

    def _widen(self, structures: Structures) -> tuple[Descriptor, npt.NDArray[np.int64]]:
        columns = np.arange(self.n_features_out_)
        needed = int(structures.sizes.max(initial=0))
        if needed <= self.size_:
            return self, columns
        wider = copy.copy(self)
        wider._set_size(needed)
        return wider, columns


def _fill_spectra(
    charges: npt.NDArray[np.float64],
    diagonal: npt.NDArray[np.float64],
    positions: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    out: npt.NDArray[np.float64],
    start: int,
    stop: int,
) -> None:
    """Write the eigenvalues of molecules start..stop, those of one size by one call of LAPACK.

    The matrices are not padded, as that would change the last bits of the eigenvalues with
    ``size``.
    """
    sizes = np.diff(offsets[start : stop + 1])
    for n in np.unique(sizes):
        members = start + np.flatnonzero(sizes == n)
        matrices = np.empty((len(members), n, n))
        coulomb_jit.fill_full(charges, diagonal, positions, offsets, members, matrices)
        values = np.linalg.eigvalsh(matrices)
        order = np.argsort(-np.abs(values), axis=1, kind="stable")
        out[members, :n] = np.take_along_axis(values, order, axis=1)
