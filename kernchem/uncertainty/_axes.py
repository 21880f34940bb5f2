"""Colours and axes of the displays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOUR",
    "DRAWN_AS_POINTS",
    "GRID_COLOUR",
    "REFERENCE_COLOUR",
    "SECOND_COLOUR",
    "THIRD_COLOUR",
    "axis_limits",
    "log_limits",
    "new_axes",
    "tidy",
]

_Array = npt.NDArray[np.float64]

# Okabe and Ito, Color universal design (2008): told apart by the colour-blind too.
COLOUR, SECOND_COLOUR, THIRD_COLOUR = "#0072B2", "#D55E00", "#009E73"
REFERENCE_COLOUR, GRID_COLOUR = "#888888", "#dddddd"
#: Points up to this number are drawn one by one, more as counts in hexagons.
DRAWN_AS_POINTS = 3000


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return the axes that were given, or those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def axis_limits(values: _Array) -> tuple[float, float]:
    """Return limits of an axis that hold all values."""
    low, high = float(values.min()), float(values.max())
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def log_limits(values: _Array) -> tuple[float, float]:
    """Return limits of a logarithmic axis that hold all values and something beside them."""
    low, high = np.log10(values.min()), np.log10(values.max())
    margin = max(0.04 * (high - low), 0.15)
    return float(10.0 ** (low - margin)), float(10.0 ** (high + margin))


def tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=True, which="major", color=GRID_COLOUR, linewidth=0.7)
    ax.set_axisbelow(True)
