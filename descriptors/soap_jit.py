"""Compiled fillers of the power spectra of SOAP.

The coefficients of an environment are ``density[slot, lm, n]``, where ``slot`` numbers the elements
that are present. Radial functions are padded with zeros to whole vector registers of four numbers.
"""

import math

import numpy as np

from kernchem._numba import jit

__all__ = ["fill_averages", "fill_rows", "mark_elements"]

# Which pairs of elements have a block of columns: all, those of one element, or each element with
# the sum of all.
_ALL_PAIRS = 0
_OWN_PAIRS = 1
_WITH_SUM = 2

_INNER = 1


@jit
def _squared_distance(positions, i, j):
    dx = positions[i, 0] - positions[j, 0]
    dy = positions[i, 1] - positions[j, 1]
    dz = positions[i, 2] - positions[j, 2]
    return dx * dx + dy * dy + dz * dz


@jit
def mark_elements(kinds, positions, offsets, reach, start, stop, seen):
    """Mark which elements are within ``reach`` of each atom of molecules start..stop.

    ``seen`` (n_atoms, n_kinds) is false before; the atom itself counts.
    """
    limit = reach * reach
    for molecule in range(start, stop):
        for i in range(offsets[molecule], offsets[molecule + 1]):
            for j in range(offsets[molecule], offsets[molecule + 1]):
                if _squared_distance(positions, i, j) <= limit:
                    seen[i, kinds[j]] = True


@jit
def _weight(distance, function, r0, c, d, m):
    """Return the weight of a neighbour: none, "poly", "pow" or "exp", by number."""
    if function == 0:
        return 1.0
    if function == 1:
        if distance > r0:
            return 0.0
        t = distance / r0
        return c * max(1.0 + (2.0 * t - 3.0) * t * t, 0.0) ** m
    if function == 2:
        return c / (d + (distance / r0) ** m)
    return c / (d + math.exp(-distance / r0))


@jit
def _neighbour_weight(distance, weighting):
    """Return the weight of a neighbour with the cosine cutoff.

    ``weighting`` holds the number of the function, r0, c, d, m, the weight of the centre (negative:
    that of the function), r_cut, and the width of the cutoff (0: none).
    """
    if distance == 0.0 and weighting[5] >= 0.0:
        return weighting[5]
    weight = _weight(
        distance, int(weighting[0]), weighting[1], weighting[2], weighting[3], weighting[4]
    )
    width = weighting[7]
    if width == 0.0:
        return weight
    t = (distance - weighting[6] + width) / width
    if t <= 0.0:
        return weight
    return 0.5 * (1.0 + math.cos(math.pi * t)) * weight if t < 1.0 else 0.0


@jit
def _list_neighbours(positions, first, last, reach, weighting, ends, partners, vectors):
    """List the neighbours of each atom of a molecule, itself among them, behind each other.

    Those of atom ``first + i`` are ``ends[i]:ends[i + 1]``, with the atom in ``partners`` and
    coordinates, distance and weight in ``vectors``. The last two are returned, longer ones if they
    were too short.
    """
    limit = reach * reach
    n = 0
    ends[0] = 0
    for i in range(first, last):
        if n + last - first > len(partners):
            longer = 2 * len(partners) + last - first
            old_partners, old_vectors = partners, vectors
            partners = np.empty(longer, dtype=np.int64)
            vectors = np.empty((longer, 5))
            partners[:n] = old_partners[:n]
            vectors[:n] = old_vectors[:n]
        for j in range(first, last):
            squared = _squared_distance(positions, i, j)
            if squared <= limit:
                distance = math.sqrt(squared)
                partners[n] = j
                for c in range(3):
                    vectors[n, c] = positions[j, c] - positions[i, c]
                vectors[n, 3] = distance
                vectors[n, 4] = _neighbour_weight(distance, weighting)
                n += 1
        ends[i - first + 1] = n
    return partners, vectors


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
def _fill_harmonics(x, y, z, l_max, recurrences, harmonics):
    """Write the real solid harmonics r^l Y_lm; those of degree l start at l^2.

    With ``(x + i y)^m = c + i s``, degree l holds q_l0, q_l1 c, q_l1 s, q_l2 c, ..., where
    ``q_lm = recurrences[0, l, m] z q_(l-1)m - recurrences[1, l, m] r^2 q_(l-2)m``, and q_mm is
    ``recurrences[0, m, m]``.
    """
    squared = x * x + y * y + z * z
    c, s = 1.0, 0.0
    for m in range(l_max + 1):
        before, last = 0.0, recurrences[0, m, m]
        for degree in range(m, l_max + 1):
            if degree > m:
                step = recurrences[0, degree, m] * z * last
                step -= recurrences[1, degree, m] * squared * before
                before, last = last, step
            place = degree * degree + 2 * m
            if m > 0:
                harmonics[place - 1] = last * c
            harmonics[place] = last * s if m > 0 else last
        c, s = x * c - y * s, x * s + y * c


@jit(fastmath=True)
def _add_neighbour(harmonics, radial, l_max, n_padded, density):
    """Add the products of harmonics and radial functions to ``density`` (lm, n_padded)."""
    for degree in range(l_max + 1):
        row = radial[degree * n_padded : (degree + 1) * n_padded]
        for n in range(0, n_padded, 4):
            r0, r1, r2, r3 = row[n], row[n + 1], row[n + 2], row[n + 3]
            for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                value = harmonics[lm]
                d0 = density[lm, n] + value * r0
                d1 = density[lm, n + 1] + value * r1
                d2 = density[lm, n + 2] + value * r2
                d3 = density[lm, n + 3] + value * r3
                density[lm, n] = d0
                density[lm, n + 1] = d1
                density[lm, n + 2] = d2
                density[lm, n + 3] = d3


@jit
def _add_density(
    kinds,
    begin,
    end,
    partners,
    vectors,
    table,
    step,
    recurrences,
    slots,
    radial,
    harmonics,
    density,
):
    """Add the neighbours begin..end of the list to the coefficients of an environment."""
    l_max = recurrences.shape[1] - 1
    n_padded = density.shape[2]
    for k in range(begin, end):
        if vectors[k, 4] == 0.0:
            continue
        _interpolate(table, step, vectors[k, 3], vectors[k, 4], radial)
        _fill_harmonics(vectors[k, 0], vectors[k, 1], vectors[k, 2], l_max, recurrences, harmonics)
        _add_neighbour(harmonics, radial, l_max, n_padded, density[slots[kinds[partners[k]]]])


@jit(fastmath=True)
def _fill_pair(left, right, same, n_max, factors, row):
    """Write the products of two elements' coefficients, summed over m, to ``row``.

    The columns are those of l = 0, 1, ...; each is a matrix n, n' or, if the elements are the
    ``same``, its upper triangle.
    """
    place = 0
    for degree in range(len(factors)):
        factor = factors[degree]
        for k in range(n_max):
            begin = k if same else 0
            for q in range(begin - begin % 4, n_max, 4):
                s0 = s1 = s2 = s3 = 0.0
                for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                    value = left[lm, k]
                    s0 += value * right[lm, q]
                    s1 += value * right[lm, q + 1]
                    s2 += value * right[lm, q + 2]
                    s3 += value * right[lm, q + 3]
                here = place + q - begin
                if q >= begin and q + 4 <= n_max:
                    row[here] = factor * s0
                    row[here + 1] = factor * s1
                    row[here + 2] = factor * s2
                    row[here + 3] = factor * s3
                    continue
                if q >= begin:
                    row[here] = factor * s0
                if q + 1 >= begin and q + 1 < n_max:
                    row[here + 1] = factor * s1
                if q + 2 >= begin and q + 2 < n_max:
                    row[here + 2] = factor * s2
                if q + 3 < n_max:
                    row[here + 3] = factor * s3
            place += n_max - begin
    return place


@jit
def _fill_spectrum(density, n_slots, pairing, n_max, factors, row):
    """Write the blocks of the elements that are present behind each other; return their end.

    With sums of elements, the sum of the densities is written to slot ``n_slots``.
    """
    place = 0
    if pairing == _WITH_SUM:
        total = density[n_slots]
        total[:] = 0.0
        for slot in range(n_slots):
            total += density[slot]
    for a in range(n_slots):
        if pairing == _WITH_SUM:
            place += _fill_pair(density[a], total, False, n_max, factors, row[place:])
            continue
        place += _fill_pair(density[a], density[a], True, n_max, factors, row[place:])
        if pairing == _ALL_PAIRS:
            for b in range(a + 1, n_slots):
                place += _fill_pair(density[a], density[b], False, n_max, factors, row[place:])
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
def _number_slots(seen, slots):
    """Give each element that is present a number; return how many there are."""
    n_slots = 0
    for kind in range(len(seen)):
        slots[kind] = n_slots
        n_slots += seen[kind]
    return n_slots


@jit
def fill_rows(
    kinds,
    positions,
    offsets,
    reach,
    weighting,
    table,
    step,
    recurrences,
    factors,
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
    kinds, positions, offsets : arrays
        Number of each atom's element, coordinates (angstrom), first atom of each molecule.
    reach : float
        Distance up to which neighbours count, angstrom.
    weighting : array (8,)
        See :func:`_neighbour_weight`.
    table, step : array (n_knots, 3, (l_max + 1) n_padded), float
        Radial functions.
    recurrences : array (2, l_max + 1, l_max + 1)
        Of the harmonics.
    factors : array (l_max + 1,)
        Factors of the power spectrum.
    n_max, pairing : int
        Number of radial functions; which pairs of elements there are.
    normalise : bool
        Whether to write rows of unit length.
    seen : array (n_atoms, n_kinds) of bool
        Which elements are within ``reach``.
    places : array (n_atoms, 2)
        First place of each atom's row in ``out``, and the place behind it.
    out : array
        Rows of the atoms, of the widths that their elements need.
    """
    n_kinds = seen.shape[1]
    l_max = len(factors) - 1
    density = np.empty((n_kinds + 1, (l_max + 1) ** 2, table.shape[2] // (l_max + 1)))
    radial = np.empty(table.shape[2])
    harmonics = np.empty((l_max + 1) ** 2)
    slots = np.empty(n_kinds, dtype=np.int64)
    largest = np.max(offsets[start + 1 : stop + 1] - offsets[start:stop])
    ends = np.empty(largest + 1, dtype=np.int64)
    partners = np.empty(largest, dtype=np.int64)
    vectors = np.empty((largest, 5))
    for molecule in range(start, stop):
        first, last = offsets[molecule], offsets[molecule + 1]
        partners, vectors = _list_neighbours(
            positions, first, last, reach, weighting, ends, partners, vectors
        )
        for atom in range(first, last):
            n_slots = _number_slots(seen[atom], slots)
            density[:n_slots] = 0.0
            begin, end = ends[atom - first], ends[atom - first + 1]
            _add_density(
                kinds,
                begin,
                end,
                partners,
                vectors,
                table,
                step,
                recurrences,
                slots,
                radial,
                harmonics,
                density,
            )
            row = out[places[atom, 0] : places[atom, 1]]
            _fill_spectrum(density, n_slots, pairing, n_max, factors, row)
            if normalise:
                _to_unit_length(row)


@jit
def _scatter(compact, seen, pairing, block_starts, out):
    """Copy the blocks of the elements that are present to their places among all columns."""
    n_kinds = len(seen)
    place = 0
    for a in range(n_kinds):
        for b in range(a, n_kinds):
            if not (seen[a] and seen[b]) or (pairing != _ALL_PAIRS and b > a):
                continue
            begin, end = block_starts[a, b, 0], block_starts[a, b, 1]
            out[begin:end] = compact[place : place + end - begin]
            place += end - begin


@jit
def fill_averages(
    kinds,
    positions,
    offsets,
    reach,
    weighting,
    table,
    step,
    recurrences,
    factors,
    n_max,
    pairing,
    normalise,
    average,
    block_starts,
    start,
    stop,
    out,
):
    """Write the averages of molecules start..stop to their rows of ``out``, which are zero.

    ``average`` is 1 for coefficients and 2 for power spectra; ``block_starts`` (n_kinds, n_kinds,
    2) bounds the columns of each pair of elements; for the rest see :func:`fill_rows`.
    """
    n_kinds = len(block_starts)
    l_max = len(factors) - 1
    density = np.empty((n_kinds + 1, (l_max + 1) ** 2, table.shape[2] // (l_max + 1)))
    radial = np.empty(table.shape[2])
    harmonics = np.empty((l_max + 1) ** 2)
    slots = np.empty(n_kinds, dtype=np.int64)
    seen = np.empty(n_kinds, dtype=np.bool_)
    row = np.empty(out.shape[1])
    total = np.empty(out.shape[1])
    largest = np.max(offsets[start + 1 : stop + 1] - offsets[start:stop])
    ends = np.empty(largest + 1, dtype=np.int64)
    partners = np.empty(largest, dtype=np.int64)
    vectors = np.empty((largest, 5))
    for molecule in range(start, stop):
        first, last = offsets[molecule], offsets[molecule + 1]
        partners, vectors = _list_neighbours(
            positions, first, last, reach, weighting, ends, partners, vectors
        )
        seen[:] = False
        for atom in range(first, last):
            seen[kinds[atom]] = True
        n_slots = _number_slots(seen, slots)
        density[:n_slots] = 0.0
        total[:] = 0.0
        for atom in range(first, last):
            if average != _INNER:
                density[:n_slots] = 0.0
            begin, end = ends[atom - first], ends[atom - first + 1]
            _add_density(
                kinds,
                begin,
                end,
                partners,
                vectors,
                table,
                step,
                recurrences,
                slots,
                radial,
                harmonics,
                density,
            )
            if average != _INNER:
                width = _fill_spectrum(density, n_slots, pairing, n_max, factors, row)
                total[:width] += row[:width]
        if average == _INNER:
            density[:n_slots] /= last - first
            _fill_spectrum(density, n_slots, pairing, n_max, factors, total)
        else:
            total /= last - first
        _scatter(total, seen, pairing, block_starts, out[molecule])
        if normalise:
            _to_unit_length(out[molecule])
