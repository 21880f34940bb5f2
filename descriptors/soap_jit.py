"""Compiled fillers of the power spectra of SOAP.

The coefficients of an environment are ``density[slot, lm, n]``, where ``slot`` numbers the elements
that are present. Radial functions, and the harmonics of each degree, are padded with zeros to whole
vector registers of four numbers, so that all sums of products run over tiles of 4 x 4 numbers.

``basis`` is what coefficients are made of: the table of radial functions (n_knots, 3, n_columns)
and its step (angstrom), the recurrences of harmonics (2, l_max + 1, l_max + 1), and the first
harmonic of each degree, with the end of the last one (l_max + 2,).
"""

import math

import numpy as np

from kernchem._fastmath import sum_tile
from kernchem._numba import jit
from kernchem.descriptors.soap_neighbours_jit import list_neighbours

__all__ = ["fill_averages", "fill_rows"]

# Which pairs of elements have a block of columns: all (0), those of one element (1), or each
# element with the sum of all (2).
_ALL_PAIRS = 0
_WITH_SUM = 2

_INNER = 1

# Neighbours of one element that are summed together: few enough for the nearest cache.
_CHUNK = 16


@jit(fastmath=True)
def _interpolate(table, step, distance, weight, radial):
    """Write the radial functions at a distance, times a weight, to ``radial`` (n_columns,)."""
    knot = min(int(distance / step), len(table) - 2)
    t = distance / step - knot
    t3 = weight * t * t * t
    a = t3 * (10.0 + t * (6.0 * t - 15.0))
    b = weight * t + t3 * (-6.0 + t * (8.0 - 3.0 * t))
    c = 0.5 * weight * t * t + t3 * (-1.5 + t * (1.5 - 0.5 * t))
    d = t3 * (-4.0 + t * (7.0 - 3.0 * t))
    e = t3 * (0.5 + t * (0.5 * t - 1.0))
    f = weight - a
    left, right = table[knot], table[knot + 1]
    for k in range(len(radial)):
        from_left = f * left[0, k] + b * left[1, k] + c * left[2, k]
        radial[k] = from_left + a * right[0, k] + d * right[1, k] + e * right[2, k]


@jit(fastmath=True)
def _fill_harmonics(x, y, z, recurrences, starts, harmonics):
    """Write the real solid harmonics r^l Y_lm; those of degree l start at ``starts[l]``.

    With ``(x + i y)^m = c + i s``, degree l holds q_l0, q_l1 c, q_l1 s, q_l2 c, ..., where
    ``q_lm = recurrences[0, l, m] z q_(l-1)m - recurrences[1, l, m] r^2 q_(l-2)m``, and q_mm is
    ``recurrences[0, m, m]``.
    """
    squared = x * x + y * y + z * z
    l_max = len(starts) - 2
    c, s = 1.0, 0.0
    for m in range(l_max + 1):
        before, last = 0.0, recurrences[0, m, m]
        for degree in range(m, l_max + 1):
            if degree > m:
                step = recurrences[0, degree, m] * z * last
                step -= recurrences[1, degree, m] * squared * before
                before, last = last, step
            place = starts[degree] + 2 * m
            if m > 0:
                harmonics[place - 1] = last * c
            harmonics[place] = last * s if m > 0 else last
        c, s = x * c - y * s, x * s + y * c


@jit
def _add_products(harmonics, radial, count, starts, slot, coefficients):
    """Add the products of the first ``count`` rows of harmonics and radial functions."""
    n_degrees = len(starts) - 1
    n_padded = radial.shape[1] // n_degrees
    first = slot * starts[n_degrees]
    for degree in range(n_degrees):
        for lm in range(starts[degree], starts[degree + 1], 4):
            for n in range(0, n_padded, 4):
                column, place = degree * n_padded + n, (first + lm) * n_padded + n
                sum_tile(
                    harmonics, radial, 0, count, lm, column, True, coefficients, place, n_padded, 0
                )


@jit
def _add_density(kinds, begin, end, partners, vectors, basis, slots, room):
    """Add the neighbours begin..end of the list, sorted by element, to the coefficients."""
    table, step, recurrences, starts = basis
    coefficients, _, radial, harmonics, _ = room
    count = 0
    for k in range(begin, end):
        kind = kinds[partners[k]]
        if vectors[k, 4] != 0.0:
            x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
            _interpolate(table, step, vectors[k, 3], vectors[k, 4], radial[count])
            _fill_harmonics(x, y, z, recurrences, starts, harmonics[count])
            count += 1
        if count == _CHUNK or k + 1 == end or kinds[partners[k + 1]] != kind:
            _add_products(harmonics, radial, count, starts, slots[kind], coefficients)
            count = 0


@jit
def _fill_pair(left, right, same, n_max, starts, tile, row):
    """Write the products of two elements' coefficients, summed over m, to ``row``.

    The columns are those of l = 0, 1, ...; each is a matrix n, n' or, if the elements are the
    ``same``, its upper triangle, row after row. Returns their number.
    """
    place = 0
    shrink = 1 if same else 0
    for degree in range(len(starts) - 1):
        lm, count = starts[degree], 2 * degree + 1
        for k in range(0, n_max, 4):
            # Where column 0 of row k is, or would be.
            start = place + k * n_max - shrink * (k * (k + 1) // 2)
            stride = n_max - shrink * (k + 1)
            for q in range(k if same else 0, n_max, 4):
                if max(k, q) + 4 <= n_max and not (same and q == k):
                    sum_tile(left, right, lm, count, k, q, False, row, start + q, stride, shrink)
                    continue
                # A tile that does not fit as it is.
                sum_tile(left, right, lm, count, k, q, False, tile, 0, 4, 0)
                here = start + q
                for t in range(min(4, n_max - k)):
                    for c in range(t if same and q == k else 0, min(4, n_max - q)):
                        row[here + c] = tile[4 * t + c]
                    here += stride - shrink * t
        place += n_max * (n_max + 1) // 2 if same else n_max * n_max
    return place


@jit
def _fill_spectrum(n_slots, pairing, n_max, starts, room, row):
    """Write the blocks of the elements that are present behind each other; return their end.

    With sums of elements, the sum of the densities is written to slot ``n_slots``.
    """
    _, density, _, _, tile = room
    place = 0
    total = density[n_slots]
    if pairing == _WITH_SUM:
        total[:] = 0.0
        for slot in range(n_slots):
            total += density[slot]
    for a in range(n_slots):
        own = density[a]
        if pairing == _WITH_SUM:
            place += _fill_pair(own, total, False, n_max, starts, tile, row[place:])
            continue
        place += _fill_pair(own, own, True, n_max, starts, tile, row[place:])
        if pairing == _ALL_PAIRS:
            for b in range(a + 1, n_slots):
                place += _fill_pair(own, density[b], False, n_max, starts, tile, row[place:])
    return place


@jit(fastmath=True)
def _to_unit_length(row):
    """Divide a row by its length, unless that is zero."""
    total = 0.0
    for k in range(len(row)):
        total += row[k] * row[k]
    if total > 0.0:
        factor = 1.0 / math.sqrt(total)
        for k in range(len(row)):
            row[k] *= factor


@jit
def _divide(values, number):
    # Without a loop, slices of arrays take seconds to compile.
    for k in range(len(values)):
        values[k] /= number


@jit
def _number_slots(seen, slots):
    """Give each element that is present a number; return how many there are."""
    n_slots = 0
    for kind in range(len(seen)):
        slots[kind] = n_slots
        n_slots += seen[kind]
    return n_slots


@jit
def _make_room(n_kinds, basis):
    """Return coefficients, flat and by slot, rows of radial functions and harmonics, and a tile."""
    table, _, _, starts = basis
    n_columns, n_harmonics = table.shape[2], starts[-1]
    n_padded = n_columns // (len(starts) - 1)
    coefficients = np.zeros((n_kinds + 1) * n_harmonics * n_padded)
    density = coefficients.reshape(n_kinds + 1, n_harmonics, n_padded)
    harmonics = np.zeros((_CHUNK, n_harmonics))
    return coefficients, density, np.empty((_CHUNK, n_columns)), harmonics, np.empty(16)


@jit
def _make_list(offsets, start, stop):
    """Return arrays for the neighbours in molecules start..stop, too short for most."""
    largest = 0
    for molecule in range(start, stop):
        largest = max(largest, offsets[molecule + 1] - offsets[molecule])
    partners = np.empty(largest, dtype=np.int64)
    return np.empty(largest + 1, dtype=np.int64), partners, np.empty((largest, 5))


@jit
def fill_rows(
    kinds,
    order,
    positions,
    offsets,
    reach,
    weighting,
    basis,
    n_max,
    pairing,
    normalise,
    seen,
    places,
    start,
    stop,
    out,
):
    """Write the power spectra of the atoms of molecules start..stop, zeros of elements left out.

    Parameters
    ----------
    kinds, order : arrays (n_atoms,)
        Number of each atom's element; the atoms of each molecule, sorted by that.
    positions, offsets : arrays
        Coordinates (angstrom), first atom of each molecule.
    reach : float
        Distance up to which neighbours count, angstrom.
    weighting : array (8,)
        See :func:`kernchem.descriptors.soap_neighbours_jit._neighbour_weight`.
    basis : tuple
        See above.
    n_max, pairing : int
        Number of radial functions; which pairs of elements there are.
    normalise : bool
        Whether to write rows of unit length.
    seen : array (n_atoms, n_kinds) of bool
        Which elements are within ``reach``.
    places : array (n_atoms, 2)
        First place of each atom's row in ``out``, and the place behind it.
    start, stop : int
        Molecules.
    out : array
        Rows of the atoms, of the widths that their elements need.
    """
    room = _make_room(seen.shape[1], basis)
    density = room[1]
    slots = np.empty(seen.shape[1], dtype=np.int64)
    ends, partners, vectors = _make_list(offsets, start, stop)
    for molecule in range(start, stop):
        first, last = offsets[molecule], offsets[molecule + 1]
        partners, vectors = list_neighbours(
            positions, order, first, last, reach, weighting, ends, partners, vectors
        )
        for atom in range(first, last):
            n_slots = _number_slots(seen[atom], slots)
            density[:n_slots] = 0.0
            begin, end = ends[atom - first], ends[atom - first + 1]
            _add_density(kinds, begin, end, partners, vectors, basis, slots, room)
            row = out[places[atom, 0] : places[atom, 1]]
            _fill_spectrum(n_slots, pairing, n_max, basis[3], room, row)
            if normalise:
                _to_unit_length(row)


@jit
def _scatter(compact, seen, block_ends, out):
    """Copy the blocks of the elements that are present to their places among all columns.

    Pairs of elements that have no block end where they begin.
    """
    n_kinds = len(seen)
    place = 0
    for a in range(n_kinds):
        for b in range(a, n_kinds):
            if not (seen[a] and seen[b]):
                continue
            begin, end = block_ends[a, b, 0], block_ends[a, b, 1]
            for column in range(begin, end):
                out[column] = compact[place]
                place += 1


@jit
def fill_averages(
    kinds,
    order,
    positions,
    offsets,
    reach,
    weighting,
    basis,
    n_max,
    pairing,
    normalise,
    average,
    block_ends,
    start,
    stop,
    out,
):
    """Write the averages of molecules start..stop to their rows of ``out``, which are zero.

    ``average`` is 1 for coefficients and 2 for power spectra; ``block_ends`` (n_kinds, n_kinds, 2)
    bounds the columns of each pair of elements; for the rest see :func:`fill_rows`.
    """
    n_kinds = len(block_ends)
    room = _make_room(n_kinds, basis)
    density = room[1]
    slots = np.empty(n_kinds, dtype=np.int64)
    ends, partners, vectors = _make_list(offsets, start, stop)
    seen = np.empty(n_kinds, dtype=np.bool_)
    row = np.empty(out.shape[1])
    total = np.empty(out.shape[1])
    for molecule in range(start, stop):
        first, last = offsets[molecule], offsets[molecule + 1]
        partners, vectors = list_neighbours(
            positions, order, first, last, reach, weighting, ends, partners, vectors
        )
        seen[:] = False
        for atom in range(first, last):
            seen[kinds[atom]] = True
        n_slots = _number_slots(seen, slots)
        density[:n_slots] = 0.0
        total[:] = 0.0
        for atom in range(first, last):
            begin, end = ends[atom - first], ends[atom - first + 1]
            _add_density(kinds, begin, end, partners, vectors, basis, slots, room)
            if average != _INNER:
                width = _fill_spectrum(n_slots, pairing, n_max, basis[3], room, row)
                for column in range(width):
                    total[column] += row[column]
                density[:n_slots] = 0.0
        if average == _INNER:
            _divide(room[0], last - first)
            _fill_spectrum(n_slots, pairing, n_max, basis[3], room, total)
        else:
            _divide(total, last - first)
        _scatter(total, seen, block_ends, out[molecule])
        if normalise:
            _to_unit_length(out[molecule])
