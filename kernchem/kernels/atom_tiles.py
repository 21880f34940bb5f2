"""Similarities between the atoms of some structures and those of others, in tiles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.environments import Environments
from kernchem.kernels import matching_jit, structure_jit
from kernchem.kernels.atom_bases import (
    base_with_gradient,
    inner_kernel,
    product_profile,
    sees_differences,
)
from kernchem.kernels.atom_groups import AtomGroup, atom_groups, kept_groups, on_all_columns
from kernchem.kernels.coupling import Coupling, coupling_matrix
from kernchem.kernels.features import Matrix

__all__ = ["AtomTiles", "own_runs", "structure_runs"]

#: Pairs of atoms, of structures that are compared with themselves at once (1 MiB).
_OWN_PAIRS = 1 << 17

_Columns = npt.NDArray[np.int64]


class AtomTiles:
    """Similarities S(Z_i, Z_j) f(q_i, q_j) between atoms, for any run of structures with another.

    Parameters
    ----------
    base : kernel
        Kernel f between rows of features.
    coupling : str or mapping
        Weights S of pairs of elements.
    X, Y : Environments
        Structures of the rows and of the columns; Y may be X.
    """

    def __init__(self, base: Any, coupling: Coupling, X: Environments, Y: Environments) -> None:
        self.base = inner_kernel(base)
        self.profile = product_profile(self.base)
        self._rows, self._coupling = X, coupling
        self._offsets = X.offsets, Y.offsets
        self._n_features = None if sees_differences(self.base) else X.n_features
        left = atom_groups(X)
        right = left if Y is X else kept_groups(Y)
        weights = coupling_matrix(coupling)
        self._pairs = [
            (rows, columns, float(weights[rows.element, columns.element]), _shared(rows, columns))
            for rows in left
            for columns in right
            if weights[rows.element, columns.element] != 0.0
        ]

    def between(
        self, rows: tuple[int, int], columns: tuple[int, int], n_slopes: int
    ) -> tuple[Matrix, Matrix]:
        """Return similarities of atoms, array (n, m), and their derivatives, array (p, n, m).

        Parameters
        ----------
        rows, columns : pair of int
            First structure, and the one behind the last.
        n_slopes : int
            Number of hyperparameters of ``base``, or 0 to leave the derivatives out.
        """
        first = self._offsets[0][rows[0]], self._offsets[1][columns[0]]
        shape = (
            int(self._offsets[0][rows[1]] - first[0]),
            int(self._offsets[1][columns[1]] - first[1]),
        )
        out, slopes = np.zeros(shape), np.zeros((n_slopes, *shape))
        for left, right, weight, shared in self._pairs:
            one, other = left.of_structures(*rows), right.of_structures(*columns)
            if not len(one.atoms) or not len(other.atoms):
                continue
            places = one.atoms - first[0], other.atoms - first[1]
            if self.profile is None:
                self._place_any(one, other, weight, places, out, slopes)
                continue
            p, q = one.values, other.values
            if shared is not None:
                p, q = p[:, shared[0]], q[:, shared[1]]
            matching_jit.place_products(
                p @ q.T,
                one.norms,
                other.norms,
                *self.profile,
                weight,
                *places,
                n_slopes > 0,
                out,
                slopes[0] if n_slopes else out[:0],
            )
        return out, slopes

    def within(self, start: int, stop: int) -> Iterator[Matrix]:
        """Yield similarities among the atoms of each structure of a run; Y must be X.

        Parameters
        ----------
        start, stop : int
            First structure, and the one behind the last.

        Yields
        ------
        array (n_atoms, n_atoms)
            One for each structure.
        """
        if self.profile is None:
            weights = coupling_matrix(self._coupling)
            for k in range(start, stop):
                item = self._rows[k]
                coupled = weights[np.ix_(item.numbers, item.numbers)]
                yield np.ascontiguousarray(coupled * self.base(item.values))
            return
        offsets = self._offsets[0][start : stop + 1]
        sizes = np.diff(offsets)
        places = np.concatenate([[0], np.cumsum(sizes**2)])
        out = np.zeros(places[-1])
        for left, right, weight, shared in self._pairs:
            one, other = left.of_structures(start, stop), right.of_structures(start, stop)
            if not len(one.atoms) or not len(other.atoms):
                continue
            p, q = one.values, other.values
            if shared is not None:
                p, q = np.ascontiguousarray(p[:, shared[0]]), np.ascontiguousarray(q[:, shared[1]])
            structure_jit.place_own(
                p,
                q,
                one.norms,
                other.norms,
                *self.profile,
                weight,
                (one.owners - start, other.owners - start),
                (one.atoms, other.atoms),
                offsets,
                places,
                out,
            )
        for first, n in zip(places[:-1], sizes, strict=True):
            yield out[first : first + n * n].reshape(n, n)

    def _place_any(
        self,
        one: AtomGroup,
        other: AtomGroup,
        weight: float,
        places: tuple[_Columns, _Columns],
        out: Matrix,
        slopes: Matrix,
    ) -> None:
        left, right = on_all_columns((one, other), self._n_features)
        values, gradient = base_with_gradient(self.base, left, right, len(slopes) > 0)
        matching_jit.place_values(values, weight, *places, out)
        for k in range(len(slopes)):
            part = np.ascontiguousarray(gradient[:, :, k])
            matching_jit.place_values(part, weight, *places, slopes[k])


def structure_runs(offsets: _Columns, n_atoms: int) -> list[tuple[int, int]]:
    """Return bounds of runs of structures that have some ``n_atoms`` atoms at most.

    A structure that has more is a run of its own.
    """
    bounds = [0]
    n = len(offsets) - 1
    while bounds[-1] < n:
        limit = offsets[bounds[-1]] + n_atoms
        stop = int(np.searchsorted(offsets, limit, side="right")) - 1
        bounds.append(max(stop, bounds[-1] + 1))
    return list(itertools.pairwise(bounds))


def own_runs(offsets: _Columns) -> list[tuple[int, int]]:
    """Return bounds of runs of structures for :meth:`AtomTiles.within`."""
    pairs = np.concatenate([[0], np.cumsum(np.diff(offsets) ** 2)])
    return structure_runs(pairs, _OWN_PAIRS)


def _shared(left: AtomGroup, right: AtomGroup) -> tuple[_Columns, _Columns] | None:
    """Return the columns where both groups may differ from zero; None if all are the same."""
    if np.array_equal(left.columns, right.columns):
        return None
    _, first, second = np.intersect1d(
        left.columns, right.columns, assume_unique=True, return_indices=True
    )
    return first, second
