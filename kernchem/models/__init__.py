"""Estimators: thin objects over descriptors, kernels and solvers."""

from kernchem.models.baseline_search import BaselineChoice, choose_parameters
from kernchem.models.composition import CompositionBaseline
from kernchem.models.delta import DeltaLearner
from kernchem.models.gpr import GPR
from kernchem.models.krr import KRR
from kernchem.models.multi_fidelity import Advice, FidelityLevel, MultiFidelityGPR
from kernchem.models.recipes import composite
from kernchem.models.search import LeaveOneOutSearch
from kernchem.models.terms import Term, TermProduct, TermSum

__all__ = [
    "GPR",
    "KRR",
    "Advice",
    "BaselineChoice",
    "CompositionBaseline",
    "DeltaLearner",
    "FidelityLevel",
    "LeaveOneOutSearch",
    "MultiFidelityGPR",
    "Term",
    "TermProduct",
    "TermSum",
    "choose_parameters",
    "composite",
]
