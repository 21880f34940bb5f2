"""The steps by which a model of several levels of theory is fitted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import blas_for
from kernchem._validation import check_labels, check_weights, generator_of, is_positive, is_whole
from kernchem.elements import formula
from kernchem.errors import KernchemWarning, LabelError, SettingError
from kernchem.models.gp_search import Settings
from kernchem.models.kernel_model import KernelModel, require_choice
from kernchem.models.label_errors import LabelErrors
from kernchem.models.levels import (
    LevelQueries,
    Levels,
    check_level_labels,
    label_variances,
    mean_labels,
)
from kernchem.models.levels_covariance import Autoregressive, Coregional
from kernchem.models.levels_joint import JointProcess, JointSettings
from kernchem.models.levels_recursive import RecursiveProcess, chosen_steps
from kernchem.models.levels_search import chosen_settings
from kernchem.models.training_set import TrainingSet
from kernchem.structures import Structures, as_structures
from kernchem.uncertainty import IsotonicCalibration

__all__ = ["FidelityLevel", "LevelsModel"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Private attributes that ``fit`` sets, beside those of every kernel model.
_STATE = ("_process",)
#: Slopes beyond this size would make squares that are no numbers.
_LARGEST_SLOPE = 1e100


@dataclass(frozen=True)
class FidelityLevel:
    """What a fitted model says of one level of theory.

    Attributes
    ----------
    n_labels : int
        Labels of distinct samples.
    kernel : kernel
        Of the level's own process: of its difference to the level below, or with
        ``method="multitask"`` of all levels.
    std : float
        Prior standard deviation of that process, in the unit of the labels.
    noise : float
        Standard deviation of the noise of one label, in the unit of the labels; learnt from means
        of the labels of each molecule.
    """

    n_labels: int
    kernel: Any
    std: float
    noise: float


class LevelsModel(KernelModel):
    """Base class of the model of several levels: settings, input and the steps of a fit."""

    one_level = False

    method: Literal["recursive", "joint", "multitask"]
    rho: Any
    alpha: float | Literal["fit"]
    amplitude: Literal["loo", "lml"]
    optimizer: Literal["loo", "lml"] | None
    rank: int
    n_restarts: int
    random_state: Any
    levels_: list[FidelityLevel]
    rho_: _Array
    _process: RecursiveProcess | JointProcess

    # -- settings ---------------------------------------------------------------------------------

    def _check_own_settings(self) -> None:
        require_choice("method", self.method, ("recursive", "joint", "multitask"))
        require_choice("amplitude", self.amplitude, ("loo", "lml"))
        require_choice("optimizer", self.optimizer, ("loo", "lml", None))
        if not (is_positive(self.alpha) or (isinstance(self.alpha, str) and self.alpha == "fit")):
            raise SettingError(f"alpha={self.alpha!r}; use a positive number or 'fit'")
        for name, least in (("rank", 1), ("n_restarts", 0)):
            if not is_whole(getattr(self, name), least):
                raise SettingError(f"{name}={getattr(self, name)!r}; use a whole number >= {least}")
        self._slopes(None)
        if self.method == "multitask" and not self._fits_slopes:
            raise SettingError("method='multitask' has no slopes: leave out rho=")
        if self._precomputed:
            raise SettingError(
                "kernel='precomputed' has no variances of new samples; give a kernel object"
            )

    @property
    def _fits_slopes(self) -> bool:
        return isinstance(self.rho, str) and self.rho == "fit"

    def _slopes(self, n_levels: int | None) -> list[float | None]:
        """Return the slope of each level above the first, None where it is fitted."""
        if self._fits_slopes:
            return [None] * ((n_levels or 1) - 1)
        try:
            found = np.asarray(self.rho)
            given = found.astype(np.float64) if found.dtype.kind in "iuf" else np.array(np.nan)
        except (TypeError, ValueError):
            given = np.array(np.nan)
        if given.ndim > 1 or not (np.abs(given) < _LARGEST_SLOPE).all():
            raise SettingError(
                f"rho={self.rho!r}; use 'fit', a number, or one for each level above the first"
            )
        if n_levels is None:
            return []
        if given.ndim == 1 and len(given) != n_levels - 1:
            raise SettingError(
                f"rho has {len(given)} slopes; {n_levels} levels have {n_levels - 1} between them"
            )
        return [float(value) for value in np.broadcast_to(given, (n_levels - 1,))]

    def _forget(self) -> None:
        super()._forget()
        for name in _STATE:
            self.__dict__.pop(name, None)

    # -- the steps of fit -------------------------------------------------------------------------

    def _checked_input(self, X: Any, y: Any) -> tuple[Any, _Array]:
        """Return samples that can be indexed, and labels in the shape that they have."""
        samples = as_structures(X) if self.takes_structures else self._rows_of(X, copy=True)
        y = None if y is None else np.asanyarray(y)
        if y is not None and y.ndim == 2 and y.shape[1] == 1:
            # Warns, as scikit-learn does, that one level needs no column of its own.
            y = column_or_1d(y, warn=True)
        labels = check_level_labels(y, len(samples), self._namer(samples))
        return samples, labels

    def _namer(self, samples: Any) -> Any:
        """Return a function that says what to call a sample."""
        if not self.takes_structures:
            return str
        return lambda row: f"{row} ({formula(samples[int(row)].numbers)})"

    def _fit_levels(self, X: Any, y: Any) -> None:
        self._check_settings()
        self._forget()
        samples, labels = self._checked_input(X, y)
        n, n_levels = labels.shape
        slopes = self._slopes(n_levels)
        nothing = np.zeros((n, 1))
        errors = LabelErrors()
        training = self._training_set(samples, nothing, np.ones(n), errors)
        # Labels are merged level by level.
        training = replace(training, label_weights=None, repeats=None)
        data = self._levels(training, labels, samples)
        if self.method == "recursive":
            self._require_nested(data, training, samples)
        with blas_for(sum(len(level.rows) for level in data.levels)):
            process = self._chosen(data, slopes)
            self._keep_levels(process, training, labels, labels.shape[1:] if n_levels > 1 else ())
            self._learn_errors()

    def _levels(self, training: TrainingSet, labels: _Array, samples: Any) -> Levels:
        targets, counts = mean_labels(labels, training.member, len(training))
        molecules = None if self._space is None else samples[training.first]
        return Levels.of(training.features, targets, counts, molecules)

    def _require_nested(self, data: Levels, training: TrainingSet, samples: Any) -> None:
        for t in range(1, data.n_levels):
            missing = np.flatnonzero(np.isnan(data.lower(t)))
            if len(missing):
                row = training.first[data.levels[t].rows[missing[0]]]
                raise LabelError(
                    f"sample {self._namer(samples)(row)} has a label of level {t} and none of level"
                    f" {t - 1} ({len(missing)} of the {len(data.levels[t].rows)} samples of level "
                    f"{t} are like that); method='recursive' needs labels of all lower levels: add "
                    "them, or use method='joint'"
                )

    def _chosen(self, data: Levels, slopes: list[float | None]) -> RecursiveProcess | JointProcess:
        """Return the process with the hyperparameters of the best score."""
        alpha = None if isinstance(self.alpha, str) else float(self.alpha)
        settings = Settings(
            "lml" if self.optimizer == "lml" else "loo",
            varied=self.optimizer is not None,
            alpha=alpha,
            amplitude=None,
            folds=None,
            n_restarts=self.n_restarts,
            seed=int(generator_of(self.random_state).randint(2**31 - 1)),
        )
        start, trials = chosen_steps(data, self._initial_kernel, settings, slopes, self.amplitude)
        self.trials_ = trials
        fixed = [step.rho for step in start.steps[1:]]
        for t, (given, slope) in enumerate(zip(slopes, fixed, strict=True), 1):
            if given is None and slope is not None:
                self._tell_undetermined(data, t)
        if self.method == "recursive" or data.n_levels == 1:
            return start
        structure: Autoregressive | Coregional = Autoregressive(fixed)
        if self.method == "multitask":
            structure = Coregional(data.n_levels, min(self.rank, data.n_levels))
        widths = self.optimizer == "lml"
        found = chosen_settings(data, start, structure, alpha, widths=widths)
        self.trials_ += found.trials
        process = JointProcess(data, found.settings)
        if self.amplitude == "lml":
            return process
        residuals, variances = process.left_out(None)
        scores = residuals[:, -1] ** 2 / variances[:, -1]
        known = np.isfinite(scores)
        factor = float(np.mean(scores[known])) if known.any() else 1.0
        return JointProcess(data, found.settings.scaled(max(factor, float(np.finfo(float).tiny))))

    def _tell_undetermined(self, data: Levels, t: int) -> None:
        """Warn that the slope of a level is not fitted, or raise where there are no slopes."""
        n, p = data.levels[t].basis.shape
        found = f"the {n} labels of level {t} do not determine"
        if self.method == "multitask":
            raise LabelError(
                f"{found} how it covaries with level {t - 1} beside {p} elements; give more "
                "labels, or use method='recursive' or 'joint'"
            )
        warnings.warn(
            f"{found} a slope on level {t - 1} beside {p} elements; it is set to 1. Give more "
            "labels, or rho=",
            KernchemWarning,
            stacklevel=5,
        )

    def _keep_levels(
        self,
        process: RecursiveProcess | JointProcess,
        training: TrainingSet,
        labels: _Array,
        target_shape: tuple[int, ...],
    ) -> None:
        """Keep what predictions need, and say what was found."""
        targets = mean_labels(labels, training.member, len(training))[0]
        # The linear parts are those of the levels.
        self._training = replace(training, targets=targets, basis=None)
        self._process = process
        self._kept, self._labels = np.arange(len(labels)), labels
        self._target_shape = target_shape
        self.jitter_ = max(process.jitters)
        levels = process.data.levels
        if isinstance(process, RecursiveProcess):
            parts = [
                (step.kernel, float(step.amplitude or 0.0) * step.diagonal, process.noise(t))
                for t, step in enumerate(process.steps)
            ]
            slopes = [process.slope(t) for t in range(1, len(levels))]
            self.rho_ = np.array([slope for slope, _ in slopes])
            self.rho_std_ = np.sqrt([variance for _, variance in slopes])
        else:
            parts, self.rho_ = self._joint_parts(process)
        self.levels_ = [
            FidelityLevel(len(level.rows), kernel, float(np.sqrt(own)), float(np.sqrt(noise)))
            for level, (kernel, own, noise) in zip(levels, parts, strict=True)
        ]

    def _joint_parts(self, process: JointProcess) -> tuple[list[tuple[Any, float, float]], _Array]:
        """Return kernel, variance and noise of each level, and the slopes."""
        settings: JointSettings = process.settings
        n, shared = process.data.n_levels, len(settings.kernels) == 1
        features = process.data.features
        diagonals = [float(np.mean(kernel.diag(features))) for kernel in settings.kernels]
        owners = [0 if shared else t for t in range(n)]
        matrices = [settings.matrices[q] * diagonals[q] for q in owners]
        self.level_covariance_ = np.asarray(
            sum(C * d for C, d in zip(settings.matrices, diagonals, strict=True))
        )
        parts = [
            (settings.kernels[q], float(matrices[t][t, t]), float(settings.noises[t]))
            for t, q in enumerate(owners)
        ]
        rho = [matrices[t][t + 1, t] / matrices[t][t, t] for t in range(n - 1)]
        return parts, np.array(rho)

    def _learn_errors(self) -> None:
        """Set the residuals of labels left out, and learn intervals from them."""
        residuals, variances = self._process.left_out(None)
        member = self._training.member
        noises = np.array([level.noise**2 for level in self.levels_])
        of_labels = variances[member] + noises * label_variances(self._labels, member)
        std = np.sqrt(np.maximum(of_labels, 0.0))
        self.loo_residuals_ = self._residuals_of_samples(self._training, residuals)
        self.loo_std_ = self._like_labels(std)
        self._quantiles: list[IsotonicCalibration | None] = []
        errors = self.loo_residuals_.reshape(std.shape)
        for own, width in zip(errors.T, std.T, strict=True):
            there = np.flatnonzero(np.isfinite(own) & (width > 0.0))
            # One label of each molecule, as predictions are of one.
            known = there[np.unique(member[there], return_index=True)[1]]
            fitted = IsotonicCalibration().fit(own[known], width[known]) if len(known) else None
            self._quantiles.append(fitted)

    # -- labels that are known -------------------------------------------------------------------

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination R^2 of the top level.

        Parameters
        ----------
        X : array (n, n_features) or structures
            Samples.
        y : array (n, n_levels) or (n,)
            Labels as in ``fit``, or those of the top level alone; samples without one (NaN) do not
            count.
        sample_weight : array (n,), optional
            Weights of the squared residuals.

        Returns
        -------
        float
            At most 1.

        Raises
        ------
        LabelError
            If no sample has a label of the top level.
        """
        check_is_fitted(self, "levels_")
        labels = np.asarray(y)
        if labels.dtype.kind not in "biuf":
            check_labels(y, len(labels) if labels.ndim else 1)
        labels = labels.astype(np.float64)
        top = labels[:, -1] if labels.ndim == 2 else labels
        there = np.flatnonzero(~np.isnan(top))
        if len(there) == 0:
            raise LabelError(
                "no sample has a label of the top level to be scored by; fold by it, e.g. with "
                "cv=StratifiedKFold().split(X, np.isfinite(y[:, -1]))"
            )
        predicted = self.predict(X)
        top = check_labels(top[there], len(there))
        if len(labels) != len(predicted):
            check_labels(labels, len(predicted))
        weights = check_weights(sample_weight, len(predicted))[there]
        return float(r2_score(top, predicted[there], sample_weight=weights))

    def leave_out_residuals(self, cv: Any = None, groups: Any = None) -> _Array:
        """Return residuals of the training samples under any partition, in closed form.

        Parameters
        ----------
        cv : int, splitter or None, default None
            Folds of samples as in scikit-learn, without overlap; None leaves out one group at a
            time, or one sample where there are no groups.
        groups : array (n_samples,), optional
            Group of each sample that was given to ``fit``.

        Returns
        -------
        array (n_samples, n_levels) or (n_samples,)
            ``y_i - f_-B(x_i)`` of each level, where the labels of all levels of the sample's fold B
            are left out; as ``loo_residuals_``.

        Notes
        -----
        n^2 per sample of the largest fold: no refits.
        """
        check_is_fitted(self, "levels_")
        with blas_for(len(self._training)):
            residuals = self._left_out(self._folds(cv, groups))
        return self._residuals_of_samples(self._training, residuals)

    # -- helpers ----------------------------------------------------------------------------------

    def _left_out(self, folds: list[_Rows] | None) -> _Array:
        return self._process.left_out(folds)[0]

    def _level_queries(self, X: Any, highest: int) -> LevelQueries:
        """Return new molecules with their linear parts up to a level."""
        check_is_fitted(self, "levels_")
        known = self._training.features
        molecules: Structures | None = None
        if not self.takes_structures:
            features = self._rows_of(X, reset=False)
        else:
            structures = as_structures(X)
            features, known = self._features_with_training(structures)
            molecules = None if self._space is None else structures
        bases = self._process.data.bases(molecules, len(features), highest)
        return LevelQueries(features, known, bases)

    def _level_queries_of_both(self, X: Any, Y: Any, highest: int) -> LevelQueries:
        """Return the molecules of two batches as those of one."""
        if not self.takes_structures:
            parts = [self._level_queries(one, highest).features for one in (X, Y)]
            return self._level_queries(np.concatenate(parts), highest)
        both = Structures.concatenate([as_structures(one) for one in (X, Y)])
        return self._level_queries(both, highest)

    def _level_number(self, level: Any) -> int:
        """Return the number of a level from 0, which may be counted from the top as -1."""
        n_levels = len(self.levels_)
        if not is_whole(level, -n_levels) or level >= n_levels:
            raise SettingError(
                f"level={level!r}; the model has the levels 0 to {n_levels - 1}, and -1 is the top"
            )
        return int(level) % n_levels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Of several columns of labels the last one is predicted.
        tags.target_tags.multi_output = False
        return tags
