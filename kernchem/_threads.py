"""Threads over panels of rows.

Compiled code and BLAS release the interpreter lock, so a plain thread pool over panels uses every
core, survives a fork and needs no thread layer. The panel size never depends on the number of
threads: the same panels are computed whatever ``n_jobs`` is, so the same bits come out.
"""

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

from kernchem.errors import SettingError

__all__ = ["effective_n_jobs", "run_panels", "single_threaded_blas"]


def effective_n_jobs(n_jobs: int | None) -> int:
    """Return the number of threads that ``n_jobs`` asks for.

    ``None`` and ``-1`` mean the cores this process may run on.
    """
    if n_jobs is None or n_jobs == -1:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if n_jobs < 1:
        raise SettingError(
            f"n_jobs={n_jobs} is not a number of threads; use None for all cores or 1, 2, ..."
        )
    return n_jobs


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep BLAS at one thread, so that a pool of threads that call it does not oversubscribe."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


def run_panels(
    fill: Callable[[int, int], object], n_rows: int, panel: int, n_jobs: int | None
) -> None:
    """Call ``fill(start, stop)`` for every panel of rows, each of which writes its rows only.

    Parameters
    ----------
    fill : callable
        Takes the first row of the panel and the row behind its last one.
    n_rows : int
        Number of rows in all.
    panel : int
        Rows per panel.
    n_jobs : int or None
        Number of threads; None uses every core of the affinity mask.
    """
    starts = range(0, n_rows, panel)
    workers = min(effective_n_jobs(n_jobs), len(starts))
    with single_threaded_blas():
        if workers <= 1:
            for start in starts:
                fill(start, min(start + panel, n_rows))
            return
        with ThreadPoolExecutor(workers) as pool:
            tasks = [pool.submit(fill, start, min(start + panel, n_rows)) for start in starts]
            for task in tasks:
                task.result()
