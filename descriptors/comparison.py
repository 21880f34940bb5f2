"""Which structures are the same, judged by features that do not depend on the order of atoms."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kernchem.structures import Structures

__all__ = ["groups_within", "matching_cost", "same_composition"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


def matching_cost(first: _Array, second: _Array) -> float:
    """Return the smallest sum of squared distances between atoms matched one to one.

    Parameters
    ----------
    first : array (n, n_features)
        Features of the atoms of one structure.
    second : array (m, n_features)
        Those of another one; features of zero stand in for the atoms that the smaller one lacks.

    Returns
    -------
    float
        Cost O(max(n, m)^3).
    """
    small, large = (first, second) if len(first) <= len(second) else (second, first)
    squares = cdist(small, large, "sqeuclidean")
    alone = np.einsum("ij,ij->i", large, large)
    rows, columns = linear_sum_assignment(squares - alone)
    unmatched = np.delete(alone, columns)
    return float(squares[rows, columns].sum() + unmatched.sum())


def same_composition(structures: Structures) -> list[_Rows]:
    """Return the numbers of the structures of each composition, ascending."""
    elements = np.array(structures.elements, dtype=np.int64)
    owners = np.repeat(np.arange(len(structures)), structures.sizes)
    counts = np.zeros((len(structures), len(elements)), dtype=np.int64)
    np.add.at(counts, (owners, np.searchsorted(elements, structures.numbers)), 1)
    _, kinds, sizes = np.unique(counts, axis=0, return_inverse=True, return_counts=True)
    return np.split(np.argsort(kinds.ravel(), kind="stable"), np.cumsum(sizes)[:-1])


def groups_within(
    members: _Rows,
    points: _Array,
    tolerance: float,
    is_near: Callable[[int, int], bool] | None = None,
) -> list[list[int]]:
    """Group structures around the first one of each group.

    Parameters
    ----------
    members : array (k,)
        Numbers of the structures, ascending.
    points : array (n, n_features)
        Points of all structures, whose Euclidean distance is that of two structures, or not above
        it if ``is_near`` decides.
    tolerance : float
        Largest distance from the first structure of a group.
    is_near : callable, optional
        Whether two structures are within the tolerance, asked where their points are.

    Returns
    -------
    list of list of int
        Numbers of the structures, each in the first group that it fits.
    """
    # First structures that are near in one column are looked up by bisection: of these few the
    # other columns are compared. The column is the one that tells most of them apart.
    own = points[members]
    column = own[:, np.argmax(np.ptp(own, axis=0))]
    keys: list[float] = []
    order: list[int] = []
    leaders: list[int] = []
    groups: list[list[int]] = []
    for k, key in enumerate(column.tolist()):
        low = bisect.bisect_left(keys, key - tolerance)
        high = bisect.bisect_right(keys, key + tolerance)
        candidates = sorted(order[low:high])
        gaps = np.linalg.norm(own[[leaders[group] for group in candidates]] - own[k], axis=1)
        for group, gap in zip(candidates, gaps, strict=True):
            near = gap <= tolerance
            if near and (is_near is None or is_near(groups[group][0], int(members[k]))):
                groups[group].append(int(members[k]))
                break
        else:
            place = bisect.bisect_left(keys, key)
            keys.insert(place, key)
            order.insert(place, len(groups))
            leaders.append(k)
            groups.append([int(members[k])])
    return groups
