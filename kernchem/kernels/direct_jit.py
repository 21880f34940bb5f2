"""Compiled direct sums of differences between rows of features."""

import math

import numpy as np

from kernchem._fastmath import WIDTH as TILE
from kernchem._fastmath import add_differences, multiply_add
from kernchem._numba import jit
from kernchem.kernels.vector_jit import map_profile
from kernchem.kernels.zeros_jit import take

__all__ = ["SEGMENT", "TILE", "fill_direct", "fill_row", "pack_columns"]

# Features per segment, at most: SEGMENT x TILE numbers (8 KiB) stay in the first-level cache while
# every row of a panel passes over them.
SEGMENT = 32


@jit
def pack_columns(features, samples, order, packed):
    """Write ``features`` as tiles: for each tile, each feature of its samples in turn.

    The samples follow each other as in ``samples``, and the features as in ``order``; the end of
    the last tile is zero.
    """
    n, d = len(samples), len(order)
    # Row by row first: the processor fetches rows ahead, not columns.
    rows = np.zeros((TILE, d))
    for tile in range((n + TILE - 1) // TILE):
        width = min(TILE, n - tile * TILE)
        for j in range(width):
            take(features[samples[tile * TILE + j]], order, rows[j])
        rows[width:] = 0.0
        for p in range(d):
            values = packed[tile * d + p]
            for j in range(TILE):
                values[j] = rows[j, p]


@jit
def _sum_before(rows, bounds, squared, sums):
    """Write what the features before each one of a segment add to the distance from zero.

    ``sums`` (n_rows, n_features + n_segments) has one number more per segment than ``rows``.
    """
    for i in range(rows.shape[0]):
        for s in range(len(bounds) - 1):
            total = 0.0
            for p in range(bounds[s], bounds[s + 1]):
                sums[i, p + s] = total
                x = rows[i, p]
                total = multiply_add(x, x, total) if squared else total + abs(x)
            sums[i, bounds[s + 1] + s] = total


@jit
def _sum_tile_before(packed, q, first, stop, squared, sums):
    """Write what features before number ``first`` to ``stop`` of a segment add to the distances.

    From zero to the samples of a tile; those before ``first`` add nothing.
    """
    for j in range(TILE):
        sums[first, j] = 0.0
    for k in range(first, stop):
        if squared:
            for j in range(TILE):
                y = packed[q + k, j]
                sums[k + 1, j] = multiply_add(y, y, sums[k, j])
        else:
            for j in range(TILE):
                sums[k + 1, j] = sums[k, j] + abs(packed[q + k, j])


@jit
def _copy(source, target):
    for j in range(len(target)):
        target[j] = source[j]


@jit
def fill_direct(
    features,
    zeros,
    samples,
    order,
    bounds,
    packed,
    column_zeros,
    squared,
    as_kernel,
    profile,
    factor,
    columns,
    n_columns,
    triangle,
    out,
):
    """Fill rows ``samples`` of ``out`` with distances to the first packed samples.

    Row k belongs to ``samples[k]`` of ``features``, and has ``zeros[k, s]`` zeros before its first
    number in segment s (see :class:`kernchem.kernels.zeros.Layout`); tiles of packed samples have
    ``column_zeros``. The packed sample j is column ``columns[j]``. With ``squared`` the distance is
    Euclidean, else the sum of absolute differences; with ``as_kernel`` its profile (see
    :func:`map_distances`). With ``triangle`` the rows are the last of the ``n_columns`` columns,
    and those on and below the diagonal are filled.

    Every segment is summed in turn from its first feature on, and the sums of the segments in
    turn. Where a row or a whole tile begins with zeros, what these features add is the sum over the
    other one alone, to the same bits, which is known beforehand. So neither the panel nor the tile
    nor the processor changes the sum of two samples.
    """
    n_rows, n_segments, d = len(samples), len(bounds) - 1, len(order)
    before = n_columns - n_rows
    rows = np.empty((n_rows, d))
    for i in range(n_rows):
        take(features[samples[i]], order, rows[i])
    row_sums = np.empty((n_rows, d + n_segments))
    _sum_before(rows, bounds, squared, row_sums)
    flat = rows.ravel()
    least, most = np.empty((2, n_segments), dtype=np.int64)
    for s in range(n_segments):
        least[s], most[s] = zeros[:, s].min(), zeros[:, s].max()
    totals = np.empty(n_rows * TILE)
    known = np.zeros((SEGMENT + 1, TILE))
    for tile in range((n_columns + TILE - 1) // TILE):
        start = tile * TILE
        width = min(TILE, n_columns - start)
        begin_row = max(0, start - before) if triangle else 0
        totals[:] = 0.0
        for s in range(n_segments):
            begin, size = bounds[s], bounds[s + 1] - bounds[s]
            q, tile_zeros = tile * d + begin, np.int64(column_zeros[tile, s])
            if min(least[s], tile_zeros) == size:
                continue
            _sum_tile_before(packed, q, tile_zeros, max(tile_zeros, most[s]), squared, known)
            for i in range(begin_row, n_rows):
                first = max(tile_zeros, np.int64(zeros[i, s]))
                add_differences(
                    flat,
                    i * d + begin + first,
                    size - first,
                    packed,
                    (q + first) * TILE,
                    known,
                    first * TILE,
                    row_sums[i, begin + s + first],
                    squared,
                    totals,
                    i * TILE,
                )
        for i in range(begin_row, n_rows):
            _copy(totals[i * TILE : (i + 1) * TILE], out[samples[i], start : start + width])
    mapped = np.empty(n_columns)
    for i in range(n_rows):
        values, n = out[samples[i]], before + i + 1 if triangle else n_columns
        if squared:
            for j in range(n):
                values[j] = math.sqrt(values[j])
        if as_kernel:
            map_profile(values[:n], profile, factor, mapped[:n])
        else:
            mapped[:n] = values[:n]
        for j in range(n):
            values[columns[j]] = mapped[j]


@jit
def _sum_some(row, others, order, bounds, squared, part, sums):
    """Write sums of differences between a row and some others to ``sums``."""
    for s in range(len(bounds) - 1):
        part[:] = 0.0
        for k in range(bounds[s], bounds[s + 1]):
            p = order[k]
            for j in range(len(others)):
                d = row[p] - others[j, p]
                part[j] = multiply_add(d, d, part[j]) if squared else part[j] + abs(d)
        for j in range(len(others)):
            sums[j] += part[j]


@jit
def fill_row(row, others, order, bounds, squared, as_kernel, profile, factor, out):
    """Fill ``out`` (n_others,) like a row of :func:`fill_direct`, to the same bits.

    Nothing is packed and no zero is left out, which is faster for a single row.
    """
    part, distances = np.empty(TILE), np.zeros(len(others))
    # Some at a time, as each sum waits for its last addition.
    for start in range(0, len(others), TILE):
        tile = slice(start, min(start + TILE, len(others)))
        _sum_some(row, others[tile], order, bounds, squared, part, distances[tile])
    if squared:
        for j in range(len(others)):
            distances[j] = math.sqrt(distances[j])
    if as_kernel:
        map_profile(distances, profile, factor, out)
    else:
        _copy(distances, out)
