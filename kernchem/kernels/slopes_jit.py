"""Compiled sums of derivatives of kernels with one width per feature."""

import numpy as np

from kernchem._numba import jit

__all__ = ["shared_sums"]


@jit(fastmath=True)
def shared_sums(features, total, squared):
    """Return the sum over pairs of ``total`` (n, n), symmetric, shared out among the features.

    A feature has its part of the squared distance, or without ``squared`` of the sum of absolute
    differences.
    """
    n, d = features.shape
    out, parts = np.zeros(d), np.empty(d)
    for i in range(n):
        for j in range(i):
            # Also where samples are so far apart that their distance is infinite.
            if total[i, j] == 0.0:
                continue
            whole = 0.0
            for k in range(d):
                difference = features[i, k] - features[j, k]
                parts[k] = difference * difference if squared else abs(difference)
                whole += parts[k]
            if whole > 0.0:
                share = 2.0 * total[i, j] / whole
                for k in range(d):
                    out[k] += share * parts[k]
    return out
