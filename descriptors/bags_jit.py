"""Compiled filler of bags of bonds."""

import math

import numpy as np

from kernchem._numba import jit

__all__ = ["fill_bags"]

# From this many values on, O(n log n) sorting beats counting, which needs n^2 comparisons but no
# branch and many of them per instruction.
_MANY = 700


@jit
def _sort_into(values, n, row, first):
    """Write the first n values in descending order to ``row``, zero so far, from ``first`` on.

    A value's place is the number of greater ones, counted for four values at a time: their counts
    share the loads.
    """
    if n >= _MANY:
        ascending = np.sort(values[:n])
        for i in range(n):
            row[first + i] = ascending[n - 1 - i]
        return
    whole = n - n % 4
    for i in range(0, whole, 4):
        v0, v1, v2, v3 = values[i], values[i + 1], values[i + 2], values[i + 3]
        p0, p1, p2, p3 = first, first, first, first
        for j in range(n):
            other = values[j]
            p0 += other > v0
            p1 += other > v1
            p2 += other > v2
            p3 += other > v3
        row[p0] = v0
        row[p1] = v1
        row[p2] = v2
        row[p3] = v3
    for i in range(whole, n):
        value = values[i]
        place = first
        for j in range(n):
            place += values[j] > value
        row[place] = value
    # Equal values were written to one place and left zeros behind it.
    for k in range(first + 1, first + n):
        if row[k] == 0.0:
            row[k] = row[k - 1]


@jit(fastmath=True)
def _interactions(x, y, z, i, start, stop, product, values, n):
    """Append the interactions of atom i with atoms start..stop behind the first n values."""
    for j in range(start, stop):
        dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
        values[n + j - start] = product / math.sqrt(dx * dx + dy * dy + dz * dz)
    return n + stop - start


@jit
def _group_atoms(kinds, positions, first, last, bounds, x, y, z):
    """Copy coordinates, grouped by element; those of element e fill bounds[e]..bounds[e + 1]."""
    bounds[:] = 0
    for atom in range(first, last):
        bounds[kinds[atom] + 1] += 1
    for e in range(1, len(bounds)):
        bounds[e] += bounds[e - 1]
    # While atoms are placed, bounds[e] is the next free place of element e: at the end it has
    # become the first place of the next element, and moves up by one.
    for atom in range(first, last):
        place = bounds[kinds[atom]]
        x[place], y[place], z[place] = positions[atom, 0], positions[atom, 1], positions[atom, 2]
        bounds[kinds[atom]] = place + 1
    for e in range(len(bounds) - 1, 0, -1):
        bounds[e] = bounds[e - 1]
    bounds[0] = 0


@jit
def fill_bags(
    kinds,
    positions,
    offsets,
    charges,
    diagonal,
    nuclear_starts,
    pair_starts,
    out,
    start,
    stop,
    largest,
    fullest,
):
    """Write the bags of molecules start..stop.

    ``kinds`` numbers the elements; ``charges`` and ``diagonal`` (their Z and 0.5 Z^2.4),
    ``nuclear_starts`` and ``pair_starts`` (first columns of the bags) are indexed by them.
    ``largest`` is the number of atoms of the largest molecule, ``fullest`` the size of the largest
    bag.
    """
    n_kinds = len(charges)
    x, y, z = np.empty(largest), np.empty(largest), np.empty(largest)
    values = np.empty(fullest)
    bounds = np.empty(n_kinds + 1, dtype=np.int64)
    for molecule in range(start, stop):
        row = out[molecule]
        _group_atoms(kinds, positions, offsets[molecule], offsets[molecule + 1], bounds, x, y, z)
        for a in range(n_kinds):
            for i in range(bounds[a + 1] - bounds[a]):
                row[nuclear_starts[a] + i] = diagonal[a]
            for b in range(a, n_kinds):
                n = 0
                product = charges[a] * charges[b]
                for i in range(bounds[a], bounds[a + 1]):
                    first = i + 1 if a == b else bounds[b]
                    n = _interactions(x, y, z, i, first, bounds[b + 1], product, values, n)
                _sort_into(values, n, row, pair_starts[a, b])
