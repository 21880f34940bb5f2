"""Arrays that rows are appended to again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Room"]

_Array = npt.NDArray[np.float64]

#: Room for further rows: relative to those there are, and at least so many.
_SPARE, _LEAST = 0.25, 128


class Room:
    """Memory with room behind the rows that are there, so that few appended rows cost no copy.

    What it returns are views of its memory. Rows are only ever written behind those that any view
    shows, so views stay as they are; a copy of this object, or one that is loaded, is empty.
    """

    def __init__(self) -> None:
        self._memory: _Array = np.empty((0, 0))
        self._used = 0

    def joined(self, rows: _Array, more: _Array) -> _Array:
        """Return rows and more rows as one array.

        Parameters
        ----------
        rows : array (n, d)
            Copied, unless this object returned them last.
        more : array (b, d)
            Copied.

        Returns
        -------
        array (n + b, d)
            Contiguous.
        """
        n = len(rows) + len(more)
        newest = self._memory[: self._used]
        same = rows.shape == newest.shape and rows.ctypes.data == newest.ctypes.data
        if not same or n > len(self._memory):
            room = n + max(int(_SPARE * n), _LEAST)
            self._memory = np.empty((room, rows.shape[1]), dtype=rows.dtype)
            self._memory[: len(rows)] = rows
        self._memory[len(rows) : n] = more
        self._used = n
        return self._memory[:n]

    def __reduce__(self) -> Any:
        return Room, ()
