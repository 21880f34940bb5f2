"""Compiled filler of FCHL19: two- and three-body distributions around atoms.

The atoms of a molecule are sorted by the kinds of their elements, so that the neighbours of an
atom, and the columns that its triples go to, come in runs of one kind.
"""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit

__all__ = ["fill_fchl19"]

# Rows of the arrays of neighbours: unit vector, distance, cutoff times r^-decay; and, towards one
# of them, 1 / r^2 and r^-decay.
_X, _Y, _Z, _R, _DAMPED, _INVERSE, _POWER = range(7)
_N_ROWS = 7


@jit
def _sort_atoms(kinds, positions, first, n, n_kinds, order, sorted_kinds, xyz):
    """Put the atoms of a molecule in the order of their kinds."""
    place = 0
    for kind in range(n_kinds):
        for i in range(n):
            if kinds[first + i] == kind:
                order[place] = first + i
                sorted_kinds[place] = kind
                for c in range(3):
                    xyz[c, place] = positions[first + i, c]
                place += 1


@jit
def _squared_distance(xyz, i, j):
    dx, dy, dz = xyz[0, i] - xyz[0, j], xyz[1, i] - xyz[1, j], xyz[2, i] - xyz[2, j]
    return dx * dx + dy * dy + dz * dz


@jit
def _cutoff(r, r_cut):
    return 0.5 * (math.cos(math.pi * r / r_cut) + 1.0)


@jit(fastmath=True)
def _fill_log_normal(r, r_cut, eta, decay, log_shells, inverse_shells, values):
    """Write what a pair adds to the shells of either atom."""
    variance = math.log1p(eta / (r * r))
    log_r = math.log(r)
    mu = log_r - 0.5 * variance
    slope = -0.5 / variance
    factor = _cutoff(r, r_cut) * exp(-decay * log_r) / math.sqrt(2.0 * math.pi * variance)
    for s in range(len(values)):
        d = log_shells[s] - mu
        values[s] = factor * inverse_shells[s] * exp(slope * d * d)


@jit
def _add_pairs(xyz, order, kinds, n, r_cut, eta, decay, shells, rows, starts, out):
    """Add the two-body terms of a molecule; each pair is computed once."""
    log_shells, inverse_shells, values = np.log(shells), 1.0 / shells, np.empty(len(shells))
    for i in range(n):
        for j in range(i):
            squared = _squared_distance(xyz, i, j)
            if squared >= r_cut * r_cut:
                continue
            r = math.sqrt(squared)
            _fill_log_normal(r, r_cut, eta, decay, log_shells, inverse_shells, values)
            for a, b in ((i, j), (j, i)):
                begin = rows[order[a], 0] + starts[rows[order[a], 1], kinds[b]]
                for s in range(len(values)):
                    out[begin + s] += values[s]


@jit
def _tabulate(xyz, atoms, n, decay, tables):
    """Write 1 / r^2 and r^-decay of all pairs of the first n of ``atoms``."""
    for a in range(n):
        for b in range(a):
            squared = _squared_distance(xyz, atoms[a], atoms[b])
            inverse = 1.0 / squared
            power = exp(-0.5 * decay * math.log(squared))
            tables[0, a, b] = inverse
            tables[0, b, a] = inverse
            tables[1, a, b] = power
            tables[1, b, a] = power


@jit
def _list_near(xyz, i, n, limit, near):
    """List the atoms nearer to atom i than the root of ``limit``, in their order."""
    found = 0
    for j in range(n):
        if j != i and _squared_distance(xyz, i, j) < limit:
            near[found] = j
            found += 1
    return found


@jit
def _describe_near(xyz, i, near, n_near, a_cut, tables, own, slots, about):
    """Write the rows of ``about`` that concern atom i and each of its neighbours."""
    for k in range(n_near):
        j = near[k]
        dx, dy, dz = xyz[0, j] - xyz[0, i], xyz[1, j] - xyz[1, i], xyz[2, j] - xyz[2, i]
        r = math.sqrt(dx * dx + dy * dy + dz * dz)
        about[_X, k] = dx / r
        about[_Y, k] = dy / r
        about[_Z, k] = dz / r
        about[_R, k] = r
        about[_DAMPED, k] = _cutoff(r, a_cut) * tables[1, own, slots[k]]


@jit(fastmath=True)
def _fill_sides(about, n_near, eta, shells, sides):
    """Write the factor that one side of a triple has in the Gaussian over the shells.

    With u and v half the sides, exp(-eta (u + v - R)^2) is exp(-eta (u - R)^2 + eta R^2 / 2), the
    same with v, and exp(-2 eta u v). The first two are large: none underflows before the Gaussian.
    """
    for k in range(n_near):
        half = 0.5 * about[_R, k]
        for s in range(len(shells)):
            d = half - shells[s]
            sides[k, s] = exp(eta * (0.5 * shells[s] * shells[s] - d * d))


@jit(fastmath=True)
def _weigh(about, j, begin, end, eta, weight, angular):
    """Write strength times cosine and sine of the angles between neighbour j and others.

    They go to the first two rows of ``angular``, cosine and sine of twice the angle to its last
    two. The sine is the length of a cross product: the cosine has no digits of it left for atoms
    on a line.
    """
    last = len(angular) - 1
    x_j, y_j, z_j, r_j = about[_X, j], about[_Y, j], about[_Z, j], about[_R, j]
    slope, factor = -0.5 * eta * r_j, weight * about[_DAMPED, j]
    for k in range(begin, end):
        x, y, z, r = about[_X, k], about[_Y, k], about[_Z, k], about[_R, k]
        cosine = x_j * x + y_j * y + z_j * z
        cx, cy, cz = y_j * z - z_j * y, z_j * x - x_j * z, x_j * y - y_j * x
        sine = math.sqrt(cx * cx + cy * cy + cz * cz)
        # The other two cosines are (r_j - r cosine) / r_jk and (r - r_j cosine) / r_jk.
        others = (r_j - r * cosine) * (r - r_j * cosine) * about[_INVERSE, k]
        strength = factor * about[_DAMPED, k] * about[_POWER, k] * exp(slope * r)
        strength *= 1.0 + 3.0 * cosine * others
        angular[0, k] = strength * cosine
        angular[1, k] = strength * sine
        angular[last - 1, k] = cosine * cosine - sine * sine
        angular[last, k] = 2.0 * cosine * sine


@jit
def _raise_orders(begin, end, n_fourier, angular):
    """Write the rows of angles times 3, 5, ..., each from the one before by twice the angle."""
    last = 2 * n_fourier + 1
    for row in range(0, 2 * n_fourier - 2, 2):
        for k in range(begin, end):
            cosine, sine = angular[row, k], angular[row + 1, k]
            angular[row + 2, k] = cosine * angular[last - 1, k] - sine * angular[last, k]
            angular[row + 3, k] = sine * angular[last - 1, k] + cosine * angular[last, k]


@jit(fastmath=True)
def _add_run(sides, j, begin, end, angular, row, sums, place):
    """Add the triples of neighbour j and a run of others to the sums of cosines and sines."""
    n_shells = sides.shape[1]
    k = begin
    # Two at a time, so that the sums are loaded and stored half as often.
    while k + 1 < end:
        c_1, c_2 = angular[row, k], angular[row, k + 1]
        s_1, s_2 = angular[row + 1, k], angular[row + 1, k + 1]
        for s in range(n_shells):
            side, first, second = sides[j, s], sides[k, s], sides[k + 1, s]
            sums[place, s] += side * (c_1 * first + c_2 * second)
            sums[place + 1, s] += side * (s_1 * first + s_2 * second)
        k += 2
    if k < end:
        c_1, s_1 = angular[row, k], angular[row + 1, k]
        for s in range(n_shells):
            product = sides[j, s] * sides[k, s]
            sums[place, s] += c_1 * product
            sums[place + 1, s] += s_1 * product


@jit
def _add_triples(
    near, n_near, slots, tables, kinds, about, sides, eta, weight, pairs, n_fourier, angular, sums
):
    """Add all triples of an atom to ``sums``, with a row per pair of kinds, order and part."""
    for j in range(n_near - 1):
        for k in range(j + 1, n_near):
            about[_INVERSE, k] = tables[0, slots[j], slots[k]]
            about[_POWER, k] = tables[1, slots[j], slots[k]]
        _weigh(about, j, j + 1, n_near, eta, weight, angular)
        _raise_orders(j + 1, n_near, n_fourier, angular)
        begin = j + 1
        while begin < n_near:
            kind = kinds[near[begin]]
            end = begin + 1
            while end < n_near and kinds[near[end]] == kind:
                end += 1
            place = 2 * n_fourier * pairs[kinds[near[j]], kind]
            for part in range(0, 2 * n_fourier, 2):
                _add_run(sides, j, begin, end, angular, part, sums, place + part)
            begin = end


@jit
def _write_triples(sums, fourier, out, begin):
    """Write sums to their columns: by pair of kinds, shell, order, cosine before sine."""
    width, n_shells = 2 * len(fourier), sums.shape[1]
    for place in range(len(sums)):
        pair, part = place // width, place % width
        column = begin + pair * n_shells * width + part
        for s in range(n_shells):
            out[column + s * width] = fourier[part // 2] * sums[place, s]


@jit
def fill_fchl19(
    kinds,
    positions,
    offsets,
    cuts,
    etas,
    decays,
    triple_weight,
    fourier,
    shells2,
    shells3,
    rows,
    starts,
    pairs,
    n_pairs,
    whole,
    start,
    stop,
    out,
):
    """Add the features of the atoms of molecules start..stop to ``out``, zero so far.

    ``kinds`` numbers the elements; ``cuts``, ``etas`` and ``decays`` (2,) are those of pairs and
    triples; ``fourier`` (n_fourier,) are the weights of the orders 1, 3, 5, ... The row of an atom
    begins at ``rows[atom, 0]`` of the flat ``out``, in the layout ``rows[atom, 1]``, by which the
    other tables are indexed first: ``starts`` has the first column of the pairs with each kind and,
    behind them, of all triples; ``pairs`` numbers the pairs of kinds, ``n_pairs`` of them. Up to
    ``whole`` atoms, distances are tabulated once per molecule, else around each atom.
    """
    n_kinds, n_fourier, n_shells = pairs.shape[1], len(fourier), len(shells3)
    largest = 0
    for molecule in range(start, stop):
        largest = max(largest, offsets[molecule + 1] - offsets[molecule])
    order, sorted_kinds = np.empty(largest, dtype=np.int64), np.empty(largest, dtype=np.int64)
    everything, near = np.arange(largest), np.empty(largest, dtype=np.int64)
    xyz = np.empty((3, largest))
    size = min(largest, whole)
    tables, sides = np.empty((2, size, size)), np.empty((size, n_shells))
    about, angular = np.empty((_N_ROWS, largest)), np.empty((2 * n_fourier + 2, largest))
    sums = np.empty((2 * n_fourier * n_pairs.max(), n_shells))
    weight = triple_weight * math.sqrt(etas[1] / math.pi)
    for molecule in range(start, stop):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        _sort_atoms(kinds, positions, first, n, n_kinds, order, sorted_kinds, xyz)
        _add_pairs(
            xyz, order, sorted_kinds, n, cuts[0], etas[0], decays[0], shells2, rows, starts, out
        )
        if n <= whole:
            _tabulate(xyz, everything, n, decays[1], tables)
        for i in range(n):
            n_near = _list_near(xyz, i, n, cuts[1] * cuts[1], near)
            if n_near < 2:
                continue
            slots, own = near, i
            if n > whole:
                if n_near >= len(sides):
                    tables = np.empty((2, 2 * n_near, 2 * n_near))
                    sides = np.empty((2 * n_near, n_shells))
                near[n_near] = i
                _tabulate(xyz, near, n_near + 1, decays[1], tables)
                slots, own = everything, n_near
            _describe_near(xyz, i, near, n_near, cuts[1], tables, own, slots, about)
            _fill_sides(about, n_near, etas[1], shells3, sides)
            layout = rows[order[i], 1]
            used = sums[: 2 * n_fourier * n_pairs[layout]]
            used[:] = 0.0
            _add_triples(
                near,
                n_near,
                slots,
                tables,
                sorted_kinds,
                about,
                sides,
                etas[1],
                weight,
                pairs[layout],
                n_fourier,
                angular,
                used,
            )
            _write_triples(used, fourier, out, rows[order[i], 0] + starts[layout, n_kinds])
