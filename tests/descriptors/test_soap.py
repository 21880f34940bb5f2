"""SOAP against DScribe, against its definition, and what averages and blocks promise."""

import copy
import inspect
import math

import numpy as np
import pytest
import soap_oracle
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import sph_harm_y

from kernchem import Structures
from kernchem.descriptors import SOAP
from kernchem.errors import SettingError, UnknownElementError
from kernchem.testing.molecules import moved, random_rotation

SMALL = {"r_cut": 3.0, "n_max": 3, "l_max": 2, "sigma": 0.4, "normalise": False}


SPECIES = [1, 6, 7, 8]
POLY = {"function": "poly", "r0": 3.5, "c": 1.3, "m": 2.0}
POW = {"function": "pow", "r0": 2.0, "c": 0.7, "d": 1.1, "m": 3.0}
EXP = {"function": "exp", "r0": 1.4, "c": 0.9, "d": 0.2}


def cluster(n, seed=0, side=2.0):
    """Atoms at random, of all four elements, the last one out of reach of the others."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-side, side, size=(n, 3))
    positions[-1] = 30.0
    return Structures(rng.permutation(np.resize(SPECIES, n)), positions, [0, n])


def dscribe_rows(structures, average=None, radial_basis="gto", **settings):
    """Return DScribe's features for the same settings."""
    dscribe = pytest.importorskip("dscribe.descriptors")
    theirs = dscribe.SOAP(
        species=SPECIES,
        periodic=False,
        rbf=radial_basis,
        average=average or "off",
        # It adds entries to the dictionaries that it is given.
        **copy.deepcopy(settings),
    )
    return np.vstack([theirs.create(atoms) for atoms in structures.to_ase()])


@pytest.mark.slow
@pytest.mark.parametrize("radial_basis", ["gto", "polynomial"])
@pytest.mark.parametrize("average", [None, "inner", "outer"])
def test_values_are_those_of_dscribe(molecules, radial_basis, average):
    chosen = molecules[[0, 3, 9, 14]]
    settings = {"r_cut": 4.0, "n_max": 5, "l_max": 4, "sigma": 0.4, "radial_basis": radial_basis}
    ours = SOAP(**settings, normalise=False, average=average).fit_transform(chosen)
    expected = dscribe_rows(chosen, average, **settings)
    values = ours.values if average is None else ours
    # What DScribe's orthonormalisation leaves of its digits.
    assert_allclose(values, expected, atol=1e-9 if radial_basis == "gto" else 1e-8, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "mu2"},
        {"compression": "mu1nu1"},
        {"compression": "crossover"},
        {"weighting": POLY},
        {"weighting": POW},
        {"weighting": EXP},
        {"weighting": {"w0": 0.0}},
        {"weighting": {**POW, "d": 0.0, "w0": 0.4}},
        {"compression": "mu1nu1", "average": "inner", "weighting": POLY},
        {"compression": "mu2", "average": "outer"},
        {"compression": "crossover", "average": "inner"},
    ],
)
def test_options_are_those_of_dscribe(molecules, options):
    chosen = molecules[[3, 9]]
    settings = {"r_cut": 4.0, "n_max": 3, "l_max": 2, "sigma": 0.4}
    ours = SOAP(**settings, normalise=False, species=SPECIES, **options).fit_transform(chosen)
    renamed = dict(options)
    if "compression" in renamed:
        renamed["compression"] = {"mode": renamed["compression"], "species_weighting": None}
    expected = dscribe_rows(chosen, **settings, **renamed)
    assert_allclose(ours if "average" in options else ours.values, expected, atol=1e-9, rtol=1e-9)


def poly_weight(r):
    t = r / POLY["r0"]
    return POLY["c"] * (1 + 2 * t**3 - 3 * t**2) ** POLY["m"] if r <= POLY["r0"] else 0.0


def cutoff_weight(r, r_cut=4.0, width=1.5):
    t = (r - r_cut + width) / width
    return 1.0 if t < 0 else 0.5 * (1 + math.cos(math.pi * t)) if t < 1 else 0.0


#: Options, and the weights and the reach that they stand for.
DEFINED = {
    "plain": ({}, None, None),
    "polynomial": ({"radial_basis": "polynomial"}, None, None),
    "poly": ({"weighting": POLY}, poly_weight, None),
    "pow": ({"weighting": POW}, lambda r: 0.7 / (1.1 + (r / 2.0) ** 3), None),
    "exp": ({"weighting": EXP}, lambda r: 0.9 / (0.2 + math.exp(-r / 1.4)), None),
    "w0": ({"weighting": {"w0": 2.5}}, lambda r: 1.0 if r else 2.5, None),
    "poly-w0": (
        {"weighting": {**POLY, "w0": 0.0}},
        lambda r: poly_weight(r) if r else 0.0,
        None,
    ),
    "cutoff": ({"cutoff": 1.5}, cutoff_weight, 4.0),
    "poly-cutoff": (
        {"weighting": POLY, "cutoff": 1.5},
        lambda r: poly_weight(r) * cutoff_weight(r),
        4.0,
    ),
}


@pytest.mark.parametrize("name", DEFINED)
@pytest.mark.parametrize("n_max", [2, 5])
def test_weighted_spectra_are_those_of_the_definition(name, n_max):
    structure = cluster(7)
    options, weight, reach = DEFINED[name]
    settings = {"r_cut": 4.0, "n_max": n_max, "l_max": 2, "sigma": 0.4, "radial_basis": "gto"}
    settings |= {key: value for key, value in options.items() if key == "radial_basis"}
    found = SOAP(**{**settings, **options}, normalise=False).fit_transform(structure).values
    expected, _ = soap_oracle.atom_rows(
        structure[0], SPECIES, weight=weight, reach=reach, **settings
    )
    assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("compression", ["off", "mu1nu1", "mu2", "crossover"])
@pytest.mark.parametrize("n_max", [3, 9])
def test_compressed_spectra_and_averages_are_those_of_the_definition(compression, n_max):
    structure = cluster(6, seed=1)
    settings = {"r_cut": 3.0, "n_max": n_max, "l_max": 1, "sigma": 0.5}
    settings["radial_basis"] = "polynomial"
    rows, coefficients = soap_oracle.atom_rows(
        structure[0], SPECIES, compression=compression, **settings
    )
    inner = soap_oracle.spectrum(soap_oracle.mean_coefficients(coefficients), compression)
    options = {**settings, "compression": compression, "normalise": False}
    tolerance = {"rtol": 0, "atol": 1e-10 * np.abs(rows).max()}
    descriptor = SOAP(**options).fit(structure)
    assert descriptor.n_features_out_ == rows.shape[1]
    assert_allclose(descriptor.transform(structure).values, rows, **tolerance)
    found = SOAP(**options, average="inner").fit_transform(structure)
    assert_allclose(found[0], inner, **tolerance)
    found = SOAP(**options, average="outer").fit_transform(structure)
    assert_allclose(found[0], rows.mean(axis=0), **tolerance)


def test_many_neighbours_of_one_element_are_all_summed():
    """More than are summed at a time, and than the list of neighbours has room for at first."""
    structure = cluster(38, seed=2)
    structure = Structures(np.ones(38, dtype=int), structure.positions, [0, 38])
    settings = {"r_cut": 2.5, "n_max": 2, "l_max": 1, "sigma": 0.5, "radial_basis": "polynomial"}
    descriptor = SOAP(**settings, normalise=False).fit(structure)
    expected, _ = soap_oracle.atom_rows(structure[0], [1], **settings)
    found = descriptor.transform(structure).values
    assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


# -- atoms alone, symmetries, elements -------------------------------------------------------------


@pytest.mark.parametrize("average", [None, "inner", "outer"])
def test_atoms_alone_see_themselves(average):
    """Only l = 0 is left: the square of the overlap at distance 0, times pi sqrt(8) / (4 pi)."""
    carbon = Structures([6], [[1.0, 2.0, 3.0]], [0, 1])
    descriptor = SOAP(**SMALL, average=average, species=["H", "C"]).fit(carbon)
    found = descriptor.transform(carbon)
    found = found.values if average is None else found
    c = soap_oracle.overlap("gto", 3.0, 3, 0, 0.4, 0.0)
    expected = np.zeros(descriptor.n_features_out_)
    names = descriptor.get_feature_names_out()
    own = [k for k, name in enumerate(names) if name.startswith("C-C") and name.endswith("l=0)")]
    expected[own] = np.sqrt(8.0) / 4.0 * np.outer(c, c)[np.triu_indices(3)]
    assert_allclose(found, [expected], rtol=1e-10, atol=1e-13)


def test_atoms_out_of_reach_are_as_alone(molecules):
    water, carbon = molecules[0], Structures([6], [[0.0, 0.0, 0.0]], [0, 1])
    both = Structures(
        np.append(water.numbers, 6), np.vstack([water.positions, [[20.0, 0.0, 0.0]]]), [0, 4]
    )
    descriptor = SOAP(**SMALL).fit(both)
    found = descriptor.transform(both).values
    assert_array_equal(found[:3], descriptor.transform(molecules[:1]).values)
    assert_array_equal(found[3:], descriptor.transform(carbon).values)


@pytest.mark.parametrize("cutoff", [None, 1.0])
def test_reach_ends_where_it_is_said_to(cutoff):
    end = 3.0 + (0.4 * soap_oracle.REACH if cutoff is None else 0.0)
    descriptor = SOAP(**SMALL, cutoff=cutoff)
    rows = {}
    for name, r in (("in", end - 1e-9), ("out", end + 1e-9), ("far", 50.0)):
        pair = Structures([1, 8], [[0.0, 0.0, 0.0], [0.0, 0.0, r]], [0, 2])
        rows[name] = descriptor.fit_transform(pair).values[0]
    assert_array_equal(rows["out"], rows["far"])
    assert np.allclose(rows["in"], rows["out"], atol=1e-13) == (cutoff is not None)


def test_nothing_without_weights():
    """A row of zeros has no length to be divided by."""
    alone = Structures([1], [[0.0, 0.0, 0.0]], [0, 1])
    for average in (None, "inner"):
        settings = {**SMALL, "normalise": True, "average": average, "weighting": {"w0": 0.0}}
        found = SOAP(**settings).fit_transform(alone)
        assert not np.any(found if average else found.values)


def test_rotated_and_reordered_atoms_keep_their_rows(rng):
    structure = cluster(8, seed=3)
    descriptor = SOAP(3.0, 3, 3, 0.4).fit(structure)
    rows = descriptor.transform(structure).values
    turned = moved(structure, random_rotation(rng), np.array([5.0, -3.0, 1.0]))
    assert_allclose(descriptor.transform(turned).values, rows, rtol=0, atol=1e-12)
    mirrored = Structures(structure.numbers, structure.positions * [1.0, 1.0, -1.0], [0, 8])
    assert_allclose(descriptor.transform(mirrored).values, rows, rtol=0, atol=1e-12)
    order = rng.permutation(8)
    other = Structures(structure.numbers[order], structure.positions[order], [0, 8])
    assert_allclose(descriptor.transform(other).values, rows[order], rtol=0, atol=1e-12)
    for average in ("inner", "outer"):
        descriptor = SOAP(3.0, 3, 3, 0.4, average=average).fit(structure)
        expected = descriptor.transform(structure)
        assert_allclose(descriptor.transform(turned), expected, rtol=0, atol=1e-12)
        assert_allclose(descriptor.transform(other), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("average", [None, "inner", "outer"])
def test_batches_and_threads_give_the_same_bits(molecules, average):
    descriptor = SOAP(3.0, 5, 2, 0.4, average=average, n_jobs=1).fit(molecules)
    whole = descriptor.transform(molecules)
    parts = [descriptor.transform(molecules[k : k + 1]) for k in range(len(molecules))]
    threads = SOAP(3.0, 5, 2, 0.4, average=average, n_jobs=3).fit(molecules)
    many = Structures.concatenate([molecules] * 3)
    values = [x.values if average is None else x for x in (whole, *parts, threads.transform(many))]
    assert_array_equal(np.vstack(values[1:-1]), values[0])
    assert_array_equal(values[-1], np.vstack([values[0]] * 3))


def test_elements_out_of_the_layout_are_refused(molecules):
    with pytest.raises(UnknownElementError, match=r"structure 1 \(H3N\): element N"):
        SOAP(**SMALL, species=["H", "O"]).fit(molecules[:2])
    descriptor = SOAP(**SMALL).fit(molecules[:1])
    with pytest.raises(UnknownElementError, match=r"structure 0 \(CH4\): element C.*\(H O\)"):
        descriptor.transform(molecules[2:3])


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
    water = SOAP(3.0, 2, 0, compression="mu1nu1").fit(molecules[:1])
    assert water.get_feature_names_out()[[0, 2, 7]].tolist() == [
        "H-all(n=0, n'=0, l=0)", "H-all(n=1, n'=0, l=0)", "O-all(n=1, n'=1, l=0)",
    ]  # fmt: skip
    water = SOAP(3.0, 2, 0, compression="mu2").fit(molecules[:1])
    assert water.get_feature_names_out().tolist() == [
        "all-all(n=0, n'=0, l=0)", "all-all(n=0, n'=1, l=0)", "all-all(n=1, n'=1, l=0)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r_cut": 0.0}, "r_cut"),
        ({"r_cut": 1.0}, "r_cut=1.0 is too short for the functions of the basis 'gto'"),
        ({"n_max": 0}, "n_max"),
        ({"l_max": -1}, "l_max"),
        ({"sigma": -0.1}, "sigma"),
        ({"radial_basis": "spline"}, "radial_basis"),
        ({"average": "mean"}, "average"),
        ({"compression": "mu3"}, "compression='mu3' is unknown; choose one of 'off'"),
        ({"normalise": "yes"}, "normalise"),
        ({"cutoff": 0.0}, "cutoff=0.0 must be a width"),
        ({"cutoff": 5.5}, "cutoff=5.5.*not above r_cut=5.0"),
        ({"species": "HCNO"}, "species='HCNO' is no list"),
    ],
)
def test_wrong_settings_are_named(molecules, settings, message):
    with pytest.raises(SettingError, match=message):
        SOAP(**settings).fit(molecules[:2])


def test_every_argument_is_documented():
    for name in inspect.signature(SOAP).parameters:
        assert f"{name} :" in SOAP.__doc__
