"""Many shifts of one tridiagonal matrix; whatever is not positive definite ends as NaN."""

import numpy as np

from kernchem._numba import jit

__all__ = ["inverse_diagonals", "shifted_factors", "shifted_solutions"]

#: Rows whose sums of all shifts are held at a time: they stay in the caches.
_ROWS = 64


@jit
def shifted_factors(diagonal, off_diagonal, shifts, pivots, ratios):
    """Factorise T + shift = L D L' for each shift.

    Pivots D and ratios (the elements left of the diagonal of L) have one row per row of T and one
    column per shift.
    """
    for s in range(len(shifts)):
        pivot = diagonal[0] + shifts[s]
        for k in range(len(diagonal)):
            ratios[k, s] = 0.0
            if k > 0:
                ratio = off_diagonal[k - 1] / pivot
                pivot = diagonal[k] + shifts[s] - ratio * off_diagonal[k - 1]
                ratios[k, s] = ratio
            if not pivot > 0.0:
                pivot = np.nan
            pivots[k, s] = pivot


@jit
def shifted_solutions(pivots, ratios, right, out):
    """Write (T + shift)^-1 ``right`` (m, t) into ``out`` (m, n_shifts, t)."""
    m, n_shifts = pivots.shape
    n_targets = right.shape[1]
    for k in range(m):
        for s in range(n_shifts):
            for t in range(n_targets):
                out[k, s, t] = right[k, t]
                if k > 0:
                    out[k, s, t] -= ratios[k, s] * out[k - 1, s, t]
    for k in range(m - 1, -1, -1):
        for s in range(n_shifts):
            for t in range(n_targets):
                out[k, s, t] /= pivots[k, s]
                if k < m - 1:
                    out[k, s, t] -= ratios[k + 1, s] * out[k + 1, s, t]


@jit(fastmath=True)
def inverse_diagonals(z, pivots, ratios, start, stop, out):
    """Write the diagonal of z (T + shift)^-1 z' for rows from ``start`` to ``stop``.

    ``z`` (n, m) is in Fortran order and read once; ``out`` is (n_shifts, n).
    """
    m, n_shifts = pivots.shape
    inverses = 1.0 / pivots
    solved, sums = np.empty((n_shifts, _ROWS)), np.empty((n_shifts, _ROWS))
    for first in range(start, stop, _ROWS):
        number = min(_ROWS, stop - first)
        solved[:] = 0.0
        sums[:] = 0.0
        for k in range(m):
            column = z[first : first + number, k]
            for s in range(n_shifts):
                ratio, inverse = ratios[k, s], inverses[k, s]
                for i in range(number):
                    value = column[i] - ratio * solved[s, i]
                    solved[s, i] = value
                    sums[s, i] += inverse * value * value
        for s in range(n_shifts):
            for i in range(number):
                out[s, first + i] = sums[s, i]
