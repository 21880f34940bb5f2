"""Whether large errors have large error bars.

The conventions of :mod:`kernchem.uncertainty.metrics` hold.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from kernchem.uncertainty.metrics import absolute_errors

__all__ = ["error_retention_area", "error_retention_curve", "error_spearman"]

_Array = npt.NDArray[np.float64]


def error_spearman(y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation of absolute errors and standard deviations.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.

    Returns
    -------
    float
        Between -1 and 1; 0.0 where errors or standard deviations are all equal.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.

    Notes
    -----
    Even perfect error bars stay far below 1, since an error is one draw: for standard deviations
    spread log-normally by a factor of 1.5 the expected value is 0.39.
    """
    errors, std = absolute_errors(y, mean, std)
    first, second = (rankdata(values) - 0.5 * (len(std) + 1) for values in (errors, std))
    norm = np.sqrt((first @ first) * (second @ second))
    return float(np.clip(first @ second / norm, -1.0, 1.0)) if norm > 0 else 0.0


def error_retention_curve(
    y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike
) -> tuple[_Array, _Array]:
    """Return the error that is left when only the most certain predictions are kept.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.

    Returns
    -------
    kept : array (n,)
        Fractions kept, 1/n to 1.
    mae : array (n,)
        Mean absolute error of the kept ones, in the unit of the labels.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.

    Notes
    -----
    Among samples of equal standard deviation the mean over all their orders is given, so that the
    order of the samples does not matter.
    """
    errors, std = absolute_errors(y, mean, std)
    return np.arange(1, len(std) + 1) / len(std), _retained(errors, std)


def _retained(errors: _Array, std: _Array) -> _Array:
    """Return the mean of the errors with the 1, 2, ..., n smallest standard deviations."""
    _, group, counts = np.unique(std, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=errors) / counts
    with np.errstate(over="ignore"):
        sums = np.cumsum(np.repeat(means, counts))
    return np.asarray(sums / np.arange(1, len(std) + 1))


def error_retention_area(y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike) -> float:
    """Return the mean of the retention curve relative to the error of all predictions.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.

    Returns
    -------
    float
        1 where error bars say nothing about the size of errors, less where large errors have large
        error bars; 1.0 also where there are no errors.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.
    """
    errors, std = absolute_errors(y, mean, std)
    largest = float(errors.max())
    if largest == 0.0:
        return 1.0
    # Beside infinite errors all others are none.
    mae = _retained(np.isinf(errors) * 1.0 if np.isinf(largest) else errors / largest, std)
    return float(np.mean(mae) / mae[-1])
