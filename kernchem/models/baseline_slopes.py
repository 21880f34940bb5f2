"""Slopes of baselines by least squares, alone and jointly with a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._threads import blas_for
from kernchem.errors import SettingError
from kernchem.models.kernel_model import KernelModel

__all__ = ["distinct_rows", "joint_slopes", "require_slope", "shrunken_slopes"]

_Array = npt.NDArray[np.float64]

#: How often the variance of what slopes leave, and slopes that it shrinks, are found in turn.
_ROUNDS = 3


def require_slope(slope: Any) -> None:
    """Raise unless slopes are "fit" or 1."""
    number = isinstance(slope, int | float | np.integer) and not isinstance(slope, bool)
    if not (number and slope == 1) and not (isinstance(slope, str) and slope == "fit"):
        raise SettingError(f"slope={slope!r}; use 'fit' or 1")


def shrunken_slopes(columns: _Array, targets: _Array, std: _Array) -> _Array:
    r"""Return slopes by least squares, those that are not free drawn towards zero.

    They minimise :math:`|y - C s|^2 / \sigma^2 + \sum_b s_b^2 / \tau_b^2`, with the variance
    :math:`\sigma^2` of what they leave of each target.

    Parameters
    ----------
    columns : array (n, n_columns)
        Baselines.
    targets : array (n, n_targets)
        Labels.
    std : array (n_columns,)
        Standard deviations tau; infinite where a slope is free.

    Returns
    -------
    array (n_columns, n_targets)
        Slopes.
    """
    free = np.isinf(std)
    slopes = np.zeros((len(std), targets.shape[1]))
    slopes[free] = np.linalg.lstsq(columns[:, free], targets, rcond=None)[0]
    for _ in range(0 if free.all() else _ROUNDS):
        spread = np.sqrt(np.mean((targets - columns @ slopes) ** 2, axis=0))
        for t, sigma in enumerate(spread):
            rows = np.vstack([columns, np.diag(sigma / std)])
            padded = np.append(targets[:, t], np.zeros(len(std)))
            slopes[:, t] = np.linalg.lstsq(rows, padded, rcond=None)[0]
    return slopes


def joint_slopes(columns: _Array, labels: _Array, model: KernelModel, std: _Array) -> _Array:
    """Return slopes of columns by generalised least squares, at the kernel of a fitted model.

    Parameters
    ----------
    columns : array (n, n_columns)
        Baselines of the samples that the model was fitted to.
    labels : array (n, n_targets)
        Their labels without any baseline subtracted.
    model : KernelModel
        Its kernel, noise and linear part are held.
    std : array (n_columns,)
        Standard deviations tau of the slopes about zero beforehand; infinite where they are free.

    Returns
    -------
    array (n_columns, n_targets)
        Slopes ``(C'QC + s2 / tau^2)^-1 C'Q y``, with Q of :mod:`kernchem.solvers.gls` and the
        amplitude s2 that the leave-one-out residuals of the model have.
    """
    rows, targets = distinct_rows(labels, model)
    distinct = columns[rows]
    if model._training.basis is not None:
        # Q does not see this part, but rounding does.
        basis = np.linalg.qr(model._training.basis)[0]
        distinct = distinct - basis @ (basis.T @ distinct)
    with blas_for(len(rows)):
        solution = model._solution()
        projected = solution.dual_of(distinct)
        gram, moments = distinct.T @ projected, projected.T @ targets
        if np.isinf(std).all():
            return np.asarray(np.linalg.lstsq(gram, moments, rcond=None)[0])
        residuals, variances = solution.loo(model._training.partition)
    amplitudes = np.nanmean(residuals**2 / variances[:, None], axis=0)
    penalties = [np.diag(amplitude / std**2) for amplitude in amplitudes]
    return np.column_stack(
        [
            np.linalg.lstsq(gram + penalty, moment, rcond=None)[0]
            for penalty, moment in zip(penalties, moments.T, strict=True)
        ]
    )


def distinct_rows(labels: _Array, model: KernelModel) -> tuple[npt.NDArray[np.int64], _Array]:
    """Return the first row of each distinct training sample, and the labels of these samples."""
    if labels.shape != model._labels.shape:
        raise SettingError(
            f"X and y hold {labels.shape[0]} samples with {labels.shape[1]} targets; the model was "
            f"fitted to {model._labels.shape[0]} with {model._labels.shape[1]}: give the same"
        )
    rows = model._kept[model._training.first]
    # Identical samples were merged: what the model did not see is the same for all of them.
    return rows, model._training.targets + (labels - model._labels)[rows]
