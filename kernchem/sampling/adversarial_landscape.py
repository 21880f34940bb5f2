"""Log variance minus energy of a fitted process, with gradients through kernel and descriptor."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.environments import Environments
from kernchem.errors import KernchemWarning, SettingError
from kernchem.kernels import Gaussian, Matern
from kernchem.models import GPR
from kernchem.models.posterior import Queries
from kernchem.structures import Structures

__all__ = ["Landscape", "internal_motions", "kernel_slopes", "require_smooth"]

_Array = npt.NDArray[np.float64]

#: Step of the central differences of a descriptor, in angstrom: the error of the quotient, of the
#: order of the square, is 1e-8 relative, and rounding 1e-12.
STEP = 1e-4


def require_smooth(model: Any) -> None:
    """Raise SettingError unless a fitted model has one label and a kernel with derivatives."""
    if not isinstance(model, GPR):
        raise SettingError(f"model={model!r}; give a fitted GPR, which has variances")
    kernel = getattr(model, "kernel_", None)
    if kernel is None:
        raise SettingError("the model is not fitted; call fit(X, y) first")
    if not isinstance(kernel, Gaussian | Matern) or (
        isinstance(kernel, Matern) and float(kernel.nu) == 0.5
    ):
        raise SettingError(
            f"the kernel {kernel!r} has no derivative here; fit the model with Gaussian(), "
            "Matern(nu=1.5) or Matern(nu=2.5) on features of whole molecules"
        )
    if model._dual.shape[1] != 1:
        raise SettingError("the model has several targets; fit one model to the energy alone")
    descriptor = getattr(model, "descriptor_", None)
    if isinstance(model._training.features, Environments):
        raise SettingError("features of atoms have no derivatives here; use those of molecules")
    if isinstance(descriptor, BagOfBonds) or (
        isinstance(descriptor, CoulombMatrix) and descriptor.permutation != "none"
    ):
        warnings.warn(
            f"{type(descriptor).__name__} sorts its features: the variance has kinks where two of "
            "them change places; InverseDistances has none",
            KernchemWarning,
            stacklevel=3,
        )


def kernel_slopes(kernel: Any, X: _Array, Y: _Array, coefficients: _Array) -> _Array:
    """Return sum_i c_i dk(x, y_i)/dx for each x, array (m, n_features).

    Parameters
    ----------
    kernel : Gaussian or Matern
        Kernel of smoothness 3/2, 5/2 or infinity.
    X : array (m, n_features)
        Points.
    Y : array (n, n_features)
        Other points.
    coefficients : array (m, n)
        Weights c.
    """
    widths = np.broadcast_to(np.asarray(kernel.length_scale, dtype=float), X.shape[1])
    left, right = X / widths, Y / widths
    squares = ((left[:, None] - right) ** 2).sum(axis=2)
    if isinstance(kernel, Gaussian):
        factor = -np.exp(-0.5 * squares)
    else:
        u = np.sqrt(2.0 * float(kernel.nu) * squares)
        factor = -3.0 * np.exp(-u) if kernel.nu == 1.5 else -5.0 / 3.0 * (1.0 + u) * np.exp(-u)
    c = coefficients * factor
    return np.asarray((left * c.sum(axis=1)[:, None] - c @ right) / widths)


def internal_motions(positions: _Array) -> _Array:
    """Return the projector (3 n, 3 n) on displacements that neither shift nor turn a molecule.

    The rotations are those about the centre of the atoms, to first order; a linear molecule has
    two.
    """
    n = len(positions)
    arms = positions - positions.mean(axis=0)
    modes = np.concatenate(
        [np.tile(np.eye(3), (n, 1)).T, [np.cross(axis, arms).ravel() for axis in np.eye(3)]]
    )
    _, values, rows = np.linalg.svd(modes, full_matrices=False)
    rigid = rows[values > 1e-8 * values[0]]
    return np.asarray(np.eye(3 * n) - rigid.T @ rigid)


class Landscape:
    """Log variance minus energy over kT around one reference.

    Parameters
    ----------
    model : GPR
        Fitted model.
    reference : Structures or array (1, n_features)
        One sample.
    temperature : float
        kT, in the unit of the labels.
    """

    def __init__(self, model: GPR, reference: Any, temperature: float) -> None:
        self.model, self.reference, self.temperature = model, reference, temperature
        self.structured = model.takes_structures
        if self.structured:
            one = reference[0]
            self.start = np.array(one.positions, dtype=float).ravel()
            self.projector = internal_motions(one.positions)
            if one.pbc is not None and one.pbc.any():
                raise SettingError("periodic structures have no bounded displacements here")
        else:
            self.start = np.array(reference[0], dtype=float)
            self.projector = np.eye(len(self.start))
        _, self.known, self.basis = model._queries(reference)
        self.descriptor = model.descriptor_.widened(reference)[0] if self.structured else None

    def samples(self, x: _Array) -> Any:
        """Return coordinates (m, n_coordinates) as samples of the model."""
        if not self.structured:
            return x
        one = self.reference[0]
        state: dict[str, Any] = {}
        if one.charge is not None:
            state["charge"] = [one.charge] * len(x)
        if one.multiplicity is not None:
            state["multiplicity"] = [one.multiplicity] * len(x)
        positions = x.reshape(len(x), -1, 3)
        return Structures.from_arrays([one.numbers] * len(x), positions, **state)

    def features(self, x: _Array) -> _Array:
        """Return features (m, n_features) of coordinates (m, n_coordinates)."""
        if self.descriptor is None:
            return x
        return np.asarray(self.descriptor._described(self.samples(x)))

    def value(self, x: _Array) -> float:
        """Return log variance - E/kT at coordinates (n_coordinates,)."""
        return self._value(self.features(x[None]))[0]

    def _value(self, features: _Array) -> tuple[float, float, _Array]:
        model = self.model
        cross = np.asarray(model.kernel_(features, self.known))
        queries = Queries(cross, np.asarray(model.kernel_.diag(features)), self.basis)
        posterior = model._posterior
        variance = float(posterior.plain_variance(queries)[0])
        mean = float(posterior.mean(queries)[0, 0])
        total = np.log(variance * posterior.amplitudes[0]) - mean / self.temperature
        return float(total), variance, cross

    def slope(self, x: _Array) -> tuple[float, _Array]:
        """Return the value, and its gradient (n_coordinates,)."""
        features = self.features(x[None])
        value, variance, cross = self._value(features)
        posterior = self.model._posterior
        weights = posterior.solution.weights(cross, self.basis)
        dual = posterior.solution.dual.T
        c = -2.0 * weights / variance - dual / self.temperature
        slopes = kernel_slopes(self.model.kernel_, features, self.known, c)[0]
        if self.descriptor is None:
            return value, slopes
        shifts = STEP * np.eye(len(x))
        plus, minus = np.split(self.features(np.concatenate([x + shifts, x - shifts])), 2)
        return value, np.asarray((plus - minus) @ slopes / (2.0 * STEP))

    def length(self, displacement: _Array) -> float:
        """Return the largest displacement of an atom, or that of the point."""
        if not self.structured:
            return float(np.linalg.norm(displacement))
        return float(np.linalg.norm(displacement.reshape(-1, 3), axis=1).max())

    def shortest(self, x: _Array) -> float:
        """Return the shortest distance between two atoms; infinity for points."""
        if not self.structured or len(x) < 6:
            return np.inf
        positions = x.reshape(-1, 3)
        i, j = np.triu_indices(len(positions), 1)
        return float(np.linalg.norm(positions[i] - positions[j], axis=1).min())
