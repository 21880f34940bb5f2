"""SLATM against the formula in plain Python, qmllib, and what is known of single pairs."""

import math

import numpy as np
import pytest

from kernchem.descriptors import SLATM, slatm
from kernchem.errors import LayoutError, SettingError, UnknownElementError
from kernchem.structures import Structures

#: Few and wide Gaussians: quick as plain Python too.
COARSE = {"sigma_r": 0.1, "sigma_theta": 0.15, "step_r": 0.1, "step_theta": 0.1}


@pytest.fixture(scope="module")
def shaken(molecules):
    shift = np.random.default_rng(1).normal(0.0, 0.05, molecules.positions.shape)
    return Structures(molecules.numbers, molecules.positions + shift, molecules.offsets)


def angle_between(a, b):
    """Angle by Kahan's formula, exact for vectors on a line too."""
    a, b = (np.asarray(v) / math.hypot(*v) for v in (a, b))
    return 2.0 * math.atan2(math.hypot(*(a - b)), math.hypot(*(a + b)))


def gaussian(x, sigma):
    return math.exp(-0.5 * (x / sigma) ** 2) / (sigma * math.sqrt(2.0 * math.pi))


def grids(r_cut, step_r, step_theta):
    n_r = int((r_cut - 0.1) / step_r) + 1
    n_theta = int((math.pi + math.radians(40.0)) / step_theta) + 1
    distances = [0.1 + k * (r_cut - 0.1) / (n_r - 1) for k in range(n_r)]
    spacing = (math.pi + math.radians(40.0)) / (n_theta - 1)
    return distances, [k * spacing - math.radians(20.0) for k in range(n_theta)]


def atoms_by_formula(
    molecule, types, *, r_cut=4.8, sigma_r=0.05, sigma_theta=0.05, step_r=0.03, step_theta=0.03,
    power=6,
):  # fmt: skip
    """One row per atom, from the definition: ordered pairs, and ends of corners in both orders."""
    numbers, positions = molecule.numbers.tolist(), molecule.positions
    distances, angles = grids(r_cut, step_r, step_theta)
    n = len(numbers)
    r = [[math.dist(p, q) for q in positions] for p in positions]
    theta = {
        (i, j, k): angle_between(positions[i] - positions[j], positions[k] - positions[j])
        for i in range(n)
        for j in range(n)
        for k in range(n)
        if len({i, j, k}) == 3 and max(r[i][j], r[j][k], r[i][k]) < r_cut
    }
    rows = []
    for j in range(n):
        row = []
        for members in types:
            if len(members) == 1:
                row.append(float(numbers[j] if members == (numbers[j],) else 0))
            elif len(members) == 2:
                partners = [
                    i for i in range(n)
                    if i != j and r[i][j] < r_cut
                    and sorted(members) == sorted((numbers[i], numbers[j]))
                ]  # fmt: skip
                row += [
                    math.fsum(
                        0.5 * step_r * members[0] * members[1] * x**-power
                        * gaussian(x - r[i][j], sigma_r)
                        for i in partners
                    )
                    for x in distances
                ]  # fmt: skip
            else:
                corners = [
                    (i, k) for i, corner, k in theta
                    if corner == j and i < k and numbers[j] == members[1]
                    and sorted((numbers[i], numbers[k])) == sorted(members[::2])
                ]  # fmt: skip
                row += [
                    math.fsum(
                        step_theta / 3.0 * math.prod(members)
                        * (1.0 + math.cos(x) * math.cos(theta[j, i, k]) * math.cos(theta[i, k, j]))
                        / (r[i][j] * r[j][k] * r[i][k]) ** 3
                        * gaussian(x - theta[i, j, k], sigma_theta)
                        for i, k in corners
                    )
                    for x in angles
                ]  # fmt: skip
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(
    "settings",
    [
        COARSE,
        COARSE | {"r_cut": 2.3, "power": 4, "sigma_r": 0.2},
        pytest.param({}, marks=pytest.mark.slow),
    ],
)
def test_is_the_formula(molecules, settings):
    """Molecules as ASE builds them: with atoms on a line, right angles and equal sides."""
    some = molecules[[0, 2, 3, 5, 9, 12, 13]]
    descriptor, of_atoms = SLATM(**settings).fit(some), SLATM(True, **settings).fit(some)
    features, rows = descriptor.transform(some), of_atoms.transform(some)
    assert descriptor.types_ == of_atoms.types_
    for k, molecule in enumerate(some):
        expected = atoms_by_formula(molecule, descriptor.types_, **settings)
        scale = 1e-14 * np.abs(expected).max()
        np.testing.assert_allclose(rows[k].values, expected, rtol=1e-11, atol=scale)
        np.testing.assert_allclose(features[k], expected.sum(axis=0), rtol=1e-11, atol=scale)


def columns_of(types, widths):
    """First and last column of each type, by the type with the smaller end first."""
    ends = np.cumsum([widths[len(members) - 1] for members in types])
    return {
        min(tuple(members), tuple(members)[::-1]): slice(
            end - widths[len(members) - 1], end
        )
        for members, end in zip(types, ends, strict=True)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "qmllibs"),
    [
        pytest.param({}, {}, marks=pytest.mark.slow),
        (
            COARSE | {"r_cut": 2.5, "power": 4.0},
            {"sigmas": [0.1, 0.15], "dgrids": [0.1, 0.1], "rcut": 2.5, "rpower": 4},
        ),
    ],
)
@pytest.mark.parametrize("per_atom", [False, True])
def test_qmllib_agrees(shaken, ours, qmllibs, per_atom):
    representations = pytest.importorskip("qmllib.representations")
    some = shaken[[0, 3, 8, 12]]
    descriptor = SLATM(per_atom, **ours).fit(some)
    features = descriptor.transform(some)
    types = representations.get_slatm_mbtypes([m.numbers for m in some])
    assert {min(tuple(t), tuple(t)[::-1]) for t in types} >= set(descriptor.types_)
    widths = (1, len(descriptor.distances_), len(descriptor.angles_))
    places, theirs = columns_of(descriptor.types_, widths), columns_of(types, widths)
    for k, molecule in enumerate(some):
        rows = features[k].values if per_atom else features[k : k + 1]
        expected = np.atleast_2d(
            representations.generate_slatm(
                molecule.numbers, molecule.positions, types, local=per_atom, **qmllibs
            )
        )
        assert expected.shape[1] >= rows.shape[1]
        for members, place in theirs.items():
            wanted = expected[:, place]
            if members in places:
                np.testing.assert_allclose(rows[:, places[members]], wanted, rtol=1e-10, atol=1e-12)
            else:  # it takes the largest number of each element, from whatever molecule
                assert not wanted.any()


def test_qmllib_agrees_on_our_types_but_for_atoms_on_a_line(molecules):
    representations = pytest.importorskip("qmllib.representations")
    line = molecules[5]
    descriptor = SLATM().fit(line)
    expected = representations.generate_slatm(line.numbers, line.positions, descriptor.types_)
    tilted = line.positions @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    theirs = representations.generate_slatm(line.numbers, tilted, descriptor.types_)
    ours = descriptor.transform(line)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-6 * np.abs(ours).max())
    moved = descriptor.transform(Structures(line.numbers, tilted, [0, 3]))[0]
    np.testing.assert_allclose(moved, ours, rtol=1e-10, atol=1e-13)
    assert np.abs(theirs - expected).max() < 1e-6 * np.abs(ours).max()


# -- what is known of pairs and triangles ----------------------------------------------------------


def place_of(descriptor, members):
    return columns_of(descriptor.types_, (1, len(descriptor.distances_), len(descriptor.angles_)))[
        members
    ]


def test_a_pair_has_the_area_of_its_charges():
    """The sum of r^p F, times the true spacing over the step, is the area of the Gaussian."""
    pair = Structures([6, 8], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.7]], [0, 2])
    for power in (1.0, 6.0):
        descriptor = SLATM(power=power).fit(pair)
        spectrum = descriptor.transform(pair)[0, place_of(descriptor, (6, 8))]
        r = descriptor.distances_
        area = (spectrum * r**power).sum() * (r[1] - r[0]) / 0.03
        assert area == pytest.approx(48.0, rel=1e-12)


def test_equilateral_triangle_has_its_potential_at_sixty_degrees():
    """Axilrod-Teller-Muto: Z^3 (1 + 3 cos^3 60) / r^9, a third at each corner, 1 + cos^3 each."""
    r = 1.3
    corners = [[0.0, 0.0, 0.0], [r, 0.0, 0.0], [0.5 * r, math.sqrt(0.75) * r, 0.0]]
    descriptor = SLATM(step_theta=0.01).fit(Structures([6, 6, 6], corners, [0, 3]))
    spectrum = descriptor.transform(Structures([6, 6, 6], corners, [0, 3]))[
        0, place_of(descriptor, (6, 6, 6))
    ]
    theta = descriptor.angles_
    assert theta[spectrum.argmax()] == pytest.approx(math.pi / 3.0, abs=0.02)
    area = spectrum.sum() * (theta[1] - theta[0]) / 0.01
    # cos(theta) averages to cos(60) exp(-sigma^2 / 2) under the Gaussian.
    expected = 6.0**3 / r**9 * (1.0 + 0.125 * math.exp(-0.5 * 0.05**2))
    assert area == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("per_atom", [False, True])
def test_sides_end_at_the_cutoff(per_atom):
    """Three atoms in a row: the outer pair is out of reach, and with it the triangle."""

    def rows(spacing):
        positions = [[0.0, 0.0, k * spacing] for k in range(3)]
        chain = Structures([6, 6, 6], positions, [0, 3])
        descriptor = SLATM(per_atom, r_cut=3.0, **COARSE).fit(chain)
        features = descriptor.transform(chain)
        features = features.values if per_atom else features
        pairs, triples = (place_of(descriptor, (6,) * order) for order in (2, 3))
        return features[:, pairs].sum(axis=0), features[:, triples].sum(axis=0)

    near, far = rows(1.49), rows(1.51)
    assert near[1].any()
    assert not far[1].any()
    assert near[0][-1] > 1e3 * far[0][-1]


@pytest.mark.parametrize(
    "settings", [{}, {"sigma_r": 1.0, "sigma_theta": 0.5, "step_r": 0.1, "step_theta": 0.1}]
)
def test_nothing_is_lost_outside_of_the_windows(molecules, monkeypatch, settings):
    some = molecules[[0, 5, 13]]
    features = SLATM(**settings).fit_transform(some)
    monkeypatch.setattr(slatm, "_REACH", 1e3)
    monkeypatch.setattr(slatm, "_REACH_R", 1e3)
    everything = SLATM(**settings).fit_transform(some)
    np.testing.assert_allclose(features, everything, rtol=0.0, atol=1e-16 * np.abs(features).max())


def test_cut_tails_are_below_the_documented_height():
    assert math.exp(-0.5 * slatm._REACH**2) < 1e-17
    assert slatm._REACH_R > slatm._REACH


# -- types -----------------------------------------------------------------------------------------


def test_types_are_those_that_occur_in_one_molecule(molecules):
    water, dioxide = molecules[0], molecules[5]
    descriptor = SLATM(**COARSE).fit(Structures.concatenate([molecules[[0]], molecules[[5]]]))
    assert descriptor.types_ == [
        (1,), (6,), (8,), (1, 1), (1, 8), (6, 8), (8, 8),
        (1, 1, 8), (8, 6, 8), (1, 8, 1), (6, 8, 8),
    ]  # fmt: skip
    assert set(SLATM(**COARSE).fit(water).types_) < set(descriptor.types_)
    assert set(SLATM(**COARSE).fit(dioxide).types_) < set(descriptor.types_)
    # Types are those of the atoms that are there, wherever they are.
    apart = Structures([1, 6], [[0.0, 0.0, 0.0], [0.0, 0.0, 50.0]], [0, 2])
    assert SLATM(**COARSE).fit(apart).types_ == [(1,), (6,), (1, 6)]
    assert SLATM(**COARSE).fit(apart).transform(apart).sum() == 7.0


def test_a_new_type_is_refused_by_name_and_widened(molecules):
    descriptor = SLATM(**COARSE).fit(molecules[[0, 5]])
    said = r"structure 1 \(CH2O2\) has C-H, C-H-H, C-H-O, \.\.\., which.*KRR\(descriptor=SLATM"
    with pytest.raises(LayoutError, match=said):
        descriptor.transform(molecules[[0, 13, 10]])
    with pytest.raises(LayoutError, match=r"\(2 such structures in all\).*\['H', 'C', 'O'\]"):
        descriptor.transform(molecules[[0, 13, 10]])
    with pytest.raises(LayoutError, match=r"for all types of them$"):
        SLATM(True, **COARSE).fit(molecules[[0, 5]]).transform(molecules[[13]])
    wider, columns = descriptor.widened(molecules[[13, 10]])
    assert set(wider.types_) > set(descriptor.types_)
    names = wider.get_feature_names_out()
    assert names[columns].tolist() == descriptor.get_feature_names_out().tolist()
    again = SLATM(**COARSE).fit(molecules[[0, 5, 10, 13]])
    assert wider.types_ == again.types_
    np.testing.assert_array_equal(
        wider.transform(molecules[[10, 13]]), again.transform(molecules[[10, 13]])
    )


@pytest.mark.parametrize("per_atom", [False, True])
def test_elements_hold_everything(molecules, per_atom):
    descriptor = SLATM(per_atom, elements=["O", "C", "H", "N"], **COARSE).fit(molecules[[0]])
    assert descriptor.elements_ == (1, 6, 7, 8)
    assert len(descriptor.types_) == 4 + 10 + 4 * 10
    assert descriptor.widened(molecules)[0] is descriptor
    learnt = SLATM(per_atom, **COARSE).fit(molecules)
    widths = (1, len(descriptor.distances_), len(descriptor.angles_))
    features, wide = learnt.transform(molecules), descriptor.transform(molecules)
    if per_atom:
        features, wide = features.values, wide.values
    places = columns_of(descriptor.types_, widths)
    for members, place in columns_of(learnt.types_, widths).items():
        np.testing.assert_array_equal(wide[:, places[members]], features[:, place])
    assert np.count_nonzero(wide) == np.count_nonzero(features)
    with pytest.raises(UnknownElementError, match=r"structure 1 \(H3N\): element N"):
        SLATM(per_atom, elements=["H", "O"]).fit(molecules)


def test_names():
    water = Structures([8, 1, 1], [[0.0, 0.0, 0.0], [0.9, 0.0, 0.0], [0.0, 0.9, 0.0]], [0, 3])
    wide = {"step_r": 4.0, "step_theta": 3.0, "sigma_r": 1.0, "sigma_theta": 1.0}
    names = SLATM(**wide).fit(water).get_feature_names_out().tolist()
    assert names == [
        "H", "O", "H-H(r=0.1000)", "H-H(r=4.8000)", "H-O(r=0.1000)", "H-O(r=4.8000)",
        "H-H-O(theta=-0.3491)", "H-H-O(theta=3.4907)", "H-O-H(theta=-0.3491)",
        "H-O-H(theta=3.4907)",
    ]  # fmt: skip
    cyanide = Structures([1, 6, 7], [[0.0, 0.0, k] for k in range(3)], [0, 3])
    names = SLATM(elements=[1, 6, 7]).fit(cyanide).get_feature_names_out()
    assert {name.split("(")[0] for name in names} >= {"C-N", "H-C-N", "C-N-H", "C-H-N"}
    assert len(set(names)) == len(names)
    fine = SLATM(r_cut=0.105, step_r=1e-6, sigma_r=1e-3).fit(water).get_feature_names_out()
    assert len(set(fine)) == len(fine) > 5000


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"per_atom": 1}, "per_atom=1"),
        ({"r_cut": 0.0}, "r_cut=0.0"),
        ({"r_cut": 0.12}, "step_r=0.03 leaves less than two points between 0.1 and 0.12"),
        ({"sigma_r": -0.05}, "sigma_r=-0.05"),
        ({"sigma_theta": np.inf}, "sigma_theta=inf"),
        ({"step_r": 5.0}, "step_r=5.0 leaves less"),
        ({"step_theta": 5.0}, "step_theta=5.0 leaves less"),
        ({"step_theta": "fine"}, "step_theta='fine'"),
        ({"power": np.nan}, "power=nan"),
        ({"elements": "CHNO"}, "elements='CHNO'"),
        ({"elements": ["C", 6]}, "each of them once"),
        ({"sigma_r": 1e-12}, "sigma_r=1e-12 lets Gaussians fall between.*0.006.* step_r=0.03"),
        ({"sigma_r": 1e6}, "sigma_r=1000000.0 is wider than the whole grid, 4.7; choose a smaller"),
        ({"sigma_theta": 1e-12}, "sigma_theta=1e-12 lets .* step_theta=0.03; choose a larger"),
        ({"sigma_theta": 1e6}, "sigma_theta=1000000.0 is wider than the whole grid, 3.84"),
        ({"step_r": 1e-6}, "step_r=1e-06 makes more than 10000 points .* larger step or a smaller"),
        ({"step_r": 1e-320}, "step_r=1e-320 makes more than 10000 points"),
        ({"step_theta": 1e-6}, "step_theta=1e-06 makes more than 10000 points .* larger step$"),
        ({"r_cut": 1e6}, "step_r=0.03 makes more than 10000 points .* a smaller r_cut"),
        ({"power": 400.0}, "power=400.0; give 30 at most"),
    ],
)
def test_wrong_settings_are_named(molecules, setting, said):
    with pytest.raises(SettingError, match=said):
        SLATM(**setting).fit(molecules)
