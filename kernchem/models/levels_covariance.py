r"""How levels of theory covary: sums of kernels, each with a matrix between levels.

.. math:: \operatorname{cov}(y_t(x), y_u(x')) = \sum_q C_{q,tu}\, k_q(x, x')

A structure turns a point of the search into the matrices C_q, and derivatives of a score by these
into derivatives by the point.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Autoregressive", "Coregional", "Structure", "paths"]

_Array = npt.NDArray[np.float64]

#: Ranges of logarithms of variances, in units of the spread of each level.
_LOG_VARIANCE = (-25.0, 15.0)
#: Part of a level's variance that the diagonal of a coregionalisation has at least when it starts.
_OWN = 1e-3


class Structure(Protocol):
    """What the search needs to know of how levels covary."""

    bounds: list[tuple[float | None, float | None]]

    def matrices(self, point: _Array) -> list[_Array]:
        """Return the matrices C_q (T, T)."""

    def slopes(self, point: _Array, sums: list[_Array]) -> _Array:
        """Return the slopes along the point; ``sums`` are those along each element of C_q."""

    def owner(self, t: int) -> int:
        """Return the component whose variance at level t the noise of that level is relative to."""


def paths(rho: _Array) -> _Array:
    """Return how much of the process of each level is in each level above, array (T, T).

    Row q holds the products of ``rho`` (T - 1,) from level q on.
    """
    n = len(rho) + 1
    out = np.eye(n)
    for q in range(n):
        for t in range(q + 1, n):
            out[q, t] = out[q, t - 1] * rho[t - 1]
    return out


class Autoregressive:
    r"""Each level is a slope times the level below, and a process of its own.

    The point holds the logarithms of the variances of the processes above the first, whose
    variance is 1, and the slopes that are not given.

    Parameters
    ----------
    rho : list of float or None
        Slope of each level above the first on the one below; None is free.
    """

    def __init__(self, rho: list[float | None]) -> None:
        self.given = rho
        self.n_levels = len(rho) + 1
        self.free = np.array([k for k, value in enumerate(rho) if value is None], dtype=np.int64)
        none: tuple[float | None, float | None] = (None, None)
        self.bounds = [_LOG_VARIANCE] * len(rho) + [none] * len(self.free)

    def point(self, variances: _Array, rho: _Array) -> _Array:
        """Return the point of variances (T,) and slopes (T - 1,)."""
        return np.concatenate([np.log(variances[1:] / variances[0]), rho[self.free]])

    def rho(self, point: _Array) -> _Array:
        """Return the slopes (T - 1,)."""
        out = np.array([0.0 if value is None else value for value in self.given])
        out[self.free] = point[self.n_levels - 1 :]
        return out

    def _variances(self, point: _Array) -> _Array:
        return np.concatenate([[1.0], np.exp(point[: self.n_levels - 1])])

    def matrices(self, point: _Array) -> list[_Array]:
        """Return one matrix for the process of each level."""
        rows = zip(self._variances(point), paths(self.rho(point)), strict=True)
        return [variance * np.outer(row, row) for variance, row in rows]

    def slopes(self, point: _Array, sums: list[_Array]) -> _Array:
        """Return the slopes along the point; ``sums`` are those along each element of C_q."""
        variances, rho = self._variances(point), self.rho(point)
        rows = paths(rho)
        by_variance = np.array(
            [variances[q] * rows[q] @ sums[q] @ rows[q] for q in range(1, self.n_levels)]
        )
        by_rho = np.zeros(len(rho))
        for q in range(self.n_levels):
            by_row = 2.0 * variances[q] * sums[q] @ rows[q]
            for k in range(q, len(rho)):
                # Row q up to level k, then without this slope, then from level k + 1 on.
                by_rho[k] += rows[q, k] * (by_row[k + 1 :] @ rows[k + 1, k + 1 :])
        return np.concatenate([by_variance, by_rho[self.free]])

    def owner(self, t: int) -> int:
        """Return the component of the level itself."""
        return t


class Coregional:
    """One kernel, and any covariance of low rank plus diagonal between levels.

    The point holds the factors W (T, rank), row by row, and the logarithms of the diagonal.

    Parameters
    ----------
    n_levels : int
        Number of levels T.
    rank : int
        Columns of W.
    """

    def __init__(self, n_levels: int, rank: int) -> None:
        self.n_levels, self.rank = n_levels, rank
        none: tuple[float | None, float | None] = (None, None)
        self.bounds = [none] * (n_levels * rank) + [_LOG_VARIANCE] * n_levels

    def point(self, covariance: _Array) -> _Array:
        """Return the point nearest to a covariance (T, T)."""
        values, vectors = np.linalg.eigh(covariance)
        largest = slice(-1, -self.rank - 1, -1)
        factors = vectors[:, largest] * np.sqrt(np.maximum(values[largest], 0.0))
        own = np.diag(covariance)
        rest = np.maximum(own - (factors**2).sum(axis=1), _OWN * own)
        return np.concatenate([factors.reshape(-1), np.log(rest)])

    def _parts(self, point: _Array) -> tuple[_Array, _Array]:
        n = self.n_levels * self.rank
        return point[:n].reshape(self.n_levels, self.rank), np.exp(point[n:])

    def matrices(self, point: _Array) -> list[_Array]:
        """Return the one matrix."""
        factors, own = self._parts(point)
        return [factors @ factors.T + np.diag(own)]

    def slopes(self, point: _Array, sums: list[_Array]) -> _Array:
        """Return the slopes along the point; ``sums`` are those along each element of C."""
        factors, own = self._parts(point)
        by_factor = 2.0 * sums[0] @ factors
        return np.concatenate([by_factor.reshape(-1), np.diag(sums[0]) * own])

    def owner(self, t: int) -> int:
        """Return the only component."""
        return 0
