"""Compiled distances between atoms."""

from kernchem._numba import jit

__all__ = ["squared_distance"]


@jit
def squared_distance(positions, i, j):
    """Return the squared distance of atoms i and j."""
    dx = positions[i, 0] - positions[j, 0]
    dy = positions[i, 1] - positions[j, 1]
    dz = positions[i, 2] - positions[j, 2]
    return dx * dx + dy * dy + dz * dz
