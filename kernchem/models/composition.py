"""What of a property the number of atoms of each element explains."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from kernchem._validation import check_labels, check_weights
from kernchem.elements import formula, symbol
from kernchem.errors import CompositionError, UnknownElementError
from kernchem.structures import Structures, as_structures

__all__ = ["CompositionBaseline", "CompositionSpace"]

_Array = npt.NDArray[np.float64]

#: Singular values below this fraction of the largest one are dependencies among element counts.
_RANK = 1e-10
#: A composition with a larger part outside the space of the training set is refused.
_OUTSIDE = 1e-8


class CompositionSpace:
    """The space that the element counts of a training set span.

    Counts are kept as they are (float64) and reduced to their column space by a singular value
    decomposition: molecules in which two elements always go together do not determine an energy
    for each, and the minimum-norm answer would be silently wrong for a molecule that breaks the
    rule. Such a molecule is refused.

    Parameters
    ----------
    structures : Structures
        Training set.

    Attributes
    ----------
    elements : tuple of int
        Atomic numbers of the training set, ascending.
    vectors : array (n_elements, rank)
        Retained right singular vectors.
    n_structures, largest : int
        Number of structures, and of atoms in the largest of them.
    """

    def __init__(self, structures: Structures) -> None:
        self.elements = structures.elements
        self.n_structures, self.largest = len(structures), int(structures.sizes.max())
        counts = self.counts(structures)
        _, values, transposed = np.linalg.svd(counts, full_matrices=False)
        self.vectors: _Array = transposed[values > _RANK * values[0]].T

    @classmethod
    def restored(
        cls, elements: tuple[int, ...], vectors: _Array, n_structures: int, largest: int
    ) -> CompositionSpace:
        """Make the space that has these attributes, as a model file keeps them."""
        self = object.__new__(cls)
        self.elements, self.vectors = elements, vectors
        self.n_structures, self.largest = n_structures, largest
        return self

    def counts(self, structures: Structures) -> _Array:
        """Return the number of atoms of each element, array (n_structures, n_elements).

        Raises
        ------
        UnknownElementError
            If a structure holds an element that the training set did not.
        """
        column = np.searchsorted(self.elements, structures.numbers)
        known = np.isin(structures.numbers, self.elements)
        owner = np.repeat(np.arange(len(structures)), structures.sizes)
        if not known.all():
            atom = int(np.flatnonzero(~known)[0])
            raise UnknownElementError(
                f"structure {owner[atom]} ({formula(structures[int(owner[atom])].numbers)}): the "
                f"energy of element {symbol(structures.numbers[atom])} was not learnt; the "
                f"training set holds {' '.join(symbol(z) for z in self.elements)} only"
            )
        counts = np.zeros((len(structures), len(self.elements)))
        np.add.at(counts, (owner, column), 1.0)
        return counts

    def basis(self, structures: Structures) -> _Array:
        """Return the coordinates of compositions in the space, array (n_structures, rank).

        Raises
        ------
        CompositionError
            If a structure's composition lies outside the space; the message names it.
        """
        counts = self.counts(structures)
        coordinates = counts @ self.vectors
        missing = counts - coordinates @ self.vectors.T
        outside = np.linalg.norm(missing, axis=1) > _OUTSIDE * np.linalg.norm(counts, axis=1)
        if outside.any():
            k = int(np.flatnonzero(outside)[0])
            combination = " ".join(
                f"{weight:+.2f} {symbol(z)}"
                for z, weight in zip(self.elements, missing[k], strict=True)
                if abs(weight) > _OUTSIDE
            )
            raise CompositionError(
                f"structure {k} ({formula(structures[k].numbers)}): its composition holds a "
                f"combination of elements ({combination}) that the training set never varied, so "
                "its energy is not determined; add molecules of other proportions to the training "
                "set, or use composition=False"
            )
        return np.asarray(coordinates)


class CompositionBaseline(RegressorMixin, BaseEstimator):
    r"""Least-squares energies of the elements.

    .. math:: E(A) = \sum_Z n_Z(A)\, \varepsilon_Z

    The part of an extensive property that the composition explains: what any model must beat.

    Attributes
    ----------
    elements_ : tuple of int
        Atomic numbers of the training set.
    coef_ : array (n_elements,) or (n_elements, n_targets)
        Energy per atom of each element, in the unit of the labels (minimum norm where the
        training set does not determine them).

    Notes
    -----
    O(n p^2) for n molecules of p elements.

    References
    ----------
    Ramakrishnan and von Lilienfeld, Many molecular properties from one kernel in chemical space,
    CHIMIA 69, 182 (2015), https://doi.org/10.2533/chimia.2015.182

    Examples
    --------
    >>> from ase.build import molecule
    >>> molecules = [molecule("CH4"), molecule("C2H6"), molecule("C2H4")]
    >>> model = CompositionBaseline().fit(molecules, [-17.0, -29.0, -23.0])
    >>> model.predict([molecule("C3H8")]).round(6)
    array([-40.333333])
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CompositionBaseline:
        """Fit one energy per element.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules.
        y : array (n,) or (n, n_targets)
            Labels.
        sample_weight : array (n,), optional
            Weights of the squared residuals.

        Returns
        -------
        CompositionBaseline
            This object.
        """
        structures = as_structures(X)
        labels = check_labels(y, len(structures))
        weights = check_weights(sample_weight, len(structures))
        kept = np.flatnonzero(weights > 0)
        structures, root = structures[kept], np.sqrt(weights[kept])
        self._space = CompositionSpace(structures)
        weighted = (labels[kept].T * root).T
        basis = self._space.basis(structures) * root[:, None]
        solution = np.linalg.lstsq(basis, weighted, rcond=None)[0]
        self.elements_ = self._space.elements
        self.coef_ = self._space.vectors @ solution
        return self

    def predict(self, X: Any) -> _Array:
        """Return the sum of the energies of a molecule's atoms.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules of elements and proportions that the training set determined.

        Returns
        -------
        array (n,) or (n, n_targets)
            In the unit of the labels.

        Raises
        ------
        UnknownElementError, CompositionError
            If the training set does not determine the energy of a molecule.
        """
        check_is_fitted(self, "coef_")
        basis = self._space.basis(as_structures(X))
        return np.asarray(basis @ (self._space.vectors.T @ self.coef_))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.multi_output = True
        tags.no_validation = True
        return tags
