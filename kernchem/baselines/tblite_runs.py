"""One structure after the other through tblite; what its workers import, and little else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from kernchem.baselines.records import Job, Record
from kernchem.units import energy_factor

__all__ = ["open_tblite"]

#: Of the second attempt: the damping of the first is 0.4. Slow, but it changes no energy.
_CAREFUL_DAMPING, _MORE_ITERATIONS = 0.1, 4
#: Boltzmann's constant in hartree/kelvin, as tblite has it.
_KELVIN = 3.166808578545117e-6


def open_tblite(
    method: str,
    *,
    accuracy: float,
    temperature: float,
    max_iterations: int,
    bond_orders: bool = False,
) -> Callable[[Job], Record]:
    """Return the function that computes one structure.

    Parameters
    ----------
    method : str
        "GFN1-xTB" or "GFN2-xTB".
    accuracy : float
        Of tblite.
    temperature : float
        Of the electrons, kelvin.
    max_iterations : int
        Of the first attempt.
    bond_orders : bool, default False
        Whether they are wanted.

    Returns
    -------
    callable
        From a job to a record with energy, forces, charges and, of molecules, the dipole.
    """
    from ase.units import Bohr
    from tblite.interface import Calculator

    settings = {"verbosity": 0, "accuracy": accuracy, "temperature": temperature * _KELVIN}
    first = {"max-iter": max_iterations}
    second = {
        "max-iter": _MORE_ITERATIONS * max_iterations,
        "mixer-damping": _CAREFUL_DAMPING,
    }
    to_kcal = energy_factor("Ha", "kcal/mol")

    def once(job: Job, more: dict[str, Any]) -> Record:
        calculator = Calculator(
            method,
            job.numbers,
            job.positions / Bohr,
            float(job.charge),
            job.multiplicity - 1,
            None if job.cell is None else job.cell / Bohr,
            job.pbc,
        )
        for name, value in (settings | more).items():
            calculator.set(name, value)
        result = calculator.singlepoint()
        return Record(
            float(result.get("energy")) * to_kcal,
            forces=-result.get("gradient") * (to_kcal / Bohr),
            charges=np.array(result.get("charges")),
            dipole=result.get("dipole") * Bohr if job.cell is None else None,
            bond_orders=_total(result, len(job.numbers)) if bond_orders else None,
        ).with_charge(job.charge)

    def run(job: Job) -> Record:
        errors = (RuntimeError, ValueError)
        try:
            return once(job, first)
        except errors as error:
            if "not converged" not in str(error):
                return Record.failure(str(error))
        try:
            record = once(job, second)
        except errors as error:
            return Record.failure(f"{error}, in a second attempt with more damping")
        return replace(record, note="converged in a second attempt with more damping")

    return run


def _total(result: Any, n: int) -> Any:
    """Return bond orders (n, n); of open shells, those of spins lie behind them."""
    return np.array(np.ravel(result.get("bond-orders"))[: n * n].reshape(n, n))
