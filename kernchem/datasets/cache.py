"""The folder of downloaded datasets: where it is, and how files get there whole."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kernchem._files import try_lock
from kernchem.errors import DatasetError

__all__ = ["data_home", "locked", "make_folder", "progress_bar", "write_atomically"]

#: Seconds between two looks at a file that another process is downloading.
_POLL = 0.2


def data_home() -> Path:
    """Return the folder in which downloaded datasets are kept.

    Returns
    -------
    Path
        The environment variable ``KERNCHEM_DATA_HOME``, or the cache folder that is usual on this
        system, e.g. ``~/.cache/kernchem``. It need not exist yet.
    """
    named = os.environ.get("KERNCHEM_DATA_HOME")
    if named:
        return Path(named).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("kernchem"))


def make_folder(folder: Path) -> None:
    """Make a folder of the cache, or say what to do where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"the folder {folder} for downloaded datasets cannot be made "
            f"({error.strerror or error}); name another one in the environment variable "
            "KERNCHEM_DATA_HOME"
        ) from error


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a new file beside ``path``, then give it that name."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            write(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` against other processes; wait while one of them holds it.

    The system drops the lock when a process ends, however it ends. The empty file that carries the
    lock stays: to remove it would let two processes hold two files of the same name.
    """
    with path.with_name(f".{path.name}.lock").open("wb") as file:
        told = False
        while not try_lock(file):
            if not told and sys.stderr.isatty():
                sys.stderr.write(f"waiting for another process that fetches {path.name}\n")
            told = True
            time.sleep(_POLL)
        yield


@contextmanager
def progress_bar(text: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the bytes done so far; the bar shows on terminals only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, shown, step = bar.add_task(text, total=total), 0, (total or 0) // 1000

        def advance(done: int) -> None:
            nonlocal shown
            # To draw costs more than to read a small file.
            if done - shown >= step:
                bar.update(task, completed=done)
                shown = done

        yield advance
