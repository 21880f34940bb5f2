"""Torsions against the definition in plain Python, and molecules whose torsion is known."""

import itertools
import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from kernchem.descriptors import Torsions
from kernchem.errors import SettingError, UnknownElementError
from kernchem.structures import Structures, as_structures

RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 16: 1.05}


@pytest.fixture(scope="module")
def shaken():
    """Molecules without symmetry: an amide, a ring with sulphur, an ester, conjugated bonds."""
    names = ["CH3CONH2", "C4H4S", "HCOOCH3", "CCH", "CH2NHCH2", "C4H4O"]
    known = as_structures([molecule(name) for name in names])
    shift = np.random.default_rng(1).normal(0.0, 0.05, known.positions.shape)
    return Structures(known.numbers, known.positions + shift, known.offsets)


def by_definition(atoms, types, grid=(0.8, 0.89, 0.98), sigma=0.055, near=1.2, far=1.4):
    """Sum over all quadruples of different atoms, angles by their own functions."""
    numbers, positions = atoms.numbers.tolist(), np.array(atoms.positions)
    n = len(numbers)

    def length(i, j):
        return math.dist(positions[i], positions[j]) / (RADII[numbers[i]] + RADII[numbers[j]])

    def weight(i, j):
        t = (far - length(i, j)) / (far - near)
        return 0.0 if t <= 0 else 1.0 if t >= 1 else 3 * t**2 - 2 * t**3

    def functions(i, j, *, end=False):
        if end and numbers[i] == 1:
            return [weight(i, j)]
        return [weight(i, j) * math.exp(-0.5 * ((length(i, j) - x) / sigma) ** 2) for x in grid]

    def angle(i, j, k):
        u, v = positions[i] - positions[j], positions[k] - positions[j]
        return math.atan2(math.hypot(*np.cross(u, v)), u @ v)

    def torsion(i, j, k, m):
        b1, b2, b3 = (positions[b] - positions[a] for a, b in ((i, j), (j, k), (k, m)))
        n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
        return math.atan2(math.hypot(*b2) * (b1 @ n2), n1 @ n2)

    sums = dict.fromkeys(types, 0.0)
    for i, j, k, m in itertools.permutations(range(n), 4):
        members = tuple(numbers[a] for a in (i, j, k, m))
        if members not in sums or not weight(i, j) * weight(j, k) * weight(k, m):
            continue
        sines = math.sin(angle(i, j, k)) * math.sin(angle(j, k, m))
        phi = torsion(i, j, k, m)
        t = [1.0, sines * math.cos(phi), sines**2 * math.cos(2 * phi)]
        block = np.einsum(
            "a,m,b,p->ambp",
            functions(i, j, end=True),
            functions(j, k),
            functions(m, k, end=True),
            t,
        )
        sums[members] = sums[members] + block * (0.5 if members == members[::-1] else 1.0)
    widths = [9 * (1 if a == 1 else 3) * (1 if d == 1 else 3) for a, _, _, d in types]
    return np.concatenate(
        [np.broadcast_to(np.ravel(sums[t]), w) for t, w in zip(types, widths, strict=True)]
    )


def test_definition(shaken):
    descriptor = Torsions().fit(shaken)
    assert len(descriptor.types_) > 5
    expected = [by_definition(one, descriptor.types_) for one in shaken]
    np.testing.assert_allclose(descriptor.transform(shaken), expected, rtol=1e-11, atol=1e-13)


def test_other_settings(shaken):
    small = shaken[:2]
    settings = {"grid": (0.7, 1.1, 3), "sigma": 0.2, "bond_range": (0.9, 1.2)}
    descriptor = Torsions(**settings).fit(small)
    expected = [
        by_definition(one, descriptor.types_, (0.7, 0.9, 1.1), 0.2, 0.9, 1.2) for one in small
    ]
    np.testing.assert_allclose(descriptor.transform(small), expected, rtol=1e-11, atol=1e-13)


def peroxide(phi, angle=1.8, oo=1.45, oh=0.97):
    """H-O-O-H with a torsion of phi."""
    x, r = oh * math.cos(angle), oh * math.sin(angle)
    return Atoms(
        "HOOH",
        [
            (x, r, 0.0),
            (0.0, 0.0, 0.0),
            (oo, 0.0, 0.0),
            (oo - x, r * math.cos(phi), r * math.sin(phi)),
        ],
    )


@pytest.mark.parametrize("phi", [0.0, 0.4, math.pi / 2, 2.5, math.pi])
def test_one_torsion(phi):
    """One chain: everything is known."""
    features = Torsions().fit_transform([peroxide(phi)])[0].reshape(3, 3)
    lengths = np.exp(-0.5 * ((1.45 / 1.32 - np.array([0.8, 0.89, 0.98])) / 0.055) ** 2)
    s = math.sin(1.8) ** 2
    angular = [1.0, s * math.cos(phi), s**2 * math.cos(2 * phi)]
    np.testing.assert_allclose(features, np.outer(lengths, angular), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(
        Torsions().fit_transform([peroxide(-phi)])[0].reshape(3, 3), features
    )


def test_straight_chains_are_smooth():
    """Acetylene has no torsion: only the count of its chain is there, and near it nothing jumps."""
    descriptor = Torsions().fit([molecule("C2H2")])
    straight = molecule("C2H2")
    features = descriptor.transform([straight])[0]
    assert features[0] > 0.5
    np.testing.assert_allclose(features.reshape(3, 3)[:, 1:], 0.0, atol=1e-15)
    straight.positions[2, 0] += 1e-6
    np.testing.assert_allclose(descriptor.transform([straight])[0], features, atol=1e-10)


@pytest.mark.parametrize("edge", [1.2, 1.4])
def test_bonds_fade_out(edge):
    """Values and slopes on both sides of the ends of the range agree."""
    descriptor = Torsions(sigma=5.0).fit([peroxide(1.0)])
    r = edge * 1.32
    step = 1e-5
    below, at, above = descriptor.transform([peroxide(1.0, oo=r + d) for d in (-step, 0.0, step)])
    np.testing.assert_allclose(above - at, at - below, atol=1e-8)
    if edge == 1.4:
        assert not above.any()


def test_a_ring_of_three_has_no_chain_back_to_its_start():
    """In cyclopropane each C-C bond joins hydrogens only: C-C-C-C does not occur."""
    descriptor = Torsions().fit([molecule("C3H6_D3h")])
    assert (6, 6, 6, 6) not in descriptor.types_
    assert (1, 6, 6, 6) in descriptor.types_


def test_types_are_in_one_direction_and_in_order():
    descriptor = Torsions().fit([molecule("CH3CONH2")])
    assert descriptor.types_ == sorted(descriptor.types_)
    assert all(members <= members[::-1] for members in descriptor.types_)
    assert (8, 6, 7, 1) not in descriptor.types_
    assert (1, 7, 6, 8) in descriptor.types_
    names = descriptor.get_feature_names_out()
    assert len(names) == len(set(names)) == descriptor.n_features_out_
    first = descriptor.types_.index((1, 6, 6, 7))
    place = sum(descriptor._widths()[:first])
    # The length of the bond to hydrogen does not count.
    assert names[place] == "H-C-C-N[*,0,0](cos 0 phi)"
    assert names[place + 26] == "H-C-C-N[*,2,2](cos 2 phi)"


def test_chains_that_were_absent_do_not_count():
    known = molecule("C2H6")
    descriptor = Torsions(elements=["H", "C", "O"]).fit([known])
    assert descriptor.types_ == [(1, 6, 6, 1)]
    assert not descriptor.transform([peroxide(1.0)]).any()
    with pytest.raises(UnknownElementError, match="structure 0"):
        descriptor.transform([molecule("N2")])


def test_without_chains():
    descriptor = Torsions().fit([molecule("CH4")])
    assert descriptor.types_ == []
    # Butane has all types of chains of these elements, of which none was there in fit.
    features = descriptor.transform([molecule("CH4"), molecule("trans-butane")])
    np.testing.assert_array_equal(features, np.zeros((2, 1)))
    assert descriptor.get_feature_names_out().tolist() == ["no chain"]


def test_radii_of_ones_own():
    long = as_structures([peroxide(1.0, oo=2.5)])
    assert Torsions().fit(long).types_ == []
    assert Torsions(radii={"O": 1.2}, bond_range=(1.2, 1.5)).fit(long).types_ == [(1, 8, 8, 1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"sigma": 1e-9}, "sigma=1e-09"),
        ({"grid": (0.8, 0.98)}, "is no grid"),
        ({"grid": (0.98, 0.8, 3)}, "is no grid"),
        ({"grid": (0.8, 0.98, 51)}, "2 to 50 points"),
        ({"bond_range": (1.4, 1.2)}, "bond_range"),
        ({"bond_range": 1.3}, "bond_range"),
        ({"radii": {"C": -1.0}}, "radii"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(SettingError, match=message):
        Torsions(**settings).fit([molecule("C2H6")])


def test_elements_without_a_radius():
    unknown = Atoms(["Og", "H"], [(0.0, 0.0, 0.0), (0.0, 0.0, 2.0)])
    with pytest.raises(SettingError, match="no covalent radius of Og"):
        Torsions().fit([unknown])
    assert Torsions(radii={"Og": 1.5}).fit([unknown]).n_features_out_ == 1
