"""Reduction of integrated variances: the row whose label tells most about all targets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.sampling.covariance import nearly_same
from kernchem.sampling.greedy_jit import best_row, condition_pairs, condition_rows
from kernchem.sampling.strategy import Strategy
from kernchem.sampling.weighted import Glance, TargetCovariance

__all__ = ["EXACT", "RANK", "IntegratedDeviation", "IntegratedVariance"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Targets up to which sums over them are exact unless a rank is given, and the rank beyond.
EXACT, RANK = 10_000, 2000
#: Picks between two settings of weights, as a fraction of those there are: each setting costs as
#: much as some picks.
_GROWTH = 0.25
#: Picks that are planned before all rows are looked at, at first and at most, and the rows among
#: which they are.
_AHEAD, _MOST, _CANDIDATES = 4, 48, 512
#: Rows of small units that are looked at together, and of large ones that are labelled at a time.
_PANEL, _STEPS = 256, 64


class IntegratedVariance(Strategy):
    r"""The rows that most reduce the weighted sum of the posterior variances of the targets.

    .. math:: g_B = \mathrm{tr}\,[(V W V)_{BB} (V_{BB} + \eta)^{-1}]
    """

    name = "ivr"
    #: How much of what a row tells of itself counts.
    own = 1.0

    def _init(self) -> None:
        problem, rank = self.problem, self.problem.rank
        if rank is None and np.count_nonzero(problem.weights) > EXACT:
            rank = RANK
        self._engine = TargetCovariance(problem, rank)
        self._same = nearly_same(problem.covariance.prior)
        self._variance = self._engine.variance.copy()
        self._place_units()
        self._d = self._engine.plain([rows for _, rows in self._blocks])
        self._n_picks, self._planned = 0, deque[tuple[int, float, float]]()
        self._ahead, self._length = 0, _AHEAD
        self._trace = self._left_over()
        self._weigh()

    def _place_units(self) -> None:
        """Set blocks of units of one size: their numbers (k,) and rows (k, size)."""
        units = self.problem.units
        sizes = np.array([len(rows) for rows in units])
        self._blocks: list[tuple[_Rows, _Rows]] = []
        for size in np.unique(sizes):
            numbers = np.flatnonzero(sizes == size)
            rows = np.concatenate([units[unit] for unit in numbers]).reshape(-1, size)
            k = max(_PANEL // int(size), 1) if size > 1 else len(rows)
            for start in range(0, len(rows), k):
                part = slice(start, start + k)
                self._blocks.append((numbers[part], rows[part]))
        self._rows = np.concatenate(units) if self.problem.single else np.zeros(0, dtype=np.int64)

    def _each(self) -> Iterator[tuple[_Rows, _Rows, _Array, _Array]]:
        """Yield blocks with their V and V W V, arrays (k, size, size)."""
        start = 0
        for numbers, rows in self._blocks:
            shape = (*rows.shape, rows.shape[1])
            stop = start + rows.size * rows.shape[1]
            D, S = self._d[start:stop].reshape(shape), self._s[start:stop].reshape(shape)
            start = stop
            yield numbers, rows, D, S

    def _of_copies(self, values: Any) -> _Array:
        """Return the sum over the copies of each single row, with itself."""
        alike = self.problem.alike[: self.problem.n_rows]
        return np.asarray(np.bincount(alike, values)[alike[self._rows]])

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
        engine, diagonal = self._engine, self._engine.weigh(self._w)
        self._s = engine.squared([rows for _, rows in self._blocks], diagonal)
        # Of units of one row; other units are few. What a row tells of its copies it tells of
        # itself.
        known, seen = self._of_copies(self._w), self._of_copies(self._w * engine.sampled)
        self._scales = engine.scale(
            self._of_copies(engine.counted), self._of_copies(engine.sampled)
        )
        self._shares = self.own * known - self._scales * seen
        self._change = self._next_weights()

    def _continue(self, n: int) -> None:
        self._ahead = n
        self._engine.reserve(n if self.problem.single else 0)

    def _gains(self) -> _Array:
        """Return the gain of each unit; minus infinity for those that are not open."""
        usable, engine = self.open_units(), self._engine
        out = np.full(len(usable), -np.inf)
        for numbers, rows, D, S in self._each():
            if not usable[numbers].any():
                continue
            total = S
            if self.own < 1.0 or not engine.exact:
                w, known = self._w[rows], engine.sampled[rows]
                sizes = np.count_nonzero(w, axis=1), np.count_nonzero(known, axis=1)
                told = (D * w[:, None]) @ D
                seen = (D * (w * known)[:, None]) @ D
                total = engine.scale(*sizes)[:, None, None] * (S - seen) + self.own * told
            # Directions of no variance, as of copies, tell nothing; rounding must not say more.
            values, vectors = np.linalg.eigh(D)
            along = np.einsum("kia,kia->ka", vectors, total @ vectors)
            some = values > rows.shape[1] * self._same
            gains = along / (np.where(some, values, np.inf) + engine.noise)
            out[numbers] = gains.sum(axis=1)
        return np.where(usable, out, -np.inf)

    def _best(self) -> tuple[int, float, _Array]:
        problem = self.problem
        if problem.single:
            scores = np.empty(len(self._rows))
            unit = best_row(
                self._rows, self._open, self.free, self._d, self._s, self._scales, self._shares,
                self._engine.noise, problem.costs, self._variance, self._same, scores,
            )  # fmt: skip
            return max(unit, 0), float(scores[unit]), scores
        self.free &= self._variance[: problem.n_pool] > self._same
        scores = self._gains() / problem.costs
        unit = int(np.argmax(scores))
        return unit, float(scores[unit]), scores

    def _get_best(self) -> tuple[int, float]:
        if not self._planned:
            if self._change is not None and self._n_picks >= self._change:
                self._weigh()
            unit, gain, scores = self._best()
            if self.problem.single and self._ahead > 1 and 0.0 < gain < np.inf:
                self._plan(scores)
            else:
                return unit, gain
        return self._planned[0][:2]

    def _update(self, unit: int) -> float:
        self._ahead -= 1
        self._n_picks += 1
        if self._planned:
            return self._planned.popleft()[2]
        rows = self.problem.units[unit]
        while len(rows := rows[self._variance[rows] > self._same]):
            u, t, losses = self._engine.step(rows[:_STEPS].tolist())
            self._apply(rows[: len(u)], u, t, losses)
            rows = rows[len(u) :]
        return self._trace

    def _apply(self, rows: _Rows, u: _Array, t: _Array, losses: _Array) -> None:
        """Learn of labels of rows, from what a step of the engine returns."""
        lost = 0.0
        for row, one, along, loss in zip(rows, u, t, losses, strict=True):
            lost += condition_rows(
                one, row, self._engine.noise, self._w, self._same, self._variance, self.free
            )
            if self.problem.single:
                condition_pairs(one, along, loss, self._rows, self._rows, self._d, self._s)
        if not self.problem.single:
            half = t - 0.5 * losses[:, None] * u
            for _, inside, D, S in self._each():
                U, H = u[:, inside].transpose(1, 2, 0), half[:, inside].transpose(1, 0, 2)
                D[:] -= U @ U.transpose(0, 2, 1)
                change = U @ H
                S[:] -= change + change.transpose(0, 2, 1)
        self._lose(lost)

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
        d, s, local = self._variance[rows], self._s[chosen], np.empty(size)
        scales, shares = self._scales[chosen], self._shares[chosen]
        usable, closed = np.isfinite(scores[chosen]), np.ones(size, dtype=bool)
        every, ones = np.arange(size), np.ones(size)
        picks: list[int] = []
        glance = Glance(engine, rows)
        longest = min(self._length, self._ahead)
        if self._change is not None:
            longest = min(longest, self._change - self._n_picks)
        for _ in range(longest):
            k = best_row(
                every, usable, closed, d, s, scales, shares, engine.noise, costs, d, self._same,
                local,
            )  # fmt: skip
            if k < 0 or local[k] <= 0.0:
                break
            u, t, loss = glance.step(k)
            condition_rows(u, k, engine.noise, ones, self._same, d, closed)
            condition_pairs(u, t, loss, every, every, local, s)
            usable[k] = False
            picks.append(int(chosen[k]))
        start = engine.n
        found = engine.step([int(self._rows[unit]) for unit in picks])
        for k, (unit, u, t, loss) in enumerate(zip(picks, *found, strict=False)):
            best, gain, _ = self._best()
            if k and best != unit:
                # Another row is better: forget what came after it.
                engine.n = start + k
                break
            self._apply(self._rows[[unit]], u[None], t[None], np.array([loss]))
            self.take(unit)
            self._planned.append((unit, gain, self._trace))
        kept = len(self._planned)
        self._length = min(2 * kept if kept == len(picks) else kept + _AHEAD, _MOST)


class IntegratedDeviation(IntegratedVariance):
    r"""The rows that most reduce the weighted sum of the standard deviations of other targets.

    To first order: as :class:`IntegratedVariance`, with the weights :math:`w_i / 2 \sqrt{V_{ii}}`.
    These follow the variances whenever there are a quarter more picks. What a row tells of itself
    is next to nothing, as it will not be predicted; that decides where nothing else is left.
    """

    name = "isd"
    own = 1e-3

    def _weights(self) -> _Array:
        deviations = np.sqrt(np.maximum(self._variance, self._same))
        return np.asarray(0.5 * self.problem.weights / deviations)

    def _left_over(self) -> float:
        return float(self.problem.weights @ np.sqrt(np.maximum(self._variance, 0.0)))

    def _next_weights(self) -> int | None:
        return int(self._n_picks + max(1, int(_GROWTH * self._n_picks)))

    def _lose(self, loss: float) -> None:
        self._trace = self._left_over()
