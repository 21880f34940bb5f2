"""Inverse distances between the atoms of one molecule, in the order of its atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem.descriptors import inverse_distances_jit
from kernchem.descriptors.base import Descriptor
from kernchem.elements import formula, symbol
from kernchem.errors import LayoutError, SettingError, StructureError
from kernchem.structures import Structures

__all__ = ["InverseDistances"]

# Structures per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 256


class InverseDistances(Descriptor):
    """Inverse distances of all pairs of atoms of one molecule, for its potential-energy surface.

    ``1 / r_ij`` in 1/angstrom for ``i > j`` or, relative to an equilibrium geometry as in KREG,
    ``r_ij(eq) / r_ij``, dimensionless. The atoms keep their order.

    Parameters
    ----------
    equilibrium : Structure, Structures of one, ase.Atoms or array (n_atoms, 3), optional
        Equilibrium geometry with the atoms in the same order, angstrom.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    numbers_ : array (n_atoms,)
        Atomic numbers of the molecule, in order.
    scale_ : array (n_features_out_,)
        What is divided by the distances: those of the equilibrium in angstrom, or ones.
    elements_ : tuple of int
        Atomic numbers that occur.
    n_features_out_ : int
        Number of pairs, ``n_atoms (n_atoms - 1) / 2``.

    Raises
    ------
    SettingError
        By ``fit``, if ``equilibrium`` is no geometry of the molecule.
    LayoutError
        By ``fit`` and ``transform``, if a structure has other atoms or has them in another order.
    StructureError
        By ``fit``, if the molecule is a single atom.

    Notes
    -----
    The pairs stand row after row: ``i > j`` in column ``i (i - 1) / 2 + j``. Cost O(n^2) per
    structure of n atoms. The features are smooth in the positions, but equivalent atoms that change
    places change them. A mirror image has the same ones.

    References
    ----------
    .. [1] S. Chmiela et al., Sci. Adv. 3, e1603015 (2017), https://doi.org/10.1126/sciadv.1603015
    .. [2] S. Chmiela, H. E. Sauceda, K.-R. Mueller, A. Tkatchenko, Nat. Commun. 9, 3887 (2018),
       https://doi.org/10.1038/s41467-018-06169-2
    .. [3] P. O. Dral, A. Owens, S. N. Yurchenko, W. Thiel, J. Chem. Phys. 146, 244108 (2017),
       https://doi.org/10.1063/1.4989536: relative to the equilibrium.

    Examples
    --------
    >>> from ase.build import molecule
    >>> water = molecule("H2O")
    >>> InverseDistances().fit_transform(water).round(3).tolist()
    [[1.032, 1.032, 0.655]]
    >>> stretched = water.copy()
    >>> stretched.positions *= 1.25
    >>> InverseDistances(equilibrium=water).fit_transform(stretched).round(3).tolist()
    [[0.8, 0.8, 0.8]]
    """

    citation = (
        "S. Chmiela, A. Tkatchenko, H. E. Sauceda, I. Poltavsky, K. T. Schuett, K.-R. Mueller, "
        "Machine learning of accurate energy-conserving molecular force fields, Sci. Adv. 3, "
        "e1603015 (2017), https://doi.org/10.1126/sciadv.1603015; relative to an equilibrium: "
        "P. O. Dral, A. Owens, S. N. Yurchenko, W. Thiel, Structure-based sampling and "
        "self-correcting machine learning for accurate calculations of potential energy surfaces "
        "and vibrational levels, J. Chem. Phys. 146, 244108 (2017), "
        "https://doi.org/10.1063/1.4989536"
    )
    recommended_kernel = "gaussian"

    def __init__(self, equilibrium: Any = None, *, n_jobs: int | None = None) -> None:
        self.equilibrium = equilibrium
        self.n_jobs = n_jobs

    def _learn(self, structures: Structures) -> None:
        first = structures[0]
        n_atoms = len(first.numbers)
        if n_atoms < 2:
            raise StructureError(
                f"structure 0 ({first.formula}) has one atom and therefore no distances; "
                "InverseDistances describes molecules of two atoms or more"
            )
        self.numbers_ = first.numbers.copy()
        self._require_fit(structures)
        self.n_features_out_ = n_atoms * (n_atoms - 1) // 2
        self.scale_ = np.ones(self.n_features_out_)
        if self.equilibrium is not None:
            self.scale_ = 1.0 / self._compute(self._equilibrium())[0]

    def _equilibrium(self) -> Structures:
        """Return the equilibrium geometry that a user gave."""
        given = self.equilibrium
        rows = given[0] if isinstance(given, list | tuple) and given else given
        is_array = isinstance(rows, list | tuple) or (
            isinstance(rows, np.ndarray) and not rows.dtype.hasobject
        )
        try:
            if is_array:
                geometry = Structures(self.numbers_, given, [0, len(self.numbers_)])
            else:
                geometry = self._accepted(given)
                self._require_fit(geometry)
        except StructureError as error:
            raise SettingError(f"equilibrium is no geometry of the molecule: {error}") from None
        if len(geometry) != 1:
            raise SettingError(
                f"equilibrium holds {len(geometry)} structures; give the one geometry that "
                "distances are relative to"
            )
        return geometry

    def _require_fit(self, structures: Structures) -> None:
        n_atoms = len(self.numbers_)
        same = structures.sizes == n_atoms
        if same.all() and (structures.numbers.reshape(-1, n_atoms) == self.numbers_).all():
            return
        k = next(
            k for k, m in enumerate(structures) if not np.array_equal(m.numbers, self.numbers_)
        )
        numbers = structures[k].numbers
        shared = min(len(numbers), n_atoms)
        differ = np.flatnonzero(numbers[:shared] != self.numbers_[:shared])
        atom = int(differ[0]) if len(differ) else shared
        if atom == n_atoms:
            what = f"atom {atom} ({symbol(numbers[atom])}) is one too many"
        elif atom == len(numbers):
            what = f"atom {atom} ({symbol(self.numbers_[atom])}) is missing"
        else:
            what = f"atom {atom} is {symbol(numbers[atom])} and not {symbol(self.numbers_[atom])}"
        raise LayoutError(
            f"structure {k} ({formula(numbers)}): {what}; InverseDistances describes one molecule "
            f"({formula(self.numbers_)}) with its atoms in one order: sort the atoms, or take a "
            "descriptor of different molecules such as CoulombMatrix"
        )

    def _compute(self, structures: Structures) -> npt.NDArray[np.float64]:
        out = np.empty((len(structures), self.n_features_out_))

        def fill(start: int, stop: int) -> None:
            inverse_distances_jit.fill_inverse_distances(
                structures.positions, len(self.numbers_), self.scale_, out, start, stop
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return out

    def _feature_names(self) -> list[str]:
        numerator = "1" if self.equilibrium is None else "r_eq"
        return [f"{numerator}/r[{i},{j}]" for i in range(len(self.numbers_)) for j in range(i)]

    def _widen(self, structures: Structures) -> tuple[Descriptor, npt.NDArray[np.int64]]:
        self._require_fit(structures)
        return self, np.arange(self.n_features_out_)
