"""Encoded bonds against the formula, with bonds counted by Floyd and Warshall."""

import naive
import numpy as np
import pytest

from kernchem.descriptors import EncodedBonds, encoded_bonds_jit
from kernchem.elements import atomic_number, covalent_radii
from kernchem.errors import SettingError, UnknownElementError
from kernchem.structures import Structures


def expected_features(structures, names, thetas, sigma, max_bonds, radii, bond_factor):
    rows = []
    for m in structures:
        steps = naive.bonds_between(m.numbers, m.positions, radii, bond_factor)
        row = []
        for name in names:
            pair = [atomic_number(symbol) for symbol in name.split("-")]
            row += naive.encoded_bonds(
                m.numbers, m.positions, pair, thetas, sigma, steps, max_bonds
            )
        rows.append(row)
    return rows


@pytest.mark.parametrize("max_bonds", [None, 1, 2, 3])
def test_is_the_formula(molecules, max_bonds):
    descriptor = EncodedBonds(max_bonds).fit(molecules[7:])
    thetas = np.linspace(0.2, 6.0, 100)
    expected = expected_features(
        molecules[7:], descriptor.pairs_, thetas, 0.05, max_bonds, covalent_radii(), 1.3
    )
    features = descriptor.transform(molecules[7:])
    np.testing.assert_allclose(features, expected, rtol=1e-10, atol=1e-15)


def test_settings_are_those_of_the_formula(molecules):
    some = molecules[[2, 8, 15]]
    settings = {"sigma": 0.3, "grid": (0.0, 2.0, 17), "bond_factor": 1.1}
    radii = covalent_radii().copy()
    radii[6], radii[1] = 0.75, 0.1  # no bonds to hydrogen
    descriptor = EncodedBonds(2, radii={"C": 0.75, "H": 0.1}, **settings).fit(some)
    thetas = np.linspace(0.0, 2.0, 17)
    np.testing.assert_array_equal(descriptor.grid_, thetas)
    expected = expected_features(some, descriptor.pairs_, thetas, 0.3, 2, radii, 1.1)
    features = descriptor.transform(some)
    np.testing.assert_allclose(features, expected, rtol=1e-10, atol=1e-15)
    usual = EncodedBonds(2, **settings).fit_transform(some)
    assert not np.allclose(usual, features)


def chain(n, spacing=1.5):
    positions = np.zeros((n, 3))
    positions[:, 0] = spacing * np.arange(n)
    return Structures(np.full(n, 6), positions, [0, n])


@pytest.mark.parametrize("max_bonds", [1, 2, 3, 7, None])
def test_chain_has_known_numbers_of_pairs(max_bonds):
    """n atoms in a row have n - k pairs that are k bonds apart."""
    n, spacing = 9, 1.5
    descriptor = EncodedBonds(max_bonds, grid=(spacing, spacing * (n - 1), n - 1), sigma=0.16)
    farthest = n - 1 if max_bonds is None else max_bonds
    expected = [n - k if k <= farthest else 0 for k in range(1, n)]
    features = descriptor.fit_transform(chain(n, spacing))
    np.testing.assert_allclose(features, [expected], rtol=1e-12, atol=1e-15)


def test_rings_take_the_shorter_way():
    from ase.build import molecule

    benzene = molecule("C6H6")
    carbons = benzene[[atom.index for atom in benzene if atom.symbol == "C"]]
    r = carbons.get_distance(0, 1)
    # Regular hexagon: 6 pairs at r, 6 at sqrt(3) r, 3 at 2 r; those are 1, 2 and 3 bonds apart.
    for max_bonds, counts in ((1, (6, 0, 0)), (2, (6, 6, 0)), (3, (6, 6, 3))):
        for distance, count in zip((r, np.sqrt(3.0) * r, 2.0 * r), counts, strict=True):
            descriptor = EncodedBonds(max_bonds, grid=(distance, distance + 0.1, 2), sigma=0.02)
            assert descriptor.fit_transform(carbons)[0, 0] == pytest.approx(count, abs=1e-4)


def test_fragments_are_no_bonds_apart(molecules):
    """Two molecules far from each other give the sum of both under max_bonds, and more without."""
    a, b = molecules[0], molecules[2]
    both = Structures(
        np.concatenate([a.numbers, b.numbers]),
        np.concatenate([a.positions, b.positions + 4.0]),
        [0, len(a.numbers) + len(b.numbers)],
    )
    for max_bonds, same in ((50, True), (None, False)):
        descriptor = EncodedBonds(max_bonds).fit(both)
        total = descriptor.transform(molecules[[0, 2]]).sum(axis=0)
        assert np.allclose(descriptor.transform(both)[0], total, rtol=1e-10, atol=1e-15) == same


def test_crowded_atoms_have_room_for_their_bonds():
    """More bonds than the list of partners has room for at first."""
    n = 24
    positions = np.random.default_rng(2).uniform(0.0, 20.0, size=(n, 3))
    dense = Structures(np.full(n, 6), positions, [0, n])
    everything = EncodedBonds().fit_transform(dense)
    np.testing.assert_array_equal(EncodedBonds(1, bond_factor=1000.0).fit_transform(dense),
                                  everything)  # fmt: skip


def test_far_pairs_do_not_count():
    far = Structures([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1e150]], [0, 2])
    assert (EncodedBonds().fit_transform(far) == 0).all()
    beyond = Structures([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 6.1]], [0, 2])
    last = EncodedBonds().fit_transform(beyond)[0, -1]
    assert last == pytest.approx(np.exp(-0.5 * (0.1 / 0.05) ** 2), rel=1e-10)


def test_cut_tails_are_below_the_documented_height():
    assert np.exp(-0.5 * encoded_bonds_jit._REACH**2) < 1e-17


def test_more_bonds_than_there_are_join_whole_molecules(molecules):
    features = EncodedBonds(10**20).fit_transform(molecules)
    np.testing.assert_allclose(features, EncodedBonds().fit_transform(molecules), rtol=1e-12)


def test_elements_fix_the_layout(molecules):
    by_symbol = EncodedBonds(elements=["S", "H", "C", "O"]).fit(molecules[[0, 2]])
    by_number = EncodedBonds(elements=[1, 6, 8, 16]).fit(molecules[[4]])
    assert by_symbol.elements_ == by_number.elements_ == (1, 6, 8, 16)
    assert by_symbol.pairs_[:5] == ["H-H", "C-H", "H-O", "H-S", "C-C"]
    np.testing.assert_array_equal(
        by_symbol.transform(molecules[:1]), by_number.transform(molecules[:1])
    )
    with pytest.raises(UnknownElementError, match=r"structure 1 \(H3N\): element N"):
        EncodedBonds(elements=["H", "O"]).fit(molecules)


def test_unknown_radius_is_named():
    berkelium = Structures([97, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]], [0, 2])
    with pytest.raises(SettingError, match="radius of Bk"):
        EncodedBonds(3).fit(berkelium)
    EncodedBonds().fit(berkelium)
    features = EncodedBonds(3, radii={"Bk": 1.7}).fit_transform(berkelium)
    assert features.sum() > 1.0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"max_bonds": 0}, "max_bonds=0"),
        ({"max_bonds": 1.5}, "max_bonds=1.5"),
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"sigma": 1e-170}, "sigma=1e-170 lets Gaussians fall between"),
        ({"sigma": 1e-3}, "it must be 0.0059 angstrom or more with grid=.0.2, 6.0, 100.; choose"),
        ({"grid": (False, 6.0, 100)}, "grid="),
        ({"grid": (np.zeros(2), 6.0, 100)}, "grid="),
        ({"bond_factor": np.inf}, "bond_factor=inf"),
        ({"grid": (0.2, 6.0)}, "grid="),
        ({"grid": (6.0, 0.2, 100)}, "grid="),
        ({"grid": (0.2, 6.0, 1)}, "grid="),
        ({"grid": 100}, "grid=100"),
        ({"grid": ("a", 6.0, 10)}, "grid="),
        ({"elements": "CHNO"}, "elements='CHNO'"),
        ({"elements": []}, "at least one"),
        ({"elements": ["C", 6]}, "each of them once"),
        ({"elements": ["Xx"]}, "elements: 'Xx'"),
        ({"elements": [0]}, "elements holds 0"),
        ({"elements": [119]}, "elements: 119"),
        ({"radii": 0.7}, "radii=0.7"),
        ({"radii": {"C": -0.7}}, r"radii\['C'\]=-0.7"),
        ({"radii": {"Xx": 0.7}}, "radii: 'Xx'"),
    ],
)
def test_wrong_settings_are_named(molecules, setting, said):
    with pytest.raises(SettingError, match=said):
        EncodedBonds(**setting).fit(molecules)


def test_names(molecules):
    descriptor = EncodedBonds(grid=(1.0, 2.0, 2), sigma=0.1).fit(molecules[:1])
    assert descriptor.get_feature_names_out().tolist() == [
        "H-H[0]", "H-H[1]", "H-O[0]", "H-O[1]", "O-O[0]", "O-O[1]",
    ]  # fmt: skip
