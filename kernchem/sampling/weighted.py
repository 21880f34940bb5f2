"""Posterior covariances of all rows, with products that weigh rows, as labels come in."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem.sampling.covariance import PivotedCholesky
from kernchem.sampling.greedy_jit import multiply_symmetric, project
from kernchem.sampling.strategy import Problem

__all__ = ["LowRankCovariance", "WholeCovariance"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rows from which features are held in single precision.
_SINGLE = 20_000
#: Picks whose products are in double precision all the same, and the columns of the factor of the
#: Gram matrix: what they tell is by far the most, and what is left is a small difference to it.
_FIRST, _LEADING = 32, 128
#: Rows that are updated at a time, and columns of a product with a triangular matrix.
_PANEL, _COLUMNS = 4096, 256


class WholeCovariance:
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


class LowRankCovariance:
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

    @property
    def early(self) -> bool:
        """Whether there are so few steps that products are to be in double precision."""
        return self.n < _FIRST

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
        double = self.early
        u, t = self.products([*self.directions(row, noise)[:2]], double)
        return u, t
