"""Intervals of a Gaussian process, and the errors on samples that were kept back for them."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from kernchem._validation import check_labels
from kernchem.errors import LabelError, SettingError
from kernchem.models.kernel_model import require_choice
from kernchem.models.process import ProcessModel
from kernchem.uncertainty import split_conformal
from kernchem.uncertainty.checks import check_coverage

__all__ = ["IntervalModel"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

IntervalMethod = Literal["calibrated", "gaussian", "jackknife+", "cv+", "conformal"]
_METHODS = ("calibrated", "gaussian", "jackknife+", "cv+", "conformal")

#: Folds of CV+ where ``cv`` says nothing.
_CV_PLUS_FOLDS = 10


class IntervalModel(ProcessModel):
    """A process that predicts intervals."""

    def predict_interval(
        self, X: Any, coverage: float = 0.9, method: IntervalMethod = "calibrated"
    ) -> tuple[_Array, _Array]:
        """Return intervals in which labels lie with a given probability.

        Parameters
        ----------
        X : array (n, n_features) or structures
            What to predict.
        coverage : float, default 0.9
            Probability, above 0 and below 1.
        method : str, default "calibrated"
            - "calibrated": standard deviation times the factor that holds for leave-one-out
              residuals;
            - "gaussian": standard deviation times that of a normal distribution;
            - "jackknife+": quantiles over all models without one sample, exact, no refits;
            - "cv+": the same without one fold: those of ``fit`` where it was given groups, of
              which labels that were appended are in none; else those of ``cv``, by default 10, or
              one sample each where there are fewer;
            - "conformal": from the samples given to :meth:`calibrate`.

        Returns
        -------
        lower, upper : array (n,) or (n, n_targets)
            Ends, in the unit of the labels; infinite where there are too few samples.

        Raises
        ------
        SettingError
            If the method is unknown, the coverage does not lie between 0 and 1, or "conformal" is
            asked for before :meth:`calibrate`.
        """
        require_choice("method", method, _METHODS)
        coverage = check_coverage(coverage)
        check_is_fitted(self, "dual_coef_")
        posterior = self._posterior
        if method == "jackknife+":
            ends = posterior.jackknife(self._panels(X), coverage)
        elif method == "cv+":
            ends = posterior.cv_plus(self._panels(X), coverage, self._cv_plus_folds())
        else:
            mean, std = self._mean_and_std(X)
            ends = [
                self._interval(mean[:, t], std[:, t], coverage, method, t)
                for t in range(mean.shape[1])
            ]
        lower, upper = (np.stack(side, axis=1) for side in zip(*ends, strict=True))
        return self._like_labels(lower), self._like_labels(upper)

    def calibrate(self, X: Any, y: Any) -> Self:
        """Keep the errors on labelled samples that were not in ``fit``, for conformal intervals.

        ``append`` and ``forget`` make another model, of which the errors are not known.

        Parameters
        ----------
        X : array (n, n_features) or structures
            Samples.
        y : array (n,) or (n, n_targets)
            Their labels.

        Returns
        -------
        GPR
            This object.
        """
        mean, std = self._mean_and_std(X)
        labels = check_labels(y, len(mean)).reshape(len(mean), -1)
        if labels.shape != mean.shape:
            raise LabelError(f"y has {labels.shape[1]} targets and the model {mean.shape[1]}")
        self._scores = np.abs(labels - mean) / std
        return self

    def _cv_plus_folds(self) -> list[_Rows]:
        """Return the distinct training samples of each fold of CV+."""
        if self._group_folds is not None:
            return self._training.folds(self._group_folds[self._kept]) or []
        few = min(_CV_PLUS_FOLDS, len(self._labels))
        return self._folds(few if self.cv is None else self.cv, None) or []

    def _interval(
        self, mean: _Array, std: _Array, coverage: float, method: str, target: int
    ) -> tuple[_Array, _Array]:
        if method == "gaussian":
            width = float(ndtri(0.5 + 0.5 * coverage)) * std
            return mean - width, mean + width
        if method == "conformal":
            if not hasattr(self, "_scores"):
                raise SettingError(
                    "method='conformal' needs labelled samples that were not in fit: call "
                    "calibrate(X, y) first, or use 'jackknife+', which needs none"
                )
            if len(mean) == 0:
                return mean, mean
            return split_conformal(mean, self._scores[:, target], coverage, scale=std)
        if not self._quantiles:
            raise SettingError(
                "method='calibrated' needs samples that can be left out; use 'gaussian'"
            )
        if len(mean) == 0:
            return mean, mean
        ends: tuple[_Array, _Array] = self._quantiles[target].interval(mean, std, coverage)
        return ends
