"""What is shown while a command works, and what when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["kept", "working"]


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
def kept(text: str) -> Iterator[None]:
    """Let an interrupted command say at its end what is kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(text)
        raise
