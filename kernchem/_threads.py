"""Threads over panels of rows.

Compiled code and BLAS release the interpreter lock, so a plain thread pool over panels uses every
core, survives a fork and needs no thread layer. The panel size never depends on the number of
threads: the same panels are computed whatever ``n_jobs`` is, so the same bits come out.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from kernchem.errors import SettingError

__all__ = ["blas_for", "effective_n_jobs", "run_panels", "single_threaded_blas"]

#: Rows from which BLAS may use its threads. On free cores they pay much earlier; on shared ones, as
#: in a cross-validation with processes, threads of small matrices wait for each other many times as
#: long as they work.
_THREADED_FROM = 2000


def effective_n_jobs(n_jobs: int | None) -> int:
    """Return the number of threads that ``n_jobs`` asks for.

    ``None`` and ``-1`` mean the cores this process may run on.
    """
    whole = isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool)
    if n_jobs is None or (whole and n_jobs == -1):
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not whole or n_jobs < 1:
        raise SettingError(
            f"n_jobs={n_jobs!r} is not a number of threads; use None for all cores or 1, 2, ..."
        )
    return int(n_jobs)


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def _free_control() -> Iterator[None]:
    """Let this thread set the limits of all, and others again behind it.

    From threadpoolctl 3.8 on the first thread that sets a limit of OpenBLAS keeps control of it as
    long as it lives, and what others set is ignored.
    """
    libraries = _controller().lib_controllers
    found = [getattr(type(one), "clear_controlling_thread", None) for one in libraries]
    clears = {clear for clear in found if clear is not None}
    for clear in clears:
        clear(force=True)
    yield
    for clear in clears:
        clear(force=True)


class _BlasLimit:
    """One limit for all threads of the process: BLAS has one number of threads for all of them.

    The first that enters sets it and the last that leaves restores it. Limits of their own would
    be restored in the order in which threads happen to end, and leave BLAS at one thread for good.
    Of a process that is forked only one thread goes on, with what it has entered itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limiter: Any = None
        self._own = threading.local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._after_fork,
            )

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                with _free_control():
                    self._limiter = _controller().limit(limits=1, user_api="blas")
            self._count(1)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._count(-1)
            self._restore()

    def _count(self, more: int) -> None:
        self._users += more
        self._own.entered = getattr(self._own, "entered", 0) + more

    def _restore(self) -> None:
        if self._users == 0 and self._limiter is not None:
            with _free_control():
                self._limiter.restore_original_limits()
            self._limiter = None

    def _after_fork(self) -> None:
        self._users = getattr(self._own, "entered", 0)
        self._restore()
        self._lock.release()


_BLAS_LIMIT = _BlasLimit()


def single_threaded_blas() -> AbstractContextManager[None]:
    """Keep BLAS at one thread, so that a pool of threads that call it does not oversubscribe."""
    return _BLAS_LIMIT


def blas_for(n_rows: int) -> AbstractContextManager[None]:
    """Keep BLAS at one thread for matrices so small that its threads would wait on shared cores.

    Parameters
    ----------
    n_rows : int
        Rows of the square matrices that will be factorised.
    """
    return single_threaded_blas() if n_rows < _THREADED_FROM else nullcontext()


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

    Notes
    -----
    After an error or an interrupt no other panel begins. Of several errors that of the first panel
    is raised, as by one thread.
    """
    starts = range(0, n_rows, panel)
    workers = min(effective_n_jobs(n_jobs), len(starts))
    with single_threaded_blas():
        if workers <= 1:
            for start in starts:
                fill(start, min(start + panel, n_rows))
            return
        with ThreadPoolExecutor(workers) as pool:
            try:
                tasks = [pool.submit(fill, start, min(start + panel, n_rows)) for start in starts]
                wait(tasks, return_when=FIRST_EXCEPTION)
            finally:
                pool.shutdown(cancel_futures=True)
        # Panels begin in their order: those before one that failed were not cancelled.
        for task in tasks:
            task.result()
