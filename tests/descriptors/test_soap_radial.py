"""Radial functions and harmonics of SOAP against integrals in many digits."""

import numpy as np
import pytest
import soap_oracle
from numpy.testing import assert_allclose
from scipy.special import roots_legendre, sph_harm_y

from kernchem import Structures
from kernchem.descriptors import SOAP, soap_radial
from kernchem.descriptors.soap_jit import _fill_harmonics
from kernchem.descriptors.soap_radial import radial_table
from kernchem.descriptors.soap_tables import harmonic_recurrences, harmonic_starts
from kernchem.errors import SettingError


@pytest.mark.parametrize(
    ("basis", "r_cut", "n_max", "sigma", "tolerance"),
    [
        ("gto", 5.0, 5, 0.4, 1e-12),
        ("gto", 5.0, 8, 0.3, 1e-11),
        ("gto", 3.0, 1, 1.0, 1e-12),
        pytest.param("gto", 5.0, 12, 0.3, 1e-9, marks=pytest.mark.slow),
        ("polynomial", 4.0, 5, 0.4, 1e-12),
        ("polynomial", 5.0, 8, 0.3, 1e-12),
        ("polynomial", 0.9, 3, 0.9, 1e-12),
        pytest.param("polynomial", 5.0, 14, 0.3, 1e-12, marks=pytest.mark.slow),
    ],
)
def test_spectra_of_two_atoms_are_exact(basis, r_cut, n_max, sigma, tolerance):
    """Also where DScribe is off by 2e-6 (polynomials, n_max 8) or more, for lack of digits."""
    l_max = 2
    for r in (0.31 * r_cut, 0.97 * r_cut):
        pair = Structures([1, 1], [[0.0, 0.0, 0.0], [0.36 * r, -0.48 * r, 0.8 * r]], [0, 2])
        expected = []
        for degree in range(l_max + 1):
            c = soap_oracle.overlap(basis, r_cut, n_max, degree, sigma, r)
            if degree == 0:
                c = c + soap_oracle.overlap(basis, r_cut, n_max, 0, sigma, 0.0)
            # Addition theorem: the squared harmonics of a degree sum to (2 l + 1) / (4 pi).
            power = np.sqrt(8 / (2 * degree + 1)) * (2 * degree + 1) / 4 * np.outer(c, c)
            expected.append(power[np.triu_indices(n_max)])
        expected = np.concatenate(expected)
        descriptor = SOAP(r_cut, n_max, l_max, sigma, radial_basis=basis, normalise=False)
        found = descriptor.fit_transform(pair).values[0]
        assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("n_max", [1, 3, 8, 20])
def test_polynomials_are_orthonormal(n_max):
    points, weights = roots_legendre(60)
    functions = soap_radial._polynomials(points, 5.0, n_max)
    r = 2.5 * (points + 1.0)
    assert_allclose((functions * r**2 * 2.5 * weights) @ functions.T, np.eye(n_max), atol=1e-12)


def test_narrow_gaussians_touch_few_points():
    """The overlap with a narrow Gaussian is its volume times the function, to order sigma^2."""
    r_cut, sigma = 2.0, 0.01
    evaluate, _ = soap_radial._polynomial(r_cut, 2, 0, sigma)
    r = np.array([0.5, 1.1])
    functions = soap_radial._polynomials(r - 1.0, r_cut, 2)
    values = evaluate(r)[0, 0] / (2.0 * np.pi * sigma**2) ** 1.5
    assert_allclose(values, functions, rtol=0.005, atol=0.01)


@pytest.mark.parametrize("basis", ["gto", "polynomial"])
def test_tables_say_how_good_they_are(basis):
    table = radial_table(basis, 3.0, 3, 2, 0.5)
    assert table.error < 1e-12
    assert table.values.shape[1:] == (3, 12)
    assert not table.values[:, :, 3::4].any()
    with pytest.raises(ValueError, match="read-only"):
        table.values[0] = 0.0


def test_tables_are_refined_until_they_are_good(monkeypatch):
    usual = radial_table("gto", 3.0, 2, 1, 0.5)
    monkeypatch.setattr(soap_radial, "_ACCURACY", 1e-14)
    radial_table.cache_clear()
    finer = radial_table("gto", 3.0, 2, 1, 0.5)
    radial_table.cache_clear()
    assert len(finer.values) > len(usual.values)


@pytest.mark.parametrize("l_max", [0, 1, 4, 20])
def test_harmonics_are_those_of_scipy(l_max, rng):
    recurrences, starts = harmonic_recurrences(l_max), harmonic_starts(l_max)
    assert (np.diff(starts) % 4 == 0).all()
    x, y, z = point = rng.normal(size=3)
    r = np.linalg.norm(point)
    values = np.zeros(starts[-1])
    _fill_harmonics(x, y, z, recurrences, starts, values)
    for degree in range(l_max + 1):
        m = np.arange(1, degree + 1)
        complex_ones = sph_harm_y(degree, np.arange(degree + 1), np.arccos(z / r), np.arctan2(y, x))
        expected = np.empty(2 * degree + 1)
        expected[0] = complex_ones[0].real
        expected[2 * m - 1] = np.sqrt(2.0) * (-1.0) ** m * complex_ones[m].real
        expected[2 * m] = np.sqrt(2.0) * (-1.0) ** m * complex_ones[m].imag
        own = values[starts[degree] : starts[degree] + 2 * degree + 1] / r**degree
        assert_allclose(own, expected, rtol=0, atol=1e-12)
        assert not values[starts[degree] + 2 * degree + 1 : starts[degree + 1]].any()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sigma": 1e-12}, r"sigma=1e-12 must not be below r_cut / 200.*tenths"),
        ({"sigma": 1e6}, r"sigma=1000000.0 must not be.*above r_cut=5.0"),
        ({"r_cut": 1e9}, r"r_cut=1000000000.0; give 100 angstrom at most"),
        ({"n_max": 10**6}, "n_max=1000000; give a whole number from 1 to 24"),
        ({"l_max": 200}, "l_max=200; give a whole number from 0 to 20"),
        ({"r_cut": 1.001}, "n_max=8 radial functions are so similar.*smaller n_max"),
        ({"r_cut": 1.0 + 1e-15}, "n_max=8 radial functions are so similar.*'polynomial'"),
        ({"r_cut": 2.0, "n_max": 16, "l_max": 0}, "n_max=16 radial functions are so similar"),
    ],
)
def test_absurd_settings_are_refused(molecules, settings, said):
    with pytest.raises(SettingError, match=said):
        SOAP(**settings).fit(molecules[:2])


@pytest.mark.parametrize("basis", ["gto", "polynomial"])
@pytest.mark.parametrize("sigma", [0.025, 5.0])
def test_sigma_may_be_at_its_bounds(basis, sigma):
    pair = Structures([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [0, 2])
    small = SOAP(5.0, 2, 1, sigma, radial_basis=basis, normalise=False)
    assert np.isfinite(small.fit_transform(pair).values).all()
    assert small.transform(pair).values.any(axis=1).all()
