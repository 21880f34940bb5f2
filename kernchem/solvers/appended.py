"""Rows that were appended to a Cholesky factor, apart from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from kernchem._room import Room

__all__ = ["AppendedRows"]

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AppendedRows:
    """The last rows of a matrix, of which the first n rows have a factor L.

    Attributes
    ----------
    cross : array (b, n)
        Kernel between these rows and the first ones.
    lower : array (n, b)
        L^-1 times the transpose of ``cross``: the rows of the larger factor, transposed.
    corner : array (b, b)
        Lower triangle: the end of the factor; above its diagonal the kernel among these rows.
    rooms : pair of Room
        Where further rows of ``cross`` and of the transpose of ``lower`` go.
    """

    cross: _Array
    lower: _Array
    corner: _Array
    rooms: tuple[Room, Room] = field(default_factory=lambda: (Room(), Room()), repr=False)

    def behind(self, others: AppendedRows | None) -> AppendedRows:
        """Return others and these, which were appended to them, as one."""
        if others is None:
            return self
        n, b = others.lower.shape
        corner = np.empty((b + len(self.corner),) * 2, order="F")
        corner[:b, :b], corner[b:, b:] = others.corner, self.corner
        corner[:b, b:], corner[b:, :b] = self.cross[:, n:].T, self.lower[n:].T
        return AppendedRows(
            others.rooms[0].joined(others.cross, self.cross[:, :n]),
            others.rooms[1].joined(others.lower.T, self.lower[:n].T).T,
            corner,
            others.rooms,
        )

    def solve(self, B: _Array, *, transpose: bool = False) -> _Array:
        """Return C^-1 B, or C^-T B, with the end C of the factor."""
        return np.asarray(lapack.dtrtrs(self.corner, B, lower=1, trans=int(transpose))[0])

    def extend(self, half: _Array, B: _Array) -> _Array:
        """Return the last rows of the solution of L x = b, of which ``half`` is the beginning."""
        n, b = self.lower.shape
        known = len(half) - n
        rest = B - self.lower[:, known:].T @ half[:n] - self.corner[known:, :known] @ half[n:]
        if known == b:
            return rest
        return np.asarray(lapack.dtrtrs(self.corner[known:, known:], rest, lower=1)[0])

    def logdet(self) -> float:
        """Return what these rows add to the logarithm of the determinant."""
        return 2.0 * float(np.log(np.abs(np.einsum("ii->i", self.corner))).sum())

    def joined_to(self, inverse: _Array, back: _Array) -> _Array:
        """Return the matrix (n + b, n + b) that holds both, in the layout of a factor.

        Below the diagonal the inverse of the factor, above it the kernel.

        Parameters
        ----------
        inverse : array (n, n)
            L^-1, and above its diagonal the kernel.
        back : array (n, b)
            L^-T times ``lower``.
        """
        n, b = self.lower.shape
        corner, _ = lapack.dtrtri(self.corner, lower=1)
        joined = np.empty((n + b, n + b), order="F")
        joined[:n, :n] = inverse
        joined[:n, n:] = self.cross.T
        joined[n:, :n] = -np.tril(corner) @ back.T
        joined[n:, n:] = np.triu(self.corner, 1) + np.tril(corner)
        return joined
