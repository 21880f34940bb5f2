"""Arrays of a model on their way into a file and out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.errors import ModelFileError
from kernchem.model_files.archive import Archive

__all__ = ["Input", "Output"]


class Output:
    """Arrays on their way into a file, by the names of their members.

    Parameters
    ----------
    arrays : dict of str to array
        Where they are collected.
    prefix : str
        What the names of this part of the model begin with.
    """

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], prefix: str = "") -> None:
        self.arrays, self._prefix = arrays, prefix

    def part(self, name: str) -> Output:
        """Return the output of a part of the model."""
        return Output(self.arrays, f"{self._prefix}{name}.")

    def put(self, **arrays: npt.NDArray[Any]) -> None:
        """Keep arrays under these names."""
        self.arrays.update({f"{self._prefix}{name}.npy": array for name, array in arrays.items()})


class Input:
    """Arrays on their way out of a file; the counterpart of :class:`Output`.

    Parameters
    ----------
    archive : Archive
        The open file.
    prefix : str
        What the names of this part of the model begin with.
    """

    def __init__(self, archive: Archive, prefix: str = "") -> None:
        self._archive, self._prefix = archive, prefix

    def part(self, name: str) -> Input:
        """Return the input of a part of the model."""
        return Input(self._archive, f"{self._prefix}{name}.")

    def has(self, name: str) -> bool:
        """Return whether there is an array of this name that nobody asked for yet."""
        return self._archive.has(f"{self._prefix}{name}.npy")

    def floats(self, name: str, *shape: int | None, finite: bool = True) -> npt.NDArray[np.float64]:
        """Return an array of float64; None stands for a length that is not known."""
        values = self._array(name, np.float64, shape)
        if finite and not np.isfinite(values).all():
            raise ModelFileError(f"{name} holds numbers that are not finite")
        return values

    def whole_numbers(self, name: str, length: int | None) -> npt.NDArray[np.int64]:
        """Return an array of int64."""
        return self._array(name, np.int64, (length,))

    def rows(
        self, name: str, length: int | None, below: int, n_columns: int | None = None
    ) -> npt.NDArray[np.int64]:
        """Return an array of row numbers from 0 up to ``below``, which is not included.

        With ``n_columns``, of two axes.
        """
        shape = (length,) if n_columns is None else (length, n_columns)
        values = self._array(name, np.int64, shape)
        if values.min() < 0 or values.max() >= below:
            raise ModelFileError(f"{name} holds numbers of rows that do not exist")
        return values

    def _array(
        self, name: str, kind: type[np.generic], shape: tuple[int | None, ...]
    ) -> npt.NDArray[Any]:
        values = self._archive.array(f"{self._prefix}{name}.npy", kind, len(shape))
        if any(n is not None and n != m for n, m in zip(shape, values.shape, strict=True)):
            raise ModelFileError(f"{name} has the shape {values.shape}; expected {shape}")
        return values
