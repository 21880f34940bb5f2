"""Compiled loops over rows between one pick and the next.

Each runs once per pick or block of picks over all rows, where a chain of array operations would
fetch every row many times.
"""

import math

import numpy as np

from kernchem._numba import jit

__all__ = [
    "best_row",
    "choose_pivots",
    "condition_pairs",
    "condition_rows",
    "pivot_rows",
]


@jit
def choose_pivots(V, rest, prices, most, bound, least, noise, chosen):
    """Write the numbers of up to ``most`` pivots of a matrix to ``chosen``; return how many.

    V (n, n) is what earlier pivots leave, ``rest`` its diagonal, which is overwritten; they stop
    where the best is not above ``bound``, the best of the rows that are not in V. A row nearer
    than ``least`` to a pivot is not taken any more.
    """
    n = len(rest)
    done = np.empty((n, most))
    usable = np.ones(n, dtype=np.bool_)
    for m in range(most):
        k = -1
        for i in range(n):
            if usable[i] and (k < 0 or rest[i] / prices[i] > rest[k] / prices[k]):
                k = i
        if k < 0:
            return m
        small = rest[k] <= least
        if m and (small or rest[k] / prices[k] <= bound * (1.0 + 1e-12)):
            return m
        best, size = rest[k], math.sqrt(rest[k] + noise)
        for i in range(n):
            column = V[k, i]
            for j in range(m):
                column -= done[i, j] * done[k, j]
            if rest[i] + best - 2.0 * column <= least:
                usable[i] = False
            done[i, m] = column / size
        usable[k] = False
        for i in range(n):
            rest[i] -= done[i, m] * done[i, m]
        chosen[m] = k
    return most


@jit
def pivot_rows(part, variances, rows, noise, least, free, own, traces):
    """Condition variances on pivots in turn; close rows that are the same as one of them.

    ``part`` (n, m) are the columns of the Cholesky factor of pivots ``rows`` (m,), ``free`` the
    rows of the pool, which come first; ``own`` (m,) receives the variance of each pivot before and
    ``traces`` (m,) the sum of all variances after it.
    """
    m, n_pool = len(rows), len(free)
    for k in range(m):
        v = variances[rows[k]]
        for j in range(k):
            v = max(v - part[rows[k], j] * part[rows[k], j], 0.0)
        own[k] = v
    kept = np.empty(m, dtype=np.bool_)
    for k in range(m):
        kept[k] = rows[k] < n_pool and free[rows[k]]
    traces[:] = 0.0
    for i in range(len(variances)):
        v = variances[i]
        for k in range(m):
            u = part[i, k]
            column = u * math.sqrt(own[k] + noise)
            if i < n_pool and v + own[k] - 2.0 * column <= least:
                free[i] = False
            v = max(v - u * u, 0.0)
            traces[k] += v
        variances[i] = v
    for k in range(m):
        if rows[k] < n_pool:
            free[rows[k]] = kept[k]


@jit
def condition_rows(u, row, noise, weights, least, variances, free):
    """Condition variances on the label of a row; return what their weighted sum loses.

    ``u`` (n,) are covariances with the label over its standard deviation. Rows of the pool that
    are the same as ``row`` are closed.
    """
    loss, n_pool = 0.0, len(free)
    own = variances[row]
    size = math.sqrt(max(own, 0.0) + noise)
    for i in range(len(variances)):
        x = np.float64(u[i])
        if i < n_pool and variances[i] + own - 2.0 * (x * size) <= least:
            free[i] = False
        variances[i] = max(variances[i] - x * x, 0.0)
        loss += weights[i] * x * x
    return loss


@jit
def condition_pairs(u, t, loss, left, right, plain, squared):
    """Condition V and V W V of pairs of rows; ``t`` = V W u before, ``loss`` = u' W u."""
    for k in range(len(left)):
        a, b = np.float64(u[left[k]]), np.float64(u[right[k]])
        plain[k] -= a * b
        squared[k] -= a * t[right[k]] + t[left[k]] * b - loss * (a * b)


@jit
def best_row(
    rows, usable, free, plain, squared, scales, shares, noise, costs, variances, same, scores
):
    """Write the gain per cost of single rows; return the best, -1 if there is none.

    Their sums over targets are ``scales * squared + shares * plain**2``. Those that may not be
    taken, and rows of no variance, get minus infinity; the latter are not free any more.
    """
    best = -1
    for k in range(len(rows)):
        row = rows[k]
        if variances[row] <= same:
            free[row] = False
        if not (usable[k] and free[row]):
            scores[k] = -np.inf
            continue
        own = max(plain[k], 0.0)
        total = scales[k] * max(squared[k], 0.0) + shares[k] * (own * own)
        scores[k] = max(total, 0.0) / max(own + noise, 1e-300) / costs[k]
        if best < 0 or scores[k] > scores[best]:
            best = k
    return best
