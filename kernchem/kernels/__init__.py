"""Kernels: similarities of molecules or of their features, in scikit-learn's kernel protocol."""

from kernchem.kernels.base import RadialKernel
from kernchem.kernels.vector import Gaussian, Laplacian

__all__ = ["Gaussian", "Laplacian", "RadialKernel"]
