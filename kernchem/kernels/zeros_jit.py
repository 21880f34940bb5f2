"""Compiled search for features that are zero together, and for where samples begin to differ."""

import numpy as np

from kernchem._numba import jit

__all__ = ["count_zeros_before", "link_features", "take"]


@jit
def link_features(filled, n_chains, chain, place):
    """Link features into chains along which each is filled in few samples that its last one is not.

    ``filled`` (n_samples, n_features) is 1 where a feature is not zero. Features are taken from the
    one that is filled most often to the one least often; each is linked to the chain whose last
    feature holds it with the fewest samples to spare, or else begins one, or else, with
    ``n_chains`` of them, joins where the fewest samples stick out. ``chain`` and ``place``
    (n_features,) receive the number of its chain and its place there.

    Returns
    -------
    int
        Number of chains.
    """
    n_samples, n_features = filled.shape
    counts = np.zeros(n_features, dtype=np.int64)
    for i in range(n_samples):
        for p in range(n_features):
            counts[p] += filled[i, p]
    last, length = np.zeros(n_chains, dtype=np.int64), np.zeros(n_chains, dtype=np.int64)
    columns = np.ascontiguousarray(filled.T)
    found = 0
    for p in np.argsort(-counts, kind="mergesort"):
        best, fewest, holds = 0, n_samples + 1, False
        for c in range(found):
            outside = 0
            if counts[last[c]] < n_samples:
                for i in range(n_samples):
                    outside += columns[p, i] & ~columns[last[c], i] & 1
            spare = outside or counts[last[c]] - counts[p]
            if (outside == 0 and not holds) or (holds == (outside == 0) and spare < fewest):
                best, fewest, holds = c, spare, outside == 0
        if not holds and found < n_chains:
            best = found
            found += 1
        chain[p], place[p] = best, length[best]
        last[best] = p
        length[best] += 1
    return found


@jit
def take(values, order, out):
    """Write ``values[order]`` to ``out``."""
    for p in range(len(order)):
        out[p] = values[order[p]]


@jit
def count_zeros_before(features, order, bounds, counts):
    """Count how many features of each segment are zero before the first that is not.

    Segment s of the features (n_samples, n_features) holds those that ``order`` lists from
    ``bounds[s]`` on; ``counts`` (n_samples, n_segments) receives the number.
    """
    filled = np.empty(len(order), dtype=np.bool_)
    for i in range(features.shape[0]):
        values = features[i]
        for p in range(len(order)):
            filled[p] = values[p] != 0.0
        for s in range(len(bounds) - 1):
            p, end = bounds[s], bounds[s + 1]
            while p < end and not filled[order[p]]:
                p += 1
            counts[i, s] = p - bounds[s]
