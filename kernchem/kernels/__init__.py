"""Kernels: similarities of molecules or of their features, in scikit-learn's kernel protocol.

Kernels add, multiply and take powers (``Constant(2.0) * Gaussian() + Linear()``), also with
scikit-learn's own.
"""

from kernchem.kernels.base import RadialKernel
from kernchem.kernels.dot import Linear, Polynomial
from kernchem.kernels.elementary import Constant, WhiteNoise
from kernchem.kernels.matching import BestMatch, REMatch
from kernchem.kernels.named import NAMED_KERNELS
from kernchem.kernels.structure import AtomSum, Average, StructureKernel
from kernchem.kernels.vector import Gaussian, Laplacian, Matern

__all__ = [
    "NAMED_KERNELS",
    "AtomSum",
    "Average",
    "BestMatch",
    "Constant",
    "Gaussian",
    "Laplacian",
    "Linear",
    "Matern",
    "Polynomial",
    "REMatch",
    "RadialKernel",
    "StructureKernel",
    "WhiteNoise",
]
