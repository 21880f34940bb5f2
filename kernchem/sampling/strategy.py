"""What selection strategies share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.sampling.copies import Copies
from kernchem.sampling.covariance import Covariance, RowKernel

__all__ = ["Problem", "RandomChoice", "Strategy"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


@dataclass
class Problem:
    """What is chosen from.

    Rows are the pool, then targets that are not in it, then labelled samples that are not in it.

    Attributes
    ----------
    kernel : RowKernel
        Of all rows.
    n_pool, n_rows : int
        Rows of the pool, and those with the targets.
    labelled : array of int
        Labelled rows.
    excluded : array of int
        Rows of the pool that are not chosen, though they have no label.
    labelled_noise : float or array
        Noise of their labels, in units of the kernel.
    noise : float
        Noise of a new label.
    basis : array (n, p) or None
        Composition of all rows.
    weights : array (n_rows,)
        Weight of each row as a target, with mean 1 over those that count.
    alike : array (n,)
        Class of each row; identical rows share one.
    units : list of array of int
        Rows of the pool that are chosen together.
    costs : array (n_units,)
        Cost of each.
    rank : int or None
        Rank of factors of the covariance; None is exact.
    rng : Generator
        Source of randomness.
    """

    kernel: RowKernel
    n_pool: int
    n_rows: int
    labelled: _Rows
    excluded: _Rows
    labelled_noise: Any
    noise: float
    basis: _Array | None
    weights: _Array
    alike: _Rows
    units: list[_Rows]
    costs: _Array
    rank: int | None
    rng: np.random.Generator

    @cached_property
    def covariance(self) -> Covariance:
        """Covariance of pool and targets given the labels."""
        return Covariance(self.kernel, self.n_rows, self.labelled, self.labelled_noise, self.basis)

    @cached_property
    def copies(self) -> Copies:
        """What finds rows of the pool that are the same as others."""
        return Copies(self.kernel, self.n_pool)

    @property
    def single(self) -> bool:
        """Whether rows are chosen one by one."""
        return len(self.units) == self.n_pool


class Strategy(ABC):
    """Base class of strategies: a greedy choice of one unit after the other.

    A subclass has a ``name`` and implements ``_init``, ``_get_best`` and ``_update``; and
    ``_continue`` if it prepares for several picks at a time.
    """

    name: str

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        pool = problem.alike[: problem.n_pool]
        closed = np.concatenate([problem.labelled, problem.excluded]).astype(np.int64)
        #: Rows of the pool that are neither labelled, nor chosen, nor copies of such rows.
        self.free = ~np.isin(pool, problem.alike[closed])
        self._close_copies(closed)
        self._by_class = np.argsort(pool, kind="stable")
        self._classes = pool[self._by_class]
        n_units = len(problem.units)
        self._unit_of = np.empty(problem.n_pool, dtype=np.int64)
        for number, rows in enumerate(problem.units):
            self._unit_of[rows] = number
        self._open = np.ones(n_units, dtype=bool)
        self._open[self._unit_of[closed[closed < problem.n_pool]]] = False
        self._init()

    @abstractmethod
    def _init(self) -> None:
        """Set up the state that the labels leave."""

    # Most strategies have nothing to prepare.
    def _continue(self, n: int) -> None:  # noqa: B027
        """Prepare for up to n further picks."""

    @abstractmethod
    def _get_best(self) -> tuple[int, float]:
        """Return the best open unit and its gain."""

    @abstractmethod
    def _update(self, unit: int) -> float:
        """Learn that a unit was chosen; return what is left to be reduced."""

    def open_units(self) -> npt.NDArray[np.bool_]:
        """Return which units may be chosen: those with a row that is free."""
        left = np.bincount(self._unit_of, self.free, minlength=len(self._open))
        return self._open & (left > 0)

    def _close_copies(self, rows: _Rows) -> None:
        """Close rows that are the same as some to rounding, though not to the last bit."""
        if len(rows) and self.free.any():
            self.free[self.problem.copies.find(rows, self.free)] = False

    def take(self, unit: int) -> None:
        """Close a unit, and the copies of its rows to the last bit."""
        rows = self.problem.units[unit]
        pool = self.problem.alike[: self.problem.n_pool]
        self._open[unit] = False
        starts = np.searchsorted(self._classes, pool[rows], side="left")
        stops = np.searchsorted(self._classes, pool[rows], side="right")
        for start, stop in zip(starts, stops, strict=True):
            self.free[self._by_class[start:stop]] = False

    def by_unit(self, scores: _Array, how: str = "sum") -> _Array:
        """Return scores (n_pool,) of units per cost, minus infinity where none may be chosen."""
        values: _Array = scores
        if not self.problem.single:
            if how == "sum":
                values = np.asarray(
                    np.bincount(self._unit_of, scores, minlength=len(self._open)), dtype=np.float64
                )
            else:
                values = np.full(len(self._open), -np.inf)
                np.maximum.at(values, self._unit_of, scores)
        else:
            values = scores[np.argsort(self._unit_of)]
        return np.where(self.open_units(), values / self.problem.costs, -np.inf)


class RandomChoice(Strategy):
    """Units in random order."""

    name = "random"

    def _init(self) -> None:
        self._order = self.problem.rng.permutation(len(self.problem.units)).tolist()

    def _get_best(self) -> tuple[int, float]:
        usable = self.open_units()
        return next(unit for unit in self._order if usable[unit]), np.nan

    def _update(self, unit: int) -> float:
        self._order.remove(unit)
        self._close_copies(self.problem.units[unit])
        return np.nan
