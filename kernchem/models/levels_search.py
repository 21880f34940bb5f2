"""Choice of the hyperparameters of a joint process of several levels.

The search begins where the processes of the levels, one by one, are best, and goes on by the
restricted likelihood of all labels, with analytic slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from kernchem.kernels.base import RadialKernel
from kernchem.kernels.slopes import slope_sums
from kernchem.models.levels import Level, Levels
from kernchem.models.levels_covariance import Autoregressive, Coregional, Structure
from kernchem.models.levels_joint import JointSettings, Labels
from kernchem.models.levels_recursive import RecursiveProcess
from kernchem.models.training_set import full_rank
from kernchem.models.tuning import Trial
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares, likelihood

__all__ = ["chosen_settings"]

_Array = npt.NDArray[np.float64]

#: Labels of the search: all of the highest level first.
_ROWS = 1500
_STEPS = 80
_PRECISION = 1e-6
_IMPOSSIBLE = 1e6
#: Largest relative noise, and the smallest in units of rounding errors of as many labels.
_MOST_NOISE = 1e3
_ROUNDING = 10.0 * float(np.finfo(float).eps)


class JointObjective:
    """The restricted likelihood as a function of widths, levels and noises.

    The point holds the hyperparameters of the kernels that are free, the point of the structure,
    and the logarithms of noises relative to the variance of their level where those are free.

    Parameters
    ----------
    data : Levels
        Labels.
    scales : array (T,)
        What the labels of each level are divided by.
    kernels : list of kernel
        One for each component.
    structure : Structure
        How levels covary.
    alpha : float or None
        Relative noise; None is free.
    widths : bool
        Whether hyperparameters of the kernels are free; those of kernels with one width are, whose
        distances are computed once.
    """

    def __init__(
        self,
        data: Levels,
        scales: _Array,
        kernels: list[Any],
        structure: Structure,
        alpha: float | None,
        *,
        widths: bool,
    ) -> None:
        self.labels = Labels(data, scales)
        self.kernels, self.structure, self.alpha = kernels, structure, alpha
        self.trials: list[Trial] = []
        rows = self.labels.rows
        radial = [isinstance(k, RadialKernel) and not k.anisotropic for k in kernels]
        self.distances = None
        if widths and all(radial):
            self.distances = kernels[0].distances(data.features)[np.ix_(rows, rows)]
        self.n_theta = [len(k.theta) if self.distances is not None else 0 for k in kernels]
        self.fixed = []
        if self.distances is None:
            self.fixed = [np.asarray(k(data.features))[np.ix_(rows, rows)] for k in kernels]
        #: Mean diagonal of each component, in units of which variances are.
        self.diagonals = [float(np.mean(k.diag(data.features))) for k in kernels]

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.labels.parts)

    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Return the bounds of a point."""
        found: list[tuple[float | None, float | None]] = []
        for kernel, n in zip(self.kernels, self.n_theta, strict=True):
            found += [tuple(pair) for pair in np.reshape(kernel.bounds, (-1, 2))[:n]]
        noise = np.log(_ROUNDING * len(self.labels)), np.log(_MOST_NOISE)
        return (
            found + self.structure.bounds + [noise] * (self.n_levels if self.alpha is None else 0)
        )

    def start(self, inner: _Array, alphas: _Array) -> _Array:
        """Return the point of the kernels as they are, a point of the structure, and noises."""
        thetas = [k.theta[:n] for k, n in zip(self.kernels, self.n_theta, strict=True)]
        noises = np.log(alphas) if self.alpha is None else np.zeros(0)
        return np.concatenate([*thetas, inner, noises])

    def parts(self, point: _Array) -> tuple[list[Any], _Array, _Array]:
        """Return kernels, the point of the structure, and relative noises (T,)."""
        kernels, start = [], 0
        for kernel, n in zip(self.kernels, self.n_theta, strict=True):
            kernels.append(kernel.clone_with_theta(point[start : start + n]) if n else kernel)
            start += n
        if self.alpha is not None:
            return kernels, point[start:], np.full(self.n_levels, self.alpha)
        return kernels, point[start : -self.n_levels], np.exp(point[-self.n_levels :])

    def settings(self, point: _Array) -> tuple[list[Any], list[_Array], _Array]:
        """Return kernels, matrices (T, T) and noises (T,), in units of each level's scale."""
        kernels, inner, alphas = self.parts(point)
        matrices = self.structure.matrices(inner)
        owners = [self.structure.owner(t) for t in range(self.n_levels)]
        own = np.array([matrices[q][t, t] for t, q in enumerate(owners)])
        return kernels, matrices, alphas * own

    def _matrices(self, kernels: list[Any]) -> list[_Array]:
        """Return the kernel matrix of all labels of each component, its mean diagonal 1."""
        if self.distances is not None:
            return [np.asarray(kernel.from_distances(self.distances)) for kernel in kernels]
        return [K / d for K, d in zip(self.fixed, self.diagonals, strict=True)]

    def __call__(self, point: _Array, *, slopes: bool = True) -> tuple[float, _Array]:
        """Return the score, minus twice a log density per label, and its slopes."""
        labels = self.labels
        kernels, matrices, noises = self.settings(point)
        total, found = np.zeros((len(labels), len(labels))), self._matrices(kernels)
        for K, C in zip(found, matrices, strict=True):
            labels.add_scaled(K, C, total)
        noise = np.repeat(noises, labels.sizes) / labels.weights
        factor = CholeskyFactor.attempt(total, noise)
        if factor is None:
            return _IMPOSSIBLE, np.zeros(len(point))
        solution = GeneralisedLeastSquares(factor, labels.targets, labels.basis)
        score = likelihood(factor, solution, labels.targets, slopes=slopes)
        if not np.isfinite(score.value):
            return _IMPOSSIBLE, np.zeros(len(point))
        mean_noise = float(np.mean(noises))
        self.trials.append(Trial(len(labels), kernels[0], mean_noise, score.value))
        if score.adjoint is None:
            return score.value, np.zeros(0)
        return score.value, self._slopes(point, score.adjoint, found)

    def _slopes(self, point: _Array, W: _Array, found: list[_Array]) -> _Array:
        labels = self.labels
        kernels, inner, alphas = self.parts(point)
        matrices = self.structure.matrices(inner)
        own = labels.split(np.einsum("ii->i", W) / labels.weights)
        by_noise = np.array([part.sum() for part in own])
        sums = [labels.sums(W, K) for K in found]
        for t in range(self.n_levels):
            sums[self.structure.owner(t)][t, t] += by_noise[t] * alphas[t]
        by_theta = []
        for kernel, C, K, n in zip(kernels, matrices, found, self.n_theta, strict=True):
            if n:
                weights = np.zeros_like(W)
                labels.add_scaled(W, C, weights)
                by_theta.append(slope_sums(kernel, None, weights, self.distances, K))
        out = [*by_theta, self.structure.slopes(inner, sums)]
        if self.alpha is None:
            out.append(by_noise * self.settings(point)[2])
        return np.concatenate(out)


@dataclass(frozen=True)
class Chosen:
    """Hyperparameters of a joint process, its slopes (T - 1,) and all trials."""

    settings: JointSettings
    rho: _Array
    trials: list[Trial]


def chosen_settings(
    data: Levels,
    start: RecursiveProcess,
    structure: Autoregressive | Coregional,
    alpha: float | None,
    *,
    widths: bool,
) -> Chosen:
    """Return the hyperparameters of the largest restricted likelihood near a start.

    Parameters
    ----------
    data : Levels
        Labels.
    start : RecursiveProcess
        Processes of the levels, one by one.
    structure : Autoregressive or Coregional
        How levels covary.
    alpha : float or None
        Relative noise; None chooses it.
    widths : bool
        Whether to choose widths too.
    """
    part = _some(data)
    scales = np.array([level.scale for level in data.levels])
    steps = start.steps
    rho = np.array([start.slope(t)[0] for t in range(1, data.n_levels)])
    scaled = rho * scales[:-1] / scales[1:]
    variances = np.array([start._amplitude(t) * s.diagonal for t, s in enumerate(steps)])
    variances = variances / scales**2
    alphas = np.array([step.alpha for step in steps])
    if isinstance(structure, Autoregressive):
        kernels = [step.kernel for step in steps]
        given = [
            None if value is None else value * scales[k] / scales[k + 1]
            for k, value in enumerate(structure.given)
        ]
        structure = Autoregressive(given)
        inner = structure.point(variances, scaled)
    else:
        kernels = [steps[0].kernel]
        ladder = Autoregressive([None] * len(rho))
        covariance = sum(ladder.matrices(ladder.point(variances, scaled)))
        assert not isinstance(covariance, int)
        alphas = alphas * variances / variances[0] / np.diag(covariance)
        inner = structure.point(covariance)
    objective = JointObjective(part, scales, kernels, structure, alpha, widths=widths)
    point = _descend(objective, objective.start(inner, alphas))
    kernels, matrices, noises = objective.settings(point)
    amplitude = _amplitude(objective, point)
    outer = np.outer(scales, scales) * amplitude
    diagonals = objective.diagonals
    found = JointSettings(
        kernels,
        [outer * C / d for C, d in zip(matrices, diagonals, strict=True)],
        amplitude * scales**2 * noises,
    )
    return Chosen(found, slopes_of(found, structure), objective.trials)


def slopes_of(settings: JointSettings, structure: Autoregressive | Coregional) -> _Array:
    """Return the slope of each level above the first on the one below, at one molecule."""
    if isinstance(structure, Autoregressive):
        # A level holds its slope times the process of the level below.
        matrices = settings.matrices[: structure.n_levels - 1]
        return np.array([C[t + 1, t] / C[t, t] for t, C in enumerate(matrices)])
    C = settings.matrices[0]
    return np.array([C[t + 1, t] / C[t, t] for t in range(structure.n_levels - 1)])


def _amplitude(objective: JointObjective, point: _Array) -> float:
    """Return the best common factor of all variances, in units of the scales."""
    labels = objective.labels
    kernels, matrices, noises = objective.settings(point)
    total = np.zeros((len(labels), len(labels)))
    for K, C in zip(objective._matrices(kernels), matrices, strict=True):
        labels.add_scaled(K, C, total)
    factor = CholeskyFactor(total, np.repeat(noises, labels.sizes) / labels.weights)
    solution = GeneralisedLeastSquares(factor, labels.targets, labels.basis)
    quadratic = float(labels.targets[:, 0] @ solution.dual[:, 0])
    return max(quadratic / max(len(labels) - len(solution.coef), 1), float(np.finfo(float).tiny))


def _descend(objective: JointObjective, start: _Array) -> _Array:
    """Return the best point that a quasi-Newton search sees."""
    bounds = objective.bounds()
    low = np.array([-np.inf if pair[0] is None else pair[0] for pair in bounds])
    high = np.array([np.inf if pair[1] is None else pair[1] for pair in bounds])
    start = np.clip(start, low, high)
    values, points = [np.inf], [start]

    def function(point: _Array) -> tuple[float, _Array]:
        value, slopes = objective(point)
        if value < values[-1]:
            values.append(value)
            points.append(point.copy())
        return value, slopes

    if len(start):
        minimize(
            function,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _STEPS, "ftol": _PRECISION, "gtol": 1e-6},
        )
    return points[-1]


def _some(data: Levels) -> Levels:
    """Return the labels of so many molecules as a search takes, the highest levels first."""
    total = sum(len(level.rows) for level in data.levels)
    if total <= _ROWS:
        return data
    shuffled = np.random.default_rng(0).permutation(len(data))
    place = np.empty(len(data), dtype=np.int64)
    place[shuffled] = np.arange(len(data))
    highest = np.zeros(len(data), dtype=np.int64)
    counts = np.zeros(len(data), dtype=np.int64)
    for t, level in enumerate(data.levels):
        highest[level.rows] = t
        counts[level.rows] += 1
    order = np.lexsort([place, -highest])
    # At most half of them are of the top, so that the others have a say.
    top = order[highest[order] == data.n_levels - 1][: _ROWS // (2 * data.n_levels)]
    others = order[highest[order] < data.n_levels - 1]
    # Each of them has a share of its own before the rest goes to the highest.
    share = _ROWS // (4 * data.n_levels)
    least = [level.rows[np.argsort(place[level.rows])][:share] for level in data.levels[:-1]]
    top = np.unique(np.concatenate([top, *least]))
    others = others[~np.isin(others, top)]
    room = _ROWS - int(counts[top].sum())
    chosen = np.sort(np.concatenate([top, others[np.cumsum(counts[others]) <= room]]))
    inside = np.full(len(data), -1)
    inside[chosen] = np.arange(len(chosen))
    levels = []
    for level in data.levels:
        kept = np.flatnonzero(inside[level.rows] >= 0)
        basis = level.basis[kept]
        if basis.shape[1]:
            basis = full_rank(basis)
        levels.append(
            Level(
                inside[level.rows[kept]],
                level.rest[kept],
                level.weights[kept],
                basis,
                level.offset,
                level.space,
                level.scale,
            )
        )
    return Levels(data.features[chosen], levels)
