"""Compiled filler of Coulomb matrices around atoms."""

import math

import numpy as np

from kernchem._numba import jit
from kernchem.descriptors.coulomb_jit import insert_sorted

__all__ = ["fill_atomic"]


@jit
def _damping(distance, r_cut, width):
    """Return 1 up to ``r_cut - width``, 0 from ``r_cut`` on, and half a cosine between."""
    if distance >= r_cut:
        return 0.0
    if distance <= r_cut - width:
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (distance - r_cut + width) / width))


@jit(fastmath=True)
def _fill_row(atoms, i, row):
    """Write the interactions of atom i with the atoms before it."""
    x, y, z, charge = atoms[0], atoms[1], atoms[2], atoms[3]
    for j in range(i):
        dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
        row[j] = charge[i] * charge[j] / math.sqrt(dx * dx + dy * dy + dz * dz)


@jit
def _damp_row(atoms, i, r_cut, width, row):
    """Multiply the interactions of atom i with the atoms before it by their damping."""
    for j in range(i):
        dx = atoms[0, i] - atoms[0, j]
        dy = atoms[1, i] - atoms[1, j]
        dz = atoms[2, i] - atoms[2, j]
        row[j] *= _damping(math.sqrt(dx * dx + dy * dy + dz * dz), r_cut, width)


@jit
def _put_atom(charges, diagonal, positions, atom, weight, n, atoms):
    """Write an atom to column n of the scratch array: position, charge, diagonal element."""
    for c in range(3):
        atoms[c, n] = positions[atom, c]
    atoms[3, n] = weight * charges[atom]
    atoms[4, n] = weight * weight * diagonal[atom]


@jit
def _norm_of_row(matrix, i, n):
    """Return the norm of a row of a symmetric matrix whose lower triangle is there."""
    total = 0.0
    for j in range(i):
        total += matrix[i, j] * matrix[i, j]
    for j in range(i, n):
        total += matrix[j, i] * matrix[j, i]
    return math.sqrt(total)


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
    size,
):
    """Write the packed lower triangles around the atoms of molecules start..stop.

    ``charges`` and ``diagonal`` (n_atoms,) are Z and 0.5 Z^2.4; the cutoffs, in angstrom, may be
    infinite. With ``by_norm`` rows go by descending norm, else by distance, the central one first.
    ``size`` is the largest number of atoms around one.
    """
    found = np.empty(size, dtype=np.int64)
    order = np.empty(size, dtype=np.int64)
    keys, weights = np.empty(size), np.empty(size)
    atoms = np.empty((5, size))
    matrix = np.empty((size, size)) if by_norm else np.empty((0, 0))
    limit = r_cut * r_cut
    for molecule in range(start, stop):
        for centre in range(offsets[molecule], offsets[molecule + 1]):
            found[0], weights[0] = centre, 1.0
            insert_sorted(math.inf, 0, keys, order)
            n = 1
            for atom in range(offsets[molecule], offsets[molecule + 1]):
                dx = positions[atom, 0] - positions[centre, 0]
                dy = positions[atom, 1] - positions[centre, 1]
                dz = positions[atom, 2] - positions[centre, 2]
                squared = dx * dx + dy * dy + dz * dz
                if atom != centre and squared < limit:
                    distance = math.sqrt(squared)
                    found[n], weights[n] = atom, _damping(distance, r_cut, decay)
                    if not by_norm:
                        insert_sorted(-distance, n, keys, order)
                    n += 1
            packed = out[centre]
            if not by_norm:
                for m in range(n):
                    k = order[m]
                    _put_atom(charges, diagonal, positions, found[k], weights[k], m, atoms)
                    row = packed[m * (m + 1) // 2 : (m + 1) * (m + 2) // 2]
                    _fill_row(atoms, m, row)
                    if pair_cut < math.inf:
                        _damp_row(atoms, m, pair_cut, pair_decay, row)
                    row[m] = atoms[4, m]
                continue
            for m in range(n):
                _put_atom(charges, diagonal, positions, found[m], weights[m], m, atoms)
                _fill_row(atoms, m, matrix[m])
                if pair_cut < math.inf:
                    _damp_row(atoms, m, pair_cut, pair_decay, matrix[m])
                matrix[m, m] = atoms[4, m]
            for m in range(1, n):
                insert_sorted(_norm_of_row(matrix, m, n), m, keys, order)
            p = 0
            for m in range(n):
                for k in range(m + 1):
                    packed[p] = matrix[max(order[m], order[k]), min(order[m], order[k])]
                    p += 1
