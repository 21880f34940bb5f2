"""One structure after the other through MOPAC's library; what its workers import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from kernchem.baselines.records import Job, Record

__all__ = ["open_mopac"]

#: Of the second attempt, times ``tolerance``.
_LOOSER = 100.0


def open_mopac(
    method: str, *, tolerance: float, bond_orders: bool = False
) -> Callable[[Job], Record]:
    """Return the function that computes one structure.

    Parameters
    ----------
    method : str
        A model of MOPAC's library, such as "PM7".
    tolerance : float
        Of MOPAC.
    bond_orders : bool, default False
        Whether they are wanted.

    Returns
    -------
    callable
        From a job to a record with the heat of formation as energy, forces, charges and, of
        molecules, the dipole.
    """
    import mopactools.api as mopac
    from ase.units import Debye

    def once(job: Job, tolerance: float) -> Record:
        system, state = _system(mopac, method, job, tolerance), mopac.MopacState()
        state.uhf = job.multiplicity > 1
        properties = mopac.from_data(system, state)
        if properties.error_msg:
            return Record.failure(" ".join(properties.error_msg))
        return Record(
            float(properties.heat),
            forces=-np.array(properties.coord_deriv).reshape(-1, 3),
            charges=np.array(properties.charge),
            dipole=np.array(properties.dipole) * Debye if job.cell is None else None,
            bond_orders=_between(properties.bond_order) if bond_orders else None,
        ).with_charge(job.charge)

    def run(job: Job) -> Record:
        record = once(job, tolerance)
        if "SCF" not in record.reason:
            return record
        record = once(job, _LOOSER * tolerance)
        if record.reason:
            return Record.failure(f"{record.reason} (also in a second, looser attempt)")
        return replace(record, note=f"converged in a second attempt, {_LOOSER:g} times looser")

    return run


def _between(bond_order: Any) -> Any:
    """Return bond orders (n, n) from MOPAC's sparse matrix, whose diagonal holds valences."""
    matrix = bond_order.toarray()
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _system(mopac: Any, model: str, job: Job, tolerance: float) -> Any:
    system = mopac.MopacSystem()
    system.natom = system.natom_move = len(job.numbers)
    system.model, system.tolerance, system.charge = model, tolerance, job.charge
    # Pairs of unpaired electrons: 0 for singlets and doublets, 1 for triplets and quartets.
    system.spin = (job.multiplicity - 1) // 2
    system.atom = job.numbers.astype(np.int32)
    system.coord = np.array(job.positions, dtype=np.float64).ravel()
    if job.cell is not None and job.pbc is not None:
        system.nlattice = int(job.pbc.sum())
        system.lattice = np.array(job.cell[job.pbc], dtype=np.float64).ravel()
    return system
