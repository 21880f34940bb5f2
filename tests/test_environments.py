"""Environments: a sequence for scikit-learn, copies, and errors that name the structure."""

import operator
import pickle
import tracemalloc

import joblib
import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import GenericKernelMixin, Kernel, NormalizedKernelMixin
from sklearn.model_selection import KFold, train_test_split

from kernchem.environments import AtomFeatures, Environments, FeatureBlock, as_environments
from kernchem.errors import KernchemError, StructureError, UnknownElementError

SIZES = [3, 1, 2, 5, 4, 1]


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    n_atoms = sum(SIZES)
    return Environments(
        rng.normal(size=(n_atoms, 3)),
        rng.choice([1, 6, 7, 8], size=n_atoms),
        np.concatenate([[0], np.cumsum(SIZES)]),
    )


def parts(batch):
    """Arrays of each structure, sliced by hand."""
    return [
        (batch.values[a:b].tolist(), batch.numbers[a:b].tolist())
        for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
    ]


def assert_holds(selected, expected):
    assert isinstance(selected, Environments)
    assert parts(selected) == expected
    assert [(item.values.tolist(), item.numbers.tolist()) for item in selected] == expected
    for array in (selected.values, selected.numbers, selected.offsets):
        assert not array.flags.writeable


# -- a sequence of samples -----------------------------------------------------------------------


def test_length_shape_sizes_elements(batch):
    assert len(batch) == 6
    assert batch.shape == (6,)
    assert batch.n_features == 3
    assert batch.sizes.tolist() == SIZES
    assert batch.elements == tuple(np.unique(batch.numbers))


@pytest.mark.parametrize(
    "key",
    [slice(None), slice(1, 4), slice(None, None, -2), slice(5, 5), [4, 0, 4, -1], np.arange(3), []],
    ids=str,
)
def test_batches_are_selected_as_a_list_would_be(batch, key):
    everything = parts(batch)
    expected = everything[key] if isinstance(key, slice) else [everything[k] for k in key]
    assert_holds(batch[key], expected)
    assert_holds(batch[key, ...], expected)


def test_masks(batch):
    mask = batch.sizes > 2
    assert_holds(batch[mask], [part for part in parts(batch) if len(part[1]) > 2])
    assert_holds(batch[np.zeros(6, dtype=bool)], [])


@pytest.mark.parametrize("key", [3, -1, np.int64(3), (3, Ellipsis)])
def test_an_item_is_a_scalar(batch, key):
    item = batch[key]
    index = operator.index(key[0] if isinstance(key, tuple) else key)
    assert isinstance(item, AtomFeatures)
    assert (item.values.tolist(), item.numbers.tolist()) == parts(batch)[index]
    assert not hasattr(item, "__len__")
    assert not hasattr(item, "__iter__")
    assert np.ndim(np.array([item, item], dtype=object)) == 1


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (6, "index 6 is out of range for 6"),
        (-7, "-7"),
        ([0, 6], "index 6 "),
        ([-7, 0], "index -7 "),
        ([[0, 1]], "a mask or a list of numbers; got"),
        ([0.5], "selected by"),
        ("values", "selected by"),
        (np.ones(5, dtype=bool), r"mask of shape \(5,\)"),
        ((1, 2), "one axis"),
    ],
)
def test_wrong_keys_raise_index_error(batch, key, said):
    with pytest.raises(IndexError, match=said):
        batch[key]


def test_asarray_gives_one_object_per_structure(batch):
    array = np.asarray(batch)
    assert array.shape == (6,)
    assert array.dtype == object
    assert_holds(as_environments(array), parts(batch))
    assert_holds(as_environments(array[[2, 1]]), [parts(batch)[2], parts(batch)[1]])
    assert np.asarray(batch, dtype=object).shape == (6,)
    with pytest.raises(StructureError, match="kernel that compares atoms"):
        np.asarray(batch, dtype=float)


def test_items_compare_by_content(batch):
    again = batch[[0, 0, 1]]
    assert again[0] == again[1]
    assert again[0] != again[2]
    assert (again[0] == "H2O") is False
    assert len(set(again)) == 2
    assert batch[4] in batch
    values, numbers = np.ones((2, 2)), np.array([1, 8])
    for other in (
        AtomFeatures(np.ones((2, 3)), numbers),
        AtomFeatures(2 * values, numbers),
        AtomFeatures(values, numbers[::-1]),
    ):
        assert AtomFeatures(values, numbers) != other
    # Four numbers of two atoms are not those of one atom, nor of none.
    assert AtomFeatures(np.ones((1, 0)), numbers[:1]) != AtomFeatures(np.ones((1, 1)), numbers[:1])


def test_minus_zero_is_zero():
    plus, minus = (Environments([[zero]], [1], [0, 1])[0] for zero in (0.0, -0.0))
    assert plus == minus
    assert hash(plus) == hash(minus)


class SharedElements(NormalizedKernelMixin, GenericKernelMixin, Kernel):
    """exp(-|difference of the sums of features|^2 / 2)."""

    def __init__(self):
        pass

    def __call__(self, X, Y=None, eval_gradient=False):
        a, b = (
            np.array([item.values.sum(axis=0) for item in as_environments(Z)])
            for Z in (X, X if Y is None else Y)
        )
        K = np.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(axis=2))
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def is_stationary(self):
        return False


@pytest.mark.parametrize("convert", [lambda X: X, np.asarray, list])
def test_gaussian_process_of_scikit_learn_works_on_them(batch, convert):
    y = np.sin(np.arange(6))
    model = GaussianProcessRegressor(SharedElements(), alpha=1e-10, optimizer=None)
    mean = model.fit(convert(batch), y).predict(convert(batch))
    np.testing.assert_allclose(mean, y, atol=1e-6)


def test_train_test_split_and_kfold(batch):
    train, test, y_train, _ = train_test_split(batch, np.array(SIZES), random_state=0)
    assert isinstance(train, Environments)
    assert_array_equal(train.sizes, y_train)
    assert len(train) + len(test) == 6
    for fold, _ in KFold(3).split(batch):
        assert_array_equal(batch[fold].sizes, np.array(SIZES)[fold])


# -- copies --------------------------------------------------------------------------------------


def test_pickle_and_joblib_keep_everything(batch, tmp_path):
    joblib.dump(batch, tmp_path / "batch.joblib")
    for copy in (pickle.loads(pickle.dumps(batch)), joblib.load(tmp_path / "batch.joblib")):
        assert_holds(copy, parts(batch))
    item = pickle.loads(pickle.dumps(batch[3]))
    assert item == batch[3]
    assert joblib.hash(batch[:3]) == joblib.hash(batch[[0, 1, 2]])
    assert joblib.hash(batch[:3]) != joblib.hash(batch[:4])


def test_arrays_are_read_only_and_copied():
    values, numbers, offsets = np.ones((2, 2)), np.array([1, 8]), np.array([0, 2])
    batch = Environments(values, numbers, offsets)
    values[0], numbers[0], offsets[1] = 9.0, 9, 9
    assert parts(batch) == [([[1.0, 1.0], [1.0, 1.0]], [1, 8])]
    for array in (batch.values, batch.numbers, batch.offsets, batch[0].values, batch[0].numbers):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_concatenation_is_that_of_lists(batch):
    joined = Environments.concatenate([batch[3:], batch[:0], batch[[1]], batch])
    everything = parts(batch)
    assert_holds(joined, [*everything[3:], everything[1], *everything])
    assert Environments.concatenate([batch]) is batch
    with pytest.raises(StructureError, match="no batches"):
        Environments.concatenate([])
    other = Environments([[1.0, 2.0]], [1], [0, 1])
    with pytest.raises(StructureError, match="batch 2 has 2 features per atom and batch 0 has 3"):
        Environments.concatenate([batch, batch, other])


def test_as_environments_takes_batches_and_items(batch):
    assert as_environments(batch) is batch
    assert_holds(as_environments(batch[3]), [parts(batch)[3]])
    assert_holds(as_environments(item for item in batch), parts(batch))


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ("features.npz", "str 'features.npz' where features per atom"),
        (b"x", "bytes"),
        (5, "int 5"),
        (None, "NoneType None"),
        ([[0.0, 1.0]], "item 0 is list"),
        (np.zeros((3, 4)), "item 0 is ndarray"),
        ([], "no items"),
        (
            [AtomFeatures(np.ones((1, 2)), np.array([1])), AtomFeatures(np.ones((1, 3)), [1])],
            "item 1 has 3 features per atom and item 0 has 2",
        ),
    ],
)
def test_what_is_none_is_named(X, said):
    with pytest.raises(StructureError, match=said):
        as_environments(X)


def test_lists_and_arrays_of_one_item(batch):
    array = np.empty((), dtype=object)
    array[()] = batch[3]
    assert_holds(as_environments(array), [parts(batch)[3]])
    assert_holds(Environments.concatenate([[batch[3]], batch[1:2]]), parts(batch[[3, 1]]))
    with pytest.raises(StructureError, match="int 5"):
        Environments.concatenate([5])


def test_items_are_made_of_lists_and_checked():
    item = AtomFeatures([[0.5, 1.0], [0.0, 2.0]], [8, 1])
    assert as_environments([item]).values.tolist() == [[0.5, 1.0], [0.0, 2.0]]
    assert item == AtomFeatures(np.array([[0.5, 1.0], [0.0, 2.0]]), np.array([8, 1]))
    for values, numbers in ([[0.0]], [6, 1]), ([0.0], [6]), ([[0.0]], 6), (np.ones(2), [6, 6]):
        with pytest.raises(StructureError, match="one row of features for each atom"):
            AtomFeatures(values, numbers)
    with pytest.raises(StructureError, match="whole numbers"):
        AtomFeatures([[0.0]], ["C"])


def test_they_show_what_they_are(batch):
    water = Environments(np.ones((4, 2)), [8, 1, 1, 6], [0, 3, 4])
    assert repr(water) == "Environments(2 structures, 4 atoms, 2 features)"
    assert repr(water[0]) == "AtomFeatures(H2O, 3 atoms, 2 features)"
    assert water[0].formula == "H2O"


# -- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"values": "water"}, "values must hold real numbers; got str 'water'"),
        ({"values": [["1"], ["2"], ["3"]]}, "values must hold real numbers"),
        ({"values": [[True], [False], [True]]}, "values must hold real numbers"),
        ({"values": [[1.0], [2.0], [3j]]}, "values must hold real numbers"),
        ({"values": [[1.0], [2.0, 3.0], [1.0]]}, "values must be one rectangular array"),
        ({"values": [1.0, 2.0, 3.0]}, r"values has shape \(3,\).*\(3, n_features\)"),
        ({"values": [[1.0]] * 2}, r"values has shape \(2, 1\)"),
        ({"values": [[1.0], [2.0], [np.nan]]}, "structure 1: feature 0 of atom 0 is nan"),
        ({"values": [[1.0, 1.0], [2.0, np.inf], [3.0, 3.0]]}, "structure 0: feature 1 of atom 1"),
        ({"numbers": [1, 8]}, r"numbers has shape \(2,\)"),
        ({"numbers": [1, 8, 1.5]}, "numbers must hold whole numbers"),
        ({"offsets": []}, "offsets must be"),
        ({"offsets": 3}, "offsets must be"),
        ({"offsets": [1, 3]}, "offsets must be"),
        ({"offsets": [0, 2, 2, 3]}, "structure 1 has no atoms"),
        ({"offsets": [0, 3, 2]}, "structure 1 has no atoms"),
        ({"offsets": [0, 2, 4]}, "values has shape"),
    ],
)
def test_arrays_that_do_not_fit(wrong, said):
    fields = {"values": [[1.0], [2.0], [3.0]], "numbers": [1, 8, 1], "offsets": [0, 2, 3]} | wrong
    with pytest.raises(StructureError, match=said):
        Environments(**fields)


@pytest.mark.parametrize("number", [0, 119, -1])
def test_unknown_elements(number):
    with pytest.raises(UnknownElementError, match=rf"structure 1: atom 1 .* {number},.*1 \(H\)"):
        Environments(np.ones((4, 1)), [8, 6, number, 1], [0, 1, 4])


def test_no_structures_and_no_features():
    assert Environments(np.zeros((0, 4)), [], [0]).shape == (0,)
    assert len(np.asarray(Environments(np.zeros((0, 4)), [], [0]))) == 0
    assert Environments(np.zeros((2, 0)), [1, 1], [0, 2]).n_features == 0


@settings(max_examples=examples(100), deadline=None)
@given(
    hnp.arrays(float, st.tuples(st.integers(0, 4), st.integers(0, 2))),
    hnp.arrays(np.int64, st.integers(0, 4), elements=st.integers(-1, 120)),
    st.lists(st.integers(-1, 5), max_size=4),
)
def test_any_arrays_make_a_batch_or_a_typed_error(values, numbers, offsets):
    try:
        batch = Environments(values, numbers, offsets)
    except KernchemError:
        pass
    else:
        assert batch.offsets[-1] == len(batch.numbers) == len(batch.values)
        assert sum(len(item.numbers) for item in batch) == len(batch.numbers)


def _block_sparse(rng):
    """Two structures in two blocks, and the same features as one array."""
    numbers, offsets = np.array([8, 1, 1, 6, 8]), np.array([0, 3, 5])
    first, second = rng.normal(size=(2, 2)), rng.normal(size=(3, 3))
    dense = np.zeros((5, 6))
    dense[np.ix_([0, 4], [0, 5])] = first
    dense[np.ix_([3, 1, 2], [1, 2, 5])] = second
    blocks = [
        FeatureBlock(np.array([0, 4]), np.array([0, 5]), first),
        FeatureBlock(np.array([3, 1, 2]), np.array([1, 2, 5]), second),
    ]
    return Environments.from_blocks(blocks, numbers, offsets, 6), dense


def test_blocks_and_the_dense_array_are_the_same_features(rng):
    sparse, dense = _block_sparse(rng)
    assert sparse.n_features == 6
    assert_array_equal(sparse.values, dense)
    batch = Environments(dense, sparse.numbers, sparse.offsets)
    assert batch.blocks is None
    assert_array_equal(batch.nonzero_blocks()[0].values, dense)
    for key in ([1, 0, 1], slice(1, 2), [0]):
        assert_array_equal(sparse[key].values, batch[key].values)
        assert sum(len(block.atoms) for block in sparse[key].blocks) == len(sparse[key].numbers)
    assert sparse[1] == batch[1]


def test_an_item_of_blocks_costs_no_work_on_the_whole_batch(rng):
    n = 20_000
    rows = rng.permutation(n)
    values = rng.normal(size=(n, 1))
    blocks = [FeatureBlock(rows[: n // 2], np.array([0]), values[: n // 2])]
    blocks += [FeatureBlock(rows[n // 2 :], np.array([2]), values[n // 2 :])]
    batch = Environments.from_blocks(blocks, np.ones(n, dtype=int), np.arange(0, n + 1, 2), 3)
    assert_array_equal(batch[-1].values, batch.values[-2:])
    tracemalloc.start()
    try:
        items = [batch[k] for k in (0, 1, 5000)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n
    for item, k in zip(items, (0, 1, 5000), strict=True):
        assert_array_equal(item.values, batch.values[2 * k : 2 * k + 2])


def test_blocks_survive_pickling_and_joining(rng):
    sparse, dense = _block_sparse(rng)
    again = pickle.loads(pickle.dumps(sparse))
    assert_array_equal(again.values, dense)
    assert len(again.blocks) == 2
    joined = Environments.concatenate([sparse, sparse[1:], Environments(dense, *_layout(sparse))])
    assert_array_equal(joined.values, np.concatenate([dense, dense[3:], dense]))
    # Blocks of the same columns have become one.
    assert len(joined.blocks) == 3


def _layout(batch):
    return batch.numbers, batch.offsets
