"""Coulomb matrices against the formula, another package and closed forms."""

import naive
import numpy as np
import pytest
from sklearn.base import clone

from kernchem.descriptors import CoulombMatrix
from kernchem.errors import LayoutError, SettingError
from kernchem.structures import Structures


@pytest.fixture(scope="module")
def shaken(molecules):
    """The molecules with their symmetry broken, so that no two rows have the same norm."""
    shift = np.random.default_rng(1).normal(0.0, 0.05, molecules.positions.shape)
    return Structures(molecules.numbers, molecules.positions + shift, molecules.offsets)


def test_sorted_is_the_formula(shaken):
    descriptor = CoulombMatrix().fit(shaken)
    expected = [naive.sorted_coulomb_matrix(m.numbers, m.positions, 9) for m in shaken]
    assert descriptor.size_ == 9
    np.testing.assert_allclose(descriptor.transform(shaken), expected, rtol=1e-10)


def test_none_keeps_the_order_of_the_atoms(molecules):
    expected = [
        naive.packed_coulomb_matrix(
            naive.coulomb_matrix(m.numbers, m.positions), range(len(m.numbers)), 9
        )
        for m in molecules
    ]
    features = CoulombMatrix("none").fit_transform(molecules)
    np.testing.assert_allclose(features, expected, rtol=1e-10)


def test_eigenspectrum_of_two_atoms_is_the_closed_form():
    # The eigenvalues of [[a, b], [b, c]].
    numbers, r = (8, 1), 1.3
    a, c, b = 0.5 * 8**2.4, 0.5, 8.0 / r
    root = np.sqrt((a - c) ** 2 / 4.0 + b**2)
    expected = [(a + c) / 2.0 + root, (a + c) / 2.0 - root, 0.0]
    one = Structures(numbers, [[0.0, 0.0, 0.0], [0.0, 0.0, r]], [0, 2])
    features = CoulombMatrix("eigenspectrum", size=3).fit_transform(one)
    np.testing.assert_allclose(features, [expected], rtol=1e-10)


def test_eigenvalues_come_by_magnitude_and_keep_their_sign():
    # Two protons 0.2 angstrom apart: [[0.5, 5], [5, 0.5]] has the eigenvalues 5.5 and -4.5.
    one = Structures([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.2]], [0, 2])
    features = CoulombMatrix("eigenspectrum").fit_transform(one)
    np.testing.assert_allclose(features, [[5.5, -4.5]], rtol=1e-12)


def test_eigenspectrum_has_the_moments_of_the_matrix(molecules):
    features = CoulombMatrix("eigenspectrum").fit_transform(molecules)
    assert (np.diff(np.abs(features), axis=1) <= 0).all()
    for m, values in zip(molecules, features, strict=True):
        matrix = np.array(naive.coulomb_matrix(m.numbers, m.positions))
        assert values.sum() == pytest.approx(np.trace(matrix), rel=1e-10)
        assert (values**2).sum() == pytest.approx((matrix**2).sum(), rel=1e-10)
        assert (values**3).sum() == pytest.approx(np.trace(matrix @ matrix @ matrix), rel=1e-10)


def test_random_orders_rows_by_noisy_norms(shaken):
    descriptor = CoulombMatrix("random", sigma=20.0, random_state=3).fit(shaken)
    noise, offsets = descriptor._noise(shaken), shaken.offsets
    expected = [
        naive.sorted_coulomb_matrix(m.numbers, m.positions, 9, noise[offsets[k] : offsets[k + 1]])
        for k, m in enumerate(shaken)
    ]
    features = descriptor.transform(shaken)
    np.testing.assert_allclose(features, expected, rtol=1e-10)
    assert not np.allclose(features, CoulombMatrix().fit_transform(shaken))


def test_noise_is_normal_with_the_given_width():
    rng = np.random.default_rng(5)
    n = 400
    positions = rng.uniform(0.0, 1000.0, size=(10 * n, 3))
    many = Structures(np.ones(10 * n), positions, np.arange(0, 10 * n + 1, 10))
    noise = CoulombMatrix("random", sigma=2.5, random_state=0).fit(many)._noise(many)
    # 4000 draws: the mean is within 4 standard errors, the width within 4 of its own.
    assert abs(noise.mean()) < 4 * 2.5 / np.sqrt(10 * n)
    assert abs(noise.std() / 2.5 - 1.0) < 4 / np.sqrt(2 * 10 * n)
    assert len(np.unique(noise)) == 10 * n


def test_random_state_decides_the_noise(shaken):
    def features(random_state):
        return CoulombMatrix("random", sigma=30.0, random_state=random_state).fit_transform(shaken)

    np.testing.assert_array_equal(features(4), features(4))
    assert not np.array_equal(features(4), features(5))
    assert not np.array_equal(features(None), features(None))
    np.testing.assert_array_equal(
        features(np.random.RandomState(4)), features(np.random.RandomState(4))
    )


def test_equal_structures_have_equal_noise():
    plane = Structures([6, 1, 1], [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [0, 3])
    below = Structures(plane.numbers, np.where(plane.positions == 0.0, -0.0, 1.0), [0, 3])
    assert plane[0] == below[0]
    descriptor = CoulombMatrix("random", random_state=0).fit(plane)
    np.testing.assert_array_equal(descriptor._noise(below), descriptor._noise(plane))


def test_without_noise_random_is_sorted(shaken):
    np.testing.assert_array_equal(
        CoulombMatrix("random", sigma=0).fit_transform(shaken),
        CoulombMatrix().fit_transform(shaken),
    )


def test_larger_size_appends_columns(molecules):
    for permutation in ("sorted", "none", "eigenspectrum"):
        narrow = CoulombMatrix(permutation).fit_transform(molecules)
        wide = CoulombMatrix(permutation, size=12).fit_transform(molecules)
        np.testing.assert_array_equal(wide[:, : narrow.shape[1]], narrow)
        assert (wide[:, narrow.shape[1] :] == 0).all()


def test_rotation_does_not_reorder_equivalent_atoms():
    """Rounding must not decide between rows that symmetry makes equal."""
    from ase.build import molecule

    benzene = molecule("C6H6")
    expected = CoulombMatrix().fit_transform(benzene)
    for angle in range(10, 360, 35):
        moved = benzene.copy()
        moved.rotate(angle, (1.0, 2.0, 3.0))
        moved.translate((5.0, -3.0, 7.0))
        np.testing.assert_allclose(CoulombMatrix().fit_transform(moved), expected, rtol=1e-10)


def test_far_atoms_do_not_interact():
    far = Structures([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1e150]], [0, 2])
    np.testing.assert_allclose(CoulombMatrix().fit_transform(far), [[0.5, 0.0, 0.5]], atol=1e-100)


def test_names():
    water = Structures([8, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [0, 2])
    assert CoulombMatrix().fit(water).get_feature_names_out().tolist() == [
        "C[0,0]", "C[1,0]", "C[1,1]",
    ]  # fmt: skip
    names = CoulombMatrix("eigenspectrum").fit(water).get_feature_names_out()
    assert names.tolist() == ["eigenvalue[0]", "eigenvalue[1]"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"permutation": "sort"}, "permutation='sort'"),
        ({"size": 0}, "size=0"),
        ({"size": 2.5}, "size=2.5"),
        ({"size": 10**30}, "size=10+ is no.* from 1 to 1000000"),
        ({"size": True}, "size=True"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"sigma": np.nan}, "sigma=nan"),
        ({"sigma": "wide"}, "sigma='wide'"),
        ({"sigma": False}, "sigma=False"),
        ({"sigma": np.array([1.0, 2.0])}, "sigma=array"),
        ({"permutation": ["sorted"]}, "permutation=.'sorted'"),
        ({"permutation": "random", "random_state": "x"}, "random_state=str 'x'; use"),
        ({"permutation": "random", "random_state": -1}, "random_state=int -1; use"),
    ],
)
def test_wrong_settings_are_named(molecules, setting, said):
    with pytest.raises(SettingError, match=said):
        CoulombMatrix(**setting).fit(molecules)


def test_overflow_names_molecule_size_and_cure(molecules):
    descriptor = CoulombMatrix().fit(molecules[:3])
    message = r"structure 2 \(C2H6O\) has 9 atoms.*holds 5.*size=9.*KRR\(descriptor="
    with pytest.raises(LayoutError, match=message):
        descriptor.transform(molecules[[0, 1, 15]])
    with pytest.raises(LayoutError, match=r"structure 2 .*holds 4"):
        CoulombMatrix(size=4).fit(molecules)


def test_values_of_qmllib(reference_data):
    with np.load(reference_data / "oracles" / "qmllib_cm_bob.npz") as data:
        some = Structures.from_arrays(list(data["Z"]), list(data["R"]))
        for permutation, name in (
            ("none", "cm_unsorted"),
            ("sorted", "cm_rownorm"),
            ("eigenspectrum", "cm_eigenvalues"),
        ):
            features = CoulombMatrix(permutation, size=30).fit_transform(some)
            if permutation == "eigenspectrum":  # qmllib has the negative ones behind the zeros
                features = -np.sort(-features, axis=1)
            np.testing.assert_allclose(features, data[name], rtol=1e-10, atol=1e-11)


def test_qmllib_agrees(shaken):
    representations = pytest.importorskip("qmllib.representations")
    for permutation, sorting in (("sorted", "row-norm"), ("none", "unsorted")):
        expected = [
            representations.generate_coulomb_matrix(
                np.array(m.numbers), np.array(m.positions), size=11, sorting=sorting
            )
            for m in shaken
        ]
        descriptor = clone(CoulombMatrix(permutation, size=11))
        np.testing.assert_allclose(descriptor.fit_transform(shaken), expected, rtol=1e-10)
