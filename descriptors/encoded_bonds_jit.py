"""Compiled filler of encoded bonds."""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit
from kernchem.descriptors.distances_jit import squared_distance

__all__ = ["fill_encoded_bonds"]

# Beyond this many widths a Gaussian is below 1e-17: exp(-8.9^2 / 2) = 6e-18.
_REACH = 8.9


@jit
def _is_bond(kinds, positions, radii, bond_factor, i, j):
    limit = bond_factor * (radii[kinds[i]] + radii[kinds[j]])
    return squared_distance(positions, i, j) < limit * limit


@jit
def _list_bonds(kinds, positions, first, n, radii, bond_factor, ends, partners):
    """List the bonded atoms of each atom behind each other, as numbers within the molecule.

    Those of atom i are ``partners[ends[i]:ends[i + 1]]``; the array is returned, a longer one if
    they do not fit.
    """
    for i in range(n + 1):
        ends[i] = 0
    for i in range(n):
        for j in range(i):
            if _is_bond(kinds, positions, radii, bond_factor, first + i, first + j):
                ends[i + 1] += 1
                ends[j + 1] += 1
    for i in range(n):
        ends[i + 1] += ends[i]
    if ends[n] > len(partners):
        partners = np.empty(2 * ends[n], dtype=np.int64)
    # While partners are placed, ends[i] is the next free place of atom i, and in the end the first
    # place of atom i + 1.
    for i in range(n):
        for j in range(i):
            if _is_bond(kinds, positions, radii, bond_factor, first + i, first + j):
                partners[ends[i]] = j
                ends[i] += 1
                partners[ends[j]] = i
                ends[j] += 1
    for i in range(n, 0, -1):
        ends[i] = ends[i - 1]
    ends[0] = 0
    return partners


@jit
def _find_near(source, max_bonds, ends, partners, depth, queue):
    """Write the atoms at most ``max_bonds`` bonds from ``source`` to ``queue``; return how many.

    Breadth first, with ``source`` itself in front. ``depth`` is -1 for all atoms before and after.
    """
    queue[0] = source
    depth[source] = 0
    n = 1
    k = 0
    while k < n and depth[queue[k]] < max_bonds:
        atom = queue[k]
        for p in range(ends[atom], ends[atom + 1]):
            if depth[partners[p]] < 0:
                depth[partners[p]] = depth[atom] + 1
                queue[n] = partners[p]
                n += 1
        k += 1
    for k in range(n):
        depth[queue[k]] = -1
    return n


@jit
def _add_gaussian(distance, sigma, grid, row, first):
    """Add a Gaussian at ``distance`` to the grid that starts at column ``first`` of ``row``."""
    n = len(grid)
    factor = -0.5 / (sigma * sigma)
    step = (grid[n - 1] - grid[0]) / (n - 1)
    # Kept within the grid while they are real numbers, as a far distance is beyond any integer.
    low = max((distance - _REACH * sigma - grid[0]) / step, 0.0)
    high = min((distance + _REACH * sigma - grid[0]) / step, n - 1.0)
    if low > n - 1.0 or high < 0.0:
        return
    begin, end = math.ceil(low), math.floor(high) + 1
    theta, sums = grid[begin:end], row[first + begin : first + end]
    for g in range(len(theta)):
        t = theta[g] - distance
        sums[g] += exp(factor * t * t)


@jit
def fill_encoded_bonds(
    kinds,
    positions,
    offsets,
    radii,
    bond_factor,
    max_bonds,
    pair_starts,
    grid,
    sigma,
    out,
    start,
    stop,
    largest,
):
    """Add the Gaussians of molecules start..stop to their rows of ``out``.

    ``kinds`` numbers the elements, by which ``radii`` (angstrom) and ``pair_starts`` (first columns
    of the pairs) are indexed; ``max_bonds`` below 0 takes all pairs of atoms; ``largest`` is the
    number of atoms of the largest molecule.
    """
    ends = np.empty(largest + 1, dtype=np.int64)
    partners = np.empty(8 * largest, dtype=np.int64)
    depth = np.full(largest, -1, dtype=np.int64)
    queue = np.arange(largest)
    for molecule in range(start, stop):
        row = out[molecule]
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        if max_bonds >= 0:
            partners = _list_bonds(kinds, positions, first, n, radii, bond_factor, ends, partners)
        for i in range(n):
            # All pairs: the queue still holds 0, 1, 2, ...
            n_near = _find_near(i, max_bonds, ends, partners, depth, queue) if max_bonds >= 0 else i
            for k in range(n_near):
                j = queue[k]
                if j < i:
                    distance = math.sqrt(squared_distance(positions, first + i, first + j))
                    column = pair_starts[kinds[first + i], kinds[first + j]]
                    _add_gaussian(distance, sigma, grid, row, column)
