"""Tables of learning curves for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from kernchem.benchmark import LearningCurves

__all__ = ["print_tables"]

_Columns = tuple[tuple[str, str, int | None], ...]
#: Columns of the second table: key, heading, decimals; None for numbers in the unit of the target.
_DETAILS: _Columns = (
    ("rmse", "RMSE", None),
    ("p95", "95 %", None),
    ("max_error", "max", None),
    ("loo_mae", "LOO", None),
    ("r2", "R2", 4),
    ("fit_seconds", "fit/s", 3),
    ("predict_seconds", "pred/s", 3),
)
#: Columns of the table of error bars.
_ERROR_BARS: _Columns = (
    ("miscalibration_area", "miscal", 3),
    ("ence", "ENCE", 3),
    ("coverage_90", "in 90 %", 3),
    ("error_spearman", "Spearman", 3),
    ("nll", "NLL", 3),
    ("crps", "CRPS", None),
    ("sharpness", "sharp", None),
)
#: The tables of the packaged molecules fit into this width; none is folded or shortened to less.
_WIDTH = 80
#: Width where there is no terminal.
_LOG_WIDTH = 120


def print_tables(curves: LearningCurves) -> None:
    """Print errors at all sizes, then everything else at the largest one, then the notes.

    Everything else is error bars, where the models have them, and the rest.
    """
    from rich.console import Console

    console = Console()
    width = max(console.width, _WIDTH) if console.is_terminal else _LOG_WIDTH
    console = Console(width=width, highlight=False, markup=False)
    # A pipe of another encoding, as on Windows, may lack the sign.
    sign = "±" if console.encoding.lower().startswith("utf") else "+-"
    settings, sizes, rows = curves.run["settings"], curves.sizes, curves.summary()
    unit = f" / {curves.unit}" if curves.unit else ""
    baseline = settings["baseline"]
    below = baseline if baseline is None or isinstance(baseline, str) else ", ".join(baseline)
    titles = {"direct": "Direct", "delta": f"Delta on {below}"}
    modes = list(dict.fromkeys(row["mode"] for row in rows))

    def show(title: str, table: Table) -> None:
        console.print(f"\n{title}", style="bold")
        console.print(table)

    console.print(
        f"{settings['target']}: {curves.run['data']['n_structures']} molecules, "
        f"{settings['test_size']} for testing, mean {sign} std of {settings['repeats']} repeats"
    )
    for mode in modes:
        own = [row for row in rows if row["mode"] == mode]
        show(
            f"{titles[mode]}: mean absolute error{unit}",
            _errors(own, sizes, settings["repeats"], sign),
        )
    for mode in modes:
        own = [row for row in rows if row["mode"] == mode and row["n_train"] == sizes[-1]]
        barred = [row for row in own if row.get("crps") is not None]
        if barred:
            show(
                f"{titles[mode]}: error bars at N = {sizes[-1]}, CRPS and sharpness{unit}",
                _details(barred, _ERROR_BARS),
            )
        show(f"{titles[mode]}: the rest at N = {sizes[-1]}, errors{unit}", _details(own, _DETAILS))
    console.print()
    for note in curves.notes():
        console.print(f"Note: {note}")


def _errors(rows: list[dict[str, Any]], sizes: Sequence[int], repeats: int, sign: str) -> Table:
    table = _table([f"N = {size}" for size in sizes])
    decimals = _decimals(row["mae"] for row in rows)
    cells = {
        (row["descriptor"], row["kernel"], row["n_train"]): _with_std(row, decimals, repeats, sign)
        for row in rows
    }
    for descriptor, kernel in dict.fromkeys(key[:2] for key in cells):
        errors = [cells[descriptor, kernel, size] for size in sizes]
        table.add_row(descriptor, kernel or "-", *errors)
    return table


def _details(rows: list[dict[str, Any]], columns: _Columns) -> Table:
    table = _table([heading for _, heading, _ in columns])
    in_unit = _decimals(
        row[key] for row in rows for key, _, decimals in columns if decimals is None
    )
    for row in rows:
        numbers = [
            _number(row[key], in_unit if decimals is None else decimals)
            for key, _, decimals in columns
        ]
        table.add_row(row["descriptor"], row["kernel"] or "-", *numbers)
    return table


def _table(headings: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for name in ("descriptor", "kernel"):
        table.add_column(name, no_wrap=True)
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _with_std(row: dict[str, Any], decimals: int, repeats: int, sign: str) -> str:
    """Return a mean with its standard deviation, and with its repeats if some of them failed."""
    text = _number(row["mae"], decimals)
    if row["mae_std"] is not None:
        text += f" {sign} {row['mae_std']:.{decimals}f}"
    return f"{text} ({row['n_repeats']})" if row["n_repeats"] < repeats else text


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _decimals(values: Any) -> int:
    """Return the decimals that give the smallest of some errors three digits."""
    positive = [value for value in values if value]
    if not positive:
        return 2
    return min(max(2 - math.floor(math.log10(min(positive))), 0), 9)
