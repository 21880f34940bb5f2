"""Sums of derivatives of kernels against their arrays and against finite differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    RationalQuadratic,
    WhiteKernel,
)

from kernchem.environments import Environments
from kernchem.kernels import (
    AtomSum,
    Constant,
    Gaussian,
    Laplacian,
    Matern,
    Polynomial,
    WhiteNoise,
    slopes,
)
from kernchem.kernels.slopes import slope_sums

WIDTHS = [0.7, 1.3, 2.1]
KERNELS = [
    Gaussian(1.3),
    Gaussian(WIDTHS),
    Laplacian(2.0),
    Laplacian(WIDTHS),
    Matern(1.1, nu=0.5),
    Matern(WIDTHS, nu=1.5),
    Matern(WIDTHS, nu=2.5),
    Gaussian(1.3, "fixed"),
    Polynomial(2, 0.5),
    RationalQuadratic(1.2, 0.8),
    Constant(2.0) * Gaussian(1.3) + WhiteNoise(0.1),
    ConstantKernel(2.0) * RBF(0.9) + WhiteKernel(0.1) * Laplacian(1.5),
    Gaussian(1.3) ** 2 * Matern(1.0),
    Constant(1.5, "fixed") * Laplacian(WIDTHS) + Gaussian(0.8),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_sums_are_those_of_finite_differences(kernel, rng):
    X = rng.normal(size=(9, 3))
    W = rng.normal(size=(9, 9))
    W = W + W.T
    found = slope_sums(kernel, X, W)
    theta = np.array(kernel.theta)
    assert found.shape == theta.shape
    for k in range(len(theta)):
        moved = [theta.copy() for _ in range(4)]
        for values, step in zip(moved, (1e-3, -1e-3, 2e-3, -2e-3), strict=True):
            values[k] += step
        up, down, far_up, far_down = (
            np.vdot(W, kernel.clone_with_theta(values)(X)) for values in moved
        )
        numeric = (8 * (up - down) - (far_up - far_down)) / 12e-3
        assert_allclose(found[k], numeric, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kernel", [Gaussian(1.3), Matern(1.0, nu=1.5), Laplacian(WIDTHS)])
def test_what_is_known_already_is_used(kernel, rng):
    X = rng.normal(size=(300, 3))
    W = rng.normal(size=(300, 300))
    W = W + W.T
    D = kernel.distances(X)
    found = slope_sums(kernel, X, W, D, kernel.from_distances(D))
    assert_allclose(found, slope_sums(kernel, X, W), rtol=1e-10)
    _, gradient = kernel(X, eval_gradient=True)
    assert_allclose(found, np.einsum("ij,ijk->k", W, gradient), rtol=1e-9)


@pytest.mark.parametrize("width", [1.0, [1.0, 2.0]])
@pytest.mark.parametrize("kernel", [Gaussian, Laplacian, Matern])
def test_samples_at_any_distance_have_a_slope(kernel, width):
    near = np.array([[0.0, 0.5], [1.0, 0.0]])
    X = np.concatenate([near, [[1e155, 0.0], [1e160, 3e170], [-1e300, 1e200]]])
    W = np.ones((5, 5))
    K, gradient = kernel(width)(X, eval_gradient=True)
    expected = np.zeros_like(gradient)
    expected[:2, :2] = kernel(width)(near, eval_gradient=True)[1]
    assert_allclose(gradient, expected, rtol=1e-12)
    sums = expected.sum(axis=(0, 1))
    assert_allclose(slope_sums(kernel(width), X, W), sums, rtol=1e-12)
    D = kernel(width).distances(X)
    assert_allclose(slope_sums(kernel(width), X, W, D, K), sums, rtol=1e-12)


def test_identical_samples_have_no_slope_between_them():
    X = np.array([[1.0, 2.0], [1.0, 2.0]])
    for kernel in (Gaussian([1.0, 2.0]), Matern([1.0, 2.0], nu=0.5), Laplacian([1.0, 2.0])):
        assert_allclose(slope_sums(kernel, X, np.ones((2, 2))), 0.0)


def test_kernels_between_structures(rng):
    batch = Environments(rng.normal(size=(7, 2)), [6, 1, 1, 8, 1, 6, 6], [0, 3, 5, 7])
    W = rng.normal(size=(3, 3))
    W = W + W.T
    kernel = AtomSum(Gaussian(1.2))
    _, gradient = kernel(batch, eval_gradient=True)
    assert_allclose(slope_sums(kernel, batch, W), np.einsum("ij,ijk->k", W, gradient), rtol=1e-12)


@pytest.mark.parametrize("most", [1, 40, 200, 10**6])
def test_blocks_of_samples_add_up(rng, monkeypatch, most):
    """However little memory there is, of kernels that return all derivatives at once."""
    monkeypatch.setattr(slopes, "_MOST_NUMBERS", most)
    X, numbers = rng.normal(size=(19, 2)), rng.choice([1, 6], size=19)
    W = rng.normal(size=(19, 19))
    W = W + W.T
    batch = Environments(X, numbers, np.arange(20))
    for kernel, samples in (
        (RationalQuadratic(1.2, 0.8) + WhiteKernel(0.1), X),
        (DotProduct(0.7), X),
        (AtomSum(Gaussian([1.2, 0.7])), batch),
    ):
        _, gradient = kernel(samples, eval_gradient=True)
        expected = np.einsum("ij,ijk->k", W, gradient)
        assert_allclose(slope_sums(kernel, samples, W), expected, rtol=1e-10)
