"""Kernels of rows by SciPy, for what is not about them: as plain Python their loops take minutes.

The loops themselves run, as plain Python too, in the tests of ``kernchem.kernels``.
"""

import numpy as np
from numba import config
from scipy.spatial.distance import cdist

from kernchem.kernels import vector
from kernchem.kernels.vector_jit import EXPONENTIAL, MATERN_32

__all__ = ["use_where_plain"]


def use_where_plain(monkeypatch):
    """Fill matrices of rows by SciPy where nothing is compiled."""
    if not config.DISABLE_JIT:
        return
    monkeypatch.setattr(vector._ProfileKernel, "_map", _map)
    monkeypatch.setattr(vector._DirectKernel, "_fill", _fill_direct)
    monkeypatch.setattr(vector.Gaussian, "_fill", _fill_gaussian)


def _map(self, distances, out):
    profile, factor = self._profile()
    t = np.maximum(factor * distances, -1000.0)
    powers = {EXPONENTIAL: 1.0, MATERN_32: 1.0 - t}.get(profile, 1.0 - t + t**2 / 3.0)
    out[:] = powers * np.exp(t)


def _fill(self, X, Y, metric, as_kernel, out):
    out[:] = cdist(X, X if Y is None else Y, metric)
    if as_kernel:
        self._map(out, out)


def _fill_direct(self, X, Y, as_kernel, out):
    _fill(self, X, Y, "euclidean" if self._euclidean else "cityblock", as_kernel, out)


def _fill_gaussian(self, X, Y, as_kernel, out):
    _fill(self, X, Y, "sqeuclidean", as_kernel, out)
