"""Reduction of integrated variances: the row whose label tells most about all targets."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.sampling.greedy_jit import (
    best_row,
    condition_pairs,
    condition_rows,
    multiply_rows,
)
from kernchem.sampling.strategy import Strategy, nearly_same
from kernchem.sampling.weighted import LowRankCovariance, WholeCovariance

__all__ = ["EXACT", "RANK", "IntegratedDeviation", "IntegratedVariance"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rows up to which the covariance is held as a whole unless a rank is given, and the rank beyond.
EXACT, RANK = 5000, 2000
#: Picks that are planned before all rows are looked at, at first and at most, and the rows among
#: which they are.
_AHEAD, _MOST, _CANDIDATES = 4, 48, 1024


class IntegratedVariance(Strategy):
    r"""The rows that most reduce the weighted sum of the posterior variances of the targets.

    .. math:: g_B = \mathrm{tr}\,[(V W V)_{BB} (V_{BB} + \eta)^{-1}]
    """

    name = "ivr"

    def _init(self) -> None:
        problem = self.problem
        rank = problem.rank
        if rank is None and problem.n_rows > EXACT:
            rank = RANK
        self._engine: Any = (
            WholeCovariance(problem) if rank is None else LowRankCovariance(problem, rank)
        )
        self._same = nearly_same(problem.covariance.prior)
        self._variance = self._engine.variance.copy()
        self._place_pairs()
        self._d = self._engine.plain(self._left, self._right)
        self._n_picks, self._planned = 0, deque[tuple[int, float, float]]()
        self._ahead, self._length = 0, _AHEAD
        self._trace = self._left_over()
        self._weigh()

    def _place_pairs(self) -> None:
        problem = self.problem
        # Pairs of rows within each unit, units of one size side by side.
        sizes = np.array([len(rows) for rows in problem.units])
        self._order = np.argsort(sizes, kind="stable")
        self._sizes = sizes[self._order]
        ordered = [problem.units[k] for k in self._order]
        self._left = np.concatenate([np.repeat(rows, len(rows)) for rows in ordered])
        self._right = np.concatenate([np.tile(rows, len(rows)) for rows in ordered])
        self._rows = self._left if problem.single else np.zeros(0, dtype=np.int64)

    def _weights(self) -> _Array:
        """Return the weights of the variances."""
        return self.problem.weights

    def _left_over(self) -> float:
        """Return the sum that is to be reduced."""
        return float(self.problem.weights @ self._variance)

    def _next_weights(self) -> int | None:
        """Return the number of picks after which weights change, counted from those there are."""
        return None

    def _weigh(self) -> None:
        self._w = self._weights()
        self._engine.weigh(self._w)
        self._s = self._engine.squared(self._left, self._right)
        self._change = self._next_weights()

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
        problem = self.problem
        if problem.single:
            scores = np.empty(len(self._rows))
            unit = best_row(
                self._rows, self._open, self.free, self._d, self._s, self._engine.noise,
                problem.costs, self._variance, self._same, scores,
            )  # fmt: skip
            return max(unit, 0), float(scores[unit]), scores
        self.free &= self._variance[: problem.n_pool] > self._same
        scores = np.where(self.open_units(), self._gains() / problem.costs, -np.inf)
        unit = int(np.argmax(scores))
        return unit, float(scores[unit]), scores

    def _get_best(self) -> tuple[int, float]:
        if not self._planned:
            if self._change is not None and self._n_picks >= self._change:
                self._weigh()
            unit, gain, scores = self._best()
            low = isinstance(self._engine, LowRankCovariance) and self.problem.single
            if low and self._ahead > 1 and 0.0 < gain < np.inf:
                self._plan(scores)
            else:
                return unit, gain
        return self._planned[0][:2]

    def _update(self, unit: int) -> float:
        self._ahead -= 1
        self._n_picks += 1
        if self._planned:
            return self._planned.popleft()[2]
        for row in self.problem.units[unit]:
            if self._variance[row] <= self._same:
                continue
            self._apply(int(row), *self._engine.step(int(row), self._engine.noise[row]))
        return self._trace

    def _apply(self, row: int, u: Any, t: Any) -> None:
        loss = condition_rows(
            u, row, self._engine.noise[row], self._w, self._same, self._variance, self.free
        )
        condition_pairs(u, t, loss, self._left, self._right, self._d, self._s)
        self._lose(loss)

    def _lose(self, loss: float) -> None:
        """Learn what a label took from the weighted sum of the variances."""
        self._trace -= loss

    def _plan(self, scores: _Array) -> None:
        """Choose several rows among a few, and keep those that are the best of all rows.

        Every row is looked at afterwards, by one product of matrices for all picks.
        """
        engine = self._engine
        size = min(_CANDIDATES, len(scores))
        chosen = np.sort(np.argpartition(-scores, size - 1)[:size])
        rows, costs = self._rows[chosen], self.problem.costs[chosen]
        noise, phi = engine.noise[rows], engine.phi[rows]
        d, s, local = self._variance[rows], self._s[chosen], np.empty(size)
        usable, closed = np.isfinite(scores[chosen]), np.ones(size, dtype=bool)
        every, ones = np.arange(size), np.ones(size)
        u, t = np.empty((2, size), dtype=phi.dtype)
        picks: list[int] = []
        directions: list[_Array] = []
        start, early = engine.n, engine.early
        longest = min(self._length, self._ahead)
        if self._change is not None:
            longest = min(longest, self._change - self._n_picks)
        for _ in range(longest):
            k = best_row(every, usable, closed, d, s, noise, costs, d, self._same, local)
            if k < 0 or local[k] <= 0.0:
                break
            z, y, loss = engine.directions(int(rows[k]), noise[k])
            multiply_rows(phi, every, z.astype(phi.dtype), y.astype(phi.dtype), u, t)
            condition_rows(u, k, noise[k], ones, self._same, d, closed)
            # This is the loss over all rows, not only over these.
            condition_pairs(u, t, loss, every, every, local, s)
            usable[k] = False
            picks.append(int(chosen[k]))
            directions += [z, y]
        found = engine.products(directions, early)
        for k, unit in enumerate(picks):
            best, gain, _ = self._best()
            if k and best != unit:
                # Another row is better: forget what came after it.
                engine.n = start + k
                break
            self._apply(int(self._rows[unit]), found[2 * k], found[2 * k + 1])
            self.take(unit)
            self._planned.append((unit, gain, self._trace))
        kept = len(self._planned)
        self._length = min(2 * kept if kept == len(picks) else kept + _AHEAD, _MOST)


class IntegratedDeviation(IntegratedVariance):
    r"""The rows that most reduce the weighted sum of the standard deviations of the targets.

    To first order: as :class:`IntegratedVariance`, with the weights :math:`w_i / 2 \sqrt{V_{ii}}`.
    These follow the variances whenever there are a quarter more picks, or four times as many where
    the covariance is a product of factors.
    """

    name = "isd"

    def _weights(self) -> _Array:
        deviations = np.sqrt(np.maximum(self._variance, self._same))
        return np.asarray(0.5 * self.problem.weights / deviations)

    def _left_over(self) -> float:
        return float(self.problem.weights @ np.sqrt(np.maximum(self._variance, 0.0)))

    def _next_weights(self) -> int | None:
        fewest, fraction = self._engine.growth
        return int(self._n_picks + max(fewest, int(fraction * self._n_picks)))

    def _lose(self, loss: float) -> None:
        self._trace = self._left_over()
