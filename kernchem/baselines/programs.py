"""What baselines that run a program have in common: settings, cache, processes, reasons."""

from __future__ import annotations

import atexit
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import effective_n_jobs
from kernchem.baselines.base import Baseline, BaselineResult
from kernchem.baselines.batch import counting, run_batch
from kernchem.baselines.cache import ResultCache, result_keys
from kernchem.baselines.outliers import deviations
from kernchem.baselines.records import BONDS, FORCES, Job, Record
from kernchem.baselines.states import States
from kernchem.errors import KernchemWarning, SettingError
from kernchem.structures import Structures, as_structures

__all__ = ["ProgramBaseline"]

_Array = npt.NDArray[np.float64]

#: Robust deviations beyond which an energy is noted.
_FAR = 6.0
#: Caches that this process has read, by folder, so that a second call reads what is new.
_OPEN: dict[tuple[str, int], ResultCache] = {}


class ProgramBaseline(Baseline):
    """A baseline that a program computes, one structure at a time.

    A subclass defines ``session`` and ``identity``. Structures are computed in processes; a
    program that fails, crashes or returns what is not finite costs its structure only.

    Parameters
    ----------
    forces : bool, default False
        Whether forces are returned, and kept in the cache.
    n_jobs : int, optional
        Processes, with one thread each; None means the cores this process may run on. With 1, or
        for a single structure, the program runs in this process.
    cache : str or Path, optional
        Folder in which results are kept; it may be shared between processes, programs and users.
        None keeps nothing.
    progress : bool, default False
        Whether a bar is shown on a terminal.
    """

    #: Whether bond orders are wanted; a setting of the programs that have them.
    bond_orders: bool = False

    def __init__(
        self,
        *,
        forces: bool = False,
        n_jobs: int | None = None,
        cache: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        self.forces = forces
        self.n_jobs = n_jobs
        self.cache = cache
        self.progress = progress

    @abstractmethod
    def session(self) -> Callable[[], Callable[[Job], Record]]:
        """Return what each process calls for the function that computes one structure.

        Returns
        -------
        callable
            Takes no arguments and returns a function from a
            :class:`~kernchem.baselines.records.Job` to a
            :class:`~kernchem.baselines.records.Record`. It is pickled: best a function of a module
            that imports little, since that is what workers import.
        """

    @abstractmethod
    def identity(self) -> str:
        """Return method, version of the program and all settings that change results.

        Returns
        -------
        str
            What cached results are found under.

        Raises
        ------
        MissingProgramError
            If the program is not installed.
        """

    def compute(self, X: Any) -> BaselineResult:
        """Return energies, and what else is known, of structures.

        Total charges and multiplicities are those of the structures. A charge that is absent is
        zero, a multiplicity that is absent 1 for an even number of electrons and 2 for an odd one.

        Parameters
        ----------
        X : Structures or sequence of ase.Atoms
            Molecules or materials.

        Returns
        -------
        BaselineResult
            A structure that fails has NaN and a reason. ``notes`` tell of second attempts, and of
            energies that :func:`kernchem.baselines.flag_outliers` flags.

        Raises
        ------
        MissingProgramError
            If the program is not installed.
        SettingError
            If a setting has a value it cannot have.
        """
        structures = as_structures(X)
        self._check_settings()
        identity = self.identity()
        states = States(structures)
        refuse = self._refusals(structures)
        reasons = [mine or other for mine, other in zip(states.reasons, refuse, strict=True)]
        records = [Record.failure(reason) if reason else None for reason in reasons]
        keys, cache = [b""] * len(structures), None
        if self.cache is not None:
            cache = _open_cache(self.cache)
            keys = result_keys(structures, states.charges, states.multiplicities, identity)
            needed = FORCES * bool(self.forces) | BONDS * bool(self.bond_orders)
            cached = cache.lookup(keys, needed)
            for k, (kept, size) in enumerate(zip(cached, np.diff(structures.offsets), strict=True)):
                if kept is not None and not kept.misfit(int(size)):
                    records[k] = records[k] or kept
        todo = [k for k, record in enumerate(records) if record is None]
        jobs = [_job(structures, states, k) for k in todo]
        name = type(self).__name__
        with (
            closing(run_batch(self.session(), jobs, self.n_jobs, self._runs_apart)) as done,
            counting(name, len(todo), shown=self.progress) as advance,
        ):
            for index, found in done:
                k = todo[index]
                # With bond orders go forces: so one record always holds all of another.
                whole = self.forces or self.bond_orders
                record = found if whole else replace(found, forces=None)
                records[k] = record
                if cache is not None and record.lasting:
                    cache = _stored(cache, keys[k], record)
                advance()
        return self._result(structures, records)

    def _check_settings(self) -> None:
        effective_n_jobs(self.n_jobs)
        for name in ("forces", "bond_orders", "progress"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise SettingError(f"{name}={getattr(self, name)!r}: use True or False")
        if not isinstance(self.cache, str | os.PathLike | None) or self.cache == "":
            raise SettingError(f"cache={self.cache!r}: use the path of a folder, or None")

    def _refusals(self, structures: Structures) -> list[str]:
        """Return why the program cannot be asked, "" where it can."""
        return [""] * len(structures)

    def _runs_apart(self, job: Job) -> bool:
        """Whether a structure must not be run in the user's process, whatever ``n_jobs``."""
        return False

    def _result(self, structures: Structures, records: list[Record | None]) -> BaselineResult:
        kept = [Record.failure("nothing was computed") if r is None else r for r in records]
        energies = np.array([record.energy for record in kept], dtype=np.float64)
        notes = [record.note for record in kept]
        far = deviations(energies, structures.numbers, structures.offsets, _FAR)
        for k in np.flatnonzero(np.abs(far) > _FAR):
            told = (
                f"lies {far[k]:+.1f} robust deviations from what the element counts say; look at it"
            )
            notes[k] = f"{notes[k]}; {told}" if notes[k] else told
        sizes = np.diff(structures.offsets)
        return BaselineResult(
            energies,
            tuple(record.reason for record in kept),
            forces=_joined([r.forces for r in kept], sizes, (3,)) if self.forces else None,
            charges=_joined([r.charges for r in kept], sizes, ()),
            dipoles=_joined([r.dipole for r in kept], np.ones(len(kept), int), (3,)),
            notes=tuple(notes),
            bond_orders=_matrices(kept, sizes) if self.bond_orders else None,
        )


def _job(structures: Structures, states: States, k: int) -> Job:
    rows = slice(structures.offsets[k], structures.offsets[k + 1])
    cell = pbc = None
    if structures.cells is not None and structures.pbc is not None and structures.pbc[k].any():
        cell, pbc = structures.cells[k], structures.pbc[k]
    return Job(
        structures.numbers[rows],
        structures.positions[rows],
        int(states.charges[k]),
        int(states.multiplicities[k]),
        cell,
        pbc,
    )


def _joined(
    blocks: list[_Array | None], sizes: npt.NDArray[np.int64], inner: tuple[int, ...]
) -> _Array | None:
    """Return blocks behind each other, NaN where one is absent; None if all are."""
    if all(block is None for block in blocks):
        return None
    return np.concatenate(
        [
            np.full((size, *inner), np.nan) if block is None else block.reshape(size, *inner)
            for block, size in zip(blocks, sizes.tolist(), strict=True)
        ]
    )


def _matrices(records: list[Record], sizes: npt.NDArray[np.int64]) -> tuple[_Array, ...]:
    """Return the bond orders of each structure, NaN where they are absent."""
    return tuple(
        np.full((n, n), np.nan) if record.bond_orders is None else record.bond_orders
        for record, n in zip(records, sizes.tolist(), strict=True)
    )


def _stored(cache: ResultCache, key: bytes, record: Record) -> ResultCache | None:
    """Keep a record; return the cache, or None if nothing can be kept any more."""
    try:
        cache.store(key, record)
    except OSError as error:
        warnings.warn(
            f"cache={str(cache.folder)!r} cannot be written ({error.strerror}); what is computed "
            "from here on is returned, but kept nowhere",
            KernchemWarning,
            stacklevel=4,
        )
        return None
    return cache


def _open_cache(folder: str | Path) -> ResultCache:
    """Return the cache of a folder; each process reads what it holds once."""
    place = (str(Path(folder).absolute()), os.getpid())
    if place in _OPEN and not Path(place[0]).is_dir():
        _OPEN.pop(place).close()
    if place not in _OPEN:
        _OPEN[place] = ResultCache(folder)
    return _OPEN[place]


@atexit.register
def _close_caches() -> None:
    for cache in _OPEN.values():
        cache.close()
