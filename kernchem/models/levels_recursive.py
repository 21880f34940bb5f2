r"""Recursive co-kriging: one process per level, each on the labels of the level below.

.. math:: y_t(x) = \rho_t\, y_{t-1}(x) + h(x)^T \beta_t + \delta_t(x)

With nested labels and no noise this is the full joint process, at the price of one factorisation
per level. The slope is a coefficient of the linear part of generalised least squares, beside the
element counts: it is found with them in closed form, in every fold too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.kernels.declarations import indefinite_cause
from kernchem.models.gp_search import Settings, choose
from kernchem.models.kernel_model import settled
from kernchem.models.levels import LevelQueries, Levels
from kernchem.models.levels_covariance import paths
from kernchem.models.training_set import TrainingSet
from kernchem.models.tuning import Trial, kernel_matrix
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares

__all__ = ["RecursiveProcess", "Step", "chosen_steps"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Part of a lower level's labels that element counts must leave, for a slope to be determined.
_RANK = 1e-10


@dataclass(frozen=True)
class Step:
    """Hyperparameters of the process of one level.

    Attributes
    ----------
    kernel : kernel
        Of the difference to the level below.
    alpha : float
        Variance of the noise relative to the mean diagonal of the kernel.
    diagonal : float
        That mean.
    amplitude : float or None
        In the squared unit of the labels; None until it was found.
    rho : float or None
        Slope on the level below; None fits it.
    """

    kernel: Any
    alpha: float
    diagonal: float
    amplitude: float | None = None
    rho: float | None = None


def training_set(data: Levels, t: int, lower: _Array | None, rho: float | None) -> TrainingSet:
    """Return the labels of a level with their linear part; ``lower`` is the rest of the lower."""
    level = data.levels[t]
    targets, basis = level.rest, level.basis
    if lower is not None and rho is not None:
        targets = targets - rho * lower
    elif lower is not None:
        basis = np.column_stack([basis, lower / data.levels[t - 1].scale])
    features = data.features if len(level.rows) == len(data) else data.features[level.rows]
    given = basis if basis.shape[1] else None
    return TrainingSet.all(features, targets[:, None], level.weights, given)


def chosen_steps(
    data: Levels,
    initial_kernel: Callable[[Any], Any],
    settings: Settings,
    rho: list[float | None],
    amplitude: str,
) -> tuple[RecursiveProcess, list[Trial]]:
    """Return the process with hyperparameters chosen level by level, and all trials.

    Where a molecule lacks the label of the level below, what that level's process predicts stands
    in for it.
    """
    process, trials = RecursiveProcess(data, [], amplitude), []
    for t in range(data.n_levels):
        lower = process.lower(t)
        slope = None if lower is None else _slope(data, t, lower, rho[t - 1])
        training = training_set(data, t, lower, slope)
        kernel, noise, found = choose(training, initial_kernel(training.features), settings)
        trials += found
        kernel = settled(kernel, training.features)
        diagonal = float(np.mean(kernel.diag(training.features)))
        process.add(Step(kernel, float(noise.alphas[0]), diagonal, rho=slope))
    return process, trials


def _slope(data: Levels, t: int, lower: _Array, rho: float | None) -> float | None:
    """Return the slope if it is given or not determined by the labels, else None: it is fitted."""
    if rho is not None:
        return rho
    basis = data.levels[t].basis
    n, p = basis.shape
    rest = lower
    if p:
        q = np.linalg.qr(basis)[0]
        rest = lower - q @ (q.T @ lower)
    if n >= p + 3 and np.linalg.norm(rest) > _RANK * max(float(np.linalg.norm(lower)), 1e-300):
        return None
    return 1.0


class RecursiveProcess:
    """Processes of all levels, one after the other.

    Parameters
    ----------
    data : Levels
        Labels.
    steps : list of Step
        Hyperparameters of each level; more can be added.
    amplitude : {"loo", "lml"}
        How amplitudes are found where steps have none.

    Notes
    -----
    n_t^3 flops for each level of n_t labels, of which the inverse factors are kept.
    """

    def __init__(self, data: Levels, steps: list[Step], amplitude: str = "loo") -> None:
        self.data, self.amplitude = data, amplitude
        self.steps: list[Step] = []
        self.solutions: list[GeneralisedLeastSquares] = []
        self.jitters: list[float] = []
        for step in steps:
            self.add(step)

    def lower(self, t: int) -> _Array | None:
        """Return the rest of the level below at the molecules of a level, predicted if missing."""
        if t == 0:
            return None
        values = self.data.lower(t)
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            rows = self.data.levels[t].rows[missing]
            features = self.data.features[rows]
            # Offsets of element counts do not matter: this level fits its own.
            empty = [np.zeros((len(rows), level.basis.shape[1])) for level in self.data.levels[:t]]
            queries = LevelQueries(features, self.data.features, empty)
            values[missing] = self.rests(queries, t - 1)[-1]
        return values

    def add(self, step: Step) -> None:
        """Factorise the next level."""
        t = len(self.steps)
        training = training_set(self.data, t, self.lower(t), step.rho)
        K = kernel_matrix(step.kernel, training.features)
        noise = step.alpha * step.diagonal / training.weights
        factor = CholeskyFactor(K, noise, cause=indefinite_cause(step.kernel))
        solution = GeneralisedLeastSquares(factor, training.targets, training.basis)
        if step.amplitude is None:
            found = _amplitude(solution, training.targets, self.amplitude)
            step = Step(step.kernel, step.alpha, step.diagonal, found, step.rho)
        factor.invert()
        self.steps.append(step)
        self.solutions.append(solution)
        self.jitters.append(factor.jitter)

    # -- slopes -----------------------------------------------------------------------------------

    def slope(self, t: int) -> tuple[float, float]:
        """Return the slope of level t on the one below, and its variance."""
        step, solution = self.steps[t], self.solutions[t]
        if step.rho is not None:
            return step.rho, 0.0
        scale = self.data.levels[t - 1].scale
        variance = solution.coef_covariance()[-1, -1] * self._amplitude(t)
        return float(solution.coef[-1, 0]) / scale, float(variance) / scale**2

    def _amplitude(self, t: int) -> float:
        return float(self.steps[t].amplitude or 0.0)

    def noise(self, t: int) -> float:
        """Return the variance of the noise of a label of level t, given the level below."""
        step = self.steps[t]
        return self._amplitude(t) * step.alpha * step.diagonal

    # -- predictions ------------------------------------------------------------------------------

    def _cross(self, queries: LevelQueries, t: int) -> _Array:
        rows, known = self.data.levels[t].rows, queries.known
        part = known if len(rows) == len(known) else known[rows]
        return np.asarray(self.steps[t].kernel(queries.features, part))

    def _basis(self, queries: LevelQueries, t: int, lower: _Array | None) -> _Array:
        basis = queries.bases[t]
        if lower is None or self.steps[t].rho is not None:
            return basis
        return np.column_stack([basis, lower / self.data.levels[t - 1].scale])

    def rests(self, queries: LevelQueries, highest: int) -> list[_Array]:
        """Return the means (m,) of what element counts leave, of the levels up to the highest."""
        found: list[_Array] = []
        for t in range(highest + 1):
            lower = found[-1] if t else None
            solution = self.solutions[t]
            mean = (self._cross(queries, t) @ solution.dual)[:, 0]
            mean += (self._basis(queries, t, lower) @ solution.coef)[:, 0]
            fixed = self.steps[t].rho
            found.append(mean if lower is None or fixed is None else mean + fixed * lower)
        return found

    def _labels(self, queries: LevelQueries, rest: _Array, t: int) -> _Array:
        return np.asarray(rest + queries.bases[t] @ self.data.levels[t].offset)

    def mean(self, queries: LevelQueries, level: int) -> _Array:
        """Return means (m,) of a level."""
        return self._labels(queries, self.rests(queries, level)[-1], level)

    def mean_and_variance(self, queries: LevelQueries, level: int) -> tuple[_Array, _Array]:
        """Return means (m,) and variances (m,) of labels of a level."""
        variance: Any = 0.0
        rests = self.rests(queries, level)
        for t in range(level + 1):
            basis = self._basis(queries, t, rests[t - 1] if t else None)
            prior = np.asarray(self.steps[t].kernel.diag(queries.features))
            plain = self.solutions[t].variances(self._cross(queries, t), basis, prior)
            factor = sum(_powers(self.slope(t))) if t else 0.0
            variance = factor * variance + self._amplitude(t) * plain + self.noise(t)
        return self._labels(queries, rests[-1], level), np.asarray(variance)

    def mean_and_covariance(self, queries: LevelQueries, level: int) -> tuple[_Array, _Array]:
        """Return means (m,) and covariances (m, m) of labels of a level."""
        total: Any = 0.0
        rests = self.rests(queries, level)
        for t in range(level + 1):
            own = self._own_covariance(queries, t, rests)
            np.einsum("ii->i", own)[:] += self.noise(t)
            total = (sum(_powers(self.slope(t))) if t else 0.0) * total + own
        return self._labels(queries, rests[-1], level), np.asarray(total)

    def _own_covariance(self, queries: LevelQueries, t: int, rests: list[_Array]) -> _Array:
        basis = self._basis(queries, t, rests[t - 1] if t else None)
        prior = np.asarray(self.steps[t].kernel(queries.features))
        found = self.solutions[t].covariance(self._cross(queries, t), basis, prior)
        return self._amplitude(t) * found

    def unknowns(self, queries: LevelQueries) -> tuple[_Array, _Array, _Array]:
        """Return what is not known of new molecules, and how the top level is made of it.

        Returns
        -------
        covariance : array (m, T, m, T)
            Of the differences to the level below, which a label tells where that of the level below
            is there. Slopes count as known, but for what their uncertainty adds at the mean.
        noise : array (T,)
            Variances of the noise of such labels.
        top : array (T,)
            Weight of each difference in the top level.
        """
        n_levels, m = self.data.n_levels, len(queries)
        covariance = np.zeros((m, n_levels, m, n_levels))
        rests = self.rests(queries, n_levels - 1)
        for t in range(n_levels):
            covariance[:, t, :, t] = self._own_covariance(queries, t, rests)
        noise = np.array([self.noise(t) for t in range(n_levels)])
        rho = np.array([self.slope(t)[0] for t in range(1, n_levels)])
        return covariance, noise, paths(rho)[:, -1]

    # -- what was left out ------------------------------------------------------------------------

    def left_out(self, folds: list[_Rows] | None) -> tuple[_Array, _Array]:
        """Return residuals (n, T) and variances (n, T) of mean labels, all of a fold's left out.

        Folds hold molecules; None leaves out one at a time, at all levels. Exact, with slopes and
        offsets found without the fold; each level below has the noise of one label, as in
        predictions.
        """
        data = self.data
        residuals = np.full((len(data), data.n_levels), np.nan)
        variances = residuals.copy()
        for t, level in enumerate(data.levels):
            place = np.full(len(data), -1)
            place[level.rows] = np.arange(len(level.rows))
            if folds is None:
                groups = [np.array([k]) for k in range(len(level.rows))]
            else:
                inside = [place[fold][place[fold] >= 0] for fold in folds]
                groups = [group for group in inside if len(group)]
            self._leave_out(t, groups, residuals, variances, each=folds is None)
        return residuals, variances

    def _leave_out(
        self, t: int, groups: list[_Rows], residuals: _Array, variances: _Array, *, each: bool
    ) -> None:
        """Fill in the residuals and variances of a level, from those of the level below."""
        level, solution, amplitude = self.data.levels[t], self.solutions[t], self._amplitude(t)
        if each:
            own, plain = solution.loo()
            blocks = [np.full((1, 1), value) for value in plain]
        else:
            own, blocks = solution.left_out(groups)
        fitted = t > 0 and self.steps[t].rho is None
        fixed = float(self.steps[t].rho or 0.0)
        scale = self.data.levels[t - 1].scale if t else 1.0
        if t:
            # Variances of one label of the level below.
            lower, single = self.data.levels[t - 1], variances[:, t - 1].copy()
            single[lower.rows] += self.noise(t - 1) * (1.0 - 1.0 / lower.weights)
        if fitted:
            coefficient = float(solution.coef[-1, 0])
            gain, spread = solution.coef_weights()[-1], solution.coef_covariance()[-1, -1]
        for group, block in zip(groups, blocks, strict=True):
            rows = level.rows[group]
            error, variance = own[group, 0], amplitude * np.einsum("ii->i", block)
            if t:
                below, below_variance = residuals[rows, t - 1], single[rows]
                rho, uncertain = fixed, 0.0
                if fitted:
                    # Slope, its variance and covariance with the labels, without the fold.
                    weights = block @ gain[group]
                    rho = (coefficient - float(gain[group] @ error)) / scale
                    uncertain = amplitude * (spread + float(gain[group] @ weights)) / scale**2
                    variance = variance - 2.0 * amplitude * below * weights / scale
                    variance = variance + below**2 * uncertain
                error = error + rho * below
                variance = variance + (rho**2 + uncertain) * below_variance
            residuals[rows, t], variances[rows, t] = error, variance


def _powers(slope: tuple[float, float]) -> tuple[float, float]:
    """Return the square of a slope and its variance."""
    return slope[0] ** 2, slope[1]


def _amplitude(solution: GeneralisedLeastSquares, targets: _Array, method: str) -> float:
    """Return the amplitude of a level's process, above zero."""
    if method == "lml":
        found = float(targets[:, 0] @ solution.dual[:, 0]) / max(
            len(targets) - len(solution.coef), 1
        )
    else:
        residuals, variances = solution.loo()
        scores = residuals[:, 0] ** 2 / variances
        found = float(np.mean(scores[np.isfinite(scores)])) if np.isfinite(scores).any() else 0.0
    return max(found, float(np.finfo(float).tiny))
