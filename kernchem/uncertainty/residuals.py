"""Pictures of residuals, with or without error bars beside the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from kernchem.errors import SettingError
from kernchem.uncertainty._axes import (
    COLOUR,
    DRAWN_AS_POINTS,
    REFERENCE_COLOUR,
    axis_limits,
    new_axes,
    tidy,
)
from kernchem.uncertainty.checks import check_vector

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ResidualsDisplay"]


class ResidualsDisplay:
    """Residuals over predictions, and their histogram beside them.

    Parameters
    ----------
    y : array-like (n,)
        Labels.
    mean : array-like (n,)
        Predictions, in the unit of the labels.
    unit : str, optional
        Unit of both, for the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where the residuals were drawn; the histogram is its child.
    figure_ : matplotlib.figure.Figure
        The figure of these axes.

    Raises
    ------
    SettingError
        If shapes differ or a number is not finite.
    """

    def __init__(self, y: npt.ArrayLike, mean: npt.ArrayLike, *, unit: str | None = None) -> None:
        self.y = check_vector(y, "y")
        self.mean = check_vector(mean, "mean", len(self.y))
        self.unit = unit

    @classmethod
    def from_predictions(
        cls,
        y: npt.ArrayLike,
        mean: npt.ArrayLike,
        *,
        unit: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the residuals of predictions.

        Parameters
        ----------
        y : array-like (n,)
            Labels.
        mean : array-like (n,)
            Predictions, in the unit of the labels.
        unit : str, optional
            Unit of both, for the axes.
        ax : matplotlib.axes.Axes, optional
            Where to draw; on a new figure by default.

        Returns
        -------
        Display
            The display, drawn.
        """
        return cls(y, mean, unit=unit).plot(ax)

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
        """Draw the residuals of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted; ``predict(X)`` gives predictions.
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
        """
        return cls(y, estimator.predict(X), unit=unit).plot(ax)

    @classmethod
    def from_loo(
        cls,
        estimator: Any,
        y: npt.ArrayLike,
        *,
        unit: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the leave-one-out residuals of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted; ``loo_residuals_`` holds a residual for each training sample, NaN where there is
            none.
        y : array-like (n,)
            Labels of the training samples.
        unit : str, optional
            Unit of the labels, for the axes.
        ax : matplotlib.axes.Axes, optional
            Where to draw; on a new figure by default.

        Returns
        -------
        Display
            The display, drawn.
        """
        left_out = np.asarray(estimator.loo_residuals_)
        if left_out.ndim != 1:
            raise SettingError(
                f"loo_residuals_ has shape {left_out.shape}; draw each column of it by "
                "from_predictions(y[:, t], y[:, t] - model.loo_residuals_[:, t])"
            )
        y = check_vector(y, "y", len(left_out))
        predictions = y - left_out
        known = np.isfinite(predictions)
        return cls(y[known], predictions[known], unit=unit).plot(ax)

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
        ax = new_axes(ax, (6.8, 4.4))
        residuals = self.y - self.mean
        limits = axis_limits(residuals)
        if len(residuals) > DRAWN_AS_POINTS:
            ax.hexbin(self.mean, residuals, gridsize=(70, 30), bins="log", mincnt=1, cmap="viridis")
        else:
            ax.plot(self.mean, residuals, ".", color=COLOUR, markersize=5, alpha=0.6, mew=0)
        ax.axhline(0.0, color=REFERENCE_COLOUR, linewidth=1.0)
        ax.set_ylim(limits)
        ax.locator_params(axis="x", nbins=6)
        in_unit = f" / {self.unit}" if self.unit else ""
        ax.set_xlabel(f"prediction{in_unit}")
        ax.set_ylabel(f"residual, label minus prediction{in_unit}")
        # Beside the axes, not on them: a given `ax` keeps its size.
        side = ax.inset_axes((1.03, 0.0, 0.28, 1.0), sharey=ax)
        bins = np.linspace(*limits, 42)
        side.hist(residuals, bins=bins.tolist(), orientation="horizontal", color=COLOUR)
        side.axhline(0.0, color=REFERENCE_COLOUR, linewidth=1.0)
        side.tick_params(labelleft=False)
        side.set_xlabel("samples")
        tidy(ax)
        tidy(side)
        self.ax_, self.figure_ = ax, ax.figure
        return self
