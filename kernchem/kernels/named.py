"""Short names of kernels, for estimators and the command line."""

from collections.abc import Callable
from functools import partial

from sklearn.gaussian_process.kernels import Kernel

from kernchem.kernels.dot import Linear, Polynomial
from kernchem.kernels.vector import Gaussian, Laplacian, Matern

__all__ = ["NAMED_KERNELS"]

#: Short name to a kernel with default settings.
NAMED_KERNELS: dict[str, Callable[[], Kernel]] = {
    "gaussian": Gaussian,
    "laplacian": Laplacian,
    "matern12": partial(Matern, nu=0.5),
    "matern32": partial(Matern, nu=1.5),
    "matern52": partial(Matern, nu=2.5),
    "linear": Linear,
    "polynomial": Polynomial,
}
