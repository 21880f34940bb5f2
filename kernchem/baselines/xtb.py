"""GFN1-xTB and GFN2-xTB, by tblite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kernchem._validation import is_positive, is_whole
from kernchem.baselines.programs import ProgramBaseline
from kernchem.baselines.records import Job, Record
from kernchem.baselines.tblite_runs import open_tblite
from kernchem.errors import MissingProgramError, SettingError
from kernchem.structures import Structures

__all__ = ["GFN1", "GFN2"]


class _XTB(ProgramBaseline):
    """What the two have in common."""

    _method = ""

    def __init__(
        self,
        *,
        accuracy: float = 1.0,
        electronic_temperature: float = 300.0,
        max_iterations: int = 250,
        forces: bool = False,
        bond_orders: bool = False,
        n_jobs: int | None = None,
        cache: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(forces=forces, n_jobs=n_jobs, cache=cache, progress=progress)
        self.bond_orders = bond_orders
        self.accuracy = accuracy
        self.electronic_temperature = electronic_temperature
        self.max_iterations = max_iterations

    def identity(self) -> str:
        """Return method, version of tblite and all settings that change results.

        Returns
        -------
        str
            What cached results are found under.

        Raises
        ------
        MissingProgramError
            If tblite is not installed.
        """
        version = ".".join(map(str, _tblite(self).library.get_version()))
        return (
            f"{self._method} tblite={version} accuracy={float(self.accuracy)!r} "
            f"temperature={float(self.electronic_temperature)!r} "
            f"iterations={int(self.max_iterations)}"
        )

    def session(self) -> Callable[[], Callable[[Job], Record]]:
        """Return what each process calls for the function that computes one structure.

        Returns
        -------
        callable
            Can be pickled.
        """
        return partial(
            open_tblite,
            self._method,
            accuracy=float(self.accuracy),
            temperature=float(self.electronic_temperature),
            max_iterations=int(self.max_iterations),
            bond_orders=bool(self.bond_orders),
        )

    def _check_settings(self) -> None:
        super()._check_settings()
        for name in ("accuracy", "electronic_temperature"):
            if not is_positive(getattr(self, name)):
                raise SettingError(f"{name}={getattr(self, name)!r} is not a positive number")
        if not is_whole(self.max_iterations, 1):
            raise SettingError(
                f"max_iterations={self.max_iterations!r} is no whole number from 1 on"
            )

    def _refusals(self, structures: Structures) -> list[str]:
        if structures.pbc is None:
            return super()._refusals(structures)
        axes = structures.pbc.sum(axis=1).tolist()
        return [
            f"it is periodic along {n} of 3 axes; tblite computes molecules and crystals"
            if n in {1, 2}
            else ""
            for n in axes
        ]


class GFN1(_XTB):
    """GFN1-xTB by tblite: total energies, forces, Mulliken charges, dipoles, bond orders.

    Needs ``pip install "kernchem[xtb]"``. Crystals are computed at the Gamma point, and have no
    dipole; that of an ion is about the origin of the coordinates. The energy does not depend on
    how spins are aligned but by the occupation: there is no spin polarisation.

    Parameters
    ----------
    accuracy : float, default 1.0
        Of tblite: smaller is tighter.
    electronic_temperature : float, default 300.0
        Kelvin.
    max_iterations : int, default 250
        Of the first attempt. Where it does not converge there is a second one, with four times
        as many and a damping of 0.1 instead of 0.4, which leads to the same energy.
    forces : bool, default False
        Whether forces are returned, and kept in the cache.
    bond_orders : bool, default False
        Whether bond orders are returned, and kept in the cache.
    n_jobs : int, optional
        Processes, with one thread each; None means the cores this process may run on. With 1, or
        for a single structure, the program runs in this process.
    cache : str or Path, optional
        Folder in which results are kept; it may be shared between processes, programs and users.
        None keeps nothing.
    progress : bool, default False
        Whether a bar is shown on a terminal.

    References
    ----------
    S. Grimme, C. Bannwarth, P. Shushkov, J. Chem. Theory Comput. 13, 1989 (2017),
    https://doi.org/10.1021/acs.jctc.7b00118
    """

    _method = "GFN1-xTB"


class GFN2(_XTB):
    """GFN2-xTB by tblite: total energies, forces, Mulliken charges, dipoles, bond orders.

    Needs ``pip install "kernchem[xtb]"``. Crystals are computed at the Gamma point, and have no
    dipole; that of an ion is about the origin of the coordinates. The energy does not depend on
    how spins are aligned but by the occupation: there is no spin polarisation.

    Parameters
    ----------
    accuracy : float, default 1.0
        Of tblite: smaller is tighter.
    electronic_temperature : float, default 300.0
        Kelvin.
    max_iterations : int, default 250
        Of the first attempt. Where it does not converge there is a second one, with four times
        as many and a damping of 0.1 instead of 0.4, which leads to the same energy.
    forces : bool, default False
        Whether forces are returned, and kept in the cache.
    bond_orders : bool, default False
        Whether bond orders are returned, and kept in the cache.
    n_jobs : int, optional
        Processes, with one thread each; None means the cores this process may run on. With 1, or
        for a single structure, the program runs in this process.
    cache : str or Path, optional
        Folder in which results are kept; it may be shared between processes, programs and users.
        None keeps nothing.
    progress : bool, default False
        Whether a bar is shown on a terminal.

    References
    ----------
    C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019),
    https://doi.org/10.1021/acs.jctc.8b01176
    """

    _method = "GFN2-xTB"


def _tblite(baseline: ProgramBaseline) -> Any:
    try:
        import tblite
        import tblite.interface
        import tblite.library
    except ImportError as error:
        raise MissingProgramError(
            f"{type(baseline).__name__} needs the package tblite ({error}); type: "
            'pip install "kernchem[xtb]"'
        ) from error
    return tblite
