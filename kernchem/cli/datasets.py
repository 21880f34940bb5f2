"""``kernchem datasets``: what can be loaded by name, and downloads of it."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernchem.cli.progress import kept
from kernchem.errors import SettingError

if TYPE_CHECKING:
    from kernchem.datasets import Dataset

__all__ = ["datasets"]

_WIDTH = 79
#: Columns for labels, and for the names of properties.
_LABELS, _NAMES = 12, 32


@click.group(no_args_is_help=True)
def datasets() -> None:
    """List, describe and download the datasets that are loaded by name."""


@datasets.command("list")
def list_command() -> None:
    """List all datasets: structures, size of the download, and whether it is here."""
    from kernchem.datasets import data_home, get_dataset, list_datasets

    entries = [get_dataset(name) for name in list_datasets()]
    rows = [("name", "structures", "download", "state")]
    rows += [(e.name, f"{e.n_structures:,}", _size(e), _state(e)) for e in entries]
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    for name, number, size, state in rows:
        click.echo(
            f"{name:<{widths[0]}}  {number:>{widths[1]}}  {size:>{widths[2]}}  {state}".rstrip()
        )
    click.echo(f"\nDownloads are kept in {data_home()}")


@datasets.command()
@click.argument("name")
def info(name: str) -> None:
    """Tell what the dataset NAME is, what it holds, where it is from and how to cite it."""
    from kernchem.datasets import get_dataset

    entry = get_dataset(name)
    call = getattr(entry.loader, "func", entry.loader)
    lines = [
        ("name", entry.name),
        ("what", entry.summary),
        ("structures", f"{entry.n_structures:,}"),
        ("target", entry.target),
        ("baseline", entry.baseline or ""),
        ("download", _size(entry)),
        ("state", _state(entry)),
        *(("source", file.url) for file in entry.files),
        *(("kept as", str(file.path)) for file in entry.files),
        ("licence", entry.licence or ("none stated by the source" if entry.files else "")),
        ("cite", entry.citation),
        ("details", f"help({call.__module__}.{call.__qualname__})"),
    ]
    for label, text in lines:
        if text:
            _print_wrapped(label, text, _LABELS)
    if entry.properties:
        click.echo(
            "\nproperties, with published units; energies are converted to kcal/mol or unit="
        )
    width = max((len(unit) for _, unit, _ in entry.properties), default=0)
    for names, unit, meaning in entry.properties:
        label = f"  {names}"
        if len(label) > _NAMES - 2:
            click.echo(label)
            label = ""
        label = f"{label:<{_NAMES}}{unit:<{width}}  "
        _print_wrapped(label, meaning, len(label))


@datasets.command()
@click.argument("name")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    help="Published archive, or folder unpacked from it, that is here already and is not "
    "downloaded. For qm9, uncharacterized.txt is taken from beside it, and downloaded if it is not "
    "there.",
)
@click.option(
    "--keep-uncharacterized",
    is_flag=True,
    help="Of qm9: keep the molecules that uncharacterized.txt lists, and do without this file.",
)
def fetch(name: str, path: Path | None, keep_uncharacterized: bool) -> None:
    """Download the dataset NAME, verify it, read it, and say what it holds.

    An interrupted download goes on where it broke off.
    """
    from kernchem.datasets import get_dataset

    entry = get_dataset(name)
    taken = inspect.signature(entry.loader).parameters
    options: dict[str, Any] = {}
    if path is not None:
        if "path" not in taken:
            raise SettingError(f"--path: {name} is not read from a published archive; leave it out")
        options["path"] = path
    if keep_uncharacterized:
        if "keep_uncharacterized" not in taken:
            raise SettingError(f"--keep-uncharacterized: {name} has no such list; leave it out")
        options["keep_uncharacterized"] = True
    with kept("The same command goes on where a download broke off."):
        data = entry.loader(**options)
    click.echo(f"{name}: {data!r}")
    _print_wrapped("properties", ", ".join(data.properties), _LABELS)
    for file in entry.files if path is None else ():
        if file.path.exists():
            _print_wrapped("kept as", str(file.path), _LABELS)


def _size(entry: Dataset) -> str:
    """Return the size of all downloads together, where it is published."""
    sizes = [file.size for file in entry.files]
    if None in sizes or not sizes:
        return "?" if sizes else "-"
    total = float(sum(size or 0 for size in sizes))
    unit = next(
        unit for unit in ("kB", "MB", "GB") if (total := total / 1000) < 1000 or unit == "GB"
    )
    return f"{total:.{1 if total < 10 else 0}f} {unit}"


def _state(entry: Dataset) -> str:
    if not entry.files:
        return "packaged"
    return "cached" if all(file.path.exists() for file in entry.files) else "not fetched"


def _print_wrapped(label: str, text: str, indent: int) -> None:
    """Print a text in lines of at most 79 characters behind its label; no word is broken."""
    lines = textwrap.wrap(text, _WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    for line in lines:
        click.echo(f"{label:<{indent}}{line}")
        label = ""
