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
        structures = as_structures(X)
        result = self.compute(structures)
        failed = np.flatnonzero(~result.ok)
        if len(failed):
            raise StructureError(_failure(structures, result, int(failed[0]), len(failed)))
        return result.energies


def _failure(structures: Structures, result: BaselineResult, first: int, n_failed: int) -> str:
    return (
        f"structure {first} ({structures[first].formula}): no baseline energy: "
        f"{result.reasons[first]}; drop the {n_failed} such structures (compute(X).ok tells which) "
        "or repair them"
    )
