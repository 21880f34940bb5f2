"""Derivatives of kernels with respect to their hyperparameters, summed against a matrix.

A score of hyperparameters has the slope ``sum_ij W_ij dK_ij / dtheta_k`` with one matrix W for all
of them. Summing panel by panel never holds n x n x p numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import (
    ConstantKernel,
    Exponentiation,
    Product,
    Sum,
    WhiteKernel,
)

from kernchem.kernels import slopes_jit
from kernchem.kernels.base import RadialKernel
from kernchem.kernels.elementary import Constant, WhiteNoise
from kernchem.kernels.features import Matrix

__all__ = ["slope_sums"]

# Rows of the matrices that are held at a time beside the kernel and its distances.
_PANEL = 256
# Derivatives that are held at a time of kernels that return all of them at once: 512 MiB.
_MOST_NUMBERS = 1 << 26
# Kernels whose derivative with respect to their only hyperparameter is the kernel itself.
_OF_VARIANCE = (Constant, ConstantKernel, WhiteNoise, WhiteKernel)


def slope_sums(
    kernel: Any, X: Any, W: Matrix, distances: Matrix | None = None, K: Matrix | None = None
) -> Matrix:
    r"""Return :math:`\sum_{ij} W_{ij}\, \partial K_{ij} / \partial \theta_k`.

    Parameters
    ----------
    kernel : kernel
        Of :mod:`kernchem.kernels` or scikit-learn; theta holds logarithms of hyperparameters.
    X : array (n, n_features) or Environments
        Samples.
    W : array (n, n)
        Symmetric weights.
    distances, K : array (n, n), optional
        ``kernel.distances(X)`` and ``kernel(X)``, where they are known already.

    Returns
    -------
    array (n_hyperparameters,)
        One sum for each element of ``kernel.theta``.

    Notes
    -----
    Cost O(n^2) per hyperparameter of a radial kernel, O(n^2 n_features) with one width per feature;
    sums, products and powers of kernels are taken apart. Kernels of other kinds return all
    derivatives at once: they are asked for blocks of at most 512 MiB.
    """
    if len(kernel.theta) == 0:
        return np.zeros(0)
    if isinstance(kernel, RadialKernel):
        return _radial(kernel, X, W, distances, K)
    if isinstance(kernel, _OF_VARIANCE):
        return np.array([np.vdot(W, kernel(X))])
    if isinstance(kernel, Sum | Product | Exponentiation):
        return _composed(kernel, X, W)
    return _in_blocks(kernel, X, W)


def _in_blocks(kernel: Any, X: Any, W: Matrix) -> Matrix:
    """Return the sums of a kernel that knows derivatives of one set of samples with itself only.

    Of two blocks of samples at a time, where all of them would take too much memory.
    """
    n, total = len(X), np.zeros(len(kernel.theta))
    size = int(np.sqrt(_MOST_NUMBERS / len(total)))
    step = n if n <= size else max(size // 2, 1)
    for first in range(0, n, step):
        rows = np.arange(first, min(first + step, n))
        for start in range(0, first + 1, step):
            columns = np.arange(start, min(start + step, n))
            own = start == first
            both = rows if own else np.concatenate([rows, columns])
            _, gradient = kernel(X if len(both) == n else X[both], eval_gradient=True)
            part = gradient if own else gradient[: len(rows), len(rows) :]
            weights = W[np.ix_(rows, columns)] * (1.0 if own else 2.0)
            total += np.einsum("ij,ijk->k", weights, part)
    return total


def _composed(kernel: Any, X: Any, W: Matrix) -> Matrix:
    """Return the sums of a kernel made of others, by the chain rule."""
    if isinstance(kernel, Exponentiation):
        power = kernel.exponent
        return slope_sums(kernel.kernel, X, W * (power * kernel.kernel(X) ** (power - 1)))
    found = []
    for part, other in ((kernel.k1, kernel.k2), (kernel.k2, kernel.k1)):
        plain = isinstance(kernel, Sum) or len(part.theta) == 0
        found.append(slope_sums(part, X, W if plain else W * other(X)))
    return np.concatenate(found)


def _radial(
    kernel: RadialKernel, X: Any, W: Matrix, distances: Matrix | None, K: Matrix | None
) -> Matrix:
    D = kernel.distances(X) if distances is None else distances
    K = kernel.from_distances(D) if K is None else K
    if not kernel.anisotropic:
        total = 0.0
        for start in range(0, len(D), _PANEL):
            rows = slice(start, start + _PANEL)
            total += float(np.vdot(W[rows], kernel.gradient_from_distances(D[rows], K[rows])))
        return np.array([total])
    # Features share the derivative with respect to a common width as they share the distance.
    total_ij = kernel.gradient_from_distances(D, K)
    total_ij *= W
    features = kernel._scaled(np.ascontiguousarray(X, dtype=np.float64))
    squared = float(kernel._parts(np.array(3.0))) == 9.0
    return np.asarray(slopes_jit.shared_sums(features, total_ij, squared))
