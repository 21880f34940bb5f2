"""Estimators: thin objects over descriptors, kernels and solvers."""

from kernchem.models.composition import CompositionBaseline
from kernchem.models.delta import DeltaLearner
from kernchem.models.krr import KRR

__all__ = ["KRR", "CompositionBaseline", "DeltaLearner"]
