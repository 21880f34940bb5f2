"""Atomic Coulomb matrices: the nuclei around an atom."""

from __future__ import annotations

import copy
import math

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import check_size, is_length, is_not_negative
from kernchem.descriptors import atomic_coulomb_jit, overlap_jit
from kernchem.descriptors.base import Descriptor
from kernchem.elements import formula
from kernchem.environments import Environments
from kernchem.errors import LayoutError, SettingError
from kernchem.structures import Structures

__all__ = ["AtomicCoulombMatrix"]

# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 64


class AtomicCoulombMatrix(Descriptor):
    r"""Coulomb matrices of the surroundings of each atom.

    Around atom k, over the atoms i and j nearer to it than ``r_cut``,

    .. math::
        C_{ii} &= \tfrac{1}{2} Z_i^{2.4} f(r_{ik})^2 \\
        C_{ij} &= \frac{Z_i Z_j}{r_{ij}} f(r_{ik}) f(r_{jk}) f_{pair}(r_{ij})

    with distances in angstrom. f is 1 up to ``r_cut - decay``, from where on it falls to 0 at
    ``r_cut`` as :math:`(1 + \cos(\pi (r - r_{cut} + decay) / decay)) / 2`; :math:`f_{pair}` does
    the same with ``pair_cut`` and ``pair_decay``. Row 0 is that of atom k; the others are sorted.
    The lower triangle is packed by rows and padded with zeros.

    Parameters
    ----------
    sorting : {"distance", "row-norm"}, default "distance"
        Order of the other rows: by ascending distance from atom k, or by descending norm.
    r_cut : float, optional
        Radius of the surroundings, angstrom; None takes the whole molecule.
    decay : float, default 0.0
        Width of the shell in which atoms fade out, angstrom, at most ``r_cut``.
    pair_cut : float, optional
        Distance from which on two atoms do not interact, angstrom; None has no such limit.
    pair_decay : float, default 0.0
        Width over which their interaction fades out, angstrom, at most ``pair_cut``.
    size : int, optional
        Number of atoms, the central one included, of the largest surroundings that fit; by default
        that of the largest in ``fit``.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    size_ : int
        Number of atoms of the largest surroundings that fit.
    elements_ : tuple of int
        Atomic numbers seen in ``fit``.
    n_features_out_ : int
        ``size_ (size_ + 1) / 2``.

    Raises
    ------
    SettingError
        By ``fit``, if an argument has a value it cannot have.
    LayoutError
        By ``fit`` and ``transform``, if an atom has more surroundings than fit.

    Notes
    -----
    ``C_ij`` with ``i >= j`` stands in column ``i (i + 1) / 2 + j``, so that a larger ``size`` only
    appends columns. Cost O(n^2 + n k^2) per molecule of n atoms with k neighbours. Peak memory of
    ``transform``: the output, 8 bytes per number, 50 bytes per atom, and for each thread 8 n (n +
    11) bytes for the n atoms of the largest molecule.

    Distances, or norms, that agree within a relative 1e-10 keep the order of the atoms: the rows of
    a symmetric molecule depend on the order of its equivalent atoms. Where sorting swaps two atoms
    the features change abruptly, and without ``decay`` they jump where an atom enters.

    The numbers are those of qmllib (``generate_coulomb_matrix_atomic``: ``central_cutoff`` and
    ``central_decay`` are ``r_cut`` and ``decay``, ``interaction_cutoff`` and ``interaction_decay``
    are ``pair_cut`` and ``pair_decay``), except that it lowers an ``interaction_cutoff`` above
    twice the ``central_cutoff`` to that before it applies ``interaction_decay``, and that its
    ``size`` has to hold the whole molecule.

    References
    ----------
    .. [1] M. Rupp, R. Ramakrishnan, O. A. von Lilienfeld, J. Phys. Chem. Lett. 6, 3309 (2015),
       https://doi.org/10.1021/acs.jpclett.5b01456

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = AtomicCoulombMatrix().fit([molecule("H2O")])
    >>> descriptor.transform(molecule("H2O"))
    Environments(1 structures, 3 atoms, 6 features)
    >>> descriptor.transform(molecule("H2O")).values[0].round(3).tolist()
    [73.517, 8.259, 0.5, 8.259, 0.655, 0.5]
    """

    citation = (
        "M. Rupp, R. Ramakrishnan, O. A. von Lilienfeld, Machine learning for quantum mechanical "
        "properties of atoms in molecules, J. Phys. Chem. Lett. 6, 3309 (2015), "
        "https://doi.org/10.1021/acs.jpclett.5b01456"
    )
    recommended_kernel = "laplacian"

    def __init__(
        self,
        sorting: str = "distance",
        *,
        r_cut: float | None = None,
        decay: float = 0.0,
        pair_cut: float | None = None,
        pair_decay: float = 0.0,
        size: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.sorting = sorting
        self.r_cut = r_cut
        self.decay = decay
        self.pair_cut = pair_cut
        self.pair_decay = pair_decay
        self.size = size
        self.n_jobs = n_jobs

    @property
    def local(self) -> bool:
        """Whether the features are those of atoms: always."""
        return True

    def _learn(self, structures: Structures) -> None:
        if not isinstance(self.sorting, str) or self.sorting not in {"distance", "row-norm"}:
            raise SettingError(f"sorting={self.sorting!r} is unknown; 'distance' or 'row-norm'")
        _check_cutoff("r_cut", self.r_cut, "decay", self.decay)
        _check_cutoff("pair_cut", self.pair_cut, "pair_decay", self.pair_decay)
        check_size(self.size)
        self._set_size(int(self._counts(structures).max() if self.size is None else self.size))
        self._require_fit(structures)

    def _set_size(self, size: int) -> None:
        self.size_ = size
        self.n_features_out_ = size * (size + 1) // 2

    def _counts(self, structures: Structures) -> npt.NDArray[np.int64]:
        """Return the number of atoms around each atom, with itself, array (n_atoms,)."""
        counts = np.repeat(structures.sizes, structures.sizes)
        if self.r_cut is not None:
            overlap_jit.count_neighbours(
                structures.positions, structures.offsets, float(self.r_cut), counts
            )
        return counts

    def _require_fit(self, structures: Structures) -> None:
        counts = self._counts(structures)
        too_large = np.flatnonzero(counts > self.size_)
        if not len(too_large):
            return
        atom = int(too_large[0])
        k = int(np.searchsorted(structures.offsets, atom, side="right")) - 1
        where = "in its molecule" if self.r_cut is None else f"within {self.r_cut} angstrom"
        raise LayoutError(
            f"structure {k} ({formula(structures[k].numbers)}): atom "
            f"{atom - structures.offsets[k]} has {counts[atom]} atoms {where}, itself included, "
            f"but AtomicCoulombMatrix holds {self.size_} ({len(too_large)} such atoms in all); "
            f"pass size={counts.max()}, or fit on surroundings as large"
        )

    def _compute(self, structures: Structures) -> Environments:
        out = np.zeros((len(structures.numbers), self.n_features_out_))
        charges = structures.numbers.astype(np.float64)
        diagonal = 0.5 * charges**2.4
        largest = int(structures.sizes.max(initial=0))

        def fill(start: int, stop: int) -> None:
            atomic_coulomb_jit.fill_atomic(
                charges,
                diagonal,
                structures.positions,
                structures.offsets,
                self.sorting == "row-norm",
                math.inf if self.r_cut is None else float(self.r_cut),
                float(self.decay),
                math.inf if self.pair_cut is None else float(self.pair_cut),
                float(self.pair_decay),
                out,
                start,
                stop,
                largest,
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return Environments._unchecked(out, structures.numbers, structures.offsets)

    def _feature_names(self) -> list[str]:
        return [f"C[{i},{j}]" for i in range(self.size_) for j in range(i + 1)]

    def _widen(self, structures: Structures) -> tuple[Descriptor, npt.NDArray[np.int64]]:
        columns = np.arange(self.n_features_out_)
        needed = int(self._counts(structures).max(initial=0))
        if needed <= self.size_:
            return self, columns
        wider = copy.copy(self)
        wider._set_size(needed)
        return wider, columns


def _check_cutoff(name: str, cutoff: float | None, decay_name: str, decay: float) -> None:
    """Raise SettingError unless a cutoff and the width of its decay make sense together."""
    if cutoff is not None and not is_length(cutoff):
        raise SettingError(
            f"{name}={cutoff!r} must be a number of angstrom from 1e-150 to 1e150, or None "
            "for no cutoff"
        )
    widest = 0.0 if cutoff is None else cutoff
    if not (is_not_negative(decay) and decay <= widest):
        raise SettingError(
            f"{decay_name}={decay!r} must be a width in angstrom from 0 to {name}={cutoff!r}"
        )
