"""Atoms of a batch in groups of one element and one pattern of zeros, for kernels between atoms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from kernchem.environments import Environments
from kernchem.kernels.features import Matrix

__all__ = [
    "AtomGroup",
    "atom_groups",
    "column_tiles",
    "kept_groups",
    "on_all_columns",
    "on_shared_columns",
    "row_panels",
]

_Rows = npt.NDArray[np.int64]

# A number that is copied takes as long as so many that go through a matrix product.
_COPY_COST = 16


@dataclass(frozen=True)
class AtomGroup:
    """Atoms of one element that have features in the same columns, in the order of structures.

    Attributes
    ----------
    element : int
        Atomic number.
    atoms : array (m,)
        Their rows in the batch, ascending.
    owners : array (m,)
        Their structures.
    columns : array (c,)
        Features that may differ from zero, ascending.
    values : array (m, c)
        These features.
    norms : array (m,)
        Squared norms of the features.
    """

    element: int
    atoms: _Rows
    owners: _Rows
    columns: _Rows
    values: Matrix
    norms: Matrix

    def before(self, structure: int) -> int:
        """Return the number of its atoms that belong to structures before this one."""
        return int(np.searchsorted(self.owners, structure))

    def of_structures(self, start: int, stop: int) -> AtomGroup:
        """Return its atoms that belong to structures ``start`` to ``stop - 1``."""
        part = slice(self.before(start), self.before(stop))
        return AtomGroup(
            self.element,
            self.atoms[part],
            self.owners[part],
            self.columns,
            self.values[part],
            self.norms[part],
        )


def atom_groups(batch: Environments) -> list[AtomGroup]:
    """Return the atoms of a batch in groups, by element and block of features.

    Columns in which all atoms of a group are zero are left out.
    """
    owners = np.repeat(np.arange(len(batch)), batch.sizes)
    groups = []
    for block in batch.nonzero_blocks():
        numbers = batch.numbers[block.atoms]
        for element in np.unique(numbers):
            rows = np.flatnonzero(numbers == element)
            rows = rows[np.argsort(block.atoms[rows], kind="stable")]
            values = block.values[rows]
            used = np.flatnonzero((values != 0.0).any(axis=0))
            # At least one column: atoms alone have none, and BLAS no products of nothing.
            if len(used) == 0:
                used, values = np.zeros(1, dtype=np.int64), np.zeros((len(rows), 1))
            elif len(used) < values.shape[1]:
                values = np.ascontiguousarray(values[:, used])
            columns = block.columns[used] if len(block.columns) else used
            atoms = block.atoms[rows]
            groups.append(
                AtomGroup(
                    int(element),
                    atoms,
                    owners[atoms],
                    columns,
                    values,
                    np.einsum("ij,ij->i", values, values),
                )
            )
    return sorted(groups, key=lambda group: (group.element, group.columns.tobytes()))


# Batches are immutable. Groups end with their batch, and are no part of its copies and files.
_KEPT: WeakKeyDictionary[Environments, list[AtomGroup]] = WeakKeyDictionary()


def kept_groups(batch: Environments) -> list[AtomGroup]:
    """Return :func:`atom_groups` of a batch that others will be compared with again.

    They are kept as long as the batch: its features once more, in the columns in use.
    """
    groups = _KEPT.get(batch)
    if groups is None:
        groups = _KEPT[batch] = atom_groups(batch)
    return groups


def on_shared_columns(left: AtomGroup, right: AtomGroup) -> tuple[Matrix, Matrix]:
    """Return the features of two groups in the columns where both may differ from zero.

    Also in those between them, where that saves more than it costs: then the features of the group
    with more atoms are a view.
    """
    if np.array_equal(left.columns, right.columns):
        return left.values, right.values
    if len(left.atoms) > len(right.atoms):
        few, many = on_shared_columns(right, left)
        return many, few
    _, first, second = np.intersect1d(
        left.columns, right.columns, assume_unique=True, return_indices=True
    )
    shared = np.ascontiguousarray(left.values[:, first])
    if len(second) == 0:
        return shared, right.values[:, :0]
    begin, end = second[0], second[-1] + 1
    between = end - begin - len(second)
    if len(left.atoms) * between > _COPY_COST * len(second):
        return shared, np.ascontiguousarray(right.values[:, second])
    spread = np.zeros((len(left.atoms), end - begin))
    spread[:, second - begin] = shared
    return spread, right.values[:, begin:end]


def on_all_columns(groups: tuple[AtomGroup, ...], n_features: int | None) -> list[Matrix]:
    """Return the features of groups in the columns where any of them may differ from zero.

    With ``n_features``, in all of so many columns.
    """
    if n_features is None:
        columns = np.unique(np.concatenate([group.columns for group in groups]))
    else:
        columns = np.arange(n_features)
    found = []
    for group in groups:
        values = np.zeros((len(group.atoms), len(columns)))
        values[:, np.searchsorted(columns, group.columns)] = group.values
        found.append(values)
    return found


def row_panels(group: AtomGroup, n_atoms: int) -> list[tuple[int, int]]:
    """Return bounds of runs of some ``n_atoms`` atoms that never divide a structure."""
    bounds = [0]
    m = len(group.owners)
    while bounds[-1] < m:
        stop = min(bounds[-1] + n_atoms, m)
        if stop < m:
            # Back to the first atom of the structure, or on to its end if it is the only one.
            first = group.before(int(group.owners[stop]))
            last = int(np.searchsorted(group.owners, group.owners[stop], side="right"))
            stop = first if first > bounds[-1] else last
        bounds.append(stop)
    return list(itertools.pairwise(bounds))


def column_tiles(n_columns: int, width: int) -> Iterator[slice]:
    """Return slices of so many columns."""
    return (slice(start, min(start + width, n_columns)) for start in range(0, n_columns, width))
