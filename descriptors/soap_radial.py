"""Radial bases of SOAP: orthonormal functions, their overlaps with a Gaussian, and tables of them.

A Gaussian of width sigma at distance r from the centre overlaps with the radial function n and the
harmonic l, m to ``R_nl(r) r^-l`` times the solid harmonic ``r^l Y_lm``. ``R_nl(r) r^-l`` is an even
and smooth function of r, which :func:`radial_table` tabulates.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gamma, ive, roots_legendre

from kernchem.errors import SettingError

__all__ = ["RadialTable", "padding", "radial_table"]

_Array = npt.NDArray[np.float64]

# What is left of a Gaussian where it is cut off, and of a radial function where it ends; both are
# those of DScribe.
_THRESHOLD = 1e-3
# Digits in which a basis is orthonormalised: the overlaps of twenty functions have a condition number
# of 1e30. Most steps of the iteration, and the relative change at which it ends.
_DIGITS = 80
_STEPS = 200
_CONVERGED = Decimal("1e-25")
# Largest rounding error of a radial function, relative to its largest value.
_BLUR = 1e-7
# Errors of a table, relative to its largest function.
_ACCURACY = 1e-12
_ROUNDS = 5
# Columns are padded to a multiple of this, the width of a vector register.
_LANES = 4


class RadialTable(NamedTuple):
    """Values and derivatives of radial functions at equidistant distances.

    Parameters
    ----------
    values : array (n_knots, 3, (l_max + 1) n_padded)
        ``R_nl(r) r^-l``, its first derivative times ``step``, and its second one times ``step^2``.
        Column ``l n_padded + n``; those of n not below n_max are zero.
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
    return float(sigma * np.sqrt(-2.0 * np.log(_THRESHOLD)))


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
        table: Any = evaluate(knots) * step ** np.arange(3.0)[:, None, None, None]
        error = _error_between(evaluate, knots, table, l_max)
        if error < _ACCURACY or error > 0.5 * previous:
            break
        previous = error
        n_steps *= 2
    n_padded = -(-n_max // _LANES) * _LANES
    padded = np.zeros((len(knots), 3, l_max + 1, n_padded))
    padded[..., :n_max] = np.moveaxis(table, -1, 0)
    values = padded.reshape(len(knots), 3, -1)
    values.flags.writeable = False
    return RadialTable(values, float(step), float(error))


def _error_between(
    evaluate: Callable[[_Array], _Array], knots: _Array, table: _Array, l_max: int
) -> float:
    """Return the largest error in the middle between the knots, relative to the largest value.

    ``table`` (3, l_max + 1, n_max, n_knots) holds the scaled derivatives.
    """
    middles = 0.5 * (knots[:-1] + knots[1:])
    weights = np.array([0.5, 5.0 / 32.0, 1.0 / 64.0])
    signs = np.array([1.0, -1.0, 1.0])
    between = np.einsum("d,d...->...", weights, table[..., :-1])
    between += np.einsum("d,d...->...", weights * signs, table[..., 1:])
    powers = middles ** np.arange(l_max + 1.0)[:, None]
    exact = evaluate(middles)[0] * powers[:, None]
    return float(np.abs(between * powers[:, None] - exact).max() / np.abs(exact).max())


def _orthonormalised(overlaps: npt.NDArray[np.object_]) -> _Array:
    """Return the inverse square root of an overlap matrix of decimal numbers (Löwdin).

    In double precision the functions would differ by 1e-10 to 1e-5 from machine to machine, and not
    be orthonormal where there are many. The iteration is that of Denman and Beavers.
    """
    n = len(overlaps)
    half = Decimal("0.5")
    root: Any = overlaps
    inverse_root: Any = np.array([[Decimal(int(i == j)) for j in range(n)] for i in range(n)])
    for _ in range(_STEPS):
        before = inverse_root
        inverse_root = half * (before + _inverse(root))
        root = half * (root + _inverse(before))
        if np.abs(inverse_root - before).max() <= _CONVERGED * np.abs(inverse_root).max():
            break
    return np.asarray(inverse_root.astype(np.float64))


def _inverse(matrix: Any) -> Any:
    """Return the inverse of a positive definite matrix of decimal numbers (Gauss and Jordan)."""
    matrix = matrix.copy()
    for k in range(len(matrix)):
        pivot = matrix[k, k]
        column, row = matrix[:, k].copy(), matrix[k] / pivot
        matrix -= np.outer(column, row)
        matrix[k] = row
        matrix[:, k] = -column / pivot
        matrix[k, k] = 1 / pivot
    return matrix


def _require_clear(coefficients: _Array, functions: _Array) -> None:
    """Raise SettingError if sums of functions (n, n_points) are lost in the rounding of terms."""
    terms = np.abs(coefficients) @ np.abs(functions)
    blur = np.finfo(np.float64).eps * terms.max() / np.abs(coefficients @ functions).max()
    if not blur < _BLUR:
        raise SettingError(
            f"n_max={len(coefficients)} radial functions are so similar that rounding errors blur "
            "them; choose a smaller n_max or a larger r_cut"
        )


def _gto(
    r_cut: float, n_max: int, l_max: int, sigma: float
) -> tuple[Callable[[_Array], _Array], float]:
    r"""Return the overlaps with the GTO basis as a function of distances, and their scale.

    The basis is :math:`\sum_k \beta_{nk} r^l \exp(-a_k r^2)`, with exponents (of each l) at which
    :math:`r^l \exp(-a_k r^2)` is 0.001 at distances from 1 angstrom to ``r_cut``. With
    :math:`\eta = 1 / (2 \sigma^2)` and :math:`q_k = \eta / (\eta + a_k)` the overlap is

    .. math::
        R_{nl}(r) r^{-l} = (\pi / \eta)^{3/2} \sum_k \beta_{nk} q_k^{l + 3/2} \exp(-a_k q_k r^2)
    """
    eta = 0.5 / sigma**2
    ends = np.linspace(1.0, r_cut, n_max)
    points = np.linspace(0.0, r_cut, 100)
    exponents = np.empty((l_max + 1, n_max))
    factors = np.empty((l_max + 1, n_max, n_max))
    for degree in range(l_max + 1):
        a = (degree * np.log(ends) - np.log(_THRESHOLD)) / ends**2
        with localcontext() as context:
            context.prec = _DIGITS
            exact = np.array([Decimal(float(value)) for value in a])
            sums: Any = np.add.outer(exact, exact)
            powers = sums ** (degree + 1) * np.sqrt(sums)
            beta = _orthonormalised(Decimal(0.5 * float(gamma(degree + 1.5))) / powers)
        _require_clear(beta, points**degree * np.exp(-a[:, None] * points**2))
        q = eta / (eta + a)
        exponents[degree] = a * q
        factors[degree] = (np.pi / eta) ** 1.5 * beta * q ** (degree + 1.5)

    def evaluate(distances: _Array) -> _Array:
        a = exponents[..., None]
        gaussians = np.exp(-a * distances**2)
        first = -2.0 * a * distances
        parts = np.stack([gaussians, first * gaussians, (first**2 - 2.0 * a) * gaussians])
        return np.asarray(np.matmul(factors, parts))

    return evaluate, float(1.0 / np.sqrt(2.0 * exponents.max()))


def _polynomial(
    r_cut: float, n_max: int, l_max: int, sigma: float
) -> tuple[Callable[[_Array], _Array], float]:
    r"""Return the overlaps with the polynomial basis as a function of distances, and their scale.

    The basis is :math:`g_n(r) = \sum_k \beta_{nk} (r_{cut} - r)^{k + 2}` up to ``r_cut`` for every
    l, and with the modified spherical Bessel functions :math:`i_l` the overlap is

    .. math::
        R_{nl}(r) = 4 \pi \int_0^{r_{cut}} s^2 g_n(s) e^{-\eta (r^2 + s^2)} i_l(2 \eta r s) ds

    The derivatives with respect to :math:`r^2` follow from :math:`(i_l(x) / x^l)' = i_{l+1}(x) /
    x^l`.
    """
    eta = 0.5 / sigma**2
    order = np.arange(n_max) + 1
    with localcontext() as context:
        context.prec = _DIGITS
        total: Any = np.add.outer(order, order).astype(object)
        powers = np.array([[Decimal(r_cut) ** (7 + k) for k in row] for row in total])
        beta = _orthonormalised(2 * powers / ((5 + total) * (6 + total) * (7 + total)))
    # Sums of so many points are exact to rounding: half a dozen per width of the Gaussian.
    points, weights = roots_legendre(int(40 + 6.0 * r_cut / sigma))
    points = 0.5 * r_cut * (points + 1.0)
    plain = (r_cut - points) ** (order[:, None] + 2.0)
    _require_clear(beta, plain)
    basis = beta @ plain
    basis *= 4.0 * np.pi * 0.5 * r_cut * weights * points**2

    def evaluate(distances: _Array) -> _Array:
        bessel = _scaled_bessel(2.0 * eta * np.multiply.outer(points, distances), l_max + 2)
        bessel *= np.exp(-eta * np.subtract.outer(points, distances) ** 2)
        wave = (2.0 * eta * points)[:, None]
        out = np.empty((3, l_max + 1, n_max, len(distances)))
        for degree in range(l_max + 1):
            moments = [basis @ (wave ** (degree + 2 * k) * bessel[degree + k]) for k in range(3)]
            once = 0.5 * moments[1] - eta * moments[0]
            twice = eta**2 * moments[0] - eta * moments[1] + 0.25 * moments[2]
            out[0, degree] = moments[0]
            out[1, degree] = 2.0 * distances * once
            out[2, degree] = 2.0 * once + 4.0 * distances**2 * twice
        return out

    return evaluate, sigma


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
