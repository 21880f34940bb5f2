"""Compiled fillers of distance and kernel matrices between rows of features."""

import math

import numpy as np

from kernchem._fastmath import exp, multiply_add
from kernchem._numba import jit

__all__ = [
    "EXPONENTIAL",
    "MATERN_32",
    "MATERN_52",
    "PAIR",
    "TILE",
    "UNROLL",
    "centre_rows",
    "fill_direct",
    "finish_squared",
    "map_distances",
    "mirror",
    "mirror_ranked",
    "pack_columns",
    "survey_rows",
]

# What becomes of t = distance * factor, a number <= 0.
EXPONENTIAL = 0  # exp(t)
MATERN_32 = 1  # (1 - t) exp(t)
MATERN_52 = 2  # (1 - t + t^2 / 3) exp(t)
# Below this exp(t) is zero, and the factor before it may not become infinite.
_SMALLEST_T = -1000.0

# Samples per tile of the packed operand and features per step: UNROLL x TILE numbers (8 KiB) stay
# in the first-level cache while every row of a panel passes over them. Smaller tiles
# and larger ones were slower.
TILE = 128
UNROLL = 8
HALF = UNROLL // 2
# Blocks come in pairs: where a row has zeros in both, one pass over its totals adds what is known
# of both. Such a pass is bound by memory.
PAIR = 2
# What a row holds in a block: bits 1 and 2 for numbers in its first and its second half, or:
_FIRST_OF_BLANK_PAIR, _SECOND_OF_BLANK_PAIR = 4, 5
_MIRROR_BLOCK = 64


@jit
def _absolute(x0, x1, x2, x3, y, j):
    """Return the sum of ``|x - y|`` over four features of sample j of a tile."""
    return (abs(x0 - y[j]) + abs(x1 - y[j + TILE])) + (
        abs(x2 - y[j + 2 * TILE]) + abs(x3 - y[j + 3 * TILE])
    )


@jit
def _squared(x0, x1, x2, x3, y, j):
    """Return the sum of ``(x - y)^2`` over four features of sample j of a tile."""
    d0, d1, d2, d3 = x0 - y[j], x1 - y[j + TILE], x2 - y[j + 2 * TILE], x3 - y[j + 3 * TILE]
    return multiply_add(d0, d0, multiply_add(d1, d1, multiply_add(d2, d2, d3 * d3)))


@jit
def _half(x, y, squared, width, total):
    """Write to ``total`` what half a block adds to the distances of one row to one tile."""
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    if squared:
        for j in range(width):
            total[j] = _squared(x0, x1, x2, x3, y, j)
    else:
        for j in range(width):
            total[j] = _absolute(x0, x1, x2, x3, y, j)


# These two take the whole of two arrays and a row of them: a slice per row costs as much as a
# quarter of the work.
@jit
def _add_half(rows, i, p, y, known, squared, total):
    """Add what half a block adds to row i, and what is known of its other half."""
    x0, x1, x2, x3 = rows[i, p], rows[i, p + 1], rows[i, p + 2], rows[i, p + 3]
    if squared:
        for j in range(TILE):
            total[i, j] += _squared(x0, x1, x2, x3, y, j) + known[j]
    else:
        for j in range(TILE):
            total[i, j] += _absolute(x0, x1, x2, x3, y, j) + known[j]


@jit
def _add_block(rows, i, p, y, z, squared, total):
    """Add what a block adds to the distances of row i to one tile."""
    x0, x1, x2, x3 = rows[i, p], rows[i, p + 1], rows[i, p + 2], rows[i, p + 3]
    x4, x5, x6, x7 = rows[i, p + 4], rows[i, p + 5], rows[i, p + 6], rows[i, p + 7]
    if squared:
        for j in range(TILE):
            total[i, j] += _squared(x0, x1, x2, x3, y, j) + _squared(x4, x5, x6, x7, z, j)
    else:
        for j in range(TILE):
            total[i, j] += _absolute(x0, x1, x2, x3, y, j) + _absolute(x4, x5, x6, x7, z, j)


@jit
def pack_columns(features, squared, packed, sums, blank):
    """Write ``features`` (n, d) as tiles: for each tile, each feature of its samples in turn.

    ``packed`` has room for full tiles and whole pairs of blocks of UNROLL features; the rest
    becomes zero. ``sums`` (n_tiles * n_blocks, 3, TILE) receives what each half of a block, and all
    of it, adds to the distances from zero to the samples of its tile, and ``blank``
    (n_tiles, n_blocks) whether all of the block is zero.
    """
    n, d = features.shape
    n_tiles, n_blocks = blank.shape
    origin = np.zeros(HALF)
    for tile in range(n_tiles):
        for block in range(n_blocks):
            cell = tile * n_blocks + block
            begin = cell * UNROLL * TILE
            empty = True
            for k in range(UNROLL):
                p = block * UNROLL + k
                for j in range(TILE):
                    sample = tile * TILE + j
                    value = features[sample, p] if sample < n and p < d else 0.0
                    packed[begin + k * TILE + j] = value
                    empty &= value == 0.0
            blank[tile, block] = empty
            middle, end = begin + HALF * TILE, begin + UNROLL * TILE
            _half(origin, packed[begin:middle], squared, TILE, sums[cell, 0])
            _half(origin, packed[middle:end], squared, TILE, sums[cell, 1])
            for j in range(TILE):
                sums[cell, 2, j] = sums[cell, 0, j] + sums[cell, 1, j]


@jit
def survey_rows(rows, squared, sums, filled):
    """Find what zeros in ``rows`` make known beforehand.

    ``filled`` (n_rows, n_blocks) receives 0 for a block of zeros, 1 or 2 where only its first or
    its second half holds other numbers, 3 where both do, and 4 and 5 for a pair of blocks of zeros;
    ``sums`` what the block adds to the distance from zero.
    """
    origin, half = np.zeros(HALF * TILE), np.empty((2, 1))
    for i in range(filled.shape[0]):
        for block in range(filled.shape[1]):
            p, state = block * UNROLL, 0
            for k in range(UNROLL):
                if rows[i, p + k] != 0.0:
                    state |= 1 if k < HALF else 2
            filled[i, block] = state
            if state > 0:
                _half(rows[i, p : p + HALF], origin, squared, 1, half[0])
                _half(rows[i, p + HALF : p + UNROLL], origin, squared, 1, half[1])
                sums[i, block] = half[0, 0] + half[1, 0]
        for block in range(0, filled.shape[1], PAIR):
            if filled[i, block] == 0 and filled[i, block + 1] == 0:
                filled[i, block] = _FIRST_OF_BLANK_PAIR
                filled[i, block + 1] = _SECOND_OF_BLANK_PAIR


@jit
def fill_direct(
    rows,
    row_sums,
    filled,
    packed,
    tile_sums,
    blank,
    squared,
    as_kernel,
    profile,
    factor,
    targets,
    order,
    n_columns,
    out,
):
    """Fill rows ``targets`` of ``out`` with distances to the first packed samples.

    The packed sample j belongs to column ``order[j]``. With ``squared`` the distance is Euclidean,
    else the sum of absolute differences; with ``as_kernel`` its profile (see
    :func:`map_distances`). Where one of the samples has nothing but zeros in a block, or the row in
    half of it, what that adds is known beforehand, to the same bits. The order of every sum is
    written out, so that neither the panel nor the processor changes it.
    """
    n_rows, n_blocks = filled.shape
    total = np.empty((n_rows, TILE))
    mapped = np.empty(TILE)
    for tile in range((n_columns + TILE - 1) // TILE):
        total[:] = 0.0
        for block in range(n_blocks):
            cell = tile * n_blocks + block
            begin, middle = 2 * cell * HALF * TILE, (2 * cell + 1) * HALF * TILE
            lower, upper = packed[begin:middle], packed[middle : middle + HALF * TILE]
            first, second, whole = tile_sums[cell, 0], tile_sums[cell, 1], tile_sums[cell, 2]
            p, empty = block * UNROLL, blank[tile, block]
            last = cell + PAIR - 1 - block % PAIR
            last_whole, pair_empty = tile_sums[last, 2], empty and blank[tile, last % n_blocks]
            for i in range(n_rows):
                state = filled[i, block]
                if state >= _FIRST_OF_BLANK_PAIR:
                    if state == _FIRST_OF_BLANK_PAIR and not pair_empty:
                        for j in range(TILE):
                            total[i, j] = (total[i, j] + whole[j]) + last_whole[j]
                elif empty:
                    if state > 0:
                        for j in range(TILE):
                            total[i, j] += row_sums[i, block]
                elif state == 0:
                    for j in range(TILE):
                        total[i, j] += whole[j]
                elif state == 1:
                    _add_half(rows, i, p, lower, second, squared, total)
                elif state == 2:
                    _add_half(rows, i, p + HALF, upper, first, squared, total)
                else:
                    _add_block(rows, i, p, lower, upper, squared, total)
        first_column = tile * TILE
        columns = order[first_column : min(first_column + TILE, n_columns)]
        for i in range(n_rows):
            distances = total[i]
            if squared:
                for j in range(TILE):
                    distances[j] = math.sqrt(distances[j])
            if as_kernel:
                # Not in place: the compiler makes vectors of separate arrays only.
                _map(distances, profile, factor, mapped)
                distances = mapped
            values = out[targets[i]]
            for j in range(len(columns)):
                values[columns[j]] = distances[j]


@jit
def _map(distances, profile, factor, out):
    if profile == EXPONENTIAL:
        for i in range(distances.size):
            out[i] = exp(distances[i] * factor)
    elif profile == MATERN_32:
        for i in range(distances.size):
            t = max(distances[i] * factor, _SMALLEST_T)
            out[i] = (1.0 - t) * exp(t)
    else:
        for i in range(distances.size):
            t = max(distances[i] * factor, _SMALLEST_T)
            out[i] = (1.0 - t + t * t / 3.0) * exp(t)


@jit
def map_distances(distances, profile, factor, out):
    """Write a profile of t = distance * factor to ``out``, which may be ``distances`` itself."""
    _map(distances, profile, factor, out)


@jit(fastmath=True)
def centre_rows(features, centre, rows, norms):
    """Write ``features`` less ``centre`` to ``rows``, and their squared norms to ``norms``."""
    for i in range(features.shape[0]):
        norm = 0.0
        for p in range(features.shape[1]):
            value = features[i, p] - centre[p]
            rows[i, p] = value
            norm += value * value
        norms[i] = norm


@jit(fastmath=True)
def _squared_distance(x, y):
    total = 0.0
    for p in range(len(x)):
        total += (x[p] - y[p]) * (x[p] - y[p])
    return total


@jit
def finish_squared(
    rows,
    columns,
    row_norms,
    column_norms,
    symmetric,
    tolerance,
    exponential,
    factor,
    start,
    n_columns,
    out,
):
    """Turn inner products in rows of ``out`` from ``start`` on into squared distances.

    With ``exponential``, into exp(factor * distance). The products and norms are those of centred
    features. A squared distance below ``tolerance`` times the largest norms it may have been
    subtracted from has lost its leading digits, and is summed anew from the features themselves.
    With ``symmetric``, row i of ``out`` and column i belong to one sample.
    """
    largest = column_norms.max()
    for i in range(rows.shape[0]):
        values = out[start + i]
        norm = row_norms[i]
        own = start + i
        if symmetric:
            # Its distance is zero by definition; the opposite point never counts as cancelled.
            values[own] = -norm
        limit = tolerance * (norm + largest)
        # Both comparisons are written so that NaN, from norms that overflow, counts as cancelled.
        # The kernel falls with the distance, so it needs no distances beside it to be checked.
        cancelled = False
        if exponential:
            bound = exp(limit * factor)
            for j in range(n_columns):
                value = exp((norm + column_norms[j] - 2.0 * values[j]) * factor)
                cancelled |= not value <= bound
                values[j] = value
            if cancelled:
                for j in range(n_columns):
                    if not values[j] <= bound:
                        values[j] = exp(_squared_distance(rows[i], columns[j]) * factor)
        else:
            for j in range(n_columns):
                squared = norm + column_norms[j] - 2.0 * values[j]
                cancelled |= not squared >= limit
                values[j] = squared
            if cancelled:
                for j in range(n_columns):
                    if not values[j] >= limit:
                        values[j] = _squared_distance(rows[i], columns[j])
        if symmetric:
            values[own] = 1.0 if exponential else 0.0


@jit
def mirror(matrix, start, stop):
    """Copy the part below the diagonal to the part above it, in rows ``start`` to ``stop``."""
    n = matrix.shape[0]
    for first in range(start, n, _MIRROR_BLOCK):
        for i in range(start, stop):
            for j in range(max(first, i + 1), min(first + _MIRROR_BLOCK, n)):
                matrix[i, j] = matrix[j, i]


@jit
def mirror_ranked(matrix, rank, start, stop):
    """Copy each element of lower row rank than column rank from its mirror image.

    Of the pairs whose smaller index is in ``start`` to ``stop``.
    """
    n = matrix.shape[0]
    for first in range(start, n, _MIRROR_BLOCK):
        for i in range(start, stop):
            for j in range(max(first, i + 1), min(first + _MIRROR_BLOCK, n)):
                if rank[i] < rank[j]:
                    matrix[i, j] = matrix[j, i]
                else:
                    matrix[j, i] = matrix[i, j]
