"""Radial bases of SOAP: orthonormal functions, their overlaps with a Gaussian, and tables of them.

A Gaussian of width sigma at distance r from the centre overlaps with the radial function n and the
harmonic l, m to ``R_nl(r) r^-l`` times the solid harmonic ``r^l Y_lm``. ``R_nl(r) r^-l`` is an even
and smooth function of r, which :func:`radial_table` tabulates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import eval_jacobi, ive, roots_legendre

from kernchem.errors import SettingError

__all__ = ["RadialTable", "padding", "radial_table"]

_Array = npt.NDArray[np.float64]
_Decimals = npt.NDArray[np.object_]
_Overlaps = Callable[[_Array], _Array]

# What is left of a Gaussian where it is cut off, and of a radial function where it ends; both are
# those of DScribe.
_THRESHOLD = Decimal("1e-3")
# Digits in which a basis is orthonormalised: the overlaps of two dozen functions have condition
# numbers up to 1e40.
_DIGITS = 80
# Most steps of the iteration, the relative change from which on it converges by itself, and the one
# at which it ends.
_STEPS = 100
_NEAR = Decimal("1e-2")
_CONVERGED = Decimal("1e-25")
# Largest rounding error of a radial function, relative to the largest of all.
_BLUR = 1e-7
# Errors of a table, relative to its largest function.
_ACCURACY = 1e-12
_ROUNDS = 5
# Beyond so many widths a Gaussian is below 1e-17.
_REACH = 9.0
# Distances that are evaluated at once.
_PIECE = 256
# Columns are padded to a multiple of this, the width of a vector register.
_LANES = 4
_SIMILAR = (
    "n_max={} radial functions are so similar that rounding errors blur them; choose a smaller "
    "n_max or sigma, a larger r_cut, or radial_basis='polynomial'"
)


class RadialTable(NamedTuple):
    r"""Values and derivatives of radial functions at equidistant distances.

    Parameters
    ----------
    values : array (n_knots, 3, (l_max + 1) n_padded)
        ``R_nl(r) r^-l``, its first derivative times ``step``, and its second one times ``step^2``,
        all times the square root of :math:`\pi \sqrt{8 / (2 l + 1)}`, so that spectra are plain
        sums of products. Column ``l n_padded + n``; those of n not below n_max are zero.
    step : float
        Distance of two knots, angstrom; the first knot is at 0.
    error : float
        Largest error of ``R_nl`` between the knots, relative to the largest ``R_nl``.
    """

    values: _Array
    step: float
    error: float


def padding(sigma: float) -> float:
    """Return how far a Gaussian reaches: it has fallen to 0.001 there (angstrom)."""
    return float(sigma * math.sqrt(-2.0 * math.log(_THRESHOLD)))


@functools.lru_cache(maxsize=8)
def radial_table(basis: str, r_cut: float, n_max: int, l_max: int, sigma: float) -> RadialTable:
    """Return the table of overlaps of a Gaussian with a radial basis.

    Parameters
    ----------
    basis : {"gto", "polynomial"}
        Radial basis.
    r_cut : float
        Range of the basis, angstrom.
    n_max : int
        Number of radial functions.
    l_max : int
        Largest degree of the harmonics.
    sigma : float
        Width of the Gaussian, angstrom.

    Returns
    -------
    RadialTable
        From 0 to ``r_cut + padding(sigma)``. Quintic polynomials between its knots are right to
        1e-12 of the largest function, or to the rounding of the basis if that is more.

    Raises
    ------
    SettingError
        If so many radial functions cannot be told apart in double precision.
    """
    make = _gto if basis == "gto" else _polynomial
    evaluate, scale = make(r_cut, n_max, l_max, sigma)
    end = r_cut + padding(sigma)
    n_steps = int(np.ceil(end / (0.06 * scale)))
    previous = np.inf
    for _ in range(_ROUNDS):
        step = end / n_steps
        # One knot more than needed: an atom at the very end is within the last interval.
        knots: _Array = step * np.arange(n_steps + 2, dtype=np.float64)
        table: Any = _in_pieces(evaluate, knots) * step ** np.arange(3.0)[:, None, None, None]
        error = _error_between(evaluate, knots, table, l_max)
        if error < _ACCURACY or error > 0.5 * previous:
            break
        previous = error
        n_steps *= 2
    n_padded = -(-n_max // _LANES) * _LANES
    padded = np.zeros((len(knots), 3, l_max + 1, n_padded))
    padded[..., :n_max] = np.moveaxis(table, -1, 0)
    padded *= np.sqrt(np.pi * np.sqrt(8.0 / (2.0 * np.arange(l_max + 1.0) + 1.0)))[:, None]
    values = padded.reshape(len(knots), 3, -1)
    values.flags.writeable = False
    return RadialTable(values, float(step), float(error))


def _in_pieces(evaluate: _Overlaps, distances: _Array) -> _Array:
    """Return functions of many distances without large arrays on the way."""
    pieces = np.array_split(distances, -(-len(distances) // _PIECE))
    return np.concatenate([evaluate(piece) for piece in pieces], axis=-1)


def _error_between(evaluate: _Overlaps, knots: _Array, table: _Array, l_max: int) -> float:
    """Return the largest error in the middle between the knots, relative to the largest value.

    ``table`` (3, l_max + 1, n_max, n_knots) holds the scaled derivatives.
    """
    middles = 0.5 * (knots[:-1] + knots[1:])
    weights = np.array([0.5, 5.0 / 32.0, 1.0 / 64.0])
    signs = np.array([1.0, -1.0, 1.0])
    between = np.einsum("d,d...->...", weights, table[..., :-1])
    between += np.einsum("d,d...->...", weights * signs, table[..., 1:])
    powers = middles ** np.arange(l_max + 1.0)[:, None]
    exact = _in_pieces(evaluate, middles)[0] * powers[:, None]
    return float(np.abs(between * powers[:, None] - exact).max() / np.abs(exact).max())


def _orthonormalised(overlaps: _Decimals) -> _Decimals:
    """Return the inverse square root of an overlap matrix of decimal numbers (Löwdin).

    In double precision the functions would differ by 1e-10 to 1e-5 from machine to machine, and not
    be orthonormal where there are many. The iteration is that of Denman and Beavers, scaled by
    determinants: a dozen steps, where it would take one per factor of 4 in the condition number.
    """
    n = len(overlaps)
    root: Any = overlaps
    inverse_root: Any = np.array([[Decimal(int(i == j)) for j in range(n)] for i in range(n)])
    is_near = False
    for _ in range(_STEPS):
        before = inverse_root
        (inverse_a, log_a), (inverse_b, log_b) = _inverse(root), _inverse(before)
        scale = Decimal(1 if is_near else math.exp(-(log_a + log_b) / (2.0 * n)))
        inverse_root = (scale * before + inverse_a / scale) / 2
        root = (scale * root + inverse_b / scale) / 2
        change = np.abs(inverse_root - before).max() / np.abs(inverse_root).max()
        is_near = is_near or change < _NEAR
        if change < _CONVERGED:
            break
    return np.asarray(inverse_root)


def _inverse(matrix: Any) -> tuple[Any, float]:
    """Return the inverse of a positive definite matrix of decimal numbers, and log det.

    By the elimination of Gauss and Jordan.
    """
    matrix = matrix.copy()
    logarithm = 0.0
    for k in range(len(matrix)):
        pivot = matrix[k, k]
        if not pivot > 0:
            raise SettingError(_SIMILAR.format(len(matrix)))
        logarithm += math.log(pivot)
        column, row = matrix[:, k].copy(), matrix[k] / pivot
        matrix -= np.outer(column, row)
        matrix[k] = row
        matrix[:, k] = -column / pivot
        matrix[k, k] = 1 / pivot
    return matrix, logarithm


def _gto(r_cut: float, n_max: int, l_max: int, sigma: float) -> tuple[_Overlaps, float]:
    r"""Return the overlaps with the GTO basis as a function of distances, and their scale.

    The basis is :math:`\sum_k \beta_{nk} r^l \exp(-a_k r^2)`, with exponents (of each l) at which
    :math:`r^l \exp(-a_k r^2)` is 0.001 at distances from 1 angstrom to ``r_cut``. With
    :math:`\eta = 1 / (2 \sigma^2)` and :math:`q_k = \eta / (\eta + a_k)` the overlap is

    .. math::
        R_{nl}(r) r^{-l} = (\pi / \eta)^{3/2} \sum_k \beta_{nk} q_k^{l + 3/2} \exp(-a_k q_k r^2)
    """
    eta = 0.5 / sigma**2
    points = np.linspace(0.0, r_cut, 100)
    exponents = np.empty((l_max + 1, n_max))
    factors = np.empty((l_max + 1, n_max, n_max))
    blur, largest = 0.0, 0.0
    for degree in range(l_max + 1):
        a, beta = _gto_basis(r_cut, n_max, degree)
        q = eta / (eta + a)
        exponents[degree] = a * q
        factors[degree] = (np.pi / eta) ** 1.5 * beta * q ** (degree + 1.5)
        plain = points**degree * np.exp(-exponents[degree][:, None] * points**2)
        blur = max(blur, float((np.abs(factors[degree]) @ plain).max()))
        largest = max(largest, float(np.abs(factors[degree] @ plain).max()))
    if not np.finfo(np.float64).eps * blur < _BLUR * largest:
        raise SettingError(_SIMILAR.format(n_max))

    def evaluate(distances: _Array) -> _Array:
        a = exponents[..., None]
        gaussians = np.exp(-a * distances**2)
        first = -2.0 * a * distances
        parts = np.stack([gaussians, first * gaussians, (first**2 - 2.0 * a) * gaussians])
        return np.asarray(np.matmul(factors, parts))

    return evaluate, float(1.0 / np.sqrt(2.0 * exponents.max()))


def _gto_basis(r_cut: float, n_max: int, degree: int) -> tuple[_Array, _Array]:
    """Return exponents and coefficients of the basis GTO, the same on every machine."""
    with localcontext() as context:
        context.prec = _DIGITS
        step = (Decimal(r_cut) - 1) / max(n_max - 1, 1)
        ends = [1 + k * step for k in range(n_max)]
        a = np.array([float((degree * end.ln() - _THRESHOLD.ln()) / end**2) for end in ends])
        exact = np.array([Decimal(value) for value in a.tolist()])
        sums: Any = np.add.outer(exact, exact)
        powers = sums ** (degree + 1) * np.sqrt(sums)
        overlaps = Decimal(0.5 * math.gamma(degree + 1.5)) / powers
        return a, _orthonormalised(overlaps).astype(np.float64)


def _polynomial(r_cut: float, n_max: int, l_max: int, sigma: float) -> tuple[_Overlaps, float]:
    r"""Return the overlaps with the polynomial basis as a function of distances, and their scale.

    The basis is :math:`g_n(r) = \sum_k \beta_{nk} (r_{cut} - r)^{k + 2}` up to ``r_cut`` for every
    l, and with the modified spherical Bessel functions :math:`i_l` the overlap is

    .. math::
        R_{nl}(r) = 4 \pi \int_0^{r_{cut}} s^2 g_n(s) e^{-\eta (r^2 + s^2)} i_l(2 \eta r s) ds

    The derivatives with respect to :math:`r^2` follow from :math:`(i_l(x) / x^l)' = i_{l+1}(x) /
    x^l`.
    """
    eta = 0.5 / sigma**2
    # Sums of so many points are exact to rounding: half a dozen per width of the Gaussian.
    points, weights = roots_legendre(int(40 + 6.0 * r_cut / sigma))
    basis = _polynomials(points, r_cut, n_max)
    points = 0.5 * r_cut * (points + 1.0)
    basis *= 4.0 * np.pi * 0.5 * r_cut * weights * points**2
    waves = 2.0 * eta * points

    def evaluate(distances: _Array) -> _Array:
        apart = np.subtract.outer(points, distances)
        near = np.abs(apart) < _REACH * sigma
        x = np.multiply.outer(waves, distances)[near]
        bessel = _scaled_bessel(x, l_max + 2) * np.exp(-eta * apart[near] ** 2)
        integrand = np.zeros(near.shape)
        # With i_l / x^l of the degrees l, l + 1 and l + 2.
        moments = np.empty((3, l_max + 1, n_max, len(distances)))
        for order in range(l_max + 3):
            integrand[near] = bessel[order]
            for k in range(max(order - l_max, 0), min(order, 2) + 1):
                moments[k, order - k] = (basis * waves ** (order + k)) @ integrand
        once = 0.5 * moments[1] - eta * moments[0]
        twice = eta**2 * moments[0] - eta * moments[1] + 0.25 * moments[2]
        first, second = 2.0 * distances * once, 2.0 * once + 4.0 * distances**2 * twice
        return np.stack([moments[0], first, second])

    return evaluate, sigma


def _polynomials(points: _Array, r_cut: float, n_max: int) -> _Array:
    r"""Return the polynomial basis at ``points`` from -1 to 1, which stand for 0 to ``r_cut``.

    Its coefficients :math:`\beta` are so large, and cancel so far, that twelve functions keep seven
    digits only. So they are turned into those of the orthonormal polynomials that the lower
    triangle of the overlaps leads to, Jacobi's: these coefficients make up an orthogonal matrix.
    """
    order = np.arange(n_max)
    with localcontext() as context:
        context.prec = _DIGITS
        total: Any = np.add.outer(order + 1, order + 1).astype(object)
        powers = np.array([[Decimal(r_cut) ** (7 + k) for k in row] for row in total])
        overlaps = 2 * powers / ((5 + total) * (6 + total) * (7 + total))
        turned: Any = _orthonormalised(overlaps) @ _cholesky(overlaps)
        coefficients = turned.astype(np.float64)
    norms = (2.0 * order + 9.0) * (order + 7.0) * (order + 8.0) / ((order + 1.0) * (order + 2.0))
    jacobi = np.array([(-1.0) ** k * eval_jacobi(k, 6.0, 2.0, points) for k in order])
    jacobi *= np.sqrt(norms / r_cut**3)[:, None] * (0.5 - 0.5 * points) ** 3
    return np.asarray(coefficients @ jacobi)


def _cholesky(matrix: Any) -> Any:
    """Return the lower triangle L of a positive definite matrix L L^T of decimal numbers."""
    lower = np.full(matrix.shape, Decimal(0))
    for k in range(len(matrix)):
        column = matrix[k:, k] - lower[k:, :k] @ lower[k, :k]
        lower[k:, k] = column / column[0].sqrt()
    return lower


def _scaled_bessel(x: _Array, l_max: int) -> _Array:
    """Return ``exp(-x) i_l(x) / x^l`` for l = 0 ... l_max, array (l_max + 1, ...).

    Those of the two largest l by a series or from the library, the others downwards, which is
    stable at any x.
    """
    out = np.empty((l_max + 1, *x.shape))
    small = x < 1.0
    for degree in (l_max - 1, l_max):
        large_x = np.where(small, 1.0, x)
        large = np.sqrt(0.5 * np.pi) * ive(degree + 0.5, large_x) / large_x ** (degree + 0.5)
        term = np.exp(-x[small]) / np.prod(np.arange(1.0, 2.0 * degree + 2.0, 2.0))
        series = np.zeros(term.shape)
        for k in range(1, 12):
            series += term
            term = term * x[small] ** 2 / (2.0 * k * (2.0 * (degree + k) + 1.0))
        out[degree] = large
        out[degree][small] = series
    for degree in range(l_max - 2, -1, -1):
        out[degree] = x**2 * out[degree + 2] + (2.0 * degree + 3.0) * out[degree + 1]
    return out
