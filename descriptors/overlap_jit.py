"""Compiled fillers of overlap matrices of Gaussian orbitals."""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit
from kernchem.descriptors.distances_jit import squared_distance

__all__ = ["count_neighbours", "fill_environments", "fill_molecules"]

# Rows of the scratch arrays: coordinates, square root of the exponent, weight.
_N_SCRATCH = 5
# Those of the pairs of atoms: square of the distance, then overlap; product of the square roots of
# the exponents, sum of the exponents, product of the weights.
_N_PAIR_SCRATCH = 4


@jit
def _put_atom(positions, root, atom, weight, n, atoms):
    """Write an atom to column n of the scratch array."""
    for c in range(3):
        atoms[c, n] = positions[atom, c]
    atoms[3, n] = root
    atoms[4, n] = weight


@jit(fastmath=True)
def _fill_overlaps(atoms, n, pairs):
    """Write the overlaps of s orbitals of all pairs i > j of the first n atoms to ``pairs[0]``.

    Row by row, without gaps: the loop with all the work is long enough to be made of vectors, which
    those over the few atoms before another one are not.
    """
    x, y, z, root, weight = atoms[0], atoms[1], atoms[2], atoms[3], atoms[4]
    squares, products, sums, weights = pairs[0], pairs[1], pairs[2], pairs[3]
    k = 0
    for i in range(n):
        a_i = root[i] * root[i]
        for j in range(i):
            dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            squares[k + j] = dx * dx + dy * dy + dz * dz
            products[k + j] = root[i] * root[j]
            sums[k + j] = a_i + root[j] * root[j]
            weights[k + j] = weight[i] * weight[j]
        k += i
    for k in range(n * (n - 1) // 2):
        g = 2.0 * products[k] / sums[k]
        m = 0.5 * g * products[k]
        squares[k] = g * math.sqrt(g) * exp(-m * squares[k]) * weights[k]


@jit(fastmath=True)
def _fill_matrix(atoms, n, n_orbitals, pairs, matrix):
    """Write the lower triangle of the overlap matrix of the first n atoms.

    The orbitals of an atom stand behind each other: s, or s, p_x, p_y, p_z. With the exponents
    a_i = q_i^2, d = r_i - r_j, g = 2 q_i q_j / (a_i + a_j) and m = a_i a_j / (a_i + a_j):

        <s|s> = S = g^(3/2) exp(-m |d|^2)         <p_c|s> = -g q_j d_c S
        <s|p_c> = g q_i d_c S                     <p_c|p_e> = g S (delta_ce - 2 m d_c d_e)
    """
    _fill_overlaps(atoms, n, pairs)
    if n_orbitals == 1:
        for i in range(n):
            for j in range(i):
                matrix[i, j] = pairs[0, i * (i - 1) // 2 + j]
            matrix[i, i] = atoms[4, i] * atoms[4, i]
        return
    x, y, z, root, weight = atoms[0], atoms[1], atoms[2], atoms[3], atoms[4]
    d = np.empty(3)
    for i in range(n):
        overlaps = pairs[0, i * (i - 1) // 2 :]
        block = matrix[4 * i : 4 * i + 4]
        for j in range(i):
            if overlaps[j] == 0.0:
                # So far apart that the products of coordinates may overflow: zero times infinity.
                block[:, 4 * j : 4 * j + 4] = 0.0
                continue
            d[0], d[1], d[2] = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            g = 2.0 * root[i] * root[j] / (root[i] * root[i] + root[j] * root[j])
            p_s, s_p = -g * root[j] * overlaps[j], g * root[i] * overlaps[j]
            p_p = g * overlaps[j]
            mixed = -g * root[i] * root[j] * p_p
            block[0, 4 * j] = overlaps[j]
            for c in range(3):
                block[1 + c, 4 * j] = p_s * d[c]
                block[0, 4 * j + 1 + c] = s_p * d[c]
                for e in range(3):
                    block[1 + c, 4 * j + 1 + e] = mixed * d[c] * d[e]
                block[1 + c, 4 * j + 1 + c] += p_p
        for c in range(4):
            for e in range(c):
                block[c, 4 * i + e] = 0.0
            block[c, 4 * i + c] = weight[i] * weight[i]


@jit
def fill_molecules(positions, roots, firsts, n_orbitals, out):
    """Write lower triangles of molecules of as many atoms to ``out`` (k, n_rows, n_rows).

    ``firsts`` (k,) are their first atoms, ``roots`` (n_atoms,) the square roots of all exponents,
    1/angstrom.
    """
    n = out.shape[1] // n_orbitals
    atoms, pairs = np.empty((_N_SCRATCH, n)), np.empty((_N_PAIR_SCRATCH, n * (n - 1) // 2))
    for k in range(len(firsts)):
        first = firsts[k]
        for i in range(n):
            _put_atom(positions, roots[first + i], first + i, 1.0, i, atoms)
        _fill_matrix(atoms, n, n_orbitals, pairs, out[k])


@jit
def count_neighbours(positions, offsets, r_cut, counts):
    """Count the atoms nearer than ``r_cut`` to each atom of its molecule, with itself."""
    limit = r_cut * r_cut
    for molecule in range(len(offsets) - 1):
        for i in range(offsets[molecule], offsets[molecule + 1]):
            counts[i] = 0
            for j in range(offsets[molecule], offsets[molecule + 1]):
                counts[i] += squared_distance(positions, i, j) < limit


@jit
def fill_environments(positions, roots, firsts, lasts, r_cut, centres, n_orbitals, out):
    """Write lower triangles of the environments of the listed atoms, all of as many atoms.

    ``firsts`` and ``lasts`` (k,) bound the atoms of the molecule of each of ``centres`` (k,).
    """
    n = out.shape[1] // n_orbitals
    atoms, pairs = np.empty((_N_SCRATCH, n)), np.empty((_N_PAIR_SCRATCH, n * (n - 1) // 2))
    limit = r_cut * r_cut
    for k in range(len(centres)):
        found = 0
        for atom in range(firsts[k], lasts[k]):
            squared = squared_distance(positions, centres[k], atom)
            if squared < limit:
                decay = 1.0 - squared / limit
                _put_atom(positions, roots[atom], atom, decay * decay, found, atoms)
                found += 1
        _fill_matrix(atoms, n, n_orbitals, pairs, out[k])
