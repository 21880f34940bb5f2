"""What is shown while a command works, and what when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["interruptible", "working"]


@contextmanager
def working(text: str, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a text with the time it takes, on a terminal; yield a function that shows a count."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    # What goes to standard output is data.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(text)
        yield lambda count: bar.update(task, description=f"{text}: {count}")


@contextmanager
def interruptible(context: click.Context) -> Iterator[None]:
    """End the command with one line on an interrupt."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted; nothing half-written is left.", err=True)
        context.exit(130)
