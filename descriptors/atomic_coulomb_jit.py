"""Compiled filler of Coulomb matrices around atoms."""

import math

import numpy as np

from kernchem._numba import jit
from kernchem.descriptors.coulomb_jit import fill_matrix, insert_sorted
from kernchem.descriptors.distances_jit import squared_distance

__all__ = ["fill_atomic"]


@jit
def _damping(distance, r_cut, width):
    """Return 1 up to ``r_cut - width``, 0 from ``r_cut`` on, and half a cosine between."""
    if distance >= r_cut:
        return 0.0
    if distance <= r_cut - width:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (distance - r_cut + width) / width))


@jit
def _damp_pairs(positions, first, n, r_cut, width, matrix):
    """Multiply the interactions of all pairs of atoms by their damping."""
    for i in range(n):
        for j in range(i):
            distance = math.sqrt(squared_distance(positions, first + i, first + j))
            matrix[i, j] *= _damping(distance, r_cut, width)
            matrix[j, i] = matrix[i, j]


@jit
def _norm_of_row(row, atoms, weights, n):
    """Return the norm of a row over n of its columns, each multiplied by a weight."""
    total = 0.0
    for k in range(n):
        element = weights[k] * row[atoms[k]]
        total += element * element
    return math.sqrt(total)


@jit
def _pack(matrix, atoms, weights, n, packed):
    """Write the lower triangle of the weighted matrix of n atoms in the order of ``atoms``."""
    p = 0
    for m in range(n):
        row, weight = matrix[atoms[m]], weights[m]
        for k in range(m + 1):
            packed[p] = weight * weights[k] * row[atoms[k]]
            p += 1


@jit
def fill_atomic(
    charges,
    diagonal,
    positions,
    offsets,
    by_norm,
    r_cut,
    decay,
    pair_cut,
    pair_decay,
    out,
    start,
    stop,
    largest,
):
    """Write the packed lower triangles around the atoms of molecules start..stop.

    ``charges`` and ``diagonal`` (n_atoms,) are Z and 0.5 Z^2.4; the cutoffs, in angstrom, may be
    infinite. With ``by_norm`` rows go by descending norm, else by distance, the central one first.
    ``largest`` is the number of atoms of the largest molecule.
    """
    matrix, scratch = np.empty((largest, largest)), np.empty((4, largest))
    # The atoms around one, as numbers within the molecule: as found, and in order.
    found, order = np.empty(largest, dtype=np.int64), np.empty(largest, dtype=np.int64)
    atoms = np.empty(largest, dtype=np.int64)
    found_weights, weights, keys = np.empty(largest), np.empty(largest), np.empty(largest)
    limit = r_cut * r_cut
    for molecule in range(start, stop):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        fill_matrix(charges, diagonal, positions, first, n, matrix, scratch)
        if pair_cut < math.inf:
            _damp_pairs(positions, first, n, pair_cut, pair_decay, matrix)
        for centre in range(n):
            found[0], found_weights[0] = centre, 1.0
            insert_sorted(math.inf, 0, keys, order)
            near = 1
            for atom in range(n):
                squared = squared_distance(positions, first + atom, first + centre)
                if atom != centre and squared < limit:
                    distance = math.sqrt(squared)
                    found[near], found_weights[near] = atom, _damping(distance, r_cut, decay)
                    if not by_norm:
                        insert_sorted(-distance, near, keys, order)
                    near += 1
            if by_norm:
                for m in range(1, near):
                    norm = _norm_of_row(matrix[found[m]], found, found_weights, near)
                    insert_sorted(found_weights[m] * norm, m, keys, order)
            for m in range(near):
                atoms[m], weights[m] = found[order[m]], found_weights[order[m]]
            _pack(matrix, atoms, weights, near, out[first + centre])
