"""Compiled fillers of distance and kernel matrices between rows of features."""

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit

__all__ = [
    "TILE",
    "UNROLL",
    "centre_rows",
    "exp_scaled",
    "fill_l1",
    "finish_squared",
    "mirror",
    "pack_columns",
]

# Samples per tile of the packed operand and features per step: UNROLL x TILE numbers (8 KiB) stay
# in the first-level cache while every row of a panel passes over them. Smaller tiles
# and larger ones were slower.
TILE = 128
UNROLL = 8
_MIRROR_BLOCK = 64


@jit
def pack_columns(features, packed):
    """Write ``features`` (n, d) as tiles: for each tile, each feature of its samples in turn.

    ``packed`` has room for full tiles and a multiple of UNROLL features; the rest becomes zero.
    """
    n, d = features.shape
    n_tiles = (n + TILE - 1) // TILE
    padded = packed.size // (n_tiles * TILE)
    for tile in range(n_tiles):
        for p in range(padded):
            row = packed[(tile * padded + p) * TILE : (tile * padded + p + 1) * TILE]
            for j in range(TILE):
                sample = tile * TILE + j
                row[j] = features[sample, p] if sample < n and p < d else 0.0


@jit
def _add_eight(x, y, total):
    """Add ``|x - y|`` of eight features to the distances of one row to one tile."""
    x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
    for j in range(TILE):
        low = (abs(x0 - y[j]) + abs(x1 - y[j + TILE])) + (
            abs(x2 - y[j + 2 * TILE]) + abs(x3 - y[j + 3 * TILE])
        )
        high = (abs(x4 - y[j + 4 * TILE]) + abs(x5 - y[j + 5 * TILE])) + (
            abs(x6 - y[j + 6 * TILE]) + abs(x7 - y[j + 7 * TILE])
        )
        total[j] += low + high


@jit
def fill_l1(rows, packed, exponential, factor, start, n_columns, out):
    """Fill rows of ``out`` from ``start`` on with L1 distances to the first packed samples.

    With ``exponential``, exp(factor * distance). The order of every sum is written out, so that
    neither the panel nor the processor changes it.
    """
    n_rows, padded = rows.shape
    total = np.empty((n_rows, TILE))
    for tile in range((n_columns + TILE - 1) // TILE):
        total[:] = 0.0
        for p in range(0, padded, UNROLL):
            begin = (tile * padded + p) * TILE
            block = packed[begin : begin + UNROLL * TILE]
            for i in range(n_rows):
                _add_eight(rows[i, p : p + UNROLL], block, total[i])
        first = tile * TILE
        width = min(TILE, n_columns - first)
        for i in range(n_rows):
            values = out[start + i, first : first + width]
            distances = total[i]
            if exponential:
                for j in range(width):
                    values[j] = exp(distances[j] * factor)
            else:
                for j in range(width):
                    values[j] = distances[j]


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
def exp_scaled(distances, factor, out):
    """Write exp(factor * distance) to ``out``, which may be ``distances`` itself."""
    for i in range(distances.size):
        out[i] = exp(distances[i] * factor)


@jit
def mirror(matrix, start, stop):
    """Copy the part below the diagonal to the part above it, in rows ``start`` to ``stop``."""
    n = matrix.shape[0]
    for first in range(start, n, _MIRROR_BLOCK):
        for i in range(start, stop):
            for j in range(max(first, i + 1), min(first + _MIRROR_BLOCK, n)):
                matrix[i, j] = matrix[j, i]
