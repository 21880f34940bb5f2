"""Compiled reductions of kernels between atoms to kernels between structures."""

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit

__all__ = ["GAUSSIAN", "POWER", "add_products", "add_row", "add_values", "dot", "place_own"]

# What becomes of an inner product p of two atoms with squared norms n, m.
GAUSSIAN = 0  # exp(min(2 p - n - m, 0) factor)
POWER = 1  # (p + factor)^degree


@jit
def _add_gaussian(products, norm, column_norms, factor, total):
    for j in range(len(total)):
        total[j] += exp(min(2.0 * products[j] - norm - column_norms[j], 0.0) * factor)


@jit
def _add_gaussian_slope(products, norm, column_norms, factor, total, slope):
    for j in range(len(total)):
        t = min(2.0 * products[j] - norm - column_norms[j], 0.0) * factor
        value = exp(t)
        total[j] += value
        slope[j] -= 2.0 * t * value


@jit
def _add_power(products, constant, degree, total):
    for j in range(len(total)):
        base = products[j] + constant
        value = base
        for _ in range(degree - 1):
            value *= base
        total[j] += value


@jit
def _add_power_slope(products, constant, degree, total, slope):
    for j in range(len(total)):
        base = products[j] + constant
        value = 1.0
        for _ in range(degree - 1):
            value *= base
        total[j] += value * base
        slope[j] += degree * constant * value


@jit
def add_row(products, norm, column_norms, profile, factor, degree, with_slope, total, slope):
    """Add the kernel of one atom with others, and its derivative where ``with_slope`` is set."""
    if profile == GAUSSIAN and with_slope:
        _add_gaussian_slope(products, norm, column_norms, factor, total, slope)
    elif profile == GAUSSIAN:
        _add_gaussian(products, norm, column_norms, factor, total)
    elif with_slope:
        _add_power_slope(products, factor, degree, total, slope)
    else:
        _add_power(products, factor, degree, total)


@jit
def _collect(total, column_owners, weight, out):
    """Add sums over the columns of each owner, which stand side by side."""
    n = len(total)
    j = 0
    while j < n:
        owner = column_owners[j]
        value = 0.0
        while j < n and column_owners[j] == owner:
            value += total[j]
            j += 1
        out[owner] += weight * value


@jit
def add_products(
    products,
    row_norms,
    column_norms,
    profile,
    factor,
    degree,
    weight,
    row_owners,
    column_owners,
    with_slope,
    out,
    slopes,
):
    """Add a kernel of atoms, known from their inner products, to that of their structures.

    ``row_owners`` and ``column_owners`` ascend. ``slopes`` receives the derivative with respect to
    the logarithm of the width, or of the constant, where ``with_slope`` is set.
    """
    n_rows, n_columns = products.shape
    total, slope = np.empty(n_columns), np.empty(n_columns)
    i = 0
    while i < n_rows:
        owner = row_owners[i]
        total[:] = 0.0
        slope[:] = 0.0
        # The atoms of one structure first: sums over columns, which are short, happen once.
        while i < n_rows and row_owners[i] == owner:
            add_row(
                products[i],
                row_norms[i],
                column_norms,
                profile,
                factor,
                degree,
                with_slope,
                total,
                slope,
            )
            i += 1
        _collect(total, column_owners, weight, out[owner])
        if with_slope:
            _collect(slope, column_owners, weight, slopes[owner])


@jit
def add_values(values, weight, row_owners, column_owners, out):
    """Add a kernel of atoms (n_rows, n_columns) to that of their structures."""
    n_rows, n_columns = values.shape
    total = np.empty(n_columns)
    i = 0
    while i < n_rows:
        owner = row_owners[i]
        total[:] = 0.0
        while i < n_rows and row_owners[i] == owner:
            for j in range(n_columns):
                total[j] += values[i, j]
            i += 1
        _collect(total, column_owners, weight, out[owner])


@jit(fastmath=True)
def dot(x, y, n):
    """Return the inner product of the first ``n`` numbers of two rows."""
    total = 0.0
    for k in range(n):
        total += x[k] * y[k]
    return total


@jit
def place_own(
    left,
    right,
    row_norms,
    column_norms,
    profile,
    factor,
    degree,
    weight,
    owners,
    atoms,
    offsets,
    places,
    out,
):
    """Write a kernel between two groups of atoms to its places, where they share a structure.

    ``owners`` and ``atoms`` are those of both groups, ascending. The atoms of structure k begin at
    ``offsets[k]``, its flat matrix at ``places[k]`` of ``out``.
    """
    row_owners, column_owners = owners
    n_columns = len(right)
    products, total = np.empty(n_columns), np.empty(n_columns)
    first, last = 0, 0
    for i in range(len(left)):
        owner = row_owners[i]
        while first < n_columns and column_owners[first] < owner:
            first += 1
        last = max(first, last)
        while last < n_columns and column_owners[last] == owner:
            last += 1
        for j in range(first, last):
            products[j] = dot(left[i], right[j], left.shape[1])
        total[first:last] = 0.0
        add_row(
            products[first:last],
            row_norms[i],
            column_norms[first:last],
            profile,
            factor,
            degree,
            False,
            total[first:last],
            total[:0],
        )
        start = places[owner] + (atoms[0][i] - offsets[owner]) * (
            offsets[owner + 1] - offsets[owner]
        )
        for j in range(first, last):
            out[start + atoms[1][j] - offsets[owner]] = weight * total[j]
