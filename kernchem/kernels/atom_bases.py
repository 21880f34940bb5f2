"""What a kernel between structures needs to know of the kernel between their atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from kernchem.kernels import structure_jit
from kernchem.kernels.base import RadialKernel
from kernchem.kernels.dot import Linear, Polynomial
from kernchem.kernels.features import Matrix
from kernchem.kernels.vector import Gaussian

__all__ = ["base_with_gradient", "inner_kernel", "product_profile", "sees_differences"]


def base_with_gradient(
    base: Any, left: Matrix, right: Matrix, with_gradient: bool
) -> tuple[Matrix, Matrix]:
    """Return any kernel between rows of features, and its derivatives (n, m, p) if asked for."""
    if not with_gradient:
        return np.ascontiguousarray(base(left, right)), np.empty((len(left), len(right), 0))
    # Kernels know derivatives of one set of samples with itself only.
    K, gradient = base(np.concatenate([left, right]), eval_gradient=True)
    n = len(left)
    return np.ascontiguousarray(K[:n, n:]), gradient[:n, n:]


def inner_kernel(base: Any) -> Any:
    """Return a copy of a kernel that starts no threads of its own."""
    copy = clone(base)
    for name in copy.get_params():
        if name == "n_jobs" or name.endswith("__n_jobs"):
            copy.set_params(**{name: 1})
    return copy


def product_profile(base: Any) -> tuple[int, float, int] | None:
    """Return how a kernel follows from inner products and norms; None if it does not."""
    if type(base) is Gaussian and not base.anisotropic:
        return structure_jit.GAUSSIAN, 0.5 / base._width() ** 2, 1
    if type(base) is Linear:
        return structure_jit.POWER, 0.0, 1
    if type(base) is Polynomial:
        base._check()
        return structure_jit.POWER, float(base.constant), int(base.degree)
    return None


def sees_differences(base: Any) -> bool:
    """Return whether columns that are zero on both sides make no difference to a kernel."""
    return isinstance(base, RadialKernel) and not base.anisotropic
