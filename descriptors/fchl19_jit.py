"""Compiled filler of FCHL19: two- and three-body distributions around atoms."""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit

__all__ = ["fill_fchl19"]


@jit(fastmath=True)
def _cutoff(r, r_cut):
    return 0.5 * (math.cos(math.pi * r / r_cut) + 1.0) if r < r_cut else 0.0


@jit
def _tabulate(positions, first, n, r_cut, a_cut, decays, tables):
    """Write what each pair of atoms of a molecule contributes.

    ``tables`` (4, n, n): distance, two-body weight, cutoff of triples, and r^-decay of triples.
    """
    for i in range(n):
        for j in range(i):
            dx = positions[first + i, 0] - positions[first + j, 0]
            dy = positions[first + i, 1] - positions[first + j, 1]
            dz = positions[first + i, 2] - positions[first + j, 2]
            r = math.sqrt(dx * dx + dy * dy + dz * dz)
            two = _cutoff(r, r_cut) * r ** -decays[0] if r < r_cut else 0.0
            three = _cutoff(r, a_cut)
            power = r ** -decays[1]
            for a, b in ((i, j), (j, i)):
                tables[0, a, b] = r
                tables[1, a, b] = two
                tables[2, a, b] = three
                tables[3, a, b] = power


@jit
def _exponentials(exponents, n, values):
    """Write exponentials of the first n numbers, in one long loop that runs on vectors."""
    for k in range(n):
        values[k] = exp(exponents[k])


@jit
def _two_body_exponents(r, eta, log_shells, begin, exponents):
    """Write the exponents of a log-normal distribution over the shells; return its factor."""
    variance = math.log(1.0 + eta / (r * r))
    mu = math.log(r) - 0.5 * variance
    slope = -0.5 / variance
    for k in range(len(log_shells)):
        d = log_shells[k] - mu
        exponents[begin + k] = slope * d * d
    return 1.0 / math.sqrt(2.0 * math.pi * variance)


@jit
def _three_body_exponents(half, eta, shells, begin, exponents):
    """Write the exponents of the factor that one side of a triple has in the Gaussian.

    exp(-eta (u + v - R)^2) is the product of exp(-eta (u - R)^2 + eta R^2 / 2), the same with v,
    and exp(-2 eta u v), where u and v are half the sides.
    """
    for k in range(len(shells)):
        d = half - shells[k]
        exponents[begin + k] = eta * (0.5 * shells[k] * shells[k] - d * d)


@jit
def _add_product(left, right, cosine, sine, row_c, row_s):
    for k in range(len(left)):
        value = left[k] * right[k]
        row_c[k] += cosine * value
        row_s[k] += sine * value


@jit
def _add(values, begin, weight, row):
    for k in range(len(row)):
        row[k] += weight * values[begin + k]


@jit
def _dot(positions, i, j, k):
    """Return the inner product of the vectors from atom i to j and k."""
    total = 0.0
    for c in range(3):
        total += (positions[j, c] - positions[i, c]) * (positions[k, c] - positions[i, c])
    return total


@jit
def _area(positions, i, j, k):
    """Return the length of the cross product of the vectors from atom i to j and k."""
    ux, uy, uz = (
        positions[j, 0] - positions[i, 0],
        positions[j, 1] - positions[i, 1],
        positions[j, 2] - positions[i, 2],
    )
    vx, vy, vz = (
        positions[k, 0] - positions[i, 0],
        positions[k, 1] - positions[i, 1],
        positions[k, 2] - positions[i, 2],
    )
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    return math.sqrt(x * x + y * y + z * z)


@jit
def fill_fchl19(
    kinds,
    positions,
    offsets,
    n_kinds,
    r_cut,
    a_cut,
    etas,
    decays,
    triple_weight,
    fourier,
    shells2,
    shells3,
    start,
    stop,
    out,
):
    """Write the features of the atoms of molecules start..stop to ``out``, zero so far.

    ``kinds`` numbers the elements; ``etas`` and ``decays`` (2,) are those of pairs and triples;
    ``fourier`` (n_fourier,) are the weights of the orders 1, 3, 5, ... Row 0 of ``out`` is the
    first atom of molecule ``start``.
    """
    n_radial, n_radial_3, n_fourier = len(shells2), len(shells3), len(fourier)
    largest = 0
    for molecule in range(start, stop):
        largest = max(largest, offsets[molecule + 1] - offsets[molecule])
    tables = np.empty((4, largest, largest))
    near = np.empty(largest, dtype=np.int64)
    kinds_two = np.empty(largest, dtype=np.int64)
    n_pairs = n_kinds * (n_kinds + 1) // 2
    log_shells = np.log(shells2)
    # One row per pair of elements, order and part (cosine, sine): contiguous over the shells.
    triples = np.empty((n_pairs * n_fourier * 2, n_radial_3))
    exponents = np.empty(largest * max(n_radial, n_radial_3))
    values = np.empty(len(exponents))
    factors = np.empty(largest)
    scale = triple_weight * math.sqrt(etas[1] / math.pi)
    origin = offsets[start]
    for molecule in range(start, stop):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        _tabulate(positions, first, n, r_cut, a_cut, decays, tables)
        for i in range(n):
            row = out[first - origin + i]
            n_near, n_two = 0, 0
            for j in range(n):
                if j == i:
                    continue
                if tables[1, i, j] > 0.0:
                    r = tables[0, i, j]
                    factors[n_two] = tables[1, i, j] * _two_body_exponents(
                        r, etas[0], log_shells, n_two * n_radial, exponents
                    )
                    kinds_two[n_two] = kinds[first + j]
                    n_two += 1
                if tables[2, i, j] > 0.0:
                    near[n_near] = j
                    n_near += 1
            _exponentials(exponents, n_two * n_radial, values)
            for j in range(n_two):
                column = kinds_two[j] * n_radial
                _add(values, j * n_radial, factors[j], row[column : column + n_radial])
            for kind in range(n_kinds):
                for k in range(n_radial):
                    row[kind * n_radial + k] /= shells2[k]
            if n_near < 2:
                continue
            triples[:] = 0.0
            for j in range(n_near):
                half = 0.5 * tables[0, i, near[j]]
                _three_body_exponents(half, etas[1], shells3, j * n_radial_3, exponents)
            _exponentials(exponents, n_near * n_radial_3, values)
            sides = values[: n_near * n_radial_3].reshape(n_near, n_radial_3)
            for first_near in range(1, n_near):
                j = near[first_near]
                r_ij = tables[0, i, j]
                for second_near in range(first_near):
                    k = near[second_near]
                    r_ik, r_jk = tables[0, i, k], tables[0, j, k]
                    a, b, c = r_ij * r_ij, r_ik * r_ik, r_jk * r_jk
                    sides_i = r_ij * r_ik
                    cosine = _dot(positions, first + i, first + j, first + k) / sides_i
                    # Not from the cosine, which has no digits left for atoms on a line.
                    sine = _area(positions, first + i, first + j, first + k) / sides_i
                    cosines = cosine * (a + c - b) * (b + c - a) / (4.0 * sides_i * c)
                    strength = scale * (1.0 + 3.0 * cosines) * exp(-0.5 * etas[1] * sides_i)
                    strength *= tables[3, i, j] * tables[3, i, k] * tables[3, j, k]
                    strength *= tables[2, i, j] * tables[2, i, k]
                    a_kind = min(kinds[first + j], kinds[first + k])
                    b_kind = max(kinds[first + j], kinds[first + k])
                    pair = a_kind * n_kinds - a_kind * (a_kind - 1) // 2 + b_kind - a_kind
                    # Angles of odd multiples, each from the one before by twice the angle.
                    cosine_2, sine_2 = cosine * cosine - sine * sine, 2.0 * cosine * sine
                    for order in range(n_fourier):
                        place = 2 * (pair * n_fourier + order)
                        _add_product(
                            sides[first_near],
                            sides[second_near],
                            strength * fourier[order] * cosine,
                            strength * fourier[order] * sine,
                            triples[place],
                            triples[place + 1],
                        )
                        cosine, sine = (
                            cosine * cosine_2 - sine * sine_2,
                            sine * cosine_2 + cosine * sine_2,
                        )
            column = n_kinds * n_radial
            for pair in range(n_pairs):
                for k in range(n_radial_3):
                    for part in range(2 * n_fourier):
                        row[column] = triples[pair * 2 * n_fourier + part, k]
                        column += 1
