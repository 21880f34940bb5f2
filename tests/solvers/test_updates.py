"""Factors that grow and shrink, and predictions of generalised least squares, against inverses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kernchem.errors import SettingError, SingularKernelError
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares


@pytest.fixture
def problem(rng):
    X = rng.normal(size=(23, 3))
    K = np.exp(-((X[:, None] - X) ** 2).sum(axis=2) / 4.0)
    return K, rng.uniform(0.1, 0.3, 23), rng.normal(size=(23, 2))


def require_factor_of(factor, matrix, rng):
    """Compare everything that a factor can tell with the inverse of the matrix."""
    n = len(matrix)
    inverse = np.linalg.inv(matrix)
    B = rng.normal(size=(n, 3))
    assert_allclose(factor.logdet(), np.linalg.slogdet(matrix)[1], rtol=1e-10)
    assert_allclose(factor.solve(B), inverse @ B, rtol=1e-9, atol=1e-11)
    half = factor.half_solve(B)
    assert_allclose(half.T @ half, B.T @ inverse @ B, rtol=1e-9)
    assert_allclose(factor.half_solve(half, transpose=True), inverse @ B, rtol=1e-9, atol=1e-11)
    assert_allclose(factor.diag_inverse(), np.diag(inverse), rtol=1e-9)
    rows = np.array([n - 1, 0])
    assert_allclose(factor.inverse_block(rows), inverse[np.ix_(rows, rows)], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inverted", [False, True])
def test_append(problem, rng, inverted):
    K, noise, _ = problem
    A = K + np.diag(noise)
    factor = CholeskyFactor(K[:17, :17].copy(), noise[:17])
    if inverted:
        factor.invert()
    larger = factor.append(K[17:20, :17], A[17:20, 17:20]).append(K[20:, :20], A[20:, 20:])
    require_factor_of(larger, A, rng)
    assert_allclose(larger.kernel_matrix(np.diag(K)), K, rtol=1e-14)


@pytest.mark.parametrize("inverted", [False, True])
def test_append_a_few(problem, rng, inverted):
    """So few rows that they stand apart from the factor."""
    K, noise, y = problem
    A = K + np.diag(noise)
    factor = CholeskyFactor(K[:21, :21].copy(), noise[:21])
    if inverted:
        factor.invert()
    basis = rng.normal(size=(23, 2))
    first = GeneralisedLeastSquares(factor, y[:21], basis[:21])
    middle = factor.append(K[21:22, :21], A[21:22, 21:22])
    second = first.appended(middle, y[:22], basis[:22])
    last = middle.append(K[22:, :22], A[22:, 22:])
    third = second.appended(last, y, basis)
    P = np.linalg.inv(A)
    coef = np.linalg.solve(basis.T @ P @ basis, basis.T @ P @ y)
    assert_allclose(third.coef, coef, rtol=1e-9)
    assert_allclose(third.dual, P @ (y - basis @ coef), rtol=1e-8, atol=1e-10)
    assert_allclose(third.loo()[1], GeneralisedLeastSquares(
        CholeskyFactor(K.copy(), noise), y, basis).loo()[1], rtol=1e-9)  # fmt: skip
    other = CholeskyFactor(K[:21, :21].copy(), noise[:21])
    other = other.append(K[21:, :21], A[21:, 21:])
    assert_allclose(other.kernel_matrix(np.diag(K)), K, rtol=1e-14)
    require_factor_of(other, A, rng)
    assert_allclose(other.kernel_matrix(np.diag(K)), K, rtol=1e-14)


@pytest.mark.parametrize("columns", [1, 4, 9])
@pytest.mark.parametrize("transpose", [False, True])
def test_products_in_panels(problem, rng, monkeypatch, columns, transpose):
    """Few columns beside a large inverse, in panels of which the last is short."""
    for name, value in (("_TALL", 23), ("_THIN", 9), ("_PANEL", 5)):
        monkeypatch.setattr(f"kernchem.solvers.cholesky.{name}", value)
    K, noise, _ = problem
    factor = CholeskyFactor(K.copy(), noise)
    factor.invert()
    lower = np.linalg.cholesky(K + np.diag(noise))
    B = rng.normal(size=(23, columns))
    expected = np.linalg.solve(lower.T if transpose else lower, B)
    assert_allclose(factor.half_solve(B, transpose=transpose), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [[0], [22], [5, 6, 11], [22, 0, 3], list(range(1, 23))])
def test_forget(problem, rng, rows):
    K, noise, _ = problem
    left = np.delete(np.arange(23), rows)
    smaller = CholeskyFactor(K.copy(), noise).forget(np.array(rows))
    part = K[np.ix_(left, left)]
    assert_allclose(smaller.kernel_matrix(np.diag(part)), part, rtol=1e-14)
    if len(left) > 1:
        require_factor_of(smaller, part + np.diag(noise[left]), rng)
    else:
        assert_allclose(smaller.solve(np.ones((1, 1))), 1.0 / (part + noise[left]))


def test_forget_what_was_appended(problem, rng):
    K, noise, _ = problem
    A = K + np.diag(noise)
    factor = CholeskyFactor(K[:20, :20].copy(), noise[:20])
    factor = factor.append(K[20:, :20], A[20:, 20:]).forget(np.array([4, 21]))
    left = np.delete(np.arange(23), [4, 21])
    require_factor_of(factor, A[np.ix_(left, left)], rng)


def test_rows_that_are_there_already_are_refused(problem):
    K, _, _ = problem
    factor = CholeskyFactor(K.copy(), 1e-17)
    with pytest.raises(SingularKernelError, match=r"duplicates.*raise alpha"):
        factor.append(K[:2], K[:2, :2])


def test_only_a_new_factor_tells_its_condition(problem):
    K, noise, _ = problem
    A = K + np.diag(noise)
    factor = CholeskyFactor(K[:22, :22].copy(), noise[:22])
    assert factor.condition() <= np.linalg.cond(A[:22, :22], 1) * 1.001
    larger = factor.append(K[22:, :22], A[22:, 22:])
    for other in (larger, larger.forget(np.array([3])), CholeskyFactor.attempt(K.copy(), noise)):
        with pytest.raises(SettingError, match="before invert, append and forget"):
            other.condition()
    inverted = CholeskyFactor(K.copy(), noise)
    inverted.invert()
    with pytest.raises(SettingError, match="before invert"):
        inverted.condition()


def test_inverse_takes_the_place_of_the_factor(problem):
    K, noise, _ = problem
    inverse = CholeskyFactor(K.copy(), noise).into_inverse()
    assert_allclose(inverse, np.linalg.inv(K + np.diag(noise)), rtol=1e-10, atol=1e-12)
    assert (inverse == inverse.T).all()


def test_product_with_the_factor(problem, rng):
    K, noise, _ = problem
    B = rng.normal(size=(23, 4))
    drawn = CholeskyFactor(K.copy(), noise).multiply_half(B)
    assert_allclose(drawn, np.linalg.cholesky(K + np.diag(noise)) @ B, rtol=1e-12)


@pytest.mark.parametrize("p", [0, 2])
def test_predictions_of_the_joint_process(problem, rng, p):
    """Against the saddle-point system of best linear unbiased prediction."""
    K, noise, y = problem
    n, m = 18, 5
    H = np.column_stack([np.ones(23), rng.normal(size=23)])[:, :p]
    factor = CholeskyFactor(K[:n, :n].copy(), noise[:n])
    solution = GeneralisedLeastSquares(factor, y[:n], H[:n] if p else None)
    cross, prior = K[n:, :n].copy(), K[n:, n:]
    system = np.zeros((n + p, n + p))
    system[:n, :n] = K[:n, :n] + np.diag(noise[:n])
    system[:n, n:], system[n:, :n] = H[:n], H[:n].T
    right = np.concatenate([cross.T, H[n:].T])
    solved = np.linalg.solve(system, right)
    mean = cross @ solution.dual + H[n:] @ solution.coef
    assert_allclose(mean, solved[:n].T @ y[:n], rtol=1e-9, atol=1e-11)
    covariance = prior - right.T @ solved
    assert_allclose(solution.covariance(cross, H[n:], prior), covariance, rtol=1e-9, atol=1e-11)
    variances = solution.variances(cross, H[n:], np.diag(prior))
    assert_allclose(variances, np.diag(covariance), rtol=1e-9)
    weights = solution.weights(cross, H[n:])
    assert weights.shape == (m, n)
    assert_allclose(weights, solved[:n].T, rtol=1e-9, atol=1e-11)
    # The same with a factor that was inverted meanwhile.
    factor.invert()
    assert_allclose(solution.weights(cross, H[n:]), weights, rtol=1e-9, atol=1e-12)


def test_weights_tell_predictions_without_a_block(problem, rng):
    K, noise, y = problem
    n, rows = 18, np.array([2, 3, 11])
    H = np.column_stack([np.ones(23), rng.normal(size=23)])
    rest = np.delete(np.arange(n), rows)
    factor = CholeskyFactor(K[:n, :n].copy(), noise[:n])
    solution = GeneralisedLeastSquares(factor, y[:n], H[:n])
    cross = K[n:, :n].copy()
    mean = cross @ solution.dual + H[n:] @ solution.coef
    residuals = solution.cv([rows])[rows]
    without = mean - solution.weights(cross, H[n:])[:, rows] @ residuals
    refit = GeneralisedLeastSquares(
        CholeskyFactor(K[np.ix_(rest, rest)], noise[rest]), y[rest], H[rest]
    )
    assert_allclose(without, K[n:][:, rest] @ refit.dual + H[n:] @ refit.coef, rtol=1e-9)


def test_covariance_of_a_block_left_out(problem, rng):
    K, noise, y = problem
    rows = np.array([1, 4, 9])
    rest = np.delete(np.arange(23), rows)
    factor = CholeskyFactor(K.copy(), noise)
    _, blocks = GeneralisedLeastSquares(factor, y).left_out([rows, np.array([0])])
    P = np.linalg.inv(K[np.ix_(rest, rest)] + np.diag(noise[rest]))
    cross = K[np.ix_(rows, rest)]
    expected = K[np.ix_(rows, rows)] + np.diag(noise[rows]) - cross @ P @ cross.T
    assert_allclose(blocks[0], expected, rtol=1e-9)


def test_determinant_of_the_linear_part(problem, rng):
    K, noise, y = problem
    H = rng.normal(size=(23, 2))
    solution = GeneralisedLeastSquares(CholeskyFactor(K.copy(), noise), y, H)
    inner = H.T @ np.linalg.solve(K + np.diag(noise), H)
    assert_allclose(solution.logdet(), np.linalg.slogdet(inner)[1], rtol=1e-10)
    assert GeneralisedLeastSquares(CholeskyFactor(K.copy(), noise), y).logdet() == 0.0
