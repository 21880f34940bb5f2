"""What kernel models share: samples in, features and linear part, solution, predictions."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, validate_data

from kernchem._threads import blas_for
from kernchem._validation import check_labels, check_weights, numbered
from kernchem.descriptors import Descriptor
from kernchem.elements import formula
from kernchem.errors import KernchemWarning, SettingError, StructureError
from kernchem.kernels import NAMED_KERNELS
from kernchem.kernels.declarations import indefinite_cause
from kernchem.models.composition import CompositionSpace
from kernchem.models.joint import JointKernel, with_columns
from kernchem.models.label_errors import LabelErrors
from kernchem.models.recipes import RECIPES
from kernchem.models.terms import Terms, joined, kernel_for, with_widths
from kernchem.models.training_set import TrainingSet, fold_numbers
from kernchem.models.tuning import Trial, kernel_matrix
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares
from kernchem.structure import Structure
from kernchem.structures import Structures, as_structures

__all__ = ["KernelModel", "Prepared", "panels", "require_choice", "require_symmetric", "settled"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Private attributes that ``fit`` sets.
_STATE = (
    "_training",
    "_dual",
    "_linear_coef",
    "_space",
    "_largest",
    "_kept",
    "_labels",
    "_group_folds",
    "_target_shape",
    "_noise_levels",
    "_diagonal",
    "_likeness",
    "_posterior",
    "_unsettled",
    "_scales",
    "_quantiles",
    "_scores",
)
#: Largest difference between a kernel matrix and its transpose, relative to its elements.
_ASYMMETRY = 1e-8
#: Rows of a kernel matrix that are held at a time while the whole of it is not needed.
_PANEL = 2048


class Prepared(NamedTuple):
    """Input of a fit.

    Attributes
    ----------
    samples : array or Structures
        Samples of a weight above zero.
    labels : array (n_samples,) or (n_samples, n_targets)
        Labels of all samples.
    weights : array (n_samples,)
        Weights of all samples.
    kept : array of int
        Numbers of the samples of a weight above zero.
    training : TrainingSet
        Distinct ones of them, with features.
    folds : list of array of int or None
        Distinct samples that are left out together.
    """

    samples: Any
    labels: _Array
    weights: _Array
    kept: _Rows
    training: TrainingSet
    folds: list[_Rows] | None


class KernelModel(RegressorMixin, BaseEstimator):
    """Base class of regressors with a kernel part and an unpenalised linear part.

    A subclass has ``kernel``, ``descriptor`` and ``composition`` among its arguments and implements
    the hooks below; the steps of a fit are those of :meth:`_fit`, in order.
    """

    #: Whether all labels are of one level, so that ``kernel_`` and ``dual_coef_`` tell the mean.
    one_level = True

    kernel: Any
    descriptor: Any
    composition: bool | Literal["auto"]
    cv: Any
    kernel_: Any
    alpha_: Any
    condition_: float
    jitter_: float
    trials_: list[Trial]
    #: Whether the folds of groups are needed after ``fit``.
    _keeps_folds = False
    #: Fold of each sample, -1 for none, where ``fit`` was given groups.
    _group_folds: _Rows | None = None

    @abstractmethod
    def _check_own_settings(self) -> None:
        """Raise if an argument that other models lack has a value it cannot have."""

    @abstractmethod
    def _choose(self, training: TrainingSet, folds: list[_Rows] | None) -> None:
        """Set ``kernel_`` and the noise, by their errors where that is asked for."""

    def _choose_on_all(self, K: _Array, training: TrainingSet, folds: list[_Rows] | None) -> None:
        """Choose anew what is cheap to choose on all rows, once the kernel matrix is there."""

    @abstractmethod
    def _noise(self, K: _Array, training: TrainingSet) -> _Array:
        """Return what is added to the diagonal of the kernel matrix, array (n,)."""

    def _finish(self, factor: CholeskyFactor, solution: GeneralisedLeastSquares) -> None:
        """Keep what the model needs besides its mean."""

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        noise: Any = None,
        noise_groups: Any = None,
    ) -> None:
        """Fit the model; ``noise`` and ``noise_groups`` as in :meth:`kernchem.GPR.fit`."""
        given = self._prepared(X, y, sample_weight, groups, self.cv, noise, noise_groups)
        training, kept, labels = given.training, given.kept, given.labels
        targets = labels.reshape(len(labels), -1)
        with blas_for(len(training)):
            self._choose(training, given.folds)
            K = kernel_matrix(self.kernel_, training.features)
            self._choose_on_all(K, training, given.folds)
            factor, solution = self._solve(training, K=K)
            del K  # which holds the factor now
            self.condition_, self.jitter_ = factor.condition(), factor.jitter
            self._keep(training, solution.dual, solution.coef, kept, targets, labels.shape[1:])
            self._report(solution, given.samples)
            self._finish(factor, solution)

    def predict(self, X: Any) -> _Array:
        """Return predictions.

        Parameters
        ----------
        X : array (n, n_features), kernel matrix (n, n_samples), or structures
            What to predict.

        Returns
        -------
        array (n,) or (n, n_targets)
            In the unit of the labels.

        Raises
        ------
        UnknownElementError, CompositionError
            If a molecule holds an element or a combination of elements that was absent in ``fit``.
        """
        return self._like_labels(self._mean(*self._queries(X)))

    def _mean(self, features: Any, known: Any, basis: _Array) -> _Array:
        """Return predictions (m, n_targets) for what :meth:`_queries` returned."""
        out = np.asarray(basis @ self._linear_coef)
        for panel in panels(len(features)):
            out[panel] += self._cross_kernel(features[panel], known) @ self._dual
        return out

    def leave_out_residuals(self, cv: Any = None, groups: Any = None) -> _Array:
        """Return residuals of the training samples under any partition, in closed form.

        Parameters
        ----------
        cv : int, splitter or None, default None
            Folds as in scikit-learn, without overlap; None leaves out one group at a time, or one
            sample where there are no groups.
        groups : array (n_samples,), optional
            Group of each sample that was given to ``fit``.

        Returns
        -------
        array (n_samples,) or (n_samples, n_targets)
            ``y_i - f_-B(x_i)`` with the sample's fold B left out and the composition refitted at
            fixed hyperparameters; equal to explicit refits with the same noise on the diagonal.
            NaN as in ``loo_residuals_``.

        Notes
        -----
        One factorisation and one inversion, 2 n^3 / 3 flops, of a model that does not keep them,
        plus n^2 per sample of the largest fold. Identical samples leave together, with the first of
        them that is in a fold.
        """
        check_is_fitted(self, "dual_coef_")
        with blas_for(len(self._training)):
            residuals = self._left_out(self._folds(cv, groups))
        return self._residuals_of_samples(self._training, residuals)

    def _folds(self, cv: Any, groups: Any) -> list[_Rows] | None:
        """Return the distinct training samples of each fold; None leaves out one at a time."""
        fold = fold_numbers(cv, groups, self._labels)
        return self._training.folds(None if fold is None else fold[self._kept])

    def _left_out(self, folds: list[_Rows] | None) -> _Array:
        """Return residuals (n, n_targets) of the distinct training samples."""
        solution = self._solution()
        return solution.loo(folds)[0]

    def _solution(self) -> GeneralisedLeastSquares:
        """Return the solution of the fit, computed anew unless the model keeps it."""
        return self._solve(self._training, self.jitter_)[1]

    # -- the steps of fit, in order ---------------------------------------------------------------

    def _prepared(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        cv: Any,
        noise: Any = None,
        noise_groups: Any = None,
    ) -> Prepared:
        """Check everything, compute features and merge samples; forget an earlier fit."""
        self._check_settings()
        self._forget()
        samples, labels = self._checked_input(X, y)
        weights = check_weights(sample_weight, len(labels))
        kept = np.flatnonzero(weights > 0)
        if len(kept) < len(labels):
            samples = samples[np.ix_(kept, kept)] if self._precomputed else samples[kept]
        targets = labels.reshape(len(labels), -1)
        fold = fold_numbers(cv, groups, targets)
        if groups is not None and self._keeps_folds:
            self._group_folds = fold
        errors = LabelErrors.of(noise, noise_groups, len(labels)).take(kept)
        with numbered(kept):
            training = self._training_set(samples, targets[kept], weights[kept], errors)
        folds = training.folds(None if fold is None else fold[kept])
        return Prepared(samples, labels, weights, kept, training, folds)

    def _check_settings(self) -> None:
        kernels = (*NAMED_KERNELS, *RECIPES, "precomputed")
        self._check_own_settings()
        if isinstance(self.kernel, str) and self.kernel not in kernels:
            raise SettingError(
                f"kernel={self.kernel!r}; use a kernel or one of {', '.join(kernels)}"
            )
        if not (self.kernel is None or isinstance(self.kernel, str | Kernel | Terms)):
            raise SettingError(
                f"kernel={self.kernel!r} is no kernel; use one of {', '.join(kernels)}, or an "
                "object such as Gaussian()"
            )
        if not (self.descriptor is None or isinstance(self.descriptor, Descriptor)):
            raise SettingError(
                f"descriptor={self.descriptor!r} is no descriptor object such as BagOfBonds(); "
                f"other transformers go before {type(self).__name__}() in a pipeline"
            )
        require_choice("composition", self.composition, (True, False, "auto"))
        if self._terms is not None and self.descriptor is not None:
            raise SettingError(
                f"kernel={self.kernel!r} brings its own descriptors: leave out descriptor="
            )
        if self.descriptor is not None and self._precomputed:
            raise SettingError("kernel='precomputed' takes a kernel matrix: leave out descriptor=")
        if not self.takes_structures and self.composition is True:
            raise SettingError(
                "composition=True counts atoms, so it needs structures: give descriptor= too"
            )
        if self._terms is not None:
            joined(self._terms)
        elif self.descriptor is not None:
            kernel_for(self.descriptor, self.kernel)

    def _forget(self) -> None:
        """Remove what an earlier fit left, so that nothing of it survives one that fails."""
        for name in list(vars(self)):
            if name in _STATE or (name.endswith("_") and not name.startswith("_")):
                delattr(self, name)

    @property
    def takes_structures(self) -> bool:
        """Whether samples are structures; else they are rows of numbers."""
        return self.descriptor is not None or self._terms is not None

    @property
    def _terms(self) -> Terms | None:
        """Terms that the kernel is made of, if it is."""
        if isinstance(self.kernel, str) and self.kernel in RECIPES:
            return RECIPES[self.kernel]()
        return self.kernel if isinstance(self.kernel, Terms) else None

    @property
    def _precomputed(self) -> bool:
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def _checked_input(self, X: Any, y: Any) -> tuple[Any, _Array]:
        """Return samples that can be indexed and finite labels."""
        if self.takes_structures:
            structures = as_structures(X)
            return structures, check_labels(y, len(structures))
        # A kernel matrix is too large to be copied; features are, as predictions depend on them.
        samples = self._rows_of(X, copy=not self._precomputed)
        if self._precomputed:
            require_symmetric(samples)
        return samples, check_labels(y, len(samples))

    def _rows_of(self, X: Any, **options: Any) -> _Array:
        """Return samples as rows of numbers, checked by scikit-learn with these options."""
        several = isinstance(X, list | tuple | Structures) or getattr(X, "ndim", 0) == 1
        one = next(iter(X), None) if several else X
        if isinstance(one, Structure) or hasattr(one, "get_atomic_numbers"):
            name = type(self).__name__
            raise StructureError(
                "structures are not numbers: give descriptor=, e.g. "
                f"{name}(descriptor=BagOfBonds()), or put a descriptor before it in a pipeline"
            )
        rows: _Array = validate_data(self, X, dtype=np.float64, **options)
        return rows

    def _training_set(
        self, samples: Any, targets: _Array, weights: _Array, errors: LabelErrors
    ) -> TrainingSet:
        """Return distinct samples with features and linear part, and learn the layout of both."""
        self._space: CompositionSpace | None = None
        self._largest = int(samples.sizes.max()) if self.takes_structures else None
        if self._precomputed:
            return TrainingSet.all(samples, targets, weights, errors=errors)
        if not self.takes_structures:
            return self._gather(samples, targets, weights, None, errors)
        if self._terms is None:
            self.descriptor_: Any = clone(self.descriptor).fit(samples)
        else:
            self.descriptor_ = joined(self._terms)[0].fit(samples)
        features = self.descriptor_._described(samples)
        basis = None
        if self.composition is not False:
            self._space = CompositionSpace(samples)
            basis = self._space.basis(samples)
        if isinstance(features, np.ndarray):
            return self._gather(features, targets, weights, basis, errors)
        told = _bytes_of(samples)
        return TrainingSet.distinct(features, targets, weights, basis, told, errors)

    def _gather(
        self,
        features: _Array,
        targets: _Array,
        weights: _Array,
        basis: _Array | None,
        errors: LabelErrors,
    ) -> TrainingSet:
        """Merge identical samples, unless the kernel itself tells a sample from its copy."""
        kernel, one = self._initial_kernel(features), features[:1]
        if np.allclose(kernel(one), kernel(one, one.copy()), rtol=1e-12, atol=0.0):
            return TrainingSet.distinct(features, targets, weights, basis, errors=errors)
        return TrainingSet.all(features, targets, weights, basis, errors)

    def _initial_kernel(self, features: Any) -> Any:
        """Return a fresh kernel, with which the search starts."""
        if self._precomputed:
            return None
        if self._terms is not None:
            _, kernel, widths = joined(self._terms)
            return with_widths(kernel, features, widths)
        if self.descriptor is not None:
            return kernel_for(self.descriptor, self.kernel)
        given = "gaussian" if self.kernel is None else self.kernel
        return NAMED_KERNELS[given]() if isinstance(given, str) else clone(given)

    def _solve(
        self, training: TrainingSet, jitter: float = 0.0, K: _Array | None = None
    ) -> tuple[CholeskyFactor, GeneralisedLeastSquares]:
        """Return factor and solution at the hyperparameters that were chosen; K is overwritten."""
        if K is None:
            K = kernel_matrix(self.kernel_, training.features)
        noise = self._noise(K, training) + jitter
        factor = CholeskyFactor(K, noise, cause=indefinite_cause(self.kernel_))
        return factor, GeneralisedLeastSquares(factor, training.targets, training.basis)

    def _keep(
        self,
        training: TrainingSet,
        dual: _Array,
        linear_coef: _Array,
        kept: _Rows,
        labels: _Array,
        target_shape: tuple[int, ...],
    ) -> None:
        """Keep what ``predict`` and ``leave_out_residuals`` need."""
        self._training, self._dual, self._linear_coef = training, dual, linear_coef
        self._kept, self._labels, self._target_shape = kept, labels, target_shape
        coefficients = np.zeros(labels.shape)
        coefficients[kept[training.first]] = dual
        self.dual_coef_ = self._like_labels(coefficients)
        if self._space is not None:
            self.elements_ = self._space.elements
            self.composition_ = self._like_labels(self._space.vectors @ linear_coef)

    def _report(self, solution: GeneralisedLeastSquares, samples: Any) -> None:
        """Set the leave-one-out residuals, and name the molecules that have none."""
        training, kept = self._training, self._kept
        residuals = solution.loo(training.partition)[0]
        self.loo_residuals_ = self._residuals_of_samples(training, residuals)
        lonely = np.flatnonzero(np.isnan(residuals).any(axis=1))
        if len(lonely) and self._space is not None:
            rows = kept[training.first[lonely]]
            names = [
                f"{row} ({formula(samples[int(training.first[k])].numbers)})"
                for row, k in zip(rows[:5], lonely[:5], strict=True)
            ]
            warnings.warn(
                f"{len(lonely)} molecules alone determine the energy of an element or of a "
                f"combination of elements and cannot be left out: {', '.join(names)}; their "
                "leave-one-out residuals are NaN. Add molecules of similar composition.",
                KernchemWarning,
                stacklevel=3,
            )

    # -- helpers ----------------------------------------------------------------------------------

    def _queries(self, X: Any) -> tuple[Any, Any, _Array]:
        """Return features of samples and of the training set, and the linear part (m, p)."""
        check_is_fitted(self, "dual_coef_")
        if not self.takes_structures:
            features = self._rows_of(X, reset=False)
            return features, self._training.features, np.zeros((len(features), 0))
        structures = as_structures(X)
        features, known = self._features_with_training(structures)
        if self._space is None:
            return features, known, np.zeros((len(structures), 0))
        return features, known, self._space.basis(structures)

    def _features_with_training(self, structures: Any) -> tuple[Any, Any]:
        """Return features of structures and of the training set under a layout that holds both."""
        descriptor, columns = self.descriptor_.widened(structures)
        features = descriptor._described(structures)
        return features, with_columns(self._training.features, columns, features)

    def _cross_kernel(self, features: Any, known: Any) -> _Array:
        if self.kernel_ is None:
            return np.asarray(features[:, self._kept])
        return np.asarray(self.kernel_(features, known))

    def _residuals_of_samples(self, training: TrainingSet, residuals: _Array) -> _Array:
        out = np.full_like(self._labels, np.nan)
        out[self._kept] = training.residuals_of_samples(residuals, self._labels[self._kept])
        return self._like_labels(out)

    def _like_labels(self, values: _Array) -> _Array:
        """Return values (n, t) in the shape that the labels had."""
        return values.reshape(len(values), *self._target_shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.pairwise = self._precomputed
        if self.takes_structures:
            tags.input_tags.two_d_array = False
            tags.no_validation = True
        return tags


def panels(n_rows: int) -> list[slice]:
    """Return slices of rows of a kernel matrix that are held at a time."""
    return [slice(start, start + _PANEL) for start in range(0, n_rows, _PANEL)]


def require_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise unless an argument is one of the allowed values."""
    if not isinstance(value, str | bool | None) or value not in allowed:
        raise SettingError(f"{name}={value!r}; use one of {', '.join(map(repr, allowed))}")


def _bytes_of(structures: Structures) -> Iterator[tuple[bytes, ...]]:
    """Return what tells structures apart, one by one."""
    for one in structures:
        parts = (one.numbers, one.positions, one.cell, one.pbc)
        # Adding 0 turns -0.0 into 0.0, whose bytes differ.
        yield tuple(b"" if part is None else (part + 0).tobytes() for part in parts)


def settled(kernel: Any, features: Any) -> Any:
    """Return the kernel for a model: of terms, divided by their mean diagonals."""
    return kernel.scaled_to(features) if isinstance(kernel, JointKernel) else kernel


def require_symmetric(K: _Array) -> None:
    """Raise if a kernel matrix is not square and symmetric: only one triangle would be used."""
    if K.shape[0] != K.shape[1]:
        raise SettingError(f"Precomputed matrix must be a square matrix; X has shape {K.shape}")
    parts = panels(len(K))
    difference = max(float(np.abs(K[part] - K[:, part].T).max()) for part in parts)
    if difference > _ASYMMETRY * max(float(np.abs(K[part]).max()) for part in parts):
        raise SettingError(
            f"the precomputed kernel matrix differs from its transpose by up to {difference:.3g}; "
            "give k(x_i, x_j) of the training samples, e.g. (K + K.T) / 2"
        )
