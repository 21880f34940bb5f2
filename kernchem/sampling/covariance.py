"""Covariances of a pool after some labels: columns on demand, and factors of them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas, solve_triangular

from kernchem._threads import run_panels
from kernchem.sampling.greedy_jit import choose_pivots
from kernchem.solvers import CholeskyFactor

__all__ = ["Covariance", "PivotedCholesky", "RowKernel", "nearly_same"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Prior variance of what the composition explains, in units of that of the kernel, where the
#: labels do not determine it. Much more loses digits: sums of squared covariances start with its
#: square, and what is left after some picks is subtracted from them.
_COMPOSITION_VARIANCE = 1e2
#: Directions of the composition below this fraction of the largest one are not determined.
_RANK = 1e-8
#: Rows among which the next pivots are looked for, and the most that are taken at a time.
_CANDIDATES, _BLOCK = 1024, 128
#: Rows of the factor that are computed at a time, so that they stay in the cache.
_PANEL = 4096
#: Two rows whose squared distance is below this fraction of the largest variance are the same.
_SAME = 1e-12


class RowKernel:
    """A kernel between rows of features, or the matrix of one where ``kernel`` is None."""

    def __init__(self, kernel: Any, features: Any) -> None:
        self.kernel, self.features = kernel, features

    def __len__(self) -> int:
        return len(self.features)

    def diagonal(self) -> _Array:
        """Return the diagonal of the matrix, array (n,)."""
        if self.kernel is None:
            return np.array(np.einsum("ii->i", self.features))
        return np.asarray(self.kernel.diag(self.features))

    def block(self, left: Any, right: Any) -> _Array:
        """Return the matrix of some rows (int array or slice) with others."""
        if self.kernel is None:
            return np.asarray(self.features[left][:, right])
        return np.asarray(self.kernel(self.features[left], self.features[right]))

    def part(self, rows: _Rows) -> RowKernel:
        """Return the kernel between some of the rows."""
        if self.kernel is None:
            return RowKernel(None, self.features[np.ix_(rows, rows)])
        return RowKernel(self.kernel, self.features[rows])


class Covariance:
    """Covariance of the first rows of a kernel once others, or some of them, are labelled.

    With the composition it is that of generalised least squares. Where the labels leave energies
    of elements open, these have a prior of large variance.

    Parameters
    ----------
    kernel : RowKernel
        Of all rows.
    n_rows : int
        Rows whose covariance is asked for: the first ones.
    labelled : array of int
        Labelled rows.
    noise : float or array
        Noise of their labels, in units of the kernel.
    basis : array (n, p) or None
        Composition of all rows.
    """

    def __init__(
        self, kernel: RowKernel, n_rows: int, labelled: _Rows, noise: Any, basis: _Array | None
    ) -> None:
        self.kernel, self.n_rows, self._rows = kernel, n_rows, slice(0, n_rows)
        prior = kernel.diagonal()
        self.prior = prior[:n_rows]
        h = np.zeros((len(kernel), 0)) if basis is None else basis
        self._plus, self._minus = np.zeros((n_rows, 0)), np.zeros((n_rows, 0))
        known = len(labelled) >= h.shape[1] and _full_rank(h[labelled])
        if not known:
            size = float(np.mean(prior)) / float(np.mean((h**2).sum(axis=1)))
            h = h * np.sqrt(_COMPOSITION_VARIANCE * size)
            self._plus = h[:n_rows]
        if len(labelled):
            own, cross = kernel.block(labelled, labelled), kernel.block(labelled, self._rows)
            if not known:
                own, cross = own + h[labelled] @ h[labelled].T, cross + h[labelled] @ self._plus.T
            factor = CholeskyFactor(np.array(own, order="C"), noise)
            half = factor.half_solve(cross)
            self._minus = half.T
            if known and h.shape[1]:
                q, r = np.linalg.qr(factor.half_solve(h[labelled]))
                rest = h[:n_rows] - half.T @ q @ r
                self._plus = np.asarray(solve_triangular(r, rest.T, trans="T").T)
        self.diagonal = np.maximum(
            self.prior + (self._plus**2).sum(axis=1) - (self._minus**2).sum(axis=1), 0.0
        )

    def block(self, left: Any, right: Any) -> _Array:
        """Return the covariance of some rows with others."""
        found = np.array(self.kernel.block(left, right))
        if self._plus.shape[1]:
            found += self._plus[left] @ self._plus[right].T
        if self._minus.shape[1]:
            found -= self._minus[left] @ self._minus[right].T
        return found

    def columns(self, rows: Any) -> _Array:
        """Return columns of the covariance, array (n_rows, b)."""
        return self.block(self._rows, rows)

    def part(self, rows: _Rows) -> Covariance:
        """Return the covariance of some of the rows."""
        found = copy.copy(self)
        found.kernel = self.kernel.part(rows)
        found.n_rows, found._rows = len(rows), slice(0, len(rows))
        found._plus, found._minus = self._plus[rows], self._minus[rows]
        found.prior, found.diagonal = self.prior[rows], self.diagonal[rows]
        return found


class PivotedCholesky:
    r"""Partial Cholesky factor of a covariance, with pivots of the largest rest.

    .. math:: V \approx L L^T, \qquad d = \mathrm{diag}(V - L L^T)

    Blocks of pivots are found among a few rows of large rests and applied to all rows by products
    of matrices: rests only fall, so a pivot that beats what the other rows had before is the one
    that the plain algorithm would have taken.

    Parameters
    ----------
    covariance : Covariance
        V.
    noise : float, default 0.0
        Added to the diagonal of the pivots.
    capacity : int, default 256
        Columns for which there is memory at first.

    Notes
    -----
    n m^2 flops and m columns of the kernel for m pivots; the matrix is never formed.

    References
    ----------
    H. Harbrecht, M. Peters, R. Schneider, Appl. Numer. Math. 62, 428 (2012),
    https://doi.org/10.1016/j.apnum.2011.10.001
    """

    def __init__(self, covariance: Covariance, noise: float = 0.0, capacity: int = 256) -> None:
        self.covariance, self.noise = covariance, noise
        self.residual = covariance.diagonal.copy()
        self.least = nearly_same(covariance.prior)
        self._factor = np.empty((covariance.n_rows, capacity))
        self.pivots: list[int] = []

    @property
    def factor(self) -> _Array:
        """L, array (n_rows, m)."""
        return self._factor[:, : len(self.pivots)]

    def extend(self, rows: _Rows) -> _Array:
        """Take rows as pivots, in this order; return their columns of L."""
        m, new = len(self.pivots), len(rows)
        if m + new > self._factor.shape[1]:
            wider = np.empty((len(self._factor), max(m + new, 2 * self._factor.shape[1])))
            wider[:, :m] = self.factor
            self._factor = wider
        columns = self.covariance.columns(rows)
        # The transpose as a copy: BLAS is half as fast with the other layout.
        past = np.ascontiguousarray(self._factor[rows, :m].T)
        own = columns[rows] - past.T @ past + self.noise * np.eye(new)
        lower = np.asfortranarray(np.linalg.cholesky(own))

        def fill(start: int, stop: int) -> None:
            part = slice(start, stop)
            rest = columns[part] - self._factor[part, :m] @ past
            found = blas.dtrsm(1.0, lower, rest.T, lower=True, overwrite_b=True).T
            self._factor[part, m : m + new] = found
            self.residual[part] -= np.einsum("ij,ij->i", found, found)

        run_panels(fill, len(columns), _PANEL, None)
        np.maximum(self.residual, 0.0, out=self.residual)
        self.pivots += rows.tolist()
        return self._factor[:, m : m + new]

    def best_block(self, free: npt.NDArray[np.bool_], costs: Any, most: int) -> _Rows:
        """Return the next pivots among free rows, at most so many; none if nothing is left.

        ``costs`` (n_rows,) or 1.0 divide the rests.
        """
        scores = np.where(free & (self.residual > self.least), self.residual / costs, 0.0)
        n_left = int((scores > 0.0).sum())
        if not n_left:
            return np.zeros(0, dtype=np.int64)
        size = min(_CANDIDATES, n_left)
        order = np.argpartition(-scores, size - 1)[: size + 1]
        bound = 0.0
        rows = np.sort(order[:size])
        if size < n_left:
            others = scores.copy()
            others[rows] = 0.0
            bound = float(others.max())
        prices = np.broadcast_to(costs, scores.shape)[rows]
        past = self._factor[rows, : len(self.pivots)]
        V = self.covariance.block(rows, rows)
        V -= past @ past.T
        chosen = np.empty(min(most, _BLOCK, size), dtype=np.int64)
        found = choose_pivots(
            V, self.residual[rows], prices, len(chosen), bound, self.least, self.noise, chosen
        )
        return np.asarray(rows[chosen[:found]])

    def run(self, rank: int) -> _Array:
        """Add pivots until there are so many or nothing is left; return L."""
        free = np.ones(len(self.residual), dtype=bool)
        while len(self.pivots) < rank:
            rows = self.best_block(free, 1.0, rank - len(self.pivots))
            if not len(rows):
                break
            self.extend(rows)
            free[rows] = False
        return self.factor


def nearly_same(prior: _Array) -> float:
    """Return the squared distance below which rows are the same."""
    return _SAME * max(float(prior.max()), 1e-300)


def _full_rank(matrix: _Array) -> bool:
    if not matrix.shape[1]:
        return True
    values = np.linalg.svd(matrix, compute_uv=False)
    return bool(len(values) and values[-1] > _RANK * values[0])
