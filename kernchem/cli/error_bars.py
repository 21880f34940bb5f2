"""Predictions with the error bars that a model has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernchem.errors import SettingError

if TYPE_CHECKING:
    from kernchem.structures import Structures

__all__ = ["METHODS", "Intervals", "Predictor", "percent"]

_Array = npt.NDArray[np.float64]

#: Kinds of intervals; those of the first two kinds follow from the standard deviation.
METHODS = ("calibrated", "gaussian", "jackknife+", "cv+")
_FROM_STD = METHODS[:2]
_COVERAGE = 0.9


class Intervals:
    """How many labels lie in their intervals, which come in batches.

    Attributes
    ----------
    n, n_inside : int
        Number of pairs so far, and of those inside, ends included.
    """

    def __init__(self) -> None:
        self.n = self.n_inside = 0

    def add(self, reference: _Array, lower: _Array, upper: _Array) -> None:
        """Take up a batch; where a number is NaN, it counts for nothing."""
        known = ~(np.isnan(reference) | np.isnan(lower) | np.isnan(upper))
        self.n += int(known.sum())
        self.n_inside += int((known & (lower <= reference) & (reference <= upper)).sum())

    def describe(self, coverage: float) -> str:
        """Return in one line how many there are, and what is to be expected."""
        from kernchem.uncertainty import coverage_band

        low, high = coverage_band(self.n, coverage)
        return (
            f"{self.n_inside} of {self.n} inside {percent(coverage)} intervals, "
            f"{100 * self.n_inside / self.n:.1f} % ({100 * low:.0f} to {100 * high:.0f} % expected)"
        )


class Predictor:
    """Predictions of one property, with error bars where the model has them.

    Parameters
    ----------
    model : estimator
        Fitted on molecules.
    told : str
        What the model is called in errors.
    coverage : float or None
        Probability of the intervals; None is 0.9.
    method : str or None
        One of :data:`METHODS`; None is the first.

    Attributes
    ----------
    has_bars : bool
        Whether there are error bars.
    coverage : float
        Probability of the intervals.

    Raises
    ------
    SettingError
        If intervals are asked for that there are not.
    """

    def __init__(self, model: Any, told: str, coverage: float | None, method: str | None) -> None:
        self._model = model
        #: Of a DeltaLearner, the model of the difference.
        self._inner = getattr(model, "model_", model)
        self.has_bars = hasattr(self._inner, "predict_interval")
        if not self.has_bars and (coverage, method) != (None, None):
            raise SettingError(
                f"{told} is a {type(self._inner).__name__}, which has no error bars: leave out "
                "--coverage and --method, or fit it anew with kernchem train --model gpr"
            )
        self.coverage = _COVERAGE if coverage is None else coverage
        if not 0.0 < self.coverage < 1.0:
            raise SettingError(
                f"--coverage {coverage}: use a probability above 0 and below 1, 0.9 for 90 %"
            )
        self._method = METHODS[0] if method is None else method
        if self._method not in METHODS:
            raise SettingError(f"--method {method} is unknown; use one of {', '.join(METHODS)}")

    def names(self, name: str) -> list[str]:
        """Return what the columns of :meth:`predict` are called."""
        return [name] + [f"{name}_{kind}" for kind in ("std", "lower", "upper") if self.has_bars]

    def predict(self, batch: Structures) -> _Array:
        """Return predictions, standard deviations, lower and upper ends, array (n, 4) or (n, 1)."""
        if not self.has_bars:
            return np.reshape(self._model.predict(batch), (len(batch), 1))
        mean, std = (
            np.reshape(values, len(batch)) for values in self._model.predict(batch, return_std=True)
        )
        if self._method in _FROM_STD:
            # Features and kernels are not computed a second time.
            ends = self._inner._interval(mean, std, self.coverage, self._method, 0)
        else:
            ends = self._model.predict_interval(batch, self.coverage, self._method)
        return np.stack([mean, std, *(np.reshape(end, len(batch)) for end in ends)], axis=1)


def percent(coverage: float) -> str:
    """Return a probability as it is read, without the digits of its rounding."""
    return f"{100 * coverage:.6g} %"
