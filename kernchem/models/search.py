"""Search of a grid of length scales and regularisers: leave-one-out everywhere, folds for the best.

For each length scale one decomposition serves all regularisers
(:class:`~kernchem.solvers.RegularisationPath`); the best candidates are compared once more by
Cholesky factors and folds, and the winner is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import blas_for
from kernchem._validation import is_whole
from kernchem.errors import SettingError
from kernchem.kernels.base import RadialKernel
from kernchem.kernels.structure import StructureKernel
from kernchem.models.kernel_model import KernelModel, Prepared, require_choice, settled
from kernchem.models.training_set import TrainingSet
from kernchem.models.tuning import (
    Criterion,
    kernel_matrix,
    noise_of,
    nothing_to_choose_by,
    start_thetas,
)
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares, RegularisationPath
from kernchem.structures import as_structures

__all__ = ["LeaveOneOutSearch"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Range of regularisers where only their number is given: rounding is no issue in it.
_ALPHA_RANGE = (1e-10, 10.0)
#: Range of length scales around that of a kernel for which no typical distance is known.
_FACTOR_RANGE = (1.0 / 16.0, 16.0)


class LeaveOneOutSearch(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Exhaustive search over length scales and regularisers without refits.

    Every candidate gets its exact leave-one-out error; the ``n_best`` ones with the smallest get
    their exact K-fold error, all in closed form, with a composition refitted in each. The winner is
    fitted on all samples.

    :class:`kernchem.KRR` searches by itself, in fewer steps and on a subset of many samples; this
    one tells the errors of a whole grid, and of all samples.

    Parameters
    ----------
    estimator : KRR or GPR
        Model whose ``alpha`` and length scale are chosen; its other settings hold, but for
        ``optimizer`` and ``cv``.
    length_scales : int or array (n_scales,), default 20
        Length scales in the units of the features, or how many, around the one that suits the
        distances of the samples. Where the kernel has not exactly one length scale, as sums of
        terms and kernel matrices, it is kept as it is, and where only their number is given for
        one whose bounds are "fixed".
    alphas : int or array (n_alphas,), default 48
        Regularisers relative to the mean diagonal of the kernel matrix, or how many from 1e-10 to
        10.
    cv : int, splitter or None, default 5
        Folds of the second stage as in scikit-learn, without overlap; None is one group at a time,
        or one sample without groups.
    n_best : int, default 20
        Candidates of the second stage.
    criterion : {"mae", "rmse"}, default "mae"
        Error that is made small.

    Attributes
    ----------
    cv_results_ : dict of arrays (n_candidates,)
        ``params``, ``param_length_scale`` (NaN where the kernel was kept), ``param_alpha``,
        ``loo_error``, ``cv_error`` (NaN outside the second stage), ``mean_test_score`` (minus
        ``cv_error``) and ``rank_test_score``. Errors are in the unit of the labels; of several
        targets, the mean of errors relative to the spread of each. Infinite where the kernel matrix
        is not positive definite.
    best_index_ : int
        Place of the winner in ``cv_results_``.
    best_params_ : dict
        Its ``alpha`` and, unless that was kept, its ``kernel``: what ``estimator.set_params``
        takes.
    best_score_ : float
        Minus its K-fold error.
    best_estimator_ : KRR or GPR
        Fitted on all samples with ``optimizer=None``.

    Raises
    ------
    SettingError
        If ``estimator`` is another model, or a setting cannot be used.
    LabelError, StructureError, SingularKernelError, CompositionError
        As the estimator does.

    Notes
    -----
    About 4 n^3 flops per length scale, 3 n^2 per candidate and 1.2 n^3 per candidate of the second
    stage; memory for three kernel matrices. Errors of the first stage are rounded
    relative to the norm of the kernel matrix, which shows in smooth kernels at alphas below 1e-10;
    those of the second are not.

    Groups are kept together in the second stage only. Identical samples are merged and left out
    together, as in :class:`kernchem.KRR`.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 5.4.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem.models import KRR
    >>> X = np.linspace(0, 6, 30)[:, None]
    >>> search = LeaveOneOutSearch(KRR("gaussian"), length_scales=[0.1, 1.0, 10.0], alphas=9)
    >>> search = search.fit(X, np.sin(X[:, 0]))
    >>> search.best_params_["kernel"], search.predict([[1.5]]).round(2)
    (Gaussian(length_scale=1), array([1.]))
    """

    def __init__(
        self,
        estimator: Any,
        *,
        length_scales: int | npt.ArrayLike = 20,
        alphas: int | npt.ArrayLike = 48,
        cv: Any = 5,
        n_best: int = 20,
        criterion: Criterion = "mae",
    ) -> None:
        self.estimator = estimator
        self.length_scales = length_scales
        self.alphas = alphas
        self.cv = cv
        self.n_best = n_best
        self.criterion = criterion

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
        """Search, and fit the winner.

        Parameters
        ----------
        X : array (n_samples, n_features), kernel matrix (n_samples, n_samples), or structures
            Samples, as the estimator takes them.
        y : array (n_samples,) or (n_samples, n_targets)
            Labels, in any unit.
        sample_weight : array (n_samples,), optional
            Weights w_i >= 0, in the fits and in the errors.
        groups : array (n_samples,), optional
            Samples that the second stage leaves out together.

        Returns
        -------
        LeaveOneOutSearch
            This object.
        """
        alphas = self._checked_alphas()
        model = clone(self.estimator)
        if model.takes_structures:
            X = as_structures(X)
        given = model._prepared(X, y, sample_weight, groups, self.cv)
        training = given.training
        if len(training) < 2:
            raise SettingError(
                f"a search needs at least 2 distinct samples; {len(training.member)} were given, "
                "all alike (n_samples = 1 without copies)"
            )
        kernel = settled(model._initial_kernel(training.features), training.features)
        matrices = _Matrices(kernel, training)
        name = _length_scale_name(kernel)
        if name is not None and is_whole(self.length_scales, 1) and _is_fixed(kernel, name):
            name = None
        scales = self._scales(kernel, name, matrices)
        kernels = [kernel] if name is None else [_with(kernel, name, scale) for scale in scales]
        error = _Error(given, self.criterion)
        with blas_for(len(training)):
            loo = np.array([_path_errors(matrices(k), alphas, training, error) for k in kernels])
            if not np.isfinite(loo).any():
                K = matrices(kernels[0])
                noise = noise_of(K, alphas.max(), training.weights)
                factorised = CholeskyFactor.attempt(K, noise) is not None
                raise nothing_to_choose_by(kernel, training, factorised=factorised)
            cv = self._second_stage(loo, kernels, alphas, matrices, given, error)
        if not np.isfinite(cv).any():
            raise nothing_to_choose_by(kernel, training, factorised=True)
        self._keep(loo.ravel(), cv.ravel(), kernels, scales, alphas)
        fitted = clone(self.estimator).set_params(optimizer=None, **self.best_params_)
        more = {} if groups is None else {"groups": groups}
        self.best_estimator_ = fitted.fit(X, y, sample_weight=sample_weight, **more)
        return self

    def predict(self, X: Any, **predict_params: Any) -> Any:
        """Return what the winner predicts.

        Parameters
        ----------
        X : array (n, n_features), kernel matrix (n, n_samples), or structures
            What to predict.
        **predict_params
            Passed on to ``best_estimator_.predict``, e.g. ``return_std``.

        Returns
        -------
        array (n,) or (n, n_targets), or tuple
            In the unit of the labels.
        """
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict(X, **predict_params)

    @property
    def n_features_in_(self) -> int:
        """Number of features seen during ``fit``."""
        return int(self.best_estimator_.n_features_in_)

    @property
    def feature_names_in_(self) -> Any:
        """Names of features seen during ``fit``, where they had any."""
        return self.best_estimator_.feature_names_in_

    def _checked_alphas(self) -> _Array:
        """Return the regularisers; raise if a setting cannot be used."""
        if not (isinstance(self.estimator, KernelModel) and self.estimator.one_level):
            raise SettingError(
                f"estimator={self.estimator!r} is no KRR or GPR; other steps of a pipeline go "
                "before the search, and a DeltaLearner around it"
            )
        require_choice("criterion", self.criterion, ("mae", "rmse"))
        if not is_whole(self.n_best, 1):
            raise SettingError(f"n_best={self.n_best!r}; use a whole number from 1 on")
        if is_whole(self.alphas, 1):
            return np.geomspace(*_ALPHA_RANGE, int(self.alphas))
        return _positive("alphas", self.alphas)

    def _scales(self, kernel: Any, name: str | None, matrices: _Matrices) -> _Array:
        """Return length scales; NaN for a kernel that is kept."""
        if not is_whole(self.length_scales, 1):
            scales = _positive("length_scales", self.length_scales)
            if name is None:
                raise SettingError(
                    f"kernel {kernel!r} has not exactly one length scale; leave out length_scales, "
                    "and it is kept"
                )
            return scales
        if name is None:
            return np.array([np.nan])
        number = int(self.length_scales)
        base = kernel.base if isinstance(kernel, StructureKernel) else kernel
        if isinstance(base, RadialKernel):
            starts = np.exp(start_thetas(kernel, matrices.features, matrices.distances))
            return np.geomspace(starts.min(), starts.max(), number)
        return np.asarray(kernel.get_params()[name] * np.geomspace(*_FACTOR_RANGE, number))

    def _second_stage(
        self,
        loo: _Array,
        kernels: list[Any],
        alphas: _Array,
        matrices: _Matrices,
        given: Prepared,
        error: _Error,
    ) -> _Array:
        """Return K-fold errors (n_kernels, n_alphas) of the best candidates, NaN of others."""
        training = given.training
        out = np.full(loo.shape, np.nan)
        order = np.argsort(loo, axis=None, kind="stable")[: self.n_best]
        chosen = np.zeros(loo.shape, dtype=bool)
        chosen.flat[order] = True
        chosen &= np.isfinite(loo)
        for row in np.flatnonzero(chosen.any(axis=1)):
            K = matrices(kernels[row])
            for column in np.flatnonzero(chosen[row]):
                noise = noise_of(K, alphas[column], training.weights)
                factor = CholeskyFactor.attempt(K.copy(), noise)
                out[row, column] = np.inf
                if factor is not None:
                    solution = GeneralisedLeastSquares(factor, training.targets, training.basis)
                    folds = given.folds
                    residuals = solution.loo()[0] if folds is None else solution.cv(folds)
                    out[row, column] = error(residuals)
        return out

    def _keep(
        self, loo: _Array, cv: _Array, kernels: list[Any], scales: _Array, alphas: _Array
    ) -> None:
        """Set what the search has found."""
        params: list[dict[str, Any]] = []
        for kernel, scale in zip(kernels, scales, strict=True):
            own = {} if np.isnan(scale) else {"kernel": kernel}
            params.extend({**own, "alpha": float(alpha)} for alpha in alphas)
        # The second stage comes first, in its order; then the others in theirs.
        order = np.lexsort([loo, np.nan_to_num(cv, nan=np.inf), np.isnan(cv)])
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(1, len(order) + 1)
        self.cv_results_ = {
            "params": params,
            "param_length_scale": np.repeat(scales, len(alphas)),
            "param_alpha": np.tile(alphas, len(scales)),
            "loo_error": loo,
            "cv_error": cv,
            "mean_test_score": -cv,
            "rank_test_score": rank,
        }
        self.best_index_ = int(order[0])
        self.best_params_ = params[self.best_index_]
        self.best_score_ = -float(cv[self.best_index_])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if hasattr(self.estimator, "__sklearn_tags__"):
            own = get_tags(self.estimator)
            tags.target_tags, tags.input_tags = own.target_tags, own.input_tags
            tags.no_validation = own.no_validation
        return tags


class _Matrices:
    """Fresh kernel matrices of the training set; distances are computed once."""

    def __init__(self, kernel: Any, training: TrainingSet) -> None:
        self.features = training.features
        reusable = isinstance(kernel, RadialKernel) and not kernel.anisotropic
        self.distances: _Array | None = kernel.distances(self.features) if reusable else None

    def __call__(self, kernel: Any) -> _Array:
        if self.distances is not None:
            return np.asarray(kernel.from_distances(self.distances))
        return kernel_matrix(kernel, self.features)


class _Error:
    """Error of the caller's samples from residuals of the distinct ones."""

    def __init__(self, given: Prepared, criterion: Criterion) -> None:
        self._training = given.training
        self._labels = given.labels.reshape(len(given.labels), -1)[given.kept]
        self._weights = given.weights[given.kept]
        self._power = 1 if criterion == "mae" else 2
        self._spreads = np.ones(self._labels.shape[1])
        if len(self._spreads) > 1:
            means = np.average(self._labels, axis=0, weights=self._weights)
            found = self._means(self._labels - means, self._weights)
            self._spreads = np.where(found > 0.0, found, 1.0)

    def __call__(self, residuals: _Array) -> float:
        """Return the error, over the samples that can be left out; infinite if there are none."""
        errors = self._training.residuals_of_samples(residuals, self._labels)
        known = np.isfinite(errors).all(axis=1)
        if not known.any():
            return np.inf
        return float(np.mean(self._means(errors[known], self._weights[known]) / self._spreads))

    def _means(self, errors: _Array, weights: _Array) -> _Array:
        powers = np.abs(errors) ** self._power
        return np.asarray(np.average(powers, axis=0, weights=weights) ** (1 / self._power))


def _path_errors(
    K: _Array, alphas: _Array, training: TrainingSet, error: Callable[[_Array], float]
) -> list[float]:
    """Return the leave-one-out error for each regulariser, in the memory of K."""
    shifts = alphas * float(np.mean(np.einsum("ii->i", K)))
    path = RegularisationPath(K, training.targets, training.basis, training.weights)
    return [error(residuals) for residuals in path.loo(shifts)[0]]


def _length_scale_name(kernel: Any) -> str | None:
    """Return the name of the one parameter that is a length scale, if there is just one."""
    if kernel is None:
        return None
    found = [
        name
        for name, value in kernel.get_params().items()
        if name.split("__")[-1] == "length_scale" and np.size(value) == 1
    ]
    return found[0] if len(found) == 1 else None


def _is_fixed(kernel: Any, name: str) -> bool:
    """Return whether the bounds of a length scale keep it as it is."""
    bounds = kernel.get_params().get(f"{name}_bounds")
    return isinstance(bounds, str) and bounds == "fixed"


def _with(kernel: Any, name: str, length_scale: float) -> Any:
    """Return the kernel with another length scale."""
    return clone(kernel).set_params(**{name: float(length_scale)})


def _positive(name: str, values: Any) -> _Array:
    """Return a setting as an array of positive numbers."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 1 or not len(array) or not ((array > 0.0) & np.isfinite(array)).all():
        raise SettingError(
            f"{name}={values!r}; use positive numbers, or how many as a whole number"
        )
    return array
