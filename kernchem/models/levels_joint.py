r"""All labels of all levels in one Gaussian process.

.. math:: \operatorname{cov}(y_t(x), y_u(x')) = \sum_q C_{q,tu}\, k_q(x, x')

plus noise, with a linear part for each level. One factorisation of as many rows as there are
labels; a molecule may have the label of any level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import block_diag

from kernchem.kernels.declarations import indefinite_cause
from kernchem.models.levels import LevelQueries, Levels
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares

__all__ = ["JointProcess", "JointSettings", "Labels"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JointSettings:
    """Hyperparameters of a joint process.

    Attributes
    ----------
    kernels : list of kernel
        One for each component.
    matrices : list of array (T, T)
        Covariance C_q between levels of each component, in the squared unit of the labels over
        the unit of its kernel.
    noises : array (T,)
        Variance of the noise of each level, in the squared unit of the labels.
    """

    kernels: list[Any]
    matrices: list[_Array]
    noises: _Array

    def scaled(self, factor: float) -> JointSettings:
        """Return the settings with all variances multiplied."""
        matrices = [factor * matrix for matrix in self.matrices]
        return JointSettings(self.kernels, matrices, factor * self.noises)


class Labels:
    """Labels of all levels in one column, level by level.

    Parameters
    ----------
    data : Levels
        Labels.
    scales : array (T,), optional
        What the labels of each level are divided by.
    """

    def __init__(self, data: Levels, scales: _Array | None = None) -> None:
        levels = data.levels
        self.sizes = np.array([len(level.rows) for level in levels])
        ends = np.cumsum(self.sizes)
        #: Where the labels of each level are.
        self.parts = [slice(int(e - n), int(e)) for e, n in zip(ends, self.sizes, strict=True)]
        self.rows = np.concatenate([level.rows for level in levels])
        self.weights = np.concatenate([level.weights for level in levels])
        rests = [level.rest for level in levels]
        if scales is not None:
            rests = [rest / scale for rest, scale in zip(rests, scales, strict=True)]
        self.targets = np.concatenate(rests)[:, None]
        basis = block_diag(*[level.basis for level in levels])
        self.basis = basis if basis.shape[1] else None

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, values: _Array) -> list[_Array]:
        """Return the numbers of each level."""
        return [values[part] for part in self.parts]

    def add_scaled(self, K: _Array, C: _Array, total: _Array) -> None:
        """Add the kernel matrix of all labels, times the covariance of their levels."""
        for t, rows in enumerate(self.parts):
            for u, columns in enumerate(self.parts):
                total[rows, columns] += C[t, u] * K[rows, columns]

    def sums(self, W: _Array, K: _Array) -> _Array:
        """Return sums of products of two symmetric matrices for each pair of levels, (T, T)."""
        n = len(self.parts)
        out = np.zeros((n, n))
        for t, rows in enumerate(self.parts):
            for u, columns in enumerate(self.parts[: t + 1]):
                out[t, u] = out[u, t] = np.vdot(W[rows, columns], K[rows, columns])
        return out


class JointProcess:
    """The process of all levels.

    Parameters
    ----------
    data : Levels
        Labels.
    settings : JointSettings
        Hyperparameters.

    Notes
    -----
    n^3 flops and n^2 numbers for n labels of all levels together.
    """

    def __init__(self, data: Levels, settings: JointSettings) -> None:
        self.data, self.settings = data, settings
        labels = self._labels = Labels(data)
        total = np.zeros((len(labels), len(labels)))
        for kernel, matrix in zip(settings.kernels, settings.matrices, strict=True):
            K = np.asarray(kernel(data.features))
            labels.add_scaled(K[np.ix_(labels.rows, labels.rows)], matrix, total)
        noise = np.repeat(settings.noises, labels.sizes) / labels.weights
        cause = " ".join(dict.fromkeys(map(indefinite_cause, settings.kernels))).strip()
        factor = CholeskyFactor(total, noise, cause=cause)
        self.solution = GeneralisedLeastSquares(factor, labels.targets, labels.basis)
        factor.invert()
        self.jitters = [factor.jitter]

    # -- predictions ------------------------------------------------------------------------------

    def _basis(self, queries: LevelQueries, t: int) -> _Array:
        """Return the linear part of level t among those of all levels, array (m, p)."""
        widths = [level.basis.shape[1] for level in self.data.levels]
        out = np.zeros((len(queries), sum(widths)))
        start = sum(widths[:t])
        out[:, start : start + widths[t]] = queries.bases[t]
        return out

    def _cross(self, queries: LevelQueries, level: int, matrices: list[_Array]) -> _Array:
        """Return the covariance (m, n) of a level of new molecules with all labels."""
        out: Any = 0.0
        for K, matrix in zip(matrices, self.settings.matrices, strict=True):
            factors = np.repeat(matrix[level], self._labels.sizes)
            out = out + K[:, self._labels.rows] * factors
        return np.asarray(out)

    def _kernels(self, queries: LevelQueries) -> list[_Array]:
        return [np.asarray(k(queries.features, queries.known)) for k in self.settings.kernels]

    def _mean(self, cross: _Array, queries: LevelQueries, level: int) -> _Array:
        mean = cross @ self.solution.dual + self._basis(queries, level) @ self.solution.coef
        return np.asarray(mean[:, 0] + queries.bases[level] @ self.data.levels[level].offset)

    def mean(self, queries: LevelQueries, level: int) -> _Array:
        """Return means (m,) of a level."""
        return self._mean(self._cross(queries, level, self._kernels(queries)), queries, level)

    def mean_and_variance(self, queries: LevelQueries, level: int) -> tuple[_Array, _Array]:
        """Return means (m,) and variances (m,) of labels of a level."""
        cross = self._cross(queries, level, self._kernels(queries))
        settings, prior = self.settings, np.zeros(len(queries))
        for kernel, matrix in zip(settings.kernels, settings.matrices, strict=True):
            prior += matrix[level, level] * np.asarray(kernel.diag(queries.features))
        found = self.solution.variances(cross, self._basis(queries, level), prior)
        return self._mean(cross, queries, level), found + settings.noises[level]

    def mean_and_covariance(self, queries: LevelQueries, level: int) -> tuple[_Array, _Array]:
        """Return means (m,) and covariances (m, m) of labels of a level."""
        cross = self._cross(queries, level, self._kernels(queries))
        settings, prior = self.settings, np.zeros((len(queries), len(queries)))
        for kernel, matrix in zip(settings.kernels, settings.matrices, strict=True):
            prior += matrix[level, level] * np.asarray(kernel(queries.features))
        found = self.solution.covariance(cross, self._basis(queries, level), prior)
        np.einsum("ii->i", found)[:] += settings.noises[level]
        return self._mean(cross, queries, level), found

    def unknowns(self, queries: LevelQueries) -> tuple[_Array, _Array, _Array]:
        """Return what is not known of new molecules, and how the top level is made of it.

        Returns
        -------
        covariance : array (m, T, m, T)
            Of the levels, without noise.
        noise : array (T,)
            Variances of the noise of labels.
        top : array (T,)
            1 for the top level, else 0.
        """
        n_levels, m = self.data.n_levels, len(queries)
        matrices, settings = self._kernels(queries), self.settings
        cross = [self._cross(queries, t, matrices) for t in range(n_levels)]
        basis = [self._basis(queries, t) for t in range(n_levels)]
        prior = np.zeros((n_levels, m, n_levels, m))
        for kernel, matrix in zip(settings.kernels, settings.matrices, strict=True):
            own = np.asarray(kernel(queries.features))
            prior += matrix[:, None, :, None] * own[None, :, None, :]
        found = self.solution.covariance(
            np.concatenate(cross), np.concatenate(basis), prior.reshape(n_levels * m, -1)
        )
        by_level = found.reshape(n_levels, m, n_levels, m).transpose(1, 0, 3, 2)
        return np.ascontiguousarray(by_level), settings.noises, np.eye(n_levels)[-1]

    # -- what was left out ------------------------------------------------------------------------

    def left_out(self, folds: list[_Rows] | None) -> tuple[_Array, _Array]:
        """Return residuals (n, T) and variances (n, T) of mean labels, all of a fold's left out.

        Folds hold molecules; None leaves out one at a time, at all levels.
        """
        owner = np.full(len(self.data), -1)
        if folds is None:
            owner[:] = np.arange(len(self.data))
        else:
            for number, fold in enumerate(folds):
                owner[fold] = number
        of_label = owner[self._labels.rows]
        order = np.argsort(of_label, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(of_label[order])) + 1)
        groups = [group for group in groups if of_label[group[0]] >= 0]
        residuals, blocks = self.solution.left_out(groups)
        variances = np.full(len(self._labels), np.nan)
        for group, block in zip(groups, blocks, strict=True):
            variances[group] = np.einsum("ii->i", block)
        tables = [self._labels.split(values) for values in (residuals[:, 0], variances)]
        return self.data.table(tables[0]), self.data.table(tables[1])
