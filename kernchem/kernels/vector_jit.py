"""Compiled fillers of distance and kernel matrices between rows of features."""

from kernchem._fastmath import exp
from kernchem._numba import jit

__all__ = [
    "EXPONENTIAL",
    "MATERN_32",
    "MATERN_52",
    "centre_rows",
    "finish_squared",
    "map_distances",
    "map_profile",
    "mirror",
    "mirror_ranked",
]

# What becomes of t = distance * factor, a number <= 0.
EXPONENTIAL = 0  # exp(t)
MATERN_32 = 1  # (1 - t) exp(t)
MATERN_52 = 2  # (1 - t + t^2 / 3) exp(t)
# Below this exp(t) is zero, and the factor before it may not become infinite.
_SMALLEST_T = -1000.0

_MIRROR_BLOCK = 64


@jit
def map_profile(distances, profile, factor, out):
    """Write a profile of t = distance * factor to another array ``out``."""
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
    map_profile(distances, profile, factor, out)


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
                # Both are written: which one is right changes at random, and branches would wait.
                own, mirrored = matrix[i, j], matrix[j, i]
                value = mirrored if rank[i] < rank[j] else own
                matrix[i, j] = value
                matrix[j, i] = value
