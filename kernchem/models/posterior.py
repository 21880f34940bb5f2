"""The posterior of a Gaussian process: what one factorisation gives, on arrays alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.errors import SettingError
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares
from kernchem.uncertainty import (
    IsotonicCalibration,
    ScaleModel,
    cv_plus,
    jackknife_plus,
)

__all__ = ["Labels", "Posterior", "Queries"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: The smallest standard deviation, relative to that of labels left out: error bars are above zero.
_LEAST_STD = 1e-12


@dataclass(frozen=True)
class Queries:
    """New samples, as a posterior sees them.

    Attributes
    ----------
    cross : array (m, n)
        Kernel with the training samples.
    prior : array (m,)
        Kernel with themselves.
    basis : array (m, p)
        Linear part.
    likeness : array (m, n), optional
        What scale models compare them with the training samples by; ``cross`` by default.
    """

    cross: _Array
    prior: _Array
    basis: _Array
    likeness: _Array | None = None


@dataclass(frozen=True)
class Labels:
    """The labels of which targets are means, where some were repeated.

    Attributes
    ----------
    values : array (n_labels, t)
        Labels.
    member : array (n_labels,)
        Row of the target that each belongs to.
    extra : array (n_labels, t)
        Variance of its noise beyond that of the mean, in units of the kernel.
    counted : array of bool (n_labels, t)
        Whether it is the first one of equal labels of a target.
    first : array (n_targets,)
        Which is the first label of each target: errors are learnt from one label of each.
    """

    values: _Array
    member: _Rows
    extra: _Array
    counted: npt.NDArray[np.bool_]
    first: _Rows


@dataclass
class Posterior:
    """Means, variances and leave-out predictions of a fitted process.

    Attributes
    ----------
    factor : CholeskyFactor
        Of the kernel matrix with noise; inverted.
    solution : GeneralisedLeastSquares
        Of the targets.
    targets : array (n, t)
        Targets.
    basis : array (n, p)
        Linear part of the training samples.
    amplitudes : array (t,)
        Amplitude of each target.
    noise : float
        Variance of the noise of a new label, in units of the kernel.
    labels : Labels or None
        What targets are means of; None where each is a label.
    partition : list of array of int or None
        Rows that are left out together, as they are of one sample; None where each is one.
    scales : list of ScaleModel
        Correction of the standard deviations of each target; empty for none.
    quantiles : list of IsotonicCalibration
        Calibration of the intervals of each target.
    """

    factor: CholeskyFactor
    solution: GeneralisedLeastSquares
    targets: _Array
    basis: _Array
    amplitudes: _Array
    noise: float
    labels: Labels | None = None
    partition: list[_Rows] | None = None
    scales: list[ScaleModel] = field(default_factory=list)
    quantiles: list[IsotonicCalibration] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.residuals, self.variances = self.solution.loo(self.partition)
        #: Rows that can be left out.
        self.known = np.isfinite(self.residuals).all(axis=1) & (self.variances > 0.0)
        #: Standard deviations of one label of each target.
        self.loo_std = np.sqrt(self._of_one(self.variances) * self.amplitudes)
        typical = np.mean(self.loo_std[self.known], axis=0) if self.known.any() else 1.0
        self.least_std = np.maximum(_LEAST_STD * typical, 1e-150) * np.ones(len(self.amplitudes))

    def _of_one(self, variances: _Array) -> _Array:
        """Return variances (n, t) of one label of each target from those of the targets."""
        own = np.repeat(variances[:, None], self.targets.shape[1], axis=1)
        return own if self.labels is None else own + self.labels.extra[self.labels.first]

    def of_labels(self, std: _Array, variances: _Array) -> _Array:
        """Return standard deviations (n_labels, t) of all labels from those of one of each target.

        ``variances`` (n,) are those of targets, plain and in units of the kernel.
        """
        if self.labels is None:
            return std
        member, extra = self.labels.member, self.labels.extra
        of_one = np.maximum(self._of_one(variances), 1e-300)
        ratios = np.sqrt((variances[member, None] + extra) / of_one[member])
        return np.asarray(std[member] * ratios)

    def _residuals_of_labels(self, residuals: _Array) -> _Array:
        """Return residuals (n_labels, t) of labels.

        All labels of a target are left out together: each is compared with the same prediction.
        """
        if self.labels is None:
            return residuals
        return self.labels.values - (self.targets - residuals)[self.labels.member]

    def _counted(self, target: int, rows: npt.NDArray[np.bool_]) -> tuple[_Rows, _Rows]:
        """Return the labels that intervals count, and their rows, of the chosen rows."""
        if self.labels is None:
            return np.flatnonzero(rows), np.flatnonzero(rows)
        chosen = np.flatnonzero(self.labels.counted[:, target] & rows[self.labels.member])
        return chosen, self.labels.member[chosen]

    def learn_errors(self, likeness: _Array | None) -> None:
        """Fit scale models and quantiles to the leave-one-out residuals.

        ``likeness`` (n, n) is what scale models compare training samples by; none without it.
        """
        known, errors = self.known, self.residuals
        if self.labels is not None:
            errors = self._residuals_of_labels(errors)[self.labels.first]
        if self.partition is not None:
            # One row of each sample: others would tell of its errors.
            known = np.zeros_like(known)
            known[[rows[0] for rows in self.partition]] = True
            known &= self.known
        plain = self.loo_std.copy()
        self.scales, self.quantiles = [], []
        for t in range(self.targets.shape[1]):
            residuals = errors[known, t]
            if likeness is not None and len(residuals):
                part = likeness if known.all() else likeness[np.ix_(known, known)]
                logs = np.log(np.maximum(self.loo_std[known, t], self.least_std[t]))
                model = ScaleModel().fit(part, logs, residuals, self.basis[known])
                self.loo_std[known, t] = np.exp(model.loo_log_std_)
                full = np.zeros(len(known))
                full[known] = model.dual_
                self.scales.append(
                    ScaleModel.restored(model.coef_, full, model.range_, model.strength_)
                )
            if len(residuals):
                std = np.maximum(self.loo_std[known, t], self.least_std[t])
                self.quantiles.append(IsotonicCalibration().fit(residuals, std))
        for rows in self.partition or []:
            self.loo_std[rows[1:]] = (plain[rows[1:]] * self.loo_std[rows[0]]) / plain[rows[0]]

    def take_errors(
        self, scales: list[ScaleModel], quantiles: list[IsotonicCalibration], origin: _Rows
    ) -> None:
        """Keep what was learnt of errors on another training set.

        ``origin`` (n,) is the row of that training set that each row was, or -1. The
        leave-one-out standard deviations are those of the process.
        """
        self.quantiles = quantiles
        was = origin >= 0
        for model in scales:
            dual = np.zeros(len(origin))
            dual[was] = model.dual_[origin[was]]
            restored = ScaleModel.restored(model.coef_, dual, model.range_, model.strength_)
            self.scales.append(restored)

    def mean(self, queries: Queries) -> _Array:
        """Return means (m, t)."""
        return np.asarray(queries.cross @ self.solution.dual + queries.basis @ self.solution.coef)

    def plain_variance(self, queries: Queries) -> _Array:
        """Return variances (m,) of labels, in units of the kernel."""
        found = self.solution.variances(queries.cross, queries.basis, queries.prior)
        return np.asarray(found + self.noise)

    def std(self, queries: Queries) -> _Array:
        """Return standard deviations (m, t) of labels, corrected by the scale models."""
        return self.corrected(self.plain_variance(queries), queries)

    def corrected(self, variance: _Array, queries: Queries) -> _Array:
        """Return standard deviations (m, t) from plain variances (m,)."""
        plain = np.sqrt(variance[:, None] * self.amplitudes)
        std: _Array = np.maximum(plain, self.least_std)
        likeness = queries.cross if queries.likeness is None else queries.likeness
        for t, model in enumerate(self.scales):
            logs = model.predict(likeness, np.log(std[:, t]), queries.basis)
            std[:, t] = np.exp(logs)
        return std

    def covariance(self, queries: Queries, prior: _Array) -> _Array:
        """Return covariances (m, m, t) of labels; ``prior`` is (m, m)."""
        plain = self.solution.covariance(queries.cross, queries.basis, prior)
        np.einsum("ii->i", plain)[:] += self.noise
        own = np.maximum(np.einsum("ii->i", plain), 0.0)
        std = self.corrected(own, queries)
        factors = std / np.sqrt(np.maximum(own, 1e-300))[:, None]
        return np.asarray(plain[:, :, None] * factors[:, None] * factors[None])

    def left_out(self, folds: list[_Rows] | None) -> tuple[_Array, _Array]:
        """Return residuals (n, t) of targets and plain deviations (n_labels, t) of labels."""
        residuals, variances = self.solution.loo(folds)
        std = np.sqrt(self._of_one(variances) * self.amplitudes)
        return residuals, self.of_labels(std, variances)

    def jackknife(self, panels: Iterator[Queries], coverage: float) -> list[tuple[_Array, _Array]]:
        """Return exact jackknife+ intervals for each target."""
        if not self.known.any():
            raise SettingError("no sample can be left out; use method='gaussian'")
        errors = self._residuals_of_labels(self.residuals)
        ends: list[list[tuple[_Array, _Array]]] = [[] for _ in range(self.targets.shape[1])]
        for queries in panels:
            mean = self.mean(queries)
            weights = self.solution.weights(queries.cross, queries.basis)
            for t, found in enumerate(ends):
                shifts = weights * self.residuals[:, t]
                for rows in self.partition or []:
                    shifts[:, rows] = shifts[:, rows].sum(axis=1, keepdims=True)
                chosen, rows = self._counted(t, self.known)
                left_out = mean[:, t, None] - shifts[:, rows]
                found.append(jackknife_plus(errors[chosen, t], left_out, coverage))
        return [_joined(found) for found in ends]

    def cv_plus(
        self, panels: Iterator[Queries], coverage: float, folds: list[_Rows]
    ) -> list[tuple[_Array, _Array]]:
        """Return exact CV+ intervals for each target."""
        residuals = self.solution.cv(folds)
        numbers = np.full(len(residuals), -1)
        usable = [rows for rows in folds if np.isfinite(residuals[rows]).all()]
        for number, rows in enumerate(usable):
            numbers[rows] = number
        if not usable:
            raise SettingError("no fold can be left out; use other folds, or method='calibrated'")
        errors = self._residuals_of_labels(residuals)
        ends: list[list[tuple[_Array, _Array]]] = [[] for _ in range(self.targets.shape[1])]
        for queries in panels:
            mean = self.mean(queries)
            weights = self.solution.weights(queries.cross, queries.basis)
            for t, found in enumerate(ends):
                shifts = [weights[:, rows] @ residuals[rows, t] for rows in usable]
                by_fold = mean[:, t, None] - np.stack(shifts, axis=1)
                chosen, rows = self._counted(t, numbers >= 0)
                found.append(cv_plus(errors[chosen, t], numbers[rows], by_fold, coverage))
        return [_joined(found) for found in ends]


def _joined(ends: list[tuple[_Array, _Array]]) -> tuple[_Array, _Array]:
    if not ends:
        return np.zeros(0), np.zeros(0)
    lower: Any
    lower, upper = zip(*ends, strict=True)
    return np.concatenate(lower), np.concatenate(upper)
