"""What a campaign shows: a line on the terminal, a table, a picture, and what is labelled."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernchem._files import write_atomically
from kernchem.sampling.campaign.oracles import write_structures
from kernchem.structures import Structures
from kernchem.uncertainty._axes import COLOUR, new_axes, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_history", "status_line", "write_history", "write_labelled", "write_picture"]

History = Sequence[Mapping[str, Any]]

_COLUMNS = (
    "round", "labels", "failed", "cost", "loo_mae", "loo_lower", "loo_upper", "refit", "gain",
    "seconds",
)  # fmt: skip
#: Inches of the picture.
_SIZE = (6.4, 4.2)


@contextmanager
def status_line(*, shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda _: None
        return
    with console.status("") as line:
        yield line.update


def write_history(path: Path, history: History) -> None:
    """Write a CSV with one line per round; a cell is empty where there is no number."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*_COLUMNS, "picks"])
            for row in history:
                cells = ["" if row[name] is None else row[name] for name in _COLUMNS]
                writer.writerow([*cells, len(row["picks"])])

    write_atomically(path, write)


def write_labelled(
    path: Path,
    pool: Structures,
    rows: Sequence[int],
    labels: npt.NDArray[np.float64],
    name: str,
) -> None:
    """Write the labelled structures in the order of their labels, as extended XYZ."""
    write_atomically(
        path, lambda temporary: write_structures(temporary, pool, rows, {name: labels})
    )


def write_picture(path: Path, history: History, name: str) -> None:
    """Write the picture of a history in the format of the path's suffix, without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    draw_history(history, name, figure.add_subplot())
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=160))


def draw_history(history: History, name: str, ax: Axes | None = None) -> Axes:
    """Draw the leave-one-out error with its bounds over the number of labels."""
    ax = new_axes(ax, _SIZE)
    known = [row for row in history if row["loo_mae"]]
    labels = [row["labels"] for row in known]
    ax.fill_between(
        labels, [row["loo_lower"] for row in known], [row["loo_upper"] for row in known],
        color=COLOUR, alpha=0.2, linewidth=0.0, label="bounds at 5 and 95 %",
    )  # fmt: skip
    ax.plot(labels, [row["loo_mae"] for row in known], "o-", color=COLOUR, markersize=4.0)
    ax.set_xlabel("number of labels")
    ax.set_ylabel(f"leave-one-out MAE, {name}")
    if known:
        ax.set_xlim(left=0.0)
        ax.set_ylim(bottom=0.0)
        ax.legend(frameon=False)
    tidy(ax)
    return ax
