"""A model of the size of errors, learnt from leave-one-out residuals."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares
from kernchem.uncertainty.checks import check_matrix, check_vector

__all__ = ["ScaleModel"]

_Array = npt.NDArray[np.float64]

#: -E[log |z|] of a standard normal z: (Euler's constant + log 2) / 2.
_MEAN_LOG = 0.5 * (float(np.euler_gamma) + float(np.log(2.0)))
#: Residuals count as at least this fraction of the median one: logarithms of less are noise.
_FLOOR = 1e-3
#: With fewer samples only the common factor is fitted.
_FEWEST = 20
#: The strength is chosen on this many samples: it is a ratio of variances, whatever their number.
_TUNING_ROWS = 1500
#: Regularisers, relative to the mean diagonal of the kernel matrix. The logarithm of the size of
#: one error has a variance of pi^2 / 8, more than scales differ.
_STRENGTHS = 10.0 ** np.arange(-2.0, 4.5, 0.5)
#: Quantiles of |z| that the final factor makes right on average.
_LEVELS = np.arange(0.5, 0.96, 0.05)
#: Standard errors by which the model must be better than a common factor.
_CAUTION = 1.5
#: Singular values of the linear part below this fraction of the largest one do not count.
_RANK = 1e-8


class ScaleModel:
    r"""Standard deviations corrected by the errors that were seen near by.

    .. math:: \log s(x) = a + b \log \sigma(x) + c^T h(x) + \sum_i k(x, x_i)\, d_i

    with the standard deviation :math:`\sigma` of a Gaussian process and an optional linear part h.
    Fitted by generalised least squares to :math:`\log |e_i| + 0.635`, whose expectation is the
    logarithm of the scale where the leave-one-out residuals :math:`e_i` are Gaussian; from there
    one step of Fisher's scoring towards the most probable scales of errors with the density of
    Laplace, which is least squares to :math:`\eta_i + |e_i| / (m e^{\eta_i}) - 1` with the
    leave-one-out predictions :math:`\eta_i` of the first fit and the mean m of the ratios; then
    shifted so that quantiles of the leave-one-out z-scores are those of a normal distribution, on
    average of their logarithms from the median to 95 %. For new samples
    :math:`\log (s / \sigma)` is kept
    within the range of the training samples.

    Attributes
    ----------
    coef_ : array (p + 2,)
        a, b and c.
    dual_ : array (n,)
        Coefficients d of the kernel part.
    strength_ : float
        Regulariser of the kernel part, relative to the mean diagonal of the kernel matrix, with the
        least leave-one-out error; infinity where there is no kernel part.
    range_ : array (2,)
        Smallest and largest correction.
    loo_log_std_ : array (n,)
        Leave-one-out predictions of log s, the shift included: what to judge calibration by.

    Notes
    -----
    With fewer than 20 samples, or where all the rest is no better than a common factor by one and a
    half standard errors of leave-one-out errors, only a is fitted, and b is 1; with fewer than 20
    samples per column of h, c is zero.
    One factorisation and inversion per regulariser on at most 1500 samples, 20 in sum, and two on
    all. The logarithm of an error of the density of Laplace has a variance of 1.64 about that of
    its scale, the working response of the step 1: it is as if there were more samples.

    References
    ----------
    K. Kersting, C. Plagemann, P. Pfaff, W. Burgard, Most likely heteroscedastic Gaussian process
    regression, ICML (2007), https://doi.org/10.1145/1273496.1273546

    Examples
    --------
    >>> residuals = np.array([0.2, -0.1, 0.4, 0.3])
    >>> model = ScaleModel().fit(np.eye(4), np.zeros(4), residuals)
    >>> np.exp(model.predict(np.zeros((1, 4)), np.zeros(1))).round(2)
    array([0.28])
    """

    @classmethod
    def restored(cls, coef: _Array, dual: _Array, limits: _Array, strength: float) -> Self:
        """Return the model that has these attributes, as a model file keeps them.

        Parameters
        ----------
        coef : array (p + 2,)
            ``coef_``.
        dual : array (n,)
            ``dual_``.
        limits : array (2,)
            ``range_``.
        strength : float
            ``strength_``.

        Returns
        -------
        ScaleModel
            The model, without ``loo_log_std_``.
        """
        self = cls()
        self.coef_, self.dual_ = coef, dual
        self.range_, self.strength_ = limits, strength
        return self

    def fit(
        self, K: _Array, log_std: _Array, residuals: _Array, linear: _Array | None = None
    ) -> Self:
        """Learn the scale of the residuals.

        Parameters
        ----------
        K : array (n, n)
            Kernel matrix of the training samples, symmetric. Not changed.
        log_std : array (n,)
            Logarithms of the leave-one-out standard deviations.
        residuals : array (n,)
            Leave-one-out residuals, in the unit of the standard deviations.
        linear : array (n, p), optional
            Linear part h.

        Returns
        -------
        ScaleModel
            Itself.

        Raises
        ------
        SettingError
            If shapes differ or a number is not finite.
        """
        residuals = check_vector(residuals, "residuals")
        n = len(residuals)
        log_std = check_vector(log_std, "log_std", n)
        K = check_matrix(K, "K", (n, n))
        h = np.zeros((n, 0)) if linear is None else check_matrix(linear, "linear", (n, None))
        sizes = np.abs(residuals)
        self.strength_, self.dual_ = np.inf, np.zeros(n)
        self.coef_ = np.concatenate([[0.0, 1.0], np.zeros(h.shape[1])])
        self.loo_log_std_ = log_std
        if sizes.any():
            # In logarithms, as the mean of two medians may overflow.
            least = np.median(np.log(sizes[sizes > 0.0])) + np.log(_FLOOR)
            logs = np.full(n, least)
            logs[sizes > 0.0] = np.maximum(np.log(sizes[sizes > 0.0]), least)
            predicted = log_std
            if n >= _FEWEST:
                predicted = self._fit_kernel(K, log_std, h, logs + _MEAN_LOG)
            shift = _shift(logs - predicted)
            self.coef_[0] += shift
            self.loo_log_std_ = predicted + shift
        corrections = self.loo_log_std_ - log_std
        self.range_ = np.array([corrections.min(), corrections.max()])
        return self

    def predict(self, K_cross: _Array, log_std: _Array, linear: _Array | None = None) -> _Array:
        """Return the logarithms of the corrected standard deviations of new samples.

        Parameters
        ----------
        K_cross : array (m, n)
            Kernel matrix of new and training samples.
        log_std : array (m,)
            Logarithms of the standard deviations that are corrected.
        linear : array (m, p), optional
            Linear part h.

        Returns
        -------
        array (m,)
            Logarithms.
        """
        out = self.coef_[0] + self.coef_[1] * log_std + K_cross @ self.dual_
        if linear is not None:
            out += linear @ self.coef_[2:]
        return np.asarray(log_std + np.clip(out - log_std, *self.range_))

    def _fit_kernel(self, K: _Array, log_std: _Array, h: _Array, targets: _Array) -> _Array:
        """Set all coefficients, and return leave-one-out predictions."""
        n = len(targets)
        if n < _FEWEST * h.shape[1]:
            h = np.zeros_like(h)
        rows = np.unique(np.linspace(0, n - 1, min(n, _TUNING_ROWS)).astype(np.int64))
        first = _Regression(K, log_std, h, rows)
        if not first.fit(targets, _STRENGTHS) or _doubtful(
            first.squares, (targets - log_std)[rows]
        ):
            return log_std
        # The logarithm of one error says little of the scale: from its fit, one step towards the
        # most probable scale of errors with the density of Laplace, by Fisher's scoring.
        logs = targets - first.predicted
        ratios = np.exp(logs - logs.max())
        working = first.predicted + ratios / ratios.mean() - 1.0
        best = _Regression(K, log_std, h, rows)
        if not best.fit(working, _STRENGTHS[::2]):
            best = first
        self.strength_, self.coef_, self.dual_ = best.strength, best.coef, best.dual
        return best.predicted


class _Regression:
    """Generalised least squares of values on kernel, logarithms of standard deviations and h."""

    strength: float
    squares: _Array
    coef: _Array
    dual: _Array
    predicted: _Array

    def __init__(self, K: _Array, log_std: _Array, h: _Array, rows: npt.NDArray[np.int64]) -> None:
        self._K, self._log_std, self._h, self._rows = K, log_std, h, rows
        self._diagonal = float(np.mean(np.einsum("ii->i", K)))

    def fit(self, targets: _Array, strengths: _Array) -> bool:
        """Choose the strength on some rows, and fit all; False where no matrix can be factorised.

        Sets coefficients, leave-one-out predictions and, for the rows, squared errors.
        """
        rows, n = self._rows, len(targets)
        basis, back = _reduced(np.column_stack([np.ones(n), self._log_std, self._h]))
        block = self._K[np.ix_(rows, rows)]
        found = []
        for strength in strengths:
            solution = _solution(block, strength * self._diagonal, targets[rows], basis[rows])
            if solution is not None:
                squares = solution.loo()[0][:, 0] ** 2
                found.append((float(np.nanmean(squares)), float(strength), squares))
        if not found:
            return False
        _, self.strength, self.squares = min(found, key=lambda one: one[0])
        noise = self.strength * self._diagonal
        solution = _solution(self._K, noise, targets, basis)
        plain = np.zeros(n)
        if solution is not None and (back @ solution.coef[:, 0])[1] < 0.0:
            # Error bars that shrink as the model knows less are noise: the slope is 1 instead.
            plain = self._log_std
            basis, back = _reduced(np.column_stack([np.ones(n), np.zeros(n), self._h]))
            solution = _solution(self._K, noise, targets - plain, basis)
        if solution is None:
            return False
        residuals = solution.loo()[0][:, 0]
        self.dual = solution.dual[:, 0]
        self.coef = back @ solution.coef[:, 0]
        self.coef[1] += 1.0 if plain is self._log_std else 0.0
        fitted = plain + basis @ solution.coef[:, 0] + self._K @ self.dual
        # A sample that alone determines a direction of the basis is predicted by the fit.
        self.predicted = np.where(np.isnan(residuals), fitted, targets - residuals)
        return True


def _doubtful(squares: _Array, differences: _Array) -> bool:
    """Whether squared errors may be no smaller than those of a common factor for all samples."""
    n = len(differences)
    common = ((differences - differences.mean()) * n / (n - 1.0)) ** 2
    gain = (common - squares)[np.isfinite(squares)]
    return bool(gain.mean() < _CAUTION * gain.std() / np.sqrt(len(gain)))


def _reduced(basis: _Array) -> tuple[_Array, _Array]:
    """Return a basis of full rank, and the way from its coefficients to those of least norm."""
    sizes = np.abs(basis).max(axis=0)
    # Rounding gives columns of zeros no coefficient.
    present = sizes > 1e-300
    sizes = np.where(present, sizes, 1.0)
    _, values, transposed = np.linalg.svd(basis / sizes, full_matrices=False)
    kept = transposed[values > _RANK * values[0]].T * present[:, None]
    return (basis / sizes) @ kept, kept / sizes[:, None]


def _solution(
    K: _Array, noise: float, targets: _Array, basis: _Array
) -> GeneralisedLeastSquares | None:
    factor = CholeskyFactor.attempt(np.array(K, order="F"), noise)
    return None if factor is None else GeneralisedLeastSquares(factor, targets[:, None], basis)


def _shift(log_scores: _Array) -> float:
    """Return the logarithm of the factor by which errors are larger than they should be."""
    normal = np.log(ndtri(0.5 + 0.5 * _LEVELS))
    return float(np.mean(np.quantile(log_scores, _LEVELS) - normal))
