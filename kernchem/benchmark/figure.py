"""The figure of learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kernchem.benchmark.candidates import COMPOSITION
from kernchem.units import ENERGY_UNITS, energy_factor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kernchem.benchmark.protocol import Record

__all__ = ["draw", "write_figure"]

# Okabe and Ito, Color universal design (2008): told apart by the colour-blind too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_REFERENCE_COLOUR = "#888888"
_MARKERS = "osD^v<>"
_STYLES: dict[str, Literal["-", "--"]] = {"direct": "-", "delta": "--"}
_MODE_NAMES = {"direct": "direct", "delta": "$\\Delta$ to the baseline"}


def write_figure(summary: list[Record], settings: dict[str, Any], path: Path) -> None:
    """Write the figure in the format of the path's suffix, without a display."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    draw(summary, settings, figure.add_subplot())
    # Without date and random names, equal results are equal files.
    with rc_context({"svg.hashsalt": "kernchem"}):
        date = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=160, metadata=date)


def draw(summary: list[Record], settings: dict[str, Any], ax: Axes) -> None:
    """Draw the curves on axes: a colour per descriptor, dashes for Delta, a marker per kernel.

    Parameters
    ----------
    summary : list of dict
        Means over repeats, of :meth:`kernchem.benchmark.LearningCurves.summary`.
    settings : dict
        Those of the run, for title and unit; may be empty.
    ax : matplotlib axes
        To draw on.
    """
    rows = [row for row in summary if row["mae"] is not None]
    descriptors = list(dict.fromkeys(row["descriptor"] for row in rows))
    colours = {COMPOSITION: _REFERENCE_COLOUR}
    for k, name in enumerate(name for name in descriptors if name != COMPOSITION):
        colours[name] = _COLOURS[k % len(_COLOURS)]
    kernels = list(dict.fromkeys(row["kernel"] for row in rows if row["kernel"]))
    for curve in dict.fromkeys((r["mode"], r["descriptor"], r["kernel"]) for r in rows):
        mode, descriptor, kernel = curve
        own = [r for r in rows if (r["mode"], r["descriptor"], r["kernel"]) == curve]
        mean = np.array([row["mae"] for row in own])
        std = np.array([row["mae_std"] or 0.0 for row in own])
        reference = descriptor == COMPOSITION
        ax.errorbar(
            [row["n_train"] for row in own],
            mean,
            # A bar that reached zero would have no end on a logarithmic axis.
            yerr=[np.minimum(std, 0.9 * mean), std],
            color=colours[descriptor],
            linestyle=_STYLES[mode],
            linewidth=1.2 if reference else 1.8,
            marker="" if reference else _MARKERS[kernels.index(kernel) % len(_MARKERS)],
            markersize=5,
            markerfacecolor="white" if mode == "delta" else colours[descriptor],
            capsize=2.5,
            elinewidth=1.0,
        )
    _label_axes(sorted({row["n_train"] for row in summary}), settings, ax)
    _add_accuracy_line(settings.get("unit"), ax)
    _add_legend(ax, colours, descriptors, kernels, [row["mode"] for row in rows])


def _label_axes(sizes: list[int], settings: dict[str, Any], ax: Axes) -> None:
    from matplotlib.ticker import (
        FixedLocator,
        FuncFormatter,
        LogLocator,
        NullFormatter,
        NullLocator,
    )

    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("training molecules")
    unit = f" / {settings['unit']}" if settings.get("unit") else ""
    ax.set_ylabel(f"mean absolute error{unit}")
    if settings:
        ax.set_title(
            f"{settings['target']}: {settings['test_size']} test molecules, "
            f"mean ± std of {settings['repeats']} repeats",
            fontsize="medium",
            loc="left",
        )
    ax.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _add_accuracy_line(unit: str | None, ax: Axes) -> None:
    """Mark chemical accuracy, 1 kcal/mol, where the unit is one of energy."""
    if unit not in ENERGY_UNITS:
        return
    accuracy = energy_factor("kcal/mol", unit)
    ax.axhline(accuracy, color="black", linewidth=0.8, linestyle=":")
    ax.annotate(
        "1 kcal/mol",
        (1.0, accuracy),
        xycoords=ax.get_yaxis_transform(),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize="small",
    )


def _add_legend(
    ax: Axes, colours: dict[str, str], descriptors: list[str], kernels: list[str], modes: list[str]
) -> None:
    """Explain colours, dashes and, where there are several, markers."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colours[name], lw=2, label=name) for name in descriptors]
    if len(set(modes)) > 1:
        handles += [
            Line2D([], [], color="black", lw=1.2, linestyle=style, label=_MODE_NAMES[mode])
            for mode, style in _STYLES.items()
        ]
    if len(kernels) > 1:
        handles += [
            Line2D([], [], color="black", lw=0, marker=_MARKERS[k % len(_MARKERS)], label=name)
            for k, name in enumerate(kernels)
        ]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
