"""Predictions beside references: errors over all batches, and the figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernchem.cli.files import check_folder
from kernchem.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ErrorSums", "check_figure", "write_parity"]

_Array = npt.NDArray[np.float64]

_FORMATS = (".png", ".pdf", ".svg")
_COLOUR, _REFERENCE_COLOUR = "#0072B2", "#888888"
#: Points up to this number are drawn one by one, more as counts in hexagons.
_DRAWN_AS_POINTS = 3000


class ErrorSums:
    """Errors of predictions that come in batches.

    Attributes
    ----------
    n : int
        Number of pairs so far.
    mae, rmse, max_error : float
        In the unit of the labels; NaN without pairs.
    r2 : float
        1 - sum of squared errors / sum of squared deviations of the references from their mean;
        NaN where all references are equal.
    """

    def __init__(self) -> None:
        self.n = 0
        self.max_error = np.nan
        self._absolute = self._squared = 0.0
        self._mean = self._spread = 0.0

    def add(self, reference: _Array, predicted: _Array) -> None:
        """Take up a batch; pairs of which one number is NaN count for nothing."""
        known = np.isfinite(reference) & np.isfinite(predicted)
        reference, error = reference[known], np.abs(reference[known] - predicted[known])
        n = len(error)
        if n == 0:
            return
        self.max_error = float(np.fmax(self.max_error, error.max()))
        self._absolute += float(error.sum())
        self._squared += float((error**2).sum())
        # The spread about the joint mean, without the cancellation of a difference of squares.
        mean, total = float(reference.mean()), self.n + n
        shift = mean - self._mean
        self._spread += float(((reference - mean) ** 2).sum()) + shift**2 * self.n * n / total
        self._mean += shift * n / total
        self.n = total

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return self._absolute / self.n if self.n else np.nan

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return float(np.sqrt(self._squared / self.n)) if self.n else np.nan

    @property
    def r2(self) -> float:
        """Coefficient of determination."""
        return 1.0 - self._squared / self._spread if self._spread > 0 else np.nan

    def describe(self, unit: str | None) -> str:
        """Return the errors in one line."""
        of = f" {unit}" if unit else ""
        return (
            f"MAE {self.mae:.4g}{of}, RMSE {self.rmse:.4g}{of}, max {self.max_error:.4g}{of}, "
            f"R2 {self.r2:.4f}"
        )


def check_figure(path: Path) -> None:
    """Raise, before anything is computed, if a figure cannot be written under this name."""
    if path.suffix.lower() not in _FORMATS:
        raise SettingError(f"--plot {path}: use a name that ends with {', '.join(_FORMATS)}")
    check_folder(path)


def write_parity(
    path: Path,
    reference: _Array,
    predicted: _Array,
    *,
    title: str,
    label: str,
    unit: str | None,
    intervals: tuple[_Array, _Array] | None = None,
) -> None:
    """Write predictions over references, and their residuals, in the format of the suffix.

    Parameters
    ----------
    path : Path
        File to write.
    reference, predicted : array (n,)
        Pairs; those with NaN are left out.
    title : str
        What is shown, above it.
    label : str
        Name of the property, for the axes.
    unit : str or None
        Unit of both.
    intervals : tuple of two arrays (n,), optional
        Lower and upper ends, drawn as bars where the points are drawn one by one.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = np.isfinite(reference) & np.isfinite(predicted)
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1.0))
    in_unit = f" / {unit}" if unit else ""
    bars = None if intervals is None else (intervals[0][known], intervals[1][known])
    _draw_pairs(left, reference[known], predicted[known], bars)
    left.set_xlabel(f"{label}, reference{in_unit}")
    left.set_ylabel(f"{label}, predicted{in_unit}")
    left.set_title(title, fontsize="medium", loc="left")
    _draw_residuals(right, reference[known] - predicted[known])
    right.set_xlabel(f"residual, reference minus predicted{in_unit}")
    right.set_ylabel("molecules")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_axisbelow(True)
    # Without date and random names, equal results are equal files.
    with rc_context({"svg.hashsalt": "kernchem"}):
        suffix = path.suffix.lower()
        dates: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        figure.savefig(path, dpi=160, metadata=dates.get(suffix))


def _draw_pairs(
    ax: Axes, reference: _Array, predicted: _Array, bars: tuple[_Array, _Array] | None
) -> None:
    ends = np.concatenate([reference, predicted])
    if len(reference) > _DRAWN_AS_POINTS:
        counts = ax.hexbin(reference, predicted, gridsize=70, bins="log", mincnt=1, cmap="viridis")
        ax.figure.colorbar(counts, ax=ax, label="molecules")
    else:
        if bars is not None:
            # An interval without an end is not drawn.
            drawn = np.isfinite(bars).all(axis=0)
            lower, upper = bars[0][drawn], bars[1][drawn]
            ax.vlines(reference[drawn], lower, upper, color=_COLOUR, linewidth=0.7, alpha=0.35)
            ends = np.concatenate([ends, lower, upper])
        ax.plot(reference, predicted, ".", color=_COLOUR, markersize=4, alpha=0.6, mew=0)
    low, high = (float(ends.min()), float(ends.max())) if len(ends) else (0.0, 1.0)
    margin = 0.03 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    ax.plot(limits, limits, color=_REFERENCE_COLOUR, linewidth=1.0, zorder=0)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    ax.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)


def _draw_residuals(ax: Axes, residuals: _Array) -> None:
    ax.hist(residuals, bins=41, color=_COLOUR)
    ax.axvline(0.0, color=_REFERENCE_COLOUR, linewidth=1.0)
