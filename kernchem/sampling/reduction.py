"""Reduction of integrated variances: the row whose label tells most about all targets."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem.sampling.covariance import PivotedCholesky
from kernchem.sampling.greedy_jit import (
    best_row,
    condition_pairs,
    condition_rows,
    multiply_rows,
    multiply_symmetric,
    project,
)
from kernchem.sampling.strategy import Problem, Strategy, nearly_same

__all__ = ["EXACT", "RANK", "IntegratedDeviation", "IntegratedVariance"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rows up to which the covariance is held as a whole unless a rank is given, and the rank beyond.
EXACT, RANK = 5000, 2000
#: Picks that are planned before all rows are looked at, at first and at most, and the rows among
#: which they are.
_AHEAD, _MOST, _CANDIDATES = 4, 48, 1024
#: Rows from which features are held in single precision.
_SINGLE = 20_000
#: Picks whose products are in double precision all the same, and the columns of the factor of the
#: Gram matrix: what they tell is by far the most, and what is left is a small difference to it.
_FIRST, _LEADING = 32, 128
#: Rows that are updated at a time, and columns of a product with a triangular matrix.
_PANEL, _COLUMNS = 4096, 256


class _Whole:
    """The covariance V of all rows as one matrix."""

    #: Picks between two settings of weights: so many, or this fraction of those there are. Each
    #: setting costs as much as some picks.
    growth = (1, 0.25)
    weights: _Array

    def __init__(self, problem: Problem) -> None:
        rows = slice(0, problem.n_rows)
        self.V = problem.covariance.block(rows, rows)
        self.variance = np.array(np.diagonal(self.V))
        self.noise = np.full(problem.n_rows, problem.noise)
        self._u = np.zeros((problem.n_rows, 16))
        self._n = 0

    def weigh(self, weights: _Array) -> None:
        """Set the weights W, after any number of steps."""
        self.weights, past = weights, self._u[:, : self._n]

        def fill(start: int, stop: int) -> None:
            self.V[start:stop] -= past[start:stop] @ past.T

        if self._n:
            run_panels(fill, len(self.V), _COLUMNS, None)
            self._n = 0

    def plain(self, left: _Rows, right: _Rows) -> _Array:
        """Return V of pairs of rows, before any step."""
        return np.asarray(self.V[left, right])

    def squared(self, left: _Rows, right: _Rows) -> _Array:
        """Return V W V of pairs of rows, since W was set."""
        squared = np.empty(len(left))
        for start in range(0, len(left), _PANEL):
            part = slice(start, start + _PANEL)
            a, b = self.V[left[part]], self.V[right[part]]
            squared[part] = np.einsum("ij,ij,j->i", a, b, self.weights)
        return squared

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

    #: As above; it costs as much as hundreds of picks.
    growth = (4, 3.0)

    def __init__(self, problem: Problem, rank: int) -> None:
        rank = min(rank, problem.n_rows)
        cholesky = PivotedCholesky(problem.covariance, capacity=rank)
        phi = cholesky.run(rank)
        self.noise = problem.noise + cholesky.residual
        single = problem.n_rows > _SINGLE
        self.phi: Any = phi.astype(np.float32) if single else phi
        # In double precision, of features that may be in single precision.
        self.variance = np.einsum("ij,ij->i", self.phi, self.phi, dtype=np.float64)
        self._z = np.zeros((16, phi.shape[1]))
        self.n = 0

    def weigh(self, weights: _Array) -> None:
        """Set the weights W, after any number of steps."""
        self.gram = self._gram(weights)
        past = self._z[: self.n]
        half = self.gram - (self.gram @ past.T) @ past
        #: V W V is Phi times this times Phi'.
        self._inner = half - past.T @ (past @ half)

    def _gram(self, weights: _Array) -> _Array:
        """Return Phi' W Phi."""
        phi = self.phi
        gram = np.zeros((phi.shape[1], phi.shape[1]))

        def fill(start: int, stop: int) -> None:
            # Rows of the upper triangle, in panels that are added in double precision.
            for first in range(0, len(phi), _PANEL):
                part = slice(first, first + _PANEL)
                scaled = phi[part, start:stop] * weights[part, None].astype(phi.dtype)
                gram[start:stop, start:] += scaled.T @ phi[part, start:]

        run_panels(fill, len(gram), _COLUMNS, None)
        return np.asarray(np.triu(gram) + np.triu(gram, 1).T)

    def _diagonal(self) -> _Array:
        """Return the diagonal of V W V, summed in double precision."""
        half: Any = None
        if self.phi.dtype == np.float32:
            # There is none where most weights are zero, or where rounding makes the matrix
            # indefinite; the product with the whole matrix takes twice as long.
            with contextlib.suppress(np.linalg.LinAlgError):
                half = np.linalg.cholesky(self._inner)
        out = np.zeros(len(self.phi))

        def fill(start: int, stop: int) -> None:
            part = slice(start, stop)
            double = self.phi[part].astype(np.float64)
            if half is None:
                out[part] = np.einsum("ij,ij->i", double @ self._inner, double)
                return
            found = double @ half[:, :_LEADING]
            out[part] = np.einsum("ij,ij->i", found, found)
            for first in range(_LEADING, len(half), _COLUMNS):
                factor = single[first:, first : first + _COLUMNS]
                found = self.phi[part, first:] @ factor
                out[part] += np.einsum("ij,ij->i", found, found, dtype=np.float64)

        single: Any = None if half is None else half.astype(self.phi.dtype)
        run_panels(fill, len(out), _PANEL, None)
        return out

    def plain(self, left: _Rows, right: _Rows) -> _Array:
        """Return V of pairs of rows, before any step."""
        return self._of_pairs(left, right, self.variance[left], None)

    def squared(self, left: _Rows, right: _Rows) -> _Array:
        """Return V W V of pairs of rows, since W was set."""
        return self._of_pairs(left, right, self._diagonal()[left], self._inner)

    def _of_pairs(self, left: _Rows, right: _Rows, out: _Array, inner: _Array | None) -> _Array:
        """Return Phi M Phi' of pairs, where those of a row with itself are known."""
        others = np.flatnonzero(left != right)
        for start in range(0, len(others), _PANEL):
            part = others[start : start + _PANEL]
            rows, place = np.unique(np.stack([left[part], right[part]]), return_inverse=True)
            a = self.phi[rows].astype(np.float64)
            (i, j), product = place.reshape(2, -1), a if inner is None else a @ inner
            out[part] = np.einsum("ij,ij->i", product[i], a[j])
        return out

    def directions(self, row: int, noise: float) -> tuple[_Array, _Array, float]:
        """Condition on a label; return z and y with u = Phi z and V W u = Phi y, from before.

        And u' W u.
        """
        x, z = self.phi[row].astype(np.float64), np.empty(self.phi.shape[1])
        project(self._z, self.n, x, z)
        z /= np.sqrt(max(float(z @ x), 0.0) + noise)
        along, y = np.empty_like(z), np.empty_like(z)
        multiply_symmetric(self.gram, z, along)
        project(self._z, self.n, along, y)
        if self.n == len(self._z):
            self._z = np.concatenate([self._z, np.zeros_like(self._z)])
        self._z[self.n] = z
        self.n += 1
        return z, y, float(z @ along)

    def products(self, directions: list[_Array], double: bool) -> Any:
        """Return products of the features with some directions, array (k, n_rows)."""
        phi = self.phi
        dtype = np.dtype(np.float64) if double else phi.dtype
        both = np.stack(directions).astype(dtype)
        out = np.empty((len(both), len(phi)), dtype=dtype)

        def fill(start: int, stop: int) -> None:
            out[:, start:stop] = both @ phi[start:stop].astype(dtype, copy=False).T

        run_panels(fill, len(phi), _PANEL, None)
        return out

    def step(self, row: int, noise: float) -> tuple[_Array, _Array]:
        """Condition on a label; return u and V W u."""
        double = self.n < _FIRST
        u, t = self.products([*self.directions(row, noise)[:2]], double)
        return u, t


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
        self._engine: Any = _Whole(problem) if rank is None else _LowRank(problem, rank)
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
            low = isinstance(self._engine, _LowRank) and self.problem.single
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
        start = engine.n
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
        found = engine.products(directions, start < _FIRST)
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
