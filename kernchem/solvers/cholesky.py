"""In-place Cholesky factorisation of a regularised kernel matrix."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas, eigvalsh, lapack

from kernchem.errors import KernchemWarning, SettingError, SingularKernelError
from kernchem.solvers import triangular_jit
from kernchem.solvers.appended import AppendedRows

__all__ = ["OVERFLOW", "CholeskyFactor"]

_Array = npt.NDArray[np.float64]

#: Jitter is tried from the rounding error of the mean diagonal up to this fraction of it.
_LARGEST_JITTER = 1e-6
#: Rows whose normalised kernel differs from 1 by less than this are reported as duplicates.
_DUPLICATE = 1e-10
#: Up to this size the smallest eigenvalue is computed for the message of a failed factorisation: as
#: long as a few factorisations take.
_EIGENVALUE_LIMIT = 10000
#: More appended rows than this fraction of the matrix do not stand apart.
_APART = 0.125
#: The inverse of a larger factor than the first is multiplied with fewer columns than the second in
#: panels of the third, in rows: a tenth to a quarter less time than one call of ``dtrmm`` takes.
_TALL, _THIN, _PANEL = 2048, 128, 256
#: What is told of a matrix that is none of numbers, by searches too.
OVERFLOW = (
    "the kernel matrix holds NaN or infinity: check the features, whose numbers may be too large, "
    "and the kernel"
)
_SMOOTH = "the kernel is too smooth for so little noise."


class CholeskyFactor:
    r"""Factorisation :math:`K' = K + \mathrm{diag}(\eta) = L L^T` in the memory of ``K``.

    The lower triangle (in Fortran order) of ``K`` is overwritten by L, or by L^-1 after
    :meth:`invert`; the strict upper triangle goes on holding K, so a failed attempt can be
    repeated with jitter and no second matrix is ever needed.

    Parameters
    ----------
    K : array (n, n)
        Symmetric kernel matrix, float64 and contiguous. **Overwritten.**
    noise : float or array (n,)
        Added to the diagonal, in the units of ``K``.
    jitter : bool, default True
        On a failure add the smallest power of ten, relative to the mean diagonal, that makes the
        matrix positive definite; warn, and report it in :attr:`jitter`. False raises instead.
    cause : str, default ""
        Sentence that explains a failure, where the kernel is known to be no positive one.

    Attributes
    ----------
    jitter : float
        What had to be added to the diagonal beyond ``noise``; 0.0 almost always.

    Raises
    ------
    SingularKernelError
        If the matrix is not finite, or not positive definite, with its smallest eigenvalue in the
        message.

    Notes
    -----
    n^3 / 3 flops; no memory beyond ``K``.

    Examples
    --------
    >>> factor = CholeskyFactor(np.array([[2.0, 1.0], [1.0, 2.0]]), noise=1.0)
    >>> factor.solve(np.array([4.0, 4.0]))
    array([1., 1.])
    """

    #: Rows that were appended since the factor was inverted.
    _appended: AppendedRows | None = None
    #: 1-norm of the matrix, where it was found before the matrix became a factor.
    _norm: float | None = None

    def __init__(
        self, K: _Array, noise: npt.ArrayLike, *, jitter: bool = True, cause: str = ""
    ) -> None:
        if K.ndim != 2 or K.shape[0] != K.shape[1] or K.dtype != np.float64:
            raise SettingError(
                f"K has shape {K.shape} and type {K.dtype}; a square float64 matrix is needed"
            )
        if not (K.flags.c_contiguous or K.flags.f_contiguous):
            raise SettingError("K must be contiguous; pass np.ascontiguousarray(K)")
        # A symmetric matrix in C order is the same matrix in Fortran order.
        self._a = K.T if K.flags.c_contiguous else K
        self.n = len(K)
        self.jitter = 0.0
        self._inverted = False
        diagonal = np.einsum("ii->i", self._a)
        clean = diagonal.copy()
        diagonal += noise
        self._norm = float(triangular_jit.max_column_sum(self._a))
        if not self._factorise():
            self._recover(clean, np.broadcast_to(noise, (self.n,)), jitter, cause)

    @classmethod
    def attempt(cls, K: _Array, noise: npt.ArrayLike) -> CholeskyFactor | None:
        """Return the factor, or None where the matrix is not positive definite; no questions."""
        self = object.__new__(cls)
        self._a = K.T if K.flags.c_contiguous else K
        self.n, self.jitter, self._inverted = len(K), 0.0, False
        diagonal = np.einsum("ii->i", self._a)
        diagonal += noise
        return self if self._factorise() else None

    def _factorise(self) -> bool:
        _, info = lapack.dpotrf(self._a, lower=1, clean=0, overwrite_a=1)
        if info == 0:
            self._log_det = 2.0 * float(np.log(np.einsum("ii->i", self._a)).sum())
        return bool(info == 0 and np.isfinite(self._log_det))

    def _recover(self, diagonal: _Array, noise: _Array, allowed: bool, cause: str) -> None:
        """Try growing jitter; the strict upper triangle still holds K."""
        mean = float(np.mean(diagonal))
        triangular_jit.restore_lower(self._a, diagonal + noise)
        if not (np.isfinite(mean) and np.isfinite(self._a).all()):
            raise SingularKernelError(OVERFLOW)
        jitter = 10.0 ** np.ceil(np.log10(np.finfo(float).eps * max(abs(mean), 1e-300)))
        limit = _LARGEST_JITTER * mean * (1 + 1e-9) if allowed else 0.0
        while jitter <= limit:
            # The sum that a caller makes who knows the jitter: to the last bit.
            triangular_jit.restore_lower(self._a, diagonal + (noise + jitter))
            if self._factorise():
                self.jitter = float(jitter)
                warnings.warn(
                    f"the kernel matrix is not positive definite with the noise it was given; "
                    f"{jitter:.0e} was added to its diagonal (jitter_). "
                    + self._reason(diagonal, cause),
                    KernchemWarning,
                    stacklevel=5,
                )
                return
            jitter *= 10.0
        triangular_jit.restore_lower(self._a, diagonal + noise)
        reason = self._reason(diagonal, cause)
        text = "the kernel matrix is not positive definite"
        if self.n <= _EIGENVALUE_LIMIT:
            smallest = eigvalsh(self._a, subset_by_index=[0, 0], lower=True, overwrite_a=True)[0]
            text += f"; its smallest eigenvalue is {smallest:.3g}"
        raise SingularKernelError(
            f"{text}. Raise alpha, or use a positive semi-definite kernel. {reason}"
        )

    def _reason(self, diagonal: _Array, cause: str) -> str:
        """Return the rows that are duplicates, and what is known of the kernel."""
        scale = np.sqrt(np.maximum(diagonal, 0.0))
        pairs: list[str] = []
        for j in range(1, self.n):
            twins = np.flatnonzero(self._a[:j, j] >= (1.0 - _DUPLICATE) * scale[:j] * scale[j])
            pairs.extend(f"{i} and {j}" for i in twins)
            if len(pairs) >= 3:
                break
        if not pairs:
            found = "No two rows are duplicates"
            return f"{found}. {cause}" if cause else f"{found}: {_SMOOTH}"
        return f"Rows that are (nearly) duplicates: {', '.join(pairs[:3])}. {cause}".rstrip()

    def condition(self) -> float:
        """Return LAPACK's estimate of the 1-norm condition number of K'.

        Raises
        ------
        SettingError
            If the factor was inverted, comes from another one or from :meth:`attempt`.
        """
        if self._norm is None or self._inverted:
            raise SettingError(
                "condition() is that of a matrix that was just factorised; call it before invert, "
                "append and forget, on CholeskyFactor(K, noise)"
            )
        rcond, _ = lapack.dpocon(self._a, self._norm, uplo="L")
        return float(1.0 / rcond) if rcond > 0 else np.inf

    def logdet(self) -> float:
        """Return log det K' = 2 sum_i log L_ii."""
        return self._log_det + (self._appended.logdet() if self._appended else 0.0)

    def solve(self, B: _Array) -> _Array:
        """Return K'^-1 B for B of shape (n,) or (n, m)."""
        if self._inverted or self._appended:
            return self.half_solve(self.half_solve(B), transpose=True)
        return np.asarray(lapack.dpotrs(self._a, B, lower=1)[0])

    def half_solve(self, B: _Array, *, transpose: bool = False) -> _Array:
        """Return L^-1 B, or L^-T B with ``transpose``, for B of shape (n,) or (n, m)."""
        if self._appended is None:
            return self._leading(B, transpose=transpose)
        n = len(self._a)
        if transpose:
            rest = self._appended.solve(B[n:], transpose=True)
            first = self._leading(B[:n] - self._appended.lower @ rest, transpose=True)
        else:
            first = self._leading(B[:n], transpose=False)
            rest = self._appended.solve(B[n:] - self._appended.lower.T @ first)
        return np.concatenate([first, rest])

    def extend_half(self, half: _Array, B: _Array) -> _Array:
        """Return L^-1 B (n, m) where that of the first rows, before an ``append``, is known."""
        if self._appended is None or len(half) < len(self._a):
            return self.half_solve(B)
        rest = self._appended.extend(half, B[len(half) :])
        return np.concatenate([half, rest])

    def multiply_half(self, B: _Array) -> _Array:
        """Return L B for B of shape (n, m), before :meth:`invert`."""
        return np.asarray(blas.dtrmm(1.0, self._a, B, lower=1))

    def _leading(self, B: _Array, *, transpose: bool) -> _Array:
        """Return the product with the inverse of the factor in ``_a``, or its transpose."""
        if not self._inverted:
            return np.asarray(lapack.dtrtrs(self._a, B, lower=1, trans=int(transpose))[0])
        # A vector is bound by memory, and each element of the factor is fetched once.
        if B.size == len(B):
            product = blas.dtrmv(self._a, B.ravel(), lower=1, trans=int(transpose))
        else:
            product = _product(self._a, B, transpose)
        return np.asarray(product.reshape(B.shape))

    def invert(self) -> None:
        """Replace L by L^-1 in place (n^3 / 3 flops); solves go on working.

        Rows that were appended since are taken in, 2 b n^2 flops and a copy of the matrix.
        """
        if not self._inverted:
            _, info = lapack.dtrtri(self._a, lower=1, overwrite_c=1)
            if info != 0:  # pragma: no cover - L has a positive diagonal
                raise SingularKernelError("a diagonal element of the Cholesky factor is zero")
            self._inverted = True
        if self._appended is not None:
            rows, self._appended = self._appended, None
            back = self._leading(rows.lower, transpose=True)
            self._log_det += rows.logdet()
            self._a = rows.joined_to(self._a, back)

    def diag_inverse(self) -> _Array:
        """Return diag(K'^-1), the squared column norms of L^-1. Inverts the factor in place."""
        self.invert()
        out = np.empty(self.n)
        triangular_jit.column_norms_lower(self._a, out)
        return out

    def inverse_block(self, rows: npt.NDArray[np.int64]) -> _Array:
        """Return the block (K'^-1)[rows, rows]. Inverts the factor in place."""
        self.invert()
        columns = self._a[:, rows]
        columns[np.arange(self.n)[:, None] < rows] = 0.0
        return np.asarray(columns.T @ columns)

    def into_inverse(self) -> _Array:
        """Return K'^-1 (n, n) in the memory of the factor, which is of no use afterwards."""
        self.invert()
        inverse, _ = lapack.dlauum(self._a, lower=1, overwrite_c=1)
        triangular_jit.mirror_lower(inverse)
        return np.asarray(inverse)

    def kernel_matrix(self, diagonal: _Array) -> _Array:
        """Return a copy of K with the diagonal that it had: all else is still there."""
        if self._appended is not None:
            self.invert()
        K = np.array(self._a, order="F")
        triangular_jit.restore_lower(K, diagonal)
        return K

    # -- more and fewer rows ----------------------------------------------------------------------

    def append(self, cross: _Array, block: _Array) -> CholeskyFactor:
        """Return the factor of the matrix with more rows, of which this one is of no use.

        Parameters
        ----------
        cross : array (b, n)
            Kernel between the new rows and the old ones.
        block : array (b, b)
            Kernel among the new rows, with noise on its diagonal.

        Returns
        -------
        CholeskyFactor
            The old factor, and apart from it the new rows; :meth:`invert` makes one of both.

        Raises
        ------
        SingularKernelError
            If the larger matrix is not positive definite.

        Notes
        -----
        b n^2 flops and 2 b n numbers, without a copy of the matrix; 3 b n^2 flops and a copy
        whenever so many rows stand apart that solves would suffer.
        """
        half = self.half_solve(np.asarray(cross.T))
        corner, info = lapack.dpotrf(block - half.T @ half, lower=1)
        if info != 0:
            raise SingularKernelError(
                "the kernel matrix with the new rows is not positive definite: they are (nearly) "
                "duplicates of each other or of old ones; raise alpha, or fit the model anew"
            )
        other = object.__new__(CholeskyFactor)
        other._a, other.n, other.jitter = self._a, self.n + len(block), self.jitter
        other._inverted, other._log_det = self._inverted, self._log_det
        more = AppendedRows(cross, half, np.tril(corner) + np.triu(block, 1))
        other._appended = more.behind(self._appended)
        if other.n - len(self._a) > _APART * len(self._a):
            other.invert()
        return other

    def forget(self, rows: npt.NDArray[np.int64]) -> CholeskyFactor:
        """Return the factor of the matrix without some rows, of which this one is of no use.

        Parameters
        ----------
        rows : array (b,)
            Rows and columns to leave out, at least one, without repetition.

        Returns
        -------
        CholeskyFactor
            Inverted.

        Notes
        -----
        3 b n^2 flops by rotations of rows of L^-1, and a copy of the matrix.
        """
        self.invert()
        for number, row in enumerate(np.sort(rows)[::-1]):
            triangular_jit.rotate_out(self._a, self.n - number, int(row))
        # The inverse now stands in the first rows and columns, the kernel where it was.
        left = np.delete(np.arange(self.n), rows)
        smaller = np.array(self._a[: len(left), : len(left)], order="F")
        triangular_jit.copy_upper(self._a, left, smaller)
        return self._with(smaller)

    def _with(self, a: _Array) -> CholeskyFactor:
        """Return a factor that holds a matrix and the inverse of its factor."""
        other = object.__new__(CholeskyFactor)
        other._a, other.n, other.jitter, other._inverted = a, len(a), self.jitter, True
        other._log_det = -2.0 * float(np.log(np.abs(np.einsum("ii->i", a))).sum())
        return other


def _product(lower: _Array, B: _Array, transpose: bool) -> _Array:
    """Return the product of a lower triangle (n, n), or of its transpose, with B (n, m)."""
    n, m = B.shape
    if n < _TALL or m >= _THIN:
        return np.asarray(blas.dtrmm(1.0, lower, B, lower=1, trans_a=int(transpose)))
    B = np.asfortranarray(B)
    out = np.empty((n, m), order="F")
    for start in range(0, n, _PANEL):
        rows = slice(start, start + _PANEL)
        out[rows] = blas.dtrmm(1.0, lower[rows, rows], B[rows], lower=1, trans_a=int(transpose))
        if transpose:
            out[rows] += lower[rows.stop :, rows].T @ B[rows.stop :]
        else:
            out[rows] += lower[rows, :start] @ B[:start]
    return out
