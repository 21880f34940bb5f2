"""Inverse distances against SciPy, and against whatever is not the molecule."""

import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from scipy.spatial.distance import pdist
from sklearn.base import clone

from kernchem import KRR
from kernchem.descriptors import InverseDistances
from kernchem.errors import LayoutError, SettingError, StructureError, UnknownElementError
from kernchem.structures import Structures


@pytest.fixture(scope="module")
def frames():
    """Methanol, displaced twelve times."""
    atoms = molecule("CH3OH")
    shift = np.random.default_rng(3).normal(0.0, 0.05, (12, 6, 3))
    return Structures.from_arrays(atoms.numbers, atoms.positions + shift)


def distances(positions):
    """Of the pairs i > j, row after row."""
    return [math.dist(a, b) for i, a in enumerate(positions) for b in positions[:i]]


def test_are_inverse_distances_row_after_row(frames):
    features = InverseDistances().fit_transform(frames)
    expected = [[1.0 / r for r in distances(m.positions.tolist())] for m in frames]
    assert features.shape == (12, 15)
    np.testing.assert_allclose(features, expected, rtol=1e-14)
    # SciPy lists the pairs i < j; the same set.
    np.testing.assert_allclose(
        np.sort(1.0 / features), [np.sort(pdist(m.positions)) for m in frames], rtol=1e-14
    )


def test_first_columns_are_those_of_the_first_atoms(frames):
    three = Structures.from_arrays(frames[0].numbers[:3], [m.positions[:3] for m in frames])
    np.testing.assert_array_equal(
        InverseDistances().fit_transform(three), InverseDistances().fit_transform(frames)[:, :3]
    )


def test_relative_to_the_equilibrium_whatever_it_is(frames):
    atoms = molecule("CH3OH")
    expected = [
        [e / r for e, r in zip(distances(atoms.positions), distances(m.positions), strict=True)]
        for m in frames
    ]
    batch = Structures.from_ase(atoms)
    for equilibrium in (
        atoms,
        [atoms],
        batch,
        batch[0],
        np.asarray(batch),
        atoms.positions,
        atoms.positions.tolist(),
        tuple(atoms.positions),
    ):
        descriptor = InverseDistances(equilibrium).fit(frames)
        np.testing.assert_allclose(descriptor.transform(frames), expected, rtol=1e-13)
        np.testing.assert_allclose(descriptor.transform(atoms), np.ones((1, 15)), rtol=1e-15)
        again = clone(descriptor)
        np.testing.assert_array_equal(again.fit_transform(frames), descriptor.transform(frames))


def test_names_and_attributes(frames):
    descriptor = InverseDistances().fit(frames)
    assert descriptor.get_feature_names_out()[:4].tolist() == [
        "1/r[1,0]", "1/r[2,0]", "1/r[2,1]", "1/r[3,0]",
    ]  # fmt: skip
    assert descriptor.numbers_.tolist() == [6, 8, 1, 1, 1, 1]
    assert (descriptor.scale_ == 1.0).all()
    descriptor = InverseDistances(frames[0]).fit(frames)
    assert descriptor.get_feature_names_out()[14] == "r_eq/r[5,4]"
    np.testing.assert_allclose(descriptor.scale_, distances(frames[0].positions), rtol=1e-14)
    assert not descriptor.local
    assert descriptor.transform(frames[:0]).shape == (0, 15)


WRONG = [
    ([6, 8, 1, 1, 1, 9], "atom 5 is F and not H"),
    ([8, 6, 1, 1, 1, 1], "atom 0 is O and not C"),
    ([6, 8, 1, 1, 1], r"atom 5 \(H\) is missing"),
    ([6, 8, 1, 1, 1, 1, 8], r"atom 6 \(O\) is one too many"),
    ([6, 1, 8, 1, 1], "atom 1 is H and not O"),
]


@pytest.mark.parametrize(("numbers", "said"), WRONG)
def test_other_atoms_are_named(frames, numbers, said):
    positions = 2.0 * np.arange(len(numbers))[:, None] * [1.0, 0.0, 0.0]
    both = Structures.concatenate([frames[:2], Structures(numbers, positions, [0, len(numbers)])])
    message = rf"structure 2 \(.*\): {said}.*CH4O.*CoulombMatrix"
    with pytest.raises(LayoutError, match=message):
        InverseDistances().fit(both)
    descriptor = InverseDistances().fit(frames)
    kind = UnknownElementError if 9 in numbers else LayoutError
    for use in (descriptor.transform, descriptor.widened):
        with pytest.raises(kind, match="element F" if 9 in numbers else message):
            use(both)


def test_the_same_number_of_atoms_in_all_is_not_enough(frames):
    # Two molecules whose atoms, behind each other, are those of two methanols.
    positions = 2.0 * np.arange(12)[:, None] * [1.0, 0.0, 0.0]
    numbers = np.tile(frames[0].numbers, 2)
    with pytest.raises(LayoutError, match=r"structure 0 .*atom 5 \(H\) is missing"):
        InverseDistances().fit(frames).transform(Structures(numbers, positions, [0, 5, 12]))


def test_what_fits_needs_no_widening(frames):
    descriptor = InverseDistances().fit(frames[:3])
    same, columns = descriptor.widened(frames)
    assert same is descriptor
    assert columns.tolist() == list(range(15))


def test_an_atom_has_no_distances():
    with pytest.raises(StructureError, match=r"structure 0 \(He\) has one atom"):
        InverseDistances().fit(Atoms("He"))


@pytest.mark.parametrize(
    ("equilibrium", "said"),
    [
        (molecule("H2O"), "atom 0 is O and not C"),
        (np.zeros((6, 3)), "atoms 0 and 1 are nearer than 0.1"),
        (np.full((6, 3), np.nan), "finite"),
        (np.eye(3), r"shape \(3, 3\)"),
        (np.arange(18.0), r"shape \(18,\)"),
        ([[0.0, 0.0], [1.0]], "rectangular"),
        ([], r"shape \(0,\)"),
        ([molecule("CH3OH"), molecule("CH3OH")], "2 structures"),
        ("methanol", "str 'methanol'"),
        (molecule("CH3OH", cell=[9.0] * 3, pbc=True), "periodic"),
    ],
)
def test_what_is_no_equilibrium_is_refused(frames, equilibrium, said):
    with pytest.raises(SettingError, match=rf"equilibrium.*{said}"):
        InverseDistances(equilibrium).fit(frames)


def test_a_model_learns_a_surface():
    """Harmonic energies of water: the mean error is far below their spread."""
    atoms = molecule("H2O")
    shift = np.random.default_rng(4).normal(0.0, 0.03, (50, 3, 3))
    many = Structures.from_arrays(atoms.numbers, atoms.positions + shift)
    rest = pdist(atoms.positions)
    energies = np.array([((pdist(m.positions) - rest) ** 2 / rest).sum() for m in many])
    model = KRR(descriptor=InverseDistances(atoms), composition=False)
    error = np.abs(model.fit(many[:30], energies[:30]).predict(many[30:]) - energies[30:]).mean()
    assert error < 0.05 * energies.std()
    with pytest.raises(LayoutError, match="atom 0 is H and not O"):
        model.predict(many[0].to_ase()[[1, 0, 2]])
