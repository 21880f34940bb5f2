"""Many structures and one program: in this process or in several, none of which stops the rest."""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from joblib import wrap_non_picklable_objects
from threadpoolctl import threadpool_limits

from kernchem._threads import effective_n_jobs
from kernchem.baselines.records import Job, Record
from kernchem.baselines.worker import Worker, WorkerDiedError, attempt
from kernchem.errors import SettingError

__all__ = ["Run", "Session", "counting", "run_batch"]

Run = Callable[[Job], Record]
Session = Callable[[], Run]

#: Jobs that a worker is given at a time: enough to hide the way, few enough to share out the end.
_CHUNK = 16


def run_batch(
    session: Session,
    jobs: Sequence[Job],
    n_jobs: int | None = None,
    apart: Callable[[Job], bool] = lambda _: False,
) -> Generator[tuple[int, Record]]:
    """Run a program on many structures; yield index and record of each as it is finished.

    Parameters
    ----------
    session : callable
        Called once in each process; returns a function from :class:`Job` to :class:`Record`.
    jobs : sequence of Job
        The structures.
    n_jobs : int, optional
        Number of processes, one thread each; None means the cores this process may run on. With 1,
        or for a single structure, everything runs in this process.
    apart : callable, optional
        Tells structures that must not be run in this process; they get one worker at least.

    Returns
    -------
    iterator of (int, Record)
        In the order in which they are finished. A structure whose worker dies is tried once more
        as the first one of a new worker; where that dies too, it has a reason.

    Raises
    ------
    SettingError
        If ``n_jobs`` is not a number of processes, or no worker comes up.
    """
    workers = min(effective_n_jobs(n_jobs), len(jobs))
    order = range(len(jobs))
    here = [k for k in order if workers <= 1 and not apart(jobs[k])]
    there = [k for k in order if workers > 1 or apart(jobs[k])]
    if here:
        run = session()
        # After the program's libraries were loaded: only then can their threads be told.
        with threadpool_limits(1):
            for k in here:
                yield k, attempt(run, jobs[k])
    if there:
        yield from _Pool(session, jobs, there, max(workers, 1)).results()


class _Pool:
    """Threads that each speak to one worker, and the queue of what they hear."""

    def __init__(
        self, session: Session, jobs: Sequence[Job], order: Sequence[int], n_workers: int
    ) -> None:
        try:
            # Functions of a notebook or script, and lambdas, go as code.
            self._session = pickle.dumps(
                wrap_non_picklable_objects(session, keep_wrapper=False), pickle.HIGHEST_PROTOCOL
            )
        except Exception as error:
            raise SettingError(
                f"the calculator cannot be sent to worker processes ({error}); define its factory "
                "at the top level of a module, or set n_jobs=1"
            ) from error
        self._jobs, self._n = jobs, len(order)
        n_workers = min(n_workers, self._n)
        size = min(_CHUNK, max(1, self._n // (4 * n_workers)))
        self._chunks: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        for first in range(0, self._n, size):
            self._chunks.put(list(order[first : first + size]))
        self._heard: queue.SimpleQueue[tuple[int, Record] | Exception] = queue.SimpleQueue()
        self._stopped = False
        #: Structures at which a worker died once.
        self._again: set[int] = set()
        self._lock = threading.Lock()
        self._workers: set[Worker] = set()
        self._threads = [threading.Thread(target=self._drive) for _ in range(n_workers)]

    def results(self) -> Generator[tuple[int, Record]]:
        """Yield results; whatever ends this ends the workers."""
        for thread in self._threads:
            thread.start()
        try:
            for _ in range(self._n):
                heard = self._heard.get()
                if isinstance(heard, Exception):
                    raise SettingError(
                        f"worker processes cannot start ({heard}); set n_jobs=1 to run the "
                        "program in this process"
                    ) from heard
                yield heard
        finally:
            with self._lock:
                self._stopped = True
                for worker in self._workers:
                    worker.kill()
            for thread in self._threads:
                thread.join()

    def _drive(self) -> None:
        worker = None
        try:
            while not self._stopped:
                todo = self._chunks.get_nowait()
                while todo and not self._stopped:
                    worker = worker or self._start()
                    if self._compute(worker, todo):
                        continue
                    self._end(worker)
                    worker = None
        except queue.Empty:
            pass
        except (WorkerDiedError, OSError) as error:
            self._heard.put(error)
        finally:
            if worker is not None:
                self._end(worker)

    def _compute(self, worker: Worker, todo: list[int]) -> bool:
        """Work off a list of structures, or return False when the worker died.

        Memory may have been damaged by an earlier structure, so each gets a second attempt, as the
        first one of a new worker.
        """
        try:
            worker.ask([self._jobs[k] for k in todo])
            while todo:
                self._heard.put((todo[0], worker.answer()))
                del todo[0]
        except WorkerDiedError as error:
            if worker.answered == 0 and todo[0] in self._again:
                reason = f"its process died ({error})"
                self._heard.put((todo.pop(0), Record.failure(reason, lasting=False)))
            elif todo:
                self._again.add(todo[0])
            return False
        return True

    def _start(self) -> Worker:
        worker = Worker(self._session)
        with self._lock:
            self._workers.add(worker)
            if self._stopped:
                worker.kill()
        return worker

    def _end(self, worker: Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
        worker.close()


@contextmanager
def counting(text: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show on a terminal how many structures are done; yield a function that counts one more.

    Parameters
    ----------
    text : str
        What is being done.
    total : int
        How many there are.
    shown : bool
        Whether to show anything; nothing is shown where standard error is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not (shown and total and console.is_terminal):
        yield lambda: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)
