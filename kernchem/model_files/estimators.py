"""Fitted models: what of their state goes into a file, and the checks on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Kernel
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from kernchem.descriptors import Descriptor
from kernchem.errors import ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.features import probe_kernel, put_features, training_from, width_of
from kernchem.model_files.layouts import (
    decode_descriptor,
    decode_elements,
    decode_fitted,
    encode_descriptor,
    encode_elements,
    n_parts_of,
)
from kernchem.model_files.values import decode, encode, fields, number, text, whole
from kernchem.models import KRR, CompositionBaseline, DeltaLearner
from kernchem.models.composition import CompositionSpace
from kernchem.models.joint import JointKernel
from kernchem.models.tuning import Trial

__all__ = ["decode_model", "encode_model", "last_step"]

_Array = npt.NDArray[np.float64]

#: Far beyond every real search or batch.
_MOST = 1 << 40
#: Arguments of a pipeline, which are no names of steps.
_RESERVED = ("steps", "memory", "verbose", "transform_input")


def encode_model(model: Any, output: Output) -> dict[str, Any]:
    """Return a fitted model as plain JSON, and put its arrays into the output.

    Parameters
    ----------
    model : estimator
        KRR, DeltaLearner, CompositionBaseline or a pipeline.
    output : Output
        Receives the arrays.

    Returns
    -------
    dict
        Settings and state.

    Raises
    ------
    NotFittedError
        If the model was not fitted.
    ModelFileError
        If it, or something in it, cannot be kept.
    """
    if type(model) not in _MODELS:
        fitted = " (its best_estimator_ can)" if hasattr(model, "best_estimator_") else ""
        raise ModelFileError(
            f"{type(model).__name__} is no model that can be saved{fitted}; "
            f"{', '.join(cls.__name__ for cls in _MODELS)} can, the latter of a descriptor and KRR"
        )
    settings, state = _MODELS[type(model)][0](model, output)
    return {"model": settings, "state": state}


def decode_model(node: Any, source: Input) -> Any:
    """Return the fitted model that :func:`encode_model` turned into JSON.

    Parameters
    ----------
    node : object
        Plain JSON, as it was read.
    source : Input
        The arrays.

    Returns
    -------
    estimator
        Fitted.

    Raises
    ------
    ModelFileError
        If parts of the model do not fit each other.
    """
    settings, state = fields(node, "model", "state")
    model = decode(settings)
    if type(model) not in _MODELS:
        raise ModelFileError(f"{type(model).__name__} is no model")
    return _MODELS[type(model)][1](model, state, source)


def last_step(model: Any) -> Any:
    """Return the model itself, or the last step of a pipeline."""
    return model.steps[-1][1] if isinstance(model, Pipeline) else model


def _target_shape(model: Any) -> tuple[int, ...]:
    """Return the shape of one prediction."""
    model = last_step(model)
    if isinstance(model, CompositionBaseline):
        return tuple(model.coef_.shape[1:])
    return tuple(model._target_shape)


def _target_shape_from_json(value: Any, n_targets: int) -> tuple[int, ...]:
    if value not in ([], [n_targets]) or (value == [] and n_targets != 1):
        raise ModelFileError(f"the shape of the targets is no shape of {n_targets} of them")
    return tuple(value)


# -- the space of compositions --------------------------------------------------------------------


def _space_to_json(space: CompositionSpace | None, output: Output) -> Any:
    if space is None:
        return None
    # As it was made: the transpose of a C-contiguous array, whose products have the same bits.
    output.put(composition=space.vectors.T)
    return {
        "elements": encode_elements(space.elements),
        "n_structures": space.n_structures,
        "largest": space.largest,
    }


def _space_from_json(node: Any, source: Input) -> CompositionSpace | None:
    if node is None:
        return None
    numbers, n_structures, largest = fields(node, "elements", "n_structures", "largest")
    elements = decode_elements(numbers)
    vectors = source.floats("composition", None, len(elements)).T
    return CompositionSpace.restored(
        elements,
        vectors,
        whole(n_structures, "n_structures", 1, _MOST),
        whole(largest, "largest", 1, _MOST),
    )


# -- KRR ------------------------------------------------------------------------------------------


def _krr_to_json(model: KRR, output: Output) -> tuple[Any, Any]:
    check_is_fitted(model, ["dual_coef_", "loo_residuals_"])
    settings, training = encode(model), model._training
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
    if training.basis is not None:
        output.put(basis=training.basis, linear_coef=model._linear_coef)
    names = getattr(model, "feature_names_in_", None)
    descriptor = encode_descriptor(model.descriptor_) if model.takes_structures else None
    return settings, {
        "kernel": encode(model.kernel_),
        "alpha": encode(model.alpha_),
        "condition": encode(model.condition_),
        "jitter": encode(model.jitter_),
        "trials": [
            [int(trial.n_rows), encode(trial.kernel), encode(trial.alpha), encode(trial.error)]
            for trial in model.trials_
        ],
        "descriptor": descriptor,
        "space": _space_to_json(model._space, output),
        "largest": model._largest,
        "feature_names": None if names is None else names.tolist(),
        "target_shape": list(model._target_shape),
    }


def _krr_from_json(model: KRR, state: Any, source: Input) -> KRR:
    model._check_settings()
    kernel, alpha, condition, jitter, trials, descriptor, space, largest, names, shape = fields(
        state, *_KRR_FIELDS
    )
    labels = source.floats("labels", None, None)
    n_samples, n_targets = labels.shape
    model._space = _space_from_json(space, source)
    n_parts = n_parts_of(descriptor)
    if (n_parts is None) != (model._terms is None):
        raise ModelFileError("only terms have several descriptors")
    training, kept = training_from(source, model._space, n_samples, n_targets, n_parts)
    rank = 0 if training.basis is None else training.basis.shape[1]
    linear_coef = np.zeros((0, n_targets))
    if rank:
        linear_coef = source.floats("linear_coef", rank, n_targets)
    model.alpha_ = number(alpha, "alpha", 5e-324, np.finfo(float).max)
    model.condition_ = number(condition, "condition", 0.0, np.inf)
    model.jitter_ = number(jitter, "jitter", 0.0, np.finfo(float).max)
    features = training.features
    model.kernel_ = _kernel_from_json(kernel, model)
    if model.kernel_ is not None:
        probe_kernel(model.kernel_, features)
    model.trials_ = _trials_from_json(trials, model)
    if not model.takes_structures:
        n_features = width_of(features)
        if model.kernel_ is None and n_features != len(training):
            raise ModelFileError("the kernel matrix of the training set is not square")
        if (descriptor, space, largest) != (None, None, None):
            raise ModelFileError("a model on arrays has no descriptor and no composition")
        model.n_features_in_ = n_samples if model.kernel_ is None else n_features
        if names is not None:
            model.feature_names_in_ = _names_from_json(names, model.n_features_in_)
    else:
        if names is not None or (model._space is None) != (model.composition is False):
            raise ModelFileError("the composition is not that of the settings")
        model.descriptor_ = decode_fitted(descriptor, features)
        largest = whole(largest, "largest", 1, _MOST)
    model._largest = largest
    dual = source.floats("dual", len(training), n_targets)
    model._keep(
        training, dual, linear_coef, kept, labels, _target_shape_from_json(shape, n_targets)
    )
    residuals = source.floats("loo_residuals", n_samples, n_targets, finite=False)
    model.loo_residuals_ = model._like_labels(residuals)
    return model


_KRR_FIELDS = (
    "kernel alpha condition jitter trials descriptor space largest feature_names target_shape"
).split()


def _kernel_from_json(value: Any, model: KRR) -> Any:
    """Return a kernel, or None exactly where the model was given a kernel matrix."""
    kernel = decode(value)
    expected = JointKernel if model._terms is not None else Kernel
    if not (kernel is None if model._precomputed else isinstance(kernel, expected)):
        raise ModelFileError(f"{type(kernel).__name__} is no kernel of this model")
    return kernel


def _trials_from_json(value: Any, model: KRR) -> list[Trial]:
    if not isinstance(value, list):
        raise ModelFileError("trials must be a list")
    found = []
    for item in value:
        if not isinstance(item, list) or len(item) != 4:
            raise ModelFileError("a trial has rows, kernel, alpha and error")
        n_rows, kernel, alpha, error = item
        found.append(
            Trial(
                whole(n_rows, "the rows of a trial", 1, _MOST),
                _kernel_from_json(kernel, model),
                number(alpha, "alpha of a trial", 0.0, np.inf),
                number(error, "the error of a trial", 0.0, np.inf),
            )
        )
    return found


def _names_from_json(value: Any, n_features: int) -> npt.NDArray[np.object_]:
    if not isinstance(value, list) or len(value) != n_features:
        raise ModelFileError(f"feature_names must hold {n_features} names")
    return np.array([text(name, "the name of a feature") for name in value], dtype=object)


# -- the models around it -------------------------------------------------------------------------


def _delta_to_json(model: DeltaLearner, output: Output) -> tuple[Any, Any]:
    check_is_fitted(model, "model_")
    output.put(slope=model._slope, offset=model._offset)
    return encode(model), {
        "space": _space_to_json(model._space, output),
        "target_shape": list(model._target_shape),
        "difference": encode_model(model.model_, output.part("difference")),
    }


def _delta_from_json(model: DeltaLearner, state: Any, source: Input) -> DeltaLearner:
    model._check_settings()
    space, shape, difference = fields(state, "space", "target_shape", "difference")
    found = _space_from_json(space, source)
    if found is None:
        raise ModelFileError("DeltaLearner needs the space of compositions")
    model._space = found
    slope = source.floats("slope", len(model._baseline_names()), None)
    n_targets = slope.shape[1]
    offset = source.floats("offset", found.vectors.shape[1], n_targets)
    model._keep(slope, offset, _target_shape_from_json(shape, n_targets))
    model.model_ = decode_model(difference, source.part("difference"))
    if not _takes_structures(model.model_):
        raise ModelFileError("the fitted model of a DeltaLearner takes no structures")
    if _target_shape(model.model_) != model._target_shape:
        raise ModelFileError("the fitted model has other targets than the DeltaLearner")
    return model


def _takes_structures(model: Any) -> bool:
    if isinstance(model, Pipeline):
        first = model.steps[0][1]
        return isinstance(first, Descriptor) or _takes_structures(first)
    return not isinstance(model, KRR) or model.takes_structures


def _baseline_to_json(model: CompositionBaseline, output: Output) -> tuple[Any, Any]:
    check_is_fitted(model, "coef_")
    output.put(coef=model.coef_.reshape(len(model.coef_), -1))
    return encode(model), {
        "space": _space_to_json(model._space, output),
        "target_shape": list(model.coef_.shape[1:]),
    }


def _baseline_from_json(
    model: CompositionBaseline, state: Any, source: Input
) -> CompositionBaseline:
    space, shape = fields(state, "space", "target_shape")
    found = _space_from_json(space, source)
    if found is None:
        raise ModelFileError("CompositionBaseline needs the space of compositions")
    model._space = found
    model.elements_ = found.elements
    coef = source.floats("coef", len(found.elements), None)
    model.coef_ = coef.reshape(len(coef), *_target_shape_from_json(shape, coef.shape[1]))
    return model


# -- pipelines ------------------------------------------------------------------------------------


def _pipeline_to_json(model: Pipeline, output: Output) -> tuple[Any, Any]:
    *before, (_, last) = model.steps
    encoded = encode_model(last, output.part("last"))
    alike = [isinstance(step, Descriptor) for _, step in before]
    if alike not in ([], [True]):
        raise ModelFileError(
            f"the pipeline {' -> '.join(type(step).__name__ for _, step in model.steps)} cannot be "
            "saved: KRR, after one descriptor of kernchem at most, can"
        )
    descriptor = encode_descriptor(before[0][1]) if before else None
    return encode(model), {"descriptor": descriptor, "last": encoded}


def _pipeline_from_json(model: Pipeline, state: Any, source: Input) -> Pipeline:
    descriptor, encoded = fields(state, "descriptor", "last")
    last = decode_model(encoded, source.part("last"))
    fitted = [last]
    if descriptor is not None:
        if not isinstance(last, KRR) or last.takes_structures:
            raise ModelFileError("the model behind a descriptor must be KRR on arrays")
        fitted.insert(0, decode_descriptor(descriptor, last.n_features_in_))
    if isinstance(last, Pipeline):
        raise ModelFileError("a pipeline is the last step of another")
    model.steps = list(zip(_step_names(model.steps, len(fitted)), fitted, strict=True))
    return model


def _step_names(steps: Any, n_steps: int) -> list[str]:
    """Return the names of a pipeline's steps, if there are so many of them and they can be used."""
    pairs = steps if isinstance(steps, list) else []
    names = [pair[0] for pair in pairs if isinstance(pair, tuple) and len(pair) == 2]
    usable = len(names) == len(pairs) == n_steps and all(isinstance(name, str) for name in names)
    if not usable or len({*names, *_RESERVED}) < n_steps + len(_RESERVED) or "__" in "".join(names):
        raise ModelFileError("the steps of a pipeline are not those of its settings")
    return names


#: For each class: settings and state as JSON, and a function that fits an object to such a state.
_MODELS: dict[
    type, tuple[Callable[[Any, Output], tuple[Any, Any]], Callable[[Any, Any, Input], Any]]
] = {
    KRR: (_krr_to_json, _krr_from_json),
    DeltaLearner: (_delta_to_json, _delta_from_json),
    CompositionBaseline: (_baseline_to_json, _baseline_from_json),
    Pipeline: (_pipeline_to_json, _pipeline_from_json),
}
