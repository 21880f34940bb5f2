"""Recalibration of Gaussian error bars by the distribution of z-scores that was seen."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from kernchem.errors import SettingError
from kernchem.uncertainty.checks import check_coverage, check_std, check_vector

__all__ = ["IsotonicCalibration"]

_Array = npt.NDArray[np.float64]


class IsotonicCalibration:
    r"""Monotone map from the probability that Gaussian intervals promise to the one they keep.

    .. math:: \hat p(p) = \frac{\#\{ |z_i| \le \Phi^{-1}((1 + p) / 2) \}}{n + 1}

    interpolated linearly in :math:`|z|`. Its inverse says how many standard deviations an interval
    needs: for heavy tails less than a Gaussian's in the middle, and more outside.

    Attributes
    ----------
    scores_ : array (k,)
        Absolute z-scores at which the map bends, ascending from 0, each once.
    levels_ : array (k,)
        Probability that the next one is not larger, ascending from 0 to less than 1.

    Notes
    -----
    At n different scores probabilities are exact for the next of n + 1 exchangeable ones; equal
    scores share the mean of their levels.
    Beyond the largest one, from a coverage of n / (n + 1) on, there is no information: the map goes
    on as a Gaussian through the last point, and nothing is promised
    (:func:`kernchem.uncertainty.split_conformal` gives infinity there). O(n log n).

    ``scores_`` and ``levels_`` are all the state there is: :meth:`restored` makes a map of them.

    References
    ----------
    Kuleshov, Fenner and Ermon, ICML (2018), https://arxiv.org/abs/1807.00263

    Examples
    --------
    >>> calibration = IsotonicCalibration().fit([0.5, -1.0, 3.0, -2.0], np.ones(4))
    >>> calibration.scale(0.4), calibration.scale(0.7)
    (1.0, 2.5)
    """

    @classmethod
    def restored(cls, scores: _Array, levels: _Array) -> Self:
        """Return the map that has these attributes, as a model file keeps them.

        Parameters
        ----------
        scores : array (k,)
            ``scores_``.
        levels : array (k,)
            ``levels_``.

        Returns
        -------
        IsotonicCalibration
            The map.
        """
        self = cls()
        self.scores_, self.levels_ = scores, levels
        return self

    def fit(self, residuals: npt.ArrayLike, std: npt.ArrayLike) -> Self:
        """Learn the map from residuals of samples that the model was not fitted on.

        Parameters
        ----------
        residuals : array-like (n,)
            Leave-one-out or held-out residuals.
        std : array-like (n,)
            Their standard deviations, in the same unit, > 0.

        Returns
        -------
        IsotonicCalibration
            Itself.

        Raises
        ------
        SettingError
            If shapes differ, a number is not finite, or a standard deviation is not above zero.
        """
        from sklearn.isotonic import IsotonicRegression

        residuals = check_vector(residuals, "residuals")
        with np.errstate(over="ignore"):
            scores = np.sort(np.abs(residuals) / check_std(std, "std", len(residuals)))
        n = len(scores)
        # Scores beyond the largest number tell nothing but that they are there.
        finite = np.isfinite(scores)
        if not finite.any():
            raise SettingError(
                "all residuals are too large for their standard deviations; std must be in the "
                "unit of the residuals"
            )
        levels = (np.arange(1, n + 1) / (n + 1))[finite]
        regression = IsotonicRegression().fit(scores[finite], levels)
        knots, levels = regression.X_thresholds_, regression.y_thresholds_
        positive = knots > 0.0
        self.scores_: _Array = np.concatenate([[0.0], knots[positive]])
        self.levels_: _Array = np.concatenate([[0.0], levels[positive]])
        return self

    def probability(self, nominal: float) -> float:
        """Return the probability with which a central Gaussian interval holds the label.

        Parameters
        ----------
        nominal : float
            Probability that it promises, above 0 and below 1.

        Returns
        -------
        float
            The one it keeps; at most the last of ``levels_``.

        Raises
        ------
        SettingError
            If the probability does not lie between 0 and 1.
        """
        bound = float(ndtri(0.5 + check_coverage(nominal, "nominal") / 2.0))
        return float(np.interp(bound, self.scores_, self.levels_))

    def scale(self, coverage: float) -> float:
        """Return the number of standard deviations that hold the label with this probability.

        Parameters
        ----------
        coverage : float
            Probability, above 0 and below 1.

        Returns
        -------
        float
            Half width of the interval in standard deviations.

        Raises
        ------
        SettingError
            If the probability does not lie between 0 and 1.
        """
        coverage = check_coverage(coverage)
        if len(self.scores_) == 1:
            return 0.0
        last = float(self.levels_[-1])
        if coverage <= last:
            return float(np.interp(coverage, self.levels_, self.scores_))
        ratio = ndtri(0.5 + coverage / 2.0) / ndtri(0.5 + last / 2.0)
        with np.errstate(over="ignore"):
            return float(self.scores_[-1] * ratio)

    def interval(
        self, mean: npt.ArrayLike, std: npt.ArrayLike, coverage: float
    ) -> tuple[_Array, _Array]:
        """Return central intervals.

        Parameters
        ----------
        mean : array-like (m,)
            Predictions.
        std : array-like (m,)
            Standard deviations, in the unit of the predictions, > 0.
        coverage : float
            Probability, above 0 and below 1.

        Returns
        -------
        lower : array (m,)
            Lower ends, in the unit of the predictions.
        upper : array (m,)
            Upper ends.

        Raises
        ------
        SettingError
            If shapes differ, a number is not finite, a standard deviation is not above zero, or the
            probability does not lie between 0 and 1.
        """
        mean = check_vector(mean, "mean")
        with np.errstate(over="ignore"):
            half = self.scale(coverage) * check_std(std, "std", len(mean))
            return mean - half, mean + half
