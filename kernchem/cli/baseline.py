"""``kernchem baseline``: energies of semiempirical programs, beside what a file holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from kernchem.cli.files import check_apart, check_folder
from kernchem.cli.inputs import stream
from kernchem.cli.methods import METHODS, make_program
from kernchem.cli.outputs import XyzWriter
from kernchem.cli.progress import kept
from kernchem.errors import SettingError
from kernchem.units import ENERGY_UNITS, energy_factor

if TYPE_CHECKING:
    from kernchem.baselines import BaselineResult
    from kernchem.structures import Structures

__all__ = ["baseline"]

_SUFFIXES = (".xyz", ".extxyz")
#: Molecules in memory at a time; many, as processes start anew for each batch.
_BATCH = 10_000
#: Failures and notes that are listed one by one.
_LISTED = 20


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--method",
    "methods",
    metavar="NAME",
    multiple=True,
    required=True,
    help=f"One of {', '.join(METHODS)}. May be given several times.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="OUT.xyz",
    help="Extended XYZ: the molecules with all they had and the new properties, such as "
    "gfn2_energy. An older file is replaced at the end.",
)
@click.option(
    "--forces", is_flag=True, help="Write forces too, per angstrom, as gfn2_forces and so on."
)
@click.option(
    "--unit",
    default="kcal/mol",
    show_default=True,
    metavar="UNIT",
    help=f"Unit of the new energies: {', '.join(ENERGY_UNITS)}.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder in which results are kept; the same command goes on where it was interrupted. "
    "It may be shared.  [default: the output's name with .cache]",
)
@click.option("--n-jobs", type=int, metavar="N", help="Processes.  [default: all cores]")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def baseline(
    *,
    file: str,
    methods: tuple[str, ...],
    output: Path,
    forces: bool,
    unit: str,
    cache: Path | None,
    n_jobs: int | None,
    quiet: bool,
) -> None:
    """Compute energies of cheap methods, as baselines of train and predict.

    FILE is a file or folder of structures that kernchem.read understands, or the name of a dataset.
    Charges and multiplicities are those of the structures. One that fails has NaN; which, and why,
    is told at the end.

    gfn1 and gfn2 need pip install "kernchem[xtb]"; am1, pm6 and pm7 need pip install
    "kernchem[mopac]".
    """
    from kernchem._files import write_atomically

    if output.suffix.lower() not in _SUFFIXES:
        raise SettingError(f"--output {output}: use a name that ends with {', '.join(_SUFFIXES)}")
    check_folder(output)
    check_apart({"--output": output}, {"FILE": file})
    folder = output.with_suffix(".cache") if cache is None else cache
    settings = {"forces": forces, "cache": folder, "n_jobs": n_jobs, "progress": not quiet}
    run = _Run(file, methods, unit, settings)
    with kept(f"What is computed is kept in {folder}; the same command goes on."):
        write_atomically(output, run.write)
    if not quiet:
        run.report()
        click.echo(f"Output: {output}, cache: {folder}", err=True)


class _Run:
    """Baselines of one file: what is written, and counted on the way."""

    def __init__(
        self, file: str, methods: tuple[str, ...], unit: str, settings: dict[str, Any]
    ) -> None:
        self._factor, self._unit = energy_factor("kcal/mol", unit), unit
        self._forces = settings["forces"]
        names = dict.fromkeys(name.lower() for name in methods)
        self._baselines = {name: make_program(name, settings) for name in names}
        for program in self._baselines.values():
            # What is not installed is told before anything is read.
            program.identity()
        self._molecules = stream(file, None, None, batch=_BATCH)
        self._n = 0
        self._n_ok = dict.fromkeys(self._baselines, 0)
        self._told: list[tuple[str, str, str, str]] = []
        self._n_failed, self._n_noted = 0, 0

    def write(self, path: Path) -> None:
        """Compute everything into a file."""
        names = [f"{name}_energy" for name in self._baselines]
        with path.open("w", encoding="utf-8", newline="") as text:
            writer = XyzWriter(text, names, "rename it, or leave out this method")
            for batch in self._molecules.batches:
                columns, per_atom = self._compute(batch)
                writer.write_all(batch, columns, per_atom)
                self._n += len(batch)

    def _compute(
        self, batch: Structures
    ) -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
        columns, per_atom = [], {}
        for name, program in self._baselines.items():
            taken = {f"{name}_energy", f"{name}_forces"} & set(batch.properties)
            if taken:
                # Told before hours are spent, and not when the first batch is written.
                raise SettingError(
                    f"the molecules carry a property {min(taken)!r} already; rename it, or leave "
                    f"out --method {name}"
                )
            result = program.compute(batch)
            self._count(name, batch, result)
            columns.append(result.energies * self._factor)
            if self._forces:
                missing = np.full((len(batch.numbers), 3), np.nan)
                rows = missing if result.forces is None else result.forces
                per_atom[f"{name}_forces"] = rows * self._factor
        return np.stack(columns, axis=1), per_atom

    def _count(self, name: str, batch: Structures, result: BaselineResult) -> None:
        self._n_ok[name] += int(result.ok.sum())
        for k, (reason, note) in enumerate(zip(result.reasons, result.notes, strict=True)):
            if reason or note:
                self._n_failed += bool(reason)
                self._n_noted += not reason
                if len(self._told) < _LISTED:
                    what = f"failed: {reason}" if reason else note
                    self._told.append((str(self._n + k), batch[k].formula, name, what))

    def report(self) -> None:
        """Print failures, notes and counts to standard error."""
        from rich.console import Console
        from rich.table import Table

        if self._told:
            console = Console(file=sys.stderr, highlight=False, markup=False)
            table = Table("index", "formula", "method", "what", box=None, pad_edge=False)
            for row in self._told:
                table.add_row(*row)
            console.print(table)
            more = self._n_failed + self._n_noted - len(self._told)
            if more:
                click.echo(f"... and {more} more", err=True)
        for name, n_ok in self._n_ok.items():
            click.echo(f"{name}: {n_ok} of {self._n} energies in {self._unit}", err=True)
