"""SOAP against DScribe, against quadrature, and what averages and blocks promise."""

import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import sph_harm_y

from kernchem import Structures
from kernchem.descriptors import SOAP
from kernchem.errors import SettingError

SMALL = {"r_cut": 3.0, "n_max": 3, "l_max": 2, "sigma": 0.4, "normalise": False}


@pytest.mark.slow
@pytest.mark.parametrize("radial_basis", ["gto", "polynomial"])
@pytest.mark.parametrize("average", [None, "inner", "outer"])
def test_values_are_those_of_dscribe(molecules, radial_basis, average):
    dscribe = pytest.importorskip("dscribe.descriptors")
    chosen = molecules[[0, 3, 9, 14]]
    settings = {**SMALL, "n_max": 5, "l_max": 4, "r_cut": 4.0}
    ours = SOAP(**settings, radial_basis=radial_basis, average=average).fit_transform(chosen)
    theirs = dscribe.SOAP(
        species=["H", "C", "N", "O"],
        r_cut=4.0,
        n_max=5,
        l_max=4,
        sigma=0.4,
        rbf=radial_basis,
        average=average or "off",
        periodic=False,
    )
    expected = np.vstack([theirs.create(atoms) for atoms in chosen.to_ase()])
    values = ours.values if average is None else ours
    # DScribe integrates the polynomial basis on a coarser grid.
    assert_allclose(values, expected, atol=1e-9 if radial_basis == "gto" else 1e-8, rtol=0)


@pytest.mark.parametrize("name", ["gto", "polynomial"])
def test_stored_values_of_dscribe(reference_data, name):
    with np.load(reference_data / "oracles" / "dscribe_acsf_soap.npz") as stored:
        molecules = Structures.from_arrays(stored["Z"], stored["R"])
        expected, species = stored[f"soap_{name}"], stored["species"].tolist()
    descriptor = SOAP(
        r_cut=5.0,
        n_max=4,
        l_max=3,
        sigma=0.4,
        radial_basis=name,
        normalise=False,
        species=species,
    )
    values = descriptor.fit_transform(molecules).values
    assert_allclose(values, expected, atol=1e-7, rtol=0)


def test_the_density_is_expanded_as_by_quadrature():
    """The spectrum of two atoms from integrals of the smeared density over a grid in space."""
    sigma, r_cut, n_max, l_max = 0.5, 3.0, 2, 2
    position = np.array([0.3, -0.5, 0.9])
    pair = Structures.from_arrays([[1, 1]], [[[0.0, 0.0, 0.0], position]])
    descriptor = SOAP(r_cut=r_cut, n_max=n_max, l_max=l_max, sigma=sigma, normalise=False)
    found = descriptor.fit_transform(pair).values[0]
    # Radial functions of DScribe's paper, made orthonormal by the inverse root of their overlap.
    r, radial_weights = _legendre(0.0, 9.0, 400)
    cos, polar_weights = _legendre(-1.0, 1.0, 60)
    phi = np.arange(64) * 2 * np.pi / 64
    sin = np.sqrt(1 - cos**2)
    directions = np.stack(
        [
            sin[:, None] * np.cos(phi),
            sin[:, None] * np.sin(phi),
            np.repeat(cos[:, None], 64, axis=1),
        ],
        axis=-1,
    )
    points = r[:, None, None, None] * directions
    density = np.exp(-(points**2).sum(-1) / (2 * sigma**2))
    density += np.exp(-((points - position) ** 2).sum(-1) / (2 * sigma**2))
    expected = []
    for degree in range(l_max + 1):
        shells = 1.0 + (r_cut - 1.0) * np.arange(n_max) / (n_max - 1)
        widths = -np.log(1e-3 / shells**degree) / shells**2
        plain = r**degree * np.exp(-widths[:, None] * r**2)
        overlap = (plain * r**2 * radial_weights) @ plain.T
        values, vectors = np.linalg.eigh(overlap)
        radial = (vectors / np.sqrt(values)) @ vectors.T @ plain
        coefficients = []
        for m in range(-degree, degree + 1):
            harmonic = sph_harm_y(degree, m, np.arccos(cos)[:, None], phi[None, :])
            part = (density * harmonic.conj()).sum(axis=2) * (2 * np.pi / 64)
            part = part @ polar_weights
            coefficients.append((radial * r**2 * radial_weights) @ part)
        c = np.array(coefficients)
        power = np.pi * np.sqrt(8 / (2 * degree + 1)) * np.real(c.T @ c.conj())
        expected += [power[n, k] for n in range(n_max) for k in range(n, n_max)]
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def _legendre(low, high, n):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (high - low) / 2 * nodes + (high + low) / 2, (high - low) / 2 * weights


def test_normalised_features_have_unit_length(molecules):
    chosen = molecules[[0, 5, 14]]
    plain = SOAP(**SMALL).fit_transform(chosen).values
    unit = SOAP(**{**SMALL, "normalise": True}).fit_transform(chosen).values
    assert_allclose(np.linalg.norm(unit, axis=1), 1.0, rtol=1e-12)
    assert_allclose(unit, plain / np.linalg.norm(plain, axis=1)[:, None], rtol=1e-10, atol=1e-15)


def test_outer_averages_are_means_of_atoms(molecules):
    chosen = molecules[[0, 5, 14]]
    atoms = SOAP(**SMALL).fit_transform(chosen)
    outer = SOAP(**SMALL, average="outer").fit_transform(chosen)
    inner = SOAP(**SMALL, average="inner").fit_transform(chosen)
    assert_allclose(outer, [item.values.mean(axis=0) for item in atoms], rtol=1e-10, atol=1e-14)
    assert inner.shape == outer.shape
    assert not np.allclose(inner, outer)
    assert not SOAP(average="outer").local
    assert SOAP().local


def test_atoms_share_blocks_of_the_elements_they_see(molecules):
    features = SOAP(**SMALL).fit_transform(molecules)
    assert sum(block.values.size for block in features.blocks) < features.values.size
    assert len(features.blocks) > 1


def test_names_follow_the_columns(molecules):
    descriptor = SOAP(**SMALL).fit(molecules)
    names = descriptor.get_feature_names_out()
    assert len(names) == len(set(names)) == descriptor.n_features_out_


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r_cut": 0.0}, "r_cut"),
        ({"n_max": 0}, "n_max"),
        ({"l_max": -1}, "l_max"),
        ({"sigma": -0.1}, "sigma"),
        ({"radial_basis": "spline"}, "radial_basis"),
        ({"average": "mean"}, "average"),
    ],
)
def test_wrong_settings_are_named(molecules, settings, message):
    with pytest.raises(SettingError, match=message):
        SOAP(**settings).fit(molecules[:2])


def test_every_argument_is_documented():
    for name in inspect.signature(SOAP).parameters:
        assert f"{name} :" in SOAP.__doc__
