"""Linear and polynomial kernels between rows of features."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from kernchem._threads import run_panels
from kernchem._validation import is_positive, is_whole
from kernchem.errors import SettingError
from kernchem.kernels.features import (
    Bounds,
    Matrix,
    as_feature_pair,
    as_features,
    checked_bounds,
    fill_symmetric,
    product_panel,
)

__all__ = ["Linear", "Polynomial"]


class Linear(Kernel):
    """Linear kernel, k(x, x') = x . x'.

    The same as scikit-learn's ``DotProduct`` with ``sigma_0 = 0``. It has no hyperparameters: a
    factor before it is a product with :class:`Constant`, an offset a sum.

    Parameters
    ----------
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Notes
    -----
    Cost O(n_samples n_others n_features), one matrix product. Its matrix has at most as many
    eigenvalues above zero as there are features, so more samples than that need a regulariser.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 4.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem.kernels import Linear
    >>> Linear()([[1.0, 2.0], [3.0, 0.0]])
    array([[5., 3.],
           [3., 9.]])
    """

    def __init__(self, *, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs

    def __call__(
        self, X: npt.ArrayLike, Y: npt.ArrayLike | None = None, eval_gradient: bool = False
    ) -> Any:
        """Return the kernel matrix and, if asked for, its gradient.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Features, finite numbers.
        Y : array-like (n_others, n_features), optional
            Features of other samples; X itself if absent, which halves the work.
        eval_gradient : bool, default False
            Also return the derivative with respect to ``theta``; only without ``Y``.

        Returns
        -------
        K : array (n_samples, n_others)
            C-contiguous float64.
        K_gradient : array (n_samples, n_samples, n_hyperparameters)
            Only with ``eval_gradient``.

        Raises
        ------
        SettingError
            If an array is not two-dimensional and finite, or the columns do not match.
        """
        if eval_gradient and Y is not None:
            raise SettingError("eval_gradient=True needs Y=None; call the kernel on X alone")
        left, right = as_feature_pair(X, Y)
        products = _products(left, right, self.n_jobs)
        if not eval_gradient:
            return self._of_products(products)
        gradient = self._gradient_of_products(products)
        return self._of_products(products), gradient

    def diag(self, X: npt.ArrayLike) -> Matrix:
        """Return the diagonal of the kernel matrix of ``X``.

        Parameters
        ----------
        X : array-like (n_samples, n_features)
            Features, finite numbers.

        Returns
        -------
        array (n_samples,)
            Kernel of each sample with itself.
        """
        features = as_features(X, "X")
        return self._of_products(np.einsum("ij,ij->i", features, features))

    def is_stationary(self) -> bool:
        """Return whether the kernel depends on differences of features only: it does not."""
        return False

    def __repr__(self) -> str:
        return "Linear()"

    def _of_products(self, products: Matrix) -> Matrix:
        """Turn inner products into the kernel, in place."""
        return products

    def _gradient_of_products(self, products: Matrix) -> Matrix:
        """Return the derivative with respect to ``theta``, on a new last axis."""
        return np.empty((*products.shape, 0))


class Polynomial(Linear):
    """Polynomial kernel, k(x, x') = (x . x' + constant)^degree.

    Parameters
    ----------
    degree : int, default 2
        Whole and at least 1: other powers are not positive semi-definite.
    constant : float, default 1.0
        At least 0, in the squared units of the features; the larger, the less the highest powers
        count. With 0, products of ``degree`` features are all there is.
    constant_bounds : pair of float or "fixed", default (1e-10, 1e10)
        Range in which an optimizer may tune the constant; "fixed" takes it out of ``theta``, as a
        constant of 0 does.
    n_jobs : int or None, default None
        Number of threads; None uses every core. The numbers do not depend on it.

    Raises
    ------
    SettingError
        If an argument has a value it cannot have, or an array is not two-dimensional and finite.

    Notes
    -----
    Cost O(n_samples n_others n_features), one matrix product. scikit-learn's
    ``polynomial_kernel`` with ``gamma = 1`` and ``coef0 = constant``.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 4.2, https://doi.org/10.7551/mitpress/3206.001.0001

    Examples
    --------
    >>> from kernchem.kernels import Polynomial
    >>> Polynomial(degree=2)([[1.0, 2.0], [3.0, 0.0]])
    array([[ 36.,  16.],
           [ 16., 100.]])
    """

    def __init__(
        self,
        degree: int = 2,
        constant: float = 1.0,
        constant_bounds: Bounds = (1e-10, 1e10),
        *,
        n_jobs: int | None = None,
    ) -> None:
        super().__init__(n_jobs=n_jobs)
        self.degree = degree
        self.constant = constant
        self.constant_bounds = constant_bounds

    @property
    def hyperparameter_constant(self) -> Hyperparameter:
        """Name and bounds of the constant, for scikit-learn."""
        self._check()
        bounds = checked_bounds("constant_bounds", self.constant_bounds)
        return Hyperparameter("constant", "numeric", "fixed" if self.constant == 0 else bounds)

    def __repr__(self) -> str:
        constant = self.constant
        text = (
            f"{constant:.3g}" if isinstance(constant, int | float | np.number) else f"{constant!r}"
        )
        return f"Polynomial(degree={self.degree}, constant={text})"

    def _check(self) -> None:
        if not is_whole(self.degree, 1):
            raise SettingError(
                f"degree={self.degree!r}; give a whole number from 1 on, as other powers are not "
                "positive semi-definite"
            )
        if not (is_positive(self.constant) or self.constant == 0):
            raise SettingError(f"constant={self.constant!r}; give a finite number >= 0")

    def _of_products(self, products: Matrix) -> Matrix:
        self._check()
        products += self.constant
        return _power(products, int(self.degree))

    def _gradient_of_products(self, products: Matrix) -> Matrix:
        if self.hyperparameter_constant.fixed:
            return super()._gradient_of_products(products)
        degree = int(self.degree)
        gradient = _power(products + self.constant, degree - 1)
        gradient *= degree * self.constant
        return gradient[:, :, np.newaxis]


def _power(values: Matrix, exponent: int) -> Matrix:
    """Return values to a whole power, by repeated squaring; they are overwritten."""
    result = None
    while exponent:
        if exponent % 2:
            result = values.copy() if result is None else np.multiply(result, values, out=result)
        exponent //= 2
        if exponent:
            np.multiply(values, values, out=values)
    return np.ones_like(values) if result is None else result


def _products(X: Matrix, Y: Matrix | None, n_jobs: int | None) -> Matrix:
    """Return the inner products of all pairs of rows."""
    others = X if Y is None else Y
    out = np.empty((len(X), len(others)))

    def fill(start: int, stop: int) -> None:
        width = stop if Y is None else len(others)
        np.matmul(X[start:stop], others[:width].T, out=out[start:stop, :width])

    if Y is None:
        fill_symmetric(fill, product_panel(len(X)), out, n_jobs)
    else:
        run_panels(fill, len(X), product_panel(len(X)), n_jobs)
    return out
