"""The base of kernels that depend on one distance between rows of features."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import (
    Hyperparameter,
    Kernel,
    NormalizedKernelMixin,
    StationaryKernelMixin,
)

from kernchem.errors import SettingError

__all__ = ["RadialKernel"]

Matrix = npt.NDArray[np.float64]


class RadialKernel(StationaryKernelMixin, NormalizedKernelMixin, Kernel):
    """Base class of kernels k(x, x') = f(distance / length_scale) on rows of features.

    It obeys scikit-learn's kernel protocol: hyperparameters on a log scale, gradients, sums,
    products and powers with scikit-learn's kernels, and use in its Gaussian processes. A subclass
    implements the five hooks below. The pair function is the definition; the others are engines
    that must agree with it.

    Parameters
    ----------
    length_scale : float, default 1.0
        Width of the kernel, in the units of the features.
    length_scale_bounds : pair of float or "fixed", default (1e-5, 1e8)
        Range in which an optimizer may tune the width; "fixed" takes it out of ``theta``.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.
    """

    def __init__(
        self,
        length_scale: float = 1.0,
        length_scale_bounds: tuple[float, float] | Literal["fixed"] = (1e-5, 1e8),
        *,
        n_jobs: int | None = None,
    ) -> None:
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds
        self.n_jobs = n_jobs

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """Name and bounds of the width, for scikit-learn."""
        bounds = self.length_scale_bounds
        try:
            usable = bounds == "fixed" if isinstance(bounds, str) else 0 < bounds[0] <= bounds[1]
        except (TypeError, IndexError, KeyError):
            usable = False
        if not usable:
            raise SettingError(
                f"length_scale_bounds={bounds!r}; give two numbers, 0 < low <= high, or 'fixed'"
            )
        return Hyperparameter("length_scale", "numeric", bounds)

    @abstractmethod
    def _pair(self, x: Matrix, y: Matrix) -> float:
        """Return the kernel of two samples by its formula."""

    @abstractmethod
    def _typical_length_scale(self, distance: float) -> float:
        """Return the length scale that belongs to a typical distance."""

    @abstractmethod
    def _map(self, distances: Matrix, out: Matrix) -> None:
        """Write the kernel of flat distances to ``out``, which may be the same array."""

    @abstractmethod
    def _gradient(self, D: Matrix, K: Matrix) -> Matrix:
        """Return the derivative of the kernel with respect to log(length_scale)."""

    @abstractmethod
    def _fill(self, X: Matrix, Y: Matrix | None, as_kernel: bool, out: Matrix) -> None:
        """Fill ``out`` with the kernel or with the distances; neither operand is empty."""

    def pair(self, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Return the kernel of two samples, from its definition.

        Parameters
        ----------
        x, y : array-like (n_features,)
            Features of each sample.

        Returns
        -------
        float
            Between 0 and 1.
        """
        left, right = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        if left.ndim != 1 or left.shape != right.shape:
            raise SettingError(
                f"x has shape {left.shape} and y has {right.shape}; expected the features of one "
                "sample each, (n_features,); call the kernel itself for more samples"
            )
        return self._pair(left, right)

    def length_scale_from(self, distance: float) -> float:
        """Return the length scale that belongs to a typical value of :meth:`distances`.

        Parameters
        ----------
        distance : float
            In the units of :meth:`distances`, for example their median.

        Returns
        -------
        float
            Length scale in the units of the features.
        """
        return self._typical_length_scale(float(distance))

    def from_distances(self, D: npt.ArrayLike, out: Matrix | None = None) -> Matrix:
        """Return the kernel of distances that are known already.

        Parameters
        ----------
        D : array-like
            Values of :meth:`distances`, of any shape.
        out : array, optional
            C-contiguous float64 of the same shape that receives the kernel; may be ``D`` itself.

        Returns
        -------
        array
            The kernel, in the shape of ``D``.

        Raises
        ------
        SettingError
            If ``out`` cannot take the kernel.
        """
        distances = np.ascontiguousarray(D, dtype=np.float64).reshape(np.shape(D))
        if out is None:
            out = np.empty(distances.shape)
        elif (
            out.shape != distances.shape
            or out.dtype != np.float64
            or not (out.flags.c_contiguous and out.flags.writeable)
        ):
            raise SettingError(
                f"out has shape {out.shape} and type {out.dtype}; expected a writable C-contiguous "
                f"float64 array of shape {distances.shape}"
            )
        self._map(distances.reshape(-1), out.reshape(-1))
        return out

    def gradient_from_distances(self, D: npt.ArrayLike, K: npt.ArrayLike) -> Matrix:
        """Return the derivative of the kernel with respect to log(length_scale).

        Parameters
        ----------
        D, K : array-like
            Values of :meth:`distances` and of the kernel, of the same shape.

        Returns
        -------
        array
            The derivative, in the same shape.
        """
        return self._gradient(np.asarray(D, dtype=np.float64), np.asarray(K, dtype=np.float64))

    def distances(self, X: npt.ArrayLike, Y: npt.ArrayLike | None = None) -> Matrix:
        """Return the distances on which the kernel depends; they do not depend on its width.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Features, finite numbers.
        Y : array-like (n_others, n_features), optional
            Features of other samples; X itself if absent, which halves the work.

        Returns
        -------
        array (n_samples, n_others)
            Distances, float64.

        Raises
        ------
        SettingError
            If an array is not two-dimensional and finite, or the columns do not match.
        """
        return self._matrix(X, Y, as_kernel=False)

    def __call__(
        self, X: npt.ArrayLike, Y: npt.ArrayLike | None = None, eval_gradient: bool = False
    ) -> Any:
        """Return the kernel matrix and, if asked for, its gradient.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Features, finite numbers.
        Y : array-like (n_others, n_features), optional
            Features of other samples; X itself if absent, which halves the work and makes the
            matrix exactly symmetric with ones on the diagonal.
        eval_gradient : bool, default False
            Also return the derivative with respect to log(length_scale); only without ``Y``.

        Returns
        -------
        K : array (n_samples, n_others)
            C-contiguous float64.
        K_gradient : array (n_samples, n_samples, 1)
            Only with ``eval_gradient``; the last axis is empty if the width is "fixed".

        Raises
        ------
        SettingError
            If an array is not two-dimensional and finite, or the columns do not match.
        """
        if not eval_gradient:
            return self._matrix(X, Y, as_kernel=True)
        if Y is not None:
            raise SettingError("eval_gradient=True needs Y=None; call the kernel on X alone")
        if self.hyperparameter_length_scale.fixed:
            K = self._matrix(X, None, as_kernel=True)
            return K, np.empty((*K.shape, 0))
        D = self.distances(X)
        K = self.from_distances(D)
        return K, self.gradient_from_distances(D, K)[:, :, np.newaxis]

    def __repr__(self) -> str:
        width = self.length_scale
        text = f"{width:.3g}" if isinstance(width, int | float | np.number) else repr(width)
        return f"{type(self).__name__}(length_scale={text})"

    def _matrix(self, X: npt.ArrayLike, Y: npt.ArrayLike | None, *, as_kernel: bool) -> Matrix:
        left = _as_features(X, "X")
        right = None if Y is None or Y is X else _as_features(Y, "Y")
        if right is not None and right.shape[1] != left.shape[1]:
            raise SettingError(
                f"X has {left.shape[1]} features and Y has {right.shape[1]}; both must come from "
                "the same descriptor with the same layout"
            )
        out = np.empty((len(left), len(left if right is None else right)))
        self._positive_length_scale()
        if out.size:
            self._fill(left, right, as_kernel, out)
        return out

    def _positive_length_scale(self) -> float:
        """Return the width as a number; its square and the inverse of that must be finite."""
        try:
            width = float(np.asarray(self.length_scale, dtype=np.float64).item())
        except (TypeError, ValueError):
            width = np.nan
        if not 1e-150 <= width <= 1e150:
            raise SettingError(
                f"length_scale={self.length_scale!r} is not a width; give one positive number "
                "(1e-150 to 1e150) in the units of the features"
            )
        return width


def _as_features(values: npt.ArrayLike, name: str) -> Matrix:
    """Return rows of features as a C-contiguous float64 array, after checks."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers")
        array = np.ascontiguousarray(array, dtype=np.float64)
        shape = np.shape(values)
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"{name} is not an array of numbers ({error}); pass features (n_samples, n_features), "
            "for example of a descriptor's transform"
        ) from None
    if len(shape) != 2 or shape[1] == 0:
        raise SettingError(
            f"{name} has shape {shape}; expected (n_samples, n_features) with at least "
            "one feature; reshape(-1, 1) makes one feature of a list of numbers"
        )
    # The sum is finite if every term is, unless it overflows: then look at each.
    if not np.isfinite(array.sum()):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            row, column = (int(index) for index in bad[0])
            raise SettingError(
                f"{name} contains {array[row, column]} at sample {row}, feature {column} "
                f"({len(bad)} such values in all); features must be finite: drop these samples"
            )
    return array
