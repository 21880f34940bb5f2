"""Processes that run a program on one structure after the other, and may die of it.

A worker is a fresh interpreter that is spoken to through its standard input and output. It never
imports the main script again, so scripts need no ``if __name__ == "__main__"`` and notebooks
work; what it prints goes nowhere. It ends when its input does, as when its parent was killed.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from kernchem.baselines.records import Job, Record

__all__ = ["Worker", "WorkerDiedError", "attempt", "serve"]

_LENGTH = struct.Struct("<Q")
#: What a worker runs: an interrupt of the terminal reaches every process, and the parent decides;
#: the path of its parent, so that the same packages are imported; then us.
_PROGRAM = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = "
    "os.environ.pop('KERNCHEM_WORKER_PATH').split(os.pathsep); "
    "from kernchem.baselines.worker import serve; serve()"
)
#: One thread per worker: there is one worker for each core.
_THREADS = {
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}


class WorkerDiedError(Exception):
    """A worker ended in the middle of its work; the message says how."""


class Worker:
    """A process that computes structures.

    Parameters
    ----------
    session : bytes
        Pickle of a function without arguments that returns a function from :class:`Job` to
        :class:`Record`.

    Attributes
    ----------
    answered : int
        Structures that it has computed.

    Raises
    ------
    WorkerDiedError
        If the process does not come up, or the function cannot be made there.
    """

    def __init__(self, session: bytes) -> None:
        path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_THREADS, "KERNCHEM_WORKER_PATH": path},
        )
        self.answered = 0
        self._send(session)
        failure = self._receive()
        if failure is not None:
            self.close()
            raise WorkerDiedError(failure)

    def ask(self, jobs: Sequence[Job]) -> None:
        """Send jobs; each is answered by one :meth:`answer`, in the same order.

        Parameters
        ----------
        jobs : sequence of Job
            Any number.

        Raises
        ------
        WorkerDiedError
            If the process ended.
        """
        self._send(pickle.dumps(list(jobs), pickle.HIGHEST_PROTOCOL))

    def answer(self) -> Record:
        """Return the next record.

        Returns
        -------
        Record
            Of the next structure.

        Raises
        ------
        WorkerDiedError
            If the process ended.
        """
        record: Record = self._receive()
        self.answered += 1
        return record

    def kill(self) -> None:
        """End the process at once; any thread may call this."""
        self._process.kill()

    def close(self) -> None:
        """Let the process end, and wait for it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    # What was not yet sent to a dead process.
                    continue
        self._process.wait()

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, data)
        except OSError:
            self._raise()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            return pickle.loads(_read(self._process.stdout))
        except EOFError:
            self._raise()

    def _raise(self) -> None:
        # Its pipes are closed: it has ended, or is about to.
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self.close()
        how = f"exit status {code}"
        if code < 0:
            try:
                how = signal.Signals(-code).name
            except ValueError:
                how = f"signal {-code}"
        raise WorkerDiedError(how)


def attempt(run: Callable[[Job], Record], job: Job) -> Record:
    """Return what a program says of a structure, whatever it raises.

    Parameters
    ----------
    run : callable
        From :class:`Job` to :class:`Record`.
    job : Job
        The structure.

    Returns
    -------
    Record
        With finite numbers, or a reason. What was raised is not said to be lasting: memory or a
        file may have been short.
    """
    try:
        return run(job).checked(len(job.numbers))
    except Exception as error:  # noqa: BLE001 - one structure never stops a batch
        return Record.failure(f"{type(error).__name__}: {error}", lasting=False)


def serve() -> None:
    """Answer jobs until the input ends; the whole life of a worker."""
    jobs = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Libraries that print would garble the answers.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    try:
        session = _read(jobs)
        try:
            run, failure = pickle.loads(session)(), None
        except Exception as error:  # noqa: BLE001 - told to the parent
            run, failure = None, f"{type(error).__name__}: {error}"
        _write(answers, pickle.dumps(failure))
        while True:
            for job in pickle.loads(_read(jobs)):
                _write(answers, pickle.dumps(attempt(run, job), pickle.HIGHEST_PROTOCOL))
    except (EOFError, OSError):
        # Without the ends of libraries, some of which crash there.
        os._exit(0)


def _write(stream: Any, data: bytes) -> None:
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _read(stream: BinaryIO | Any) -> bytes:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data: bytes = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
