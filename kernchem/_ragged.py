"""What batches of structures have in common: items that own runs of rows in arrays over atoms."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

from kernchem._columns import objects
from kernchem.elements import MAX_ATOMIC_NUMBER
from kernchem.errors import StructureError, UnknownElementError

__all__ = ["Ragged"]

_Item = TypeVar("_Item")


class Ragged(Sequence[_Item]):
    """Immutable batch of structures whose atoms lie behind each other in flat arrays.

    Structure ``k`` owns the rows ``offsets[k]:offsets[k + 1]``. A subclass implements the two hooks
    and says in :attr:`_not_numbers` what to do where an array of numbers is asked for. An item is a
    scalar in NumPy's eyes: it has no length, and ``==`` gives one truth value.
    """

    #: What else than numbers selects structures, for errors.
    _selectors: str = ""
    #: Why the batch is no array of numbers, and what to do.
    _not_numbers: str

    numbers: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @abstractmethod
    def _selection(
        self,
        rows: npt.NDArray[np.int64],
        atoms: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> Self:
        """Return the structures of these rows, which own these atoms, with their new offsets."""

    @abstractmethod
    def _single(self, row: int, atoms: slice) -> _Item:
        """Return the structure of this row, which owns these atoms."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int]:
        """Number of structures, as a shape."""
        return (len(self),)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of atoms of each structure, array (n,)."""
        return np.diff(self.offsets)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(int(number) for number in np.unique(self.numbers))

    @overload
    def __getitem__(self, key: int) -> _Item: ...
    @overload
    def __getitem__(
        self, key: slice | Sequence[int] | npt.NDArray[Any] | tuple[Any, ...]
    ) -> Self: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):
            if len(key) != 2 or key[1] is not Ellipsis:
                raise IndexError(f"structures have one axis; select several by a list: {[*key]}")
            key = key[0]
        if isinstance(key, slice):
            return self._take(np.arange(len(self))[key])
        try:
            index = operator.index(key)
        except TypeError:
            return self._take(self._rows(key))
        return self._item(index)

    def __iter__(self) -> Iterator[_Item]:
        return (self._item(index) for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.object_]:
        if dtype is not None and np.dtype(dtype) != np.dtype(object):
            raise StructureError(self._not_numbers)
        return objects(list(self))

    def _rows(self, key: Any) -> npt.NDArray[np.int64]:
        rows = np.asarray(key)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(
                    f"a mask of shape {rows.shape} cannot select from {len(self)} structures"
                )
            return np.flatnonzero(rows)
        if rows.size == 0:
            return np.zeros(0, dtype=np.int64)
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise IndexError(
                "structures are selected by a number, a slice, a mask or a list of numbers"
                f"{self._selectors}; got {key!r}"
            )
        n = len(self)
        if rows.min() < -n or rows.max() >= n:
            wrong = rows.max() if rows.max() >= n else rows.min()
            raise IndexError(f"index {wrong} is out of range for {n} structures")
        return rows.astype(np.int64) % n

    def _take(self, rows: npt.NDArray[np.int64]) -> Self:
        starts, sizes = self.offsets[rows], self.sizes[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        atoms = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)
        return self._selection(rows, atoms, offsets)

    def _item(self, index: int) -> _Item:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of range for {n} structures")
        index %= n
        return self._single(index, slice(self.offsets[index], self.offsets[index + 1]))

    def _check_offsets(self) -> None:
        """Raise unless the offsets are those of structures with atoms."""
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[0] != 0:
            raise StructureError("offsets must be a 1-D array that starts with 0")
        empty = np.flatnonzero(np.diff(self.offsets) <= 0)
        if len(empty):
            raise StructureError(
                f"structure {int(empty[0])} has no atoms; drop it before making the batch"
            )

    def _check_numbers(self) -> None:
        """Raise if an atomic number is that of no element."""
        bad = np.flatnonzero((self.numbers < 1) | (self.numbers > MAX_ATOMIC_NUMBER))
        if len(bad):
            k, i = self._locate(bad[0])
            raise UnknownElementError(
                f"structure {k}: atom {i} has atomic number {self.numbers[bad[0]]}, which is no "
                f"element; use 1 (H) to {MAX_ATOMIC_NUMBER}"
            )

    def _locate(self, atom: np.int64) -> tuple[int, int]:
        """Return the structure that owns a row, and the atom's number within it."""
        k = int(np.searchsorted(self.offsets, atom, side="right")) - 1
        return k, int(atom - self.offsets[k])
