"""Linear, polynomial, constant and white-noise kernels, and sums and products of kernels."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, WhiteKernel
from sklearn.metrics.pairwise import polynomial_kernel

from kernchem import KRR
from kernchem.errors import SettingError
from kernchem.kernels import (
    NAMED_KERNELS,
    Constant,
    Gaussian,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    WhiteNoise,
    features,
)


@pytest.fixture
def X(rng):
    return rng.normal(size=(40, 5))


@pytest.fixture
def Y(rng):
    return rng.normal(size=(13, 5))


def test_linear_is_the_dot_product(X, Y):
    kernel, peer = Linear(), DotProduct(sigma_0=1e-300)
    np.testing.assert_allclose(kernel(X, Y), peer(X, Y), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(kernel(X), peer(X), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(kernel.diag(X), peer.diag(X), rtol=1e-13)
    np.testing.assert_array_equal(kernel(X), kernel(X).T)
    assert kernel.theta.shape == (0,)
    K, gradient = kernel(X, eval_gradient=True)
    assert (K.shape, gradient.shape) == ((40, 40), (40, 40, 0))
    assert not kernel.is_stationary()
    assert repr(kernel) == "Linear()"


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("constant", [0.0, 0.5, 3.0])
def test_polynomial_agrees_with_scikit_learn(degree, constant, X, Y):
    kernel = Polynomial(degree, constant)
    expected = polynomial_kernel(X, Y, degree=degree, gamma=1.0, coef0=constant)
    np.testing.assert_allclose(kernel(X, Y), expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-12)
    np.testing.assert_array_equal(kernel(X), kernel(X).T)
    eigenvalues = np.linalg.eigvalsh(kernel(X))
    assert eigenvalues.min() > -1e-12 * eigenvalues.max()


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_gradient_of_the_polynomial(degree, X):
    kernel = Polynomial(degree, 0.8)
    K, gradient = kernel(X, eval_gradient=True)
    np.testing.assert_array_equal(K, kernel(X))
    step = 1e-3
    wide, narrow = (
        (
            kernel.clone_with_theta(kernel.theta + h)(X)
            - kernel.clone_with_theta(kernel.theta - h)(X)
        )
        / (2.0 * h)
        for h in (2.0 * step, step)
    )
    np.testing.assert_allclose(
        gradient[:, :, 0], (4.0 * narrow - wide) / 3.0, atol=1e-9 * np.abs(gradient).max()
    )


def test_hyperparameters_of_the_polynomial(X):
    kernel = Polynomial(3, 2.0, (1e-2, 1e2))
    np.testing.assert_allclose(kernel.theta, [np.log(2.0)])
    np.testing.assert_allclose(kernel.bounds, np.log([[1e-2, 1e2]]))
    assert repr(kernel) == "Polynomial(degree=3, constant=2)"
    assert clone(kernel) == kernel
    for fixed in (Polynomial(2, 0.0), Polynomial(2, 1.0, "fixed")):
        assert fixed.theta.shape == (0,)
        assert fixed(X, eval_gradient=True)[1].shape == (40, 40, 0)


def test_more_than_one_panel(X, Y, monkeypatch):
    expected = X @ X.T
    monkeypatch.setattr(features, "_PRODUCT_PANEL", 7)
    for n_jobs in (1, 3):
        K = Linear(n_jobs=n_jobs)(X)
        np.testing.assert_allclose(K, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_array_equal(Linear(n_jobs=n_jobs)(X, Y), Linear(n_jobs=1)(X, Y))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (Polynomial(0), "degree=0"),
        (Polynomial(1.5), r"degree=1\.5"),
        (Polynomial(2, -1.0), r"constant=-1\.0"),
        (Polynomial(2, np.nan), "constant=nan"),
        (Polynomial(2, "a"), "constant='a'"),
        (Constant(0.0), r"variance=0\.0"),
        (WhiteNoise(-1.0), r"variance=-1\.0"),
        (Constant("a"), "variance='a'"),
    ],
)
def test_settings_that_make_no_kernel(kernel, message, X):
    with pytest.raises(SettingError, match=message):
        kernel(X)
    assert repr(kernel)


def test_bounds_that_are_none():
    for kernel in (Polynomial(2, 1.0, (2.0, 1.0)), Constant(1.0, "fix"), WhiteNoise(1.0, 3.0)):
        with pytest.raises(SettingError, match="_bounds="):
            _ = kernel.theta


@pytest.mark.parametrize("kernel", [Linear(), Polynomial(), Constant(), WhiteNoise()])
def test_a_gradient_needs_one_set_of_samples(kernel, X, Y):
    with pytest.raises(SettingError, match="Y=None"):
        kernel(X, Y, eval_gradient=True)


@pytest.mark.parametrize(
    ("ours", "peer"),
    [(Constant(2.5), ConstantKernel(2.5)), (WhiteNoise(2.5), WhiteKernel(2.5))],
)
def test_elementary_kernels_agree_with_scikit_learn(ours, peer, X, Y):
    np.testing.assert_array_equal(ours(X), peer(X))
    np.testing.assert_array_equal(ours(X, Y), peer(X, Y))
    np.testing.assert_array_equal(ours.diag(X), peer.diag(X))
    for mine, theirs in zip(ours(X, eval_gradient=True), peer(X, eval_gradient=True), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-15)
    np.testing.assert_allclose(ours.theta, peer.theta)
    assert clone(ours) == ours
    assert repr(ours).endswith("(variance=2.5)")
    fixed = type(ours)(2.5, "fixed")
    assert fixed(X, eval_gradient=True)[1].shape == (40, 40, 0)
    # They take samples of any kind.
    np.testing.assert_array_equal(ours(["a", "b"]), peer(np.zeros((2, 1))))


def test_algebra(X, Y):
    gaussian, linear, constant, noise = Gaussian(2.0), Linear(), Constant(3.0), WhiteNoise(0.5)
    kernel = constant * gaussian**2 + linear * Laplacian(4.0) + Matern(3.0, nu=2.5) + noise
    expected = 3.0 * gaussian(X) ** 2 + linear(X) * Laplacian(4.0)(X) + Matern(3.0, nu=2.5)(X)
    np.testing.assert_allclose(kernel(X), expected + 0.5 * np.eye(40), rtol=1e-13)
    np.testing.assert_allclose(kernel.diag(X), np.diag(kernel(X)), rtol=1e-13)
    cross = 3.0 * gaussian(X, Y) ** 2 + linear(X, Y) * Laplacian(4.0)(X, Y)
    np.testing.assert_allclose(kernel(X, Y), cross + Matern(3.0, nu=2.5)(X, Y), rtol=1e-13)
    assert clone(kernel) == kernel
    assert kernel.theta.shape == (5,)
    _, gradient = kernel(X, eval_gradient=True)
    for k in range(5):
        step = np.zeros(5)
        step[k] = 1e-3
        wide, narrow = (
            (kernel.clone_with_theta(kernel.theta + f * step)(X)
             - kernel.clone_with_theta(kernel.theta - f * step)(X)) / (2e-3 * f)
            for f in (2.0, 1.0)
        )  # fmt: skip
        np.testing.assert_allclose(
            gradient[:, :, k], (4.0 * narrow - wide) / 3.0, atol=1e-9 * np.abs(gradient).max()
        )


def test_a_gaussian_process_finds_the_noise(rng):
    X = rng.uniform(-3.0, 3.0, size=(80, 1))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=80)
    kernel = Constant() * Gaussian(1.0, (1e-2, 1e2)) + WhiteNoise(1.0)
    model = GaussianProcessRegressor(kernel).fit(X, y)
    assert model.kernel_.k2.variance == pytest.approx(0.01, rel=0.4)


@pytest.mark.parametrize("name", sorted(NAMED_KERNELS))
def test_names_are_kernels_of_an_estimator(name, rng):
    X = rng.uniform(-1.0, 1.0, size=(30, 2))
    y = 1.0 + X[:, 0] - 2.0 * X[:, 1] if name != "linear" else X[:, 0] - 2.0 * X[:, 1]
    model = KRR(name).fit(X, y)
    assert type(model.kernel_) is type(NAMED_KERNELS[name]())
    assert np.abs(model.loo_residuals_).mean() < 0.25


@pytest.mark.slow
def test_widths_of_their_own_are_chosen(rng):
    """A feature that does not matter gets a large width."""
    X = rng.uniform(-2.0, 2.0, size=(60, 2))
    y = np.sin(2.0 * X[:, 0])
    one = KRR(Gaussian(1.0)).fit(X, y)
    two = KRR(Gaussian([1.0, 1.0])).fit(X, y)
    narrow, wide = two.kernel_.length_scale
    assert wide > 4.0 * narrow
    assert np.abs(two.loo_residuals_).mean() < 0.5 * np.abs(one.loo_residuals_).mean()


@pytest.mark.parametrize("kernel", [Linear(), Polynomial(2)])
def test_no_samples(kernel):
    none, some = np.empty((0, 3)), np.ones((2, 3))
    shapes = kernel(none).shape, kernel(none, some).shape, kernel(some, none).shape
    assert shapes == ((0, 0), (0, 2), (2, 0))
    assert kernel(none, eval_gradient=True)[1].shape[:2] == kernel(none).shape
    assert kernel.diag(none).shape == (0,)


@pytest.mark.parametrize("variance", [-1.0, np.nan, "1", True])
@pytest.mark.parametrize("kind", [Constant, WhiteNoise])
def test_a_variance_that_is_none_has_no_diagonal(kind, variance):
    with pytest.raises(SettingError, match="variance="):
        kind(variance).diag(np.ones((2, 3)))
