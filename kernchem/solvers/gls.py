"""Kernel regression with an unpenalised linear part, and all its leave-out predictions.

With noise-augmented kernel matrix K' = L L^T, basis H (n, p) and targets y (n, t)::

    beta = G H' P y      P = K'^-1      G = (H' P H)^-1
    a    = Q y           Q = P - P H G H' P
    f(x) = h' beta + k_x' a

For every block B of rows, the residuals of predictions by a model that never saw B, with beta
refitted without B as well, are exactly ``e_B = Q_BB^-1 a_B``, with covariance ``Q_BB^-1``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr, solve_triangular

from kernchem.errors import SettingError
from kernchem.solvers.cholesky import CholeskyFactor

__all__ = ["GeneralisedLeastSquares", "alone_in_basis", "diagonal_of"]

_Array = npt.NDArray[np.float64]

#: A block whose rows span a direction of the basis that no other row has cannot be left out. The
#: threshold is on the squared cosine between that direction and the block.
_SPANNED = 1.0 - 1e-9
#: A difference below this fraction of what it was subtracted from has no digits left.
_CANCELLED = 1e-14


class GeneralisedLeastSquares:
    """Generalised least squares of a linear part jointly with a kernel part.

    Parameters
    ----------
    factor : CholeskyFactor
        Factor of the kernel matrix with the noise on its diagonal.
    y : array (n, t)
        Targets.
    basis : array (n, p), optional
        Columns of full rank that are fitted without penalty; none by default.

    Attributes
    ----------
    dual : array (n, t)
        Kernel coefficients ``a``.
    coef : array (p, t)
        Coefficients ``beta`` of the basis.
    reduction : array (n, p)
        Matrix U with Q = P - U U'.

    Notes
    -----
    The linear part goes through the QR decomposition of L^-1 H, never through normal equations.
    Leave-one-out costs one triangular inversion, n^3 / 3 flops.

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.7 and 5.4.2.
    """

    def __init__(self, factor: CholeskyFactor, y: _Array, basis: _Array | None = None) -> None:
        if y.ndim != 2 or len(y) != factor.n:
            raise SettingError(f"y has shape {y.shape}; expected ({factor.n}, n_targets)")
        columns = np.zeros((factor.n, 0)) if basis is None else basis
        half = factor.half_solve(np.concatenate([y, columns], axis=1))
        self._settle(factor, y.shape[1], half, columns)

    def _settle(self, factor: CholeskyFactor, t: int, half: _Array, basis: _Array) -> None:
        """Solve, from L^-1 y and L^-1 H side by side."""
        self._factor, self._half = factor, half
        self._basis: _Array | None = None
        whitened, p = half[:, :t], basis.shape[1]
        if p == 0:
            self.coef = np.zeros((0, t))
            self.dual = factor.half_solve(whitened, transpose=True)
            self.reduction = np.zeros((factor.n, 0))
            self._q, self._r = np.zeros((factor.n, 0)), np.zeros((0, 0))
            return
        q, r = qr(half[:, t:], mode="economic")
        self.coef = np.asarray(solve_triangular(r, q.T @ whitened))
        both = np.concatenate([whitened - q @ (q.T @ whitened), q], axis=1)
        both = factor.half_solve(both, transpose=True)
        self.dual, self.reduction = both[:, :t].copy(), both[:, t:].copy()
        self._q, self._r = q, r
        self._basis = np.asarray(np.linalg.qr(basis)[0])

    def appended(
        self, factor: CholeskyFactor, y: _Array, basis: _Array | None = None
    ) -> GeneralisedLeastSquares:
        """Return the solution with more rows.

        Parameters
        ----------
        factor : CholeskyFactor
            What ``append`` made of the factor of this solution.
        y : array (n, t)
            All targets, the old ones first.
        basis : array (n, p), optional
            All rows of the basis.

        Returns
        -------
        GeneralisedLeastSquares
            Equal to that of the larger matrix up to rounding.

        Notes
        -----
        One pass over the factor, t + p products of a triangular matrix with a vector.
        """
        other = object.__new__(GeneralisedLeastSquares)
        columns = np.zeros((factor.n, 0)) if basis is None else basis
        half = factor.extend_half(self._half, np.concatenate([y, columns], axis=1))
        other._settle(factor, y.shape[1], half, columns)
        return other

    def logdet(self) -> float:
        """Return log det H'PH; 0 without a basis."""
        return 2.0 * float(np.log(np.abs(np.einsum("ii->i", self._r))).sum())

    def dual_of(self, columns: _Array) -> _Array:
        """Return Q C for C of shape (n, m): the kernel coefficients of other targets.

        Their leave-one-out residuals are these times the variances of :meth:`loo`. Two products
        with a triangular matrix, 2 m n^2 flops.
        """
        inner = self.reduction @ (self.reduction.T @ columns)
        return np.asarray(self._factor.solve(columns) - inner)

    def loo(self, folds: list[npt.NDArray[np.int64]] | None = None) -> tuple[_Array, _Array]:
        """Return leave-one-out residuals (n, t) and variances (n,), noise included.

        The residual of row i is ``y_i - f_-i(x_i)`` with kernel and linear part refitted without
        row i, or without its fold where there are ``folds``. Rows without which the linear part is
        not determined carry NaN.
        """
        if folds is None:
            variance = self._loo_variance()
            return self.dual * variance[:, None], variance
        residuals, blocks = self.left_out(folds)
        return residuals, diagonal_of(folds, blocks, len(residuals))

    def _loo_variance(self) -> _Array:
        inverse = self._factor.diag_inverse()
        precision = inverse - (self.reduction**2).sum(axis=1)
        undetermined = ~(precision > _CANCELLED * inverse)
        if self._basis is not None:
            undetermined |= alone_in_basis(self._basis)
        return np.asarray(1.0 / np.where(undetermined, np.nan, precision))

    def cv(self, folds: Iterable[npt.NDArray[np.int64]]) -> _Array:
        """Return residuals (n, t) of predictions by models that did not see each row's fold.

        Parameters
        ----------
        folds : iterable of array of int
            Rows of each fold; rows in no fold carry NaN.
        """
        return self.left_out(list(folds))[0]

    def left_out(self, folds: list[npt.NDArray[np.int64]]) -> tuple[_Array, list[_Array]]:
        """Return residuals (n, t) as :meth:`cv`, and the covariance of those of each fold.

        Noise is included; a fold that cannot be left out has NaN. Inverts the factor in place.
        """
        residuals = np.full_like(self.dual, np.nan)
        covariances = []
        single = self._loo_variance() if any(len(rows) == 1 for rows in folds) else None
        for rows in folds:
            if single is not None and len(rows) == 1:
                residuals[rows] = self.dual[rows] * single[rows, None]
                covariances.append(single[rows, None])
                continue
            covariance = np.full((len(rows), len(rows)), np.nan)
            if not self._spans(rows):
                reduction = self.reduction[rows]
                precision = self._factor.inverse_block(rows) - reduction @ reduction.T
                covariance = np.linalg.inv(precision)
                residuals[rows] = np.linalg.solve(precision, self.dual[rows])
            covariances.append(covariance)
        return residuals, covariances

    def _spans(self, rows: npt.NDArray[np.int64]) -> bool:
        """Whether some rows alone determine a direction of the basis."""
        if self._basis is None:
            return False
        return bool(np.linalg.norm(self._basis[rows], ord=2) ** 2 > _SPANNED)

    # -- the linear part --------------------------------------------------------------------------

    def coef_covariance(self) -> _Array:
        """Return the covariance G (p, p) of the coefficients of the basis."""
        inverse = solve_triangular(self._r, np.eye(len(self._r)))
        return np.asarray(inverse @ inverse.T)

    def coef_weights(self) -> _Array:
        """Return the weight G H'P of each label in each coefficient, array (p, n).

        Without the labels of a block B the coefficients are ``coef - weights[:, B] @ e_B``, and
        their covariance is larger by ``weights[:, B] @ Q_BB^-1 @ weights[:, B].T``.
        """
        return np.asarray(solve_triangular(self._r, self.reduction.T))

    # -- predictions ------------------------------------------------------------------------------

    def variances(self, cross: _Array, basis: _Array, prior: _Array) -> _Array:
        """Return posterior variances (m,) of the function, without noise, never below zero.

        Parameters
        ----------
        cross : array (m, n)
            Kernel between new samples and those of the factor.
        basis : array (m, p)
            Linear part of the new samples.
        prior : array (m,)
            Kernel of each new sample with itself.
        """
        half, rest = self._halves(cross, basis)
        found = prior - (half**2).sum(axis=0) + (rest**2).sum(axis=0)
        return np.asarray(np.maximum(found, 0.0))

    def covariance(self, cross: _Array, basis: _Array, prior: _Array) -> _Array:
        """Return the posterior covariance (m, m) of the function; ``prior`` is (m, m)."""
        half, rest = self._halves(cross, basis)
        return np.asarray(prior - half.T @ half + rest.T @ rest)

    def weights(self, cross: _Array, basis: _Array) -> _Array:
        """Return the weight of each label in each prediction, array (m, n).

        Without the labels of a block B, whose residuals are then ``e_B``, the predictions are
        ``f - weights[:, B] @ e_B``.
        """
        half, rest = self._halves(cross, basis)
        half += self._q @ rest
        return np.asarray(self._factor.half_solve(half, transpose=True).T)

    def _halves(self, cross: _Array, basis: _Array) -> tuple[_Array, _Array]:
        """Return V = L^-1 k_x and R^-T h - q'V, where L^-1 H = q R."""
        half = self._factor.half_solve(np.asarray(cross.T))
        outer: Any = 0.0
        if len(self._r):
            outer = solve_triangular(self._r, basis.T, trans="T")
        return half, np.asarray(outer - self._q.T @ half)


def alone_in_basis(orthonormal: _Array) -> npt.NDArray[np.bool_]:
    """Return which rows of an orthonormal basis span a direction that no other row has."""
    return np.asarray((orthonormal**2).sum(axis=1) > _SPANNED)


def diagonal_of(
    folds: list[npt.NDArray[np.int64]], covariances: list[_Array], n_rows: int
) -> _Array:
    """Return the variances (n_rows,) in the covariances of folds; NaN for a row in none."""
    variances = np.full(n_rows, np.nan)
    for rows, covariance in zip(folds, covariances, strict=True):
        variances[rows] = np.einsum("ii->i", covariance)
    return variances
