"""Posterior covariances of all rows with targets, and sums over targets, as labels come in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

from kernchem._threads import run_panels
from kernchem.sampling.covariance import nearly_same
from kernchem.sampling.strategy import Problem

__all__ = ["Glance", "TargetCovariance"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rows that are updated at a time, so that they stay in the cache, and those of a kernel.
_PANEL, _BLOCK = 256, 4096
#: Steps that V may lag behind.
_LAG = 128


class TargetCovariance:
    r"""The covariance V of all rows R with targets T, and of each row with itself.

    Sums over all targets, :math:`S = V_{RT} W V_{TR}`, are exact where T are all rows of a weight,
    and estimates without bias where T is a random sample of them: what a row tells of itself is
    known, and what T tells of the others is scaled to their number.

    Parameters
    ----------
    problem : Problem
        Rows, their kernel, and labels.
    rank : int or None
        Number of targets in the sample, and so the rank of S; None is all.
    """

    def __init__(self, problem: Problem, rank: int | None) -> None:
        self._covariance, self.noise = problem.covariance, problem.noise
        self._same = nearly_same(problem.covariance.prior)
        self.counted, n_rows = problem.weights > 0, problem.n_rows
        self.targets = counted = np.flatnonzero(self.counted)
        self._n_counted = len(counted)
        if rank is not None and rank < len(counted):
            self.targets = np.sort(problem.rng.choice(counted, rank, replace=False))
        self.exact = len(self.targets) == len(counted)
        self._whole = len(self.targets) == n_rows
        self.sampled = np.isin(np.arange(n_rows), self.targets)
        self.variance = self._covariance.diagonal.copy()
        self.V = np.empty((n_rows, len(self.targets)))
        for start in range(0, n_rows, _BLOCK):
            part = slice(start, min(start + _BLOCK, n_rows))
            self.V[part] = self._covariance.block(part, self.targets)
        # Columns are covariances with labels over their standard deviations.
        self._u = np.empty((n_rows, 16))
        #: Steps so far, and those that V knows of.
        self.n = self._known = 0

    def reserve(self, n: int) -> None:
        """Make room for further steps."""
        if self.n + n > self._u.shape[1]:
            wider = np.empty((len(self._u), max(self.n + n, 2 * self._u.shape[1])))
            wider[:, : self.n] = self._u[:, : self.n]
            self._u = wider

    def weigh(self, weights: _Array) -> _Array:
        """Set the weights W of all rows; return the diagonal of the sum over T."""
        self._weights = weights[self.targets]
        return self._catch_up(diagonal=True)

    def _catch_up(self, diagonal: bool = False) -> _Array:
        """Tell V the steps that it does not know; return the diagonal of the sum over T, or 0."""
        late = slice(self._known, self.n)
        past = np.ascontiguousarray(self._u[self.targets, late].T)
        found = np.zeros(len(self.V))

        def fill(start: int, stop: int) -> None:
            part = slice(start, stop)
            if len(past):
                self.V[part] -= self._u[part, late] @ past
            if diagonal:
                found[part] = np.square(self.V[part]) @ self._weights

        run_panels(fill, len(found), _PANEL, None)
        self._known = self.n
        return found

    def scale(self, sizes: Any, sampled: Any) -> Any:
        """Return what makes sums over T without a unit those over all targets without it.

        For units with so many rows of a weight, of which so many are in T.
        """
        return (self._n_counted - sizes) / np.maximum(len(self.targets) - sampled, 1)

    def plain(self, units: list[_Rows]) -> _Array:
        """Return V within units, before any step; of arrays (k, s) of k units of s rows, flat."""
        out = []
        for rows in units:
            k, s = rows.shape
            if s == 1:
                out.append(self.variance[rows[:, 0]])
                continue
            each, flat = np.arange(k), rows.ravel()
            V = self._covariance.block(flat, flat).reshape(k, s, k, s)
            out.append(V[each, :, each].ravel())
        return np.concatenate(out)

    def squared(self, units: list[_Rows], diagonal: _Array) -> _Array:
        """Return the sum over T within units, as V, since W was set; the diagonal is known."""
        out = []
        for rows in units:
            k, s = rows.shape
            if s == 1:
                out.append(diagonal[rows[:, 0]])
                continue
            S, width = np.zeros((k, s, s)), max(_PANEL, _PANEL * _BLOCK // rows.size)
            for start in range(0, len(self.targets), width):
                part = slice(start, start + width)
                V = self.V[rows, part]
                S += (V * self._weights[part]) @ V.transpose(0, 2, 1)
            out.append(S.ravel())
        return np.concatenate(out)

    def _columns(self, columns: _Rows) -> tuple[_Array, int]:
        """Return covariances of all rows with some, and the number of steps they know of."""
        if self._whole:
            return self.V[columns].T, self._known
        return self._covariance.columns(columns), 0

    def step(self, rows: list[int]) -> tuple[_Array, _Array, _Array]:
        """Condition on labels; return u = V_:j / sqrt(V_jj + noise), V_:T W u_T and u_T' W u_T.

        Two arrays (k, n_rows) and one (k,), as they are before each step. Steps end before a row
        that those before it determine.
        """
        if self.n - self._known > _LAG:
            self._catch_up()
        picks = np.asarray(rows)
        self.reserve(len(picks))
        columns, first = self._columns(picks)
        early, late = slice(first, self.n), slice(self._known, self.n)
        past = np.ascontiguousarray(self._u[picks, early].T)
        own = columns[picks] - past.T @ past
        try:
            lower = np.linalg.cholesky(own + self.noise * np.eye(len(picks)))
            told = np.flatnonzero(np.diagonal(lower)[1:] ** 2 - self.noise <= self._same)
            k = 1 + int(told[0]) if len(told) else len(picks)
        except np.linalg.LinAlgError:
            k, lower = 1, np.sqrt(np.maximum(own[:1, :1], 0.0) + self.noise)
        picks, past, columns, lower = picks[:k], past[:, :k], columns[:, :k], lower[:k, :k]
        lower, new = np.asfortranarray(lower), slice(self.n, self.n + len(picks))

        def fill(start: int, stop: int) -> None:
            part = slice(start, stop)
            rest = np.asarray(columns[part] - self._u[part, early] @ past)
            self._u[part, new] = blas.dtrsm(1.0, lower, rest.T, lower=True).T

        run_panels(fill, len(self._u), _PANEL, None)
        known = self._u[self.targets, new]
        weighted = self._weights[:, None] * known
        losses = known.T @ weighted
        along, before = self._u[self.targets, late].T @ weighted, np.triu(losses, 1)
        t = np.empty((len(picks), len(self._u)))

        def multiply(start: int, stop: int) -> None:
            part = slice(start, stop)
            found = self.V[part] @ weighted - self._u[part, late] @ along
            t[:, part] = (found - self._u[part, new] @ before).T

        run_panels(multiply, len(self._u), _PANEL, None)
        u = np.ascontiguousarray(self._u[:, new].T)
        self.n += len(picks)
        return u, t, np.array(np.diagonal(losses))


class Glance:
    """The covariance of a few rows with the targets, ahead of steps that are not taken."""

    def __init__(self, of: TargetCovariance, rows: _Rows) -> None:
        self._of, self._n, self._V = of, len(of.targets), of.V[rows]
        #: Targets, then these rows.
        self._rows = np.concatenate([of.targets, rows])
        self._part = None if of._whole else of._covariance.part(self._rows)
        first = of._known if of._whole else 0
        self._past = of._u[self._rows, first : of.n]
        self._late = slice(of._known - first, None)
        self._new: list[_Array] = []

    def step(self, k: int) -> tuple[_Array, _Array, float]:
        """Condition on a label of row k of these; return u and V_:T W u_T, and u_T' W u_T."""
        n, own = self._n, self._n + k
        if self._part is None:
            u = self._of.V[self._rows[own]][self._rows]
        else:
            u = self._part.columns(np.array([own]))[:, 0]
        u = u - self._past @ self._past[own]
        for earlier in self._new:
            u -= earlier * earlier[own]
        u /= np.sqrt(max(u[own], 0.0) + self._of.noise)
        weighted = self._of._weights * u[:n]
        late = self._past[:, self._late]
        t = self._V @ weighted - late[n:] @ (late[:n].T @ weighted)
        for earlier in self._new:
            t -= earlier[n:] * float(earlier[:n] @ weighted)
        self._new.append(u)
        return u[n:], t, float(weighted @ u[:n])
