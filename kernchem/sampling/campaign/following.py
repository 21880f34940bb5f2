"""How a model follows new labels: appended, refitted, or with hyperparameters chosen anew."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from kernchem._validation import numbered
from kernchem.errors import (
    CompositionError,
    SettingError,
    SingularKernelError,
    UnknownElementError,
)
from kernchem.models import GPR, KRR, DeltaLearner
from kernchem.models.baseline_columns import ModelSource, PropertySource, sources_of
from kernchem.models.process import ProcessModel
from kernchem.structures import Structures

__all__ = [
    "Follower",
    "bounds_of_mae",
    "hyperparameters_of",
    "kernel_part",
    "values_of_baselines",
]

Refit = Literal["chosen", "appended", "refitted"]
_Array = npt.NDArray[np.float64]

#: Resamples of the bootstrap: the bounds' own error is a tenth of their distance from the mean.
_RESAMPLES = 1000
#: Probabilities of the lower and of the upper bound.
_BOUNDS = (0.05, 0.95)
#: Structures by whose values a fitted baseline is known.
_TRIED = 20


class Follower:
    """A model that is fitted to a growing list of labels.

    Hyperparameters are chosen when there are twice as many labels as when they were chosen last.
    In between a Gaussian process appends labels to its factor, any other model is fitted at fixed
    hyperparameters. What the model is depends on the lists it was given only.

    Parameters
    ----------
    model : estimator
        Never changed.

    Attributes
    ----------
    model : estimator or None
        The fitted model.
    n_known : int
        Number of labels that it has learnt.
    """

    def __init__(self, model: Any) -> None:
        self._given = model
        self.model: Any = None
        self._chosen, self.n_known = 0, 0

    def learn(self, structures: Structures, labels: _Array) -> Refit:
        """Learn all labels, of which the first ones are known, and return how."""
        n_new, how = len(labels) - self.n_known, self._how(len(labels))
        if how == "appended":
            try:
                new = slice(len(labels) - n_new, None)
                with numbered(range(self.n_known, len(labels))):
                    _append(self.model, structures[new], labels[new])
            except (CompositionError, UnknownElementError, SingularKernelError):
                how = self._instead()
        if how != "appended":
            fixed = clone(self._given) if how == "chosen" else _fixed(self._given, self.model)
            self.model = fixed.fit(structures, labels)
        if how == "chosen":
            self._chosen = len(labels)
        self.n_known = len(labels)
        return how

    def _how(self, n_labels: int) -> Refit:
        if self.model is None or n_labels >= 2 * self._chosen:
            return "chosen"
        return "appended" if isinstance(kernel_part(self.model), GPR) else self._instead()

    def _instead(self) -> Refit:
        """Return how to refit a model that cannot append."""
        return "refitted" if _can_be_fixed(self.model) else "chosen"


def kernel_part(model: Any) -> Any:
    """Return the kernel model inside a model, fitted if that is."""
    while isinstance(model, DeltaLearner):
        model = getattr(model, "model_", model.model)
    return model


def values_of_baselines(model: Any, pool: Structures) -> list[float]:
    """Return what fitted baselines of a model say of some structures of the pool.

    They tell these baselines from others. Raises if the model needs what the pool does not hold, or
    a baseline that is not fitted, before any label is paid for.
    """
    values: list[float] = []
    # As a baseline is where the model is fitted.
    model = clone(model) if isinstance(model, DeltaLearner) else model
    while isinstance(model, DeltaLearner):
        if model.baseline is None:
            raise SettingError(
                "a DeltaLearner that is given its baseline as an array cannot learn in a campaign; "
                "name a stored property, a program or a model as its baseline"
            )
        for source in sources_of(model.baseline):
            if isinstance(source, PropertySource):
                source.columns(pool)
            elif isinstance(source, ModelSource):
                some = pool[:: -(-len(pool) // _TRIED) or 1]
                values += source.columns(some).values.reshape(-1).tolist()
        model = model.model
    return values


def hyperparameters_of(kernel: Any) -> list[float]:
    """Return those of a fitted model that was given in place of a kernel; none of another."""
    fitted = kernel_part(kernel)
    if getattr(fitted, "kernel_", None) is None:
        return []
    return [*map(float, fitted.kernel_.theta), float(np.mean(fitted.alpha_))]


def _append(model: Any, structures: Structures, labels: _Array) -> None:
    """Append labels; what a DeltaLearner adds to its model keeps its slopes and offsets."""
    if isinstance(model, DeltaLearner):
        linear = model.predict(structures) - model.model_.predict(structures)
        _append(model.model_, structures, labels - linear)
    else:
        # The size of error bars is learnt anew with the hyperparameters.
        model.append(structures, labels, calibrate=False)


def _can_be_fixed(fitted: Any) -> bool:
    part = kernel_part(fitted)
    # Terms have their hyperparameters in a kernel that brings no descriptors along.
    return isinstance(part, KRR | ProcessModel) and part.descriptor is not None


def _fixed(model: Any, fitted: Any) -> Any:
    """Return an unfitted model with the hyperparameters of a fitted one."""
    made = clone(model)
    if isinstance(model, DeltaLearner):
        return made.set_params(model=_fixed(model.model, fitted.model_))
    return made.set_params(kernel=fitted.kernel_, alpha=fitted.alpha_, optimizer=None)


def bounds_of_mae(residuals: _Array, seed: int) -> tuple[float | None, float | None, float | None]:
    """Return the mean absolute residual with bounds at 5 and 95 %, by bootstrap.

    Parameters
    ----------
    residuals : array (n,)
        Leave-one-out residuals; NaN are left out.
    seed : int
        Of the resamples.

    Returns
    -------
    mean, lower, upper : float or None
        None where there is no residual.

    References
    ----------
    B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, Chapman and Hall (1993),
    chapter 13, https://doi.org/10.1201/9780429246593
    """
    sizes = np.abs(np.asarray(residuals, dtype=np.float64).reshape(-1))
    sizes = sizes[np.isfinite(sizes)]
    if not len(sizes):
        return None, None, None
    rng = np.random.default_rng(seed)
    means = [sizes[rng.integers(len(sizes), size=len(sizes))].mean() for _ in range(_RESAMPLES)]
    lower, upper = np.quantile(means, _BOUNDS)
    return float(sizes.mean()), float(lower), float(upper)
