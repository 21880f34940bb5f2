"""What every kernel promises, whatever it computes."""

import inspect

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF, DotProduct, WhiteKernel

from kernchem import kernels
from kernchem.kernels import (
    Constant,
    Gaussian,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    WhiteNoise,
)
from kernchem.testing import check_kernel

WIDTHS = np.array([1.0, 2.0, 4.0])
SINGLE = [
    Gaussian(2.0),
    Gaussian(2.0, "fixed"),
    Gaussian(WIDTHS),
    Laplacian(3.0),
    Laplacian(3.0, "fixed"),
    Laplacian(WIDTHS),
    Matern(2.0, nu=0.5),
    Matern(2.0, nu=1.5),
    Matern(2.0, nu=2.5),
    Matern(2.0, "fixed", nu=2.5),
    Matern(WIDTHS, nu=0.5),
    Matern(WIDTHS, nu=1.5),
    Matern(WIDTHS, nu=2.5),
    Linear(),
    Polynomial(),
    Polynomial(degree=3, constant=0.5),
    Constant(2.0),
    Constant(2.0, "fixed"),
    WhiteNoise(0.5),
    WhiteNoise(0.5, "fixed"),
]
COMPOSITE = [
    2.0 * Gaussian(2.0) + WhiteNoise(0.1),
    Constant(2.0) * Laplacian(3.0) * Linear(),
    (Matern(2.0, nu=1.5) + Constant(0.5)) ** 2,
    Gaussian(WIDTHS) * DotProduct() + WhiteKernel(0.1),
    Linear() + RBF(WIDTHS),
]


def test_every_public_kernel_is_tested():
    public = [getattr(kernels, name) for name in kernels.__all__]
    classes = {item for item in public if inspect.isclass(item) and not inspect.isabstract(item)}
    # Kernels between structures have tests of their own, on features of atoms.
    vector = {item for item in classes if not issubclass(item, kernels.StructureKernel)}
    assert {type(kernel) for kernel in SINGLE} == vector


@pytest.mark.slow
@pytest.mark.parametrize("kernel", SINGLE + COMPOSITE, ids=str)
def test_contract(kernel):
    check_kernel(kernel)


@pytest.mark.parametrize("kernel", SINGLE + COMPOSITE, ids=str)
def test_contract_on_few_samples(kernel, rng):
    check_kernel(kernel, rng.normal(size=(4, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [Gaussian(20.0), Laplacian(200.0), Matern(20.0), Linear()])
def test_contract_on_padded_features(kernel):
    """Rows that end in zeros, like bags and Coulomb matrices, some of them equal."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.0, 50.0, size=(40, 21))
    X[np.arange(21) >= rng.integers(1, 22, size=(40, 1))] = 0.0
    check_kernel(kernel, np.concatenate([X, X[:5]]))
