"""Compiled fillers of Coulomb matrices."""

import math

import numpy as np

from kernchem._numba import jit

__all__ = ["fill_full", "fill_matrix", "fill_sorted", "fill_unsorted", "insert_sorted"]

# Rows whose norms agree to this relative difference are tied. Equivalent atoms of a symmetric
# molecule have equal norms up to rounding, which a rotation of the molecule must not let decide.
_TIE = 1e-10


@jit(fastmath=True)
def fill_matrix(charges, diagonal, positions, first, n, matrix, scratch):
    """Write the symmetric n x n matrix of the molecule whose atoms start at ``first``."""
    x, y, z, charge = scratch[0], scratch[1], scratch[2], scratch[3]
    for i in range(n):
        x[i] = positions[first + i, 0]
        y[i] = positions[first + i, 1]
        z[i] = positions[first + i, 2]
        charge[i] = charges[first + i]
    for i in range(n):
        row = matrix[i]
        for j in range(i):
            dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            row[j] = charge[i] * charge[j] / math.sqrt(dx * dx + dy * dy + dz * dz)
        for j in range(i):
            matrix[j, i] = row[j]
        row[i] = diagonal[first + i]


@jit(fastmath=True)
def _row_norm(row, n):
    total = 0.0
    for j in range(n):
        total += row[j] * row[j]
    return math.sqrt(total)


@jit
def insert_sorted(norm, i, norms, order):
    """Insert row i with its norm into the first i rows, in descending order; ties keep theirs."""
    k = i
    bound = norm - _TIE * abs(norm)
    while k > 0 and norms[k - 1] < bound:
        norms[k] = norms[k - 1]
        order[k] = order[k - 1]
        k -= 1
    norms[k] = norm
    order[k] = i


@jit
def fill_sorted(charges, diagonal, positions, offsets, noise, out, start, stop, size):
    """Write the packed lower triangles of molecules start..stop, rows by descending norm.

    ``noise`` (n_atoms,) is added to the norms before they are compared.
    """
    matrix = np.empty((size, size))
    scratch = np.empty((4, size))
    norms = np.empty(size)
    order = np.empty(size, dtype=np.int64)
    for molecule in range(start, stop):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        fill_matrix(charges, diagonal, positions, first, n, matrix, scratch)
        for i in range(n):
            insert_sorted(_row_norm(matrix[i], n) + noise[first + i], i, norms, order)
        packed = out[molecule]
        p = 0
        for i in range(n):
            row = matrix[order[i]]
            for j in range(i + 1):
                packed[p] = row[order[j]]
                p += 1


@jit
def fill_unsorted(charges, diagonal, positions, offsets, out, start, stop, size):
    """Write the packed lower triangles of molecules start..stop in the order of their atoms."""
    matrix = np.empty((size, size))
    scratch = np.empty((4, size))
    for molecule in range(start, stop):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        fill_matrix(charges, diagonal, positions, first, n, matrix, scratch)
        packed = out[molecule]
        p = 0
        for i in range(n):
            for j in range(i + 1):
                packed[p] = matrix[i, j]
                p += 1


@jit
def fill_full(charges, diagonal, positions, offsets, molecules, out):
    """Write the matrices of the listed molecules, all of one size n, to ``out`` (k, n, n)."""
    n = out.shape[1]
    scratch = np.empty((4, n))
    for k in range(len(molecules)):
        first = offsets[molecules[k]]
        fill_matrix(charges, diagonal, positions, first, n, out[k], scratch)
