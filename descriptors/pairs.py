"""Unordered pairs of elements: their order, names and numbers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernchem.elements import MAX_ATOMIC_NUMBER, symbol

__all__ = ["element_kinds", "pair_name", "pair_table", "point_names"]


def element_kinds(numbers: npt.NDArray[np.int64], elements: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return for each atom the position of its element in ``elements``.

    Parameters
    ----------
    numbers : array (n_atoms,)
        Atomic numbers, all of them among ``elements``.
    elements : sequence of int
        Atomic numbers.

    Returns
    -------
    array (n_atoms,)
        Positions, from 0 on.
    """
    kinds = np.full(MAX_ATOMIC_NUMBER + 1, -1, dtype=np.int64)
    kinds[list(elements)] = np.arange(len(elements))
    return kinds[numbers]


def pair_table(
    elements: Sequence[int],
) -> tuple[list[tuple[int, int]], npt.NDArray[np.int64]]:
    """Return the unordered pairs of elements, and the number of the pair of any two of them.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers, ascending.

    Returns
    -------
    pairs : list of (int, int)
        Positions in ``elements``, the first not behind the second.
    table : array (n_elements, n_elements)
        ``pairs[table[a, b]]`` holds ``a`` and ``b``.
    """
    n = len(elements)
    pairs = [(a, b) for a in range(n) for b in range(a, n)]
    table = np.zeros((n, n), dtype=np.int64)
    for number, (a, b) in enumerate(pairs):
        table[a, b] = table[b, a] = number
    return pairs, table


def pair_name(first: int, second: int) -> str:
    """Return the name of a pair of atomic numbers, symbols in alphabetical order, e.g. ``C-H``."""
    return "-".join(sorted((symbol(first), symbol(second))))


def point_names(points: npt.NDArray[np.float64], style: str, n_digits: int) -> list[str]:
    """Return the points of a grid as texts, no two of which are the same.

    Parameters
    ----------
    points : array (n,)
        Different numbers.
    style : {"f", "g"}
        Whether digits count behind the point or in all.
    n_digits : int
        Number of digits, or as many more as tell the points apart.
    """
    names = [f"{point:.{n_digits}{style}}" for point in points]
    return names if len(set(names)) == len(names) else point_names(points, style, n_digits + 1)
