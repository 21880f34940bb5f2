"""Passes over one triangle of a Fortran-ordered matrix; the other triangle is not read."""

import math

import numpy as np

from kernchem._numba import jit

__all__ = [
    "column_norms_lower",
    "copy_upper",
    "max_column_sum",
    "mirror_lower",
    "restore_lower",
    "rotate_out",
]

_BLOCK = 64


@jit
def column_norms_lower(a, out):
    """Write the squared norm of each column of the lower triangle of ``a`` into ``out``."""
    n = a.shape[0]
    for j in range(n):
        total = 0.0
        for i in range(j, n):
            total += a[i, j] * a[i, j]
        out[j] = total


@jit
def restore_lower(a, diagonal):
    """Copy the strict upper triangle of ``a`` onto the lower one and set the diagonal."""
    n = a.shape[0]
    for jb in range(0, n, _BLOCK):
        for ib in range(jb, n, _BLOCK):
            for j in range(jb, min(jb + _BLOCK, n)):
                for i in range(max(ib, j + 1), min(ib + _BLOCK, n)):
                    a[i, j] = a[j, i]
    for j in range(n):
        a[j, j] = diagonal[j]


@jit
def max_column_sum(a):
    """Return the largest sum of absolute values of a column of ``a`` (its 1-norm)."""
    n = a.shape[0]
    largest = 0.0
    for j in range(n):
        total = 0.0
        for i in range(n):
            total += np.abs(a[i, j])
        largest = max(largest, total)
    return largest


@jit
def mirror_lower(a):
    """Copy the strict lower triangle of ``a`` onto the upper one."""
    n = a.shape[0]
    for jb in range(0, n, _BLOCK):
        for ib in range(jb, n, _BLOCK):
            for j in range(jb, min(jb + _BLOCK, n)):
                for i in range(max(ib, j + 1), min(ib + _BLOCK, n)):
                    a[j, i] = a[i, j]


@jit
def rotate_out(a, n, row):
    """Turn the inverse factor in the first n rows of ``a`` into that without one row.

    With W = L^-1, of which ``a`` holds the lower triangle, W'W is the inverse of the matrix. Plane
    rotations of rows collect column ``row`` in the last one; without it, what is left is the
    inverse factor of the smaller matrix, one column to the left behind ``row``. The upper triangle
    is not touched.
    """
    cosines, sines = np.empty(n), np.empty(n)
    carried = a[row, row]
    for i in range(row, n - 1):
        below = a[i + 1, row]
        length = math.hypot(carried, below)
        cosines[i], sines[i] = below / length, carried / length
        carried = length
    for k in range(row):
        carried = a[row, k]
        for i in range(row, n - 1):
            below = a[i + 1, k]
            a[i, k] = cosines[i] * carried - sines[i] * below
            carried = sines[i] * carried + cosines[i] * below
    # Column k has zeros above row k, so the rotations before that one leave it alone.
    for k in range(row + 1, n):
        carried = 0.0
        for i in range(k - 1, n - 1):
            below = a[i + 1, k]
            a[i, k - 1] = cosines[i] * carried - sines[i] * below
            carried = sines[i] * carried + cosines[i] * below


@jit
def copy_upper(a, rows, out):
    """Copy the strict upper triangle of some rows and columns of ``a`` to ``out``."""
    for j in range(len(rows)):
        for i in range(j):
            out[i, j] = a[rows[i], rows[j]]
