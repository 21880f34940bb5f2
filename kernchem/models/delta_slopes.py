"""Slopes of baselines: beside element counts at first, then jointly with the kernel on top."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from kernchem._validation import numbered
from kernchem.errors import KernchemWarning, SettingError
from kernchem.models.baseline_columns import ComputedSource, Source, is_free_potential
from kernchem.models.baseline_search import choose_parameters
from kernchem.models.baseline_slopes import joint_slopes, shrunken_slopes
from kernchem.models.kernel_model import KernelModel
from kernchem.structures import Structures

__all__ = ["DeltaTask"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Labels per fitted coefficient below which a slope is not fitted.
_LABELS_PER_COEFFICIENT = 4
#: Singular values below this fraction of the largest one leave the slope undetermined.
_RANK = 1e-10
#: Labels from which slopes are learnt jointly with a kernel: there are few slopes.
_PILOT_ROWS = 1000
#: How often parameters of potentials and the model below which they lie are chosen in turn.
_ROUNDS = 2


@dataclass
class DeltaTask:
    """A fit of slopes, offsets and a model of the rest.

    Parameters
    ----------
    model : estimator
        Learns the rest; not changed.
    slope : "fit" or 1
        Whether slopes are fitted.
    structures : Structures
        The n molecules.
    targets : array (n, n_targets)
        Their labels.
    shape : tuple of int
        Shape of the labels as they were given.
    weights : array (n,)
        Weights of the labels.
    basis : array (n, p)
        Linear part of all of them; rows of weight zero are not looked at.
    sources : list of Source
        Where the columns come from; potentials are replaced by better ones.
    fit_params : dict
        What is passed on to the model's ``fit``.

    Attributes
    ----------
    parts : list of array (n, n_columns)
        Columns of each source.
    slope_std : array (n_columns,)
        Standard deviations of all slopes about zero beforehand; infinite where they are free.
    slopes : list of array (n_columns, n_targets)
        Slopes of each source.
    offset : array (p, n_targets)
        Coefficients of the linear part.
    fitted : estimator
        The model.
    """

    model: Any
    slope: Literal["fit"] | float
    structures: Structures
    targets: _Array
    shape: tuple[int, ...]
    weights: _Array
    basis: _Array
    sources: list[Source]
    fit_params: dict[str, Any]
    parts: list[_Array] = field(init=False)
    slope_std: _Array = field(init=False)
    slopes: list[_Array] = field(init=False)
    offset: _Array = field(init=False)
    fitted: Any = field(init=False)

    def __post_init__(self) -> None:
        self.parts = []
        for k, source in enumerate(self.sources):
            self.sources[k], columns = source.fit_columns(self.structures)
            self.parts.append(columns)
        self.slope_std = np.concatenate(
            [
                source.slope_std(part.shape[1])
                for source, part in zip(self.sources, self.parts, strict=True)
            ]
        )
        self.kept = np.flatnonzero(self.weights > 0)

    def run(self) -> None:
        """Fit slopes, offsets and the model."""
        determined = self._ordinary_slopes()
        model = self.model
        kernel = isinstance(model, KernelModel) and model.one_level and model.takes_structures
        if determined and kernel:
            self._learn_jointly()
        self.fitted = self._fit_rest(np.arange(len(self.targets)))

    def _fit_rest(self, rows: _Rows) -> Any:
        """Return a model of what slopes and offsets leave, fitted to some rows."""
        rest = self.targets - self._linear(range(len(self.parts)))
        root = np.sqrt(self.weights[self.kept])[:, None]
        found = np.linalg.lstsq(self.basis[self.kept] * root, rest[self.kept] * root, rcond=None)
        self.offset = np.asarray(found[0])
        # Samples of weight zero count for nothing, and may hold elements that no other one does.
        difference = np.zeros_like(rest)
        difference[self.kept] = rest[self.kept] - self.basis[self.kept] @ self.offset
        difference = difference.reshape(self.shape)
        n = len(difference)
        given = {name: _some(value, rows, n) for name, value in self.fit_params.items()}
        with numbered(rows):
            return clone(self.model).fit(self.structures[rows], difference[rows], **given)

    def _linear(self, sources: Any) -> _Array:
        """Return the columns of some sources times their slopes, array (n, n_targets)."""
        out = np.zeros_like(self.targets)
        for k in sources:
            out += self.parts[k] @ self.slopes[k]
        return out

    def _set(self, slope: _Array) -> None:
        """Share out the slopes of all columns to the sources."""
        ends = np.cumsum([part.shape[1] for part in self.parts])
        self.slopes = np.split(slope, ends[:-1])

    # -- least squares ----------------------------------------------------------------------------

    def _ordinary_slopes(self) -> bool:
        """Set slopes by least squares beside the element counts; whether the labels suffice."""
        root = np.sqrt(self.weights[self.kept])[:, None]
        columns = np.hstack(self.parts)[self.kept] * root
        targets, basis = self.targets[self.kept] * root, self.basis[self.kept] * root
        n_columns = columns.shape[1]
        if self.slope != "fit":
            if n_columns > 1:
                raise SettingError(
                    f"slope=1 takes one column, {n_columns} were given; use slope='fit'"
                )
            self._set(np.ones((1, targets.shape[1])))
            return True
        q = np.linalg.qr(basis)[0]
        rest = columns - q @ (q.T @ columns)
        free = np.isinf(self.slope_std)
        n_free = int(free.sum())
        scale = np.linalg.norm(columns[:, free], axis=0)
        singular = np.linalg.svd(rest[:, free] / np.where(scale > 0, scale, 1.0), compute_uv=False)
        determined = singular.min(initial=np.inf) > _RANK
        if len(targets) >= _LABELS_PER_COEFFICIENT * (basis.shape[1] + n_free) and determined:
            self._set(shrunken_slopes(rest, targets - q @ (q.T @ targets), self.slope_std))
            return True
        slopes = "a slope" if n_free == 1 else f"{n_free} slopes"
        alone = "the baseline" if n_columns == 1 else "the first column alone"
        warnings.warn(
            f"{len(targets)} labels do not determine {slopes} beside {basis.shape[1]} elements; "
            f"{alone} is subtracted as it is (slope 1)",
            KernchemWarning,
            stacklevel=4,
        )
        self._set(np.eye(n_columns, 1) * np.ones((1, targets.shape[1])))
        return False

    # -- jointly with a kernel --------------------------------------------------------------------

    def _learn_jointly(self) -> None:
        """Set slopes, and parameters of potentials, by generalised least squares."""
        potentials = [k for k, one in enumerate(self.sources) if is_free_potential(one)]
        rounds = _ROUNDS if potentials else 1 if self.slope == "fit" else 0
        chosen = np.random.default_rng(0).permutation(self.kept)[:_PILOT_ROWS]
        rows = np.sort(chosen) if len(chosen) < len(self.kept) else np.arange(len(self.targets))
        for _ in range(rounds):
            pilot = self._fit_rest(rows)
            if self.slope == "fit":
                columns = np.hstack(self.parts)[rows]
                self._set(joint_slopes(columns, self.targets[rows], pilot, self.slope_std))
            if potentials:
                self._choose(potentials, pilot, rows)

    def _choose(self, potentials: list[int], pilot: KernelModel, rows: _Rows) -> None:
        """Choose the parameters of potentials by the leave-one-out errors of a model on top."""
        others = [k for k in range(len(self.parts)) if k not in potentials]
        found = choose_parameters(
            [self.sources[k].origin for k in potentials],
            self.structures[rows],
            (self.targets - self._linear(others))[rows],
            pilot,
            slope=self.slope,
        )
        for k, baseline, slope in zip(potentials, found.baselines, found.slopes, strict=True):
            self.sources[k] = ComputedSource(baseline)
            self.parts[k] = self.sources[k].columns(self.structures).values
            self.slopes[k] = slope[None]


def _some(value: Any, rows: _Rows, n: int) -> Any:
    """Return what belongs to some of n samples, of anything that holds one item for each."""
    if isinstance(value, str) or not hasattr(value, "__len__") or np.ndim(value) == 0:
        return value
    return np.asarray(value)[rows] if len(value) == n else value
