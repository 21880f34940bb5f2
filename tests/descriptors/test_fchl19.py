"""FCHL19 against qmllib, against its formula in plain Python, and at its edges."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from kernchem import Structures
from kernchem.descriptors import FCHL19, fchl19
from kernchem.errors import SettingError, UnknownElementError

ELEMENTS = [1, 6, 7, 8, 16]
SMALL = {"n_radial": 4, "n_radial_3": 3, "r_cut": 3.0, "a_cut": 2.5, "n_fourier": 2}


def formula(structure, descriptor):
    """The features from the equations, one term at a time."""
    numbers, positions, d = structure.numbers, structure.positions, descriptor
    n, elements = len(numbers), list(d.elements_)
    r = np.linalg.norm(positions[:, None] - positions, axis=-1)
    shells2 = d.r_cut * np.arange(1, d.n_radial + 1) / d.n_radial
    shells3 = d.a_cut * np.arange(1, d.n_radial_3 + 1) / d.n_radial_3
    pairs = [(a, b) for i, a in enumerate(elements) for b in elements[i:]]
    width = 2 * d.n_fourier * d.n_radial_3
    out = np.zeros((n, len(elements) * d.n_radial + len(pairs) * width))

    def cutoff(x, limit):
        return 0.5 * (1.0 + math.cos(math.pi * x / limit)) if x < limit else 0.0

    def cosine(i, j, k):
        u, v = positions[j] - positions[i], positions[k] - positions[i]
        return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))

    for i in range(n):
        for j in range(n):
            if i == j or r[i, j] >= d.r_cut:
                continue
            variance = math.log(1.0 + d.eta2 / r[i, j] ** 2)
            mu = math.log(r[i, j]) - variance / 2
            for s, R in enumerate(shells2):
                value = math.exp(-((math.log(R) - mu) ** 2) / (2 * variance))
                value /= R * math.sqrt(2 * math.pi * variance)
                value *= cutoff(r[i, j], d.r_cut) / r[i, j] ** d.two_body_decay
                out[i, elements.index(numbers[j]) * d.n_radial + s] += value
        for j in range(n):
            for k in range(j):
                if i in {j, k} or max(r[i, j], r[i, k]) >= d.a_cut:
                    continue
                weight = d.three_body_weight * math.sqrt(d.eta3 / math.pi)
                weight *= 1 + 3 * cosine(i, j, k) * cosine(j, i, k) * cosine(k, i, j)
                weight /= (r[i, j] * r[i, k] * r[j, k]) ** d.three_body_decay
                weight *= cutoff(r[i, j], d.a_cut) * cutoff(r[i, k], d.a_cut)
                theta = math.acos(min(max(cosine(i, j, k), -1.0), 1.0))
                pair = pairs.index(tuple(sorted((numbers[j], numbers[k]))))
                column = len(elements) * d.n_radial + pair * width
                for R in shells3:
                    radial = math.exp(-d.eta3 * ((r[i, j] + r[i, k]) / 2 - R) ** 2)
                    for order in range(d.n_fourier):
                        m = 2 * order + 1
                        angular = 2 * math.exp(-0.5 * (d.zeta * m) ** 2) * weight * radial
                        out[i, column] += angular * math.cos(m * theta)
                        out[i, column + 1] += angular * math.sin(m * theta)
                        column += 2
    return out


@pytest.mark.parametrize("settings", [SMALL, {**SMALL, "a_cut": 4.0, "zeta": 1.0, "eta3": 0.7}])
def test_values_are_those_of_the_formula(molecules, settings):
    chosen = molecules[[0, 3, 5, 10]]
    descriptor = FCHL19(**settings).fit(chosen)
    features = descriptor.transform(chosen)
    for k, structure in enumerate(chosen):
        expected = formula(structure, descriptor)
        assert_allclose(features[k].values, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        (
            {"r_cut": 4.0, "a_cut": 3.5, "n_radial": 12, "n_radial_3": 10, "n_fourier": 2},
            {"rcut": 4.0, "acut": 3.5, "nRs2": 12, "nRs3": 10, "nFourier": 2},
        ),
        (
            {"eta2": 0.2, "eta3": 1.1, "zeta": 1.2, "two_body_decay": 2.0},
            {"eta2": 0.2, "eta3": 1.1, "zeta": 1.2, "two_body_decay": 2.0},
        ),
        (
            {"three_body_decay": 0.3, "three_body_weight": 2.0},
            {"three_body_decay": 0.3, "three_body_weight": 2.0},
        ),
    ],
)
def test_values_are_those_of_qmllib(molecules, ours, theirs):
    qmllib = pytest.importorskip("qmllib.representations")
    rng = np.random.default_rng(3)
    shaken = molecules.positions + rng.normal(0.0, 0.05, molecules.positions.shape)
    chosen = Structures(molecules.numbers, shaken, molecules.offsets)
    features = FCHL19(elements=ELEMENTS, **ours).fit_transform(chosen)
    for k, structure in enumerate(chosen):
        n = len(structure.numbers)
        expected = qmllib.generate_fchl19(
            structure.numbers, structure.positions, elements=ELEMENTS, pad=n, **theirs
        )
        assert_allclose(features[k].values, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("a_cut", [1.6, 2.5])
def test_large_molecules_tabulate_surroundings(molecules, monkeypatch, a_cut):
    """Beyond some number of atoms, distances are tabulated around each atom: the same numbers."""
    descriptor = FCHL19(**{**SMALL, "a_cut": a_cut}).fit(molecules)
    expected = descriptor.transform(molecules[4:]).values
    monkeypatch.setattr(fchl19, "_WHOLE", 3)
    assert_allclose(descriptor.transform(molecules[4:]).values, expected, rtol=1e-12, atol=1e-15)


def test_surroundings_of_large_molecules_grow(monkeypatch):
    """The tables around an atom get longer where the first ones are too short."""
    spread = np.random.default_rng(5).uniform(0.0, 2.2, (9, 3))
    apart = np.arange(27.0).reshape(9, 3) * 2.0
    some = Structures.from_arrays([np.tile([1, 8, 6], 3)] * 2, [apart, spread])
    monkeypatch.setattr(fchl19, "_WHOLE", 2)
    descriptor = FCHL19(**SMALL).fit(some)
    features = descriptor.transform(some)
    assert not features[0].values.any()
    expected = formula(some[1], descriptor)
    assert_allclose(features[1].values, expected, rtol=1e-11, atol=1e-13)


def test_defaults_are_exact_to_twelve_digits(molecules):
    """Each Gaussian is a product of three factors, some of which are as large as 1e30."""
    ethanol = molecules[[15]]
    descriptor = FCHL19().fit(ethanol)
    features, expected = descriptor.transform(ethanol).values, formula(ethanol[0], descriptor)
    assert_allclose(features, expected, rtol=1e-12, atol=1e-17)


def test_atoms_that_see_the_same_elements_share_a_block(molecules):
    features = FCHL19(**SMALL).fit_transform(molecules)
    assert sum(block.values.size for block in features.blocks) < features.values.size
    dense = features.values
    for block in features.blocks:
        assert_array_equal(dense[np.ix_(block.atoms, block.columns)], block.values)
        rest = np.setdiff1d(np.arange(features.n_features), block.columns)
        assert not dense[np.ix_(block.atoms, rest)].any()


def test_features_vanish_smoothly_at_the_cutoffs():
    def at(r):
        line = [[0.0, 0.0, 0.0], [0.0, 0.0, r], [0.0, 0.9, 0.1]]
        pair = Structures.from_arrays([[8, 1, 1]], [line])
        return FCHL19(**{**SMALL, "r_cut": 2.5}).fit_transform(pair).values[0]

    step = 1e-3
    jump = at(2.5 - step) - at(2.5 + step)
    assert 0.0 < np.abs(jump).max() < 1e-5
    assert_allclose(at(2.5 + step), at(2.5 + 5 * step), atol=1e-14)


def test_atoms_alone_and_pairs_have_few_features():
    features = FCHL19(**SMALL).fit_transform(
        Structures([8, 8, 1], [[0, 0, 0.0], [0, 0, 0.0], [0, 0, 1.0]], [0, 1, 3])
    )
    assert not features[0].values.any()
    assert features[1].values[:, :8].any()
    assert not features[1].values[:, 8:].any()


def test_atoms_on_a_line_have_finite_features():
    line = Structures.from_arrays([[6, 8, 8]], [[[0, 0, 0.0], [0, 0, 1.2], [0, 0, -1.2]]])
    descriptor = FCHL19(**SMALL).fit(line)
    features = descriptor.transform(line)
    assert np.isfinite(features.values).all()
    assert_allclose(features.values, formula(line[0], descriptor), rtol=1e-10, atol=1e-14)


def test_elements_that_are_given_have_columns(molecules):
    descriptor = FCHL19(elements=["N", 8, "C", "H"], **SMALL).fit(molecules[:1])
    assert descriptor.elements_ == (1, 6, 7, 8)
    names = descriptor.get_feature_names_out()
    assert len(names) == descriptor.n_features_out_ == 4 * 4 + 10 * 12
    assert names[0] == "H(r=0.75)"
    assert names[16:18].tolist() == ["H-H(r=0.833, cos(1 theta))", "H-H(r=0.833, sin(1 theta))"]
    by_array = FCHL19(elements=np.array([1, 6, 7, 8]), **SMALL).fit(molecules[:1])
    assert by_array.elements_ == descriptor.elements_
    with pytest.raises(UnknownElementError, match="element N"):
        FCHL19(elements=["O", "H"], **SMALL).fit(molecules)


def test_names_differ_however_near_the_shells_are():
    descriptor = FCHL19(r_cut=12.0, n_radial=160, n_radial_3=400).fit(
        Structures([1], [[0.0] * 3], [0, 1])
    )
    names = descriptor.get_feature_names_out()
    assert len(set(names)) == len(names) == 160 + 2 * 400
    assert names[[0, 133, 159]].tolist() == ["H(r=0.075)", "H(r=10.05)", "H(r=12)"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_radial": 0}, "n_radial=0"),
        ({"n_fourier": 1.5}, "n_fourier=1.5"),
        ({"r_cut": -1.0}, "r_cut=-1.0"),
        ({"r_cut": 1e300}, r"r_cut=1e\+300; give 1e\+150 at most"),
        ({"a_cut": 1e300}, r"a_cut=1e\+300; give 1e\+150 at most"),
        ({"eta3": np.inf}, "eta3=inf"),
        ({"two_body_decay": -1.0}, "two_body_decay"),
        ({"a_cut": 50.0}, "too narrow"),
        ({"elements": "CHNO"}, "no list"),
        ({"elements": ["Q"]}, "elements"),
        ({"elements": []}, "at least one"),
        ({"elements": ["H", 1]}, "each of them once"),
        ({"two_body_decay": np.array([1.0, 2.0])}, "two_body_decay=array"),
        ({"two_body_decay": False}, "two_body_decay=False"),
        ({"eta2": 1e-12}, r"eta2=1e-12 is a width of 1e-06 angstrom.*from 0.0011 to 6.4e\+03"),
        ({"eta2": 1e12}, r"eta2=1000000000000.0 is a width of 1e\+06"),
        ({"eta3": 1e12}, "eta3=1000000000000.0 is too narrow"),
        ({"r_cut": 1e6}, "the shells are 4.2e.04 angstrom apart.*another r_cut or n_radial"),
        ({"n_radial": 10**7}, "n_radial=10000000; give a whole number from 1 to 10000"),
        ({"n_radial_3": 10**7}, "n_radial_3=10000000"),
        ({"n_fourier": 10**7}, "n_fourier=10000000; give a whole number from 1 to 100"),
        ({"zeta": 50.0}, "zeta=50.0; give 10 at most"),
        ({"two_body_decay": 1e3}, "two_body_decay=1000.0; give 30 at most"),
        ({"three_body_decay": 1e3}, "three_body_decay=1000.0"),
        ({"three_body_weight": 1e300}, "three_body_weight=1e.300"),
    ],
)
def test_wrong_settings_are_named(molecules, settings, message):
    with pytest.raises(SettingError, match=message):
        FCHL19(**settings).fit(molecules)
