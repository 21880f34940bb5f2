"""Cheap energies that models correct: programs, calculators and pair potentials.

Names are imported when they are first used: the processes that run programs need few of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernchem.baselines.ase_calculator import ASECalculator
    from kernchem.baselines.base import Baseline, BaselineResult
    from kernchem.baselines.bond_additivity import BondAdditivity
    from kernchem.baselines.mopac import AM1, PM6, PM7
    from kernchem.baselines.outliers import flag_outliers
    from kernchem.baselines.pair_potentials import ZBL, DampedCoulomb, YukawaCore
    from kernchem.baselines.pair_sums import PairPotential, PairSum
    from kernchem.baselines.programs import ProgramBaseline
    from kernchem.baselines.xtb import GFN1, GFN2

__all__ = [
    "AM1",
    "GFN1",
    "GFN2",
    "PM6",
    "PM7",
    "ZBL",
    "ASECalculator",
    "Baseline",
    "BaselineResult",
    "BondAdditivity",
    "DampedCoulomb",
    "PairPotential",
    "PairSum",
    "ProgramBaseline",
    "YukawaCore",
    "flag_outliers",
]

#: Public name to the module that defines it.
_HOMES = {
    "AM1": "mopac",
    "ASECalculator": "ase_calculator",
    "Baseline": "base",
    "BaselineResult": "base",
    "BondAdditivity": "bond_additivity",
    "DampedCoulomb": "pair_potentials",
    "GFN1": "xtb",
    "GFN2": "xtb",
    "PM6": "mopac",
    "PM7": "mopac",
    "PairPotential": "pair_sums",
    "PairSum": "pair_sums",
    "ProgramBaseline": "programs",
    "YukawaCore": "pair_potentials",
    "ZBL": "pair_potentials",
    "flag_outliers": "outliers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kernchem.baselines' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"kernchem.baselines.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
