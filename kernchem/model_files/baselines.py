"""Baselines of a ``DeltaLearner``: settings of programs and potentials, and whole fitted models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import clone

from kernchem.baselines import Baseline
from kernchem.errors import ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.values import encode
from kernchem.models import DeltaLearner
from kernchem.models.baseline_columns import (
    ComputedSource,
    FunctionSource,
    ModelSource,
    Source,
    is_single,
    sources_of,
)

__all__ = ["baselines_to_json", "restore_baselines"]


def baselines_to_json(
    model: DeltaLearner, encode_model: Callable[[Any, Output], Any], output: Output
) -> tuple[Any, list[Any]]:
    """Return settings, and for each baseline the state of a fitted model, or None for others.

    Parameters
    ----------
    model : DeltaLearner
        Fitted.
    encode_model : callable
        Turns a fitted model into JSON.
    output : Output
        Receives arrays.

    Returns
    -------
    settings : object
        JSON; None stands for a fitted model among the baselines, and caches are left out.
    baselines : list of object
        JSON.

    Raises
    ------
    ModelFileError
        If a baseline is a function.
    """
    kept, states = [], []
    for k, source in enumerate(model._sources):
        fitted = source.model if isinstance(source, ModelSource) else None
        kept.append(None if fitted is not None else _setting(source))
        part = output.part(f"baseline{k}")
        states.append(None if fitted is None else encode_model(_unwrapped(fitted), part))
    settings = model.get_params(deep=False)
    if kept:
        settings["baseline"] = kept[0] if is_single(model.baseline) else kept
    return encode(type(model)(**settings)), states


def restore_baselines(
    model: DeltaLearner, states: Any, decode_model: Callable[[Any, Input], Any], source: Input
) -> None:
    """Put fitted models among the baselines back to their places.

    Parameters
    ----------
    model : DeltaLearner
        With the settings of :func:`baselines_to_json`; changed in place.
    states : object
        JSON, as it was read.
    decode_model : callable
        Turns JSON into a fitted model.
    source : Input
        The arrays.

    Raises
    ------
    ModelFileError
        If models and settings do not belong to each other.
    """
    single = is_single(model.baseline)
    places = [model.baseline] if single else list(model.baseline)
    if model.baseline is None and states == []:
        places = []
    if not isinstance(states, list) or len(states) != len(places):
        raise ModelFileError("the baselines are not those of the settings")
    items = [
        place if state is None else decode_model(state, source.part(f"baseline{k}"))
        for k, (place, state) in enumerate(zip(places, states, strict=True))
    ]
    if items:
        model.baseline = items[0] if single else items
    model._sources = sources_of(items) if items else []


def _setting(source: Source) -> Any:
    """Return what stands in the settings for a baseline that is no fitted model."""
    if isinstance(source, FunctionSource):
        raise ModelFileError(
            f"baseline {source.name} is a function, which cannot be kept; store what it returns as "
            "a property of the structures, and give its name"
        )
    if not isinstance(source, ComputedSource):
        return source.name
    without: Baseline = clone(source.baseline)
    caches = [name for name in without.get_params() if name.split("__")[-1] == "cache"]
    return without.set_params(**dict.fromkeys(caches))


def _unwrapped(model: Any) -> Any:
    """Return the model inside a ``FrozenEstimator``."""
    return getattr(model, "estimator", model)
