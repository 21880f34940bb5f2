"""Bag of bonds against the formula and another package."""

import naive
import numpy as np
import pytest

from kernchem.descriptors import BagOfBonds, bags_jit
from kernchem.elements import atomic_number
from kernchem.errors import LayoutError, SettingError, UnknownElementError
from kernchem.structures import Structures


def columns_by_bag(descriptor):
    """Columns of each bag, by its sorted tuple of atomic numbers."""
    columns, start = {}, 0
    for name, size in descriptor.bags_.items():
        numbers = tuple(sorted(atomic_number(symbol) for symbol in name.split("-")))
        columns[numbers] = slice(start, start + size)
        start += size
    assert start == descriptor.n_features_out_
    return columns


def padded(values, size):
    return list(values) + [0.0] * (size - len(values))


def assert_is_the_formula(descriptor, structures):
    features = descriptor.transform(structures)
    columns = columns_by_bag(descriptor)
    for m, row in zip(structures, features, strict=True):
        expected = naive.bag_of_bonds(m.numbers, m.positions)
        assert set(expected) <= set(columns)
        for name, place in columns.items():
            values = padded(expected.get(name, []), place.stop - place.start)
            np.testing.assert_allclose(row[place], values, rtol=1e-10)


def test_is_the_formula(molecules):
    assert_is_the_formula(BagOfBonds().fit(molecules), molecules)
    assert_is_the_formula(
        BagOfBonds(bags={"C": 3, "H": 7, "N": 2, "O": 2, "HC": 15}).fit(molecules), molecules
    )


def test_bags_are_as_large_as_the_fullest_molecule(molecules):
    descriptor = BagOfBonds().fit(molecules)
    columns = columns_by_bag(descriptor)
    counts = [
        {name: len(values) for name, values in naive.bag_of_bonds(m.numbers, m.positions).items()}
        for m in molecules
    ]
    for name, place in columns.items():
        assert place.stop - place.start == max(count.get(name, 0) for count in counts)
    # C2H6 fills C-H with 12, CH3NH2 (H5, N) H-N with 5; no molecule holds N and O.
    assert descriptor.bags_["C-H"] == 12
    assert descriptor.bags_["H-N"] == 5
    assert descriptor.bags_["N-O"] == 0


def test_pairs_that_were_not_given_follow_from_the_elements():
    methane = Structures([6, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]], [0, 2])
    descriptor = BagOfBonds(bags={"Cl": 2, "C": 7, "H": 16, "CCl": 9}).fit(methane)
    assert descriptor.bags_ == {
        "H": 16, "C": 7, "Cl": 2,
        "H-H": 120, "C-H": 112, "Cl-H": 32, "C-C": 21, "C-Cl": 9, "Cl-Cl": 1,
    }  # fmt: skip
    assert descriptor.elements_ == (1, 6, 17)


@pytest.mark.parametrize(
    ("bags", "said"),
    [
        ({}, "no mapping"),
        ([("C", 1)], "no mapping"),
        ({"C": 0}, r"bags\['C'\]=0"),
        ({"C": 1.5}, r"bags\['C'\]=1.5"),
        ({"C": 2, "CC": -1}, r"bags\['CC'\]=-1"),
        ({"c": 2}, "key 'c'"),
        ({"CHO": 2}, "key 'CHO'"),
        ({6: 2}, "key 6"),
        ({"Xx": 2}, "key 'Xx'"),
        ({"C": 2, "C-Xx": 2}, "key 'C-Xx'"),
        ({"C": 2, "CH": 2}, "add 'H'"),
        ({"C": 2, "H": 2, "CH": 2, "H-C": 2}, "pair C-H twice"),
    ],
)
def test_wrong_bags_are_named(molecules, bags, said):
    with pytest.raises(SettingError, match=said):
        BagOfBonds(bags=bags).fit(molecules)


def test_symbols_of_two_letters_are_no_pair():
    cobalt = Structures([27], [[0.0, 0.0, 0.0]], [0, 1])
    assert BagOfBonds(bags={"Co": 1}).fit(cobalt).elements_ == (27,)
    carbon_monoxide = Structures([6, 8], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]], [0, 2])
    descriptor = BagOfBonds(bags={"C": 1, "O": 1, "CO": 1}).fit(carbon_monoxide)
    assert descriptor.elements_ == (6, 8)
    assert descriptor.bags_["C-O"] == 1


def test_overflow_names_molecule_and_bag(molecules):
    descriptor = BagOfBonds().fit(molecules[:8])  # up to C2H4
    message = r"structure 1 \(C2H6\) has 6 entries in bag H, which holds 4 .*bags=.*KRR\("
    with pytest.raises(LayoutError, match=message):
        descriptor.transform(molecules[[7, 8]])
    with pytest.raises(LayoutError, match=r"structure 7 \(C2H4\) has 8 entries in bag C-H"):
        BagOfBonds(bags={"C": 2, "H": 4, "CH": 7, "N": 1, "O": 2}).fit(molecules[:8])
    with pytest.raises(UnknownElementError, match=r"structure 0 \(H2O\): element O"):
        BagOfBonds(bags={"C": 2, "H": 4}).fit(molecules[:8])


def test_pairs_that_never_met_have_no_room_until_widened(molecules):
    descriptor = BagOfBonds().fit(molecules)
    hno = Structures([1, 7, 8], [[0.0, 0.9, 0.4], [0.0, 0.0, 0.0], [1.2, 0.0, 0.0]], [0, 3])
    with pytest.raises(LayoutError, match="has 1 entries in bag N-O, which holds 0"):
        descriptor.transform(hno)
    wider, _ = descriptor.widened(hno)
    assert wider.bags_["N-O"] == 1
    assert_is_the_formula(wider, hno)


def test_names(molecules):
    names = BagOfBonds().fit(molecules[:1]).get_feature_names_out()
    assert names.tolist() == ["H[0]", "H[1]", "O[0]", "H-H[0]", "H-O[0]", "H-O[1]"]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 31, bags_jit._MANY + 3])
@pytest.mark.parametrize("ties", [False, True])
def test_sorting(n, ties):
    rng = np.random.default_rng(n)
    values = rng.uniform(0.1, 1.0, n + 2)
    if ties:
        values = np.ceil(values * 4.0)
    row = np.zeros(n + 3)
    bags_jit._sort_into(values, n, row, 2)
    np.testing.assert_array_equal(row, [0.0, 0.0, *sorted(values[:n], reverse=True), 0.0])


def qmllib_layout(bags_):
    """Bags in the order of qmllib: elements by their number of atoms, each before its pairs."""
    names = sorted((name for name in bags_), key=lambda name: bags_[name])
    for i, first in enumerate(names):
        yield (first,)
        for second in names[i:]:
            yield (first, second)


def assert_is_qmllibs(descriptor, features, expected, asize):
    columns = columns_by_bag(descriptor)
    start = 0
    for names in qmllib_layout(asize):
        place = columns[tuple(sorted(atomic_number(name) for name in names))]
        size = place.stop - place.start
        np.testing.assert_allclose(
            features[:, place], expected[:, start : start + size], rtol=1e-10
        )
        start += size
    assert start == expected.shape[1]


def test_values_of_qmllib(reference_data):
    with np.load(reference_data / "oracles" / "qmllib_cm_bob.npz") as data:
        some = Structures.from_arrays(list(data["Z"]), list(data["R"]))
        asize = dict(
            zip(data["bob_asize_keys"].tolist(), data["bob_asize_values"].tolist(), strict=True)
        )
        descriptor = BagOfBonds(bags=asize).fit(some)
        assert_is_qmllibs(descriptor, descriptor.transform(some), data["bob"], asize)


def test_qmllib_agrees(molecules):
    representations = pytest.importorskip("qmllib.representations")
    asize = {"O": 2, "C": 4, "N": 3, "H": 7}
    expected = np.array([
        representations.generate_bob(
            np.array(m.numbers), np.array(m.positions), None, size=9, asize=asize
        )
        for m in molecules
    ])  # fmt: skip
    descriptor = BagOfBonds(bags=asize).fit(molecules)
    assert_is_qmllibs(descriptor, descriptor.transform(molecules), expected, asize)
