"""Error bars: how good they are, how to make them honest, and how to look at them.

Everything here takes plain arrays; estimators use it, and so can predictions of any origin.
"""

from kernchem.uncertainty.displays import (
    CalibrationDisplay,
    ErrorUncertaintyDisplay,
    ParityDisplay,
    RetentionDisplay,
)
from kernchem.uncertainty.intervals import (
    conformal_quantile,
    cv_plus,
    jackknife_plus,
    split_conformal,
)
from kernchem.uncertainty.isotonic import IsotonicCalibration
from kernchem.uncertainty.metrics import (
    calibration_curve,
    coverage,
    coverage_band,
    crps,
    ence,
    interval_score,
    miscalibration_area,
    negative_log_likelihood,
    sharpness,
)
from kernchem.uncertainty.ranking import (
    error_retention_area,
    error_retention_curve,
    error_spearman,
)
from kernchem.uncertainty.report import UncertaintyReport, uncertainty_report
from kernchem.uncertainty.residuals import ResidualsDisplay
from kernchem.uncertainty.scale import ScaleModel

__all__ = [
    "CalibrationDisplay",
    "ErrorUncertaintyDisplay",
    "IsotonicCalibration",
    "ParityDisplay",
    "ResidualsDisplay",
    "RetentionDisplay",
    "ScaleModel",
    "UncertaintyReport",
    "calibration_curve",
    "conformal_quantile",
    "coverage",
    "coverage_band",
    "crps",
    "cv_plus",
    "ence",
    "error_retention_area",
    "error_retention_curve",
    "error_spearman",
    "interval_score",
    "jackknife_plus",
    "miscalibration_area",
    "negative_log_likelihood",
    "sharpness",
    "split_conformal",
    "uncertainty_report",
]
