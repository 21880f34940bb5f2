"""Rows that are the same as others to rounding, as turned and shifted copies of molecules are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernchem.sampling.covariance import RowKernel, nearly_same

__all__ = ["Copies"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Rows to which all distances are computed, and those that are compared at a time with others.
_LANDMARKS, _CHUNK, _PANEL = 16, 256, 4096


class Copies:
    """Finds rows of the pool that are the same as given ones.

    Their squared distance in the space of the kernel is next to nothing. By the triangle inequality
    the mean distances of two rows from some landmarks differ by no more than their own, so that few
    rows need a comparison.

    Parameters
    ----------
    kernel : RowKernel
        Of all rows.
    n_pool : int
        Rows of the pool, which are the first ones.
    """

    def __init__(self, kernel: RowKernel, n_pool: int) -> None:
        self._kernel, self._prior = kernel, kernel.diagonal()
        self._same = nearly_same(self._prior)
        every = np.arange(len(self._prior))
        landmarks = every[:: -(-len(every) // _LANDMARKS)]
        means = [
            np.sqrt(self._squared(every[k : k + _PANEL], landmarks)).mean(axis=1)
            for k in range(0, len(every), _PANEL)
        ]
        self._means = np.concatenate(means)
        self._order = np.argsort(self._means[:n_pool], kind="stable")
        self._sorted = self._means[self._order]
        # Twice as far, for rounding of the means.
        self._reach = 2.0 * np.sqrt(self._same)

    def _squared(self, left: _Rows, right: _Rows) -> _Array:
        """Return squared distances of rows to others."""
        found = self._prior[left][:, None] + self._prior[right]
        found -= 2.0 * self._kernel.block(left, right)
        return np.asarray(np.maximum(found, 0.0))

    def find(self, rows: _Rows, among: npt.NDArray[np.bool_]) -> _Rows:
        """Return those of some rows of the pool that are the same as one of ``rows``."""
        rows, left = rows[np.argsort(self._means[rows])], among.copy()
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            first = np.searchsorted(self._sorted, self._means[part] - self._reach, "left")
            last = np.searchsorted(self._sorted, self._means[part] + self._reach, "right")
            first[1:] = np.maximum(first[1:], last[:-1])
            near = np.concatenate([self._order[i:j] for i, j in zip(first, last, strict=True)])
            near = near[left[near]]
            for k in range(0, len(near), _PANEL):
                others = near[k : k + _PANEL]
                left[others] = (self._squared(part, others) > self._same).all(axis=0)
        return np.flatnonzero(among & ~left)
