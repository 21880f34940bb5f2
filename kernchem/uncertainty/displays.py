"""Pictures of predictions and their error bars, in scikit-learn's Display protocol.

``from_predictions`` and ``from_estimator`` draw at once; ``plot`` draws again, on other axes. The
axes and the figure are ``ax_`` and ``figure_``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from kernchem.errors import SettingError
from kernchem.uncertainty._axes import (
    COLOUR,
    DRAWN_AS_POINTS,
    GRID_COLOUR,
    REFERENCE_COLOUR,
    SECOND_COLOUR,
    THIRD_COLOUR,
    axis_limits,
    log_limits,
    new_axes,
    tidy,
)
from kernchem.uncertainty.checks import check_predictions
from kernchem.uncertainty.metrics import (
    calibration_curve,
    coverage_band,
    miscalibration_area,
    root_mean_square,
    std_bins,
)
from kernchem.uncertainty.ranking import error_retention_curve, error_spearman

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CalibrationDisplay",
    "ErrorUncertaintyDisplay",
    "ParityDisplay",
    "RetentionDisplay",
]

_Array = npt.NDArray[np.float64]

#: Smaller errors than this fraction of all may lie below a logarithmic axis.
_BELOW_AXIS = 0.01


class _Display(ABC):
    """Predictions with error bars, and how they come onto axes."""

    _size = (5.2, 4.6)

    def __init__(
        self,
        y: npt.ArrayLike,
        mean: npt.ArrayLike,
        std: npt.ArrayLike,
        *,
        unit: str | None = None,
    ) -> None:
        self.y, self.mean, self.std = check_predictions(y, mean, std)
        self.unit = unit

    @classmethod
    def from_predictions(
        cls,
        y: npt.ArrayLike,
        mean: npt.ArrayLike,
        std: npt.ArrayLike,
        *,
        unit: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw predictions.

        Parameters
        ----------
        y : array-like (n,)
            Labels.
        mean : array-like (n,)
            Predictions, in the unit of the labels.
        std : array-like (n,)
            Standard deviations, in the unit of the labels, > 0.
        unit : str, optional
            Unit of all of them, for the axes.
        ax : matplotlib.axes.Axes, optional
            Where to draw; on a new figure by default.

        Returns
        -------
        Display
            The display, drawn.

        Raises
        ------
        SettingError
            If shapes differ, a number is not finite, or a standard deviation is not above zero.
        """
        return cls(y, mean, std, unit=unit).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: npt.ArrayLike,
        *,
        unit: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the predictions of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted; ``predict(X, return_std=True)`` gives means and standard deviations.
        X : array-like (n, n_features) or structures
            Samples to predict.
        y : array-like (n,)
            Labels.
        unit : str, optional
            Unit of the labels, for the axes.
        ax : matplotlib.axes.Axes, optional
            Where to draw; on a new figure by default.

        Returns
        -------
        Display
            The display, drawn.

        Raises
        ------
        SettingError
            If the estimator predicts no standard deviations, shapes differ, a number is not
            finite, or a standard deviation is not above zero.
        """
        try:
            mean, std = estimator.predict(X, return_std=True)
        except TypeError as error:
            if "return_std" not in str(error):
                raise
            raise SettingError(
                f"{type(estimator).__name__} predicts no standard deviations, which "
                f"{cls.__name__} shows; use a model with error bars such as GPR"
            ) from None
        return cls(y, mean, std, unit=unit).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw on axes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; on a new figure by default.

        Returns
        -------
        Display
            Itself, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax, self._size)
        self._draw(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @abstractmethod
    def _draw(self, ax: Axes) -> None:
        """Draw on axes; a subclass implements it."""

    def _label(self, quantity: str) -> str:
        return f"{quantity} / {self.unit}" if self.unit else quantity


class ParityDisplay(_Display):
    """Predictions over labels, with error bars of one standard deviation.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.
    unit : str, optional
        Unit of all of them, for the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of these axes.

    Notes
    -----
    More than 3000 points are drawn as counts in hexagons, without error bars.
    """

    def _draw(self, ax: Axes) -> None:
        if len(self.y) > DRAWN_AS_POINTS:
            drawn = ax.hexbin(self.y, self.mean, gridsize=70, bins="log", mincnt=1, cmap="viridis")
            ax.figure.colorbar(drawn, ax=ax, label="samples", shrink=0.75)
            quantity = "prediction"
        else:
            ax.errorbar(
                self.y,
                self.mean,
                yerr=self.std,
                fmt=".",
                color=COLOUR,
                ecolor=COLOUR,
                elinewidth=0.8,
                alpha=0.5,
                markersize=5,
                markeredgewidth=0,
            )
            quantity = "prediction ± std"
        ends = np.concatenate([self.y, self.mean])
        limits = axis_limits(ends)
        ax.plot(limits, limits, color=REFERENCE_COLOUR, linewidth=1.0, zorder=0)
        ax.set(xlim=limits, ylim=limits, aspect="equal")
        ax.locator_params(nbins=6)
        ax.set_xlabel(self._label("label"))
        ax.set_ylabel(self._label(quantity))
        tidy(ax)


class CalibrationDisplay(_Display):
    """Observed over promised coverage of central Gaussian intervals.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.
    unit : str, optional
        Unit of all of them; not shown.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of these axes.

    Notes
    -----
    Below the diagonal error bars are too small, above it too large. Calibrated predictions lie in
    the grey band with a probability of 95 % at each level.
    """

    def _draw(self, ax: Axes) -> None:
        expected, observed = calibration_curve(self.y, self.mean, self.std)
        area = miscalibration_area(self.y, self.mean, self.std)
        n = len(self.y)
        band = np.array([coverage_band(n, level, 0.95) for level in expected[1:-1]])
        band = np.vstack([[0.0, 0.0], band, [1.0, 1.0]])
        ax.fill_between(
            expected, band[:, 0], band[:, 1], color=GRID_COLOUR, linewidth=0, label="95 % band"
        )
        ax.plot([0, 1], [0, 1], color=REFERENCE_COLOUR, linewidth=1.0)
        ax.plot(expected, observed, color=COLOUR, linewidth=1.8, label=f"observed, area {area:.3f}")
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        ax.set_xlabel("promised coverage")
        ax.set_ylabel("observed coverage")
        ax.legend(loc="upper left", frameon=False)
        tidy(ax)


class ErrorUncertaintyDisplay(_Display):
    """Absolute errors over standard deviations, and their root mean squares bin by bin.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.
    unit : str, optional
        Unit of all of them, for the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of these axes.

    Notes
    -----
    Bins hold equal numbers of samples, at least 10 and as many as make at most 10 bins; those of
    calibrated predictions lie on the diagonal. Errors of zero, and the smallest 1 %, lie below the
    axis.

    References
    ----------
    Levi, Gispan, Giladi and Fetaya, Sensors 22, 5540 (2022), https://doi.org/10.3390/s22155540
    """

    def _draw(self, ax: Axes) -> None:
        errors = np.abs(self.y - self.mean)
        shown = errors > 0.0
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.plot(
            self.std[shown],
            errors[shown],
            ".",
            color=COLOUR,
            alpha=0.4 if len(errors) <= DRAWN_AS_POINTS else 0.1,
            markersize=5,
            markeredgewidth=0,
        )
        # In the legend a single point of many would be too pale to be seen.
        ax.plot([], [], ".", color=COLOUR, markersize=8, markeredgewidth=0, label="|residual|")
        bins = std_bins(self.std, max(1, min(10, len(errors) // 10)))
        ax.plot(
            [root_mean_square(self.std[rows]) for rows in bins],
            [root_mean_square(errors[rows]) for rows in bins],
            "o-",
            color=SECOND_COLOUR,
            markersize=6,
            linewidth=1.4,
            label="RMSE in bins",
        )
        x_limits = log_limits(self.std)
        if shown.any():
            smallest = np.quantile(errors[shown], _BELOW_AXIS)
            y_limits = log_limits(np.array([smallest, errors.max()]))
        else:
            y_limits = x_limits
        ax.plot(
            x_limits, x_limits, color=REFERENCE_COLOUR, linewidth=1.0, zorder=1.5, label="ideal"
        )
        ax.set(xlim=x_limits, ylim=y_limits)
        ax.set_xlabel(self._label("std"))
        ax.set_ylabel(self._label("|residual|"))
        spearman = error_spearman(self.y, self.mean, self.std)
        ax.set_title(f"Spearman {spearman:.2f}", fontsize="medium", loc="left")
        ax.legend(loc="lower right", framealpha=0.8, edgecolor="none")
        tidy(ax)


class RetentionDisplay(_Display):
    """Mean absolute error of the most certain predictions over the fraction that is kept.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    std : array-like (n,)
        Standard deviations, in the unit of the labels, > 0.
    unit : str, optional
        Unit of all of them, for the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of these axes.

    Notes
    -----
    The lowest curve sorts by the errors themselves, which no model can know.
    """

    _size = (5.6, 4.2)

    def _draw(self, ax: Axes) -> None:
        kept, mae = error_retention_curve(self.y, self.mean, self.std)
        errors = np.sort(np.abs(self.y - self.mean))
        best = np.cumsum(errors) / np.arange(1, len(errors) + 1)
        ax.axhline(mae[-1], color=REFERENCE_COLOUR, linewidth=1.2, label="in random order")
        ax.plot(kept, mae, color=COLOUR, linewidth=1.8, label="by std")
        ax.plot(kept, best, color=THIRD_COLOUR, linewidth=1.2, linestyle="--", label="by error")
        # The first few means are noise, and would set the scale.
        settled = mae[len(mae) // 50 :]
        ax.set(xlim=(0, 1), ylim=(0, 1.25 * max(float(settled.max()), 1e-300)))
        ax.set_xlabel("fraction kept, most certain first")
        ax.set_ylabel(self._label("MAE of the kept"))
        ax.legend(loc="upper center", ncols=3, frameon=False)
        tidy(ax)
