"""Leave-one-out predictions for many regularisers from one decomposition of a kernel matrix.

With an orthonormal basis N (n, m) of what is orthogonal to the linear part H, the matrix that
:mod:`kernchem.solvers.gls` calls Q is, for noise of one size alpha,

    Q = N (N'KN + alpha)^-1 N' = Z (T + alpha)^-1 Z'

with N'KN = V T V', T tridiagonal, Z = N V. Neither T nor Z depends on alpha, and T + alpha = L D L'
takes O(n). Leave-one-out residuals need ``Q y`` and the diagonal of Q, which is a weighted sum of
squares of L^-1 Z': O(n^2), where a factorisation of K + alpha and its inverse take 2 n^3 / 3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from kernchem._threads import run_panels
from kernchem.errors import SettingError
from kernchem.solvers import path_jit
from kernchem.solvers.gls import alone_in_basis

__all__ = ["RegularisationPath"]

_Array = npt.NDArray[np.float64]

#: Columns per block of LAPACK's blocked routines, for their work arrays.
_BLOCK = 64
#: Rows per task of a thread.
_PANEL = 512
#: Regularisers that are held at a time: what depends on them stays small.
_TOGETHER = 48


class RegularisationPath:
    r"""Kernel regression with an unpenalised linear part, as a function of the regulariser.

    The noise of row i is ``alpha / weights[i]``: a scaling of rows and columns by the roots of the
    weights makes it a multiple of the identity, and is undone in the results.

    Parameters
    ----------
    K : array (n, n)
        Symmetric kernel matrix, float64 and contiguous. **Overwritten.**
    y : array (n, t)
        Targets.
    basis : array (n, p), optional
        Columns of full rank that are fitted without penalty; none by default.
    weights : array (n,), optional
        Weights, above zero; 1 by default.

    Raises
    ------
    SettingError
        If shapes do not fit, or K is not contiguous or holds NaN or infinity.

    Notes
    -----
    8 n^3 / 3 flops, a quarter of them bound by memory: the time of six (n = 600) to nine (n = 4000)
    solutions with leave-one-out residuals by :class:`~kernchem.solvers.CholeskyFactor`, so it pays
    from about ten regularisers on. Eigenvectors, which would serve as well, take 1.2 to 1.5 times
    as long. No memory beyond that of K.

    The orthogonal transformations round relative to the norm of K, which is up to n times its mean
    diagonal where the kernel is smooth; a Cholesky factor rounds relative to the diagonal. An alpha
    below the norm times 1e-16 is noise itself: T + alpha may cease to be positive definite.
    Residuals of a Gaussian kernel of 600 rows and norm 560 differ from those of a Cholesky factor
    by 3e-9 of the largest at alpha = 1e-6, 1e-7 at 2e-8, 4e-6 at 6e-10, 3e-4 at 2e-11 and 4e-3 at
    1e-14; those of a rough kernel, such as a Laplacian, by 2e-11 at all of them.

    References
    ----------
    L. Elden, BIT 24, 467 (1984), which does so for generalised cross-validation; G. H. Golub, C. F.
    Van Loan, Matrix Computations (2013), section 8.3.

    Examples
    --------
    >>> K = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> residuals, variances = RegularisationPath(K, np.array([[4.0], [4.0]])).loo([1.0, 2.0])
    >>> residuals[:, :, 0]
    array([[2.67, 2.67],
           [3.  , 3.  ]])
    """

    def __init__(
        self,
        K: _Array,
        y: _Array,
        basis: _Array | None = None,
        weights: _Array | None = None,
    ) -> None:
        n = len(K)
        if K.shape != (n, n) or K.dtype != np.float64:
            raise SettingError(
                f"K has shape {K.shape} and type {K.dtype}; a square float64 matrix is needed"
            )
        if not (K.flags.c_contiguous or K.flags.f_contiguous):
            raise SettingError("K must be contiguous; pass np.ascontiguousarray(K)")
        if y.ndim != 2 or len(y) != n:
            raise SettingError(f"y has shape {y.shape}; expected ({n}, n_targets)")
        # A symmetric matrix in C order is the same matrix in Fortran order.
        a = K.T if K.flags.c_contiguous else K
        self._roots = np.ones(n) if weights is None else np.sqrt(weights)
        if weights is not None:
            a *= self._roots
            a *= self._roots[:, None]
        if not np.isfinite(a.sum()):
            raise SettingError(
                "the kernel matrix holds NaN or infinity; check the features and the kernel"
            )
        H = np.zeros((n, 0)) if basis is None else np.asarray(basis, dtype=np.float64)
        self._alone = alone_in_basis(np.linalg.qr(H)[0])
        self._diagonal, self._off_diagonal, self._z = _decomposed(a, H * self._roots[:, None])
        self._right = self._z.T @ (self._roots[:, None] * y)

    def loo(self, alphas: npt.ArrayLike) -> tuple[_Array, _Array]:
        """Return leave-one-out residuals and their variances for each regulariser.

        Parameters
        ----------
        alphas : array (n_alphas,)
            Noise of a row of weight 1, in the units of ``K``.

        Returns
        -------
        residuals : array (n_alphas, n, t)
            ``y_i - f_-i(x_i)`` with kernel and linear part refitted without row i. NaN for rows
            without which the linear part is not determined, and everywhere for an alpha with which
            the matrix is not positive definite.
        variances : array (n_alphas, n)
            Noise included.

        Notes
        -----
        (3 + 2 t) n^2 flops per alpha.
        """
        shifts = np.asarray(alphas, dtype=np.float64).reshape(-1)
        n, n_targets = len(self._roots), self._right.shape[1]
        residuals = np.full((len(shifts), n, n_targets), np.nan)
        variances = np.full((len(shifts), n), np.nan)
        if not self._right.shape[0]:
            return residuals, variances
        for first in range(0, len(shifts), _TOGETHER):
            part = slice(first, first + _TOGETHER)
            duals, precisions = self._solve(shifts[part])
            precisions[:, self._alone] = np.nan
            variances[part] = 1.0 / precisions
            residuals[part] = duals * variances[part, :, None]
        return residuals, variances

    def _solve(self, shifts: _Array) -> tuple[_Array, _Array]:
        """Return Q y (n_shifts, n, t) and the diagonals of Q (n_shifts, n)."""
        (n, m), n_shifts = self._z.shape, len(shifts)
        pivots, ratios = np.empty((m, n_shifts)), np.empty((m, n_shifts))
        path_jit.shifted_factors(self._diagonal, self._off_diagonal, shifts, pivots, ratios)
        solutions = np.empty((m, n_shifts, self._right.shape[1]))
        path_jit.shifted_solutions(pivots, ratios, self._right, solutions)
        duals = (self._z @ solutions.reshape(m, -1)).reshape(n, n_shifts, -1)
        diagonals = np.empty((n_shifts, n))
        run_panels(
            lambda start, stop: path_jit.inverse_diagonals(
                self._z, pivots, ratios, start, stop, diagonals
            ),
            n,
            _PANEL,
            None,
        )
        roots = self._roots
        return np.moveaxis(duals, 0, 1) * roots[:, None], diagonals * roots**2


def _decomposed(a: _Array, H: _Array) -> tuple[_Array, _Array, _Array]:
    """Return diagonal and off-diagonal of T and Z (n, m), in the memory of ``a``.

    LAPACK leaves reflections in place of what it reduces, and turns them into V in their place;
    blocks of the one array are moved so that each is contiguous when it is needed.
    """
    n, p = H.shape
    m = n - p
    memory = a.T.reshape(-1)
    reflections, scales = None, None
    if p and m > 0:
        reflections, scales, _, _ = lapack.dgeqrf(H)
        for side, trans in (("L", "T"), ("R", "N")):
            lapack.dormqr(side, trans, reflections, scales, a, _BLOCK * n, overwrite_c=1)
    if m <= 0:
        return np.zeros(0), np.zeros(0), np.zeros((n, 0))
    core = _gathered(memory, n, p, p, m)
    if m == 1:
        diagonal, off_diagonal = core[0].copy(), np.zeros(0)
    else:
        _, diagonal, off_diagonal, taus, _ = lapack.dsytrd(
            core, lower=1, lwork=_BLOCK * m, overwrite_a=1
        )
        inner = _gathered(memory, m, 1, 0, m - 1)
        lapack.dorgqr(inner, taus, lwork=_BLOCK * m, overwrite_a=1)
    z = _spread(memory, m - 1, n, m, p)
    if reflections is not None:
        lapack.dormqr("L", "N", reflections, scales, z, _BLOCK * n, overwrite_c=1)
    return diagonal, off_diagonal, z


def _gathered(memory: _Array, rows: int, row: int, column: int, size: int) -> _Array:
    """Return a square block of a Fortran-ordered array as a contiguous array in its memory."""
    for j in range(size):
        start = (column + j) * rows + row
        memory[j * size : (j + 1) * size] = memory[start : start + size]
    return memory[: size * size].reshape(size, size).T


def _spread(memory: _Array, size: int, n: int, m: int, p: int) -> _Array:
    """Return Z (n, m), p rows of zeros above diag(1, V), where V (size, size) is gathered."""
    for j in range(size - 1, -1, -1):
        start = (j + 1) * n
        memory[start + n - size : start + n] = memory[j * size : (j + 1) * size]
        memory[start : start + n - size] = 0.0
    memory[:n] = 0.0
    memory[p] = 1.0
    return memory[: n * m].reshape(m, n).T
