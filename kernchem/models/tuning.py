"""Choice of kernel parameters and regulariser by closed-form leave-out errors.

A coarse grid on a subset finds the basin; a compass search on all rows finds its bottom. Every
trial is one factorisation and one triangular inversion; distances are computed once per stage.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kernchem.errors import (
    CompositionError,
    KernchemError,
    KernchemWarning,
    SettingError,
    SingularKernelError,
)
from kernchem.kernels.base import RadialKernel
from kernchem.kernels.declarations import indefinite_cause
from kernchem.kernels.structure import StructureKernel
from kernchem.models.joint import JointKernel
from kernchem.models.terms import typical_distance
from kernchem.models.training_set import TrainingSet
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares
from kernchem.solvers.cholesky import OVERFLOW

__all__ = [
    "Criterion",
    "Trial",
    "kernel_matrix",
    "noise_of",
    "nothing_to_choose_by",
    "start_thetas",
    "tune",
    "tune_alpha",
    "warn_at_bounds",
]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]
Criterion = Literal["mae", "rmse"]

#: Rows on which the coarse grid is evaluated.
_COARSE_ROWS = 500
#: Rows above which the fine search runs on a random subset of this size: with one kernel of rows of
#: features, with one between structures, which is computed anew for each width, and with terms.
_FINE_ROWS = 8000
_FINE_ROWS_STRUCTURES = 1000
_FINE_ROWS_TERMS = 1500
#: Length scales of the coarse grid, in units of the one that suits the median distance.
_LENGTH_FACTORS = 4.0 ** np.arange(-1.0, 4.0)
#: Regularisers of the coarse grid, in units of the mean diagonal of the kernel matrix.
_ALPHAS = 10.0 ** np.array([-12.0, -9.0, -7.0, -5.0, -3.0, -1.0, 1.0])
_LOG_ALPHA_BOUNDS = (np.log(1e-14), np.log(1e4))
#: First steps of the compass search along log theta and log alpha, and how often they are halved.
_FIRST_STEP = (np.log(2.0), np.log(10.0))
_HALVINGS = 1
#: The same for terms: steps along log widths, log weights and log alpha.
_TERM_STEPS = (np.log(1.6), np.log(2.5), np.log(4.0))
#: Regularisers that are tried with terms before anything else.
_TERM_ALPHAS = 10.0 ** np.arange(-10.0, -3.0)
#: Errors that differ by less than this fraction are equal: of equals the grid prefers the largest
#: regulariser, and the compass search stays where it is.
_EQUAL = 1e-3
#: A target whose spread is below this fraction of its size is constant but for rounding.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class Trial:
    """One evaluation of the search: rows used, kernel, regulariser, relative leave-out error."""

    n_rows: int
    kernel: Any
    alpha: float
    error: float


def kernel_matrix(kernel: Any, features: _Array) -> _Array:
    """Return a fresh kernel matrix; a kernel of None means that the features are one already."""
    if kernel is None:
        return np.array(features, order="C")
    return np.ascontiguousarray(kernel(features))


def noise_of(K: _Array, alpha: float, weights: _Array) -> _Array:
    """Return what the regulariser adds to the diagonal: alpha times its mean over the weights."""
    return np.asarray(alpha * float(np.mean(np.einsum("ii->i", K))) / weights)


@dataclass
class _Search:
    """The leave-out error on some rows as a function of (log theta, log alpha).

    ``varied`` is False where the kernel is to be kept, ``alpha`` a number where that is.
    """

    training: TrainingSet
    kernel: Any
    alpha: float | None
    varied: bool
    folds: list[_Rows] | None
    criterion: Criterion
    trials: list[Trial]
    #: The kernel matrix, where it is there already.
    known: _Array | None = None
    seen: dict[tuple[float, ...], float] = field(default_factory=dict)
    factorised: bool = False

    def __post_init__(self) -> None:
        radial = self.varied and isinstance(self.kernel, RadialKernel)
        # With a width per feature the distances depend on the widths.
        reusable = radial and not self.kernel.anisotropic
        self.distances = self.kernel.distances(self.training.features) if reusable else None
        #: Matrices of the latest thetas: of each factor of a joint kernel, or of the kernel itself.
        self.matrices: dict[int, tuple[bytes, _Array]] = {}

    def __call__(self, point: _Array) -> float:
        """Return the error at a point; each point is evaluated once."""
        key = tuple(np.round(point, 9))
        if key not in self.seen:
            kernel, alpha = self.kernel_at(point), self.alpha_at(point)
            self.seen[key] = self._error(kernel, alpha)
            self.trials.append(Trial(len(self.training), kernel, alpha, self.seen[key]))
        return self.seen[key]

    def kernel_at(self, point: _Array) -> Any:
        return self.kernel.clone_with_theta(point[:-1]) if self.varied else self.kernel

    def alpha_at(self, point: _Array) -> float:
        return float(np.exp(point[-1])) if self.alpha is None else self.alpha

    def _error(self, kernel: Any, alpha: float) -> float:
        training = self.training
        K = self._matrix(kernel)
        factor = CholeskyFactor.attempt(K, noise_of(K, alpha, training.weights))
        if factor is None:
            return np.inf
        self.factorised = True
        solution = GeneralisedLeastSquares(factor, training.targets, training.basis)
        residuals = solution.loo()[0] if self.folds is None else solution.cv(self.folds)
        known = np.isfinite(residuals).all(axis=1)
        if not known.any():
            return np.inf
        weights = training.weights[known] / training.weights[known].sum()
        return self._relative_error(weights, training.targets[known], residuals[known])

    def _matrix(self, kernel: Any) -> _Array:
        """Return a fresh kernel matrix of the rows of the search."""
        if self.known is not None:
            return self.known.copy()
        features = self.training.features
        if self.distances is not None:
            return np.asarray(kernel.from_distances(self.distances))
        if isinstance(kernel, JointKernel):
            factors = [
                self._kept(k, one.theta, partial(kernel.factor, k, features))
                for k, one in enumerate(kernel.kernels)
            ]
            return kernel.combined(factors)
        if isinstance(kernel, StructureKernel):
            return self._kept(0, kernel.theta, lambda: kernel_matrix(kernel, features)).copy()
        return kernel_matrix(kernel, features)

    def _kept(self, place: int, theta: _Array, compute: Callable[[], _Array]) -> _Array:
        """Return a matrix that is computed only if the hyperparameters differ from the last."""
        key = np.round(theta, 9).tobytes()
        if place not in self.matrices or self.matrices[place][0] != key:
            self.matrices[place] = (key, compute())
        return self.matrices[place][1]

    def _relative_error(self, weights: _Array, targets: _Array, residuals: _Array) -> float:
        """Return the error over the spread of each target, averaged over those that vary."""
        scale = np.abs(targets).max(axis=0)
        scale[scale == 0] = 1.0
        power = 1 if self.criterion == "mae" else 2
        spread = weights @ np.abs((targets - weights @ targets) / scale) ** power
        error = weights @ np.abs(residuals / scale) ** power
        varying = spread > _CONSTANT**power
        relative = error[varying] / spread[varying] if varying.any() else error
        return float(np.nan_to_num(np.mean(relative ** (1 / power)), nan=np.inf))


def tune(
    training: TrainingSet,
    kernel: Any,
    alpha: float | None,
    *,
    varied: bool,
    folds: list[_Rows] | None,
    criterion: Criterion,
) -> tuple[Any, float, list[Trial]]:
    """Return the kernel and the regulariser of the least leave-out error.

    Parameters
    ----------
    training : TrainingSet
        Samples; a kernel matrix as features where ``kernel`` is None.
    kernel : kernel or None
        Where the search starts; a radial kernel starts from the distances instead.
    alpha : float or None
        None chooses the regulariser too.
    varied : bool
        Choose the kernel's hyperparameters whose bounds are not fixed.
    folds : list of array of int or None
        Rows that are left out together; None leaves out one at a time.
    criterion : {"mae", "rmse"}
        Error that is made small, relative to the spread of each target.

    Returns
    -------
    kernel, alpha, trials
        The best ones, and every evaluation in order.

    Raises
    ------
    SingularKernelError, CompositionError, SettingError
        If no trial has an error to choose by.
    """
    trials: list[Trial] = []

    def search_on(n_rows: int) -> _Search:
        part, inside = training.sample(n_rows, folds, square=kernel is None)
        return _Search(part, kernel, alpha, varied, inside, criterion, trials)

    if isinstance(kernel, JointKernel):
        return _tune_terms(search_on(_FINE_ROWS_TERMS), alpha)
    search = search_on(_COARSE_ROWS)
    thetas = (
        start_thetas(kernel, search.training.features, search.distances)
        if varied
        else np.zeros((1, 0))
    )
    log_alphas = np.log(_ALPHAS if alpha is None else np.array([alpha]))
    bounds = np.vstack(
        [
            np.reshape(kernel.bounds, (-1, 2)) if varied else np.zeros((0, 2)),
            _LOG_ALPHA_BOUNDS if alpha is None else (log_alphas[0], log_alphas[0]),
        ]
    )
    grid = [np.append(theta, log_alpha) for theta in thetas for log_alpha in log_alphas]
    grid = [np.clip(point, *bounds.T) for point in grid]
    limit = min(map(search, grid)) * (1.0 + _EQUAL)
    if not np.isfinite(limit):
        raise nothing_to_choose_by(search.kernel, search.training, factorised=search.factorised)
    best = max((p for p in grid if search(p) <= limit), key=lambda p: (p[-1], -search(p)))
    if len(training) > _COARSE_ROWS:
        structures = isinstance(kernel, StructureKernel)
        search = search_on(_FINE_ROWS_STRUCTURES if structures else _FINE_ROWS)
    best = _descend(search, best, bounds)
    warn_at_bounds(search.kernel_at(best), bounds[:-1], best[:-1])
    return search.kernel_at(best), search.alpha_at(best), trials


def tune_alpha(
    K: _Array,
    training: TrainingSet,
    kernel: Any,
    alpha: float,
    *,
    folds: list[_Rows] | None,
    criterion: Criterion,
    trials: list[Trial],
) -> float:
    """Return the regulariser that is best on all rows, near one that was found on some of them.

    The best one falls as rows are added, by a factor of ten from 1000 to 5000 molecules and a sum
    of Gaussians between atoms, which takes a tenth off the error.

    Parameters
    ----------
    K : array (n, n)
        Kernel matrix of all rows; not changed.
    training : TrainingSet
        All rows.
    kernel : Kernel
        The kernel of K.
    alpha : float
        Where to start.
    folds, criterion
        As for :func:`tune`.
    trials : list of Trial
        Those of the search, which receives further ones.

    Returns
    -------
    float
        ``alpha`` itself if the search was on all rows, or there are more than 8000.
    """
    if not max(trial.n_rows for trial in trials) < len(training) <= _FINE_ROWS:
        return alpha
    search = _Search(
        training, kernel, None, varied=False, folds=folds, criterion=criterion, trials=trials,
        known=K,
    )  # fmt: skip
    best = _descend(search, np.log([alpha]), np.array([_LOG_ALPHA_BOUNDS]))
    return search.alpha_at(best)


def start_thetas(kernel: Any, features: Any, distances: _Array | None) -> _Array:
    """Return hyperparameters from which a search starts, array (n, n_theta).

    Widths around the one that suits the distances; other kernels start where they are.
    """
    if isinstance(kernel, StructureKernel) and isinstance(kernel.base, RadialKernel):
        if kernel.base.anisotropic:
            return np.array(kernel.theta)[None, :]
        suits = kernel.base.length_scale_from(typical_distance(kernel, features))
        return np.asarray(np.log(suits * _LENGTH_FACTORS)[:, None])
    if not isinstance(kernel, RadialKernel):
        return np.array(kernel.theta)[None, :]
    D = kernel.distances(features) if distances is None else distances
    positive = D[D > 0]
    suits = kernel.length_scale_from(float(np.median(positive)) if positive.size else 1.0)
    # Widths of their own keep their proportions, to which the distances are relative.
    widths = kernel.theta if kernel.anisotropic else np.zeros(1)
    return np.asarray(widths + np.log(suits * _LENGTH_FACTORS)[:, None])


def _tune_terms(search: _Search, alpha: float | None) -> tuple[Any, float, list[Trial]]:
    """Return kernel, regulariser and trials for a sum of terms, from where its author starts it.

    The regulariser first, then one hyperparameter after the other, each moved as long as that
    helps; the second round takes half the steps.
    """
    kernel = search.kernel
    theta = np.array(kernel.theta) if search.varied else np.zeros(0)
    log_alphas = np.log(_TERM_ALPHAS if alpha is None else np.array([alpha]))
    best = min((np.append(theta, log_alpha) for log_alpha in log_alphas), key=search)
    if not np.isfinite(search(best)):
        raise nothing_to_choose_by(search.kernel, search.training, factorised=search.factorised)
    low, high = np.vstack(
        [kernel.bounds if search.varied else np.zeros((0, 2)), _LOG_ALPHA_BOUNDS]
    ).T
    steps = np.full(len(best), _TERM_STEPS[0])
    steps[: kernel.n_weights] = _TERM_STEPS[1]
    steps[-1] = _TERM_STEPS[2]
    axes = range(len(best) - (alpha is not None))
    for scale in (1.0, 0.5):
        # The regulariser goes with every change of the kernel, so it is looked at first and last.
        for axis in (*reversed(axes), len(best) - 1) if alpha is None else reversed(axes):
            best = _along(search, best, axis, scale * steps[axis], low[axis], high[axis])
    return search.kernel_at(best), search.alpha_at(best), search.trials


def _along(
    search: _Search, point: _Array, axis: int, step: float, low: float, high: float
) -> _Array:
    """Return the last of points along an axis, in the better direction, each of which is better."""
    for sign in (1.0, -1.0):
        start = point
        while True:
            moved = point.copy()
            moved[axis] = np.clip(point[axis] + sign * step, low, high)
            if not search(moved) < search(point) * (1.0 - _EQUAL):
                break
            point = moved
        if point is not start:
            break
    return point


def nothing_to_choose_by(kernel: Any, training: TrainingSet, *, factorised: bool) -> KernchemError:
    """Return the reason why no trial of the grid has an error."""
    cure = "in Python give alpha a number and use optimizer=None"
    if not factorised:
        diagonal = (
            np.einsum("ii->i", training.features)
            if kernel is None
            else kernel.diag(training.features)
        )
        if not np.isfinite(np.mean(diagonal)):
            return SingularKernelError(OVERFLOW)
        return SingularKernelError(
            "no kernel matrix of the search is positive definite; use a positive semi-definite "
            f"kernel, or {cure}. {indefinite_cause(kernel)}".rstrip()
        )
    if training.basis is not None:
        return CompositionError(
            "no molecule of the training set can be left out: each of them, or each fold, alone "
            "determines the energy of an element or of a combination of elements; add molecules, "
            f"use composition=False (--no-composition), or {cure}"
        )
    if not training.targets.any():
        return SettingError(f"all labels are zero, so there is nothing to choose by; {cure}")
    return SettingError(f"no leave-out error is a finite number; scale the labels, or {cure}")


def warn_at_bounds(kernel: Any, bounds: _Array, theta: _Array) -> None:
    """Warn if a hyperparameter of the kernel would have gone further."""
    low, high = bounds.T
    free = high > low
    at_bound = free & (np.isclose(theta, low) | np.isclose(theta, high))
    if at_bound.any():
        warnings.warn(
            f"the search ended at the bounds of a hyperparameter: {kernel}; widen its bounds, or "
            "scale the features",
            KernchemWarning,
            stacklevel=5,
        )


def _descend(search: _Search, point: _Array, bounds: _Array) -> _Array:
    """Return a local minimum: step along each free axis, and halve the steps where none helps."""
    step = np.append(np.full(len(point) - 1, _FIRST_STEP[0]), _FIRST_STEP[1])
    free = np.flatnonzero(bounds[:, 1] > bounds[:, 0])
    for _ in range(_HALVINGS + 1):
        while True:
            around = [point]
            for axis in free:
                for sign in (1.0, -1.0):
                    moved = point.copy()
                    moved[axis] += sign * step[axis]
                    around.append(np.clip(moved, *bounds.T))
            best = min(around, key=search)
            if not search(best) < search(point) * (1.0 - _EQUAL):
                break
            point = best
        step = step / 2
    return point
