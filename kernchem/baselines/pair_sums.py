"""What pair potentials share, and their sums."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Hyperparameter

from kernchem.baselines.base import Baseline, BaselineResult
from kernchem.baselines.element_parameters import Parametrised
from kernchem.errors import SettingError
from kernchem.structures import Structures, as_structures

__all__ = ["Evaluation", "PairPotential", "PairSum"]

_Array = npt.NDArray[np.float64]


class Evaluation(NamedTuple):
    """What a pair potential returns of n structures that it can describe.

    Attributes
    ----------
    energies : array (n,)
        In kcal/mol.
    forces : array (n_atoms, 3)
        In kcal/mol/angstrom.
    slopes : array (n, p)
        Derivatives of the energies along theta.
    charges : array (n_atoms,) or None
        In elementary charges.
    """

    energies: _Array
    forces: _Array
    slopes: _Array
    charges: _Array | None = None


class PairPotential(Parametrised, Baseline):
    """Base of energies that are sums over pairs of atoms, with slopes along their parameters.

    A subclass lists its parameters in ``_parameters`` and defines ``_reasons`` and ``_evaluate``.
    Potentials add: ``DampedCoulomb() + ZBL()`` is a :class:`PairSum`.
    """

    @abstractmethod
    def _reasons(self, structures: Structures) -> list[str]:
        """Return why each structure cannot be described; "" where it can."""

    @abstractmethod
    def _evaluate(self, structures: Structures) -> Evaluation:
        """Return energies, forces and slopes of structures that can be described."""

    def compute(self, X: Any) -> BaselineResult:
        """Return energies, forces and charges of structures.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules.

        Returns
        -------
        BaselineResult
            In kcal/mol and kcal/mol/angstrom. A structure that is periodic, or that holds an
            element without parameters, has NaN and a reason.

        Raises
        ------
        SettingError
            If a parameter is not a positive number.
        PropertyError
            If the structures lack the property that holds the charges.
        """
        structures = as_structures(X)
        reasons = self._reasons(structures)
        usable = np.array([reason == "" for reason in reasons], dtype=bool)
        if usable.all():
            found = self._evaluate(structures)
            return BaselineResult(found.energies, tuple(reasons), found.forces, found.charges)
        atoms = np.repeat(usable, structures.sizes)
        energies = np.full(len(structures), np.nan)
        forces = np.full((len(atoms), 3), np.nan)
        charges = None
        if usable.any():
            found = self._evaluate(structures[usable])
            energies[usable], forces[atoms] = found.energies, found.forces
            if found.charges is not None:
                charges = np.full(len(atoms), np.nan)
                charges[atoms] = found.charges
        return BaselineResult(energies, tuple(reasons), forces, charges)

    def energies_and_slopes(self, X: Any) -> tuple[_Array, _Array]:
        """Return energies and their derivatives along theta, or say which structure has none.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules.

        Returns
        -------
        energies : array (n,)
            In kcal/mol.
        slopes : array (n, p)
            Derivatives along theta, the logarithms of the free parameters, kcal/mol.

        Raises
        ------
        StructureError
            If a structure has no energy; names the first one and the reason.
        """
        structures = as_structures(X)
        if any(self._reasons(structures)):
            self.energies(structures)
        found = self._evaluate(structures)
        return found.energies, found.slopes

    def __add__(self, other: PairPotential) -> PairSum:
        """Return the sum of two potentials."""
        if not isinstance(other, PairPotential):
            return NotImplemented
        return PairSum([*_terms_of(self), *_terms_of(other)])


class PairSum(PairPotential):
    """Sum of pair potentials, which ``+`` makes.

    Parameters
    ----------
    terms : sequence of PairPotential
        What is added. Its parameters are those of the terms, one term after the other.

    Raises
    ------
    SettingError
        If a term is no pair potential, or there is none.

    Notes
    -----
    The sum is one baseline, with one slope in a fit. Potentials that are to have a slope each are
    given to a model as several baselines.

    Examples
    --------
    >>> from kernchem.baselines import ZBL, DampedCoulomb
    >>> both = DampedCoulomb(width=1.2) + ZBL()
    >>> both
    PairSum(terms=[DampedCoulomb(width=1.2), ZBL()])
    >>> len(both.theta)
    1
    """

    def __init__(self, terms: Iterable[PairPotential]) -> None:
        self.terms = terms

    def _checked_terms(self) -> list[PairPotential]:
        terms = list(self.terms) if isinstance(self.terms, list | tuple) else []
        if not terms or not all(isinstance(term, PairPotential) for term in terms):
            raise SettingError(
                f"terms={self.terms!r}; give pair potentials, as in DampedCoulomb() + ZBL()"
            )
        return terms

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """Those of the terms; the name of one of the second term begins with "1__"."""
        return [
            found._replace(name=f"{k}__{found.name}")
            for k, term in enumerate(self._checked_terms())
            for found in term.hyperparameters
        ]

    @property
    def theta(self) -> _Array:
        """Logarithms of the free parameters of all terms, array (p,)."""
        return np.concatenate([term.theta for term in self._checked_terms()])

    @property
    def bounds(self) -> _Array:
        """Bounds of theta, array (p, 2)."""
        return np.vstack([term.bounds for term in self._checked_terms()])

    def clone_with_theta(self, theta: npt.ArrayLike) -> Self:
        """Return a copy with other parameters; as that of each term.

        Parameters
        ----------
        theta : array (p,)
            Logarithms, in the order of :attr:`theta`.

        Returns
        -------
        PairSum
            Of the same terms.
        """
        terms = self._checked_terms()
        logs = np.asarray(theta, dtype=np.float64)
        ends = np.cumsum([len(term.theta) for term in terms])
        if logs.shape != (ends[-1],):
            raise SettingError(f"theta={theta!r}; give {ends[-1]} numbers, one per free parameter")
        parts = np.split(logs, ends[:-1])
        changed = [term.clone_with_theta(part) for term, part in zip(terms, parts, strict=True)]
        copy: Self = clone(self).set_params(terms=changed)
        return copy

    def _reasons(self, structures: Structures) -> list[str]:
        columns = [term._reasons(structures) for term in self._checked_terms()]
        return [next(filter(None, reasons), "") for reasons in zip(*columns, strict=True)]

    def _evaluate(self, structures: Structures) -> Evaluation:
        parts = [term._evaluate(structures) for term in self._checked_terms()]
        charges = [part.charges for part in parts if part.charges is not None]
        return Evaluation(
            np.sum([part.energies for part in parts], axis=0),
            np.sum([part.forces for part in parts], axis=0),
            np.hstack([part.slopes for part in parts]),
            # Two sets of charges are those of neither.
            charges[0] if len(charges) == 1 else None,
        )


def _terms_of(potential: PairPotential) -> list[PairPotential]:
    return potential._checked_terms() if isinstance(potential, PairSum) else [potential]
