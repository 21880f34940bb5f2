"""The selection strategies by their names."""

from __future__ import annotations

from kernchem.sampling.distances import FarthestPoint, KMeansPlusPlus, LargestCluster
from kernchem.sampling.reduction import IntegratedDeviation, IntegratedVariance
from kernchem.sampling.strategy import RandomChoice, Strategy
from kernchem.sampling.variance import CUR, DOptimal, MaximumVariance

__all__ = ["STRATEGIES"]

#: Name to class of each strategy.
STRATEGIES: dict[str, type[Strategy]] = {
    cls.name: cls
    for cls in (
        IntegratedVariance,
        IntegratedDeviation,
        MaximumVariance,
        LargestCluster,
        FarthestPoint,
        KMeansPlusPlus,
        CUR,
        DOptimal,
        RandomChoice,
    )
}
