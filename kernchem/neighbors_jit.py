"""Compiled pair searches on flat arrays of positions."""

import numpy as np

from kernchem._numba import jit

__all__ = ["first_contact", "first_contact_periodic"]


@jit
def first_contact(positions, offsets, threshold):
    """Return (molecule, i, j) of the first pair of atoms nearer than ``threshold``, or -1s."""
    limit = threshold * threshold
    for molecule in range(len(offsets) - 1):
        start, stop = offsets[molecule], offsets[molecule + 1]
        for i in range(start + 1, stop):
            for j in range(start, i):
                x = positions[i, 0] - positions[j, 0]
                y = positions[i, 1] - positions[j, 1]
                z = positions[i, 2] - positions[j, 2]
                if x * x + y * y + z * z < limit:
                    return molecule, j - start, i - start
    return -1, -1, -1


@jit
def first_contact_periodic(positions, offsets, cells, inverses, pbc, threshold):
    """Like :func:`first_contact`, with the nearest image along each periodic axis.

    Rounding the fractional difference finds every contact in cells whose neighbouring planes are
    twice ``threshold`` apart: its fractional components are below one half.
    """
    limit = threshold * threshold
    fraction = np.empty(3)
    for molecule in range(len(offsets) - 1):
        start, stop = offsets[molecule], offsets[molecule + 1]
        cell, inverse = cells[molecule], inverses[molecule]
        for i in range(start + 1, stop):
            for j in range(start, i):
                for c in range(3):
                    fraction[c] = 0.0
                    for e in range(3):
                        fraction[c] += (positions[i, e] - positions[j, e]) * inverse[e, c]
                    if pbc[molecule, c]:
                        fraction[c] -= np.round(fraction[c])
                squared = 0.0
                for e in range(3):
                    difference = 0.0
                    for c in range(3):
                        difference += fraction[c] * cell[c, e]
                    squared += difference * difference
                if squared < limit:
                    return molecule, j - start, i - start
    return -1, -1, -1
