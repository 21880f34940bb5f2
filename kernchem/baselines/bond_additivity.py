"""Energies of a program with a correction for each bond, in proportion to its bond order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import is_positive, short
from kernchem.baselines.base import Baseline, BaselineResult
from kernchem.baselines.programs import ProgramBaseline
from kernchem.descriptors.pairs import element_kinds, pair_name, pair_table
from kernchem.descriptors.radii import element_numbers
from kernchem.elements import symbol
from kernchem.errors import SettingError, UnknownElementError
from kernchem.structures import as_structures

__all__ = ["BondAdditivity"]

_Array = npt.NDArray[np.float64]


class BondAdditivity(Baseline):
    r"""A program with bond additivity corrections, which a model on top fits.

    .. math:: y(A) = s\, E(A) + \sum_{Z \le Z'} c_{ZZ'} \sum_{i < j} B_{ij}

    with the program's energy E and its bond orders B, summed over the pairs of atoms of the
    elements Z and Z'. A semiempirical method is off by about the same amount for each bond of a
    kind; what can be said so takes few labels to learn. :class:`kernchem.DeltaLearner` fits the
    slope s and the corrections c, together with an energy per atom of each element.

    Parameters
    ----------
    baseline : ProgramBaseline
        A program that has bond orders, such as ``GFN2(cache="folder")``. They are asked for.
    std : float, default 24.0
        What is believed of corrections beforehand: their standard deviation about zero, in the unit
        of the labels (kcal/mol) per bond order. It keeps those of bonds that few molecules have
        from running away.
    species : sequence of str or int, optional
        Elements whose bonds are corrected, and no others may occur; by default those of the
        training set.

    Raises
    ------
    SettingError
        If the baseline has no bond orders, or an argument makes no sense.

    Notes
    -----
    One column for the energy and one for each of n (n + 1) / 2 pairs of n elements. Error bars take
    corrections as known, like all slopes of a :class:`kernchem.DeltaLearner`.

    References
    ----------
    J. Anantharaman, C. F. Melius, J. Phys. Chem. A 109, 1734 (2005),
    https://doi.org/10.1021/jp045883l

    G. A. Petersson, D. K. Malick, W. G. Wilson, J. W. Ochterski, J. A. Montgomery, M. J. Frisch,
    J. Chem. Phys. 109, 10570 (1998), https://doi.org/10.1063/1.477794

    Examples
    --------
    >>> from kernchem.baselines import GFN2
    >>> BondAdditivity(GFN2(), species=["H", "C"]).column_names()
    ['energy', 'H-H', 'C-H', 'C-C']
    """

    def __init__(
        self, baseline: ProgramBaseline, *, std: float = 24.0, species: Any = None
    ) -> None:
        self.baseline = baseline
        self.std = std
        self.species = species

    def compute(self, X: Any) -> BaselineResult:
        """Return what the program says, bond orders included.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules or materials.

        Returns
        -------
        BaselineResult
            Energies are not corrected. A structure that fails has NaN and a reason.
        """
        return self._program().compute(X)

    def columns(self, X: Any) -> _Array:
        """Return energies, and sums of bond orders for each pair of elements.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules or materials.

        Returns
        -------
        array (n, 1 + n_pairs)
            In the order of :meth:`column_names`: kcal/mol, and dimensionless.

        Raises
        ------
        StructureError
            If a structure has no energy; names the first one and the reason.
        UnknownElementError
            If a structure holds an element that is not among the species.
        """
        structures = as_structures(X)
        elements = self._elements()
        strange = np.flatnonzero(~np.isin(structures.numbers, elements))
        if len(strange):
            k = int(np.searchsorted(structures.offsets, strange[0], side="right")) - 1
            raise UnknownElementError(
                f"structure {k} ({structures[k].formula}): bonds of "
                f"{symbol(structures.numbers[strange[0]])} are not corrected; add it to species, "
                "fit on molecules that contain it, or drop this one"
            )
        result = self._program().compute_all(structures)
        kinds = element_kinds(structures.numbers, elements)
        pairs, table = pair_table(elements)
        out = np.empty((len(structures), 1 + len(pairs)))
        out[:, 0] = result.energies
        for k, bond_orders in enumerate(result.bond_orders or ()):
            own = kinds[structures.offsets[k] : structures.offsets[k + 1]]
            number = table[own[:, None], own]
            above = np.triu_indices(len(own), 1)
            out[k, 1:] = np.bincount(number[above], bond_orders[above], minlength=len(pairs))
        return out

    def fit_columns(self, X: Any) -> tuple[Baseline, _Array]:
        """Return the columns of a training set, and the baseline with its elements.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Training set.

        Returns
        -------
        baseline : BondAdditivity
            With the species of the training set, unless they were given.
        columns : array (n, 1 + n_pairs)
            Its :meth:`columns`.

        Raises
        ------
        StructureError
            If a structure has no energy; names the first one and the reason.
        """
        structures = as_structures(X)
        species = self.species
        if species is None:
            species = np.unique(structures.numbers).tolist()
        fitted = BondAdditivity(self.baseline, std=self.std, species=species)
        return fitted, fitted.columns(structures)

    def slope_std(self, n_columns: int) -> _Array:
        """Return what is believed of the slopes beforehand: nothing of the energy's, else ``std``.

        Parameters
        ----------
        n_columns : int
            Their number.

        Returns
        -------
        array (n_columns,)
            Standard deviations about zero.
        """
        return np.array([np.inf] + [float(self.std)] * (n_columns - 1))

    def column_names(self) -> list[str]:
        """Return what the columns hold.

        Returns
        -------
        list of str
            "energy", and pairs of elements such as "C-H".
        """
        elements = self._elements()
        pairs, _ = pair_table(elements)
        return ["energy", *(pair_name(elements[a], elements[b]) for a, b in pairs)]

    def _elements(self) -> tuple[int, ...]:
        """Return the atomic numbers of the species, ascending."""
        if self.species is None:
            raise SettingError(
                "species are those of the training set: fit a DeltaLearner first, or give them, "
                "e.g. species=['H', 'C', 'N', 'O']"
            )
        return element_numbers(self.species, "species")

    def _program(self) -> ProgramBaseline:
        """Return the program with its bond orders."""
        program = self.baseline
        settings = program.get_params(deep=False) if isinstance(program, ProgramBaseline) else {}
        if "bond_orders" not in settings:
            raise SettingError(
                f"baseline={short(program)} has no bond orders; use GFN1, GFN2, AM1, PM6 or PM7"
            )
        if not is_positive(self.std):
            raise SettingError(f"std={self.std!r} is not a positive number")
        return type(program)(**settings | {"bond_orders": True})
