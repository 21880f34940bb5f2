"""A model of the size of errors, learnt from leave-one-out residuals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, ndtri

from kernchem._validation import is_positive, short
from kernchem.errors import SettingError
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares
from kernchem.uncertainty.checks import check_matrix, check_vector

__all__ = ["ScaleModel"]

_Array = npt.NDArray[np.float64]

#: -E[log |z|] of a standard normal z: (Euler's constant + log 2) / 2.
_MEAN_LOG = 0.5 * (float(np.euler_gamma) + float(np.log(2.0)))
#: Median of |z|.
_MEDIAN = float(ndtri(0.75))
#: Residuals count as at least this fraction of the median one, each relative to its standard
#: deviation. Under a Gaussian 0.5 % of them are smaller, and the logarithms of those are noise.
_FLOOR = 1e-2
#: With fewer samples only the common factor is fitted.
_FEWEST = 20
#: The strength is chosen on this many samples: it is a ratio of variances, whatever their number.
_TUNING_ROWS = 2000
#: Logarithms of the size of single errors have variance pi^2 / 8, and that of their scale is below
#: 1, so the ratio is rarely below 1; nearly linear kernels want less.
_STRENGTHS = tuple(float(strength) for strength in 10.0 ** np.arange(-2.0, 3.5, 0.5))
#: A leverage closer to 1 leaves nothing to predict the sample from.
_DETERMINED = 1e-9


@dataclass(frozen=True)
class _Fit:
    """One candidate: coefficients [a, b], dual, and leave-one-out errors of its logarithms."""

    coef: _Array
    dual: _Array
    errors: _Array

    @property
    def squares(self) -> _Array:
        """Squared errors; infinite where error bars would shrink as the model knows less."""
        allowed = self.coef[1] >= 0.0 and np.isfinite(self.errors).all()
        return np.asarray(self.errors**2) if allowed else np.full(len(self.errors), np.inf)


class ScaleModel:
    r"""Standard deviations corrected by the errors that were seen near by.

    .. math:: \log s(x) = a + b \log \sigma(x) + \sum_i k(x, x_i) \, d_i

    with :math:`\sigma` the standard deviation of a Gaussian process. Fitted by generalised least
    squares to :math:`\log |e_i| + 0.635`, whose expectation is the logarithm of the scale where the
    leave-one-out residuals :math:`e_i` are Gaussian; then shifted so that the leave-one-out
    z-scores are calibrated.

    Parameters
    ----------
    strengths : sequence of float, optional
        Regularisers of the kernel part to choose from, relative to the mean diagonal of the kernel
        matrix, > 0; half decades from 0.01 to 1000 by default. No kernel part is always tried, and
        so is b = 1.
    shift : {"rms", "median"}, default "rms"
        What of the leave-one-out z-scores the final shift makes right: "rms" their mean square, as
        a standard deviation has it; "median" the median of their absolute values, which a few large
        errors do not move.
    caution : float, default 1.5
        By how many standard errors of the difference a more flexible candidate must be better than
        a stiffer one. Without caution, 0, error bars from less than a thousand errors are often
        worse than those that went in: logarithms of single errors are noisy.

    Attributes
    ----------
    coef_ : array (2,)
        a and b.
    dual_ : array (n,) or (0,)
        Coefficients d of the kernel part; empty where it did not help.
    shift_ : float
        Added to a.
    strength_ : float
        Regulariser that was chosen; infinity where there is no kernel part.
    loo_log_sd_ : array (n,)
        Leave-one-out predictions of log s, the shift included: what to judge the calibration by.

    Raises
    ------
    SettingError
        If a strength is not above zero, the shift is unknown or the caution negative.

    Notes
    -----
    Candidates are compared by the mean square leave-one-out error of the logarithms; those with
    b < 0 are left out. The stiffest one that is as good as the best is taken. With fewer than 20
    samples, or only residuals of zero, b is 1 and there is no kernel part; in the latter case the
    standard deviations stay as they are.

    Residuals below 1 % of the median one (each relative to its standard deviation; of the largest
    one, if more than half of them are zero) count as 1 %, so that exact zeros do no harm.

    ``coef_``, ``dual_`` and ``shift_`` are all that predictions need: :meth:`restored` makes a
    model of them. One factorisation and inversion, 2 n^3 / 3 flops, beside one per strength for at
    most 2000 samples; memory for a copy of the kernel matrix.

    Examples
    --------
    >>> residuals = np.array([0.2, -0.1, 0.4, 0.3])
    >>> model = ScaleModel().fit(np.eye(4), np.zeros(4), residuals)
    >>> np.exp(model.predict(None, np.zeros(1)))
    array([0.3126])
    """

    def __init__(
        self,
        strengths: Sequence[float] | None = None,
        shift: Literal["rms", "median"] = "rms",
        caution: float = 1.5,
    ) -> None:
        self.strengths = _STRENGTHS if strengths is None else tuple(strengths)
        bad = [strength for strength in self.strengths if not is_positive(strength)]
        if bad:
            raise SettingError(f"strengths holds {short(bad[0])}; positive numbers are needed")
        if shift not in {"rms", "median"}:
            raise SettingError(f"shift={short(shift)}; use 'rms' or 'median'")
        if not is_positive(caution) and caution != 0:
            raise SettingError(f"caution={short(caution)}; a number of at least 0 is needed")
        self.shift, self.caution = shift, caution

    @classmethod
    def restored(cls, coef: _Array, dual: _Array, shift: float) -> Self:
        """Return the model that has these attributes, as a model file keeps them.

        Parameters
        ----------
        coef : array (2,)
            ``coef_``.
        dual : array (n,) or (0,)
            ``dual_``.
        shift : float
            ``shift_``.

        Returns
        -------
        ScaleModel
            A model that predicts; what else the fit left behind is not there.
        """
        self = cls()
        self.coef_, self.dual_, self.shift_ = coef, dual, shift
        return self

    def fit(self, K: npt.ArrayLike, log_sd_loo: npt.ArrayLike, residuals: npt.ArrayLike) -> Self:
        """Learn the scale of the residuals.

        Parameters
        ----------
        K : array-like (n, n)
            Kernel matrix of the training samples, symmetric. Not changed.
        log_sd_loo : array-like (n,)
            Logarithms of the leave-one-out standard deviations.
        residuals : array-like (n,)
            Leave-one-out residuals, in the unit of the standard deviations.

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
        log_sd = check_vector(log_sd_loo, "log_sd_loo", n)
        kernel = check_matrix(K, "K", (n, n))
        nonzero = residuals != 0.0
        log_errors = np.full(n, -np.inf)
        log_errors[nonzero] = np.log(np.abs(residuals[nonzero]))
        if not nonzero.any():
            fit, self.strength_ = _Fit(np.array([0.0, 1.0]), np.zeros(0), np.zeros(n)), np.inf
            targets = log_sd
        else:
            targets = log_sd + _floored(log_errors - log_sd) + _MEAN_LOG
            fit, self.strength_ = self._choose(kernel, log_sd, targets)
        self.coef_, self.dual_ = fit.coef, fit.dual
        predicted = targets - fit.errors
        self.shift_ = self._shift(log_errors - predicted) if nonzero.any() else 0.0
        self.loo_log_sd_ = predicted + self.shift_
        return self

    def predict(self, K_cross: npt.ArrayLike | None, log_sd: npt.ArrayLike) -> _Array:
        """Return the logarithms of the standard deviations of test samples.

        Parameters
        ----------
        K_cross : array-like (m, n) or None
            Kernel matrix of test and training samples; not used, and may be None, where ``dual_``
            is empty.
        log_sd : array-like (m,)
            Logarithms of the standard deviations that are corrected.

        Returns
        -------
        array (m,)
            Logarithms of the corrected ones.

        Raises
        ------
        SettingError
            If shapes differ or a number is not finite.
        """
        log_sd = check_vector(log_sd, "log_sd")
        predicted = self.coef_[0] + self.shift_ + self.coef_[1] * log_sd
        if len(self.dual_):
            cross = check_matrix(K_cross, "K_cross", (len(log_sd), len(self.dual_)))
            predicted += cross @ self.dual_
        return np.asarray(predicted)

    def _choose(self, kernel: _Array, log_sd: _Array, targets: _Array) -> tuple[_Fit, float]:
        """Return the best candidate, fitted to all samples, and its strength."""
        n = len(targets)
        if n < _FEWEST:
            return next(_linear_fits(log_sd, targets)), np.inf
        rows = np.unique(np.linspace(0, n - 1, min(n, _TUNING_ROWS)).astype(np.int64))
        block = kernel if len(rows) == n else kernel[np.ix_(rows, rows)]
        candidates = [
            (fit.squares, strength, place)
            for strength in (np.inf, *sorted(self.strengths, reverse=True))
            for place, fit in enumerate(_fits(block, strength, log_sd[rows], targets[rows]))
        ]
        best = min((squares for squares, _, _ in candidates), key=np.mean)
        # From the stiffest to the most flexible one: what is no better beyond doubt is left out.
        _, strength, place = next(
            candidate for candidate in candidates if _is_as_good(candidate[0], best, self.caution)
        )
        fits = list(_fits(kernel, strength, log_sd, targets))
        if len(fits) <= place or np.isinf(fits[place].squares).any():
            # What the samples it was chosen on allowed, all samples do not.
            return next(_linear_fits(log_sd, targets)), np.inf
        return fits[place], strength

    def _shift(self, log_scores: _Array) -> float:
        """Return the logarithm of the factor by which errors are larger than they should be."""
        if self.shift == "median":
            middle = float(np.median(log_scores))
            if np.isfinite(middle):
                return middle - float(np.log(_MEDIAN))
        return 0.5 * float(logsumexp(2.0 * log_scores) - np.log(len(log_scores)))


def _is_as_good(squares: _Array, best: _Array, caution: float) -> bool:
    """Whether errors are larger than the best ones by no more than the doubt about this."""
    if np.isinf(squares).any():
        return False
    excess = squares - best
    doubt = caution * float(np.std(excess)) / np.sqrt(len(excess))
    return bool(np.mean(excess) <= doubt)


def _floored(log_ratios: _Array) -> _Array:
    """Return logarithms of residuals over standard deviations, none far below their median."""
    middle = float(np.median(log_ratios))
    if not np.isfinite(middle):
        middle = float(log_ratios.max())
    return np.asarray(np.maximum(log_ratios, middle + np.log(_FLOOR)))


def _forms(log_sd: _Array, targets: _Array) -> Iterator[tuple[_Array, _Array, Any]]:
    """Yield targets, basis and the way to [a, b]: first with b = 1, then with b free."""
    ones = np.ones((len(targets), 1))
    yield targets - log_sd, ones, lambda beta: np.array([beta[0], 1.0])
    middle = float(np.mean(log_sd))
    deviations = log_sd - middle
    # Equal standard deviations have no slope.
    if np.abs(deviations).max() > _DETERMINED * max(1.0, abs(middle)):
        basis = np.column_stack([ones, deviations])
        yield targets, basis, lambda beta: np.array([beta[0] - beta[1] * middle, beta[1]])


def _linear_fits(log_sd: _Array, targets: _Array) -> Iterator[_Fit]:
    """Yield fits without a kernel part."""
    n = len(targets)
    for values, basis, convert in _forms(log_sd, targets):
        q, r = np.linalg.qr(basis)
        residuals = values - q @ (q.T @ values)
        free = 1.0 - (q**2).sum(axis=1)
        # A single sample is predicted by itself: nothing else is there.
        errors = residuals / np.where(free > _DETERMINED, free, np.nan) if n > 1 else residuals
        yield _Fit(convert(np.linalg.solve(r, q.T @ values)), np.zeros(0), errors)


def _fits(kernel: _Array, strength: float, log_sd: _Array, targets: _Array) -> Iterator[_Fit]:
    """Yield fits with one regulariser; none if the kernel matrix is not positive with it."""
    if np.isinf(strength):
        yield from _linear_fits(log_sd, targets)
        return
    noise = strength * float(np.mean(np.diagonal(kernel)))
    factor = CholeskyFactor.attempt(np.array(kernel, order="C"), noise)
    if factor is None:
        return
    for values, basis, convert in _forms(log_sd, targets):
        solution = GeneralisedLeastSquares(factor, values[:, None], basis)
        errors, _ = solution.loo()
        yield _Fit(convert(solution.coef[:, 0]), solution.dual[:, 0], errors[:, 0])
