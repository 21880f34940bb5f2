"""Compiled matchings between the atoms of two structures: best match and entropic transport."""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit
from kernchem.kernels.structure_jit import add_row, dot

__all__ = [
    "assign",
    "fill_matches",
    "fill_transport",
    "place_products",
    "place_values",
    "transport",
]

# A row of a plan with a smaller sum than this may have lost all of its numbers to underflow.
_TINY = 1e-290
# Spread of C over the regulariser from which sweeps start, and the error, relative to 1 / n, that
# is good enough to go on to half the regulariser.
_WARM = 8.0
_ROUGH = 0.05
_ROUNDING = 1e-15
# Longest step of Newton's method that is taken as it is, longest that is taken at all, and how
# often one is cut to a quarter before a sweep goes instead.
_LONGEST = 2.0
_ENDLESS = 1e200
_TRIES = 3
# Error of a group of atoms, relative to the largest of an atom, that may wait for others.
_SMALL = 0.01
# Links, relative to 1 / n, with less than this tell nothing but the rounding of stronger ones.
_WEAKEST = 1e-14


# -- similarities of a tile ------------------------------------------------------------------------


@jit
def place_products(
    products,
    row_norms,
    column_norms,
    profile,
    factor,
    degree,
    weight,
    rows,
    columns,
    with_slope,
    out,
    slopes,
):
    """Write a kernel of atoms, known from their inner products, to their places in a tile."""
    n_columns = products.shape[1]
    total, slope = np.empty(n_columns), np.empty(n_columns)
    for i in range(len(products)):
        total[:] = 0.0
        slope[:] = 0.0
        add_row(
            products[i],
            row_norms[i],
            column_norms,
            profile,
            factor,
            degree,
            with_slope,
            total,
            slope,
        )
        for j in range(n_columns):
            out[rows[i], columns[j]] = weight * total[j]
        if with_slope:
            for j in range(n_columns):
                slopes[rows[i], columns[j]] = weight * slope[j]


@jit
def place_values(values, weight, rows, columns, out):
    """Write a kernel of atoms to their places in a tile."""
    for i in range(len(rows)):
        for j in range(len(columns)):
            out[rows[i], columns[j]] = weight * values[i, j]


@jit
def _cut(tile, row, n_rows, column, n_columns):
    """Return the block of two structures, with the smaller one as its rows."""
    if n_rows <= n_columns:
        block = np.empty((n_rows, n_columns))
        for i in range(n_rows):
            for j in range(n_columns):
                block[i, j] = tile[row + i, column + j]
        return block
    block = np.empty((n_columns, n_rows))
    for i in range(n_rows):
        for j in range(n_columns):
            block[j, i] = tile[row + i, column + j]
    return block


# -- best match ------------------------------------------------------------------------------------


@jit
def assign(gain, owner):
    """Match every row with a column of its own so that the sum of ``gain`` is largest.

    ``gain`` (n, m) with n <= m. ``owner`` (m) receives the row of each column, or -1. Rows are
    added one at a time along a shortest path of alternating reduced costs (Hungarian method with
    prices, n^2 m steps).
    """
    n, m = gain.shape
    row_price, column_price = np.zeros(n), np.zeros(m)
    distance, done = np.empty(m), np.empty(m, dtype=np.bool_)
    before, column_of = np.empty(m, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    owner[:] = -1
    for row in range(n):
        distance[:] = np.inf
        done[:] = False
        i, reached, nearest = row, 0.0, -1
        while i >= 0:
            lowest, nearest = np.inf, -1
            start = reached - row_price[i]
            for j in range(m):
                if done[j]:
                    continue
                length = start - gain[i, j] - column_price[j]
                if length < distance[j]:
                    distance[j] = length
                    before[j] = i
                if distance[j] < lowest:
                    lowest, nearest = distance[j], j
            done[nearest] = True
            reached = lowest
            i = owner[nearest]
        for j in range(m):
            if done[j] and j != nearest:
                column_price[j] += distance[j] - reached
                row_price[owner[j]] += reached - distance[j]
        row_price[row] += reached
        j = nearest
        while j >= 0:
            i = before[j]
            owner[j] = i
            following = column_of[i]
            column_of[i] = j
            j = following


@jit
def fill_matches(tile, tile_slopes, row_offsets, column_offsets, corner, symmetric, out, slopes):
    """Fill the kernel of best matches of the structures of a tile.

    ``row_offsets`` and ``column_offsets`` bound the structures in ``tile``, of which the first two
    have their place at ``corner`` of ``out``; ``symmetric`` leaves what is above the diagonal of
    ``out`` alone. ``tile_slopes`` (p, ...) holds derivatives of ``tile``, and ``slopes`` (p, ...)
    receives those of the kernel. Returns 0, 0.0: no pair fails.
    """
    for a in range(len(row_offsets) - 1):
        row, n = row_offsets[a], row_offsets[a + 1] - row_offsets[a]
        for b in range(len(column_offsets) - 1):
            here = corner[0] + a, corner[1] + b
            if symmetric and here[1] > here[0]:
                break
            column, m = column_offsets[b], column_offsets[b + 1] - column_offsets[b]
            block = _cut(tile, row, n, column, m)
            # An atom may stay alone, which counts 0 and is better than a negative similarity.
            for i in range(len(block)):
                for j in range(block.shape[1]):
                    block[i, j] = max(block[i, j], 0.0)
            owner = np.empty(block.shape[1], dtype=np.int64)
            assign(block, owner)
            total, scale = 0.0, 1.0 / math.sqrt(n * m)
            for j in range(len(owner)):
                i = owner[j]
                if i < 0 or block[i, j] <= 0.0:
                    continue
                total += block[i, j]
                p, q = (i, j) if n <= m else (j, i)
                for t in range(len(tile_slopes)):
                    slopes[t, here[0], here[1]] += tile_slopes[t, row + p, column + q] * scale
            out[here] = total * scale
    return 0, 0.0


# -- entropic transport ----------------------------------------------------------------------------


@jit(fastmath=True)
def _plan(M, u, P, top, factor, sums):
    """Set P = exp(M + u + v) with the v for which its columns sum to 1 / m.

    v is ``log(factor) - top``. Returns the largest error of the sums of rows.
    """
    n, m = M.shape
    top[:] = -np.inf
    for i in range(n):
        for j in range(m):
            P[i, j] = M[i, j] + u[i]
            top[j] = max(top[j], P[i, j])
    factor[:] = 0.0
    for i in range(n):
        for j in range(m):
            P[i, j] = exp(P[i, j] - top[j])
            factor[j] += P[i, j]
    for j in range(m):
        factor[j] = 1.0 / (m * factor[j])
    error = 0.0
    for i in range(n):
        total = 0.0
        for j in range(m):
            P[i, j] *= factor[j]
            total += P[i, j]
        sums[i] = total
        error = max(error, abs(total - 1.0 / n))
    return error


@jit
def _sweep(M, u, top, factor, sums):
    """Set the u for which the rows sum to 1 / n at the present v."""
    n, m = M.shape
    for i in range(n):
        if sums[i] > _TINY:
            u[i] -= math.log(n * sums[i])
            continue
        highest = -np.inf
        for j in range(m):
            highest = max(highest, M[i, j] - top[j] + math.log(factor[j]))
        total = 0.0
        for j in range(m):
            total += exp(M[i, j] - top[j] + math.log(factor[j]) - highest)
        u[i] = -math.log(n * total) - highest


@jit
def _sum_of_products(A, B):
    total = 0.0
    for i in range(len(A)):
        total += dot(A[i], B[i], A.shape[1])
    return total


@jit
def _links(P, links):
    """Set ``links`` (strict lower triangle) to minus the derivative of the sums of rows by u.

    With v always such that columns sum to 1 / m. As u + constant changes nothing, the diagonal of
    that derivative is the sum of the links, which are not negative.
    """
    n, m = P.shape
    for i in range(n):
        for k in range(i):
            links[i, k] = m * dot(P[i], P[k], m)


@jit
def _solve(links, x, weakest, small):
    """Solve H x = x in place for the H that has these links, with the last of x at zero.

    Elimination of the first unknown leaves a matrix of the same kind, whose diagonal again is a sum
    of links: all terms are positive, and weak links between strong groups lose no digits. The right
    side of a group loses them where its atoms cancel: groups with links of less than ``weakest``
    stay where they are, and so do those that a right side of less than ``small`` would move far.
    """
    n = len(x)
    part = np.empty(n)
    for k in range(n - 1):
        pivot = 0.0
        for i in range(k + 1, n):
            pivot += links[i, k]
        # Nothing determines a potential without links.
        inverse = 1.0 / pivot if pivot > weakest else 0.0
        x[k] *= inverse
        if abs(x[k]) > _LONGEST and abs(x[k]) * pivot <= small:
            x[k] = 0.0
        for i in range(k + 1, n):
            x[i] += links[i, k] * x[k]
            part[i] = links[i, k]
            links[i, k] *= inverse
        for i in range(k + 2, n):
            factor = links[i, k]
            for j in range(k + 1, i):
                links[i, j] += factor * part[j]
    x[n - 1] = 0.0
    for k in range(n - 2, -1, -1):
        for i in range(k + 1, n):
            x[k] += links[i, k] * x[i]


@jit
def _newton(M, P, sums, u, error, links, step, trial, Q, top, factor, new_sums):
    """Set ``trial`` and the plan Q to what follows u in Newton's method.

    Returns the error of the new sums, or infinity if none was found that is smaller.
    """
    n = len(u)
    _links(P, links)
    for i in range(n):
        step[i] = 1.0 / n - sums[i]
    # A long way of a group for the sake of a small error would shorten all other steps: it waits.
    _solve(links, step, _TINY, _SMALL * error)
    # False for NaN as well: strong groups that have no link left cannot be balanced by a step.
    if not np.abs(step).sum() < _ENDLESS:
        return np.inf
    # Over a long way an exponential grows much more than the straight line of a step: what it has
    # to reach is found after the logarithm of that way.
    span = step.max() - step.min()
    length = 1.0 if span <= _LONGEST else (_LONGEST + math.log(span / _LONGEST)) / span
    for _ in range(_TRIES):
        for i in range(n):
            trial[i] = u[i] + length * step[i]
        new_error = _plan(M, trial, Q, top, factor, new_sums)
        if new_error <= (1.0 - 0.25 * length) * error:
            return new_error
        length *= 0.25
    return np.inf


@jit
def transport(C, gamma, tol, max_iter):
    """Return the plan P = exp(C / gamma + u + v) with rows of 1 / n and columns of 1 / m.

    ``C`` (n, m), cheapest with n <= m. Sweeps of Sinkhorn bring u and v close to the solution, for
    a small ``gamma`` by way of larger ones; steps of Newton's method, taken where they halve the
    error at least, end them. Returns P, the error of the sums of its rows, and the largest error
    that was allowed: ``tol``, or what rounding leaves of it.
    """
    n, m = C.shape
    lowest, highest = C[0, 0], C[0, 0]
    for i in range(n):
        for j in range(m):
            lowest, highest = min(lowest, C[i, j]), max(highest, C[i, j])
    spread = highest - lowest
    M, P, Q, links = np.empty((n, m)), np.empty((n, m)), np.empty((n, m)), np.empty((n, n))
    u, step, trial = np.zeros(n), np.empty(n), np.empty(n)
    sums, new_sums = np.empty(n), np.empty(n)
    top, factor, new_top, new_factor = np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    width, used = max(gamma, spread / _WARM), 0
    while True:
        for i in range(n):
            for j in range(m):
                M[i, j] = (C[i, j] - highest) / width
        limit = _ROUGH / n
        if width <= gamma:
            limit = max(tol, _ROUNDING * (1.0 + spread / width) / n)
        error = _plan(M, u, P, top, factor, sums)
        wait, waited = 1, 0
        while error > limit and used < max_iter:
            used += 1
            if waited >= wait:
                new_error = _newton(
                    M, P, sums, u, error, links, step, trial, Q, new_top, new_factor, new_sums
                )
                if new_error < error:
                    error = new_error
                    u, trial, P, Q, sums, new_sums = trial, u, Q, P, new_sums, sums
                    top, factor, new_top, new_factor = new_top, new_factor, top, factor
                    continue
                wait, waited = 2 * wait, 0
            waited += 1
            _sweep(M, u, top, factor, sums)
            error = _plan(M, u, P, top, factor, sums)
        if width <= gamma:
            return P, error, limit
        narrower = max(gamma, 0.5 * width) if used < max_iter else gamma
        for i in range(n):
            u[i] *= width / narrower
        width = narrower


@jit
def _sensitivity(C, P, gamma, W):
    """Set W to the derivative of sum P C with respect to C, with P as it follows from C."""
    n, m = C.shape
    links, alpha, beta = np.empty((n, n)), np.empty(n), np.zeros(m)
    for i in range(n):
        for j in range(m):
            beta[j] += P[i, j] * C[i, j]
    for i in range(n):
        alpha[i] = dot(P[i], C[i], m) - m * dot(P[i], beta, m)
    _links(P, links)
    _solve(links, alpha, _WEAKEST / n, 0.0)
    for i in range(n):
        for j in range(m):
            beta[j] -= P[i, j] * alpha[i]
    for i in range(n):
        for j in range(m):
            W[i, j] = P[i, j] * (1.0 + (C[i, j] - alpha[i] - m * beta[j]) / gamma)


@jit
def fill_transport(
    tile,
    tile_slopes,
    row_offsets,
    column_offsets,
    corner,
    symmetric,
    out,
    slopes,
    gamma,
    tol,
    max_iter,
):
    """Fill the kernel of entropic transport of the structures of a tile.

    Arguments as of :func:`fill_matches`. Returns the number of pairs that did not converge, and
    the largest error of the sum of a row among them.
    """
    n_failed, worst = 0, 0.0
    for a in range(len(row_offsets) - 1):
        row, n = row_offsets[a], row_offsets[a + 1] - row_offsets[a]
        for b in range(len(column_offsets) - 1):
            here = corner[0] + a, corner[1] + b
            if symmetric and here[1] > here[0]:
                break
            column, m = column_offsets[b], column_offsets[b + 1] - column_offsets[b]
            C = _cut(tile, row, n, column, m)
            P, error, limit = transport(C, gamma, tol, max_iter)
            if error > limit:
                n_failed += 1
                worst = max(worst, error)
            out[here] = _sum_of_products(P, C)
            if len(tile_slopes):
                W = np.empty(C.shape)
                _sensitivity(C, P, gamma, W)
                for t in range(len(tile_slopes)):
                    slope = _cut(tile_slopes[t], row, n, column, m)
                    slopes[t, here[0], here[1]] = _sum_of_products(W, slope)
    return n_failed, worst
