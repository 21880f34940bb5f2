"""Factorisations of kernel matrices and what follows from them in closed form."""

from kernchem.solvers.cholesky import CholeskyFactor
from kernchem.solvers.gls import GeneralisedLeastSquares
from kernchem.solvers.path import RegularisationPath
from kernchem.solvers.repeats import Repeats, equal_labels
from kernchem.solvers.scores import Score, likelihood, predictive

__all__ = [
    "CholeskyFactor",
    "GeneralisedLeastSquares",
    "RegularisationPath",
    "Repeats",
    "Score",
    "equal_labels",
    "likelihood",
    "predictive",
]
