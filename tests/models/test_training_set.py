import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from kernchem.errors import SettingError
from kernchem.models.training_set import TrainingSet, fold_numbers

FEATURES = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, -0.0], [3.0, 0.0], [2.0, 0.0]])
LABELS = np.array([[1.0], [2.0], [4.0], [8.0], [6.0]])
WEIGHTS = np.array([1.0, 1.0, 2.0, 1.0, 3.0])


@pytest.fixture
def training():
    return TrainingSet.distinct(FEATURES, LABELS, WEIGHTS)


def test_identical_samples_are_merged(training):
    assert training.first.tolist() == [0, 1, 3]
    assert training.member.tolist() == [0, 1, 0, 2, 1]
    assert_allclose(training.weights, [3.0, 4.0, 1.0])
    assert_allclose(training.targets[:, 0], [(1 + 8) / 3, (2 + 18) / 4, 8.0])


def test_other_compositions_stay_apart():
    basis = np.arange(5.0)[:, None]
    assert len(TrainingSet.distinct(FEATURES, LABELS, WEIGHTS, basis)) == 5


def test_labels_of_distinct_samples_are_kept_to_the_bit():
    labels = np.array([[0.1], [0.2], [0.3]])
    training = TrainingSet.distinct(np.eye(3), labels, np.full(3, 0.3))
    assert np.array_equal(training.targets, labels)


def test_residuals_compare_every_copy_with_one_prediction(training):
    residuals = np.array([[0.5], [-1.0], [2.0]])
    predictions = (training.targets - residuals)[training.member]
    assert_allclose(training.residuals_of_samples(residuals, LABELS), LABELS - predictions)


def test_part_keeps_a_basis_of_full_rank():
    basis = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [1.0, 5.0]])
    training = TrainingSet.distinct(np.arange(4.0)[:, None], np.ones((4, 1)), np.ones(4), basis)
    part = training.take(np.array([0, 2]), square=False)
    assert part.basis.shape == (2, 1)
    assert_allclose(np.abs(part.basis[:, 0]), [1.0, 3.0])


def test_part_of_a_kernel_matrix_is_square():
    K = np.arange(16.0).reshape(4, 4)
    part = TrainingSet.all(K, np.ones((4, 1)), np.ones(4)).take(np.array([1, 3]), square=True)
    assert_allclose(part.features, [[5.0, 7.0], [13.0, 15.0]])


def test_folds_follow_scikit_learn():
    labels = np.zeros((7, 1))
    assert fold_numbers(None, None, labels) is None
    fold = fold_numbers(3, None, labels)
    for number, (_, test) in enumerate(KFold(3).split(labels)):
        assert np.flatnonzero(fold == number).tolist() == test.tolist()
    groups = ["b", "b", "a", "a", "c", "c", "c"]
    assert fold_numbers(None, groups, labels).tolist() == [1, 1, 0, 0, 2, 2, 2]
    fold = fold_numbers(GroupKFold(2), groups, labels)
    assert len({(g, f) for g, f in zip(groups, fold, strict=True)}) == 3
    part = [([0, 3, 4, 5, 6], [1, 2])]
    assert fold_numbers(part, None, labels).tolist() == [-1, 0, 0, -1, -1, -1, -1]


def test_copies_leave_with_the_first_of_them(training):
    folds = training.folds(np.array([4, 2, 9, -1, 9]))
    assert [fold.tolist() for fold in folds] == [[1], [0]]
    folds = training.folds(np.array([-1, 2, 9, -1, 9]))
    assert [fold.tolist() for fold in folds] == [[1], [0]]


def test_a_fold_must_leave_something(training):
    with pytest.raises(SettingError, match="all distinct samples"):
        training.folds(np.zeros(5, dtype=int))


def test_folds_that_cannot_be_used_are_refused():
    with pytest.raises(SettingError, match="overlap"):
        fold_numbers(ShuffleSplit(5, test_size=2, random_state=0), None, LABELS)
    with pytest.raises(SettingError, match="trains on a part"):
        fold_numbers(TimeSeriesSplit(2), None, LABELS)
    with pytest.raises(SettingError, match=r"groups has the shape \(4,\)"):
        fold_numbers(None, np.arange(4), LABELS)
    with pytest.raises(SettingError, match="cv=9 cannot split"):
        fold_numbers(9, None, LABELS)
    for no_splits in ([1, 2], [([0, 1, 2, 3], [9])], [([0, 1], ["a"])], [([0.5], [1])], object()):
        with pytest.raises(SettingError, match="cannot split"):
            fold_numbers(no_splits, None, LABELS)


def test_merged_samples_keep_their_linear_part():
    basis = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [5.0, 6.0], [3.0, 4.0]])
    training = TrainingSet.distinct(FEATURES, LABELS, WEIGHTS, basis)
    assert_allclose(training.basis, basis[[0, 1, 3]])
    assert_allclose(training.features, FEATURES[[0, 1, 3]])


def test_any_label_of_a_distinct_sample_is_kept_to_the_bit(rng):
    # A product and a quotient by the same weight give back most numbers, not all.
    labels, weights = rng.normal(size=(200, 1)), rng.uniform(0.1, 3.0, size=200)
    assert not np.array_equal(labels[:, 0] * weights / weights, labels[:, 0])
    training = TrainingSet.distinct(np.arange(200.0)[:, None], labels, weights)
    assert np.array_equal(training.targets, labels)


def test_part_keeps_what_belongs_to_its_samples(training):
    part = training.take(np.array([2, 0]), square=False)
    assert part.features.tolist() == [[3.0, 0.0], [1.0, 0.0]]
    assert part.weights.tolist() == [1.0, 3.0]
    assert part.targets.tolist() == [[8.0], [3.0]]
    assert part.first.tolist() == [3, 0]


def test_splitters_see_the_labels():
    labels = np.array([[0.0], [0.0], [0.0], [0.0], [1.0], [1.0]])
    fold = fold_numbers(StratifiedKFold(2), None, labels)
    assert [np.sum(labels[fold == number]) for number in (0, 1)] == [1.0, 1.0]
