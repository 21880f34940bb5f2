"""Models of several levels of theory: their labels, and the hyperparameters of their processes.

Factors, slopes and what follows from them are made anew from these when a model is loaded.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import blas_for
from kernchem.errors import KernchemWarning, ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.features import features_from, probe_kernel, put_features, width_of
from kernchem.model_files.kernel_models import (
    kernel_from_json,
    names_from_json,
    trials_from_json,
    trials_to_json,
)
from kernchem.model_files.layouts import decode_fitted, encode_descriptor, n_parts_of
from kernchem.model_files.spaces import (
    MOST,
    space_from_json,
    space_to_json,
    target_shape_from_json,
)
from kernchem.model_files.values import encode, fields, number, whole
from kernchem.models import MultiFidelityGPR
from kernchem.models.levels import Levels, check_level_labels, level_of, mean_labels
from kernchem.models.levels_joint import JointProcess, JointSettings
from kernchem.models.levels_recursive import RecursiveProcess, Step
from kernchem.models.training_set import TrainingSet

__all__ = ["levels_from_json", "levels_to_json"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

_FIELDS = "kernels steps trials descriptor space spaces largest feature_names target_shape".split()
_LEAST, _LARGEST = 5e-324, float(np.finfo(float).max)
#: Slopes, whose squares are numbers.
_LARGEST_SLOPE = 1e150


def levels_to_json(model: MultiFidelityGPR, output: Output) -> tuple[Any, Any]:
    """Return settings and state of MultiFidelityGPR as plain JSON."""
    check_is_fitted(model, ["levels_", "loo_std_"])
    training, process = model._training, model._process
    put_features(training.features, output)
    output.put(member=training.member, labels=model._labels)
    spaces = []
    for t, level in enumerate(process.data.levels):
        part = output.part(f"level{t}")
        spaces.append(space_to_json(level.space, part))
        if level.space is not None:
            part.put(basis=level.basis, offset=level.offset)
    steps = None
    if isinstance(process, RecursiveProcess):
        kernels = [step.kernel for step in process.steps]
        steps = [
            [encode(value) for value in (step.alpha, step.diagonal, step.amplitude, step.rho)]
            for step in process.steps
        ]
    else:
        kernels = process.settings.kernels
        output.put(matrices=np.stack(process.settings.matrices), noises=process.settings.noises)
    names = getattr(model, "feature_names_in_", None)
    return encode(model), {
        "kernels": [encode(kernel) for kernel in kernels],
        "steps": steps,
        "trials": trials_to_json(model.trials_),
        "descriptor": encode_descriptor(model.descriptor_) if model.takes_structures else None,
        "space": space_to_json(model._space, output),
        "spaces": spaces,
        "largest": model._largest,
        "feature_names": None if names is None else names.tolist(),
        "target_shape": list(model._target_shape),
    }


def levels_from_json(model: MultiFidelityGPR, state: Any, source: Input) -> MultiFidelityGPR:
    """Return the model, fitted to a state that :func:`levels_to_json` turned into JSON."""
    model._check_settings()
    kernels, steps, trials, descriptor, space, spaces, largest, names, shape = fields(
        state, *_FIELDS
    )
    labels = source.floats("labels", None, None, finite=False)
    n_samples, n_levels = labels.shape
    check_level_labels(labels, n_samples)
    training = _training_from(source, n_samples, n_parts_of(descriptor), model)
    model._space = space_from_json(space, source)
    data = _levels_from(training, labels, spaces, source)
    model.trials_ = trials_from_json(trials, model)
    _keep_input(model, training.features, descriptor, names, largest)
    if any((level.space is None) != (model._space is None) for level in data.levels):
        raise ModelFileError("some levels have a composition and others have none")
    joint = model.method != "recursive" and n_levels > 1
    n_kernels = 1 if joint and model.method == "multitask" else n_levels
    if not isinstance(kernels, list) or len(kernels) != n_kernels:
        raise ModelFileError(f"expected the kernels of {n_kernels} processes")
    decoded = [kernel_from_json(kernel, model) for kernel in kernels]
    for kernel in decoded:
        probe_kernel(kernel, training.features)
    process: RecursiveProcess | JointProcess
    # What had to be said of the factorisation was said by `fit`.
    with warnings.catch_warnings(), blas_for(int(np.isfinite(labels).sum())):
        warnings.simplefilter("ignore", KernchemWarning)
        if joint:
            process = JointProcess(data, _settings_from(decoded, steps, n_levels, source))
        else:
            process = RecursiveProcess(data, _steps_from(decoded, steps), model.amplitude)
        target_shape = target_shape_from_json(shape, n_levels)
        model._keep_levels(process, training, labels, target_shape)
        model._learn_errors()
    return model


def _training_from(
    source: Input, n_samples: int, n_parts: int | None, model: MultiFidelityGPR
) -> TrainingSet:
    """Return distinct samples, still without labels."""
    if (n_parts is None) != (model._terms is None):
        raise ModelFileError("only terms have several descriptors")
    member = source.rows("member", n_samples, n_samples)
    found, first = np.unique(member, return_index=True)
    if (found != np.arange(len(found))).any() or (np.diff(first) <= 0).any():
        raise ModelFileError("the distinct samples are not numbered in their order")
    features = features_from(source, len(found), n_parts)
    weights: _Array = np.bincount(member).astype(np.float64)
    return TrainingSet(features, np.zeros((len(found), 1)), weights, None, first, member)


def _keep_input(
    model: MultiFidelityGPR, features: Any, descriptor: Any, names: Any, largest: Any
) -> None:
    """Keep what tells which samples can be predicted."""
    if model.takes_structures:
        if names is not None or (model._space is None) != (model.composition is False):
            raise ModelFileError("the composition is not that of the settings")
        model.descriptor_ = decode_fitted(descriptor, features)
        model._largest = whole(largest, "largest", 1, MOST)
        return
    if (descriptor, model._space, largest) != (None, None, None):
        raise ModelFileError("a model on arrays has no descriptor and no composition")
    model._largest = None
    model.n_features_in_ = width_of(features)
    if names is not None:
        model.feature_names_in_ = names_from_json(names, model.n_features_in_)


def _levels_from(training: TrainingSet, labels: _Array, spaces: Any, source: Input) -> Levels:
    """Return the labels of each level with their linear part."""
    targets, counts = mean_labels(labels, training.member, len(training))
    if not isinstance(spaces, list) or len(spaces) != labels.shape[1]:
        raise ModelFileError("expected the compositions of each level")
    levels = []
    for t, (column, weights) in enumerate(zip(targets.T, counts.T, strict=True)):
        rows = np.flatnonzero(np.isfinite(column))
        part = source.part(f"level{t}")
        space = space_from_json(spaces[t], part)
        basis, offset = np.zeros((len(rows), 0)), None
        if space is not None:
            basis = part.floats("basis", len(rows), space.vectors.shape[1])
            offset = part.floats("offset", basis.shape[1])
        levels.append(level_of(rows, column[rows], weights[rows], basis, space, offset))
    return Levels(training.features, levels)


def _steps_from(kernels: list[Any], steps: Any) -> list[Step]:
    if not isinstance(steps, list) or len(steps) != len(kernels):
        raise ModelFileError("expected the hyperparameters of each level")
    found = []
    for t, (kernel, step) in enumerate(zip(kernels, steps, strict=True)):
        if not isinstance(step, list) or len(step) != 4:
            raise ModelFileError("a level has noise, diagonal, amplitude and slope")
        alpha = number(step[0], "alpha", _LEAST, _LARGEST)
        diagonal = number(step[1], "diagonal", _LEAST, _LARGEST)
        amplitude = number(step[2], "amplitude", _LEAST, _LARGEST)
        rho = None
        if step[3] is not None:
            rho = number(step[3], "rho", -_LARGEST_SLOPE, _LARGEST_SLOPE)
        if t == 0 and rho is not None:
            raise ModelFileError("the first level has no slope")
        found.append(Step(kernel, alpha, diagonal, amplitude, rho))
    return found


def _settings_from(kernels: list[Any], steps: Any, n_levels: int, source: Input) -> JointSettings:
    if steps is not None:
        raise ModelFileError("a joint process has no steps")
    matrices = source.floats("matrices", len(kernels), n_levels, n_levels)
    noises = source.floats("noises", n_levels)
    own = np.einsum("qtt->qt", matrices)
    if (matrices != matrices.transpose(0, 2, 1)).any() or (own < 0.0).any():
        raise ModelFileError("a covariance between levels is not symmetric")
    if (noises <= 0.0).any() or (own.sum(axis=0) <= 0.0).any():
        raise ModelFileError("variances of levels must be above zero")
    return JointSettings(kernels, [one.copy() for one in matrices], noises)
