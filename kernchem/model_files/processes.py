"""Gaussian processes: noise, amplitudes, and what was learnt of errors.

The factor is not in the file: it is as large as the kernel matrix, and a model that is asked for
an error bar makes it anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from kernchem.descriptors import EncodedBonds
from kernchem.errors import ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.kernel_models import kernel_model_from_json, kernel_model_to_json
from kernchem.model_files.layouts import decode_descriptor, encode_descriptor
from kernchem.model_files.values import decode, encode, fields, number, text
from kernchem.models import GPR
from kernchem.models.error_likeness import ErrorLikeness
from kernchem.models.gp_search import Noise
from kernchem.models.label_errors import LabelErrors
from kernchem.uncertainty import IsotonicCalibration, ScaleModel

__all__ = ["gpr_from_json", "gpr_to_json"]

_Array = npt.NDArray[np.float64]

#: What is above zero is at least the smallest number.
_LEAST, _LARGEST = 5e-324, float(np.finfo(float).max)
#: Variances of labels; those of `fit` are smaller.
_LARGEST_VARIANCE = 1e300
_NAMES = (str, int, float, bool)


def gpr_to_json(model: GPR, output: Output) -> tuple[Any, Any]:
    """Return settings and state of GPR as plain JSON."""
    check_is_fitted(model, ["amplitude_", "loo_std_"])
    settings, state = encode(model), kernel_model_to_json(model, output)
    levels, errors = model._noise_levels, model._training.errors
    names = None if errors.groups is None else [_checked_name(name) for name in errors.names]
    output.put(
        alphas=levels.alphas,
        amplitudes=np.reshape(model.amplitude_, -1),
        loo_std=model.loo_std_.reshape(model._labels.shape),
    )
    if errors.groups is not None:
        output.put(noise_groups=errors.groups)
    if errors.variances is not None:
        output.put(noise_variances=errors.variances)
    if model._scales:
        output.put(
            scale_coef=np.stack([scale.coef_ for scale in model._scales]),
            scale_dual=np.stack([scale.dual_ for scale in model._scales]),
            scale_range=np.stack([scale.range_ for scale in model._scales]),
            scale_strength=np.array([scale.strength_ for scale in model._scales]),
        )
    if model._quantiles:
        output.put(
            quantile_sizes=np.array([len(one.scores_) for one in model._quantiles]),
            quantile_scores=np.concatenate([one.scores_ for one in model._quantiles]),
            quantile_levels=np.concatenate([one.levels_ for one in model._quantiles]),
        )
    if model._group_folds is not None:
        output.put(group_folds=model._group_folds + 1)
    if hasattr(model, "_scores"):
        output.put(scores=model._scores)
    own = {
        "amplitude": encode(levels.amplitude),
        "diagonal": encode(model._diagonal),
        "likeness": _likeness_to_json(model._likeness, output),
        "noise_groups": encode(names),
    }
    return settings, {**state, "process": own}


def gpr_from_json(model: GPR, state: Any, source: Input) -> GPR:
    """Return the model, fitted to a state that :func:`gpr_to_json` turned into JSON."""
    own = kernel_model_from_json(model, state, source, "process")
    amplitude, diagonal, likeness, names = fields(
        own, "amplitude", "diagonal", "likeness", "noise_groups"
    )
    n, n_targets = model._dual.shape
    errors = _errors_from(source, n, names)
    if amplitude is not None:
        amplitude = number(amplitude, "amplitude", _LEAST, _LARGEST)
    elif errors.variances is not None:
        raise ModelFileError("known noise of labels needs an amplitude that it is relative to")
    model._training = replace(model._training, errors=errors)
    model._noise_levels = Noise(_above_zero(source, "alphas", errors.n_groups), amplitude)
    model._diagonal = number(diagonal, "diagonal", _LEAST, _LARGEST)
    model._likeness = _likeness_from(likeness, model, source)
    model._report_noise(model._training)
    basis = model._training.basis
    rank = 0 if basis is None else basis.shape[1]
    model._keep_errors(
        _above_zero(source, "amplitudes", n_targets),
        _scales_from(source, n, n_targets, rank),
        _quantiles_from(source, n_targets),
    )
    if source.has("group_folds"):
        n_samples = len(model._labels)
        model._group_folds = source.rows("group_folds", n_samples, n_samples + 1) - 1
    std = source.floats("loo_std", *model._labels.shape, finite=False)
    model.loo_std_ = model._like_labels(_not_negative(std, "loo_std"))
    if source.has("scores"):
        scores = source.floats("scores", None, n_targets, finite=False)
        if np.isnan(scores).any():
            raise ModelFileError("scores holds NaN")
        model._scores = _not_negative(scores, "scores")
    return model


def _errors_from(source: Input, n: int, names: Any) -> LabelErrors:
    """Return what is known of the errors of n labels."""
    groups, variances = None, None
    if names is None:
        found: list[Any] = []
    else:
        found = decode(names)
        if not isinstance(found, list) or not found:
            raise ModelFileError("noise_groups must be a list of names")
        found = [_checked_name(name) for name in found]
        if len(set(found)) < len(found):
            raise ModelFileError("a name of a group of noise is there twice")
        groups = source.rows("noise_groups", n, len(found))
    if source.has("noise_variances"):
        variances = _not_negative(source.floats("noise_variances", n), "noise_variances")
        if (variances > _LARGEST_VARIANCE).any():
            raise ModelFileError("noise_variances holds numbers that are too large")
    return LabelErrors(variances, groups, tuple(found))


def _checked_name(name: Any) -> Any:
    """Return the name of a group of noise, if it is a short text or a number."""
    if isinstance(name, str):
        return text(name, "the name of a group of noise")
    if type(name) not in _NAMES or not np.isfinite(name):
        raise ModelFileError(f"{type(name).__name__} is no name of a group of noise")
    return name


def _likeness_to_json(likeness: ErrorLikeness | None, output: Output) -> Any:
    """Return by what errors are compared as plain JSON."""
    if likeness is None:
        return None
    output.put(likeness=likeness.features)
    return {
        "descriptor": encode_descriptor(likeness.descriptor),
        "length_scale": encode(likeness.length_scale),
    }


def _likeness_from(value: Any, model: GPR, source: Input) -> ErrorLikeness | None:
    """Return what :func:`_likeness_to_json` turned into JSON, if the model can have it."""
    if value is None:
        return None
    if not model._compares_errors:
        raise ModelFileError("the errors of this model are not compared by structures")
    node, length_scale = fields(value, "descriptor", "length_scale")
    features = source.floats("likeness", len(model._training), None)
    descriptor = decode_descriptor(node, features.shape[1])
    if not isinstance(descriptor, EncodedBonds):
        raise ModelFileError("errors are compared by encoded bonds")
    width = number(length_scale, "length_scale", _LEAST, _LARGEST)
    return ErrorLikeness(descriptor, features, width)


def _scales_from(source: Input, n: int, n_targets: int, rank: int) -> list[ScaleModel]:
    """Return the scale models, one for each target, or none."""
    if not source.has("scale_coef"):
        return []
    coef = source.floats("scale_coef", n_targets, rank + 2)
    dual = source.floats("scale_dual", n_targets, n)
    strength = source.floats("scale_strength", n_targets, finite=False)
    if not (strength > 0.0).all():
        raise ModelFileError("scale_strength holds numbers that are not above zero")
    limits = source.floats("scale_range", n_targets, 2)
    if not (limits[:, 0] <= limits[:, 1]).all():
        raise ModelFileError("scale_range holds a range that ends before it begins")
    parts = zip(coef, dual, limits, strength.tolist(), strict=True)
    # Arrays of their own, as a fit makes them.
    return [ScaleModel.restored(a.copy(), d.copy(), r.copy(), s) for a, d, r, s in parts]


def _quantiles_from(source: Input, n_targets: int) -> list[IsotonicCalibration]:
    """Return the calibrations of intervals, one for each target, or none."""
    if not source.has("quantile_sizes"):
        return []
    scores = source.floats("quantile_scores", None)
    levels = source.floats("quantile_levels", len(scores))
    sizes = source.rows("quantile_sizes", n_targets, len(scores) + 1).tolist()
    if min(sizes) < 1 or sum(sizes) != len(scores):
        raise ModelFileError("quantile_sizes are not those of the quantiles")
    found, start = [], 0
    for size in sizes:
        own = scores[start : start + size].copy(), levels[start : start + size].copy()
        for values in own:
            if values[0] != 0.0 or (np.diff(values) <= 0.0).any():
                raise ModelFileError("quantiles must ascend from zero")
        if own[1][-1] >= 1.0:
            raise ModelFileError("the levels of quantiles must be less than 1")
        found.append(IsotonicCalibration.restored(*own))
        start += size
    return found


def _above_zero(source: Input, name: str, length: int) -> _Array:
    values = source.floats(name, length)
    if (values <= 0.0).any():
        raise ModelFileError(f"{name} holds numbers that are not above zero")
    return values


def _not_negative(values: _Array, name: str) -> _Array:
    if (values < 0.0).any():
        raise ModelFileError(f"{name} holds negative numbers")
    return values
