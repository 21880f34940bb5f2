"""Strategies that look at variances of rows: maximum variance, D-optimal design, CUR."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas
from scipy.sparse.linalg import LinearOperator, eigsh

from kernchem.sampling.covariance import PivotedCholesky, nearly_same
from kernchem.sampling.greedy_jit import pivot_rows
from kernchem.sampling.strategy import Strategy

__all__ = ["CUR", "DOptimal", "MaximumVariance"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rank of the features in which leverages are computed, unless another is given.
_RANK = 2000
#: Leading components of a D-optimal design, unless another number is given.
_COMPONENTS = 200
#: Rank from which CUR iterates for a component, and the error of its eigenvalue.
_ITERATED, _TOLERANCE = 50, 1e-6
#: Variance of the noise of a D-optimal design, relative to the mean leverage.
_RIDGE = 1e-6


class MaximumVariance(Strategy):
    """The row of the largest posterior variance: partial pivoted Cholesky."""

    name = "maxvar"

    def _init(self) -> None:
        problem = self.problem
        self._cholesky = PivotedCholesky(problem.covariance, problem.noise)
        self._planned: deque[tuple[int, float, float]] = deque()
        self._ahead = 0

    def _continue(self, n: int) -> None:
        self._ahead = n

    def _rows(self, free: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        rows = np.zeros(self.problem.n_rows, dtype=bool)
        rows[: self.problem.n_pool] = free
        return rows

    def _plan(self) -> None:
        """Take a block of pivots, one group or several rows."""
        problem, cholesky = self.problem, self._cholesky
        variances = cholesky.residual.copy()
        self.free &= variances[: problem.n_pool] > cholesky.least
        if not problem.single:
            self._plan_group(variances)
            return
        unit_costs = np.ones(problem.n_rows)
        unit_costs[: problem.n_pool] = problem.costs[self._unit_of]
        usable = self.free & self.open_units()[self._unit_of]
        rows = cholesky.best_block(self._rows(usable), unit_costs, max(self._ahead, 1))
        own, traces = self._condition(rows, variances)
        for row, variance, trace in zip(rows, own, traces, strict=True):
            unit = int(self._unit_of[row])
            self._planned.append((unit, float(variance / problem.costs[unit]), float(trace)))

    def _plan_group(self, variances: _Array) -> None:
        problem, trace = self.problem, float(variances.sum())
        scores = self.by_unit(np.where(self.free, variances[: problem.n_pool], 0.0))
        unit = int(np.argmax(scores))
        rows = problem.units[unit]
        inside = np.zeros(problem.n_rows, dtype=bool)
        inside[rows] = True
        while len(rows):
            if not problem.noise:
                # Without noise, rows that the others of their group determine add nothing.
                rows = self._cholesky.best_block(inside, 1.0, len(rows))
            inside[rows] = False
            _, traces = self._condition(rows, variances)
            trace = float(traces[-1]) if len(rows) else trace
            rows = np.flatnonzero(inside)
            if problem.noise or not (self._cholesky.residual[rows] > self._cholesky.least).any():
                break
        self._planned.append((unit, float(scores[unit]), trace))

    def _condition(self, rows: _Rows, variances: _Array) -> tuple[_Array, _Array]:
        """Take rows as pivots; return the variance of each before, and what is left behind it."""
        own, traces = np.empty(len(rows)), np.empty(len(rows))
        if len(rows):
            part, least = self._cholesky.extend(rows), self._cholesky.least
            pivot_rows(part, variances, rows, self.problem.noise, least, self.free, own, traces)
        return own, traces

    def _get_best(self) -> tuple[int, float]:
        if not self._planned:
            self._plan()
        return self._planned[0][:2]

    def _update(self, unit: int) -> float:
        self._ahead -= 1
        return self._planned.popleft()[2]


class FeatureStrategy(Strategy):
    """Features whose products are the posterior covariance, up to a rank."""

    def _features(self) -> _Array:
        rank = min(self.problem.rank or _RANK, self.problem.n_rows)
        return PivotedCholesky(self.problem.covariance, capacity=rank).run(rank)


class DOptimal(FeatureStrategy):
    """The row that most increases the determinant of the information on leading components.

    The features are whitened over the targets, so that the squared norm of a row is its leverage.
    """

    name = "doptimal"

    def _init(self) -> None:
        problem, phi = self.problem, self._features()
        values, vectors = np.linalg.eigh((phi.T * problem.weights) @ phi)
        # There are no features where all variances are zero.
        largest = values.max(initial=0.0)
        k = min(problem.rank or _COMPONENTS, int((values > 1e-12 * largest).sum()))
        top = slice(len(values) - k, None)
        self._x = (phi[: problem.n_pool] @ vectors[:, top]) / np.sqrt(values[top])
        self._leverage = (self._x**2).sum(axis=1)
        self._ridge = max(_RIDGE * float(self._leverage.mean()), 1e-300)
        self._z = np.zeros((k, 0))

    def _get_best(self) -> tuple[int, float]:
        gains = np.log1p(np.maximum(self._leverage, 0.0) / self._ridge)
        scores = self.by_unit(np.where(self.free, gains, 0.0))
        unit = int(np.argmax(scores))
        return unit, float(scores[unit])

    def _update(self, unit: int) -> float:
        self._close_copies(self.problem.units[unit])
        for row in self.problem.units[unit]:
            z = self._x[row] - self._z @ (self._z.T @ self._x[row])
            z /= np.sqrt(max(float(z @ self._x[row]), 0.0) + self._ridge)
            self._leverage -= (self._x @ z) ** 2
            self._z = np.column_stack([self._z, z])
        return float(np.maximum(self._leverage, 0.0).sum())


class CUR(FeatureStrategy):
    """The row of the largest leverage on the first principal component of what is left.

    What a chosen row spans is projected out before the next one is chosen.
    """

    name = "cur"

    def _init(self) -> None:
        problem, self._phi = self.problem, self._features()
        # Its lower triangle is kept.
        self._gram = np.array((self._phi.T * problem.weights) @ self._phi, order="F")
        self._q = np.zeros((self._phi.shape[1], 0))
        self._vector = np.ones(self._phi.shape[1])
        self._same = nearly_same(problem.covariance.prior)
        self._rest = (self._phi[: problem.n_pool] ** 2).sum(axis=1)

    def _get_best(self) -> tuple[int, float]:
        self.free &= self._rest > self._same
        self._vector = self._component()
        leverage = (self._phi[: self.problem.n_pool] @ self._vector) ** 2
        leverage /= max(leverage.sum(), 1e-300)
        scores = self.by_unit(np.where(self.free, leverage, 0.0))
        unit = int(np.argmax(scores))
        return unit, float(scores[unit])

    def _update(self, unit: int) -> float:
        self._close_copies(self.problem.units[unit])
        for row in self.problem.units[unit]:
            x = self._phi[row] - self._q @ (self._q.T @ self._phi[row])
            size = float(np.linalg.norm(x))
            if size**2 <= self._same:
                continue
            x /= size
            self._q = np.column_stack([self._q, x])
            self._rest -= (self._phi[: self.problem.n_pool] @ x) ** 2
            along = blas.dsymv(1.0, self._gram, x, lower=1)
            along -= 0.5 * float(x @ along) * x
            self._gram = blas.dsyr2(-1.0, x, along, lower=1, a=self._gram, overwrite_a=1)
        return float(np.trace(self._gram))

    def _component(self) -> _Array:
        """Return the first principal component of what is left."""
        n = len(self._gram)
        if n < _ITERATED:
            return np.asarray(np.linalg.eigh(self._gram)[1][:, -1])
        product = LinearOperator(
            (n, n), lambda v: blas.dsymv(1.0, self._gram, v, lower=1), dtype=np.float64
        )
        start = self._vector - self._q @ (self._q.T @ self._vector)
        _, vectors = eigsh(product, k=1, v0=start + 1e-3 / np.sqrt(n), tol=_TOLERANCE)
        return np.asarray(vectors[:, 0])
