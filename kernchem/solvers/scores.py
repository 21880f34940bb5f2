r"""Scores of hyperparameters, with what their slopes need, from one factorisation.

A score J depends on the kernel matrix with its noise, K'. Its slope along any hyperparameter t is

.. math:: dJ / dt = \sum_{ij} W_{ij}\, dK'_{ij} / dt

with one symmetric matrix W, which takes a few n^3 flops whatever the number of hyperparameters.
Without an amplitude, the score is that of the best one. Scores are made small; all of them are
minus twice a log density per label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

from kernchem.solvers.cholesky import CholeskyFactor
from kernchem.solvers.gls import GeneralisedLeastSquares, diagonal_of
from kernchem.solvers.repeats import Repeats

__all__ = ["Score", "likelihood", "predictive"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

_LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Score:
    """Score, its adjoint W (n, n) or None, and its slope along log(amplitude) at fixed K'.

    The slopes along the variances of the noise are the diagonal of W and, where labels were
    repeated, ``by_noise`` (n,): their scatter tells of the noise alone.
    """

    value: float
    adjoint: _Array | None
    amplitude_slope: float = 0.0
    by_noise: _Array | float = 0.0


def likelihood(
    factor: CholeskyFactor,
    solution: GeneralisedLeastSquares,
    targets: _Array,
    amplitude: float | _Array | None = None,
    *,
    slopes: bool = True,
    noise: _Array | None = None,
    repeats: Repeats | None = None,
) -> Score:
    r"""Return minus two times the restricted log marginal likelihood per label.

    .. math::
        J = \frac{1}{n} \left( y^T a / s^2 + \log |K'| + \log |H^T P H|
            + (n - p) \log 2 \pi s^2 \right)

    with the amplitude :math:`s^2` on which K' is scaled, averaged over targets. Without a linear
    part it is the log marginal likelihood itself. Where targets are means of several labels, the
    scatter of these joins in.

    Parameters
    ----------
    factor : CholeskyFactor
        Of K'. **Used up** where slopes are asked for.
    solution : GeneralisedLeastSquares
        Made with the factor.
    targets : array (n, t)
        Targets y.
    amplitude : float or array (t,), optional
        Amplitude; by default the best one of each target, y'a / (n - p).
    slopes : bool, default True
        Whether to return the adjoint.
    noise : array (n,), optional
        Variances on the diagonal of K'; with ``repeats`` only.
    repeats : Repeats, optional
        What labels tell beside the targets, their means.

    Returns
    -------
    Score
        Of the targets that the linear part does not explain alone; infinite where there are none.

    Notes
    -----
    2 n^3 / 3 flops for the adjoint.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    sections 2.7 and 5.4.1, https://doi.org/10.7551/mitpress/3206.001.0001
    """
    n, p = factor.n, len(solution.coef)
    quadratic = np.einsum("it,it->t", targets, solution.dual)
    volume = np.full(len(quadratic), factor.logdet() + solution.logdet())
    free = np.full(len(quadratic), n - p)
    if repeats is not None and noise is not None:
        quadratic = quadratic + repeats.quadratic(noise)
        volume += repeats.volume(noise)
        free += repeats.n_more
    best = quadratic / np.maximum(free, 1)
    scales = best if amplitude is None else np.broadcast_to(amplitude, best.shape)
    varying = scales > 0.0
    if not varying.any() or n <= p:
        return Score(np.inf, None)
    quadratic, scales, free = quadratic[varying], scales[varying], free[varying]
    n_labels = float(np.mean(free)) + p
    value = np.mean(quadratic / scales + free * (np.log(scales) + _LOG_2PI) + volume[varying])
    value /= n_labels
    along = float(np.mean(free - quadratic / scales)) / n_labels
    if not slopes:
        return Score(float(value), None, along)
    Q = _projected(factor, solution)
    scaled = solution.dual[:, varying] / np.sqrt(scales * len(scales))
    Q -= scaled @ scaled.T
    Q /= n_labels
    if repeats is None or noise is None:
        return Score(float(value), Q, along)
    by_noise = repeats.of_targets(varying).slopes(noise, scales)
    return Score(float(value), Q, along, by_noise / n_labels)


def predictive(
    factor: CholeskyFactor,
    solution: GeneralisedLeastSquares,
    amplitude: float | _Array | None = None,
    folds: list[_Rows] | None = None,
    *,
    slopes: bool = True,
    noise: _Array | None = None,
    repeats: Repeats | None = None,
) -> Score:
    r"""Return minus two times the log density of labels that were left out, per label.

    .. math:: J = \frac{2 \sqrt{2}}{s}\, \overline{|e| / \sqrt{v}} + \overline{\log v} + \log 2 s^2

    with the residuals e of labels that were left out and their variances v: the density of Laplace,
    which a few labels far off do not rule as they do that of Gauss. Where targets are means of
    several labels, which are left out together, the scatter of these joins in.

    Parameters
    ----------
    factor : CholeskyFactor
        Of K'. **Used up** where slopes are asked for, or folds are given.
    solution : GeneralisedLeastSquares
        Made with the factor.
    amplitude : float or array (t,), optional
        Amplitude s^2; by default the best one of each target.
    folds : list of array of int, optional
        Rows that are left out together; one at a time by default.
    slopes : bool, default True
        Whether to return the adjoint.
    noise : array (n,), optional
        Variances on the diagonal of K'; with ``repeats`` only.
    repeats : Repeats, optional
        What labels tell beside the targets, their means.

    Returns
    -------
    Score
        Of the labels that can be left out and of the targets of which not all residuals are zero;
        infinite where there are none.

    Notes
    -----
    5 n^3 / 3 flops for the adjoint, and n^2 per sample of the largest fold.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press (2006),
    section 5.4.2, https://doi.org/10.7551/mitpress/3206.001.0001
    """
    dual = solution.dual
    if folds is None:
        blocks = None
        residuals, variances = solution.loo()
    else:
        residuals, blocks = solution.left_out(folds)
        variances = diagonal_of(folds, blocks, factor.n)
    known = np.isfinite(residuals).all(axis=1) & (variances > 0.0)
    count = int(known.sum())
    if count == 0:
        return Score(np.inf, None)
    e, v = residuals[known], variances[known, None]
    roots = np.sqrt(v)
    linear = 2.0 * np.sqrt(2.0) * np.sum(np.abs(e) / roots, axis=0)
    quadratic, counts = np.zeros_like(linear), np.full(len(linear), count)
    volume = np.full(len(linear), count * np.log(2.0) + np.sum(np.log(v)))
    if repeats is not None and noise is not None:
        quadratic, counts = repeats.quadratic(noise), counts + repeats.n_more
        volume += repeats.volume(noise) + repeats.n_more * _LOG_2PI
    # Where linear / s + quadratic / s^2 + counts log s^2 is least.
    root = np.sqrt(linear**2 + 16.0 * counts * quadratic)
    best = ((linear + root) / (4.0 * counts)) ** 2
    amplitudes = best if amplitude is None else np.broadcast_to(amplitude, best.shape)
    varying = amplitudes > 0.0
    if not varying.any():
        return Score(np.inf, None)
    e, amplitudes = e[:, varying], amplitudes[varying]
    linear, quadratic = linear[varying] / np.sqrt(amplitudes), quadratic[varying] / amplitudes
    counts, n_labels = counts[varying], float(np.mean(counts[varying]))
    value = np.mean(linear + quadratic + counts * np.log(amplitudes) + volume[varying])
    value /= n_labels
    along = float(np.mean(counts - linear / 2.0 - quadratic)) / n_labels
    if not slopes:
        return Score(float(value), None, along)
    # Derivatives of J with respect to residuals and variances, zero where nothing is known.
    n_targets = e.shape[1]
    by_residual, by_variance = np.zeros_like(dual), np.zeros(factor.n)
    factors = 2.0 * np.sqrt(2.0 / amplitudes)
    slopes_of_known = factors * np.sign(e) / roots / (n_labels * n_targets)
    by_residual[np.ix_(known, varying)] = slopes_of_known
    weights = 1.0 - 0.5 * np.mean(factors * np.abs(e) / roots, axis=1)
    by_variance[known] = weights / v[:, 0] / n_labels
    adjoint = _left_out_adjoint(
        factor, solution, residuals, variances, by_residual, by_variance, folds, blocks
    )
    if repeats is None or noise is None:
        return Score(float(value), adjoint, along)
    by_noise = repeats.of_targets(varying).slopes(noise, amplitudes)
    return Score(float(value), adjoint, along, by_noise / n_labels)


def _left_out_adjoint(
    factor: CholeskyFactor,
    solution: GeneralisedLeastSquares,
    residuals: _Array,
    variances: _Array,
    by_residual: _Array,
    by_variance: _Array,
    folds: list[_Rows] | None,
    blocks: list[_Array] | None,
) -> _Array:
    """Return W from the derivatives of a score by residuals and variances.

    With e = S a, S = Q_BB^-1, da = -Q dK a and dQ = -Q dK Q, the part of a block is
    ``-(sym(a (Q g)') + Q G Q)`` with g = S e' and G the derivative by Q_BB.
    """
    Q = _projected(factor, solution)
    if folds is None or blocks is None:
        slopes = np.nan_to_num(by_residual * variances[:, None])
        own = (slopes * residuals).sum(axis=1) + by_variance * variances**2
        # Nowhere below zero, whatever the amplitude.
        W = _outer_sum(Q, np.sqrt(np.nan_to_num(own)))
    else:
        slopes, parts = np.zeros_like(by_residual), np.zeros_like(Q)
        for rows, covariance in zip(folds, blocks, strict=True):
            if not np.isfinite(covariance).all():
                continue
            slopes[rows] = covariance @ by_residual[rows]
            G = slopes[rows] @ residuals[rows].T
            G = 0.5 * (G + G.T) + (covariance * by_variance[rows]) @ covariance
            parts[rows] = G @ Q[rows]
        W = Q @ parts
    outer = (Q @ slopes) @ solution.dual.T
    W -= 0.5 * (outer + outer.T)
    return W


def _projected(factor: CholeskyFactor, solution: GeneralisedLeastSquares) -> _Array:
    """Return Q = P - U U', in the memory of the factor."""
    Q = factor.into_inverse()
    if len(solution.coef):
        Q -= solution.reduction @ solution.reduction.T
    return Q


def _outer_sum(Q: _Array, roots: _Array) -> _Array:
    """Return Q diag(roots^2) Q."""
    lower = blas.dsyrk(1.0, Q * roots, lower=1)
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)
