"""What every descriptor promises, whatever it computes."""

import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline

from kernchem import descriptors
from kernchem.descriptors import BagOfBonds, CoulombMatrix, Descriptor, EncodedBonds
from kernchem.errors import LayoutError, StructureError, UnknownElementError
from kernchem.structures import Structures

VARIANTS = {
    "CoulombMatrix": CoulombMatrix(),
    "CoulombMatrix-size": CoulombMatrix(size=11),
    "CoulombMatrix-none": CoulombMatrix("none"),
    "CoulombMatrix-eigenspectrum": CoulombMatrix("eigenspectrum"),
    "CoulombMatrix-random": CoulombMatrix("random", sigma=5.0, random_state=0),
    "BagOfBonds": BagOfBonds(),
    "BagOfBonds-bags": BagOfBonds(bags={"C": 2, "H": 6, "N": 1, "O": 2, "CO": 3}),
    "EncodedBonds": EncodedBonds(),
    "EncodedBonds-bonds": EncodedBonds(3, elements="H C N O".split(), sigma=0.1),
}
#: The noise of "random" belongs to the coordinates as they are.
MOVABLE = sorted(set(VARIANTS) - {"CoulombMatrix-random"})
PERMUTABLE = sorted(set(MOVABLE) - {"CoulombMatrix-none"})
WITH_LAYOUT = sorted(name for name in VARIANTS if not name.startswith("EncodedBonds"))
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture(scope="module")
def shaken(molecules):
    """The molecules without symmetry: equal norms would leave the order of rows open."""
    shift = np.random.default_rng(1).normal(0.0, 0.05, molecules.positions.shape)
    return Structures(molecules.numbers, molecules.positions + shift, molecules.offsets)


@pytest.fixture(params=sorted(VARIANTS))
def descriptor(request):
    return clone(VARIANTS[request.param])


def moved(structures, matrix, shift=(0.0, 0.0, 0.0)):
    return Structures(
        structures.numbers, structures.positions @ np.asarray(matrix).T + shift, structures.offsets
    )


def haar_rotation(rng):
    """A random rotation matrix, uniformly distributed."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.linalg.det(q)


def atoms_permuted(structures, rng):
    order = np.concatenate([
        start + rng.permutation(stop - start)
        for start, stop in zip(structures.offsets[:-1], structures.offsets[1:], strict=True)
    ])  # fmt: skip
    return Structures(structures.numbers[order], structures.positions[order], structures.offsets)


def test_every_public_descriptor_is_tested():
    public = {getattr(descriptors, name) for name in descriptors.__all__} - {Descriptor}
    assert {type(variant) for variant in VARIANTS.values()} == public


@pytest.mark.parametrize("name", MOVABLE)
def test_position_orientation_and_handedness_do_not_matter(name, molecules, rng):
    descriptor = clone(VARIANTS[name])
    expected = descriptor.fit_transform(molecules)
    for _ in range(3):
        rotation = haar_rotation(rng)
        for matrix in (np.eye(3), rotation, -rotation):
            features = descriptor.transform(moved(molecules, matrix, rng.normal(size=3) * 5.0))
            np.testing.assert_allclose(features, expected, **CLOSE)


@pytest.mark.parametrize("name", PERMUTABLE)
def test_order_of_atoms_does_not_matter(name, shaken, rng):
    descriptor = clone(VARIANTS[name])
    expected = descriptor.fit_transform(shaken)
    for _ in range(3):
        features = descriptor.transform(atoms_permuted(shaken, rng))
        np.testing.assert_allclose(features, expected, **CLOSE)


def test_distances_do_matter(descriptor, shaken):
    features = descriptor.fit_transform(shaken)
    stretched = descriptor.transform(moved(shaken, 1.01 * np.eye(3)))
    assert (np.abs(stretched - features).max(axis=1) > 1e-4).all()


def test_fit_again_is_fit_once(descriptor, shaken):
    expected = descriptor.fit_transform(shaken)
    other = clone(descriptor).fit(shaken[:4])
    np.testing.assert_array_equal(other.fit(shaken).transform(shaken), expected)


def test_copies_and_clones(descriptor, shaken):
    expected = descriptor.fit_transform(shaken)
    again = pickle.loads(pickle.dumps(descriptor))
    np.testing.assert_array_equal(again.transform(shaken), expected)
    fresh = clone(descriptor)
    with pytest.raises(NotFittedError):
        fresh.transform(shaken)
    np.testing.assert_array_equal(fresh.fit_transform(shaken), expected)


def test_arguments_are_stored_untouched(descriptor):
    for name, value in descriptor.get_params().items():
        parameters = {name: value}
        assert type(descriptor)(**parameters).get_params()[name] is value
    assert set(descriptor.get_params()) == set(inspect.signature(type(descriptor)).parameters)


def test_input_is_not_touched(descriptor, shaken):
    before = pickle.dumps(shaken)
    descriptor.fit(shaken).transform(shaken)
    assert pickle.dumps(shaken) == before


def test_threads_and_panels_do_not_change_a_bit(descriptor, shaken):
    # 336 molecules: more than one panel of each descriptor.
    many = shaken[np.tile(np.arange(len(shaken)), 21)]
    features = [
        clone(descriptor).set_params(n_jobs=n_jobs).fit_transform(many) for n_jobs in (1, 2, None)
    ]
    np.testing.assert_array_equal(features[0], features[1])
    np.testing.assert_array_equal(features[0], features[2])
    np.testing.assert_array_equal(features[0], np.tile(features[0][: len(shaken)], (21, 1)))


def test_one_molecule_gives_the_bits_of_the_batch(descriptor, shaken):
    features = descriptor.fit_transform(shaken)
    for k, row in enumerate(features):
        np.testing.assert_array_equal(descriptor.transform(shaken[[k]])[0], row)
        np.testing.assert_array_equal(descriptor.transform(shaken[k])[0], row)


def test_atoms_of_ase_are_structures(descriptor, shaken):
    atoms = shaken.to_ase()
    expected = descriptor.fit_transform(shaken)
    np.testing.assert_array_equal(descriptor.transform(atoms), expected)
    np.testing.assert_array_equal(clone(descriptor).fit_transform(atoms), expected)
    np.testing.assert_array_equal(descriptor.transform(atoms[3]), expected[[3]])


def test_shape_type_and_names(descriptor, shaken):
    features = descriptor.fit_transform(shaken)
    names = descriptor.get_feature_names_out()
    assert features.dtype == np.float64
    assert features.shape == (len(shaken), descriptor.n_features_out_) == (16, len(names))
    assert np.isfinite(features).all()
    assert len(set(names)) == len(names)
    assert descriptor.transform(shaken[:0]).shape == (0, len(names))
    assert descriptor.elements_ == (1, 6, 7, 8)


def test_says_where_it_comes_from(descriptor):
    assert "https://doi.org/10." in descriptor.citation
    assert descriptor.recommended_kernel in {"gaussian", "laplacian"}


def test_works_in_a_pipeline(descriptor, shaken):
    y = shaken.sizes.astype(float)
    model = make_pipeline(descriptor, KernelRidge(kernel="laplacian", gamma=1e-3, alpha=1e-10))
    np.testing.assert_allclose(model.fit(shaken, y).predict(shaken), y, atol=1e-5)


@pytest.mark.parametrize("name", WITH_LAYOUT)
def test_widened_only_adds_zeros(name, shaken):
    descriptor = clone(VARIANTS[name]).set_params(**(
        {"size": None} if "size" in name else {"bags": None} if "bags" in name else {}
    ))  # fmt: skip
    small, large = shaken[:10], shaken[8:]
    narrow = descriptor.fit_transform(small)
    with pytest.raises(LayoutError):
        descriptor.transform(large)
    wider, columns = descriptor.widened(large)
    wide = wider.transform(small)
    assert wider.n_features_out_ > descriptor.n_features_out_ == len(columns)
    np.testing.assert_array_equal(wide[:, columns], narrow)
    assert (np.delete(wide, columns, axis=1) == 0).all()
    assert wider.transform(large).shape == (8, wider.n_features_out_)
    # The old one is as it was, and names move with their columns.
    np.testing.assert_array_equal(descriptor.transform(small), narrow)
    np.testing.assert_array_equal(
        wider.get_feature_names_out()[columns], descriptor.get_feature_names_out()
    )


def test_what_fits_needs_no_widening(descriptor, shaken):
    descriptor.fit(shaken)
    for some in (shaken, shaken[3:5], shaken[:0]):
        same, columns = descriptor.widened(some)
        assert same is descriptor
        np.testing.assert_array_equal(columns, np.arange(descriptor.n_features_out_))


@pytest.mark.parametrize("name", WITH_LAYOUT)
def test_overflow_names_the_molecule(name, shaken):
    descriptor = clone(VARIANTS[name]).fit(shaken)
    propane = Structures(
        np.concatenate([np.full(3, 6), np.full(9, 1)]),
        np.random.default_rng(0).uniform(0.0, 9.0, size=(12, 3)),
        [0, 12],
    )
    batch = Structures.concatenate([shaken[:2], propane])
    with pytest.raises(LayoutError, match=r"structure 2 \(C3H9\).*holds (6|9|11)\b.*KRR\("):
        descriptor.transform(batch)


def test_unknown_element_names_the_molecule(descriptor, shaken):
    descriptor.fit(shaken)
    silane = Structures([14, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]], [0, 2])
    batch = Structures.concatenate([shaken[:3], silane])
    for method in (descriptor.transform, descriptor.widened):
        with pytest.raises(UnknownElementError, match=r"structure 3 \(HSi\): element Si"):
            method(batch)


def test_periodic_structures_are_refused(descriptor, shaken):
    from ase.build import bulk, molecule

    crystal = bulk("C")
    with pytest.raises(StructureError, match=r"structure 0 .*periodic.*pbc to False"):
        descriptor.fit([crystal])
    descriptor.fit(shaken)
    with pytest.raises(StructureError, match=r"structure 1 .*periodic"):
        descriptor.transform([molecule("CH4"), crystal])
    in_a_box = molecule("CH4", cell=np.eye(3) * 10.0, pbc=False)
    np.testing.assert_array_equal(
        descriptor.transform(in_a_box), descriptor.transform(molecule("CH4"))
    )


def test_must_be_fitted_and_on_something(descriptor, shaken):
    for use in (descriptor.transform, descriptor.widened):
        with pytest.raises(NotFittedError):
            use(shaken)
    with pytest.raises(NotFittedError):
        descriptor.get_feature_names_out()
    with pytest.raises(StructureError, match="no structures"):
        descriptor.fit(shaken[:0])
    with pytest.raises(StructureError, match="item 0"):
        descriptor.fit(np.ones((2, 3)))


# Coordinates on a line, in a plane or in space, at least 0.5 angstrom apart, in steps that make
# equal distances likely.
points = arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 3)),
                elements=st.integers(-4, 4), fill=st.nothing())  # fmt: skip


@st.composite
def any_molecule(draw):
    steps = np.unique(draw(points), axis=0)
    positions = np.zeros((len(steps), 3))
    positions[:, : steps.shape[1]] = 0.5 * steps
    numbers = draw(st.lists(st.sampled_from([1, 6, 8]), min_size=len(steps), max_size=len(steps)))
    return Structures(numbers, positions, [0, len(steps)])


@pytest.mark.parametrize("name", sorted(VARIANTS))
@settings(max_examples=12, deadline=None)
@given(a=any_molecule(), b=any_molecule())
def test_any_molecules(name, a, b):
    """One atom, one element, lines, planes and ties: moved together and fitted together."""
    descriptor = clone(VARIANTS[name])
    if name == "BagOfBonds-bags":
        descriptor.set_params(bags={"H": 7, "C": 7, "O": 7})
    both = Structures.concatenate([a, b])
    features = descriptor.fit_transform(both)
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(descriptor.transform(b), features[1:])
    if name in MOVABLE and name != "EncodedBonds-bonds":  # a bond may end within rounding
        turned = moved(both, haar_rotation(np.random.default_rng(0)), (1.0, 2.0, 3.0))
        np.testing.assert_allclose(descriptor.transform(turned), features, **CLOSE)
    if set(b.elements) <= set(a.elements) and name != "CoulombMatrix-random":
        narrow = clone(descriptor).fit(a)
        wider, columns = narrow.widened(b)
        wide = wider.transform(both)
        np.testing.assert_array_equal(wide[0, columns], narrow.transform(a)[0])
        assert np.count_nonzero(wide[0]) == np.count_nonzero(narrow.transform(a))
        np.testing.assert_array_equal(wide[1:], wider.transform(b))
