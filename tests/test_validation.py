"""Labels and weights: what is taken, and what is refused with the sample's index."""

import numpy as np
import pytest

from kernchem._validation import check_labels, check_weights, real_numbers, whole_numbers
from kernchem.errors import LabelError, SettingError, StructureError
from kernchem.kernels import Gaussian


@pytest.mark.parametrize("shape", [(), (3, 2, 1)])
def test_labels_are_a_row_or_a_table(shape):
    with pytest.raises(LabelError, match=r"expected \(3,\) or \(3, n_targets\)"):
        check_labels(np.zeros(shape), 3)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_label_that_is_not_finite_is_named_by_its_row(value, word):
    labels = np.zeros((4, 3))
    labels[2, 1] = value
    with pytest.raises(LabelError, match=rf"contains {word}: the label of sample 2 .*1 such"):
        check_labels(labels, 4)


@pytest.mark.parametrize("labels", [None, ["a", "b"], [[1.0], [1.0, 2.0]]])
def test_labels_that_are_no_numbers(labels):
    with pytest.raises(LabelError):
        check_labels(labels, 2)


NO_NUMBERS = [
    (np.ones(2) * 1j, "complex numbers"),
    (np.array(["2020-01-01", "NaT"], dtype="M8[D]"), "dates"),
    (np.array([1, 2], dtype="m8[s]"), "time spans"),
    (["1", "2.5"], "texts"),
    (np.array(["1", 2.0], dtype=object), "texts"),
    (np.ma.masked_array([1.0, 2.0], mask=[False, True]), "masked"),
]


@pytest.mark.parametrize(("values", "message"), NO_NUMBERS)
def test_what_could_be_made_numbers_is_told_from_numbers(values, message):
    with pytest.raises(LabelError, match=message):
        check_labels(values, 2)
    with pytest.raises(LabelError, match=f"sample_weight.*{message}"):
        check_weights(values, 2)
    with pytest.raises(SettingError, match=message):
        Gaussian()(np.ma.reshape(values, (1, 2)), [[0.0, 0.0]])


def test_objects_that_are_numbers_are_labels():
    given = np.array([1, np.float32(2.5)], dtype=object)
    assert check_labels(given, 2).tolist() == check_weights(given, 2).tolist() == [1.0, 2.5]
    plain = np.ones(2)
    assert not np.shares_memory(check_labels(plain, 2), plain)


def test_one_weight_is_that_of_every_sample():
    assert check_weights(2.5, 3).tolist() == [2.5, 2.5, 2.5]
    assert check_weights(None, 2).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1.0, 1.0], "weight of sample 1 is -1.0"),
        ([1.0, 1.0, np.inf], "weight of sample 2 is inf"),
        ([np.nan, 1.0, 1.0], "weight of sample 0 is nan"),
        ([0.0, 0.0, 0.0], "every sample_weight is zero"),
        ([1.0, 1.0], r"shape \(2,\); expected \(3,\)"),
        (np.ones((3, 1)), r"shape \(3, 1\); expected \(3,\)"),
    ],
)
def test_weights_that_cannot_be_used(weights, message):
    with pytest.raises(LabelError, match=message):
        check_weights(weights, 3)


def test_whole_numbers_are_exact_copies():
    values = np.array([1, 2])
    assert whole_numbers(values, "x").dtype == np.int64
    assert not np.shares_memory(whole_numbers(values, "x"), values)
    assert whole_numbers([3.0, -2.0], "x").tolist() == [3, -2]
    assert whole_numbers([2.0**53], "x").tolist() == [2**53]
    with pytest.raises(StructureError, match="whole"):
        whole_numbers([2.0**53 + 2], "x")


def test_real_numbers_are_copies_in_c_order():
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    array = real_numbers(values, "x")
    assert array.flags.c_contiguous
    assert not np.shares_memory(array, values)
