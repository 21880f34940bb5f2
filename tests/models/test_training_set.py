import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from kernchem.errors import SettingError
from kernchem.models.training_set import TrainingSet

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


def test_other_groups_and_other_compositions_stay_apart():
    assert len(TrainingSet.distinct(FEATURES, LABELS, WEIGHTS, groups=np.arange(5))) == 5
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


def test_folds_follow_scikit_learn(training):
    assert training.folds(None, None) is None
    expected = [test for _, test in KFold(3).split(np.zeros(3))]
    for fold, other in zip(training.folds(3, None), expected, strict=True):
        assert np.array_equal(fold, other)
    groups = np.array([7, 7, 7, 9, 7])
    folds = training.folds(None, groups)
    assert [fold.tolist() for fold in folds] == [[0, 1], [2]]
    assert sorted(f.tolist() for f in training.folds(GroupKFold(2), groups)) == [[0, 1], [2]]


def test_overlapping_folds_are_refused(training):
    with pytest.raises(SettingError, match="overlap"):
        training.folds(ShuffleSplit(5, test_size=2, random_state=0), None)
