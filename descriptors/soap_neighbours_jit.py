"""Compiled search for the neighbours of SOAP, and their weights."""

import math

import numpy as np

from kernchem._numba import jit
from kernchem.descriptors.distances_jit import squared_distance

__all__ = ["list_neighbours", "mark_elements"]


@jit
def mark_elements(kinds, positions, offsets, reach, start, stop, seen):
    """Mark which elements are within ``reach`` of each atom of molecules start..stop.

    ``seen`` (n_atoms, n_kinds) is false before; the atom itself counts.
    """
    limit = reach * reach
    for molecule in range(start, stop):
        for i in range(offsets[molecule], offsets[molecule + 1]):
            for j in range(offsets[molecule], offsets[molecule + 1]):
                if squared_distance(positions, i, j) <= limit:
                    seen[i, kinds[j]] = True


@jit
def _weight(distance, function, r0, c, d, m):
    """Return the weight of a neighbour: none, "poly", "pow" or "exp", by number."""
    if function == 0:
        return 1.0
    if function == 1:
        if distance > r0:
            return 0.0
        t = distance / r0
        return c * max(1.0 + (2.0 * t - 3.0) * t * t, 0.0) ** m
    if function == 2:
        return c / (d + (distance / r0) ** m)
    return c / (d + math.exp(-distance / r0))


@jit
def _neighbour_weight(distance, weighting):
    """Return the weight of a neighbour with the cosine cutoff.

    ``weighting`` holds the number of the function, r0, c, d, m, the weight of the centre (negative:
    that of the function), r_cut, and the width of the cutoff (0: none).
    """
    if distance == 0.0 and weighting[5] >= 0.0:
        return weighting[5]
    weight = _weight(
        distance, int(weighting[0]), weighting[1], weighting[2], weighting[3], weighting[4]
    )
    width = weighting[7]
    if width == 0.0:
        return weight
    t = (distance - weighting[6] + width) / width
    if t <= 0.0:
        return weight
    return 0.5 * (1.0 + math.cos(math.pi * t)) * weight if t < 1.0 else 0.0


@jit
def list_neighbours(positions, order, first, last, reach, weighting, ends, partners, vectors):
    """List the neighbours of each atom of a molecule, itself among them, behind each other.

    Those of atom ``first + i`` are ``ends[i]:ends[i + 1]``, in the order of ``order``, with the
    atom in ``partners`` and coordinates, distance and weight in ``vectors``. The last two are
    returned, longer ones if they were too short.
    """
    limit = reach * reach
    n = 0
    ends[0] = 0
    for i in range(first, last):
        if n + last - first > len(partners):
            longer = 2 * len(partners) + last - first
            old_partners, old_vectors = partners, vectors
            partners = np.empty(longer, dtype=np.int64)
            vectors = np.empty((longer, 5))
            # Assignments of slices take seconds to compile.
            for k in range(n):
                partners[k] = old_partners[k]
                for c in range(5):
                    vectors[k, c] = old_vectors[k, c]
        for k in range(first, last):
            j = order[k]
            squared = squared_distance(positions, i, j)
            if squared <= limit:
                distance = math.sqrt(squared)
                partners[n] = j
                for c in range(3):
                    vectors[n, c] = positions[j, c] - positions[i, c]
                vectors[n, 3] = distance
                vectors[n, 4] = _neighbour_weight(distance, weighting)
                n += 1
        ends[i - first + 1] = n
    return partners, vectors
