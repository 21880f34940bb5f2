"""SOAP from its definition: integrals over the radius by quadrature, bases in seventy digits."""

import functools

import mpmath
import numpy as np
from scipy.special import sph_harm_y, spherical_in

REACH = np.sqrt(-2.0 * np.log(1e-3))


@functools.cache
def radial_functions(basis, r_cut, n_max, degree):
    """Return points, weights of the quadrature, and the orthonormal functions (n_max, n_points)."""
    end = r_cut if basis == "polynomial" else 3.0 * r_cut
    points, weights = np.polynomial.legendre.leggauss(240)
    points, weights = 0.5 * end * (points + 1.0), 0.5 * end * weights
    with mpmath.workdps(70):
        cut, order = mpmath.mpf(r_cut), range(1, n_max + 1)
        if basis == "polynomial":
            overlaps = [
                [2 * cut ** (7 + i + j) / ((5 + i + j) * (6 + i + j) * (7 + i + j)) for j in order]
                for i in order
            ]
            plain = [[(cut - float(s)) ** (k + 2) for s in points] for k in order]
        else:
            ends = [1 + (cut - 1) * (k - 1) / max(n_max - 1, 1) for k in order]
            a = [mpmath.log(end**degree * 1000) / end**2 for end in ends]
            power = degree + mpmath.mpf(3) / 2
            overlaps = [[mpmath.gamma(power) / 2 * (x + y) ** -power for y in a] for x in a]
            plain = [
                [float(s) ** degree * mpmath.exp(-x * float(s) ** 2) for s in points] for x in a
            ]
        values, vectors = mpmath.eigsy(mpmath.matrix(overlaps))
        roots = vectors * mpmath.diag([1 / mpmath.sqrt(v) for v in values]) * vectors.T
        functions = roots * mpmath.matrix(plain)
        return points, weights, np.array(functions.tolist(), dtype=np.float64)


def overlap(basis, r_cut, n_max, degree, sigma, distance):
    """Return 4 pi int s^2 g_nl(s) exp(-(r^2 + s^2) / 2 sigma^2) i_l(r s / sigma^2) ds."""
    s, weights, functions = radial_functions(basis, r_cut, n_max, degree)
    near = np.abs(s - distance) < 12.0 * sigma
    s, weights, functions = s[near], weights[near], functions[:, near]
    gaussian = np.exp(-(s**2 + distance**2) / (2 * sigma**2))
    bessel = spherical_in(degree, s * distance / sigma**2)
    return 4 * np.pi * (functions * s**2 * weights * gaussian) @ bessel


def _unweighted(_):
    return 1.0


def coefficients(numbers, positions, atom, species, weight, reach, **settings):
    """Return c[Z][l] as arrays (n_max, 2 l + 1), of complex harmonics; weight(r) of a neighbour."""
    found = {
        z: [
            np.zeros((settings["n_max"], 2 * degree + 1), complex)
            for degree in range(settings["l_max"] + 1)
        ]
        for z in species
    }
    for z, position in zip(numbers, positions, strict=True):
        x, y, zed = position - positions[atom]
        r = float(np.sqrt(x * x + y * y + zed * zed))
        if r > reach:
            continue
        theta = np.arccos(zed / r) if r else 0.0
        for degree in range(settings["l_max"] + 1):
            radial = overlap(
                settings["radial_basis"],
                settings["r_cut"],
                settings["n_max"],
                degree,
                settings["sigma"],
                r,
            )
            m = np.arange(-degree, degree + 1)
            harmonics = sph_harm_y(degree, m, theta, np.arctan2(y, x))
            found[int(z)][degree] += weight(r) * np.outer(radial, harmonics.conj())
    return found


def spectrum(found, compression="off"):
    """Return the features that follow from coefficients c[Z][l], in the documented order."""
    species = sorted(found)
    n_degrees = len(found[species[0]])
    total = [sum(found[z][degree] for z in species) for degree in range(n_degrees)]
    if compression == "mu2":
        pairs = [(total, total)]
    elif compression == "mu1nu1":
        pairs = [(found[z], total) for z in species]
    elif compression == "crossover":
        pairs = [(found[z], found[z]) for z in species]
    else:
        pairs = [(found[a], found[b]) for a in species for b in species if a <= b]
    row = []
    for left, right in pairs:
        for degree in range(n_degrees):
            factor = np.pi * np.sqrt(8 / (2 * degree + 1))
            power = factor * (left[degree] @ right[degree].conj().T).real
            row.append(power[np.triu_indices(len(power))] if left is right else power.ravel())
    return np.concatenate(row)


def atom_rows(structure, species, *, weight=None, reach=None, compression="off", **settings):
    """Return the rows of all atoms of a structure, and their coefficients."""
    reach = settings["r_cut"] + REACH * settings["sigma"] if reach is None else reach
    found = [
        coefficients(
            structure.numbers,
            structure.positions,
            atom,
            species,
            weight or _unweighted,
            reach,
            **settings,
        )
        for atom in range(len(structure.numbers))
    ]
    return np.array([spectrum(c, compression) for c in found]), found


def mean_coefficients(found):
    """Return the coefficients averaged over atoms."""
    return {
        z: [sum(c[z][degree] for c in found) / len(found) for degree in range(len(found[0][z]))]
        for z in found[0]
    }
