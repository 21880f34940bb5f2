"""The base of kernels that depend on one distance between rows of features."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import (
    Hyperparameter,
    Kernel,
    NormalizedKernelMixin,
    StationaryKernelMixin,
)

from kernchem.errors import SettingError
from kernchem.kernels.features import (
    LARGEST,
    Bounds,
    Matrix,
    as_feature_pair,
    as_features,
    checked_bounds,
)

__all__ = ["RadialKernel"]


class RadialKernel(StationaryKernelMixin, NormalizedKernelMixin, Kernel):
    """Base class of kernels k(x, x') = f(distance / length_scale) on rows of features.

    It obeys scikit-learn's kernel protocol: hyperparameters on a log scale, gradients, sums,
    products and powers with scikit-learn's kernels, and use in its Gaussian processes. A subclass
    implements the six hooks below. The pair function is the definition; the others are engines
    that must agree with it. None of them sees a width per feature: the features are divided by
    those widths beforehand, and the width is 1.

    Parameters
    ----------
    length_scale : float or array (n_features,), default 1.0
        Width of the kernel, in the units of the features; several are one width per feature
        (automatic relevance determination).
    length_scale_bounds : pair of float, array (n_features, 2) or "fixed", default (1e-5, 1e8)
        Range in which an optimizer may tune the widths; "fixed" takes them out of ``theta``.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.
    """

    def __init__(
        self,
        length_scale: float | npt.ArrayLike = 1.0,
        length_scale_bounds: Bounds = (1e-5, 1e8),
        *,
        n_jobs: int | None = None,
    ) -> None:
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds
        self.n_jobs = n_jobs

    @property
    def anisotropic(self) -> bool:
        """Whether there is one width per feature."""
        return np.size(self.length_scale) > 1

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """Name and bounds of the widths, for scikit-learn."""
        number = np.size(self.length_scale)
        bounds = checked_bounds("length_scale_bounds", self.length_scale_bounds, number)
        return Hyperparameter("length_scale", "numeric", bounds, number)

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
    def _parts(self, differences: Matrix) -> Matrix:
        """Return what each feature adds to the distance, or to its square where that is the sum."""

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
        return self._pair(self._scaled(left), self._scaled(right))

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
        """Return the distances on which the kernel depends.

        They do not depend on the width; with one width per feature, the features are divided by
        these first.

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
        K_gradient : array (n_samples, n_samples, 1) or (n_samples, n_samples, n_features)
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
        gradient = self.gradient_from_distances(D, K)
        if self.anisotropic:
            return K, self._gradients(self._scaled(as_features(X, "X")), gradient)
        return K, gradient[:, :, np.newaxis]

    def diag(self, X: npt.ArrayLike) -> Matrix:
        """Return the diagonal of the kernel matrix of ``X``.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Features, finite numbers.

        Returns
        -------
        array (n_samples,)
            Ones.

        Raises
        ------
        SettingError
            If the array is not two-dimensional and finite.
        """
        return np.ones(len(as_features(X, "X")))

    def __repr__(self) -> str:
        width = self.length_scale
        if isinstance(width, int | float | np.number):
            text = f"{width:.3g}"
        elif isinstance(width, np.ndarray):
            text = np.array2string(width, precision=3, separator=", ", threshold=6)
        else:
            text = repr(width)
        return f"{type(self).__name__}({self._other_settings()}length_scale={text})"

    def _other_settings(self) -> str:
        """Return what ``repr`` tells before the width."""
        return ""

    def _matrix(self, X: npt.ArrayLike, Y: npt.ArrayLike | None, *, as_kernel: bool) -> Matrix:
        left, right = as_feature_pair(X, Y)
        out = np.empty((len(left), len(left if right is None else right)))
        self._width()
        if out.size:
            scaled = None if right is None else self._scaled(right)
            self._fill(self._scaled(left), scaled, as_kernel, out)
        return out

    def _gradients(self, features: Matrix, total: Matrix) -> Matrix:
        """Return the derivatives with respect to the logarithm of each width.

        ``total``, the derivative with respect to a common factor of all widths, is shared out as
        the features share the distance.
        """
        n, d = features.shape
        gradients, sums = np.empty((n, n, d)), np.zeros((n, n))
        for k in range(d):
            column = features[:, k]
            with np.errstate(over="ignore"):
                parts = np.minimum(self._parts(column[:, None] - column), LARGEST)
                sums += parts
            gradients[:, :, k] = parts
        sums[sums == 0.0] = 1.0
        gradients *= (total / sums)[:, :, np.newaxis]
        return gradients

    def _scaled(self, features: Matrix) -> Matrix:
        """Return features over their widths; as they are where there is one width for all."""
        if not self.anisotropic:
            return features
        widths = self._widths()
        if widths.shape != features.shape[-1:]:
            raise SettingError(
                f"length_scale has the shape {widths.shape} and there are {features.shape[-1]} "
                "features; give one width for all, or one for each"
            )
        return features / widths

    def _width(self) -> float:
        """Return the width that distances are divided by."""
        widths = self._widths()
        return 1.0 if self.anisotropic else float(widths.item())

    def _widths(self) -> Matrix:
        """Return the widths; their squares and the inverses of those must be finite."""
        given = self.length_scale
        try:
            # NumPy makes numbers of texts and truth values, also of those inside a list.
            plain = isinstance(given, np.ndarray) or not any(
                isinstance(one, str | bool | np.bool_) for one in np.ravel(np.array(given, object))
            )
            real = plain and np.asarray(given).dtype.kind in "iuf"
            widths = np.asarray(given if real else np.nan, dtype=np.float64)
        except (TypeError, ValueError):
            widths = np.array(np.nan)
        if widths.size == 0 or not ((widths >= 1e-150) & (widths <= 1e150)).all():
            raise SettingError(
                f"length_scale={self.length_scale!r} is not a width; give one positive number "
                "(1e-150 to 1e150) in the units of the features, or one for each feature"
            )
        return widths
