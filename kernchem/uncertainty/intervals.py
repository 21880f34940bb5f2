"""Prediction intervals with finite-sample guarantees: split conformal, jackknife+, CV+.

None of them assumes that errors are Gaussian, or that the model is right: only that training and
test samples are exchangeable. "Normalised" intervals divide residuals by a standard deviation first
and multiply with the one at the test point, so that they are wide where errors are large.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import short
from kernchem.errors import SettingError
from kernchem.uncertainty.checks import check_coverage, check_matrix, check_std, check_vector

__all__ = ["conformal_quantile", "cv_plus", "jackknife_plus", "split_conformal"]

_Array = npt.NDArray[np.float64]

#: Numbers per panel of rows: a few panels fit the cache of a core.
_PANEL = 2**18
#: 0.55 * 100 is 55.00000000000001 in floating point, and means 55.
_ROUNDING = 1e-12


def _rank(n: int, coverage: float) -> int:
    """Return which of n sorted scores is the quantile; above n there is none."""
    return math.ceil((n + 1) * coverage * (1.0 - _ROUNDING))


def conformal_quantile(scores: npt.ArrayLike, coverage: float) -> float:
    r"""Return the smallest bound under which the next score lies with the promised probability.

    The :math:`\lceil (n + 1) \, \mathrm{coverage} \rceil`-th smallest of n scores.

    Parameters
    ----------
    scores : array-like (n,)
        Scores of samples that the model was not fitted on, such as absolute residuals.
    coverage : float
        Probability, above 0 and below 1.

    Returns
    -------
    float
        In the unit of the scores; infinity where n is below coverage / (1 - coverage), too few
        scores for the promise.

    Raises
    ------
    SettingError
        If a score is not finite, or the coverage does not lie between 0 and 1.

    Notes
    -----
    O(n). The probability is at least ``coverage`` and, without ties, at most 1 / (n + 1) more.

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, J. Am. Stat. Assoc. 113, 1094 (2018),
    https://doi.org/10.1080/01621459.2017.1307116

    Examples
    --------
    >>> conformal_quantile([4.0, 1.0, 3.0, 2.0], 0.6)
    3.0
    >>> conformal_quantile([4.0, 1.0, 3.0, 2.0], 0.9)
    inf
    """
    scores = check_vector(scores, "scores")
    rank = _rank(len(scores), check_coverage(coverage))
    if rank > len(scores):
        return math.inf
    return float(np.partition(scores, rank - 1)[rank - 1])


def split_conformal(
    mean: npt.ArrayLike,
    scores: npt.ArrayLike,
    coverage: float,
    scale: npt.ArrayLike | None = None,
) -> tuple[_Array, _Array]:
    """Return intervals from the errors on samples that were kept back.

    Parameters
    ----------
    mean : array-like (m,)
        Predictions.
    scores : array-like (n,)
        Absolute residuals of samples that the model was not fitted on, in the unit of the
        predictions; divided by their standard deviations where ``scale`` is given.
    coverage : float
        Probability, above 0 and below 1.
    scale : array-like (m,), optional
        Standard deviations of the predictions, > 0, by which the scores are multiplied; 1 by
        default.

    Returns
    -------
    lower : array (m,)
        Lower ends, in the unit of the predictions; -inf where there are too few scores.
    upper : array (m,)
        Upper ends; inf where there are too few scores.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, a scale is not above zero, or the coverage does
        not lie between 0 and 1.

    Notes
    -----
    O(n + m). Holds at least the promised coverage on average over calibration and test samples;
    for one calibration set it varies by sqrt(coverage (1 - coverage) / n). With leave-one-out
    residuals in place of kept-back ones the guarantee is lost, but little else:
    :func:`jackknife_plus` has one.

    References
    ----------
    Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, J. Am. Stat. Assoc. 113, 1094 (2018),
    https://doi.org/10.1080/01621459.2017.1307116
    """
    mean = check_vector(mean, "mean")
    quantile = conformal_quantile(scores, coverage)
    std = np.ones(len(mean)) if scale is None else check_std(scale, "scale", len(mean))
    with np.errstate(over="ignore"):
        return mean - quantile * std, mean + quantile * std


def jackknife_plus(
    residuals: npt.ArrayLike,
    loo_predictions: npt.ArrayLike | Iterable[npt.ArrayLike],
    coverage: float,
    *,
    loo_std: npt.ArrayLike | None = None,
    std: npt.ArrayLike | None = None,
) -> tuple[_Array, _Array]:
    r"""Return jackknife+ intervals: quantiles over all models that were fitted without a sample.

    .. math::
        [\, q^-_i \{ f_{-i}(x) - |e_i| \},\; q^+_i \{ f_{-i}(x) + |e_i| \} \,],
        \qquad e_i = y_i - f_{-i}(x_i)

    with the :math:`\lceil (n + 1) \, \mathrm{coverage} \rceil`-th smallest of the n values as upper
    end, the one as far from the largest as lower end. Normalised, :math:`|e_i| s(x) / s_i` replaces
    :math:`|e_i|`.

    Parameters
    ----------
    residuals : array-like (n,)
        Leave-one-out residuals e_i of the training samples.
    loo_predictions : array-like (m, n) or iterable of arrays (any, n)
        Row j holds the predictions f_-i(x_j) for test sample j by the models without sample i. An
        iterable gives panels of rows, so that the whole matrix need never exist.
    coverage : float
        Probability, above 0 and below 1.
    loo_std : array-like (n,), optional
        Leave-one-out standard deviations s_i of the training samples, > 0; for normalised
        intervals.
    std : array-like (m,), optional
        Standard deviations s(x_j) of the test samples, > 0; with ``loo_std`` only.

    Returns
    -------
    lower : array (m,)
        Lower ends, in the unit of the residuals; -inf where there are too few samples.
    upper : array (m,)
        Upper ends; inf where there are too few samples.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, a standard deviation is not above zero, or the
        coverage does not lie between 0 and 1.

    Notes
    -----
    O(m n) time, and memory for a panel. The guarantee is a coverage of 2 coverage - 1 whatever the
    data and the model, if each model was made without its sample, hyperparameters included; what is
    seen is ``coverage``. Below a coverage of 0.5 the lower end may lie
    above the upper one.

    References
    ----------
    Barber, Candes, Ramdas and Tibshirani, Ann. Stat. 49, 486 (2021),
    https://doi.org/10.1214/20-AOS1965
    """
    residuals = check_vector(residuals, "residuals")
    panels = _panels(loo_predictions, len(residuals))
    return _plus(residuals, panels, coverage, loo_std, std)


def cv_plus(
    residuals: npt.ArrayLike,
    folds: npt.ArrayLike,
    fold_predictions: npt.ArrayLike,
    coverage: float,
    *,
    cv_std: npt.ArrayLike | None = None,
    std: npt.ArrayLike | None = None,
) -> tuple[_Array, _Array]:
    """Return CV+ intervals: jackknife+ with one model per fold.

    Parameters
    ----------
    residuals : array-like (n,)
        Residuals of the training samples, each by the model that did not see its fold.
    folds : array-like of int (n,)
        Fold of each training sample, from 0.
    fold_predictions : array-like (m, n_folds)
        Predictions for the test samples by the models without each fold.
    coverage : float
        Probability, above 0 and below 1.
    cv_std : array-like (n,), optional
        Standard deviations of the training samples, > 0, each by the model that did not see its
        fold; for normalised intervals.
    std : array-like (m,), optional
        Standard deviations of the test samples, > 0; with ``cv_std`` only.

    Returns
    -------
    lower : array (m,)
        Lower ends, in the unit of the residuals; -inf where there are too few samples.
    upper : array (m,)
        Upper ends; inf where there are too few samples.

    Raises
    ------
    SettingError
        If shapes differ, a number is not finite, a fold does not exist, a standard deviation is not
        above zero, or the coverage does not lie between 0 and 1.

    Notes
    -----
    O(m n) time, and memory for a panel. The guarantee is that of :func:`jackknife_plus` less
    the square root of 2 / n. With few folds intervals are wider, since the models have seen less.

    References
    ----------
    Barber, Candes, Ramdas and Tibshirani, Ann. Stat. 49, 486 (2021), section 3,
    https://doi.org/10.1214/20-AOS1965
    """
    residuals = check_vector(residuals, "residuals")
    predictions = check_matrix(fold_predictions, "fold_predictions", (None, None))
    columns = check_vector(folds, "folds", len(residuals))
    n_folds = predictions.shape[1]
    bad = np.flatnonzero((columns != np.floor(columns)) | (columns < 0) | (columns >= n_folds))
    if len(bad):
        raise SettingError(
            f"folds[{bad[0]}] is {columns[bad[0]]:g}; folds are whole numbers from 0 to "
            f"{n_folds - 1}, the columns of fold_predictions"
        )
    columns = columns.astype(np.int64)
    panels = (rows[:, columns] for rows in _row_panels(predictions, len(residuals)))
    return _plus(residuals, panels, coverage, cv_std, std, name="cv_std")


def _row_panels(matrix: _Array, n: int) -> Iterator[_Array]:
    """Yield rows of which each will hold n numbers."""
    step = max(1, _PANEL // n)
    for start in range(0, len(matrix), step):
        yield matrix[start : start + step]


def _panels(predictions: Any, n: int) -> Iterator[_Array]:
    """Yield checked panels of an array, nested lists or an iterable of panels."""
    if isinstance(predictions, list | tuple) and predictions and np.ndim(predictions[0]) < 2:
        predictions = np.asarray(predictions)
    if isinstance(predictions, np.ndarray):
        predictions = [predictions]
    if not isinstance(predictions, Iterable):
        raise SettingError(
            f"loo_predictions is {short(predictions)}; an array (m, {n}) or panels of its rows are "
            "needed"
        )
    for panel in predictions:
        yield from _row_panels(check_matrix(panel, "loo_predictions", (None, n)), n)


def _plus(
    residuals: _Array,
    panels: Iterable[_Array],
    coverage: float,
    own_std: npt.ArrayLike | None,
    std: npt.ArrayLike | None,
    name: str = "loo_std",
) -> tuple[_Array, _Array]:
    """Return the quantiles over models, panel by panel of test samples."""
    n = len(residuals)
    rank = _rank(n, check_coverage(coverage))
    scores = np.abs(residuals)
    new_std: _Array | None = None
    if (own_std is None) != (std is None):
        raise SettingError(f"normalised intervals need both {name} and std; give both or neither")
    if std is not None and own_std is not None:
        with np.errstate(over="ignore"):
            scores = scores / check_std(own_std, name, n)
        new_std = check_std(std, "std")
    lower: list[_Array] = []
    upper: list[_Array] = []
    done = 0
    for panel in panels:
        m = len(panel)
        # A broadcast row where there is one width for all test samples.
        with np.errstate(over="ignore"):
            widths = scores[None] if new_std is None else scores * new_std[done : done + m, None]
        done += m
        if new_std is not None and done > len(new_std):
            continue
        if rank > n:
            lower.append(np.full(m, -np.inf))
            upper.append(np.full(m, np.inf))
            continue
        for sign, ends in ((-1.0, lower), (1.0, upper)):
            with np.errstate(over="ignore"):
                values = sign * panel + widths
            values.partition(rank - 1, axis=1)
            ends.append(sign * values[:, rank - 1])
    if new_std is not None and done != len(new_std):
        raise SettingError(
            f"std has {len(new_std)} numbers for {done} test samples; give one for each"
        )
    if not lower:
        return np.empty(0), np.empty(0)
    return np.concatenate(lower), np.concatenate(upper)
