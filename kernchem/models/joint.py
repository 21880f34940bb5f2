"""Several descriptors and kernels side by side, as one descriptor and one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

from kernchem.environments import Environments, FeatureBlock
from kernchem.kernels.slopes import slope_sums
from kernchem.kernels.structure import StructureKernel
from kernchem.structures import Structures

__all__ = [
    "JointDescriptor",
    "JointFeatures",
    "JointKernel",
    "descriptors_of",
    "stacked",
    "with_columns",
]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Range in which weights of terms are chosen.
_WEIGHT_BOUNDS = (1e-4, 1e4)


class JointFeatures:
    """Features of the same structures by several descriptors.

    Attributes
    ----------
    parts : tuple of array (n, d) or Environments
        What each descriptor returned.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: Any) -> JointFeatures:
        return JointFeatures([part[rows] for part in self.parts])


class JointDescriptor:
    """Descriptors that are fitted and used together.

    Attributes
    ----------
    descriptors : tuple of Descriptor
        One for each part of the features.
    """

    def __init__(self, descriptors: Sequence[Any]) -> None:
        self.descriptors = tuple(descriptors)

    def fit(self, structures: Structures) -> JointDescriptor:
        """Return fitted copies of the descriptors."""
        return JointDescriptor([clone(one).fit(structures) for one in self.descriptors])

    def _described(self, structures: Structures) -> JointFeatures:
        """Return the features of structures by each descriptor."""
        return JointFeatures([one._described(structures) for one in self.descriptors])

    def widened(self, structures: Structures) -> tuple[JointDescriptor, list[_Rows]]:
        """Return descriptors that also hold ``structures``, and where old columns go in each."""
        pairs = [one.widened(structures) for one in self.descriptors]
        return JointDescriptor([one for one, _ in pairs]), [columns for _, columns in pairs]


def descriptors_of(descriptor: Any) -> tuple[Any, ...]:
    """Return the descriptors that one consists of: those of a joint one, or itself."""
    return descriptor.descriptors if isinstance(descriptor, JointDescriptor) else (descriptor,)


def with_columns(features: Any, columns: Any, like: Any) -> Any:
    """Return features under a wider layout, zero in new columns.

    Parameters
    ----------
    features : array, Environments or JointFeatures
        Under the old layout.
    columns : array of int, or one for each part
        Where the old columns go.
    like : array, Environments or JointFeatures
        Features under the new layout, which tell its width.
    """
    if isinstance(features, JointFeatures):
        parts = zip(features.parts, columns, like.parts, strict=True)
        return JointFeatures([with_columns(*part) for part in parts])
    if isinstance(features, Environments):
        if features.n_features == like.n_features:
            return features
        blocks = [
            FeatureBlock(block.atoms, columns[block.columns], block.values)
            for block in features.nonzero_blocks()
        ]
        return Environments.from_blocks(blocks, features.numbers, features.offsets, like.n_features)
    if features.shape[1] == like.shape[1]:
        return features
    wide = np.zeros((len(features), like.shape[1]))
    wide[:, columns] = features
    return wide


def stacked(parts: Sequence[Any]) -> Any:
    """Return features of several batches under one layout as those of one batch."""
    first = parts[0]
    if isinstance(first, JointFeatures):
        by_descriptor = zip(*(part.parts for part in parts), strict=True)
        return JointFeatures([stacked(same) for same in by_descriptor])
    if isinstance(first, Environments):
        return Environments.concatenate(parts)
    return np.concatenate(parts)


class JointKernel(Kernel):
    r"""Weighted sum of products of kernels, each of them of one part of the features.

    .. math:: k = \sum_t \frac{w_t}{c_t} \prod_{f \in t} k_f

    Parameters
    ----------
    kernels : list of kernel
        The factors.
    parts : list of int
        Part of the features that each factor sees.
    products : list of list of int
        Factors of each term.
    weights : list of float
        Weight w of each term.
    scales : list of float, optional
        Divisor c of each term, its mean diagonal over a training set; by default 1.
    fixed_weights : bool, default False
        Keep the weights where hyperparameters are chosen. The first weight is always kept: a
        common factor of all of them changes nothing.
    """

    def __init__(
        self,
        kernels: list[Any],
        parts: list[int],
        products: list[list[int]],
        weights: list[float],
        scales: list[float] | None = None,
        fixed_weights: bool = False,
    ) -> None:
        self.kernels = kernels
        self.parts = parts
        self.products = products
        self.weights = weights
        self.scales = scales
        self.fixed_weights = fixed_weights

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments; those of the kernels are not among them."""
        return dict(super().get_params(deep=False))

    @property
    def n_weights(self) -> int:
        """Number of weights that may be chosen."""
        return 0 if self.fixed_weights else len(self.weights) - 1

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """Hyperparameters of all kernels, for scikit-learn."""
        found = [
            Hyperparameter(f"weight{t + 1}", "numeric", _WEIGHT_BOUNDS)
            for t in range(self.n_weights)
        ]
        for k, kernel in enumerate(self.kernels):
            found += [
                Hyperparameter(f"k{k}__{h.name}", h.value_type, h.bounds, h.n_elements)
                for h in kernel.hyperparameters
            ]
        return found

    @property
    def theta(self) -> _Array:
        """Logarithms of weights, but for the first, and of the hyperparameters of the kernels."""
        weights = np.log(self.weights[1 : 1 + self.n_weights])
        return np.concatenate([weights, *(kernel.theta for kernel in self.kernels)])

    @theta.setter
    def theta(self, theta: npt.ArrayLike) -> None:
        values, n = np.asarray(theta, dtype=np.float64), self.n_weights
        chosen = np.exp(values[:n]).tolist()
        self.weights = [self.weights[0], *chosen, *self.weights[1 + n :]]
        kernels = []
        for kernel in self.kernels:
            size = len(kernel.theta)
            kernels.append(kernel.clone_with_theta(values[n : n + size]))
            n += size
        self.kernels = kernels

    @property
    def bounds(self) -> _Array:
        """Bounds of :attr:`theta`."""
        own = np.log(np.tile(_WEIGHT_BOUNDS, (self.n_weights, 1)))
        others = [np.reshape(kernel.bounds, (-1, 2)) for kernel in self.kernels]
        return np.concatenate([own, *others])

    def is_stationary(self) -> bool:
        """Return whether the kernel depends on differences of features only: it does not."""
        return False

    def __call__(self, X: JointFeatures, Y: JointFeatures | None = None) -> _Array:
        """Return the kernel matrix, array (n, m)."""
        total: Any = 0.0
        for t, factors in enumerate(self.products):
            product: Any = None
            for k in factors:
                K = self.factor(k, X, Y)
                product = K if product is None else np.multiply(product, K, out=product)
            product *= self.weights[t] / (1.0 if self.scales is None else self.scales[t])
            total = product if t == 0 else np.add(total, product, out=total)
        return np.asarray(total)

    def factor(self, k: int, X: JointFeatures, Y: JointFeatures | None = None) -> _Array:
        """Return the matrix of one factor, which belongs to the caller."""
        part = self.parts[k]
        return np.asarray(self.kernels[k](X.parts[part], None if Y is None else Y.parts[part]))

    def combined(self, factors: Sequence[_Array]) -> _Array:
        """Return the kernel of a training set from the matrices of its factors.

        Each term is divided by its own mean diagonal.
        """
        total = np.zeros_like(factors[0])
        for weight, product in zip(self.weights, self.products, strict=True):
            matrix = factors[product[0]]
            for k in product[1:]:
                matrix = matrix * factors[k]
            total += matrix * (weight / _mean_diagonal(np.einsum("ii->i", matrix)))
        return total

    @property
    def places(self) -> range:
        """Number of each factor."""
        return range(len(self.kernels))

    def factor_with_slopes(self, k: int, X: JointFeatures, slopes: bool) -> tuple[_Array, Any]:
        """Return the matrix of one factor, and its slopes where they come with it."""
        kernel = self.kernels[k]
        if slopes and isinstance(kernel, StructureKernel) and len(kernel.theta) == 1:
            matrix, gradient = kernel(X.parts[self.parts[k]], eval_gradient=True)
            return matrix, gradient
        return self.factor(k, X), None

    def slope_sums(
        self, X: JointFeatures, W: _Array, factors: Sequence[tuple[_Array, Any]]
    ) -> _Array:
        r"""Return the slopes of :meth:`combined`, summed against a matrix.

        .. math:: \sum_{ij} W_{ij}\, \partial K_{ij} / \partial \theta_k

        Parameters
        ----------
        X : JointFeatures
            Training set.
        W : array (n, n)
            Symmetric weights.
        factors : list of (array (n, n), array (n, n, p) or None)
            What :meth:`factor_with_slopes` returned for each factor.
        """
        by_weight, by_factor = [], [np.zeros(len(kernel.theta)) for kernel in self.kernels]
        for weight, product in zip(self.weights, self.products, strict=True):
            matrix = factors[product[0]][0]
            for k in product[1:]:
                matrix = matrix * factors[k][0]
            scale = weight / _mean_diagonal(np.einsum("ii->i", matrix))
            total = scale * float(np.vdot(W, matrix))
            by_weight.append(total)
            # The mean diagonal, by which the term is divided, has a slope of its own.
            inner = scale * W
            np.einsum("ii->i", inner)[:] -= total * scale / (weight * len(W))
            for k in product:
                rest = inner
                for other in product:
                    rest = rest if other == k else rest * factors[other][0]
                K, gradient = factors[k]
                if gradient is None:
                    part = X.parts[self.parts[k]]
                    by_factor[k] += slope_sums(self.kernels[k], part, rest, K=K)
                else:
                    by_factor[k] += np.einsum("ij,ijk->k", rest, gradient)
        return np.concatenate([by_weight[1 : 1 + self.n_weights], *by_factor])

    def diag(self, X: JointFeatures) -> _Array:
        """Return the diagonal of the kernel matrix, array (n,)."""
        scales = [1.0] * len(self.weights) if self.scales is None else self.scales
        ratios = np.array(self.weights) / np.array(scales)
        return np.asarray(ratios @ self._diagonals(X))

    def scaled_to(self, X: JointFeatures) -> JointKernel:
        """Return the kernel with each term divided by its mean diagonal over ``X``."""
        scales = [_mean_diagonal(values) for values in self._diagonals(X)]
        return JointKernel(
            self.kernels, self.parts, self.products, self.weights, scales, self.fixed_weights
        )

    def rescaled_to(self, X: JointFeatures) -> JointKernel:
        """Return the same kernel, its weights relative to the mean diagonals over ``X``."""
        other = self.scaled_to(X)
        old = [1.0] * len(self.weights) if self.scales is None else self.scales
        other.weights = [
            weight * new / before
            for weight, new, before in zip(self.weights, other.scales or old, old, strict=True)
        ]
        return other

    def _diagonals(self, X: JointFeatures) -> _Array:
        own = [self.kernels[k].diag(X.parts[part]) for k, part in enumerate(self.parts)]
        return np.array([np.prod([own[k] for k in product], axis=0) for product in self.products])

    def __repr__(self) -> str:
        told = []
        for weight, product in zip(self.weights, self.products, strict=True):
            factors = " * ".join(repr(self.kernels[k]) for k in product)
            told.append(f"{weight:.3g} * {factors}")
        return " + ".join(told)


def _mean_diagonal(values: _Array) -> float:
    """Return the mean, or 1 for a term that is zero everywhere."""
    return float(values.mean()) or 1.0
