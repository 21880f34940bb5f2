"""Property values of several structures, put into one array."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.errors import PropertyError

__all__ = [
    "TAKEN_NAMES",
    "as_column",
    "atom_column",
    "check_names",
    "frozen",
    "objects",
    "rectangular",
    "value_column",
]

#: Arrays of :class:`ase.Atoms` that a property per atom would overwrite.
TAKEN_NAMES = frozenset({"numbers", "positions"})


def check_names(atom_properties: Iterable[str]) -> None:
    """Raise if a property per atom would pass for atomic numbers or coordinates."""
    taken = TAKEN_NAMES.intersection(atom_properties)
    if taken:
        raise PropertyError(
            f"a property per atom is called {min(taken)!r}, as the atoms' own are; rename it"
        )


def value_column(values: list[Any]) -> npt.NDArray[Any]:
    """Return one value per structure as an array; None marks a structure that has none."""
    present = [value for value in values if value is not None]
    if not present:
        return objects(values)
    if all(isinstance(value, str) for value in present):
        return np.array(["" if value is None else value for value in values])
    try:
        arrays = [np.asarray(value) for value in present]
    except ValueError:  # nested lists of different lengths
        return objects(values)
    same = len({array.shape for array in arrays}) == 1
    if not same or any(array.dtype.kind not in "biuf" for array in arrays):
        return objects(values)
    if len(present) < len(values):
        hole = np.full(arrays[0].shape, np.nan)
        return np.array([hole if value is None else value for value in values], dtype=float)
    return np.array(values)


def atom_column(blocks: list[npt.NDArray[Any] | None], sizes: list[int]) -> npt.NDArray[Any] | None:
    """Return values per atom as one array; None if the blocks do not fit together."""
    present = [block for block in blocks if block is not None]
    kinds = {block.dtype.kind for block in present}
    mixed = len(kinds) > 1 and not kinds <= set("biuf")
    if mixed or len({block.shape[1:] for block in present}) != 1:
        return None
    if len(present) == len(blocks):
        return np.concatenate(present)
    if present[0].dtype.kind not in "biuf":
        return None
    trailing = present[0].shape[1:]
    filled = [
        np.full((size, *trailing), np.nan) if block is None else block
        for block, size in zip(blocks, sizes, strict=True)
    ]
    return np.concatenate(filled)


def objects(values: list[Any]) -> npt.NDArray[np.object_]:
    """Return any values as an array of objects."""
    column = np.empty(len(values), dtype=object)
    for k, value in enumerate(values):
        column[k] = value
    return column


def rectangular(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return a property as an array; raise if its rows have different lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise PropertyError(
            f"property {name!r} is no rectangular array ({error}); pass rows of different lengths "
            "as an array of objects"
        ) from None


def as_column(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return a copy of a property, down to the arrays and lists that it holds as objects."""
    column = np.array(rectangular(values, name))
    if column.dtype == object:
        column = objects([_owned(value) for value in column.flat]).reshape(column.shape)
    return column if column.ndim else column[None]


def _owned(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return frozen(value.copy())
    return deepcopy(value) if isinstance(value, list | dict | set) else value


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array, read-only from now on."""
    array.flags.writeable = False
    return array
