"""Kernel models: the state that all of them have, and KRR."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted

from kernchem.errors import ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.features import probe_kernel, put_features, training_from, width_of
from kernchem.model_files.layouts import decode_fitted, encode_descriptor, n_parts_of
from kernchem.model_files.spaces import (
    MOST,
    space_from_json,
    space_to_json,
    target_shape_from_json,
)
from kernchem.model_files.values import decode, encode, fields, number, text, whole
from kernchem.models import KRR
from kernchem.models.joint import JointKernel
from kernchem.models.kernel_model import KernelModel
from kernchem.models.tuning import Trial

__all__ = [
    "kernel_from_json",
    "kernel_model_from_json",
    "kernel_model_to_json",
    "krr_from_json",
    "krr_to_json",
    "names_from_json",
    "trials_from_json",
    "trials_to_json",
]

_FIELDS = (
    "kernel condition jitter trials descriptor space largest feature_names target_shape"
).split()


def kernel_model_to_json(model: KernelModel, output: Output) -> dict[str, Any]:
    """Return what all kernel models have learnt as plain JSON.

    Parameters
    ----------
    model : KernelModel
        Fitted.
    output : Output
        Receives the arrays.

    Returns
    -------
    dict
        The state, to which the model adds a field of its own.
    """
    check_is_fitted(model, ["dual_coef_", "loo_residuals_"])
    training = model._training
    put_features(training.features, output)
    output.put(
        targets=training.targets,
        weights=training.weights,
        first=training.first,
        member=training.member,
        kept=model._kept,
        labels=model._labels,
        dual=model._dual,
        loo_residuals=model.loo_residuals_.reshape(model._labels.shape),
    )
    if training.label_weights is not None:
        output.put(label_weights=training.label_weights)
    if training.alike is not None:
        output.put(alike=training.alike)
    if training.basis is not None:
        output.put(basis=training.basis, linear_coef=model._linear_coef)
    names = getattr(model, "feature_names_in_", None)
    descriptor = encode_descriptor(model.descriptor_) if model.takes_structures else None
    return {
        "kernel": encode(model.kernel_),
        "condition": encode(model.condition_),
        "jitter": encode(model.jitter_),
        "trials": trials_to_json(model.trials_),
        "descriptor": descriptor,
        "space": space_to_json(model._space, output),
        "largest": model._largest,
        "feature_names": None if names is None else names.tolist(),
        "target_shape": list(model._target_shape),
    }


def kernel_model_from_json(model: KernelModel, state: Any, source: Input, own: str) -> Any:
    """Fit a kernel model to the state that :func:`kernel_model_to_json` turned into JSON.

    Parameters
    ----------
    model : KernelModel
        With its settings, which are checked.
    state : object
        Plain JSON, as it was read.
    source : Input
        The arrays.
    own : str
        Name of the field that the model added.

    Returns
    -------
    object
        That field.

    Raises
    ------
    ModelFileError
        If parts of the state do not fit each other.
    """
    model._check_settings()
    added, kernel, condition, jitter, trials, descriptor, space, largest, names, shape = fields(
        state, own, *_FIELDS
    )
    labels = source.floats("labels", None, None)
    n_samples, n_targets = labels.shape
    model._space = space_from_json(space, source)
    n_parts = n_parts_of(descriptor)
    if (n_parts is None) != (model._terms is None):
        raise ModelFileError("only terms have several descriptors")
    training, kept = training_from(source, model._space, labels, n_parts)
    rank = 0 if training.basis is None else training.basis.shape[1]
    linear_coef = np.zeros((0, n_targets))
    if rank:
        linear_coef = source.floats("linear_coef", rank, n_targets)
    model.condition_ = number(condition, "condition", 0.0, np.inf)
    model.jitter_ = number(jitter, "jitter", 0.0, np.finfo(float).max)
    features = training.features
    model.kernel_ = kernel_from_json(kernel, model)
    if model.kernel_ is not None:
        probe_kernel(model.kernel_, features)
    model.trials_ = trials_from_json(trials, model)
    if not model.takes_structures:
        n_features = width_of(features)
        if model.kernel_ is None and n_features != len(training):
            raise ModelFileError("the kernel matrix of the training set is not square")
        if (descriptor, space, largest) != (None, None, None):
            raise ModelFileError("a model on arrays has no descriptor and no composition")
        model.n_features_in_ = n_samples if model.kernel_ is None else n_features
        if names is not None:
            model.feature_names_in_ = names_from_json(names, model.n_features_in_)
    else:
        if names is not None or (model._space is None) != (model.composition is False):
            raise ModelFileError("the composition is not that of the settings")
        model.descriptor_ = decode_fitted(descriptor, features)
        largest = whole(largest, "largest", 1, MOST)
    model._largest = largest
    dual = source.floats("dual", len(training), n_targets)
    model._keep(training, dual, linear_coef, kept, labels, target_shape_from_json(shape, n_targets))
    residuals = source.floats("loo_residuals", n_samples, n_targets, finite=False)
    model.loo_residuals_ = model._like_labels(residuals)
    return added


def krr_to_json(model: KRR, output: Output) -> tuple[Any, Any]:
    """Return settings and state of KRR as plain JSON."""
    check_is_fitted(model, "alpha_")
    settings = encode(model)
    return settings, {**kernel_model_to_json(model, output), "alpha": encode(model.alpha_)}


def krr_from_json(model: KRR, state: Any, source: Input) -> KRR:
    """Return the model, fitted to a state that :func:`krr_to_json` turned into JSON."""
    alpha = kernel_model_from_json(model, state, source, "alpha")
    model.alpha_ = number(alpha, "alpha", 5e-324, np.finfo(float).max)
    return model


def trials_to_json(trials: list[Trial]) -> list[Any]:
    """Return evaluations of a search as plain JSON."""
    return [
        [int(trial.n_rows), encode(trial.kernel), encode(trial.alpha), encode(trial.error)]
        for trial in trials
    ]


def kernel_from_json(value: Any, model: KernelModel) -> Any:
    """Return a kernel, or None exactly where the model was given a kernel matrix."""
    kernel = decode(value)
    expected = JointKernel if model._terms is not None else Kernel
    if not (kernel is None if model._precomputed else isinstance(kernel, expected)):
        raise ModelFileError(f"{type(kernel).__name__} is no kernel of this model")
    return kernel


def trials_from_json(value: Any, model: KernelModel) -> list[Trial]:
    """Return the evaluations that :func:`trials_to_json` turned into JSON."""
    if not isinstance(value, list):
        raise ModelFileError("trials must be a list")
    # Errors of KRR are errors, of a process logarithms of densities.
    least = 0.0 if isinstance(model, KRR) else -np.inf
    found = []
    for item in value:
        if not isinstance(item, list) or len(item) != 4:
            raise ModelFileError("a trial has rows, kernel, alpha and error")
        n_rows, kernel, alpha, error = item
        found.append(
            Trial(
                whole(n_rows, "the rows of a trial", 1, MOST),
                kernel_from_json(kernel, model),
                number(alpha, "alpha of a trial", 0.0, np.inf),
                number(error, "the error of a trial", least, np.inf),
            )
        )
    return found


def names_from_json(value: Any, n_features: int) -> npt.NDArray[np.object_]:
    """Return the names of features, if there are so many of them."""
    if not isinstance(value, list) or len(value) != n_features:
        raise ModelFileError(f"feature_names must hold {n_features} names")
    return np.array([text(name, "the name of a feature") for name in value], dtype=object)
