"""Strategies that look at distances: farthest point, k-means++ and largest cluster."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernchem.sampling.covariance import nearly_same
from kernchem.sampling.strategy import Strategy

__all__ = ["FarthestPoint", "KMeansPlusPlus", "LargestCluster"]

_Array = npt.NDArray[np.float64]

#: Columns of the kernel that are computed at a time for labelled rows, and for picks: many cost
#: little more than one.
_CHUNK, _AHEAD = 256, 48


class DistanceStrategy(Strategy):
    """Squared distances of the pool to the nearest labelled or chosen row, in the kernel's space.

    Without any, the first choice is a row of the largest norm, at random among equals.
    """

    #: Whether the distances of targets that are not in the pool are known too, after its own.
    with_targets = False

    def _init(self) -> None:
        problem = self.problem
        n_known = problem.n_rows if self.with_targets else problem.n_pool
        self._prior = problem.kernel.diagonal()
        self._same = nearly_same(self._prior)
        self.squared = np.full(n_known, np.inf)
        self.center = np.full(n_known, -1)
        self.n_centers = 0
        self._columns: dict[int, _Array] = {}
        labelled = problem.labelled
        for start in range(0, len(labelled), _CHUNK):
            self._add(labelled[start : start + _CHUNK])

    def _add(self, rows: npt.NDArray[np.int64], columns: _Array | None = None) -> None:
        if columns is None:
            columns = self._get_columns(rows)
        for column, row in zip(columns, rows, strict=True):
            found = self._prior[: len(column)] + self._prior[row] - 2.0 * column
            np.maximum(found, 0.0, out=found)
            nearer = found < self.squared
            self.squared[nearer], self.center[nearer] = found[nearer], self.n_centers
            self.n_centers += 1
        self.free &= self._own > self._same

    @property
    def _own(self) -> _Array:
        """Squared distances of the pool."""
        return self.squared[: self.problem.n_pool]

    def _get_columns(self, rows: npt.NDArray[np.int64]) -> _Array:
        """Return the kernel of some rows with those of known distances."""
        block = self.problem.kernel.block(slice(0, len(self.squared)), rows)
        return np.ascontiguousarray(block.T)

    def _first(self) -> tuple[int, float]:
        scores = self.by_unit(self._prior[: self.problem.n_pool], "max")
        best = np.flatnonzero(scores >= scores.max() * (1.0 - 1e-9))
        unit = int(self.problem.rng.choice(best))
        return unit, float(scores[unit])

    def _scores(self) -> _Array:
        return self.by_unit(np.where(self.free, self._own, 0.0), "max")

    def _get_best(self) -> tuple[int, float]:
        if not self.n_centers:
            return self._first()
        scores = self._scores()
        unit = int(np.argmax(scores))
        return unit, float(scores[unit])

    def _update(self, unit: int) -> float:
        rows = self.problem.units[unit]
        self._fetch(rows)
        self._add(rows, np.stack([self._columns.pop(int(row)) for row in rows]))
        return float(self._own.sum())

    def _fetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Have the columns of rows, and of some that are likely to be chosen soon."""
        if all(int(row) in self._columns for row in rows):
            return
        more = np.setdiff1d(self._likely(), rows) if self.n_centers else rows[:0]
        wanted = np.concatenate([rows, more])
        self._columns = dict(zip(wanted.tolist(), self._get_columns(wanted), strict=True))

    def _likely(self) -> npt.NDArray[np.int64]:
        """Return rows that are likely to be chosen soon: distances only fall."""
        scores = np.where(self.free, self._own, -np.inf)
        size = min(_AHEAD, len(scores))
        best = np.argpartition(-scores, size - 1)[:size]
        return np.asarray(best[scores[best] > 0.0])


class FarthestPoint(DistanceStrategy):
    """The row that is farthest from all labelled and chosen ones."""

    name = "fps"


class KMeansPlusPlus(DistanceStrategy):
    """A random row, with a probability proportional to the squared distance to the nearest one.

    Several rows are drawn at a time. As distances only fall, one is kept with the probability to
    which its own has fallen since, which leaves the probabilities as they are.
    """

    name = "kmeans++"

    def _init(self) -> None:
        self._drawn: list[int] = []
        self._then = np.zeros(0)
        super()._init()

    def _first(self) -> tuple[int, float]:
        unit = int(self.problem.rng.choice(np.flatnonzero(self.open_units())))
        return unit, float(self._prior[self.problem.units[unit]].max())

    def _get_best(self) -> tuple[int, float]:
        if not self.n_centers:
            return self._first()
        rng, scores = self.problem.rng, self.by_unit(np.where(self.free, self._own, 0.0))
        chances = np.maximum(scores, 0.0)
        while True:
            if not self._drawn:
                shares = chances / chances.sum()
                self._drawn = rng.choice(len(chances), size=_AHEAD, p=shares).tolist()
                self._then = chances
            unit = self._drawn.pop()
            if rng.random() * self._then[unit] < chances[unit]:
                return unit, float(scores[unit])

    def _likely(self) -> npt.NDArray[np.int64]:
        rows = [self.problem.units[unit] for unit in dict.fromkeys(self._drawn)]
        found = np.concatenate([*rows, np.zeros(0, dtype=np.int64)])[:_AHEAD]
        return np.asarray(found[self.free[found]])


class LargestCluster(DistanceStrategy):
    """The farthest row of the cluster with the largest weighted sum of squared distances.

    Labelled and chosen rows are the centres, pool and targets belong to the nearest one (LCMD-TP of
    Holzmueller, Zaverkin, Kaestner and Steinwart, J. Mach. Learn. Res. 24, 164 (2023), where the
    targets are the pool).
    """

    name = "lcmd"
    with_targets = True

    def _sizes(self) -> _Array:
        """Return the weighted sum of squared distances of each cluster."""
        weighted = self.problem.weights * self.squared
        return np.asarray(np.bincount(self.center, weighted, self.n_centers), dtype=np.float64)

    def _scores(self) -> _Array:
        center, sizes = self.center[: self.problem.n_pool], self._sizes()
        usable = self.free & self.open_units()[self._unit_of]
        # Where no target is left at a distance, all clusters are equal.
        inside = usable & (sizes[center] >= sizes[center[usable]].max(initial=0.0))
        return self.by_unit(np.where(inside, self._own, -np.inf), "max")

    def _likely(self) -> npt.NDArray[np.int64]:
        """Return the farthest rows of the largest clusters."""
        center, sizes = self.center[: self.problem.n_pool], self._sizes()
        far = np.where(self.free, self._own, -np.inf)
        order = np.lexsort((-far, center))
        firsts = order[np.unique(center[order], return_index=True)[1]]
        ranked = firsts[np.argsort(-sizes[center[firsts]], kind="stable")][:_AHEAD]
        return np.asarray(ranked[far[ranked] > 0.0])
