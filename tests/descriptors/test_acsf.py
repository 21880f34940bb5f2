"""Symmetry functions against the formulas, DScribe, closed forms and known sums."""

import itertools
import math

import numpy as np
import pytest

from kernchem.descriptors import ACSF, WACSF, acsf_jit
from kernchem.descriptors.symmetry_functions import angular_set, radial_set
from kernchem.errors import SettingError, UnknownElementError
from kernchem.structures import Structures

G2 = [(0.05, 0.0), (4.0, 1.5), (0.3, 3.0)]
G3 = [0.5, 1.5]
G4 = [(0.005, 1.0, 1.0), (0.05, 2.0, -1.0), (0.3, 4.0, 1.0), (0.05, 1.0, 0.5), (0.3, 2.5, -1.0)]
G5 = [(0.1, 3.0, -1.0), (0.05, 1.5, 1.0)]
SHIFTED = [(0.4, 1.0, 1.0, 0.7), (0.4, 3.0, -1.0, 1.2)]


# -- the formulas in plain Python ------------------------------------------------------------------


def cosine(r, r_cut):
    return 0.5 * (math.cos(math.pi * r / r_cut) + 1.0) if r < r_cut else 0.0


def hyperbolic(r, r_cut):
    return math.tanh(1.0 - r / r_cut) ** 3 if r < r_cut else 0.0


def radial_sum(function, positions, i, weights, r_cut, cutoff):
    """The weighted sum of a function of the distance over neighbours of atom i."""
    total = []
    for j, weight in weights.items():
        r = math.dist(positions[i], positions[j])
        total.append(weight * function(r) * cutoff(r, r_cut))
    return math.fsum(total)


def angular_sum(row, positions, i, pairs, r_cut, cutoff, far_side):
    """The sum over weighted pairs of neighbours of atom i, far side of the triangle included."""
    eta, zeta, sign, shift = (*row, 0.0)[:4]
    total = []
    for j, k, weight in pairs:
        r_ij, r_ik, r_jk = (
            math.dist(positions[a], positions[b]) for a, b in ((i, j), (i, k), (j, k))
        )
        angle = (r_ij**2 + r_ik**2 - r_jk**2) / (2.0 * r_ij * r_ik)
        sides = (r_ij, r_ik, r_jk) if far_side else (r_ij, r_ik)
        term = weight * max(1.0 + sign * angle, 0.0) ** zeta
        for r in sides:
            term *= math.exp(-eta * (r - shift) ** 2) * cutoff(r, r_cut)
        total.append(term)
    return 2.0 ** (1.0 - zeta) * math.fsum(total)


def expected_acsf(structures, elements, g2=(), g3=(), g4=(), g5=(), r_cut=6.0, cutoff=cosine):
    """Rows of atoms, columns in DScribe's order."""
    functions = [lambda _: 1.0]
    functions += [lambda r, e=eta, s=shift: math.exp(-e * (r - s) ** 2) for eta, shift in g2]
    functions += [lambda r, k=kappa: math.cos(k * r) for kappa in g3]
    rows = []
    for m in structures:
        atoms = range(len(m.numbers))
        for i in atoms:
            row = []
            for z in elements:
                weights = {j: 1.0 for j in atoms if j != i and m.numbers[j] == z}
                row += [radial_sum(f, m.positions, i, weights, r_cut, cutoff) for f in functions]
            for b, second in enumerate(elements):
                for first in elements[: b + 1]:
                    wanted = sorted((first, second))
                    pairs = [
                        (j, k, 1.0)
                        for j, k in itertools.combinations([a for a in atoms if a != i], 2)
                        if sorted((m.numbers[j], m.numbers[k])) == wanted
                    ]
                    for rows_, far_side in ((g4, True), (g5, False)):
                        row += [
                            angular_sum(r, m.positions, i, pairs, r_cut, cutoff, far_side)
                            for r in rows_
                        ]
            rows.append(row)
    return rows


def expected_wacsf(structures, weight_of, radial, angular, r_cut, cutoff=cosine):
    rows = []
    for m in structures:
        for i in range(len(m.numbers)):
            weights = {j: weight_of(z) for j, z in enumerate(m.numbers) if j != i}
            pairs = [(j, k, weights[j] * weights[k]) for j, k in itertools.combinations(weights, 2)]
            rows.append([
                radial_sum(
                    lambda r, e=eta, s=shift: math.exp(-e * (r - s) ** 2),
                    m.positions, i, weights, r_cut, cutoff,
                )
                for eta, shift in radial
            ] + [
                angular_sum(row, m.positions, i, pairs, r_cut, cutoff, True) for row in angular
            ])  # fmt: skip
    return rows


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-13)


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cutoff"), [("cosine", cosine), ("tanh", hyperbolic)])
@pytest.mark.parametrize("r_cut", [6.0, 2.0])
def test_acsf_is_the_formula(molecules, name, cutoff, r_cut):
    some = molecules[[0, 3, 13]]
    descriptor = ACSF(r_cut, g2=G2, g3=G3, g4=[*G4, (0.0, 1.0, -1.0)], g5=G5, cutoff=name)
    expected = expected_acsf(some, (1, 6, 7, 8), G2, G3, [*G4, (0.0, 1.0, -1.0)], G5, r_cut, cutoff)
    assert_close(descriptor.fit_transform(some).values, expected)


def test_angular_gaussians_may_be_shifted(molecules):
    some = molecules[[2, 13]]
    features = ACSF(4.0, g2=None, g4=SHIFTED, g5=SHIFTED).fit_transform(some).values
    expected = expected_acsf(some, (1, 6, 8), g4=SHIFTED, g5=SHIFTED, r_cut=4.0)
    assert_close(features, expected)


@pytest.mark.parametrize(("name", "cutoff"), [("cosine", cosine), ("tanh", hyperbolic)])
def test_wacsf_is_the_formula(molecules, name, cutoff):
    some, angular = molecules[[0, 3, 13]], [(*row, 0.0) for row in G4] + SHIFTED
    for weights, weight_of in (
        ("number", float),
        ("one", lambda _: 1.0),
        ({"C": 2.55, "O": -1.0}, lambda z: {6: 2.55, 8: -1.0}.get(z, float(z))),
    ):
        descriptor = WACSF(3.0, radial=G2, angular=angular, weights=weights, cutoff=name)
        expected = expected_wacsf(some, weight_of, G2, angular, 3.0, cutoff)
        assert_close(descriptor.fit_transform(some).values, expected)


def test_columns_and_values_are_those_of_dscribe(molecules):
    peer = pytest.importorskip("dscribe.descriptors")
    some = molecules[[2, 12, 13]]
    species = ["C", "H", "N", "O", "S"]
    g4, g5 = G4[:3], G5[:1]
    theirs = peer.ACSF(
        species=species, r_cut=3.0, g2_params=G2, g3_params=G3, g4_params=g4, g5_params=g5
    )
    ours = ACSF(3.0, g2=G2, g3=G3, g4=g4, g5=g5, species=species).fit(some)
    expected = np.concatenate([theirs.create(atoms) for atoms in some.to_ase()])
    assert ours.n_features_out_ == theirs.get_number_of_features()
    assert_close(ours.transform(some).values, expected)


@pytest.mark.slow
def test_stored_values_of_dscribe(reference_data):
    with np.load(reference_data / "oracles" / "dscribe_acsf_soap.npz") as data:
        structures = Structures.from_arrays(list(data["Z"]), list(data["R"]))
        parameters = {name: data[f"{name}_params"] for name in ("g2", "g3", "g4", "g5")}
        descriptor = ACSF(
            float(data["r_cut"]), species=[str(name) for name in data["species"]], **parameters
        )
        features = descriptor.fit_transform(structures)
        np.testing.assert_allclose(features.values, data["acsf"], rtol=1e-12, atol=1e-13)


def test_wacsf_sums_acsf(molecules):
    """The weighted functions are those of the elements, times their weights."""
    some = molecules[10:]
    wide = ACSF(5.0, g2=G2, g4=G4).fit(some)
    narrow = WACSF(5.0, radial=G2, angular=G4, weights={"H": 0.5}).fit(some)
    z = [0.5, *wide.elements_[1:]]
    n = len(z)
    resolved = wide.transform(some).values
    radial = resolved[:, : n * (1 + len(G2))].reshape(-1, n, 1 + len(G2))[:, :, 1:]
    angular = resolved[:, n * (1 + len(G2)) :].reshape(-1, n * (n + 1) // 2, len(G4))
    products = [z[a] * z[b] for b in range(n) for a in range(b + 1)]
    expected = np.hstack([
        np.einsum("ikg,k->ig", radial, z), np.einsum("ipg,p->ig", angular, products)
    ])  # fmt: skip
    np.testing.assert_allclose(narrow.transform(some).values, expected, rtol=1e-12, atol=1e-13)


def test_three_atoms_in_a_line():
    """Angles of 0 and pi, where 1 + lambda cos is zero but for rounding."""
    line = Structures([6, 6, 6], [[0.0, 0.0, 0.0], [0.3, 0.4, 1.2], [-0.6, -0.8, -2.4]], [0, 3])
    rows = [(0.0, 1.5, 1.0), (0.0, 1.5, -1.0), (0.0, 2.0, -1.0)]
    features = ACSF(5.0, g2=None, g4=rows).fit_transform(line).values[:, 1:]
    decay = cosine(1.3, 5.0) * cosine(2.6, 5.0) * cosine(3.9, 5.0)
    # Each is 2 decay where its cosine is lambda, and nothing otherwise.
    expected = 2.0 * decay * np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(features, expected, rtol=1e-12, atol=1e-15)


def test_many_triples_fill_several_buffers():
    """A cluster: the sum over triples of one pair of elements is longer than the buffer."""
    rng = np.random.default_rng(3)
    n = 26
    assert (n - 1) * (n - 2) // 2 > acsf_jit._CHUNK
    positions = rng.uniform(-2.0, 2.0, size=(n, 3))
    cluster = Structures(np.full(n, 6), positions, [0, n])
    features = ACSF(20.0, g2=None, g4=None, g5=[(0.0, 1.0, 1.0)]).fit_transform(cluster).values
    decays = np.array([[cosine(math.dist(a, b), 20.0) for b in positions] for a in positions])
    for i in range(n):
        others = np.delete(np.arange(n), i)
        d = positions[others] - positions[i]
        d /= np.linalg.norm(d, axis=1)[:, None]
        terms = (1.0 + d @ d.T) * np.outer(decays[i, others], decays[i, others])
        assert features[i, 1] == pytest.approx(np.triu(terms, 1).sum(), rel=1e-12)


def test_atoms_beyond_the_cutoff_do_not_count(molecules):
    a, b = molecules[2], molecules[0]
    both = Structures(
        np.concatenate([a.numbers, b.numbers]),
        np.concatenate([a.positions, b.positions + 7.0]),
        [0, len(a.numbers) + len(b.numbers)],
    )
    for descriptor in (ACSF(5.0, g3=G3, g5=G5), WACSF(5.0)):
        descriptor.fit(both)
        apart = np.concatenate([descriptor.transform(m).values for m in (a, b)])
        assert_close(descriptor.transform(both).values, apart)
    far = Structures([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1e160]], [0, 2])
    assert (ACSF().fit_transform(far).values == 0.0).all()


@pytest.mark.parametrize("cutoff", ["cosine", "tanh"])
@pytest.mark.parametrize("descriptor", [ACSF, WACSF])
def test_nothing_jumps_at_the_cutoff(descriptor, cutoff):
    """Over an atom that leaves, values and first differences are continuous."""
    r_cut, h = 3.0, 1e-4
    distances = r_cut + h * np.arange(-20, 21)
    triples = Structures.from_arrays(
        [[6, 1, 8]] * len(distances),
        [[[0.0, 0.0, 0.0], [1.0, 0.2, 0.0], [0.0, 0.0, r]] for r in distances],
    )
    features = descriptor(r_cut, cutoff=cutoff).fit_transform(triples).values
    steps = np.diff(features.reshape(len(distances), -1), axis=0)
    # A jump would be far above h, a kink far above h^2; weights are 48 at most.
    assert np.abs(steps).max() < 100.0 * h
    assert np.abs(np.diff(steps, axis=0)).max() < 1000.0 * h**2


# -- ready sets ------------------------------------------------------------------------------------


def test_ready_sets_are_the_published_ones():
    """The sets of Gastegger et al. for 8 angstrom, as their supporting information prints them."""
    shifted = radial_set("shifted", 8.0)
    assert shifted.shape == (22, 2)
    np.testing.assert_allclose(shifted[:, 0], 4.5, rtol=1e-12)
    np.testing.assert_allclose(shifted[[0, 1, 2, -2, -1], 1],
                               [0.5, 0.8333, 1.1667, 7.1667, 7.5], atol=5e-5)  # fmt: skip
    published = [0.5, 0.1685744, 0.0836777, 0.0498615, 0.0330612]
    centred = radial_set("centred", 8.0)
    assert centred.shape == (10, 2)
    np.testing.assert_allclose(centred[:5, 0], published, atol=5e-8)
    assert (centred[:, 1] == 0.0).all()
    angular = angular_set(8.0, n=10, zetas=(1,))
    np.testing.assert_allclose(angular[:10:2, 0], published, atol=5e-8)
    assert [tuple(row) for row in angular[:2, 1:]] == [(1.0, 1.0), (1.0, -1.0)]


def test_defaults_are_the_ready_sets(molecules):
    some = molecules[[0, 13]]
    for kind in ("shifted", "centred"):
        given = ACSF(5.0, g2=radial_set(kind, 5.0), g4=angular_set(5.0), g5=angular_set(5.0))
        named = ACSF(5.0, g2=kind, g5="centred")
        expected = given.fit_transform(some).values
        np.testing.assert_array_equal(named.fit_transform(some).values, expected)
    np.testing.assert_array_equal(
        WACSF(5.0).fit_transform(some).values,
        WACSF(5.0, radial=radial_set("shifted", 5.0), angular=angular_set(5.0))
        .fit_transform(some)
        .values,
    )
    assert len(radial_set("shifted", 5.0, n=7)) == len(radial_set("centred", 5.0, n=7)) == 7
    with pytest.raises(SettingError, match="'even'"):
        radial_set("even", 5.0)


# -- layout and settings ---------------------------------------------------------------------------


def test_species_fix_the_layout(molecules):
    by_symbol = ACSF(species=["S", "H", "C", "O"]).fit(molecules[[0, 2]])
    by_number = ACSF(species=[1, 6, 8, 16]).fit(molecules[[4]])
    assert by_symbol.elements_ == by_number.elements_ == (1, 6, 8, 16)
    np.testing.assert_array_equal(
        by_symbol.transform(molecules[:1]).values, by_number.transform(molecules[:1]).values
    )
    with pytest.raises(UnknownElementError, match=r"structure 1 \(H3N\): element N"):
        ACSF(species=["H", "O"]).fit(molecules)


def test_names(molecules):
    descriptor = ACSF(g2=G2[:1], g3=G3[:1], g4=G4[:1], g5=G5[:2]).fit(molecules[:1])
    assert descriptor.get_feature_names_out().tolist() == [
        "H:G1", "H:G2[0]", "H:G3[0]", "O:G1", "O:G2[0]", "O:G3[0]",
        "H-H:G4[0]", "H-H:G5[0]", "H-H:G5[1]", "H-O:G4[0]", "H-O:G5[0]", "H-O:G5[1]",
        "O-O:G4[0]", "O-O:G5[0]", "O-O:G5[1]",
    ]  # fmt: skip
    descriptor = WACSF(radial=G2[:1], angular=G4[:2]).fit(molecules[:1])
    names = descriptor.get_feature_names_out().tolist()
    assert names == ["radial[0]", "angular[0]", "angular[1]"]


def test_functions_may_be_left_out(molecules):
    assert ACSF(g2=None, g4=None).fit_transform(molecules[:1]).n_features == 2
    assert ACSF(g2=[], g3=[], g4=[], g5=[]).fit_transform(molecules[:1]).n_features == 2
    assert WACSF(radial=G2, angular=None).fit_transform(molecules[:1]).n_features == 3
    with pytest.raises(SettingError, match="neither radial nor angular"):
        WACSF(radial=None, angular=None).fit(molecules)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"r_cut": 0.0}, "r_cut=0.0"),
        ({"r_cut": "6"}, "r_cut='6'"),
        ({"r_cut": 1.9}, r"r_cut=1.9 is too short .*at least 2"),
        ({"cutoff": "poly"}, "cutoff='poly'"),
        ({"g2": "even"}, "g2='even' is no ready set; choose 'shifted'"),
        ({"g2": [(1.0, 0.0, 0.0)]}, "g2=.* is no list of rows"),
        ({"g2": [(1.0, 0.0), (1.0,)]}, "g2=.* is no list of rows"),
        ({"g2": [(1.0, np.nan)]}, "g2=.* is no list of rows"),
        ({"g2": [(1.0, 0.0), (-1.0, 0.0)]}, r"g2\[1\]=\(-1.0, 0.0\): eta"),
        ({"g3": 0.5}, "g3=0.5 is no list of numbers"),
        ({"g3": "abc"}, "g3='abc' is no list of numbers"),
        ({"g4": "shifted"}, "g4='shifted' is no ready set"),
        ({"g4": [(1.0, 1.0)]}, "g4=.* is no list of rows"),
        ({"g4": [(-0.1, 1.0, 1.0)]}, r"g4\[0\].*: eta"),
        ({"g5": [(0.1, 0.0, 1.0)]}, r"g5\[0\].*: zeta"),
        ({"g5": [(0.1, 1.0, 1.5)]}, r"g5\[0\].*: lambda"),
        ({"species": "CHNO"}, "species='CHNO'"),
        ({"species": []}, "at least one"),
        ({"species": ["C", 6]}, "each of them once"),
        ({"species": ["Xx"]}, "species: 'Xx'"),
        ({"r_cut": 1e6}, "r_cut=1000000.0 makes a ready set of more than 1000 functions"),
        ({"g2": [(1e12, 1.0)]}, r"g2\[0\].*: eta must lie from 0 to 10000, in 1/angstrom\^2"),
        ({"g2": [(1.0, 50.0)]}, r"g2\[0\].*: r_s must not be beyond twice r_cut=6.0"),
        ({"g4": [(1e12, 1.0, 1.0)]}, r"g4\[0\].*: eta must lie"),
        ({"g5": [(1.0, 1.0, 1.0, -50.0)]}, r"g5\[0\].*: r_s must not"),
        ({"g4": [(0.1, 1e6, 1.0)]}, r"g4\[0\].*: zeta must be above 0, and 500 at most"),
        ({"g2": [["1", "2"]]}, "g2=.*is no list of rows"),
        ({"g3": np.array([0.5 + 1j])}, "g3=.*is no list of numbers"),
        ({"g3": [True]}, "g3=.*is no list of numbers"),
        ({"g2": [[1.0], [1.0, 2.0]]}, "g2=.*is no list of rows"),
        ({"cutoff": ["tanh"]}, "cutoff=.'tanh'"),
        ({"cutoff": np.array(["tanh"])}, "cutoff=array"),
    ],
)
def test_wrong_settings_of_acsf_are_named(molecules, setting, said):
    with pytest.raises(SettingError, match=said):
        ACSF(**setting).fit(molecules)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"r_cut": -1.0}, "r_cut=-1.0"),
        ({"cutoff": 3}, "cutoff=3"),
        ({"radial": "even"}, "radial='even'"),
        ({"angular": [(0.1, 0.0, 1.0)]}, r"angular\[0\].*: zeta"),
        ({"weights": "mass"}, "weights='mass'"),
        ({"weights": 2.0}, "weights=2.0"),
        ({"weights": {"C": "a"}}, r"weights\['C'\]='a'"),
        ({"weights": {"C": np.inf}}, r"weights\['C'\]=inf"),
        ({"weights": {"C": True}}, r"weights\['C'\]=True"),
        ({"weights": {"Xx": 1.0}}, "weights: 'Xx'"),
        ({"radial": [(1e12, 0.0)]}, r"radial\[0\].*: eta must lie"),
    ],
)
def test_wrong_settings_of_wacsf_are_named(molecules, setting, said):
    with pytest.raises(SettingError, match=said):
        WACSF(**setting).fit(molecules)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: radial_set("shifted", 6.0, 1), "n=1 is no number.* from 2 to 1000"),
        (lambda: radial_set("centred", 6.0, -1), "n=-1"),
        (lambda: radial_set("centred", 6.0, 2.5), "n=2.5"),
        (lambda: radial_set("shifted", 6.0, 2000), "n=2000"),
        (lambda: radial_set("shifted", np.nan), "r_cut=nan"),
        (lambda: radial_set("centred", "6"), "r_cut='6'"),
        (lambda: angular_set(np.inf), "r_cut=inf"),
        (lambda: angular_set(6.0, 0), "n=0 is no number.* from 1 to 1000"),
    ],
)
def test_sets_that_make_no_sense_are_refused(call, said):
    with pytest.raises(SettingError, match=said):
        call()
