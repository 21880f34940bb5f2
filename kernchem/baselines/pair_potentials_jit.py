"""Compiled sums over the pairs of atoms of molecules.

``element`` (n_atoms,) numbers the elements of a batch; tables (n_elements, n_elements) hold what
belongs to pairs of them. Distances are in angstrom, charges in elementary charges.
"""

import math

from kernchem._numba import jit

__all__ = ["bond_charges", "damped", "pair_bonds", "pair_coulomb", "pair_screened"]

_TWO_OVER_ROOT_PI = 1.1283791670955126
_ROOT_PI = 1.7724538509055159
# Below this, the slope of erf(x)/x loses digits as a difference; ten terms of the series have all.
_SMALL = 0.3
_TERMS = 10
# Steepness of the count of bonds: E. Caldeweyher et al., J. Chem. Phys. 150, 154122 (2019).
_STEEPNESS = 7.5


@jit
def damped(gamma, r):
    """Return erf(gamma r) / r, its slope along r divided by r, and its slope along log(gamma)."""
    x = gamma * r
    along_width = _TWO_OVER_ROOT_PI * gamma * math.exp(-x * x)
    if x >= _SMALL:
        value = math.erf(x) / r
        return value, (along_width - value) / (r * r), along_width
    # erf(x) / x = 2 / sqrt(pi) sum_k (-x^2)^k / (k! (2k + 1))
    value, slope, term = 1.0, 0.0, 1.0
    for k in range(1, _TERMS):
        slope -= 2.0 * term / (2 * k + 1)
        term *= -x * x / k
        value += term / (2 * k + 1)
    factor = _TWO_OVER_ROOT_PI * gamma
    return factor * value, factor * gamma * gamma * slope, along_width


@jit
def _distance(positions, i, j):
    x = positions[i, 0] - positions[j, 0]
    y = positions[i, 1] - positions[j, 1]
    z = positions[i, 2] - positions[j, 2]
    return math.sqrt(x * x + y * y + z * z)


@jit
def _push(positions, i, j, slope_over_r, forces):
    """Add the forces of a pair whose energy has a slope along r."""
    for axis in range(3):
        push = slope_over_r * (positions[i, axis] - positions[j, axis])
        forces[i, axis] -= push
        forces[j, axis] += push


@jit
def pair_coulomb(
    element, positions, offsets, charges, gamma, share, energies, forces, potentials, slopes
):
    """Add the energy of charges of Gaussian shape.

    ``gamma`` is 1 / sqrt(R_A^2 + R_B^2), ``share[a, b]`` its slope along log R_a with both
    logarithmic. ``potentials`` (n_atoms,) is the slope along each charge, ``slopes``
    (n, n_elements) that along log R.
    """
    for m in range(len(offsets) - 1):
        for i in range(offsets[m] + 1, offsets[m + 1]):
            a = element[i]
            for j in range(offsets[m], i):
                b = element[j]
                value, slope, width = damped(gamma[a, b], _distance(positions, i, j))
                both = charges[i] * charges[j]
                energies[m] += both * value
                potentials[i] += charges[j] * value
                potentials[j] += charges[i] * value
                slopes[m, a] += both * width * share[a, b]
                slopes[m, b] += both * width * share[b, a]
                _push(positions, i, j, both * slope, forces)


@jit
def pair_screened(
    element, positions, offsets, products, rate, share, weights, rates, energies, forces, slopes
):
    """Add products[a, b] phi(rate[a, b] r) / r with phi(x) = sum_k weights[k] exp(-rates[k] x).

    ``share[a, b]`` is the slope of rate[a, b] along the parameter of element a, both logarithmic.
    """
    for m in range(len(offsets) - 1):
        for i in range(offsets[m] + 1, offsets[m + 1]):
            a = element[i]
            for j in range(offsets[m], i):
                b = element[j]
                r = _distance(positions, i, j)
                x = rate[a, b] * r
                phi, along = 0.0, 0.0
                for k in range(len(weights)):
                    part = weights[k] * math.exp(-rates[k] * x)
                    phi += part
                    along -= rates[k] * x * part
                value = products[a, b] / r
                energies[m] += value * phi
                slopes[m, a] += value * along * share[a, b]
                slopes[m, b] += value * along * share[b, a]
                _push(positions, i, j, value * (along - phi) / (r * r), forces)


@jit
def _bond(length, r):
    """Return how much of a bond two atoms have, 1 near and 0 far away, and its slope along r."""
    x = _STEEPNESS * (r / length - 1.0)
    return 0.5 * math.erfc(x), -_STEEPNESS / (length * _ROOT_PI) * math.exp(-x * x)


@jit
def bond_charges(element, positions, offsets, pull, lengths, charges):
    """Add what bonds move: pull[b] - pull[a] from atom of element a to one of element b."""
    for m in range(len(offsets) - 1):
        for i in range(offsets[m] + 1, offsets[m + 1]):
            a = element[i]
            for j in range(offsets[m], i):
                b = element[j]
                bond, _ = _bond(lengths[a, b], _distance(positions, i, j))
                moved = bond * (pull[b] - pull[a])
                charges[i] += moved
                charges[j] -= moved


@jit
def pair_bonds(element, positions, offsets, pull, lengths, potentials, forces, slopes):
    """Add forces, and slopes along ``pull``, of an energy whose slopes along charges are given."""
    for m in range(len(offsets) - 1):
        for i in range(offsets[m] + 1, offsets[m + 1]):
            a = element[i]
            for j in range(offsets[m], i):
                b = element[j]
                r = _distance(positions, i, j)
                bond, slope = _bond(lengths[a, b], r)
                difference = potentials[i] - potentials[j]
                slopes[m, b] += difference * bond
                slopes[m, a] -= difference * bond
                moved = pull[b] - pull[a]
                _push(positions, i, j, difference * moved * slope / r, forces)
