"""Passes over one triangle of a Fortran-ordered matrix; the other triangle is not read."""

import numpy as np

from kernchem._numba import jit

__all__ = ["column_norms_lower", "max_column_sum", "restore_lower"]

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
