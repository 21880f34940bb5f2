"""Compiled filler of inverse distances."""

import math

import numpy as np

from kernchem._numba import jit

__all__ = ["fill_inverse_distances"]


@jit
def fill_inverse_distances(positions, n, scale, out, start, stop):
    """Write ``scale`` (n (n - 1) / 2,) over the distances of structures start..stop of n atoms.

    The pairs i > j stand row after row: column i (i - 1) / 2 + j.
    """
    x, y, z = np.empty(n), np.empty(n), np.empty(n)
    for structure in range(start, stop):
        first = structure * n
        for i in range(n):
            x[i] = positions[first + i, 0]
            y[i] = positions[first + i, 1]
            z[i] = positions[first + i, 2]
        row = out[structure]
        for i in range(n):
            column = i * (i - 1) // 2
            for j in range(i):
                dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
                row[column + j] = scale[column + j] / math.sqrt(dx * dx + dy * dy + dz * dz)
