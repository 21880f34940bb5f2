"""What a Gaussian process that learnt labels leaves to be found when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares
from kernchem.uncertainty import IsotonicCalibration, ScaleModel

__all__ = ["LATE", "Unsettled", "late"]

#: Attributes that come from leaving samples out, and the posterior that brings them.
LATE = ("loo_residuals_", "loo_std_", "amplitude_", "_scales", "_quantiles", "_posterior")


@dataclass(frozen=True)
class Unsettled:
    """A factor and a solution, of which no leave-one-out errors are known yet.

    Attributes
    ----------
    factor : CholeskyFactor
        Of the kernel matrix with noise.
    solution : GeneralisedLeastSquares
        Of the targets.
    scales : list of ScaleModel
        Corrections of standard deviations that were learnt last.
    quantiles : list of IsotonicCalibration
        Calibrations of intervals that were learnt last.
    origin : array (n,)
        Row that each row was in the training set they were learnt of, or -1.
    """

    factor: CholeskyFactor
    solution: GeneralisedLeastSquares
    scales: list[ScaleModel]
    quantiles: list[IsotonicCalibration]
    origin: npt.NDArray[np.int64]


def late(name: str) -> Any:
    """Return an attribute that ``model._settled`` finds where it is not there."""

    def found(model: Any) -> Any:
        return model._settled(name)

    return cached_property(found)
