"""Kernel ridge regression with everything that its closed form gives."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, validate_data

from kernchem._threads import blas_for
from kernchem._validation import check_labels, check_weights
from kernchem.descriptors import Descriptor
from kernchem.elements import formula
from kernchem.errors import KernchemWarning, SettingError
from kernchem.kernels import NAMED_KERNELS
from kernchem.kernels.declarations import indefinite_cause
from kernchem.models.composition import CompositionSpace
from kernchem.models.joint import JointKernel, with_columns
from kernchem.models.recipes import RECIPES
from kernchem.models.terms import Terms, joined, kernel_for, with_widths
from kernchem.models.training_set import TrainingSet, fold_numbers
from kernchem.models.tuning import Criterion, Trial, kernel_matrix, noise_of, tune
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares
from kernchem.structures import Structures, as_structures

__all__ = ["KRR"]

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
    "_target_shape",
)
#: Largest difference between a kernel matrix and its transpose, relative to its elements.
_ASYMMETRY = 1e-8
#: Rows of a kernel matrix that are held at a time while the whole of it is not needed.
_PREDICT_ROWS = 2048


class KRR(RegressorMixin, BaseEstimator):
    r"""Kernel ridge regression.

    .. math:: f(x) = h(x)^T \beta + \sum_i a_i\, k(x, x_i)

    minimises :math:`\sum_i w_i (y_i - f(x_i))^2 + \alpha \bar k\, \|f\|_k^2` with the mean diagonal
    :math:`\bar k` of the kernel matrix (1 for Gaussian and Laplacian). The optional linear part h,
    the number of atoms of each element, carries no penalty and is fitted jointly with the kernel.

    With ``descriptor=None`` this is an ordinary scikit-learn regressor on arrays; with a descriptor
    it takes structures.

    Parameters
    ----------
    kernel : kernel, str, Terms or None, default None
        A kernel of :mod:`kernchem.kernels` or of scikit-learn, or a short name such as "gaussian",
        "laplacian" or "precomputed". None is the kernel that the descriptor recommends, Gaussian on
        arrays; for features of atoms, :class:`~kernchem.kernels.AtomSum` of it. A sum or product of
        :class:`~kernchem.models.Term` brings its descriptors along, as does "composite", the name
        of :func:`~kernchem.models.composite`.
    alpha : float or "loo", default "loo"
        Regulariser relative to the mean diagonal, dimensionless, > 0; "loo" chooses it. It is never
        changed silently.
    descriptor : descriptor or None, default None
        Turns structures into features; widened for larger molecules in ``predict``.
    composition : bool or "auto", default "auto"
        Fit element counts jointly; "auto" does with structures and not with arrays.
    optimizer : "loo" or None, default "loo"
        "loo" chooses the kernel's hyperparameters whose bounds are not "fixed"; None keeps them.
    cv : int, splitter or None, default None
        What is left out while choosing: one sample (None; one group if ``groups`` are given to
        ``fit``), or the folds of a scikit-learn splitter, which may not overlap.
    criterion : {"mae", "rmse"}, default "mae"
        Leave-out error that is made small.

    Attributes
    ----------
    kernel_ : kernel or None
        The kernel with the hyperparameters that were chosen; None for a precomputed one.
    alpha_ : float
        The regulariser that was chosen.
    dual_coef_ : array (n_samples,) or (n_samples, n_targets)
        Coefficients a of the training samples; a sample merged into an identical one has 0.
    composition_ : array (n_elements,) or (n_elements, n_targets)
        Energy of each of ``elements_``, in the unit of the labels; only with a composition.
    elements_ : tuple of int
        Atomic numbers of the training set; only with a composition.
    loo_residuals_ : array (n_samples,) or (n_samples, n_targets)
        ``y_i - f_-i(x_i)``, exact, with the composition refitted at fixed hyperparameters; NaN
        where leaving a molecule out leaves the composition undetermined or its weight is zero.
    condition_ : float
        Estimated 1-norm condition number of the matrix that was factorised.
    jitter_ : float
        What had to be added to the diagonal to factorise it; 0.0 unless a warning said so.
    trials_ : list of Trial
        Every evaluation of the search: rows, kernel, alpha, error.
    descriptor_ : descriptor
        The fitted descriptor; only with one, or with terms, which have one for each part.

    Raises
    ------
    LabelError, SettingError, StructureError, SingularKernelError
        On input that cannot be used; the message names the sample and the cure.

    Notes
    -----
    Fitting costs n^3 / 3 flops for the solution, as many again for the leave-one-out
    residuals, and twice that for each trial. The memory is one kernel matrix, and one matrix of
    distances while hyperparameters are chosen (on at most 8000 random rows).

    Samples with identical features are merged before anything is left out: their weights are
    added and their labels averaged, so that weights and repetitions mean the same.

    scikit-learn's ``KernelRidge`` is the same model with ``alpha`` not relative to the diagonal,
    without the linear part, and with hyperparameters searched by refits.

    References
    ----------
    Rupp, Tkatchenko, Mueller and von Lilienfeld, Phys. Rev. Lett. 108, 058301 (2012),
    https://doi.org/10.1103/PhysRevLett.108.058301

    Examples
    --------
    >>> X = np.linspace(0, 6, 20)[:, None]
    >>> model = KRR().fit(X, np.sin(X[:, 0]))
    >>> model.predict([[1.5]]).round(2)
    array([1.])
    """

    def __init__(
        self,
        kernel: Kernel | str | None = None,
        *,
        alpha: float | Literal["loo"] = "loo",
        descriptor: Any = None,
        composition: bool | Literal["auto"] = "auto",
        optimizer: Literal["loo"] | None = "loo",
        cv: Any = None,
        criterion: Criterion = "mae",
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.descriptor = descriptor
        self.composition = composition
        self.optimizer = optimizer
        self.cv = cv
        self.criterion = criterion

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> KRR:
        """Fit the model.

        Parameters
        ----------
        X : array (n_samples, n_features), kernel matrix (n_samples, n_samples), or structures
            Samples; structures if a descriptor was given.
        y : array (n_samples,) or (n_samples, n_targets)
            Labels, in any unit.
        sample_weight : array (n_samples,), optional
            Weights w_i >= 0; a weight of 2 equals the sample given twice.
        groups : array (n_samples,), optional
            Samples that are left out together while hyperparameters are chosen.

        Returns
        -------
        KRR
            This object.
        """
        self._check_settings()
        self._forget()
        samples, labels = self._checked_input(X, y)
        weights = check_weights(sample_weight, len(labels))
        kept = np.flatnonzero(weights > 0)
        if len(kept) < len(labels):
            samples = samples[np.ix_(kept, kept)] if self._precomputed else samples[kept]
        targets = labels.reshape(len(labels), -1)
        fold = fold_numbers(self.cv, groups, targets)
        targets = targets[kept]
        training = self._training_set(samples, targets, weights[kept])
        folds = training.folds(None if fold is None else fold[kept])
        with blas_for(len(training)):
            self._choose(training, folds)
            factor, solution = self._solve(training)
            self.condition_, self.jitter_ = factor.condition(), factor.jitter
            self._keep(
                training,
                solution.dual,
                solution.coef,
                kept,
                labels.reshape(len(labels), -1),
                labels.shape[1:],
            )
            self._report(solution, samples)
        return self

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
        check_is_fitted(self, "dual_coef_")
        linear: Any = 0.0
        if not self.takes_structures:
            features = validate_data(self, X, reset=False, dtype=np.float64)
            known = self._training.features
        else:
            structures = as_structures(X)
            features, known = self._features_with_training(structures)
            if self._space is not None:
                linear = self._space.basis(structures) @ self._linear_coef
        kernel_part = np.empty((len(features), self._dual.shape[1]))
        for start in range(0, len(features), _PREDICT_ROWS):
            panel = slice(start, start + _PREDICT_ROWS)
            kernel_part[panel] = self._cross_kernel(features[panel], known) @ self._dual
        return self._like_labels(kernel_part + linear)

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
        One factorisation and one inversion, 2 n^3 / 3 flops, plus n^2 per sample of the
        largest fold. Identical samples count as one when folds are made.
        """
        check_is_fitted(self, "dual_coef_")
        training = self._training
        fold = fold_numbers(cv, groups, self._labels)
        folds = training.folds(None if fold is None else fold[self._kept])
        with blas_for(len(training)):
            _, solution = self._solve(training, self.jitter_)
            residuals = solution.loo()[0] if folds is None else solution.cv(folds)
        return self._residuals_of_samples(training, residuals)

    # -- the steps of fit, in order ---------------------------------------------------------------

    def _check_settings(self) -> None:
        alpha, kernels = self.alpha, (*NAMED_KERNELS, *RECIPES, "precomputed")
        number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
        if not (alpha == "loo" if isinstance(alpha, str) else number and 0 < alpha < np.inf):
            raise SettingError(f"alpha={alpha!r}; use a positive number or 'loo'")
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
                "other transformers go before KRR() in a pipeline"
            )
        for name, allowed in (
            ("optimizer", ("loo", None)),
            ("criterion", ("mae", "rmse")),
            ("composition", (True, False, "auto")),
        ):
            value = getattr(self, name)
            if not isinstance(value, str | bool | None) or value not in allowed:
                raise SettingError(f"{name}={value!r}; use one of {', '.join(map(repr, allowed))}")
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
        samples = validate_data(self, X, dtype=np.float64, copy=not self._precomputed)
        if self._precomputed:
            _require_symmetric(samples)
        return samples, check_labels(y, len(samples))

    def _training_set(self, samples: Any, targets: _Array, weights: _Array) -> TrainingSet:
        """Return distinct samples with features and linear part, and learn the layout of both."""
        self._space: CompositionSpace | None = None
        self._largest = int(samples.sizes.max()) if self.takes_structures else None
        if self._precomputed:
            return TrainingSet.all(samples, targets, weights)
        if not self.takes_structures:
            return self._gather(samples, targets, weights, None)
        if self._terms is None:
            self.descriptor_: Any = clone(self.descriptor).fit(samples)
        else:
            self.descriptor_ = joined(self._terms)[0].fit(samples)
        features = self.descriptor_.transform(samples)
        basis = None
        if self.composition is not False:
            self._space = CompositionSpace(samples)
            basis = self._space.basis(samples)
        if isinstance(features, np.ndarray):
            return self._gather(features, targets, weights, basis)
        return TrainingSet.distinct(features, targets, weights, basis, _bytes_of(samples))

    def _gather(
        self, features: _Array, targets: _Array, weights: _Array, basis: _Array | None
    ) -> TrainingSet:
        """Merge identical samples, unless the kernel itself tells a sample from its copy."""
        kernel, one = self._initial_kernel(features), features[:1]
        if np.allclose(kernel(one), kernel(one, one.copy()), rtol=1e-12, atol=0.0):
            return TrainingSet.distinct(features, targets, weights, basis)
        return TrainingSet.all(features, targets, weights, basis)

    def _choose(self, training: TrainingSet, folds: list[_Rows] | None) -> None:
        """Set ``kernel_`` and ``alpha_``, by the leave-out error where that is asked for."""
        kernel = self._initial_kernel(training.features)
        alpha = None if isinstance(self.alpha, str) else float(self.alpha)
        varied = self.optimizer is not None and kernel is not None and len(kernel.theta) > 0
        if alpha is not None and not varied:
            self.kernel_, self.alpha_ = _settled(kernel, training.features), alpha
            self.trials_: list[Trial] = []
            return
        if len(training) < 2:
            raise SettingError(
                "choosing hyperparameters needs at least 2 distinct samples; "
                f"{len(training.member)} were given, all alike (n_samples = 1 without copies): "
                "give alpha a number and use optimizer=None"
            )
        kernel, self.alpha_, self.trials_ = tune(
            training, kernel, alpha, varied=varied, folds=folds, criterion=self.criterion
        )
        self.kernel_ = _settled(kernel, training.features)

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
        self, training: TrainingSet, jitter: float = 0.0
    ) -> tuple[CholeskyFactor, GeneralisedLeastSquares]:
        """Return factor and solution at the hyperparameters that were chosen."""
        K = kernel_matrix(self.kernel_, training.features)
        noise = noise_of(K, self.alpha_, training.weights) + jitter
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
        residuals = solution.loo()[0]
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

    def _features_with_training(self, structures: Any) -> tuple[Any, Any]:
        """Return features of structures and of the training set under a layout that holds both."""
        descriptor, columns = self.descriptor_.widened(structures)
        features = descriptor.transform(structures)
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


def _bytes_of(structures: Structures) -> Iterator[tuple[bytes, ...]]:
    """Return what tells structures apart, one by one."""
    for one in structures:
        parts = (one.numbers, one.positions, one.cell, one.pbc)
        # Adding 0 turns -0.0 into 0.0, whose bytes differ.
        yield tuple(b"" if part is None else (part + 0).tobytes() for part in parts)


def _settled(kernel: Any, features: Any) -> Any:
    """Return the kernel for a model: of terms, divided by their mean diagonals."""
    return kernel.scaled_to(features) if isinstance(kernel, JointKernel) else kernel


def _require_symmetric(K: _Array) -> None:
    """Raise if a kernel matrix is not square and symmetric: only one triangle would be used."""
    if K.shape[0] != K.shape[1]:
        raise SettingError(f"Precomputed matrix must be a square matrix; X has shape {K.shape}")
    panels = [slice(start, start + _PREDICT_ROWS) for start in range(0, len(K), _PREDICT_ROWS)]
    difference = max(float(np.abs(K[panel] - K[:, panel].T).max()) for panel in panels)
    if difference > _ASYMMETRY * max(float(np.abs(K[panel]).max()) for panel in panels):
        raise SettingError(
            f"the precomputed kernel matrix differs from its transpose by up to {difference:.3g}; "
            "give k(x_i, x_j) of the training samples, e.g. (K + K.T) / 2"
        )
