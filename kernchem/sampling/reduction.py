"""Integrated variance reduction: the row whose label tells most about all targets."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.sampling.covariance import PivotedCholesky
from kernchem.sampling.strategy import Problem, Strategy, nearly_same

__all__ = ["IntegratedVariance"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rows up to which the covariance is held as a whole unless a rank is given, and the rank beyond.
_EXACT, _RANK = 5000, 2000
#: Picks that are planned before all rows are looked at, and the rows among which they are.
_AHEAD, _CANDIDATES = 24, 1024
#: Rows from which features are held in single precision.
_SINGLE = 20_000
#: Rows that are updated at a time.
_PANEL = 8192


class _Whole:
    """The covariance V of all rows as one matrix."""

    def __init__(self, problem: Problem) -> None:
        rows = slice(0, problem.n_rows)
        self.V, self.weights = problem.covariance.block(rows, rows), problem.weights
        self.noise = np.full(problem.n_rows, problem.noise)
        self._u = np.zeros((problem.n_rows, 16))
        self._n = 0

    def pairs(self, left: _Rows, right: _Rows) -> tuple[_Array, _Array]:
        """Return V and V W V of pairs of rows."""
        squared = np.empty(len(left))
        for start in range(0, len(left), _PANEL):
            part = slice(start, start + _PANEL)
            a, b = self.V[left[part]], self.V[right[part]]
            squared[part] = np.einsum("ij,ij,j->i", a, b, self.weights)
        return self.V[left, right], squared

    def step(self, row: int, noise: float) -> tuple[_Array, _Array]:
        """Condition on a label; return u = V_:j / sqrt(V_jj + noise) and V W u, from before."""
        past = self._u[:, : self._n]
        u = self.V[row] - past @ past[row]
        u = u / np.sqrt(max(u[row], 0.0) + noise)
        weighted = self.weights * u
        t = self.V @ weighted - past @ (past.T @ weighted)
        if self._n == self._u.shape[1]:
            self._u = np.concatenate([self._u, np.zeros_like(self._u)], axis=1)
        self._u[:, self._n] = u
        self._n += 1
        return u, t


class _LowRank:
    """The covariance as a product of features, V = Phi S Phi' with S = 1 - Z Z'.

    What the features leave of a row's variance is noise of its label: without it a row whose
    variance they hardly have would be believed to tell all of it.
    """

    def __init__(self, problem: Problem, rank: int) -> None:
        rank = min(rank, problem.n_rows)
        cholesky = PivotedCholesky(problem.covariance, capacity=rank)
        phi = cholesky.run(rank)
        self.noise = problem.noise + cholesky.residual
        single = problem.n_rows > _SINGLE
        self.phi: Any = phi.astype(np.float32) if single else phi
        self.gram = np.zeros((phi.shape[1], phi.shape[1]))
        for start in range(0, len(phi), _PANEL):
            part = slice(start, start + _PANEL)
            scaled = self.phi[part] * np.sqrt(problem.weights[part, None]).astype(self.phi.dtype)
            self.gram += scaled.T @ scaled
        self._z = np.zeros((phi.shape[1], 16))
        self.n = 0

    def pairs(self, left: _Rows, right: _Rows) -> tuple[_Array, _Array]:
        """Return V and V W V of pairs of rows."""
        plain, squared = np.empty(len(left)), np.empty(len(left))
        for start in range(0, len(left), _PANEL):
            part = slice(start, start + _PANEL)
            a, b = self.phi[left[part]].astype(np.float64), self.phi[right[part]]
            plain[part] = np.einsum("ij,ij->i", a, b)
            squared[part] = np.einsum("ij,ij->i", a @ self.gram, b)
        return plain, squared

    def directions(self, row: int, noise: float) -> tuple[_Array, _Array]:
        """Condition on a label; return z and y with u = Phi z and V W u = Phi y, from before."""
        past, x = self._z[:, : self.n], self.phi[row].astype(np.float64)
        z = x - past @ (past.T @ x)
        z /= np.sqrt(max(float(z @ x), 0.0) + noise)
        y = self.gram @ z
        y -= past @ (past.T @ y)
        if self.n == self._z.shape[1]:
            self._z = np.concatenate([self._z, np.zeros_like(self._z)], axis=1)
        self._z[:, self.n] = z
        self.n += 1
        return z, y

    def step(self, row: int, noise: float) -> tuple[_Array, _Array]:
        """Condition on a label; return u and V W u."""
        both = np.stack(self.directions(row, noise), axis=1).astype(self.phi.dtype)
        u, t = (self.phi @ both).T.astype(np.float64)
        return u, t


class IntegratedVariance(Strategy):
    r"""The rows that most reduce the weighted sum of the posterior variances of the targets.

    .. math:: g_B = \mathrm{tr}\,[(V W V)_{BB} (V_{BB} + \eta)^{-1}]
    """

    name = "ivr"

    def _init(self) -> None:
        problem = self.problem
        rank = problem.rank
        if rank is None and problem.n_rows > _EXACT:
            rank = _RANK
        self._engine: Any = _Whole(problem) if rank is None else _LowRank(problem, rank)
        self._same = nearly_same(problem.covariance.prior)
        # Pairs of rows within each unit, units of one size side by side.
        sizes = np.array([len(rows) for rows in problem.units])
        self._order = np.argsort(sizes, kind="stable")
        self._sizes = sizes[self._order]
        ordered = [problem.units[k] for k in self._order]
        self._left = np.concatenate([np.repeat(rows, len(rows)) for rows in ordered])
        self._right = np.concatenate([np.tile(rows, len(rows)) for rows in ordered])
        self._d, self._s = self._engine.pairs(self._left, self._right)
        every = np.arange(problem.n_rows)
        self._variance = self._engine.pairs(every, every)[0]
        self._trace = float(problem.weights @ self._variance)
        self._planned: deque[tuple[int, float, float]] = deque()
        self._ahead = 0

    def _continue(self, n: int) -> None:
        self._ahead = n

    def _gains(self) -> _Array:
        """Return the gain of each unit."""
        out, start = np.zeros(len(self._sizes)), 0
        noise = self._engine.noise[self._left]
        for size in np.unique(self._sizes):
            units = self._order[self._sizes == size]
            stop = start + len(units) * size**2
            D = self._d[start:stop].reshape(-1, size, size)
            S = self._s[start:stop].reshape(-1, size, size)
            own = noise[start:stop].reshape(-1, size, size)
            start = stop
            if size == 1:
                d = np.maximum(D[:, 0, 0], 0.0) + own[:, 0, 0]
                out[units] = np.maximum(S[:, 0, 0], 0.0) / np.maximum(d, 1e-300)
                continue
            added = np.maximum(own, self._same) * np.eye(size)
            out[units] = np.einsum("kii->k", np.linalg.solve(D + added, S))
        return out

    def _best(self) -> tuple[int, float, _Array]:
        self.free &= self._variance[: self.problem.n_pool] > self._same
        scores = np.where(self.open_units(), self._gains() / self.problem.costs, -np.inf)
        unit = int(np.argmax(scores))
        return unit, float(scores[unit]), scores

    def _get_best(self) -> tuple[int, float]:
        if not self._planned:
            unit, gain, scores = self._best()
            low = isinstance(self._engine, _LowRank) and self.problem.single
            if low and self._ahead > 1 and np.isfinite(gain):
                self._plan(scores)
            else:
                return unit, gain
        return self._planned[0][:2]

    def _update(self, unit: int) -> float:
        self._ahead -= 1
        if self._planned:
            return self._planned.popleft()[2]
        for row in self.problem.units[unit]:
            if self._variance[row] <= self._same:
                continue
            before = self._variance[row]
            u, t = self._engine.step(int(row), self._engine.noise[row])
            self._apply(int(row), before, u, t)
        return self._trace

    def _apply(self, row: int, before: float, u: _Array, t: _Array) -> None:
        weights, n_pool = self.problem.weights, self.problem.n_pool
        column = u * np.sqrt(max(before, 0.0) + self._engine.noise[row])
        same = self._variance + self._variance[row] - 2.0 * column <= self._same
        self.free[same[:n_pool]] = False
        c = float(weights @ u**2)
        a, b = u[self._left], u[self._right]
        self._d -= a * b
        self._s -= a * t[self._right] + t[self._left] * b - c * (a * b)
        self._variance = np.maximum(self._variance - u**2, 0.0)
        self._trace -= c

    def _plan(self, scores: _Array) -> None:
        """Choose several rows among a few, and keep those that are the best of all rows.

        Every row is looked at afterwards, by one product of matrices for all picks.
        """
        problem, engine = self.problem, self._engine
        units = np.array([rows[0] for rows in problem.units])
        size = min(_CANDIDATES, len(scores))
        chosen = np.sort(np.argpartition(-scores, size - 1)[:size])
        rows, costs = units[chosen], problem.costs[chosen]
        noise = engine.noise[rows]
        phi = engine.phi[rows].astype(np.float64)
        d, s = self._variance[rows].copy(), np.empty(size)
        place = np.empty(problem.n_rows, dtype=np.int64)
        place[self._left] = np.arange(len(self._left))
        s[:] = self._s[place[rows]]
        usable = np.isfinite(scores[chosen])
        picks: list[int] = []
        pairs: list[tuple[_Array, _Array]] = []
        start = engine.n
        for _ in range(min(_AHEAD, self._ahead)):
            local = np.where(usable, s / np.maximum(d + noise, 1e-300) / costs, -np.inf)
            k = int(np.argmax(local))
            if not np.isfinite(local[k]) or local[k] <= 0.0:
                break
            z, y = engine.directions(int(rows[k]), noise[k])
            u, t = phi @ z, phi @ y
            column = u * np.sqrt(max(d[k], 0.0) + noise[k])
            usable[d + d[k] - 2.0 * column <= self._same] = False
            usable &= d > self._same
            usable[k] = False
            s = np.maximum(s - 2.0 * u * t + float(z @ engine.gram @ z) * u**2, 0.0)
            d = np.maximum(d - u**2, 0.0)
            picks.append(int(rows[k]))
            pairs.append((z, y))
        both = np.stack([v for pair in pairs for v in pair], axis=1).astype(engine.phi.dtype)
        found = (engine.phi @ both).astype(np.float64)
        for k, row in enumerate(picks):
            unit, gain, _ = self._best()
            if k and unit != self._unit_of[row]:
                # Another row is better: forget what came after it.
                engine.n = start + k
                break
            self._apply(row, self._variance[row], found[:, 2 * k], found[:, 2 * k + 1])
            self.take(int(self._unit_of[row]))
            self._planned.append((int(self._unit_of[row]), gain, self._trace))
