"""The base of baselines, and what they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from kernchem.errors import StructureError
from kernchem.structures import Structures, as_structures

__all__ = ["Baseline", "BaselineResult"]

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BaselineResult:
    """What a baseline knows of n structures; NaN where it failed or does not offer a quantity.

    Parameters
    ----------
    energies : array (n,)
        Total energies, kcal/mol.
    reasons : tuple of str, length n
        Why a structure has no energy; "" where it has one.
    forces : array (n_atoms, 3), optional
        Minus the gradient of the energy, kcal/mol/angstrom, atoms of all structures behind each
        other.
    charges : array (n_atoms,), optional
        Partial charges, elementary charges.
    dipoles : array (n, 3), optional
        Elementary charges times angstrom.
    notes : tuple of str, optional
        What a user should know of a structure that has an energy, e.g. that a second attempt was
        needed; "" elsewhere.
    bond_orders : tuple of array (n_atoms, n_atoms), length n, optional
        Between the atoms of each structure, dimensionless; symmetric, zero on the diagonal.

    Attributes
    ----------
    ok : array (n,) of bool
        Which structures have an energy.
    """

    energies: _Array
    reasons: tuple[str, ...]
    forces: _Array | None = None
    charges: _Array | None = None
    dipoles: _Array | None = None
    notes: tuple[str, ...] = ()
    bond_orders: tuple[_Array, ...] | None = None

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Which structures have an energy, array (n,) of bool."""
        return np.isfinite(self.energies)


class Baseline(BaseEstimator, ABC):
    """A cheap energy of structures, which a model corrects.

    A subclass stores its settings untouched in its constructor, as scikit-learn demands, and
    defines ``compute``.
    """

    @abstractmethod
    def compute(self, X: Any) -> BaselineResult:
        """Return energies, and what else is known, of structures.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules or materials.

        Returns
        -------
        BaselineResult
            A structure that fails has NaN and a reason; it never stops the others.
        """

    def energies(self, X: Any) -> _Array:
        """Return energies, or say for which structure there is none.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules or materials.

        Returns
        -------
        array (n,)
            Energies, kcal/mol.

        Raises
        ------
        StructureError
            If a structure has no energy; names the first one and the reason.
        """
        return self.compute_all(as_structures(X)).energies

    def compute_all(self, structures: Structures) -> BaselineResult:
        """Return what is known of structures, or say which of them has no energy.

        Parameters
        ----------
        structures : Structures
            Molecules or materials.

        Returns
        -------
        BaselineResult
            With an energy of each.

        Raises
        ------
        StructureError
            If a structure has no energy; names the first one and the reason.
        """
        result = self.compute(structures)
        failed = np.flatnonzero(~result.ok)
        if len(failed):
            raise StructureError(_failure(structures, result, int(failed[0]), len(failed)))
        return result

    # -- columns below a model --------------------------------------------------------------------

    def columns(self, X: Any) -> _Array:
        """Return what a model of the difference subtracts with a slope each.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules or materials.

        Returns
        -------
        array (n, n_columns)
            Energies, kcal/mol, as one column unless a subclass has more.

        Raises
        ------
        StructureError
            If a structure has no energy; names the first one and the reason.
        """
        return self.energies(X)[:, None]

    def fit_columns(self, X: Any) -> tuple[Baseline, _Array]:
        """Return the columns of a training set, and the baseline that has the same of others.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Training set.

        Returns
        -------
        baseline : Baseline
            This one, unless a subclass learns which columns there are.
        columns : array (n, n_columns)
            Its :meth:`columns`.

        Raises
        ------
        StructureError
            If a structure has no energy; names the first one and the reason.
        """
        return self, self.columns(X)

    def slope_std(self, n_columns: int) -> _Array:
        """Return what is believed of the slopes of the columns beforehand.

        Parameters
        ----------
        n_columns : int
            Their number.

        Returns
        -------
        array (n_columns,)
            Standard deviations about zero, infinite where the slope is free; kcal/mol per unit of
            the column.
        """
        return np.full(n_columns, np.inf)


def _failure(structures: Structures, result: BaselineResult, first: int, n_failed: int) -> str:
    return (
        f"structure {first} ({structures[first].formula}): no baseline energy: "
        f"{result.reasons[first]}; drop the {n_failed} such structures (compute(X).ok tells which) "
        "or repair them"
    )
