"""A random sample of rows that come in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Reservoir"]


class Reservoir:
    """Uniform random sample without repetition of the rows of several batches.

    Each row draws a number and those with the smallest stay: in one pass, in the order of the
    rows, and whatever the size of the batches.

    Parameters
    ----------
    size : int or None
        Number of rows to keep; None keeps all.
    seed : int
        Seed of the numbers.

    Attributes
    ----------
    n_held : int
        Rows that are in memory at present, up to twice ``size``.
    """

    def __init__(self, size: int | None, seed: int) -> None:
        self.size = size
        self.n_held = 0
        self._rng = np.random.default_rng(seed)
        self._limit = np.inf
        self._pieces: list[tuple[Any, ...]] = []

    def add(self, eligible: npt.NDArray[np.bool_], *columns: Any) -> None:
        """Offer the rows of a batch.

        Parameters
        ----------
        eligible : array (n,) of bool
            Rows that may be kept.
        *columns
            What is kept of them: anything of n rows that an array of row numbers indexes.
        """
        drawn = self._rng.random(len(eligible))
        rows = np.flatnonzero(eligible & (drawn < self._limit))
        if len(rows):
            self._pieces.append((drawn[rows], *(column[rows] for column in columns)))
            self.n_held += len(rows)
        if self.size is not None and self.n_held > 2 * self.size:
            self._prune(self.size)

    def pieces(self) -> list[tuple[Any, ...]]:
        """Return the columns of the sample in pieces, in the order of the rows."""
        if self.size is not None and self.n_held > self.size:
            self._prune(self.size)
        return [piece[1:] for piece in self._pieces]

    def _prune(self, size: int) -> None:
        drawn = np.concatenate([piece[0] for piece in self._pieces])
        self._limit = float(np.partition(drawn, size)[size])
        pieces, self._pieces, self.n_held = self._pieces, [], 0
        for piece in pieces:
            rows = np.flatnonzero(piece[0] < self._limit)
            if len(rows):
                self._pieces.append(tuple(column[rows] for column in piece))
                self.n_held += len(rows)
