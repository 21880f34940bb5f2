"""Compiled filler of distributions of torsions."""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit
from kernchem.descriptors.distances_jit import squared_distance

__all__ = ["fill_torsions", "mark_types"]


@jit
def _reduced_length(kinds, positions, radii, i, j):
    """Return the distance of two atoms over the sum of their radii."""
    return math.sqrt(squared_distance(positions, i, j)) / (radii[kinds[i]] + radii[kinds[j]])


@jit
def _find_bonds(kinds, positions, radii, far, first, n, ends):
    """Return the bonded atoms of each of the n atoms from ``first`` on, behind each other.

    Those of the k-th atom are ``[ends[k]:ends[k + 1]]`` of the array.
    """
    ends[0] = 0
    for i in range(n):
        ends[i + 1] = ends[i]
        for j in range(n):
            if i != j and _reduced_length(kinds, positions, radii, first + i, first + j) < far:
                ends[i + 1] += 1
    partners = np.empty(ends[n], dtype=np.int64)
    bond = 0
    for i in range(n):
        for j in range(n):
            if i != j and _reduced_length(kinds, positions, radii, first + i, first + j) < far:
                partners[bond] = first + j
                bond += 1
    return partners


@jit
def _measure_bonds(
    kinds, positions, radii, near, far, grid, sigma, first, n, ends, partners, directions, lengths
):
    """Write unit vectors of the bonds, and their weights times Gaussians of reduced lengths."""
    for i in range(n):
        for bond in range(ends[i], ends[i + 1]):
            atom, partner = first + i, partners[bond]
            reduced = _reduced_length(kinds, positions, radii, atom, partner)
            distance = reduced * (radii[kinds[atom]] + radii[kinds[partner]])
            for axis in range(3):
                gap = positions[partner, axis] - positions[atom, axis]
                directions[bond, axis] = gap / max(distance, 1e-300)
            t = min(max((far - reduced) / (far - near), 0.0), 1.0)
            weight = t * t * (3.0 - 2.0 * t)
            for g in range(len(grid)):
                x = (reduced - grid[g]) / sigma
                lengths[bond, g] = weight * exp(-0.5 * x * x)
            # The bond whatever its length.
            lengths[bond, len(grid)] = weight


@jit
def _add_chain(left, middle, right, n_left, n_right, c, sines, share, sums):
    """Add one chain to its block of columns, by the lengths of the three bonds.

    ``c`` is the cosine of the torsion times the sines of both angles, ``sines`` those sines squared
    and multiplied.
    """
    n = len(middle) - 1
    second = 2.0 * c * c - sines
    column = 0
    for a in range(n_left):
        w_left = share * (left[a] if n_left > 1 else left[n])
        for m in range(n):
            w_middle = w_left * middle[m]
            for b in range(n_right):
                w = w_middle * (right[b] if n_right > 1 else right[n])
                sums[column] += w
                sums[column + 1] += w * c
                sums[column + 2] += w * second
                column += 3


@jit
def mark_types(kinds, positions, offsets, radii, far, marks):
    """Set ``marks[a, b, c, d]`` for the kinds of all chains of three bonds, in both directions."""
    for molecule in range(len(offsets) - 1):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        ends = np.empty(n + 1, dtype=np.int64)
        partners = _find_bonds(kinds, positions, radii, far, first, n, ends)
        for j in range(n):
            for middle in range(ends[j], ends[j + 1]):
                k = partners[middle]
                for i in partners[ends[j] : ends[j + 1]]:
                    for last in partners[ends[k - first] : ends[k - first + 1]]:
                        if i not in (k, last) and last != first + j:
                            marks[kinds[i], kinds[first + j], kinds[k], kinds[last]] = True


@jit
def fill_torsions(
    kinds, is_plain, positions, offsets, radii, near, far, grid, sigma, columns, out, start, stop
):
    """Add the chains of molecules start..stop to their rows of ``out``.

    ``kinds`` numbers the elements, by which ``radii`` (angstrom) and ``is_plain`` (a bond to it at
    the end of a chain counts whatever its length) are indexed. ``columns[a, b, c, d]`` is the first
    column of a type of chain in its one direction, and -1 elsewhere. Bonds fade out between the
    reduced lengths ``near`` and ``far``.
    """
    n_grid = len(grid)
    for molecule in range(start, stop):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        ends = np.empty(n + 1, dtype=np.int64)
        partners = _find_bonds(kinds, positions, radii, far, first, n, ends)
        directions = np.empty((len(partners), 3))
        lengths = np.empty((len(partners), n_grid + 1))
        _measure_bonds(
            kinds, positions, radii, near, far, grid, sigma, first, n, ends, partners, directions,
            lengths,
        )  # fmt: skip
        for j in range(n):
            for middle in range(ends[j], ends[j + 1]):
                k = partners[middle] - first
                axis = directions[middle]
                for left in range(ends[j], ends[j + 1]):
                    i = partners[left] - first
                    if i == k:
                        continue
                    u = directions[left]
                    u_axis = u[0] * axis[0] + u[1] * axis[1] + u[2] * axis[2]
                    for right in range(ends[k], ends[k + 1]):
                        last = partners[right] - first
                        if last in (i, j):
                            continue
                        a, d = kinds[first + i], kinds[first + last]
                        b, c = kinds[first + j], kinds[first + k]
                        column = columns[a, b, c, d]
                        if column < 0:
                            continue
                        v = directions[right]
                        v_axis = v[0] * axis[0] + v[1] * axis[1] + v[2] * axis[2]
                        cosine = u[0] * v[0] + u[1] * v[1] + u[2] * v[2] - u_axis * v_axis
                        sines = (1.0 - u_axis * u_axis) * (1.0 - v_axis * v_axis)
                        # A chain of one type in both directions comes by twice.
                        share = 0.5 if a == d and b == c else 1.0
                        n_left = 1 if is_plain[a] else n_grid
                        n_right = 1 if is_plain[d] else n_grid
                        width = 3 * n_left * n_grid * n_right
                        _add_chain(
                            lengths[left], lengths[middle], lengths[right], n_left, n_right,
                            cosine, sines, share, out[molecule, column : column + width],
                        )  # fmt: skip
