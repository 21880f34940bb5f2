"""Cheap energies that models correct: programs, calculators and pair potentials."""

from kernchem.baselines.base import Baseline, BaselineResult

__all__ = ["Baseline", "BaselineResult"]
