r"""Leave-one-out errors of a fitted model as a function of the parameters of baselines.

At a fixed kernel, the model of other targets needs no new factorisation. With Q of
:mod:`kernchem.solvers.gls`, labels y, and baselines C (n, b) as further unpenalised columns,

.. math::
    s = M^{-1} C^T Q y, \quad M = C^T Q C, \quad \tilde Q = Q - Q C M^{-1} C^T Q, \quad
    e_i = (\tilde Q y)_i / \tilde Q_{ii}

are the slopes and the residuals of labels that were left out, slopes refitted without each of them
as well. With slopes of 1, :math:`\tilde Q = Q` and the labels are y - C 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernchem.baselines import PairPotential
from kernchem.errors import SettingError
from kernchem.solvers import GeneralisedLeastSquares
from kernchem.structures import Structures

__all__ = ["BaselineTrial", "LeaveOneOutObjective"]

_Array = npt.NDArray[np.float64]

#: Baselines have no slopes if less than this fraction is left beside composition and each other.
_DEPENDENT = 1e-10
#: A difference below this fraction of what it was subtracted from has no digits left.
_CANCELLED = 1e-14
#: Residuals below this fraction of the median are squared where absolute values are summed.
_KINK = 0.1
#: What an impossible point is worth to the search, in units of the start's value.
_IMPOSSIBLE = 1e3


@dataclass(frozen=True)
class BaselineTrial:
    """Parameters that were tried (p,), and the leave-one-out error with them."""

    theta: _Array
    error: float


class LeaveOneOutObjective:
    """Leave-one-out error of a model as a function of theta of baselines.

    Parameters
    ----------
    baselines : list of PairPotential
        What is subtracted.
    structures : Structures
        Distinct training samples (n,).
    targets : array (n, t)
        Labels without any baseline subtracted.
    basis : array (n, p)
        Linear part of the model.
    solution : GeneralisedLeastSquares
        Of the model, for any targets.
    fit_slopes : bool
        Give each baseline a slope; else it is 1.
    criterion : {"mae", "rmse"}
        Error that is made small.

    Raises
    ------
    SettingError
        If no sample can be left out, or slopes are to be fitted that are not determined.
    """

    def __init__(
        self,
        baselines: list[PairPotential],
        structures: Structures,
        targets: _Array,
        basis: _Array,
        solution: GeneralisedLeastSquares,
        *,
        fit_slopes: bool,
        criterion: str,
    ) -> None:
        self.baselines, self.structures, self.targets = baselines, structures, targets
        self.solution, self.fit_slopes, self.criterion = solution, fit_slopes, criterion
        self.basis = np.linalg.qr(basis)[0]
        variance = solution.loo()[1]
        self.known = np.isfinite(variance)
        if not self.known.any():
            raise SettingError("no sample can be left out; give more molecules")
        self.precision = 1.0 / np.where(self.known, variance, 1.0)
        self.dual = solution.dual_of(targets)
        self.without = self._error(self.dual / self.precision[:, None])
        self.start = np.concatenate([one.theta for one in baselines])
        self.ends = np.cumsum([len(one.theta) for one in baselines])[:-1]
        evaluated = self._residuals(self.start, slopes=False)
        if evaluated is None:
            raise SettingError(
                "the baselines are explained by the composition or by each other, so their slopes "
                "are not determined: give other baselines, or use slope=1"
            )
        residuals = evaluated[0]
        self.trials = [BaselineTrial(self.start, self._error(residuals))]
        self.kink = _KINK * float(np.median(np.abs(residuals[self.known])))
        self.scale = max(self._loss(residuals)[0], np.finfo(float).tiny)

    def __call__(self, theta: _Array) -> tuple[float, _Array]:
        """Return the loss and its slopes, in units of the start's loss."""
        evaluated = self._residuals(theta, slopes=True)
        if evaluated is None:
            return _IMPOSSIBLE, np.zeros(len(theta))
        residuals, _, gradient = evaluated
        self.trials.append(BaselineTrial(theta.copy(), self._error(residuals)))
        return self._loss(residuals)[0] / self.scale, gradient / self.scale

    def slopes(self, theta: _Array) -> _Array:
        """Return the slope of each baseline (b, t) at a point that was tried."""
        found = self._residuals(theta, slopes=False)
        assert found is not None
        return found[1]

    def at(self, theta: _Array) -> list[PairPotential]:
        """Return the baselines with other parameters."""
        parts = np.split(theta, self.ends)
        return [one.clone_with_theta(p) for one, p in zip(self.baselines, parts, strict=True)]

    def _error(self, residuals: _Array) -> float:
        known = residuals[self.known]
        if self.criterion == "mae":
            return float(np.abs(known).mean())
        return float(np.sqrt((known**2).mean()))

    def _loss(self, residuals: _Array) -> tuple[float, _Array]:
        """Return what is made small, and its derivative along each residual (n, t)."""
        known = np.where(self.known[:, None], residuals, 0.0)
        count = self.known.sum() * residuals.shape[1]
        if self.criterion == "rmse":
            return float((known**2).sum() / count), 2.0 * known / count
        roots = np.sqrt(known**2 + self.kink**2)
        slope = np.divide(known, roots, out=np.zeros_like(known), where=roots > 0.0)
        return float((roots - self.kink).sum() / count), slope / count

    def _residuals(self, theta: _Array, *, slopes: bool) -> tuple[_Array, _Array, _Array] | None:
        """Return residuals (n, t), slopes of the baselines (b, t) and those of the loss (p,).

        None where the slopes of the baselines are not determined.
        """
        found = [one.energies_and_slopes(self.structures) for one in self.at(theta)]
        C = np.stack([energies for energies, _ in found], axis=1)
        W = self.solution.dual_of(C)
        s, B = np.ones((C.shape[1], self.targets.shape[1])), np.zeros(W.T.shape)
        if self.fit_slopes:
            rest = C - self.basis @ (self.basis.T @ C)
            norms = np.linalg.norm(C, axis=0)
            if not norms.all() or np.linalg.svd(rest / norms, compute_uv=False)[-1] < _DEPENDENT:
                return None
            B = np.asarray(np.linalg.solve(C.T @ W, W.T))
            s = B @ self.targets
        a = self.dual - W @ s
        d = self.precision - np.einsum("ib,bi->i", W, B)
        if (d[self.known] <= _CANCELLED * self.precision[self.known]).any():
            return None
        residuals = a / d[:, None]
        if not slopes:
            return residuals, s, np.zeros(0)
        along_a = self._loss(residuals)[1] / d[:, None]
        along_d = -(along_a * residuals).sum(axis=1)
        # dQ~ = -Q~ dC B - B' dC' Q~, so that the slope of the loss along C is minus this.
        columns = np.hstack([along_a, along_d[:, None] * B.T])
        inner = self.solution.dual_of(columns) - W @ (B @ columns)
        t = s.shape[1]
        along = inner[:, :t] @ s.T + a @ (B @ along_a).T + 2.0 * inner[:, t:]
        parts = [-along[:, b] @ energy_slopes for b, (_, energy_slopes) in enumerate(found)]
        return residuals, s, np.concatenate(parts)
