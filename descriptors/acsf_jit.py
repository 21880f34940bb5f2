"""Compiled fillers of atom-centred symmetry functions.

All pairs of a molecule within the cutoff are listed once, for each atom sorted by the kind of its
neighbour: entry t is a pair (i, j), those of atom i with neighbours of kind a are the entries
``starts[i, a]`` to ``starts[i, a + 1]``. Every function of a distance is a table over entries;
sums over triples multiply what stands there.
"""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit

__all__ = ["fill_symmetry_functions"]

# Triples whose terms are computed together: their buffers stay in the first-level cache.
_CHUNK = 256


@jit
def _sort_atoms(kinds, weights, positions, first, n_kinds, order, sorted_kinds, strengths, xyz):
    """Put the atoms of a molecule in the order of their kinds."""
    place = 0
    for kind in range(n_kinds):
        for i in range(len(order)):
            if kinds[first + i] == kind:
                order[place] = i
                sorted_kinds[place] = kind
                strengths[place] = weights[first + i]
                for c in range(3):
                    xyz[c, place] = positions[first + i, c]
                place += 1


@jit
def _count_pairs(xyz, n, limit):
    """Return the number of ordered pairs nearer than the root of ``limit``."""
    x, y, z = xyz[0], xyz[1], xyz[2]
    count = 0
    for i in range(n):
        for j in range(i):
            dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            count += dx * dx + dy * dy + dz * dz < limit
    return 2 * count


@jit
def _list_pairs(xyz, kinds, n, n_kinds, limit, starts, partners, distances):
    """List the neighbours of each atom by kind."""
    x, y, z = xyz[0], xyz[1], xyz[2]
    found = 0
    for i in range(n):
        kind = 0
        starts[i, 0] = found
        for j in range(n):
            while kind < kinds[j]:
                kind += 1
                starts[i, kind] = found
            dx, dy, dz = x[i] - x[j], y[i] - y[j], z[i] - z[j]
            squared = dx * dx + dy * dy + dz * dz
            if i != j and squared < limit:
                partners[found] = j
                distances[found] = math.sqrt(squared)
                found += 1
        for later in range(kind + 1, n_kinds + 1):
            starts[i, later] = found
    return found


@jit
def _fill_decays(distances, n_pairs, r_cut, hyperbolic, decays):
    """Write the cutoff function at each distance."""
    if hyperbolic:
        for t in range(n_pairs):
            tangent = math.tanh(1.0 - distances[t] / r_cut)
            decays[t] = tangent * tangent * tangent
    else:
        for t in range(n_pairs):
            decays[t] = 0.5 * (math.cos(math.pi * distances[t] / r_cut) + 1.0)


@jit(fastmath=True)
def _fill_gaussian(distances, heights, n_pairs, eta, shift, values):
    for t in range(n_pairs):
        d = distances[t] - shift
        values[t] = heights[t] * exp(-eta * d * d)


@jit
def _add_radial(values, starts, order, n, n_kinds, column, stride, out, first):
    """Add a function of pairs to ``column`` of the block of each kind of neighbour."""
    for i in range(n):
        row = out[first + order[i]]
        for kind in range(n_kinds):
            total = 0.0
            for t in range(starts[i, kind], starts[i, kind + 1]):
                total += values[t]
            row[column + kind * stride] += total


@jit(fastmath=True)
def _fill_power(cosines, n, zeta, sign, base, power):
    """Write (1 + sign cos)^zeta / 2^(zeta - 1), by repeated squaring if zeta is whole."""
    scale = 2.0 ** (1.0 - zeta)
    for m in range(n):
        # Rounding may leave a tiny negative number, of which powers do not exist.
        base[m] = max(1.0 + sign * cosines[m], 0.0)
        power[m] = scale
    whole = int(zeta)
    if whole != zeta:
        for m in range(n):
            power[m] = scale * exp(zeta * math.log(base[m])) if base[m] > 0.0 else 0.0
        return
    while whole > 0:
        if whole % 2 == 1:
            for m in range(n):
                power[m] *= base[m]
        whole //= 2
        if whole > 0:
            for m in range(n):
                base[m] *= base[m]


@jit(fastmath=True)
def _dot(a, b, n):
    total = 0.0
    for m in range(n):
        total += a[m] * b[m]
    return total


@jit
def _add_terms(cosines, factors, n, shapes, ends, members, scratch, row, column):
    """Add the terms of n triples of one pair of kinds to its block, which starts at ``column``.

    ``shapes`` holds zeta and lambda; the functions of shape s are ``members[ends[s]:ends[s + 1]]``,
    each with the number of its Gaussian, which numbers ``factors``, and its place in the block.
    """
    base, power = scratch[0], scratch[1]
    for s in range(len(shapes)):
        _fill_power(cosines, n, shapes[s, 0], shapes[s, 1], base, power)
        for m in range(ends[s], ends[s + 1]):
            row[column + members[m, 1]] += _dot(factors[members[m, 0]], power, n)


@jit
def _add_centre(
    i,
    starts,
    partners,
    tables,
    sides,
    directions,
    slots,
    wide,
    n_kinds,
    shapes,
    ends,
    members,
    cosines,
    factors,
    scratch,
    row,
    column,
    stride,
):
    """Add the angular functions of one atom, each unordered pair of its neighbours once.

    Neighbours are numbered in the order of the list; ``slots`` gives the number of an atom, or -1.
    """
    first = starts[i, 0]
    n_gaussians = len(tables)
    x, y, z = directions[0], directions[1], directions[2]
    for b in range(n_kinds):
        for a in range(b + 1):
            block = column + (b * (b + 1) // 2 + a) * stride
            n = 0
            for p in range(starts[i, a] - first, starts[i, a + 1] - first):
                j = partners[first + p]
                # A wide function takes all other neighbours, another those near to j as well.
                begin, end = starts[j, b], starts[j, b + 1]
                if wide:
                    begin, end = starts[i, b], starts[i, b + 1]
                for t in range(begin, end):
                    q = slots[partners[t]]
                    if q <= p:
                        continue
                    cosines[n] = x[p] * x[q] + y[p] * y[q] + z[p] * z[q]
                    for e in range(n_gaussians):
                        factor = sides[e, p] * sides[e, q]
                        factors[e, n] = factor if wide else factor * tables[e, t]
                    n += 1
                    if n == _CHUNK:
                        _add_terms(cosines, factors, n, shapes, ends, members, scratch, row, block)
                        n = 0
            if n > 0:
                _add_terms(cosines, factors, n, shapes, ends, members, scratch, row, block)


@jit
def _add_angular(
    xyz,
    order,
    strengths,
    n,
    n_kinds,
    starts,
    partners,
    distances,
    decays,
    n_pairs,
    wide,
    gaussians,
    shapes,
    ends,
    members,
    out,
    first,
    column,
    stride,
):
    """Add the angular functions of the atoms of a molecule."""
    n_gaussians = len(gaussians)
    tables = np.empty((n_gaussians, n_pairs))
    for e in range(n_gaussians):
        _fill_gaussian(distances, decays, n_pairs, gaussians[e, 0], gaussians[e, 1], tables[e])
    sides, directions = np.empty((n_gaussians, n)), np.empty((3, n))
    slots = np.full(n, -1)
    cosines, factors = np.empty(_CHUNK), np.empty((n_gaussians, _CHUNK))
    scratch = np.empty((2, _CHUNK))
    for i in range(n):
        begin, end = starts[i, 0], starts[i, n_kinds]
        for t in range(begin, end):
            j = partners[t]
            slots[j] = t - begin
            for c in range(3):
                directions[c, t - begin] = (xyz[c, j] - xyz[c, i]) / distances[t]
            for e in range(n_gaussians):
                sides[e, t - begin] = strengths[j] * tables[e, t]
        _add_centre(
            i,
            starts,
            partners,
            tables,
            sides,
            directions,
            slots,
            wide,
            n_kinds,
            shapes,
            ends,
            members,
            cosines,
            factors,
            scratch,
            out[first + order[i]],
            column,
            stride,
        )
        for t in range(begin, end):
            slots[partners[t]] = -1


@jit
def fill_symmetry_functions(
    positions,
    kinds,
    weights,
    offsets,
    start,
    stop,
    n_kinds,
    r_cut,
    hyperbolic,
    radial,
    kappas,
    narrow,
    wide,
    out,
):
    """Add the symmetry functions of the atoms of molecules start..stop to their rows of ``out``.

    ``radial`` (n, 2) holds eta and shift of Gaussians, ``kappas`` (m,) the wave numbers of cosines.
    ``narrow`` (with the far side of the triangle) and ``wide`` are (gaussians, shapes, ends,
    members), see :func:`_add_terms`. A row holds the block of radial functions of each kind of
    neighbour, then that of angular functions of each pair of kinds (a, b), a <= b, the pairs sorted
    by b and then by a. ``weights`` (n_atoms,) multiply the terms of a neighbour.
    """
    n_radial = len(radial) + len(kappas)
    column, stride = n_kinds * n_radial, len(narrow[3]) + len(wide[3])
    limit = r_cut * r_cut
    partners, distances = np.empty(0, dtype=np.int64), np.empty(0)
    for molecule in range(start, stop):
        first = offsets[molecule]
        n = offsets[molecule + 1] - first
        order, sorted_kinds = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        strengths, xyz = np.empty(n), np.empty((3, n))
        _sort_atoms(kinds, weights, positions, first, n_kinds, order, sorted_kinds, strengths, xyz)
        n_pairs = _count_pairs(xyz, n, limit)
        if n_pairs > len(partners):
            partners, distances = np.empty(2 * n_pairs, dtype=np.int64), np.empty(2 * n_pairs)
        starts = np.empty((n, n_kinds + 1), dtype=np.int64)
        _list_pairs(xyz, sorted_kinds, n, n_kinds, limit, starts, partners, distances)
        decays, heights, values = np.empty(n_pairs), np.empty(n_pairs), np.empty(n_pairs)
        _fill_decays(distances, n_pairs, r_cut, hyperbolic, decays)
        for t in range(n_pairs):
            heights[t] = decays[t] * strengths[partners[t]]
        for g in range(len(radial)):
            _fill_gaussian(distances, heights, n_pairs, radial[g, 0], radial[g, 1], values)
            _add_radial(values, starts, order, n, n_kinds, g, n_radial, out, first)
        for g in range(len(kappas)):
            for t in range(n_pairs):
                values[t] = heights[t] * math.cos(kappas[g] * distances[t])
            _add_radial(values, starts, order, n, n_kinds, len(radial) + g, n_radial, out, first)
        for far in range(2):
            gaussians, shapes, ends, members = narrow if far == 0 else wide
            if len(members) > 0:
                _add_angular(
                    xyz,
                    order,
                    strengths,
                    n,
                    n_kinds,
                    starts,
                    partners,
                    distances,
                    decays,
                    n_pairs,
                    far == 1,
                    gaussians,
                    shapes,
                    ends,
                    members,
                    out,
                    first,
                    column,
                    stride,
                )
