import re

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

from kernchem.errors import KernchemWarning, SettingError, SingularKernelError
from kernchem.solvers import CholeskyFactor, cholesky


@pytest.fixture
def kernel(rng):
    points = rng.normal(size=(70, 3))
    distance = np.abs(points[:, None] - points).sum(axis=2)
    return np.exp(-distance / 2.0)


NOISE = 1e-3


@pytest.fixture
def regularised(kernel):
    return kernel + NOISE * np.eye(len(kernel))


@pytest.mark.parametrize("order", ["C", "F"])
def test_solves_with_one_and_with_many_right_hand_sides(kernel, regularised, order, rng):
    B = rng.normal(size=(70, 4))
    factor = CholeskyFactor(np.array(kernel, order=order), NOISE)
    assert_allclose(factor.solve(B), np.linalg.solve(regularised, B), rtol=1e-9)
    assert_allclose(factor.solve(B[:, 0]), np.linalg.solve(regularised, B[:, 0]), rtol=1e-9)


@pytest.mark.parametrize("inverted", [False, True])
def test_half_solve_is_the_triangular_inverse(kernel, regularised, inverted, rng):
    B = rng.normal(size=(70, 3))
    lower = np.linalg.cholesky(regularised)
    factor = CholeskyFactor(kernel.copy(), NOISE)
    if inverted:
        factor.invert()
    assert_allclose(factor.half_solve(B), np.linalg.solve(lower, B), rtol=1e-9)
    assert_allclose(factor.half_solve(B, transpose=True), np.linalg.solve(lower.T, B), rtol=1e-9)
    assert_allclose(factor.half_solve(B[:, 0]), np.linalg.solve(lower, B[:, 0]), rtol=1e-9)
    assert_allclose(factor.solve(B), np.linalg.solve(regularised, B), rtol=1e-8)


def test_logdet_and_parts_of_the_inverse(kernel, regularised):
    factor = CholeskyFactor(kernel.copy(), NOISE)
    inverse = np.linalg.inv(regularised)
    assert_allclose(factor.logdet(), np.linalg.slogdet(regularised)[1], rtol=1e-12)
    assert_allclose(factor.diag_inverse(), np.diag(inverse), rtol=1e-9)
    rows = np.array([60, 3, 17])
    assert_allclose(factor.inverse_block(rows), inverse[np.ix_(rows, rows)], rtol=1e-9, atol=1e-9)


def test_noise_may_differ_from_row_to_row(kernel, rng):
    noise = rng.uniform(0.1, 1.0, size=70)
    expected = np.linalg.inv(kernel + np.diag(noise))
    assert_allclose(CholeskyFactor(kernel.copy(), noise).solve(np.eye(70)), expected, atol=1e-12)


def test_condition_number_is_an_estimate_within_a_factor_of_three(kernel, regularised):
    exact = np.linalg.cond(regularised, 1)
    assert exact / 3 < CholeskyFactor(kernel.copy(), NOISE).condition() <= exact * 1.001


def test_works_in_the_memory_of_the_matrix(kernel):
    K = kernel.copy()
    upper = K[np.triu_indices(70, 1)].copy()
    factor = CholeskyFactor(K, NOISE)
    assert np.shares_memory(factor._a, K)
    lower = np.linalg.cholesky(kernel + NOISE * np.eye(70))
    assert_allclose(np.tril(factor._a), lower, atol=1e-12)
    assert_allclose(factor._a[np.triu_indices(70, 1)], upper)


def test_tiny_regulariser_is_kept():
    factor = CholeskyFactor(np.ones((2, 2)), 1e-12)
    assert factor.jitter == 0.0
    # (1, -1) is the eigenvector of the eigenvalue 1e-12: any floor shows at once.
    assert_allclose(factor.solve(np.array([1.0, -1.0])), [1e12, -1e12], rtol=1e-3)


def test_ill_conditioned_system_against_fifty_digits():
    x = np.linspace(0.0, 1.0, 12)
    K = np.exp(-np.abs(np.subtract.outer(x, x)) / 50.0)
    with mpmath.workdps(50):
        exact = mpmath.matrix((K + 1e-12 * np.eye(12)).tolist())
        solution = mpmath.lu_solve(exact, mpmath.matrix(np.sin(x).tolist()))
    expected = np.array(solution.T.tolist()[0], dtype=float)
    assert_allclose(CholeskyFactor(K, 1e-12).solve(np.sin(x)), expected, rtol=1e-10)


def test_duplicate_rows_get_reported_jitter():
    K = np.exp(-np.abs(np.subtract.outer([0.0, 1.0, 1.0, 3.0], [0.0, 1.0, 1.0, 3.0])))
    with pytest.warns(KernchemWarning, match="1 and 2"):
        factor = CholeskyFactor(K.copy(), 0.0)
    assert 0 < factor.jitter <= 1e-6
    y = np.array([0.0, 1.0, 1.0, 3.0])
    assert_allclose(K @ factor.solve(y), y, atol=1e-6)
    with pytest.raises(SingularKernelError, match="1 and 2"):
        CholeskyFactor(K.copy(), 0.0, jitter=False)
    assert CholeskyFactor.attempt(K.copy(), 0.0) is None


def test_indefinite_matrix_is_refused_with_its_smallest_eigenvalue():
    K = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(SingularKernelError, match=r"smallest eigenvalue is -1"):
        CholeskyFactor(K, 0.0)


def test_the_cause_of_a_failure_is_told(monkeypatch):
    cause = "This kernel is not positive semi-definite."
    K = np.array([[1.0, 2.0, -0.1], [2.0, 1.0, 0.0], [-0.1, 0.0, 1.0]])
    with pytest.raises(SingularKernelError, match=f"eigenvalue is -1.*: 0 and 1. {cause}$"):
        CholeskyFactor(K, 0.0, cause=cause)
    vectors = np.array([[10.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    with pytest.raises(SingularKernelError, match=f"No two rows are duplicates. {cause}$"):
        CholeskyFactor(vectors @ vectors.T, -1e-9, jitter=False, cause=cause)
    with pytest.warns(KernchemWarning, match=cause):
        CholeskyFactor(np.ones((2, 2)), -1e-15, cause=cause)
    monkeypatch.setattr(cholesky, "_EIGENVALUE_LIMIT", 2)
    with pytest.raises(SingularKernelError, match=r"not positive definite\. Raise alpha"):
        CholeskyFactor(-np.eye(3), 0.0)


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (0, 1)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_matrix_is_refused(place, value):
    K = np.eye(2)
    K[place] = K[place[::-1]] = value
    with pytest.raises(SingularKernelError, match="holds NaN or infinity") as raised:
        CholeskyFactor(K, 0.1)
    # More noise or a rougher kernel is no cure.
    assert not re.search("alpha|smooth", str(raised.value))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_matrix_whose_mean_diagonal_overflows_is_refused():
    with pytest.raises(SingularKernelError, match="holds NaN or infinity"):
        CholeskyFactor(np.full((3, 3), 1e308), 0.1)


@pytest.mark.parametrize(
    "matrix", [np.zeros((2, 3)), np.eye(3, dtype=np.float32), np.eye(6)[::2, ::2]]
)
def test_matrix_that_cannot_be_factorised_in_place_is_refused(matrix):
    with pytest.raises(SettingError):
        CholeskyFactor(matrix, 1.0)


def test_one_by_one_matrix():
    factor = CholeskyFactor(np.array([[3.0]]), 1.0)
    assert factor.solve(np.array([8.0]))[0] == 2.0
    assert factor.diag_inverse()[0] == 0.25


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_jitter_is_the_smallest_power_of_ten_relative_to_the_diagonal(scale):
    # The smallest eigenvalue is -3e-9 times the mean diagonal.
    K = scale * np.array([[1.0, 1.0 + 3e-9], [1.0 + 3e-9, 1.0]])
    with pytest.warns(KernchemWarning, match="0 and 1"):
        assert CholeskyFactor(K, 0.0).jitter == pytest.approx(1e-8 * scale)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_jitter_does_not_hide_an_indefinite_matrix(scale):
    # Beyond rounding: the smallest eigenvalue is -1e-4 times the mean diagonal.
    K = scale * np.array([[1.0, 1.0001], [1.0001, 1.0]])
    with pytest.raises(SingularKernelError, match="smallest eigenvalue"):
        CholeskyFactor(K, 0.0)


def test_jitter_comes_on_top_of_the_noise(rng):
    # More rows than a block of the pass that restores the matrix; the first and the last are alike.
    points = rng.normal(size=(150, 3))
    points[-1] = points[0]
    K = np.exp(-np.abs(points[:, None] - points).sum(axis=2))
    noise = rng.uniform(0.1, 0.2, size=150)
    noise[[0, -1]] = -1e-9
    with pytest.warns(KernchemWarning, match="0 and 149"):
        factor = CholeskyFactor(K.copy(), noise)
    lower = np.tril(factor._a)
    assert 1e-9 < factor.jitter <= 1e-7
    assert_allclose(lower @ lower.T, K + np.diag(noise + factor.jitter), atol=1e-14)


def test_rows_of_different_scale_are_no_duplicates():
    # Three vectors in the plane; the first two have the correlation 0.8, and the inner product 8.
    vectors = np.array([[10.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    with pytest.raises(SingularKernelError, match="No two rows are duplicates"):
        CholeskyFactor(vectors @ vectors.T, -1e-9, jitter=False)


@pytest.mark.parametrize("noise", [1.0, 1e3])
def test_condition_number_counts_the_noise_and_negative_elements(noise, rng):
    vectors = rng.normal(size=(70, 3))
    K = vectors @ vectors.T
    exact = np.linalg.cond(K + noise * np.eye(70), 1)
    assert exact / 3 < CholeskyFactor(K, noise).condition() <= exact * 1.001


def test_three_pairs_of_duplicates_are_named_and_no_more():
    with pytest.raises(SingularKernelError) as raised:
        CholeskyFactor(np.ones((40, 40)), 0.0, jitter=False)
    text = str(raised.value)
    assert "0 and 1, 0 and 2, 1 and 2." in text
