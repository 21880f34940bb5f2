"""AM1, PM6 and PM7, by MOPAC's library."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kernchem._validation import is_positive
from kernchem.baselines.mopac_runs import open_mopac
from kernchem.baselines.programs import ProgramBaseline
from kernchem.baselines.records import Job, Record
from kernchem.errors import MissingProgramError, SettingError
from kernchem.structures import Structures

__all__ = ["AM1", "PM6", "PM7"]

#: Cell vectors (angstrom) below which its forces are no longer the slopes of its energies: they
#: are off by a fifth for water in 4 angstrom and for NaCl in 5.64, and right from 6 on.
_SHORTEST_CELL = 6.0


class _MOPAC(ProgramBaseline):
    """What the three have in common."""

    _method = ""

    def __init__(
        self,
        *,
        tolerance: float = 1.0,
        forces: bool = False,
        bond_orders: bool = False,
        n_jobs: int | None = None,
        cache: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(forces=forces, n_jobs=n_jobs, cache=cache, progress=progress)
        self.bond_orders = bond_orders
        self.tolerance = tolerance

    def identity(self) -> str:
        """Return method, version of MOPAC and all settings that change results.

        Returns
        -------
        str
            What cached results are found under.

        Raises
        ------
        MissingProgramError
            If mopactools is not installed.
        """
        version = _mopac(self).VERSION
        return f"{self._method} mopac={version} tolerance={float(self.tolerance)!r}"

    def session(self) -> Callable[[], Callable[[Job], Record]]:
        """Return what each process calls for the function that computes one structure.

        Returns
        -------
        callable
            Can be pickled.
        """
        return partial(
            open_mopac,
            self._method,
            tolerance=float(self.tolerance),
            bond_orders=bool(self.bond_orders),
        )

    def _check_settings(self) -> None:
        super()._check_settings()
        if not is_positive(self.tolerance):
            raise SettingError(f"tolerance={self.tolerance!r} is not a positive number")

    def _refusals(self, structures: Structures) -> list[str]:
        reasons = super()._refusals(structures)
        if structures.cells is None or structures.pbc is None:
            return reasons
        lengths = np.linalg.norm(structures.cells, axis=2)
        for k, axis in np.argwhere(structures.pbc & (lengths < _SHORTEST_CELL)):
            reasons[k] = (
                f"a cell vector is {lengths[k, axis]:.2f} angstrom long; MOPAC needs "
                f"{_SHORTEST_CELL:g} at least: repeat the cell"
            )
        return reasons

    def _runs_apart(self, job: Job) -> bool:
        # MOPAC 23.2 returns sound energies, but its library writes beyond its memory for some open
        # shells: their processes end in a segmentation fault.
        return True


class AM1(_MOPAC):
    """AM1 by MOPAC: heats of formation at 298 K, forces, charges, dipoles, bond orders.

    Needs ``pip install "kernchem[mopac]"``. The energy is the heat of formation from the elements,
    kcal/mol: it differs from a total energy by one constant per element. Multiplicities above 1
    are computed spin-unrestricted. Periodic structures are computed at the Gamma point, which asks
    for cells of some 10 angstrom (less than 6 is refused), and have no dipole.

    Parameters
    ----------
    tolerance : float, default 1.0
        Of MOPAC: smaller is tighter. Where it does not converge there is a second attempt, 100
        times looser.
    forces : bool, default False
        Whether forces are returned, and kept in the cache.
    bond_orders : bool, default False
        Whether bond orders are returned, and kept in the cache.
    n_jobs : int, optional
        Processes, with one thread each; None means the cores this process may run on. There is
        one at least, as MOPAC's library may damage the memory of the process that runs it.
    cache : str or Path, optional
        Folder in which results are kept; it may be shared between processes, programs and users.
        None keeps nothing.
    progress : bool, default False
        Whether a bar is shown on a terminal.

    References
    ----------
    M. J. S. Dewar, E. G. Zoebisch, E. F. Healy, J. J. P. Stewart, J. Am. Chem. Soc. 107, 3902
    (1985), https://doi.org/10.1021/ja00299a024
    """

    _method = "AM1"


class PM6(_MOPAC):
    """PM6 by MOPAC: heats of formation at 298 K, forces, charges, dipoles, bond orders.

    Needs ``pip install "kernchem[mopac]"``. The energy is the heat of formation from the elements,
    kcal/mol: it differs from a total energy by one constant per element. Multiplicities above 1
    are computed spin-unrestricted. Periodic structures are computed at the Gamma point, which asks
    for cells of some 10 angstrom (less than 6 is refused), and have no dipole.

    Parameters
    ----------
    tolerance : float, default 1.0
        Of MOPAC: smaller is tighter. Where it does not converge there is a second attempt, 100
        times looser.
    forces : bool, default False
        Whether forces are returned, and kept in the cache.
    bond_orders : bool, default False
        Whether bond orders are returned, and kept in the cache.
    n_jobs : int, optional
        Processes, with one thread each; None means the cores this process may run on. There is
        one at least, as MOPAC's library may damage the memory of the process that runs it.
    cache : str or Path, optional
        Folder in which results are kept; it may be shared between processes, programs and users.
        None keeps nothing.
    progress : bool, default False
        Whether a bar is shown on a terminal.

    References
    ----------
    J. J. P. Stewart, J. Mol. Model. 13, 1173 (2007), https://doi.org/10.1007/s00894-007-0233-4
    """

    _method = "PM6"


class PM7(_MOPAC):
    """PM7 by MOPAC: heats of formation at 298 K, forces, charges, dipoles, bond orders.

    Needs ``pip install "kernchem[mopac]"``. The energy is the heat of formation from the elements,
    kcal/mol: it differs from a total energy by one constant per element. Multiplicities above 1
    are computed spin-unrestricted. Periodic structures are computed at the Gamma point, which asks
    for cells of some 10 angstrom (less than 6 is refused), and have no dipole.

    Parameters
    ----------
    tolerance : float, default 1.0
        Of MOPAC: smaller is tighter. Where it does not converge there is a second attempt, 100
        times looser.
    forces : bool, default False
        Whether forces are returned, and kept in the cache.
    bond_orders : bool, default False
        Whether bond orders are returned, and kept in the cache.
    n_jobs : int, optional
        Processes, with one thread each; None means the cores this process may run on. There is
        one at least, as MOPAC's library may damage the memory of the process that runs it.
    cache : str or Path, optional
        Folder in which results are kept; it may be shared between processes, programs and users.
        None keeps nothing.
    progress : bool, default False
        Whether a bar is shown on a terminal.

    References
    ----------
    J. J. P. Stewart, J. Mol. Model. 19, 1 (2013), https://doi.org/10.1007/s00894-012-1667-x
    """

    _method = "PM7"


def _mopac(baseline: ProgramBaseline) -> Any:
    try:
        import mopactools.api
    # A library that cannot be loaded is an OSError, one that is too old a ValueError.
    except (ImportError, OSError, ValueError) as error:
        raise MissingProgramError(
            f"{type(baseline).__name__} needs the package mopactools ({error}); type: "
            'pip install "kernchem[mopac]"'
        ) from error
    return mopactools.api
