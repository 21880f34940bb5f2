"""Fitted models: what of their state goes into a file, and the checks on the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from kernchem.descriptors import Descriptor
from kernchem.errors import ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.baselines import baselines_to_json, restore_baselines
from kernchem.model_files.fidelities import levels_from_json, levels_to_json
from kernchem.model_files.kernel_models import krr_from_json, krr_to_json
from kernchem.model_files.layouts import decode_descriptor, encode_descriptor
from kernchem.model_files.processes import gpr_from_json, gpr_to_json
from kernchem.model_files.spaces import space_from_json, space_to_json, target_shape_from_json
from kernchem.model_files.values import decode, encode, fields
from kernchem.models import GPR, KRR, CompositionBaseline, DeltaLearner, MultiFidelityGPR
from kernchem.models.kernel_model import KernelModel

__all__ = ["decode_model", "encode_model", "last_step"]

#: Arguments of a pipeline, which are no names of steps.
_RESERVED = ("steps", "memory", "verbose", "transform_input")


def encode_model(model: Any, output: Output) -> dict[str, Any]:
    """Return a fitted model as plain JSON, and put its arrays into the output.

    Parameters
    ----------
    model : estimator
        KRR, GPR, MultiFidelityGPR, DeltaLearner, CompositionBaseline or a pipeline.
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
            f"{', '.join(cls.__name__ for cls in _MODELS)} can, the latter of a descriptor and KRR "
            "or GPR"
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


# -- the models around it -------------------------------------------------------------------------


def _delta_to_json(model: DeltaLearner, output: Output) -> tuple[Any, Any]:
    check_is_fitted(model, "model_")
    output.put(slope=model._slope, offset=model._offset)
    settings, baselines = baselines_to_json(model, encode_model, output)
    return settings, {
        "space": space_to_json(model._space, output),
        "target_shape": list(model._target_shape),
        "baselines": baselines,
        "difference": encode_model(model.model_, output.part("difference")),
    }


def _delta_from_json(model: DeltaLearner, state: Any, source: Input) -> DeltaLearner:
    space, shape, baselines, difference = fields(
        state, "space", "target_shape", "baselines", "difference"
    )
    restore_baselines(model, baselines, decode_model, source)
    model._check_settings()
    found = space_from_json(space, source)
    if found is None:
        raise ModelFileError("DeltaLearner needs the space of compositions")
    model._space = found
    slope = source.floats("slope", None, None)
    n_targets = slope.shape[1]
    offset = source.floats("offset", found.vectors.shape[1], n_targets)
    model._keep(slope, offset, target_shape_from_json(shape, n_targets))
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
    return not isinstance(model, KernelModel) or bool(model.takes_structures)


def _baseline_to_json(model: CompositionBaseline, output: Output) -> tuple[Any, Any]:
    check_is_fitted(model, "coef_")
    output.put(coef=model.coef_.reshape(len(model.coef_), -1))
    return encode(model), {
        "space": space_to_json(model._space, output),
        "target_shape": list(model.coef_.shape[1:]),
    }


def _baseline_from_json(
    model: CompositionBaseline, state: Any, source: Input
) -> CompositionBaseline:
    space, shape = fields(state, "space", "target_shape")
    found = space_from_json(space, source)
    if found is None:
        raise ModelFileError("CompositionBaseline needs the space of compositions")
    model._space = found
    model.elements_ = found.elements
    coef = source.floats("coef", len(found.elements), None)
    model.coef_ = coef.reshape(len(coef), *target_shape_from_json(shape, coef.shape[1]))
    return model


# -- pipelines ------------------------------------------------------------------------------------


def _pipeline_to_json(model: Pipeline, output: Output) -> tuple[Any, Any]:
    *before, (_, last) = model.steps
    encoded = encode_model(last, output.part("last"))
    alike = [isinstance(step, Descriptor) for _, step in before]
    if alike not in ([], [True]):
        raise ModelFileError(
            f"the pipeline {' -> '.join(type(step).__name__ for _, step in model.steps)} cannot be "
            "saved: KRR or GPR, after one descriptor of kernchem at most, can"
        )
    descriptor = encode_descriptor(before[0][1]) if before else None
    return encode(model), {"descriptor": descriptor, "last": encoded}


def _pipeline_from_json(model: Pipeline, state: Any, source: Input) -> Pipeline:
    descriptor, encoded = fields(state, "descriptor", "last")
    last = decode_model(encoded, source.part("last"))
    fitted = [last]
    if descriptor is not None:
        if not isinstance(last, KernelModel) or last.takes_structures:
            raise ModelFileError("the model behind a descriptor must be KRR or GPR on arrays")
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
    KRR: (krr_to_json, krr_from_json),
    GPR: (gpr_to_json, gpr_from_json),
    MultiFidelityGPR: (levels_to_json, levels_from_json),
    DeltaLearner: (_delta_to_json, _delta_from_json),
    CompositionBaseline: (_baseline_to_json, _baseline_from_json),
    Pipeline: (_pipeline_to_json, _pipeline_from_json),
}
