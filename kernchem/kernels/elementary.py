"""Kernels that look at no features: a constant, and white noise."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import (
    GenericKernelMixin,
    Hyperparameter,
    Kernel,
    StationaryKernelMixin,
)

from kernchem._validation import is_positive
from kernchem.errors import SettingError
from kernchem.kernels.features import Bounds, Matrix, checked_bounds

__all__ = ["Constant", "WhiteNoise"]


class _Elementary(StationaryKernelMixin, GenericKernelMixin, Kernel):
    """A kernel of one variance; it takes samples of any kind and only counts them."""

    def __init__(self, variance: float = 1.0, variance_bounds: Bounds = (1e-10, 1e10)) -> None:
        self.variance = variance
        self.variance_bounds = variance_bounds

    @property
    def hyperparameter_variance(self) -> Hyperparameter:
        """Name and bounds of the variance, for scikit-learn."""
        bounds = checked_bounds("variance_bounds", self.variance_bounds)
        return Hyperparameter("variance", "numeric", bounds)

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """Return the kernel matrix and, if asked for, its gradient.

        Parameters
        ----------
        X : sequence (n_samples,)
            Samples of any kind.
        Y : sequence (n_others,), optional
            Other samples; X itself if absent.
        eval_gradient : bool, default False
            Also return the derivative with respect to log(variance); only without ``Y``.

        Returns
        -------
        K : array (n_samples, n_others)
            C-contiguous float64.
        K_gradient : array (n_samples, n_samples, 1)
            Only with ``eval_gradient``; the last axis is empty if the variance is "fixed".

        Raises
        ------
        SettingError
            If the variance is not a positive number.
        """
        self._check()
        if eval_gradient and Y is not None:
            raise SettingError("eval_gradient=True needs Y=None; call the kernel on X alone")
        K = self.variance * self._pattern(len(X), None if Y is None else len(Y))
        if not eval_gradient:
            return K
        if self.hyperparameter_variance.fixed:
            return K, np.empty((*K.shape, 0))
        return K, K[:, :, np.newaxis].copy()

    def diag(self, X: Any) -> Matrix:
        """Return the diagonal of the kernel matrix of ``X``.

        Parameters
        ----------
        X : sequence (n_samples,)
            Samples of any kind.

        Returns
        -------
        array (n_samples,)
            The variance, for each sample.
        """
        self._check()
        return np.full(len(X), float(self.variance))

    def __repr__(self) -> str:
        variance = self.variance
        text = (
            f"{variance:.3g}" if isinstance(variance, int | float | np.number) else f"{variance!r}"
        )
        return f"{type(self).__name__}(variance={text})"

    def _check(self) -> None:
        if not is_positive(self.variance):
            raise SettingError(f"variance={self.variance!r}; give a finite number > 0")

    @abstractmethod
    def _pattern(self, n: int, m: int | None) -> npt.NDArray[np.float64]:
        """Return the matrix of variance 1; without m, that of samples with themselves."""


class Constant(_Elementary):
    """Constant kernel, k(x, x') = variance.

    In a product it scales another kernel, in a sum it stands for an offset of unknown size.
    The same as scikit-learn's ``ConstantKernel``, which ``2.0 * kernel`` and ``kernel + 2.0`` make.

    Parameters
    ----------
    variance : float, default 1.0
        Value of the kernel, in the squared unit of the labels.
    variance_bounds : pair of float or "fixed", default (1e-10, 1e10)
        Range in which an optimizer may tune the variance; "fixed" takes it out of ``theta``.

    Notes
    -----
    Cost O(n_samples n_others).

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 4.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem.kernels import Constant, Gaussian
    >>> (Constant(4.0) * Gaussian(2.0))([[0.0], [2.0]]).round(4)
    array([[4.    , 2.4261],
           [2.4261, 4.    ]])
    """

    def _pattern(self, n: int, m: int | None) -> npt.NDArray[np.float64]:
        return np.ones((n, n if m is None else m))


class WhiteNoise(_Elementary):
    """White noise, k(x_i, x_j) = variance if i = j and else 0.

    It says that a label differs from the function by independent noise. Two samples are the same
    if they are the same row of the same training set: between two sets the kernel is zero, even
    where features agree. scikit-learn's ``WhiteKernel`` is the same.

    Parameters
    ----------
    variance : float, default 1.0
        Variance of the noise, in the squared unit of the labels.
    variance_bounds : pair of float or "fixed", default (1e-10, 1e10)
        Range in which an optimizer may tune the variance; "fixed" takes it out of ``theta``.

    Notes
    -----
    Cost O(n_samples n_others). :class:`kernchem.KRR` has its own noise, ``alpha``, which it chooses
    faster.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 2.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem.kernels import Gaussian, WhiteNoise
    >>> (Gaussian(2.0) + WhiteNoise(0.1))([[0.0], [2.0]]).round(4)
    array([[1.1   , 0.6065],
           [0.6065, 1.1   ]])
    """

    def _pattern(self, n: int, m: int | None) -> npt.NDArray[np.float64]:
        return np.eye(n) if m is None else np.zeros((n, m))
