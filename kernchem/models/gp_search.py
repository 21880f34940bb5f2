"""Choice of the hyperparameters of a Gaussian process, with analytic slopes.

A coarse grid on a subset finds the basin, a quasi-Newton search with slopes its bottom: first on
the subset, then on all rows. The slopes cost no more than a few factorisations, however many
hyperparameters there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from kernchem.kernels.base import RadialKernel
from kernchem.kernels.slopes import slope_sums
from kernchem.kernels.structure import StructureKernel
from kernchem.models.joint import JointKernel
from kernchem.models.training_set import TrainingSet
from kernchem.models.tuning import (
    Trial,
    kernel_matrix,
    nothing_to_choose_by,
    start_thetas,
    warn_at_bounds,
)
from kernchem.solvers import (
    CholeskyFactor,
    GeneralisedLeastSquares,
    Score,
    likelihood,
    predictive,
)

__all__ = ["Noise", "Settings", "choose", "log_likelihood", "noise_variances"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rows of the coarse grid, and of the search with slopes.
_COARSE_ROWS = 400
_FINE_ROWS = 2000
#: The same with kernels between structures, which are computed anew for each width, and with terms.
_FINE_ROWS_STRUCTURES = 1000
#: How far a width may go beyond those of the grid: where the score is flat there is no end to it.
_BEYOND_GRID = np.log(8.0)
#: Regularisers of the coarse grid, in units of the mean diagonal of the kernel matrix.
_ALPHAS = 10.0 ** np.array([-10.0, -7.0, -5.0, -3.0, -1.0, 1.0])
_LOG_ALPHA_BOUNDS = (np.log(1e-14), np.log(1e4))
#: A kernel matrix of n rows has a norm of up to n times its mean diagonal, and is rounded relative
#: to that: less noise than this times n is none, and a search on some rows would not notice.
_ROUNDING = float(np.finfo(np.float64).eps)
#: Predictions are sums of dual coefficients times kernels, rounded relative to the sum of absolute
#: terms, which is large where a wide kernel meets next to no noise. If that is more than this
#: fraction of the errors of labels left out, the search is repeated with so much more noise.
_RESOLVED = 0.1
_MORE_NOISE = np.log(10.0)
#: Amplitudes that are tried where the noise of labels is known, in units of their variance.
_AMPLITUDES = 10.0 ** np.array([-1.0, 0.0, 1.0, 2.0])
_LOG_AMPLITUDE_RANGE = np.log(1e10)
#: Steps and precision of the search; scores are densities per label.
_STEPS = 60
_PRECISION = 1e-5
#: What an impossible point is worth to the search: its line search wants finite numbers.
_IMPOSSIBLE = 1e6
#: Restarts begin within this factor of the best point of the grid.
_RESTART_RANGE = np.log(30.0)
#: Scores of a grid that differ by less than this are equal: of equals it prefers more noise.
_EQUAL = 1e-3


@dataclass(frozen=True)
class Noise:
    """Regularisers, one per group of noise, the amplitude (None: the best one), and jitter."""

    alphas: _Array
    amplitude: float | _Array | None = None
    jitter: float = 0.0


@dataclass(frozen=True)
class Settings:
    """What is chosen, and by what.

    Attributes
    ----------
    optimizer : {"loo", "lml"}
        Score that is made small.
    varied : bool
        Choose the hyperparameters of the kernel.
    alpha : float or None
        Regulariser; None chooses it.
    amplitude : float or None
        Amplitude; None takes the best one.
    folds : list of array of int or None
        Rows that are left out together.
    n_restarts : int
        Searches from random points beside that from the grid's best one.
    seed : int
        Of those points.
    n_rows : int
        Rows of the fit that follows, for which the noise has to suffice.
    """

    optimizer: Literal["loo", "lml"]
    varied: bool
    alpha: float | None
    amplitude: float | None
    folds: list[_Rows] | None
    n_restarts: int = 0
    seed: int = 0
    n_rows: int = 0


def noise_variances(noise: Noise, training: TrainingSet, diagonal: float) -> _Array:
    """Return what is added to the diagonal of a kernel matrix whose mean diagonal is given."""
    errors = training.errors
    out = noise.alphas[errors.numbers(len(training))] * diagonal / training.weights + noise.jitter
    if errors.variances is not None and noise.amplitude is not None:
        out = out + errors.variances / noise.amplitude
    return np.asarray(out)


class _Objective:
    """The score as a function of (log theta, log alphas, log amplitude), where those are free."""

    def __init__(
        self, training: TrainingSet, kernel: Any, settings: Settings, trials: list[Trial]
    ) -> None:
        self.training, self.kernel, self.settings = training, kernel, settings
        self.trials = trials
        self.factorised = False
        self.n_theta = len(kernel.theta) if settings.varied else 0
        self.n_alphas = 0 if settings.alpha is not None else training.errors.n_groups
        #: Known noise is absolute, so the amplitude is no longer a mere factor.
        known = training.errors.variances is not None
        self.free_amplitude = known and settings.amplitude is None
        radial = isinstance(kernel, RadialKernel) and not kernel.anisotropic
        self.distances = kernel.distances(training.features) if radial else None
        spread = float(np.mean(np.var(training.targets, axis=0)))
        self.log_spread = np.log(spread) if spread > 0.0 else 0.0
        self.starts = np.zeros((1, 0))
        if self.n_theta:
            self.starts = start_thetas(kernel, training.features, self.distances)
        #: Matrix of the latest theta, where it takes long, with what its slopes need.
        self.latest: tuple[bytes, _Array, Any] | None = None

    def bounds(self) -> _Array:
        theta = np.reshape(self.kernel.bounds, (-1, 2)) if self.n_theta else np.zeros((0, 2))
        if len(self.starts) > 1:
            near = self.starts.min(axis=0) - _BEYOND_GRID, self.starts.max(axis=0) + _BEYOND_GRID
            theta = np.clip(np.stack(near, axis=1), theta[:, :1], theta[:, 1:])
        alphas = np.tile(_LOG_ALPHA_BOUNDS, (self.n_alphas, 1))
        if self.settings.n_rows:
            alphas[:, 0] = np.maximum(alphas[:, 0], np.log(_ROUNDING * self.settings.n_rows))
        amplitude = self.log_spread + np.array([[-_LOG_AMPLITUDE_RANGE, _LOG_AMPLITUDE_RANGE]])
        return np.vstack([theta, alphas, amplitude[: int(self.free_amplitude)]])

    @property
    def noises(self) -> slice:
        """Where the logarithms of the regularisers are in a point."""
        return slice(self.n_theta, self.n_theta + self.n_alphas)

    def shear(self) -> _Array:
        """Return how the noise follows each hyperparameter of the kernel, array (n_theta,)."""
        kernel = self.kernel.base if isinstance(self.kernel, StructureKernel) else self.kernel
        if not isinstance(kernel, RadialKernel):
            return np.zeros(self.n_theta)
        # Wide kernels are linear in the distance that they are made of.
        power = np.log(kernel.length_scale_from(4.0) / kernel.length_scale_from(1.0)) / np.log(4.0)
        return np.full(self.n_theta, -1.0 / power / max(self.n_theta, 1))

    def grid(self) -> list[_Array]:
        """Return the points from which the best start is taken."""
        alphas = np.zeros((1, 0))
        if self.n_alphas:
            alphas = np.tile(np.log(_ALPHAS)[:, None], self.n_alphas)
        amplitudes = np.zeros((1, 0))
        if self.free_amplitude:
            amplitudes = (self.log_spread + np.log(_AMPLITUDES))[:, None]
        low, high = self.bounds().T
        return [
            np.clip(np.concatenate([theta, alpha, amplitude]), low, high)
            for theta in self.starts
            for alpha in alphas
            for amplitude in amplitudes
        ]

    def at(self, point: _Array) -> tuple[Any, Noise]:
        """Return kernel and noise at a point."""
        settings = self.settings
        kernel = (
            self.kernel.clone_with_theta(point[: self.n_theta]) if self.n_theta else self.kernel
        )
        amplitude = settings.amplitude
        if self.free_amplitude:
            amplitude = float(np.exp(point[-1]))
        if settings.alpha is not None:
            alphas = np.full(self.training.errors.n_groups, settings.alpha)
        else:
            alphas = np.exp(point[self.n_theta : self.n_theta + self.n_alphas])
        return kernel, Noise(alphas, amplitude)

    def value(self, point: _Array) -> float:
        """Return the score at a point."""
        return self._evaluate(point, slopes=False)[0]

    def value_and_slopes(self, point: _Array) -> tuple[float, _Array]:
        """Return score and slopes for a search that wants finite numbers."""
        value, slopes = self._evaluate(point, slopes=True)
        if len(slopes) == 0 or not (np.isfinite(value) and np.isfinite(slopes).all()):
            return _IMPOSSIBLE, np.zeros(len(point))
        return value, slopes

    def _evaluate(self, point: _Array, *, slopes: bool) -> tuple[float, _Array]:
        kernel, noise = self.at(point)
        value, found = self.evaluate(kernel, noise, slopes=slopes)
        self.trials.append(Trial(len(self.training), kernel, float(noise.alphas.mean()), value))
        return value, found

    def evaluate(self, kernel: Any, noise: Noise, *, slopes: bool) -> tuple[float, _Array]:
        """Return the score of a kernel and a noise, and its slopes if asked for."""
        training = self.training
        K, parts = self._matrix(kernel, slopes=slopes)
        diagonal = float(np.mean(np.einsum("ii->i", K)))
        variances = noise_variances(noise, training, diagonal)
        kept = K.copy() if slopes and self.n_theta and parts is None else None
        factor = CholeskyFactor.attempt(K, variances)
        if factor is None:
            return np.inf, np.zeros(0)
        self.factorised = True
        solution = GeneralisedLeastSquares(factor, training.targets, training.basis)
        score = self._score(factor, solution, noise.amplitude, variances, slopes=slopes)
        if score.adjoint is None:
            return score.value, np.zeros(0)
        return score.value, self._slopes(kernel, noise, score, diagonal, kept, parts)

    def rounded(self, point: _Array) -> bool:
        """Return whether rounding is felt in the predictions of a fit on all rows at a point."""
        kernel, noise = self.at(point)
        K = self._matrix(kernel, slopes=False)[0]
        diagonal = float(np.mean(np.einsum("ii->i", K)))
        factor = CholeskyFactor.attempt(K, noise_variances(noise, self.training, diagonal))
        if factor is None:
            return False
        solution = GeneralisedLeastSquares(factor, self.training.targets, self.training.basis)
        errors = np.abs(solution.loo(self.training.partition)[0])
        known = np.isfinite(errors).all(axis=1)
        if not known.any():
            return False
        sums = np.abs(solution.dual).mean(axis=0) * max(self.settings.n_rows, len(errors))
        return bool((_ROUNDING * diagonal * sums > _RESOLVED * errors[known].mean(axis=0)).any())

    def _score(
        self,
        factor: CholeskyFactor,
        solution: GeneralisedLeastSquares,
        amplitude: float | _Array | None,
        variances: _Array,
        *,
        slopes: bool,
    ) -> Score:
        given: dict[str, Any] = {"noise": variances, "repeats": self.training.repeats}
        given["slopes"] = slopes
        if self.settings.optimizer == "lml":
            return likelihood(factor, solution, self.training.targets, amplitude, **given)
        return predictive(factor, solution, amplitude, self.settings.folds, **given)

    def _matrix(self, kernel: Any, *, slopes: bool) -> tuple[_Array, Any]:
        """Return a fresh kernel matrix, and what is needed for its slopes, if anything."""
        features = self.training.features
        if self.distances is not None:
            return np.asarray(kernel.from_distances(self.distances)), None
        joint, slopes = isinstance(kernel, JointKernel), slopes and self.n_theta > 0
        if not (joint or isinstance(kernel, StructureKernel)):
            return kernel_matrix(kernel, features), None
        key = kernel.theta.tobytes()
        if slopes or self.latest is None or self.latest[0] != key:
            if joint:
                parts = [kernel.factor_with_slopes(k, features, slopes) for k in kernel.places]
                self.latest = key, kernel.combined([K for K, _ in parts]), parts
            elif slopes and self.n_theta == 1:
                # Both at once, as the atoms are compared only once.
                self.latest = key, *kernel(features, eval_gradient=True)
            else:
                self.latest = key, np.asarray(kernel(features)), None
        return self.latest[1].copy(), self.latest[2]

    def _slopes(
        self,
        kernel: Any,
        noise: Noise,
        score: Score,
        diagonal: float,
        K: _Array | None,
        parts: Any,
    ) -> _Array:
        training, W = self.training, score.adjoint
        assert W is not None
        own = np.einsum("ii->i", W) + score.by_noise
        errors = training.errors
        groups = errors.numbers(len(own))
        relative = own * noise.alphas[groups] / training.weights
        found = []
        if self.n_theta:
            # The regulariser is relative to the mean diagonal, which depends on theta.
            np.einsum("ii->i", W)[:] += relative.sum() / len(own)
            features = training.features
            if isinstance(kernel, JointKernel):
                found.append(kernel.slope_sums(features, W, parts))
            elif parts is not None:
                found.append(np.einsum("ij,ijk->k", W, parts))
            else:
                found.append(slope_sums(kernel, features, W, self.distances, K))
        if self.n_alphas:
            sums = np.bincount(groups, relative * diagonal, minlength=self.n_alphas)
            found.append(np.asarray(sums, dtype=np.float64))
        if self.free_amplitude:
            assert errors.variances is not None
            assert noise.amplitude is not None
            along = score.amplitude_slope - own @ errors.variances / noise.amplitude
            found.append(np.array([along]))
        return np.concatenate(found)


def choose(
    training: TrainingSet, kernel: Any, settings: Settings
) -> tuple[Any, Noise, list[Trial]]:
    """Return the kernel and the noise of the least score.

    Parameters
    ----------
    training : TrainingSet
        Samples.
    kernel : kernel
        Where the search starts; a radial kernel starts from the distances instead.
    settings : Settings
        What is chosen, and by what.

    Returns
    -------
    kernel, noise, trials
        The best ones, and every evaluation in order.

    Raises
    ------
    SingularKernelError, CompositionError, SettingError
        If no trial has a score to choose by.
    """
    trials: list[Trial] = []

    def objective_on(n_rows: int) -> _Objective:
        part, folds = training.sample(n_rows, settings.folds, square=False)
        given = replace(settings, folds=folds, n_rows=len(training))
        return _Objective(part, kernel, given, trials)

    coarse = objective_on(_COARSE_ROWS)
    if not len(coarse.bounds()):
        kernel, noise = coarse.at(np.zeros(0))
        return kernel, noise, trials
    grid = coarse.grid()
    values = np.array([coarse.value(point) for point in grid])
    if not np.isfinite(values).any():
        raise nothing_to_choose_by(kernel, training, factorised=coarse.factorised)
    limit = values.min() + _EQUAL
    noisiest = [
        np.sum(p[coarse.n_theta :]) if v <= limit else -np.inf
        for p, v in zip(grid, values, strict=True)
    ]
    best = grid[int(np.argmax(noisiest))]
    between_structures = isinstance(kernel, StructureKernel | JointKernel)
    fine = objective_on(_FINE_ROWS_STRUCTURES if between_structures else _FINE_ROWS)
    if len(fine.training) > len(coarse.training):
        # Most of the way is gone on few rows.
        best = np.clip(_descend(coarse, best, coarse.bounds())[1], *fine.bounds().T)
    bounds = fine.bounds()
    rng = np.random.default_rng(settings.seed)
    starts = [best]
    for _ in range(settings.n_restarts):
        moved = best + rng.uniform(-_RESTART_RANGE, _RESTART_RANGE, len(best))
        starts.append(np.clip(moved, *bounds.T))
    while True:
        found = [_descend(fine, start, bounds) for start in starts]
        point = min(found, key=lambda pair: pair[0])[1]
        least = point[fine.noises].min(initial=np.inf) + _MORE_NOISE
        if least > _LOG_ALPHA_BOUNDS[1] or not fine.rounded(point):
            break
        bounds[fine.noises, 0] = least
        starts = [np.clip(point, *bounds.T)]
    best_kernel, noise = fine.at(point)
    if fine.n_theta and not between_structures and not getattr(kernel, "anisotropic", False):
        warn_at_bounds(best_kernel, np.reshape(kernel.bounds, (-1, 2)), point[: fine.n_theta])
    return best_kernel, noise, trials


def log_likelihood(
    training: TrainingSet, kernel: Any, noise: Noise, *, slopes: bool
) -> tuple[float, _Array]:
    """Return the log likelihood, summed over targets, and its slopes along the kernel's theta.

    Minus infinity, without slopes, where the kernel matrix is not positive definite.
    """
    settings = Settings("lml", varied=True, alpha=None, amplitude=None, folds=None)
    objective = _Objective(training, kernel, settings, [])
    value, found = objective.evaluate(kernel, noise, slopes=slopes)
    n_labels, n_targets = training.n_labels, training.targets.shape[1]
    factor, n_theta = -0.5 * float(np.mean(n_labels)) * n_targets, len(kernel.theta)
    return factor * value, factor * found[:n_theta] if len(found) else np.zeros(n_theta)


@dataclass
class _Best:
    """The best point that a search has seen."""

    point: _Array
    value: float = np.inf


def _descend(objective: _Objective, start: _Array, bounds: _Array) -> tuple[float, _Array]:
    """Return score and place of a local minimum, of the points seen the best one.

    Where a kernel is wide, a wider one with as much less noise is nearly the same model: along that
    valley the search moves in coordinates in which the noise follows the width.
    """
    best = _Best(start)
    shear = objective.shear()
    low, high = bounds.T

    def function(moved: _Array) -> tuple[float, _Array]:
        free = moved.copy()
        free[objective.noises] += shear @ moved[: objective.n_theta]
        point = np.clip(free, low, high)
        value, slopes = objective.value_and_slopes(point)
        if value < best.value:
            best.value, best.point = value, point
        slopes = np.where((free < low) | (free > high), 0.0, slopes)
        slopes[: objective.n_theta] += shear * slopes[objective.noises].sum()
        return value, slopes

    moved = start.copy()
    moved[objective.noises] -= shear @ start[: objective.n_theta]
    minimize(
        function,
        moved,
        jac=True,
        method="L-BFGS-B",
        bounds=[
            *map(tuple, bounds[: objective.n_theta]),
            *[(None, None)] * (len(start) - objective.n_theta),
        ],
        options={"maxiter": _STEPS, "ftol": _PRECISION, "gtol": 1e-5},
    )
    return best.value, best.point
