"""Residuals of a path of regularisers against explicit refits, and against Cholesky factors."""

import numpy as np
import pytest
from effort import size
from numpy.testing import assert_allclose

from kernchem.errors import SettingError
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares, RegularisationPath

ALPHAS = np.array([1e-3, 0.02, 1.0, 30.0])


def left_out(K, noise, basis, y, i):
    """Return residual and variance of row i by the saddle-point system without that row."""
    kept = np.delete(np.arange(len(K)), i)
    n, p = len(kept), basis.shape[1]
    system = np.zeros((n + p, n + p))
    system[:n, :n] = K[np.ix_(kept, kept)] + np.diag(noise[kept])
    system[:n, n:] = basis[kept]
    system[n:, :n] = basis[kept].T
    cross = np.concatenate([K[kept, i], basis[i]])
    weights = np.linalg.solve(system, cross)
    right = np.vstack([y[kept], np.zeros((p, y.shape[1]))])
    return y[i] - weights @ right, K[i, i] + noise[i] - weights @ cross


def smooth_kernel(rng, n, width=1.0):
    points = rng.normal(size=(n, 2)) / width
    return np.exp(-((points[:, None] - points) ** 2).sum(axis=2))


@pytest.fixture(params=[0, 1, 3])
def problem(request, rng):
    n, p = 25, request.param
    basis = rng.integers(0, 5, size=(n, p)).astype(float)
    y = rng.normal(size=(n, 2)) + 10.0 * basis.sum(axis=1, keepdims=True)
    return smooth_kernel(rng, n), y, basis


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_leave_one_out_equals_refits(problem, rng, weighted, order):
    K, y, basis = problem
    weights = rng.uniform(0.3, 3.0, size=len(y)) if weighted else None
    path = RegularisationPath(np.array(K, order=order), y, basis, weights)
    residuals, variances = path.loo(ALPHAS)
    assert residuals.shape == (4, *y.shape)
    for k, alpha in enumerate(ALPHAS):
        noise = alpha / (np.ones(len(y)) if weights is None else weights)
        for i in range(len(y)):
            residual, variance = left_out(K, noise, basis, y, i)
            assert_allclose(residuals[k, i], residual, rtol=1e-8, atol=1e-9)
            assert_allclose(variances[k, i], variance, rtol=1e-8)


@pytest.mark.parametrize("p", [0, 4])
def test_equals_cholesky_over_many_orders_of_magnitude(rng, p):
    n = size(300, 40)
    K = smooth_kernel(rng, n, width=3.0)
    basis = rng.integers(0, 5, size=(n, p)).astype(float)
    y = np.sin(np.arange(n))[:, None] + 100.0 * basis.sum(axis=1, keepdims=True)
    alphas = np.geomspace(1e-7, 1e2, 60)
    residuals, variances = RegularisationPath(K.copy(), y, basis).loo(alphas)
    for k in range(0, 60, 7):
        solution = GeneralisedLeastSquares(CholeskyFactor(K.copy(), alphas[k]), y, basis)
        expected, spread = solution.loo()
        assert_allclose(variances[k], spread, rtol=1e-6)
        assert_allclose(residuals[k], expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    # Rounding is relative to the norm of K: well away from it there are more digits.
    solution = GeneralisedLeastSquares(CholeskyFactor(K.copy(), alphas[40]), y, basis)
    expected, spread = solution.loo()
    assert_allclose(variances[40], spread, rtol=1e-9)
    assert_allclose(residuals[40], expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_kernel_without_correlations_at_a_tiny_regulariser(rng):
    n = 40
    x = np.sort(rng.uniform(0, 100, size=n))
    K = np.exp(-np.abs(np.subtract.outer(x, x)))
    y = np.sin(x)[:, None]
    residuals, _ = RegularisationPath(K.copy(), y).loo([1e-10])
    expected, _ = GeneralisedLeastSquares(CholeskyFactor(K.copy(), 1e-10), y).loo()
    assert_allclose(residuals[0], expected, rtol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_rows(rng, n):
    K, y = smooth_kernel(rng, n), rng.normal(size=(n, 1))
    for p in range(n):
        basis = rng.normal(size=(n, p))
        residuals, variances = RegularisationPath(K.copy(), y, basis).loo([0.5])
        solution = GeneralisedLeastSquares(CholeskyFactor(K.copy(), 0.5), y, basis)
        expected, spread = solution.loo()
        assert_allclose(residuals[0], expected, rtol=1e-8, atol=1e-12)
        assert_allclose(variances[0], spread, rtol=1e-8)


def test_more_rows_than_a_task_of_a_thread(rng):
    n = size(1100, 70)
    K, y = smooth_kernel(rng, n), rng.normal(size=(n, 1))
    residuals, _ = RegularisationPath(K.copy(), y).loo([1e-2])
    expected, _ = GeneralisedLeastSquares(CholeskyFactor(K.copy(), 1e-2), y).loo()
    assert_allclose(residuals[0], expected, rtol=1e-7, atol=1e-10)


def test_rows_that_alone_determine_the_linear_part_carry_nan(rng):
    basis = np.ones((10, 2))
    basis[:, 1] = 0.0
    basis[4, 1] = 1.0
    path = RegularisationPath(smooth_kernel(rng, 10), rng.normal(size=(10, 1)), basis)
    residuals, variances = path.loo([0.1, 0.2])
    assert (np.isnan(residuals[:, :, 0]) == (np.arange(10) == 4)).all()
    assert (np.isnan(variances) == (np.arange(10) == 4)).all()


def test_nothing_is_left_of_a_basis_of_all_rows(rng):
    residuals, variances = RegularisationPath(np.eye(3), np.ones((3, 1)), np.eye(3)).loo([1.0])
    assert np.isnan(residuals).all()
    assert np.isnan(variances).all()


def test_regularisers_that_leave_a_negative_eigenvalue_carry_nan(rng):
    K = smooth_kernel(rng, 20)
    K -= 0.5 * np.eye(20)
    residuals, variances = RegularisationPath(K.copy(), rng.normal(size=(20, 1))).loo([0.1, 0.6])
    assert np.isnan(residuals[0]).all()
    assert np.isnan(variances[0]).all()
    assert np.isfinite(residuals[1]).all()
    assert (variances[1] > 0.0).all()


def test_works_in_the_memory_of_the_kernel_matrix(rng):
    K = smooth_kernel(rng, 30)
    before = K.copy()
    path = RegularisationPath(K, rng.normal(size=(30, 1)), np.ones((30, 1)))
    assert np.shares_memory(path._z, K)
    assert not np.array_equal(K, before)


@pytest.mark.parametrize(
    ("K", "y", "match"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), "square"),
        (np.eye(3, dtype=np.float32), np.zeros((3, 1)), "float64"),
        (np.eye(6)[::2, ::2], np.zeros((3, 1)), "contiguous"),
        (np.eye(3), np.zeros(3), "expected"),
        (np.full((3, 3), np.nan), np.zeros((3, 1)), "NaN"),
    ],
)
def test_input_that_cannot_be_used(K, y, match):
    with pytest.raises(SettingError, match=match):
        RegularisationPath(K, y)
