"""Slow oracles in plain Python, written from the papers' equations."""

import math

# --- kernels between rows of features -------------------------------------------------------------


def squared_euclidean(x, y):
    """|x - y|_2^2, summed exactly."""
    return math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def manhattan(x, y):
    """|x - y|_1, summed exactly."""
    return math.fsum(abs(a - b) for a, b in zip(x, y, strict=True))


def gaussian_kernel(x, y, length_scale):
    """exp(-|x - y|_2^2 / (2 l^2))."""
    return math.exp(-squared_euclidean(x, y) / (2.0 * length_scale**2))


def laplacian_kernel(x, y, length_scale):
    """exp(-|x - y|_1 / l)."""
    return math.exp(-manhattan(x, y) / length_scale)
