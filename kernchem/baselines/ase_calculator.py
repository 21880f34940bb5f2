"""Any calculator of ASE as a baseline."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kernchem._validation import short
from kernchem.baselines.ase_runs import open_ase
from kernchem.baselines.base import Baseline
from kernchem.baselines.programs import ProgramBaseline
from kernchem.baselines.records import Job, Record
from kernchem.errors import SettingError

__all__ = ["ASECalculator"]


class ASECalculator(ProgramBaseline):
    """Any ASE calculator, such as a learned potential.

    Each process makes one calculator and uses it for all its structures. Where it fails, a new one
    is made for a second attempt: a failure may have left the old one in a bad state.

    Charge and multiplicity are in ``atoms.info``; where they are not 0 and 1 also as initial
    charges and magnetic moments, spread evenly, whose sums some calculators take.

    Parameters
    ----------
    factory : callable
        Takes no arguments and returns an ASE calculator.
    name : str, optional
        What tells this calculator, its version and settings from others; needed with a cache.
    forces : bool, default False
        Whether forces are asked for, and kept in the cache.
    n_jobs : int, optional
        Processes, with one thread each; None means the cores this process may run on. With 1, or
        for a single structure, the calculator runs in this process.
    cache : str or Path, optional
        Folder in which results are kept; it may be shared between processes, programs and users.
        None keeps nothing.
    progress : bool, default False
        Whether a bar is shown on a terminal.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> ASECalculator(EMT).energies([molecule("H2O")])
    array([60.41])
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        *,
        name: str | None = None,
        forces: bool = False,
        n_jobs: int | None = None,
        cache: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(forces=forces, n_jobs=n_jobs, cache=cache, progress=progress)
        self.factory = factory
        self.name = name

    def identity(self) -> str:
        """Return the name of the calculator.

        Returns
        -------
        str
            What cached results are found under.
        """
        return f"ase {self.name}"

    def session(self) -> Callable[[], Callable[[Job], Record]]:
        """Return what each process calls for the function that computes one structure.

        Returns
        -------
        callable
            Can be pickled if the factory can.
        """
        return partial(open_ase, self.factory, forces=bool(self.forces))

    def _check_settings(self) -> None:
        super()._check_settings()
        if inspect.isclass(self.factory) and issubclass(self.factory, Baseline):
            name = self.factory.__name__
            raise SettingError(f"factory={name} is a baseline itself; use {name}()")
        if not callable(self.factory):
            raise SettingError(
                f"factory={short(self.factory)}: use a function without arguments that returns an "
                "ASE calculator, such as lambda: EMT()"
            )
        if not isinstance(self.name, str | None):
            raise SettingError(f"name={self.name!r}: use a text, or None")
        if self.cache is not None and not self.name:
            raise SettingError(
                "cache needs name: a text that tells this calculator, its version and settings "
                "from others"
            )
