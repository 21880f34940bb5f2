"""Compiled filler of SLATM: spectra of the distances of pairs and of the angles of triangles."""

import math

import numpy as np

from kernchem._fastmath import exp
from kernchem._numba import jit

__all__ = ["fill_slatm"]


@jit(fastmath=True)
def _add_gaussian(centre, spectrum, height, slope, row, first):
    """Add ``(height + slope profile) exp(factor (grid - centre)^2)`` to a row, from ``first`` on.

    Only the ``n_window`` points around the centre, or those nearest to it at an end of the grid,
    take part.
    """
    grid, profile, factor, n_window = spectrum
    n = len(grid)
    step = (grid[n - 1] - grid[0]) / (n - 1)
    # The centre is on the grid or not far from it: the quotient is a small number.
    begin = math.floor((centre - grid[0]) / step) - (n_window - 1) // 2
    begin = min(max(begin, 0), n - n_window)
    x, weights = grid[begin : begin + n_window], profile[begin : begin + n_window]
    sums = row[first + begin : first + begin + n_window]
    for g in range(n_window):
        t = x[g] - centre
        sums[g] += (height + slope * weights[g]) * exp(factor * t * t)


@jit
def _list_neighbours(positions, i, last, limit, neighbours, vectors):
    """List the atoms behind atom i, up to ``last``, whose squared distance is below ``limit``.

    ``vectors`` receives the three components of r_j - r_i and the distance.
    """
    n = 0
    for j in range(i + 1, last):
        dx = positions[j, 0] - positions[i, 0]
        dy = positions[j, 1] - positions[i, 1]
        dz = positions[j, 2] - positions[i, 2]
        squared = dx * dx + dy * dy + dz * dz
        if squared < limit:
            neighbours[n] = j
            vectors[n, 0], vectors[n, 1], vectors[n, 2] = dx, dy, dz
            vectors[n, 3] = math.sqrt(squared)
            n += 1
    return n


@jit
def _add_corner(area, dots, sides, height, spectrum, row, first):
    """Add the angle at the first corner of a triangle.

    ``area`` is twice its area. ``dots`` are the products of the two sides that meet at each corner,
    this one first; ``sides`` are the lengths of the two sides at this corner and of the other one.
    """
    # The arc tangent is exact where the arc cosine loses half of the digits: near 0 and pi.
    angle = math.atan2(area, dots[0])
    cosines = dots[1] / (sides[0] * sides[2]) * dots[2] / (sides[1] * sides[2])
    _add_gaussian(angle, spectrum, height, height * cosines, row, first)


@jit
def fill_slatm(
    kinds,
    positions,
    offsets,
    charges,
    starts_1,
    starts_2,
    starts_3,
    radial,
    angular,
    height,
    r_cut,
    per_atom,
    out,
    start,
    stop,
    largest,
):
    """Write the spectra of molecules start..stop to their rows of ``out``, zero so far.

    ``kinds`` numbers the elements. By them ``charges`` (Z) and the first columns of types are
    indexed: ``starts_1[a]``, ``starts_2[a, b]`` and ``starts_3[a, b, c]`` with b at the corner.
    ``radial`` and ``angular`` are grid (angstrom, radian), profile, factor in the exponent and
    number of points that take part, for :func:`_add_gaussian`; ``height`` is the prefactor of
    triangles with unit charges. With ``per_atom`` there is one row per atom, else one per molecule;
    ``largest`` is the number of atoms of the largest molecule.
    """
    limit = r_cut * r_cut
    neighbours = np.empty(largest, dtype=np.int64)
    vectors = np.empty((largest, 4))
    share = 0.5 if per_atom else 1.0
    for molecule in range(start, stop):
        last = offsets[molecule + 1]
        for i in range(offsets[molecule], last):
            e_i = kinds[i]
            row_i = out[i if per_atom else molecule]
            row_i[starts_1[e_i]] += charges[e_i]
            n = _list_neighbours(positions, i, last, limit, neighbours, vectors)
            for a in range(n):
                j = neighbours[a]
                e_j, u, d_ij = kinds[j], vectors[a], vectors[a, 3]
                row_j = out[j if per_atom else molecule]
                z_ij = charges[e_i] * charges[e_j]
                _add_gaussian(d_ij, radial, 0.0, share * z_ij, row_i, starts_2[e_i, e_j])
                if per_atom:
                    _add_gaussian(d_ij, radial, 0.0, share * z_ij, row_j, starts_2[e_i, e_j])
                for b in range(a + 1, n):
                    k = neighbours[b]
                    ex = positions[k, 0] - positions[j, 0]
                    ey = positions[k, 1] - positions[j, 1]
                    ez = positions[k, 2] - positions[j, 2]
                    squared = ex * ex + ey * ey + ez * ez
                    if squared >= limit:
                        continue
                    e_k, v, d_ik, d_jk = kinds[k], vectors[b], vectors[b, 3], math.sqrt(squared)
                    row_k = out[k if per_atom else molecule]
                    at_i = u[0] * v[0] + u[1] * v[1] + u[2] * v[2]
                    at_j = -(u[0] * ex + u[1] * ey + u[2] * ez)
                    at_k = v[0] * ex + v[1] * ey + v[2] * ez
                    cx = u[1] * v[2] - u[2] * v[1]
                    cy = u[2] * v[0] - u[0] * v[2]
                    cz = u[0] * v[1] - u[1] * v[0]
                    area = math.sqrt(cx * cx + cy * cy + cz * cz)
                    sides = d_ij * d_ik * d_jk
                    h = height * z_ij * charges[e_k] / (sides * sides * sides)
                    _add_corner(
                        area,
                        (at_i, at_j, at_k),
                        (d_ij, d_ik, d_jk),
                        h,
                        angular,
                        row_i,
                        starts_3[e_j, e_i, e_k],
                    )
                    _add_corner(
                        area,
                        (at_j, at_i, at_k),
                        (d_ij, d_jk, d_ik),
                        h,
                        angular,
                        row_j,
                        starts_3[e_i, e_j, e_k],
                    )
                    _add_corner(
                        area,
                        (at_k, at_i, at_j),
                        (d_ik, d_jk, d_ij),
                        h,
                        angular,
                        row_k,
                        starts_3[e_i, e_k, e_j],
                    )
