"""Contracts that every descriptor and every kernel keeps, as functions that check yours."""

from kernchem.testing.descriptors import check_descriptor
from kernchem.testing.kernels import check_kernel

__all__ = ["check_descriptor", "check_kernel"]
