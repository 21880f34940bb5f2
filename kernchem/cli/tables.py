"""Tables of learning curves for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from kernchem.benchmark import LearningCurves

__all__ = ["print_tables"]

_MODES = {"direct": "Direct", "delta": "Delta"}
#: Columns of the second table: key, heading, whether it is in the unit of the target.
_DETAILS = (
    ("rmse", "RMSE", True),
    ("p95", "95 %", True),
    ("max_error", "max", True),
    ("loo_mae", "LOO MAE", True),
    ("r2", "R2", False),
    ("fit_seconds", "fit/s", False),
    ("predict_seconds", "predict/s", False),
)
#: Columns assumed where the width is unknown: nothing may be folded in a log file.
_LOG_WIDTH = 110


def print_tables(curves: LearningCurves) -> None:
    """Print errors at all sizes, then everything else at the largest one, then the notes."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_LOG_WIDTH)
    rows = curves.summary()
    settings = curves.run["settings"]
    unit = f" / {curves.unit}" if curves.unit else ""
    console.print(
        f"{settings['target']}: {curves.run['data']['n_structures']} molecules, "
        f"{settings['test_size']} of them test, mean ± std of {settings['repeats']} repeats"
    )
    for mode, name in _MODES.items():
        own = [row for row in rows if row["mode"] == mode]
        if not own:
            continue
        title = name if mode == "direct" else f"{name} on {settings['baseline']}"
        console.print(_errors(own, f"{title}: mean absolute error{unit}", curves.sizes))
    last = [row for row in rows if row["n_train"] == curves.sizes[-1]]
    title = f"At {curves.sizes[-1]} training molecules (errors{unit})"
    console.print(_details(last, title))
    for note in curves.notes():
        console.print(f"Note: {note}", markup=False)


def _errors(rows: list[dict[str, Any]], title: str, sizes: Sequence[int]) -> Table:
    table = _table(title, ["descriptor", "kernel"], [f"N = {size}" for size in sizes])
    decimals = _decimals(row["mae"] for row in rows)
    cells = {
        (row["descriptor"], row["kernel"], row["n_train"]): _with_std(row, decimals) for row in rows
    }
    for descriptor, kernel in dict.fromkeys(key[:2] for key in cells):
        errors = [cells.get((descriptor, kernel, size), "-") for size in sizes]
        table.add_row(descriptor, kernel or "-", *errors)
    return table


def _details(rows: list[dict[str, Any]], title: str) -> Table:
    table = _table(title, ["mode", "descriptor", "kernel"], [heading for _, heading, _ in _DETAILS])
    decimals = _decimals(row[key] for row in rows for key, _, own_unit in _DETAILS if own_unit)
    for row in rows:
        numbers = [
            _number(row[key], decimals if own_unit else 5 if key == "r2" else 3)
            for key, _, own_unit in _DETAILS
        ]
        table.add_row(row["mode"], row["descriptor"], row["kernel"] or "-", *numbers)
    return table


def _table(title: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _with_std(row: dict[str, Any], decimals: int) -> str:
    mean = _number(row["mae"], decimals)
    return mean if row["mae_std"] is None else f"{mean} ± {row['mae_std']:.{decimals}f}"


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _decimals(values: Any) -> int:
    """Return the decimals that give the smallest of some errors three digits."""
    positive = [value for value in values if value]
    if not positive:
        return 2
    return min(max(2 - math.floor(math.log10(min(positive))), 0), 9)
