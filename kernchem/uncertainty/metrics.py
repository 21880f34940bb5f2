"""How good error bars are: likelihood, calibration, sharpness, coverage.

Every function takes labels ``y``, predictions ``mean`` and standard deviations ``std`` of the same
length, in one unit. An error is label minus prediction, ``z = error / std``. Where the result is
too large for a float64 it is infinite, never NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from kernchem._validation import is_whole, short
from kernchem.errors import SettingError
from kernchem.uncertainty.checks import (
    check_coverage,
    check_predictions,
    check_std,
    check_vector,
)

__all__ = [
    "absolute_errors",
    "calibration_curve",
    "coverage",
    "coverage_band",
    "crps",
    "ence",
    "interval_score",
    "miscalibration_area",
    "negative_log_likelihood",
    "root_mean_square",
    "sharpness",
    "std_bins",
]

_Array = npt.NDArray[np.float64]


def root_mean_square(values: _Array) -> float:
    """Return the root of the mean square; squares neither overflow nor vanish."""
    largest = float(np.abs(values).max())
    if largest == 0.0 or np.isinf(largest):
        return largest
    return float(largest * np.sqrt(np.mean((values / largest) ** 2)))


def absolute_errors(
    y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike
) -> tuple[_Array, _Array]:
    """Return absolute errors and standard deviations."""
    y, mean, std = check_predictions(y, mean, std)
    with np.errstate(over="ignore"):
        return np.abs(y - mean), std


def _scores(y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike) -> _Array:
    """Return |z|."""
    errors, std = absolute_errors(y, mean, std)
    with np.errstate(over="ignore"):
        return np.asarray(errors / std)


def negative_log_likelihood(y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike) -> float:
    r"""Return the mean negative logarithm of the Gaussian density at the labels.

    .. math:: \frac1n \sum_i \tfrac12 z_i^2 + \log \sigma_i + \tfrac12 \log 2\pi

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
        Mean over the samples; a change of unit adds a constant. Lower is better.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.

    Notes
    -----
    One error of many standard deviations decides over the mean: :func:`crps` is the robust score.
    """
    errors, std = absolute_errors(y, mean, std)
    with np.errstate(over="ignore"):
        return float(np.mean(0.5 * (errors / std) ** 2 + np.log(std)) + 0.5 * np.log(2.0 * np.pi))


def crps(y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike) -> float:
    r"""Return the mean continuous ranked probability score of Gaussian predictions.

    .. math::
        \mathrm{CRPS} = \int (F(t) - [t \ge y])^2 dt
        = |e| (2 \Phi(|z|) - 1) + \sigma (2 \varphi(z) - \pi^{-1/2})

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
        Mean over the samples, in the unit of the labels; the absolute error where error bars
        vanish. Lower is better.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.

    References
    ----------
    Gneiting and Raftery, J. Am. Stat. Assoc. 102, 359 (2007),
    https://doi.org/10.1198/016214506000001437
    """
    errors, std = absolute_errors(y, mean, std)
    with np.errstate(over="ignore"):
        z = errors / std
        density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
        return float(
            np.mean(errors * (2.0 * ndtr(z) - 1.0) + std * (2.0 * density - 1.0 / np.sqrt(np.pi)))
        )


def sharpness(std: npt.ArrayLike) -> float:
    """Return the root mean square of the standard deviations.

    Parameters
    ----------
    std : array-like (n,)
        Standard deviations, > 0.

    Returns
    -------
    float
        In the unit of ``std``; among calibrated predictions lower is better.

    Raises
    ------
    SettingError
        If a standard deviation is not finite or not above zero.
    """
    return root_mean_square(check_std(std))


def calibration_curve(
    y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, n_levels: int = 100
) -> tuple[_Array, _Array]:
    r"""Return promised and observed coverage of central Gaussian intervals.

    .. math:: \hat p(p) = \frac1n \sum_i [ |z_i| \le \Phi^{-1}((1 + p) / 2) ]

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.
    n_levels : int, default 100
        Number of equidistant levels from 0 to 1, at least 2.

    Returns
    -------
    expected : array (n_levels,)
        Promised coverage p.
    observed : array (n_levels,)
        Fraction of labels inside the interval.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.

    References
    ----------
    Kuleshov, Fenner and Ermon, ICML (2018), https://arxiv.org/abs/1807.00263
    """
    if not is_whole(n_levels, 2):
        raise SettingError(f"n_levels={short(n_levels)}: a whole number of at least 2 is needed")
    scores = np.sort(_scores(y, mean, std))
    expected = np.linspace(0.0, 1.0, n_levels)
    inside = np.searchsorted(scores, ndtri(0.5 + expected / 2.0), side="right")
    return expected, inside / len(scores)


def miscalibration_area(y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike) -> float:
    """Return the area between the calibration curve of 100 levels and the diagonal.

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
        0 is calibrated on average, 0.5 the worst; it is blind to how errors are ranked.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.

    Notes
    -----
    The definition, and to rounding the value, of ``uncertainty_toolbox.miscalibration_area``. A
    calibrated model tested on n samples shows an area of about 0.31 / sqrt(n).

    References
    ----------
    Tran, Neiswanger, Yoon, Zhang, Xing and Ulissi, Mach. Learn.: Sci. Technol. 1, 025006 (2020),
    https://doi.org/10.1088/2632-2153/ab7e1a
    """
    expected, observed = calibration_curve(y, mean, std)
    left, right = (observed - expected)[:-1], (observed - expected)[1:]
    total = np.abs(left) + np.abs(right)
    # Where the curve crosses the diagonal, two triangles instead of one trapezium.
    crossing = left * right < 0
    heights = np.where(crossing, (left**2 + right**2) / np.where(crossing, total, 1.0), total)
    return float(0.5 * np.sum(heights * np.diff(expected)))


def std_bins(std: _Array, n_bins: int) -> list[npt.NDArray[np.int64]]:
    """Return the samples of each bin: equal numbers, ascending standard deviations."""
    if not is_whole(n_bins, 1):
        raise SettingError(f"n_bins={short(n_bins)}: a whole number of at least 1 is needed")
    return np.array_split(np.argsort(std, kind="stable"), min(n_bins, len(std)))


def ence(y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, n_bins: int = 10) -> float:
    r"""Return the expected normalised calibration error.

    .. math:: \frac1B \sum_b \frac{|\mathrm{RMV}_b - \mathrm{RMSE}_b|}{\mathrm{RMV}_b}

    RMV is the root of the mean variance of a bin; bins hold equal numbers of samples, sorted by
    their standard deviations.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.
    n_bins : int, default 10
        Number of bins; at most one per sample.

    Returns
    -------
    float
        Dimensionless; 0 where the errors of every bin are what its error bars promise.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, or a standard deviation is not above zero.

    Notes
    -----
    Samples of equal standard deviation go into bins in their order.

    References
    ----------
    Levi, Gispan, Giladi and Fetaya, Sensors 22, 5540 (2022), https://doi.org/10.3390/s22155540
    """
    errors, std = absolute_errors(y, mean, std)
    with np.errstate(over="ignore"):
        deviations = [
            abs(1.0 - root_mean_square(errors[rows]) / root_mean_square(std[rows]))
            for rows in std_bins(std, n_bins)
        ]
        return float(np.mean(deviations))


def interval_score(
    y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike, coverage: float
) -> float:
    r"""Return the mean interval score: width, and a penalty for what lies outside.

    .. math:: (u - l) + \frac{2}{\alpha} \max(l - y, 0) + \frac{2}{\alpha} \max(y - u, 0)

    with alpha = 1 - coverage.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    lower : array-like (n,)
        Lower ends; -inf is allowed.
    upper : array-like (n,)
        Upper ends, not below the lower ones; inf is allowed.
    coverage : float
        Probability that the interval promises.

    Returns
    -------
    float
        Mean over the samples, in the unit of the labels. Lower is better.

    Raises
    ------
    SettingError
        If shapes differ, a number is NaN, or an upper end lies below its lower end.

    References
    ----------
    Gneiting and Raftery, J. Am. Stat. Assoc. 102, 359 (2007), section 6.2,
    https://doi.org/10.1198/016214506000001437
    """
    y, lower, upper = _intervals(y, lower, upper)
    penalty = 2.0 / (1.0 - check_coverage(coverage))
    bad = np.flatnonzero((upper < lower) | (lower == np.inf) | (upper == -np.inf))
    if len(bad):
        raise SettingError(
            f"interval {bad[0]} runs from {lower[bad[0]]} to {upper[bad[0]]}; "
            "upper must not lie below lower"
        )
    with np.errstate(over="ignore"):
        outside = np.maximum(lower - y, 0.0) + np.maximum(y - upper, 0.0)
        return float(np.mean((upper - lower) + penalty * outside))


def coverage(y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike) -> float:
    """Return the fraction of labels inside their intervals, ends included.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    lower : array-like (n,)
        Lower ends; -inf is allowed.
    upper : array-like (n,)
        Upper ends; inf is allowed.

    Returns
    -------
    float
        Between 0 and 1; :func:`coverage_band` says what to expect.

    Raises
    ------
    SettingError
        If shapes differ or a number is NaN.
    """
    y, lower, upper = _intervals(y, lower, upper)
    return float(np.mean((lower <= y) & (y <= upper)))


def _intervals(
    y: npt.ArrayLike, lower: npt.ArrayLike, upper: npt.ArrayLike
) -> tuple[_Array, _Array, _Array]:
    y = check_vector(y, "y")
    lower = check_vector(lower, "lower", len(y), finite=False)
    return y, lower, check_vector(upper, "upper", len(y), finite=False)


def coverage_band(n: int, coverage: float, confidence: float = 0.999) -> tuple[float, float]:
    """Return the range in which the coverage of n intervals lies with a given confidence.

    Parameters
    ----------
    n : int
        Number of intervals, at least 1.
    coverage : float
        Probability that each of them promises.
    confidence : float, default 0.999
        Probability of the range; half of the rest lies on either side.

    Returns
    -------
    low : float
        Smallest fraction to expect.
    high : float
        Largest fraction to expect.

    Raises
    ------
    SettingError
        If ``n`` is no whole number above zero, or a probability does not lie between 0 and 1.

    Notes
    -----
    Quantiles of the binomial distribution: right for independent intervals. Those of one test set
    share a training set, which adds a spread of about sqrt(coverage (1 - coverage) / n_training).
    """
    if not is_whole(n, 1):
        raise SettingError(f"n={short(n)}: a whole number of at least 1 is needed")
    confidence = check_coverage(confidence, "confidence")
    low, high = binom.interval(confidence, n, check_coverage(coverage))
    return float(low / n), float(high / n)
