"""Cheap energies that models correct: programs, calculators and pair potentials."""

from kernchem.baselines.base import Baseline, BaselineResult
from kernchem.baselines.pair_potentials import ZBL, DampedCoulomb, YukawaCore
from kernchem.baselines.pair_sums import PairPotential, PairSum

__all__ = [
    "ZBL",
    "Baseline",
    "BaselineResult",
    "DampedCoulomb",
    "PairPotential",
    "PairSum",
    "YukawaCore",
]
