"""Strategies that look at distances: farthest point, k-means++ and largest cluster."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernchem.sampling.strategy import Strategy, nearly_same

__all__ = ["FarthestPoint", "KMeansPlusPlus", "LargestCluster"]

_Array = npt.NDArray[np.float64]

#: Columns of the kernel in memory at a time.
_CHUNK = 256


class DistanceStrategy(Strategy):
    """Squared distances of the pool to the nearest labelled or chosen row, in the kernel's space.

    Without any, the first choice is a row of the largest norm, at random among equals.
    """

    def _init(self) -> None:
        problem = self.problem
        self._prior = problem.kernel.diagonal()
        self._same = nearly_same(self._prior)
        self.squared = np.full(problem.n_pool, np.inf)
        self.center = np.full(problem.n_pool, -1)
        self.n_centers = 0
        labelled = problem.labelled
        for start in range(0, len(labelled), _CHUNK):
            self._add(labelled[start : start + _CHUNK])

    def _add(self, rows: npt.NDArray[np.int64]) -> None:
        n_pool = self.problem.n_pool
        columns = self.problem.kernel.block(slice(0, n_pool), rows)
        for k, row in enumerate(rows):
            found = self._prior[:n_pool] + self._prior[row] - 2.0 * columns[:, k]
            np.maximum(found, 0.0, out=found)
            nearer = found < self.squared
            self.squared[nearer], self.center[nearer] = found[nearer], self.n_centers
            self.n_centers += 1
        self.free &= self.squared > self._same

    def _first(self) -> tuple[int, float]:
        scores = self.by_unit(self._prior[: self.problem.n_pool], "max")
        best = np.flatnonzero(scores >= scores.max() * (1.0 - 1e-9))
        unit = int(self.problem.rng.choice(best))
        return unit, float(scores[unit])

    def _scores(self) -> _Array:
        return self.by_unit(np.where(self.free, self.squared, 0.0), "max")

    def _get_best(self) -> tuple[int, float]:
        if not self.n_centers:
            return self._first()
        scores = self._scores()
        unit = int(np.argmax(scores))
        return unit, float(scores[unit])

    def _update(self, unit: int) -> float:
        self._add(self.problem.units[unit])
        return float(self.squared.sum())


class FarthestPoint(DistanceStrategy):
    """The row that is farthest from all labelled and chosen ones."""

    name = "fps"


class KMeansPlusPlus(DistanceStrategy):
    """A random row, with a probability proportional to the squared distance to the nearest one."""

    name = "kmeans++"

    def _first(self) -> tuple[int, float]:
        unit = int(self.problem.rng.choice(np.flatnonzero(self.open_units())))
        return unit, float(self._prior[self.problem.units[unit]].max())

    def _get_best(self) -> tuple[int, float]:
        if not self.n_centers:
            return self._first()
        scores = self.by_unit(np.where(self.free, self.squared, 0.0))
        chances = np.maximum(scores, 0.0)
        unit = int(self.problem.rng.choice(len(chances), p=chances / chances.sum()))
        return unit, float(scores[unit])


class LargestCluster(DistanceStrategy):
    """The farthest row of the cluster with the largest weighted sum of squared distances.

    Labelled and chosen rows are the centres (LCMD-TP of Holzmueller, Zaverkin, Kaestner and
    Steinwart, J. Mach. Learn. Res. 24, 164 (2023)).
    """

    name = "lcmd"

    def _scores(self) -> _Array:
        problem = self.problem
        sizes = np.bincount(
            self.center, problem.weights[: problem.n_pool] * self.squared, self.n_centers
        )
        usable = self.free & self.open_units()[self._unit_of]
        held = np.bincount(self.center[usable], minlength=self.n_centers) > 0
        largest = int(np.argmax(np.where(held, sizes, -1.0)))
        inside = usable & (self.center == largest)
        return self.by_unit(np.where(inside, self.squared, -np.inf), "max")
