"""``kernchem predict``: predictions of a saved model for a file of molecules."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from kernchem._validation import is_whole
from kernchem.cli.error_bars import METHODS, Intervals, Predictor, percent
from kernchem.cli.files import check_apart, check_folder
from kernchem.cli.inputs import has_other_unit, property_column, stream
from kernchem.cli.outputs import CsvWriter, Writer, XyzWriter
from kernchem.cli.parity import ErrorSums, check_figure, write_parity
from kernchem.cli.progress import working
from kernchem.cli.reservoir import Reservoir
from kernchem.errors import KernchemError, SettingError
from kernchem.units import ENERGY_UNITS

if TYPE_CHECKING:
    from kernchem.structures import Structures

__all__ = ["predict"]

_Array = npt.NDArray[np.float64]

_WRITERS: dict[str, Callable[..., Writer]] = {
    ".csv": CsvWriter,
    ".xyz": XyzWriter,
    ".extxyz": XyzWriter,
}
#: Molecules in the figure; of more a random sample is drawn.
_DRAWN = 100_000


@click.command()
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False), metavar="MODEL")
@click.argument("file", metavar="FILE")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="CSV (.csv), or extended XYZ (.xyz, .extxyz): the molecules with the prediction added. "
    "An older file is replaced at the end.  [default: CSV on standard output]",
)
@click.option(
    "--name", metavar="PROPERTY", help="Name of the predictions.  [default: predicted_<target>]"
)
@click.option(
    "--coverage",
    type=float,
    metavar="P",
    help="Probability of the intervals that a model with error bars predicts.  [default: 0.9]",
)
@click.option(
    "--method",
    metavar="NAME",
    help=f"Kind of these intervals: {', '.join(METHODS)}.  [default: {METHODS[0]}]",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Figure of predictions over references, where FILE carries the target; with intervals "
    "where there are any.",
)
@click.option(
    "--batch", type=int, default=1000, show_default=True, help="Molecules in memory at a time."
)
@click.option("--skip-bad", is_flag=True, help="Go on where the model refuses a molecule.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but predictions and errors.")
def predict(
    *,
    model: Path,
    file: str,
    out: Path | None,
    name: str | None,
    coverage: float | None,
    method: str | None,
    plot: Path | None,
    batch: int,
    skip_bad: bool,
    quiet: bool,
) -> None:
    """Predict molecules with a model that kernchem train or kernchem.save wrote.

    FILE is a file or folder of structures that kernchem.read understands, or the name of a dataset.
    It is read piece by piece and may be larger than the memory.

    A model with error bars (kernchem train --model gpr) also gives the standard deviation of each
    label and an interval that holds it, as PROPERTY_std, PROPERTY_lower and PROPERTY_upper.
    """
    from kernchem._files import write_atomically

    if not is_whole(batch, 1):
        raise SettingError(f"--batch {batch} is no whole number from 1 on")
    if out is not None:
        if out.suffix.lower() not in _WRITERS:
            raise SettingError(f"--out {out}: use a name that ends with {', '.join(_WRITERS)}")
        check_folder(out)
    if plot is not None:
        check_figure(plot)
    check_apart({"--out": out, "--plot": plot}, {"MODEL": model, "FILE": file})
    run = _Run(
        model,
        file,
        name,
        batch,
        coverage=coverage,
        method=method,
        skip_bad=skip_bad,
        drawn=0 if plot is None else _DRAWN,
    )
    if out is None:
        run.write(partial(CsvWriter, final=True), sys.stdout, lambda _: None)
    else:
        with working(f"predicting {file}", shown=not quiet) as advance:
            write_atomically(out, lambda path: run.write_file(path, advance))
    if plot is not None:
        run.plot(plot)
    if not quiet:
        run.report()


class _Run:
    """Predictions for one file: what is written, counted and compared on the way."""

    def __init__(
        self,
        model: Path,
        file: str,
        name: str | None,
        batch: int,
        *,
        coverage: float | None,
        method: str | None,
        skip_bad: bool,
        drawn: int,
    ) -> None:
        from kernchem.model_files import load

        loaded: Any = load(model)
        info = loaded.model_info_
        if not info.elements or info.n_targets != 1:
            raise SettingError(
                f"{model}: a model of {info.n_targets} values on "
                f"{'molecules' if info.elements else 'arrays'}; this command takes models of one "
                "value on molecules, use others in Python with kernchem.load"
            )
        self._predictor = Predictor(loaded, str(model), coverage, method)
        self._target, self._unit = info.target, info.unit
        name = name or (f"predicted_{self._target}" if self._target else "prediction")
        self._names = self._predictor.names(name)
        self._file, self._skip_bad = file, skip_bad
        self._not_compared = ""
        if has_other_unit(file, self._target, self._unit):
            self._not_compared = (
                f"the unit of {model} is {self._unit}, in which {file} cannot be loaded; train "
                f"with --unit and one of {', '.join(ENERGY_UNITS)} to compare them"
            )
            if drawn:
                raise SettingError(f"--plot: {self._not_compared}, or leave the option out")
        unit = None if self._not_compared else self._unit
        self._molecules = stream(file, self._target, unit, batch=batch)
        self._errors, self._intervals = ErrorSums(), Intervals()
        self._points = Reservoir(drawn, seed=0) if drawn else None
        self._n = 0
        self._left_out: list[str] = []
        self._refused: Counter[str] = Counter()
        self._first_refusal = ""

    def write_file(self, path: Path, advance: Callable[[int], None]) -> None:
        """Predict everything into a file of the format of its suffix."""
        with path.open("w+", encoding="utf-8", newline="") as text:
            self.write(_WRITERS[path.suffix.lower()], text, advance)

    def write(self, make: Callable[..., Writer], text: Any, advance: Callable[[int], None]) -> None:
        """Predict everything and write it to a text file, batch by batch."""
        writer = make(text, self._names)
        for batch in self._molecules.batches:
            predicted = self._predict(batch, self._n)
            reference = None
            if self._target in batch.properties and not self._not_compared:
                reference = property_column(batch, self._target)
                self._errors.add(reference, predicted[:, 0])
                if self._predictor.has_bars:
                    self._intervals.add(reference, predicted[:, 2], predicted[:, 3])
                if self._points is not None:
                    known = np.isfinite(reference) & np.isfinite(predicted[:, 0])
                    self._points.add(known, reference, predicted)
            writer.write(batch, self._n, predicted, reference)
            self._n += len(batch)
            advance(self._n)
        self._left_out = writer.left_out

    def _predict(self, batch: Structures, first: int) -> _Array:
        """Return predictions; NaN for molecules that the model refuses, if they are skipped."""
        try:
            return self._predictor.predict(batch)
        except KernchemError as error:
            if len(batch) > 1:
                half = len(batch) // 2
                parts = (batch[:half], first), (batch[half:], first + half)
                return np.concatenate([self._predict(*part) for part in parts])
            told = _with_index(str(error), first, batch[0].formula)
            if not self._skip_bad:
                raise type(error)(f"{self._file}: {told}") from None
            self._first_refusal = self._first_refusal or told
            self._refused[type(error).__name__] += 1
            return np.full((1, len(self._names)), np.nan)

    def plot(self, path: Path) -> None:
        """Write the figure of predictions over references."""
        from kernchem._files import write_atomically

        pieces = [] if self._points is None else self._points.pieces()
        if self._target is None or not pieces:
            raise SettingError(
                f"--plot {path}: {self._file} carries no values of the target "
                f"{self._target!r} to compare with; leave the option out"
            )
        reference, predicted = (np.concatenate(column) for column in zip(*pieces, strict=True))
        title = f"{self._errors.n} molecules: MAE {self._errors.mae:.3g}"
        if self._unit:
            title += f" {self._unit}"
        if len(reference) < self._errors.n:
            title += f" ({len(reference)} drawn)"
        intervals = None
        if self._predictor.has_bars:
            intervals = predicted[:, 2], predicted[:, 3]
            title += f"; {percent(self._predictor.coverage)} intervals"
        label, unit = self._target, self._unit
        write_atomically(
            path,
            lambda temporary: write_parity(
                temporary,
                reference,
                predicted[:, 0],
                title=title,
                label=label,
                unit=unit,
                intervals=intervals,
            ),
        )

    def report(self) -> None:
        """Print counts and errors to standard error."""
        n_refused = sum(self._refused.values())
        click.echo(f"{self._n - n_refused} of {self._n} molecules predicted", err=True)
        if n_refused:
            kinds = ", ".join(f"{count} {kind}" for kind, count in self._refused.most_common())
            click.echo(f"refused: {kinds}; the first: {self._first_refusal}", err=True)
        if self._left_out:
            click.echo(
                f"the table lacks {', '.join(self._left_out)}, which came after its first lines; "
                "--out FILE.csv writes all columns",
                err=True,
            )
        if self._not_compared:
            click.echo(f"no errors are told: {self._not_compared}", err=True)
        if self._errors.n:
            described = self._errors.describe(self._unit)
            click.echo(f"{self._target}, {self._errors.n} references: {described}", err=True)
            if self._unit is None and self._molecules.unit is not None:
                click.echo(
                    f"the references are in {self._molecules.unit}; the model names no unit: "
                    "errors are right if it learnt in the same one",
                    err=True,
                )
        if self._intervals.n:
            described = self._intervals.describe(self._predictor.coverage)
            click.echo(f"{self._target}, {described}", err=True)


def _with_index(message: str, index: int, formula: str) -> str:
    """Return a message about a batch of one structure with its index in the whole file."""
    if "structure 0" in message:
        return message.replace("structure 0", f"structure {index}", 1)
    return f"structure {index} ({formula}): {message}"
