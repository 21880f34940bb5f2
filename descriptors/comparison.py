"""Which structures are the same, judged by features that do not depend on the order of atoms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from kernchem.structures import Structures

__all__ = ["groups_within", "matching_cost", "same_composition"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

# The tree rounds in its own way; what it finds is measured again.
_WIDER = 1.0 + 1e-9


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

    Notes
    -----
    Cost O(n log n) where few structures are near one another, or most are in few groups; up to
    O(n^2) where the tolerance is about the distance of most of them.
    """
    # A structure that joins no earlier group begins one, and takes in all later ones that are near
    # and still alone: each ends up in the first group that it fits.
    own = points[members]
    tree = cKDTree(own)
    is_alone = np.ones(len(own), dtype=bool)
    groups: list[list[int]] = []
    for k in range(len(own)):
        if not is_alone[k]:
            continue
        near: _Rows = np.array(tree.query_ball_point(own[k], _WIDER * tolerance), dtype=np.int64)
        near = np.sort(near[(near > k) & is_alone[near]])
        near = near[np.linalg.norm(own[near] - own[k], axis=1) <= tolerance]
        group = [int(members[k])]
        for j in near.tolist():
            if is_near is None or is_near(group[0], int(members[j])):
                is_alone[j] = False
                group.append(int(members[j]))
        groups.append(group)
    return groups
