"""Closed forms against explicit refits by the plain normal equations of the joint problem."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kernchem.errors import SettingError
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares


def refit(K, noise, basis, y, kept, wanted):
    """Predict rows ``wanted`` from rows ``kept`` by the saddle-point system of the joint fit."""
    n, p = len(kept), basis.shape[1]
    system = np.zeros((n + p, n + p))
    system[:n, :n] = K[np.ix_(kept, kept)] + np.diag(noise[kept])
    system[:n, n:] = basis[kept]
    system[n:, :n] = basis[kept].T
    right = np.vstack([y[kept], np.zeros((p, y.shape[1]))])
    solution = np.linalg.solve(system, right)
    return K[np.ix_(wanted, kept)] @ solution[:n] + basis[wanted] @ solution[n:]


@pytest.fixture(params=[0, 1, 3])
def problem(request, rng):
    n, p = 40, request.param
    points = rng.normal(size=(n, 2))
    K = np.exp(-((points[:, None] - points) ** 2).sum(axis=2))
    noise = rng.uniform(0.01, 0.1, size=n)
    basis = rng.integers(0, 5, size=(n, p)).astype(float)
    y = rng.normal(size=(n, 2)) + 10.0 * basis.sum(axis=1, keepdims=True)
    return K, noise, basis, y


def solve(K, noise, basis, y):
    return GeneralisedLeastSquares(CholeskyFactor(K.copy(), noise), y, basis)


def test_coefficients_solve_the_joint_problem(problem):
    K, noise, basis, y = problem
    solution = solve(*problem)
    everything = np.arange(len(y))
    expected = refit(K, noise, basis, y, everything, everything)
    assert_allclose(K @ solution.dual + basis @ solution.coef, expected, atol=1e-9)
    assert_allclose(basis.T @ solution.dual, 0.0, atol=1e-9)


def test_leave_one_out_equals_refits(problem):
    K, noise, basis, y = problem
    residuals, variances = solve(*problem).loo()
    rows = np.arange(len(y))
    for i in rows:
        kept = np.delete(rows, i)
        expected = y[i] - refit(K, noise, basis, y, kept, rows[i : i + 1])[0]
        assert_allclose(residuals[i], expected, rtol=1e-8, atol=1e-10)
    assert_allclose(variances, loo_variances(K, noise, basis), rtol=1e-8)


def test_coefficients_of_other_targets(problem, rng):
    K, noise, basis, y = problem
    others = rng.normal(size=(len(y), 3))
    solution = solve(*problem)
    expected = solve(K, noise, basis, others)
    assert_allclose(solution.dual_of(others), expected.dual, atol=1e-9)
    # And once the factor was inverted.
    residuals, variances = expected.loo()[0], solution.loo()[1]
    assert_allclose(solution.dual_of(others) * variances[:, None], residuals, atol=1e-9)


def loo_variances(K, noise, basis):
    """Posterior variance of each row given the others, with a flat prior on the linear part."""
    n = len(K)
    out = np.empty(n)
    for i in range(n):
        kept = np.delete(np.arange(n), i)
        P = np.linalg.inv(K[np.ix_(kept, kept)] + np.diag(noise[kept]))
        k, H = K[kept, i], basis[kept]
        r = basis[i] - H.T @ P @ k
        out[i] = K[i, i] + noise[i] - k @ P @ k + r @ np.linalg.solve(H.T @ P @ H, r)
    return out


def test_folds_equal_refits(problem):
    K, noise, basis, y = problem
    order = np.random.default_rng(1).permutation(len(y))
    folds = [order[:7], order[7:8], order[8:25]]
    residuals = solve(*problem).cv(folds)
    for fold in folds:
        kept = np.setdiff1d(np.arange(len(y)), fold)
        expected = y[fold] - refit(K, noise, basis, y, kept, fold)
        assert_allclose(residuals[fold], expected, rtol=1e-8, atol=1e-10)
    assert np.isnan(residuals[order[25:]]).all()


def test_rows_that_alone_determine_the_linear_part_carry_nan(rng):
    K, y = np.eye(10) * 2.0, rng.normal(size=(10, 1))
    basis = np.ones((10, 2))
    basis[:, 1] = 0.0
    basis[4, 1] = 1.0
    solution = solve(K, np.full(10, 0.1), basis, y)
    residuals, variances = solution.loo()
    assert np.flatnonzero(np.isnan(residuals[:, 0])).tolist() == [4]
    assert np.flatnonzero(np.isnan(variances)).tolist() == [4]
    residuals = solution.cv([np.array([3, 4]), np.array([0, 1])])
    assert np.isnan(residuals[[3, 4]]).all()
    assert np.isfinite(residuals[[0, 1]]).all()


def test_leave_one_out_at_a_tiny_regulariser(rng):
    x = np.sort(rng.uniform(0, 10, size=30))
    K = np.exp(-np.abs(np.subtract.outer(x, x)))
    noise = np.full(30, 1e-12)
    y = np.sin(x)[:, None]
    residuals, _ = solve(K, noise, np.zeros((30, 0)), y).loo()
    for i in range(30):
        kept = np.delete(np.arange(30), i)
        dual = np.linalg.solve(K[np.ix_(kept, kept)] + 1e-12 * np.eye(29), y[kept])
        assert_allclose(residuals[i], y[i] - K[i, kept] @ dual, rtol=1e-8)


def test_targets_of_the_wrong_shape_are_refused():
    with pytest.raises(SettingError, match="expected"):
        GeneralisedLeastSquares(CholeskyFactor(np.eye(3), 1.0), np.zeros(3))


def test_rows_that_together_determine_the_linear_part_carry_nan(rng):
    K, y = np.eye(10) * 2.0, rng.normal(size=(10, 1))
    basis = np.ones((10, 2))
    basis[:, 1] = 0.0
    basis[4:6, 1] = 1.0
    solution = solve(K, np.full(10, 0.1), basis, y)
    residuals = solution.cv([np.array([0, 4, 5]), np.array([3, 6])])
    assert np.isnan(residuals[[0, 4, 5]]).all()
    assert np.isfinite(residuals[[3, 6]]).all()
    assert np.isfinite(solution.cv([np.array([3, 4]), np.array([0, 5])])[[0, 3, 4, 5]]).all()


def test_variance_that_rounding_destroys_is_nan():
    # The precision of the first row is 1e-21 of the terms it is the difference of.
    for small in np.linspace(1e-4, 2e-4, 40):
        basis = np.full((10, 1), small)
        basis[0] = 1.0
        K = np.diag(np.r_[1.0, np.full(9, 1e14)])
        _, variances = solve(K, np.zeros(10), basis, np.ones((10, 1))).loo()
        assert np.isnan(variances[0]) or 0.0 < variances[0] < np.inf
        assert_allclose(variances[1:], 1e14, rtol=1e-6)
