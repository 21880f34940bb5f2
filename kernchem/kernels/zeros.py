"""Order of features and samples in which zeros come together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernchem.kernels.direct_jit import SEGMENT, TILE, pack_columns
from kernchem.kernels.features import Matrix
from kernchem.kernels.zeros_jit import count_zeros_before, link_features

__all__ = ["Layout"]

Counts = npt.NDArray[np.int8]
Order = npt.NDArray[np.intp]

# Bags of bonds have as many kinds of bags that are filled together. With more chains, segments are
# shorter, and each costs as much as a feature or two.
_CHAINS = 8
# About as many samples show which features are filled together.
_SAMPLES = 256


class Layout:
    """Features in segments that begin with those that are zero most often.

    Where a feature of a segment is not zero, those behind it are rarely zero: a sample has zeros
    up to some place and numbers from there on. Padding is like that: of the k-th largest element of
    a bag, and of the atoms beyond the smallest molecule.

    Parameters
    ----------
    features : ndarray (n_samples, n_features)
        Samples that decide; some of them, if they are many. Without zeros the features of a segment
        follow each other.

    Attributes
    ----------
    order : ndarray (n_features,)
        Features, one segment behind the other.
    bounds : ndarray (n_segments + 1,)
        Where in ``order`` each segment begins, and the last one ends.
    """

    def __init__(self, features: Matrix) -> None:
        n_samples, n_features = features.shape
        some = features[:: max(1, n_samples // _SAMPLES)]
        chain, place = np.empty((2, n_features), dtype=np.intp)
        n_chains = link_features((some != 0.0).view(np.uint8), _CHAINS, chain, place)
        parts: list[Order] = []
        for c in range(n_chains):
            members = np.flatnonzero(chain == c)
            members = members[np.argsort(place[members])]
            parts += np.array_split(members, -(-len(members) // SEGMENT))
        self.order = np.concatenate([part[::-1] for part in parts])
        self.bounds = np.cumsum([0] + [len(part) for part in parts])

    def sorted_samples(self, features: Matrix) -> tuple[Order, Counts]:
        """Return an order of samples that puts those with zeros in the same places side by side.

        And, in that order, how many zeros each has before its first number in each segment,
        (n_samples, n_segments).
        """
        zeros = np.empty((len(features), len(self.bounds) - 1), dtype=np.int8)
        count_zeros_before(features, self.order, self.bounds, zeros)
        samples = np.lexsort(zeros.T[::-1])
        return samples, zeros[samples]

    def packed(self, features: Matrix, samples: Order, zeros: Counts) -> tuple[Matrix, Counts]:
        """Return tiles of samples, and how many zeros all of a tile have before their numbers.

        The first (n_tiles * n_features, TILE), the second (n_tiles, n_segments).
        """
        starts = np.arange(0, len(samples), TILE)
        packed = np.empty((len(starts) * features.shape[1], TILE))
        pack_columns(features, samples, self.order, packed)
        return packed, np.minimum.reduceat(zeros, starts) if len(starts) else zeros
