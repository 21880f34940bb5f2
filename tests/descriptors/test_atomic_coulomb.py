"""Atomic Coulomb matrices against the formula in plain Python and qmllib."""

import math

import naive
import numpy as np
import pytest

from kernchem.descriptors import AtomicCoulombMatrix
from kernchem.errors import LayoutError, SettingError
from kernchem.structures import Structures

SORTINGS = ("distance", "row-norm")
CUTS = {
    "none": {},
    "sharp": {"r_cut": 2.3},
    "soft": {"r_cut": 2.6, "decay": 1.1},
    "pairs": {"pair_cut": 2.0},
    "all": {"r_cut": 3.0, "decay": 3.0, "pair_cut": 2.2, "pair_decay": 0.9},
}


@pytest.fixture(scope="module")
def shaken(molecules):
    """The molecules without symmetry: equal distances would leave the order of rows open."""
    shift = np.random.default_rng(1).normal(0.0, 0.05, molecules.positions.shape)
    return Structures(molecules.numbers, molecules.positions + shift, molecules.offsets)


def damping(r, cut, width):
    if cut is None or r <= cut - width:
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (r - cut + width) / width) if r < cut else 0.0


def by_formula(molecule, centre, sorting, size, r_cut=None, decay=0.0, pair_cut=None, pair_decay=0.0):  # fmt: skip # noqa: E501
    positions, full = molecule.positions, naive.coulomb_matrix(molecule.numbers, molecule.positions)
    r = [[math.dist(p, q) for q in positions] for p in positions]
    near = [i for i in range(len(positions)) if r_cut is None or r[i][centre] < r_cut]
    matrix = {
        (i, j): full[i][j]
        * damping(r[i][centre], r_cut, decay)
        * damping(r[j][centre], r_cut, decay)
        * damping(r[i][j], pair_cut, pair_decay)
        for i in near
        for j in near
    }
    if sorting == "distance":
        order = sorted(near, key=lambda i: r[i][centre])
    else:
        norms = {i: math.hypot(*(matrix[i, j] for j in near)) for i in near}
        order = sorted(near, key=lambda i: (i != centre, -norms[i]))
    packed = [matrix[a, b] for i, a in enumerate(order) for b in order[: i + 1]]
    return packed + [0.0] * (size * (size + 1) // 2 - len(packed))


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("sorting", SORTINGS)
def test_is_the_formula(shaken, sorting, cuts):
    some = shaken[[0, 4, 9, 15]]
    descriptor = AtomicCoulombMatrix(sorting, **CUTS[cuts]).fit(some)
    features = descriptor.transform(some)
    assert descriptor.local
    for item, molecule in zip(features, some, strict=True):
        expected = [
            by_formula(molecule, centre, sorting, descriptor.size_, **CUTS[cuts])
            for centre in range(len(molecule.numbers))
        ]
        np.testing.assert_allclose(item.values, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("sorting", SORTINGS)
def test_qmllib_agrees(shaken, sorting, cuts):
    representations = pytest.importorskip("qmllib.representations")
    settings = CUTS[cuts]
    some = shaken[[0, 4, 9, 15]]
    features = AtomicCoulombMatrix(sorting, size=9, **settings).fit_transform(some)
    for item, molecule in zip(features, some, strict=True):
        expected = representations.generate_coulomb_matrix_atomic(
            molecule.numbers.astype(float),
            molecule.positions,
            size=9,
            sorting=sorting,
            central_cutoff=settings.get("r_cut", 1e6),
            central_decay=settings.get("decay", -1),
            interaction_cutoff=settings.get("pair_cut", 1e6),
            interaction_decay=settings.get("pair_decay", -1),
        )
        np.testing.assert_allclose(item.values, expected, rtol=1e-12, atol=1e-12)


def test_qmllib_lowers_the_cutoff_of_pairs(shaken):
    """An interaction_cutoff of more than 2 central_cutoff is 2 central_cutoff to it."""
    representations = pytest.importorskip("qmllib.representations")
    ethanol = shaken[15]
    theirs = representations.generate_coulomb_matrix_atomic(
        ethanol.numbers.astype(float),
        ethanol.positions,
        size=9,
        central_cutoff=1.6,
        interaction_cutoff=4.0,
        interaction_decay=1.5,
    )
    batch = shaken[[15]]
    lowered = AtomicCoulombMatrix(r_cut=1.6, pair_cut=3.2, pair_decay=1.5, size=9)
    np.testing.assert_allclose(lowered.fit_transform(batch).values, theirs, rtol=1e-12)
    as_given = AtomicCoulombMatrix(r_cut=1.6, pair_cut=4.0, pair_decay=1.5, size=9)
    assert not np.allclose(as_given.fit_transform(batch).values, theirs)


@pytest.mark.parametrize("sorting", SORTINGS)
def test_equivalent_atoms_keep_their_order(molecules, sorting, rng):
    """Rounding does not decide between equal distances or norms."""
    symmetric = molecules[[2, 8]]
    descriptor = AtomicCoulombMatrix(sorting).fit(symmetric)
    expected = descriptor.transform(symmetric).values
    for _ in range(5):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turned = Structures(
            symmetric.numbers, symmetric.positions @ rotation + 1.0, symmetric.offsets
        )
        np.testing.assert_allclose(descriptor.transform(turned).values, expected, rtol=1e-10)


@pytest.mark.parametrize("sorting", SORTINGS)
def test_fades_out_smoothly(sorting):
    """The third atom leaves without a jump of value or slope, and its row is zero then."""

    def row(distance):
        positions = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, distance, 0.0]]
        chain = Structures([6, 8, 7], positions, [0, 3])
        settings = {"r_cut": 3.0, "decay": 1.0, "size": 3}
        return AtomicCoulombMatrix(sorting, **settings).fit_transform(chain)[0].values[0]

    h = 1e-5
    assert np.abs(row(3.0 - h) - row(3.0 + h)).max() < 1e-8
    np.testing.assert_allclose(row(2.0 + h), row(2.0 - h), atol=200 * h)
    np.testing.assert_array_equal(row(3.0 + h)[3:], 0.0)
    assert row(2.9)[3] > 0.0


def test_size_is_that_of_the_surroundings(molecules):
    whole = AtomicCoulombMatrix().fit(molecules)
    assert (whole.size_, whole.n_features_out_) == (9, 45)
    near = AtomicCoulombMatrix(r_cut=1.3).fit(molecules)
    assert near.size_ == 5  # methane: the carbon and its hydrogens
    fixed = AtomicCoulombMatrix(r_cut=1.3, size=7).fit(molecules)
    np.testing.assert_array_equal(
        fixed.transform(molecules).values[:, :15], near.transform(molecules).values
    )
    said = r"structure 2 \(CH4\): atom 0 has 5 atoms within 1.3 angstrom.*holds 4.*pass size=5"
    with pytest.raises(LayoutError, match=said):
        AtomicCoulombMatrix(r_cut=1.3, size=4).fit(molecules)
    with pytest.raises(LayoutError, match=r"atom 0 has 9 atoms in its molecule, itself"):
        AtomicCoulombMatrix().fit(molecules[:15]).transform(molecules[15:])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"sorting": "norm"}, "sorting='norm'"),
        ({"r_cut": 0.0}, "r_cut=0.0"),
        ({"pair_cut": np.inf}, "pair_cut=inf"),
        ({"decay": 1.0}, "decay=1.0 must be.*r_cut=None"),
        ({"r_cut": 2.0, "decay": 2.1}, "decay=2.1 must be.*r_cut=2.0"),
        ({"r_cut": 2.0, "decay": -1}, "decay=-1"),
        ({"pair_decay": 1.0}, "pair_decay=1.0 must be.*pair_cut=None"),
        ({"size": 0}, "size=0"),
        ({"size": 10**30}, "size=10+ is no.* from 1 to 1000000"),
        ({"r_cut": 1e-170}, "r_cut=1e-170 must be.* from 1e-150"),
        ({"r_cut": 1e200}, r"r_cut=1e\+200 must be"),
        ({"n_jobs": np.array([1.0, 2.0])}, "n_jobs=array"),
        ({"sorting": ["distance"]}, "sorting=.'distance'"),
        ({"r_cut": 2.0, "decay": np.array([1.0, 1.0])}, "decay=array"),
        ({"r_cut": 2.0, "decay": False}, "decay=False"),
    ],
)
def test_wrong_settings_are_named(molecules, setting, said):
    with pytest.raises(SettingError, match=said):
        AtomicCoulombMatrix(**setting).fit(molecules)


def test_names(molecules):
    names = AtomicCoulombMatrix(size=3).fit(molecules[:1]).get_feature_names_out()
    assert names.tolist() == ["C[0,0]", "C[1,0]", "C[1,1]", "C[2,0]", "C[2,1]", "C[2,2]"]
