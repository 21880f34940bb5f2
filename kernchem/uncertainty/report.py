"""All figures about predictions with error bars in one place."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from kernchem.uncertainty import metrics, ranking
from kernchem.uncertainty.checks import check_coverage, check_predictions

__all__ = ["UncertaintyReport", "uncertainty_report"]


@dataclass(frozen=True)
class UncertaintyReport:
    """Errors, and how well error bars describe them.

    Parameters
    ----------
    n : int
        Number of predictions.
    mae, rmse, max_error : float
        Errors, in the unit of the labels.
    nll : float
        Mean negative log-likelihood.
    crps : float
        Continuous ranked probability score, in the unit of the labels.
    sharpness : float
        Root mean square of the standard deviations, in the unit of the labels.
    miscalibration_area, ence : float
        Calibration on average, and bin by bin.
    error_spearman, retention_area : float
        Ranking of errors: rank correlation, and area under the retention curve.
    coverage_wanted, coverage : float
        Promised and observed coverage of central Gaussian intervals.
    coverage_low, coverage_high : float
        Where the observed coverage lies with 99.9 % confidence if the promise holds.
    interval_score : float
        Score of these intervals, in the unit of the labels.
    """

    n: int
    mae: float
    rmse: float
    max_error: float
    nll: float
    crps: float
    sharpness: float
    miscalibration_area: float
    ence: float
    error_spearman: float
    retention_area: float
    coverage_wanted: float
    coverage: float
    coverage_low: float
    coverage_high: float
    interval_score: float

    def to_dict(self) -> dict[str, float]:
        """Return all figures by name, ready for JSON where they are finite."""
        return asdict(self)


def uncertainty_report(
    y: npt.ArrayLike, mean: npt.ArrayLike, std: npt.ArrayLike, coverage: float = 0.9
) -> UncertaintyReport:
    """Return all figures about predictions with Gaussian error bars.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.
    coverage : float, default 0.9
        Probability of the central intervals whose coverage is reported.

    Returns
    -------
    UncertaintyReport
        The figures.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, a standard deviation is not above zero, or the
        coverage does not lie between 0 and 1.

    Examples
    --------
    >>> report = uncertainty_report([1.0, 2.0, 4.0], [1.5, 2.0, 3.0], [0.5, 0.1, 1.0])
    >>> report.mae, report.coverage, report.error_spearman
    (0.5, 1.0, 1.0)
    """
    y, mean, std = check_predictions(y, mean, std)
    coverage = check_coverage(coverage)
    with np.errstate(over="ignore"):
        half = float(ndtri(0.5 + coverage / 2.0)) * std
        lower, upper, errors = mean - half, mean + half, np.abs(y - mean)
        mae = float(errors.mean())
    low, high = metrics.coverage_band(len(y), coverage)
    return UncertaintyReport(
        n=len(y),
        mae=mae,
        rmse=metrics.root_mean_square(errors),
        max_error=float(errors.max()),
        nll=metrics.negative_log_likelihood(y, mean, std),
        crps=metrics.crps(y, mean, std),
        sharpness=metrics.sharpness(std),
        miscalibration_area=metrics.miscalibration_area(y, mean, std),
        ence=metrics.ence(y, mean, std),
        error_spearman=ranking.error_spearman(y, mean, std),
        retention_area=ranking.error_retention_area(y, mean, std),
        coverage_wanted=coverage,
        coverage=metrics.coverage(y, lower, upper),
        coverage_low=low,
        coverage_high=high,
        interval_score=metrics.interval_score(y, lower, upper, coverage),
    )
