"""One structure after the other through a calculator of ASE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kernchem.baselines.records import Job, Record
from kernchem.units import energy_factor

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["open_ase"]


def open_ase(factory: Callable[[], Any], *, forces: bool) -> Callable[[Job], Record]:
    """Return the function that computes one structure.

    Parameters
    ----------
    factory : callable
        Returns an ASE calculator; called now, and again after a failure.
    forces : bool
        Whether forces are asked for.

    Returns
    -------
    callable
        From a job to a record with the energy and what else the calculator returned.
    """
    calculator = factory()
    factor = energy_factor("eV", "kcal/mol")

    def once(job: Job) -> Record:
        atoms = _atoms(job)
        atoms.calc = calculator
        energy = float(atoms.get_potential_energy()) * factor
        slopes = np.array(atoms.get_forces()) * factor if forces else None
        results = getattr(calculator, "results", None) or {}
        charges, dipole = results.get("charges"), results.get("dipole")
        return Record(
            energy,
            forces=slopes,
            charges=None if charges is None else np.array(charges, dtype=np.float64),
            dipole=None if dipole is None else np.array(dipole, dtype=np.float64),
        )

    def run(job: Job) -> Record:
        nonlocal calculator
        try:
            return once(job)
        except Exception:  # noqa: BLE001 - calculators raise what they like
            calculator = factory()
        return replace(once(job), note="computed in a second attempt with a new calculator")

    return run


def _atoms(job: Job) -> Atoms:
    from ase import Atoms

    atoms = Atoms(numbers=job.numbers, positions=job.positions, cell=job.cell, pbc=job.pbc)
    atoms.info.update(charge=job.charge, multiplicity=job.multiplicity)
    n = len(atoms)
    if job.charge:
        atoms.set_initial_charges(np.full(n, job.charge / n))
    if job.multiplicity > 1:
        atoms.set_initial_magnetic_moments(np.full(n, (job.multiplicity - 1) / n))
    return atoms
