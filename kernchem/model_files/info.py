"""What a model file says of its model."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.pipeline import Pipeline

import kernchem
from kernchem._validation import short
from kernchem.descriptors import Descriptor
from kernchem.elements import symbol
from kernchem.errors import ModelFileError
from kernchem.model_files.archive import VERSION
from kernchem.model_files.values import (
    CLASSES,
    LONGEST_TEXT,
    class_name,
    decode,
    encode,
    settings_of,
    text,
    whole,
)
from kernchem.models import GPR, KRR, CompositionBaseline, DeltaLearner, MultiFidelityGPR
from kernchem.models.joint import JointKernel, descriptors_of
from kernchem.models.kernel_model import KernelModel

__all__ = ["ModelInfo", "describe", "info_from_json", "info_to_json"]

_Array = npt.NDArray[np.float64]

_RUPP = (
    "M. Rupp, A. Tkatchenko, K.-R. Mueller, O. A. von Lilienfeld, Fast and accurate modeling of "
    "molecular atomization energies with machine learning, Phys. Rev. Lett. 108, 058301 (2012), "
    "https://doi.org/10.1103/PhysRevLett.108.058301"
)
_DELTA = (
    "R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Big data meets quantum chemistry "
    "approximations: the Delta-machine learning approach, J. Chem. Theory Comput. 11, 2087 (2015), "
    "https://doi.org/10.1021/acs.jctc.5b00099"
)
_CHIMIA = (
    "R. Ramakrishnan, O. A. von Lilienfeld, Many molecular properties from one kernel in chemical "
    "space, CHIMIA 69, 182 (2015), https://doi.org/10.2533/chimia.2015.182"
)
_PROCESSES = (
    "C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning, MIT Press "
    "(2006), https://doi.org/10.7551/mitpress/3206.001.0001"
)
_LEVELS = (
    "M. C. Kennedy, A. O'Hagan, Predicting the output from a complex computer code when fast "
    "approximations are available, Biometrika 87, 1 (2000), https://doi.org/10.1093/biomet/87.1.1"
)
_METHODS = {
    KRR: _RUPP,
    GPR: _PROCESSES,
    DeltaLearner: _DELTA,
    CompositionBaseline: _CHIMIA,
    MultiFidelityGPR: _LEVELS,
}
#: Probability with which labels lie within so many of their standard deviations.
_COVERAGE = 0.9


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of its model, apart from its numbers.

    Parameters
    ----------
    format_version : int
        Version of the file's format.
    kernchem_version : str
        Version of kernchem that wrote the file.
    model_class : str
        E.g. ``"kernchem.KRR"``.
    model : str
        The model with the arguments that are not the default.
    target, unit : str or None
        Name of the property that is predicted, and its unit, as they were given to
        :func:`kernchem.save`.
    elements : tuple of str
        Symbols of the elements of the training set; empty for a model on arrays.
    n_training : int or None
        Samples that the model was fitted on, copies and those of weight zero included.
    largest : int or None
        Atoms of the largest molecule among them; None where the model has not seen molecules.
    n_targets : int
        Number of properties that are predicted at once.
    baseline : tuple of str
        Stored properties that the molecules must carry: those of a ``DeltaLearner``.
    descriptor, kernel : str or None
        The fitted ones with the arguments that are not the default, numbers in full; of terms, all
        descriptors, and the sum of their kernels with the weights.
    alpha : float, tuple of float or None
        Regulariser, relative to the mean diagonal of the kernel matrix; of a process with several
        groups of noise one for each group.
    loo_mae, loo_rmse : tuple of float
        Leave-one-out errors of each target, in the unit of the target; empty where no sample could
        be left out.
    citations : tuple of str
        Publications of the methods.
    amplitude : tuple of float, default ()
        Amplitude of each target, in the squared unit of the target; of Gaussian processes only. Of
        several levels of theory, the prior variance of the process of each level.
    calibration : str or None, default None
        How standard deviations are corrected: "scale" by a model of leave-one-out residuals.
    loo_coverage : tuple of float, default ()
        Of each target the fraction of the training samples that a Gaussian interval with a
        probability of 0.9 holds when they are left out: 0.9 where error bars are right.
    """

    format_version: int
    kernchem_version: str
    model_class: str
    model: str
    target: str | None
    unit: str | None
    elements: tuple[str, ...]
    n_training: int | None
    largest: int | None
    n_targets: int
    baseline: tuple[str, ...]
    descriptor: str | None
    kernel: str | None
    alpha: float | tuple[float, ...] | None
    loo_mae: tuple[float, ...]
    loo_rmse: tuple[float, ...]
    citations: tuple[str, ...]
    amplitude: tuple[float, ...] = ()
    calibration: str | None = None
    loo_coverage: tuple[float, ...] = ()


def describe(model: Any, target: str | None, unit: str | None) -> ModelInfo:
    """Return what is to be said of a fitted model.

    Parameters
    ----------
    model : estimator
        Fitted, and of a class that can be saved.
    target, unit : str or None
        As the user calls them.

    Returns
    -------
    ModelInfo
        Of this version of kernchem and of the format.
    """
    blank = ModelInfo(
        format_version=VERSION,
        kernchem_version=kernchem.__version__,
        model_class=class_name(model),
        model=_as_text(model),
        target=None if target is None else text(target, "target"),
        unit=None if unit is None else text(unit, "unit"),
        elements=(),
        n_training=None,
        largest=None,
        n_targets=1,
        baseline=(),
        descriptor=None,
        kernel=None,
        alpha=None,
        loo_mae=(),
        loo_rmse=(),
        citations=(),
    )
    return _with_model(blank, model)


def _with_model(info: ModelInfo, model: Any) -> ModelInfo:
    """Return the information with what a part of the model adds to it."""
    own = getattr(model, "citation", _METHODS.get(type(model)))
    cited = (*info.citations, *([text(own, "citation")] if own else []))
    info = replace(info, citations=tuple(dict.fromkeys(cited)))
    if isinstance(model, Pipeline):
        for _, step in model.steps:
            info = _with_model(info, step)
    elif isinstance(model, Descriptor):
        told = _as_text(model)
        if info.descriptor is not None:
            told = f"{info.descriptor}, {told}"[:LONGEST_TEXT]
        info = replace(info, elements=_symbols(model.elements_), descriptor=told)
    elif isinstance(model, KernelModel):
        info = _with_kernel_model(info, model)
    else:
        if isinstance(model, DeltaLearner):
            baseline = (*info.baseline, *map(str, model._baseline_names()))
            info = _with_model(replace(info, baseline=baseline), model.model_)
        space = model._space
        if info.n_training is None:
            n_targets = model.coef_[0].size if isinstance(model, CompositionBaseline) else 1
            info = replace(info, n_training=space.n_structures, n_targets=n_targets)
        info = replace(info, elements=_symbols(space.elements), largest=space.largest)
    return info


def _with_kernel_model(info: ModelInfo, model: KernelModel) -> ModelInfo:
    if model.takes_structures:
        for descriptor in descriptors_of(model.descriptor_):
            info = _with_model(info, descriptor)
    if model._space is not None:
        info = replace(info, elements=_symbols(model._space.elements))
    if isinstance(model, MultiFidelityGPR):
        return _with_levels(info, model)
    mae, rmse = _errors(model.loo_residuals_.reshape(model._labels.shape))
    if isinstance(model, GPR):
        info = _with_process(info, model)
    return replace(
        info,
        n_training=len(model._labels),
        largest=model._largest,
        n_targets=model._labels.shape[1],
        kernel=None if model.kernel_ is None else _as_text(model.kernel_),
        alpha=float(model.alpha_) if np.ndim(model.alpha_) == 0 else tuple(model.alpha_.tolist()),
        loo_mae=mae,
        loo_rmse=rmse,
    )


def _with_levels(info: ModelInfo, model: MultiFidelityGPR) -> ModelInfo:
    """Return the information with the kernels of all levels, and errors of the top level."""
    residuals = model.loo_residuals_.reshape(model._labels.shape)[:, -1:]
    std = model.loo_std_.reshape(model._labels.shape)[:, -1:]
    mae, rmse = _errors(residuals)
    kernels = dict.fromkeys(_as_text(level.kernel) for level in model.levels_)
    return replace(
        info,
        n_training=len(model._labels),
        largest=model._largest,
        kernel=", ".join(kernels)[:LONGEST_TEXT],
        loo_mae=mae,
        loo_rmse=rmse,
        amplitude=tuple(level.std**2 for level in model.levels_),
        loo_coverage=_coverage_of(residuals, std),
    )


def _coverage_of(residuals: _Array, std: _Array) -> tuple[float, ...]:
    known = np.isfinite(residuals).all(axis=1)
    width = float(ndtri(0.5 + 0.5 * _COVERAGE)) * std
    inside = (np.abs(residuals) <= width)[known]
    return tuple(inside.mean(axis=0).tolist()) if known.any() else ()


def _with_process(info: ModelInfo, model: GPR) -> ModelInfo:
    residuals = model.loo_residuals_.reshape(model._labels.shape)
    return replace(
        info,
        amplitude=tuple(np.reshape(model.amplitude_, -1).tolist()),
        calibration="scale" if model._scales else None,
        loo_coverage=_coverage_of(residuals, model.loo_std_.reshape(residuals.shape)),
    )


def _errors(residuals: _Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return MAE and RMSE of each target over the samples that were left out."""
    known = residuals[np.isfinite(residuals).all(axis=1)]
    if not len(known):
        return (), ()
    mae, mse = np.abs(known).mean(axis=0), (known**2).mean(axis=0)
    return tuple(mae.tolist()), tuple(np.sqrt(mse).tolist())


def _symbols(numbers: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(symbol(number) for number in numbers)


def _as_text(item: Any) -> str:
    """Return one line for an object, with the arguments that are not the default."""
    return _on_one_line(_code_of(item))[:LONGEST_TEXT]


def _code_of(item: Any) -> str:
    if isinstance(item, list | tuple):
        inner = ", ".join(map(_code_of, item))
        return f"[{inner}]" if isinstance(item, list) else f"({inner})"
    if isinstance(item, np.generic):
        return repr(item.item())
    if isinstance(item, JointKernel):
        return _code_of_terms(item)
    if type(item) not in _SHOWN:
        return repr(item)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(item)).parameters.items()
    }
    given = {
        name: code
        for name, code in ((name, _code_of(value)) for name, value in settings_of(item).items())
        if code != _code_of(defaults[name])
    }
    return f"{type(item).__name__}({', '.join(f'{k}={v}' for k, v in given.items())})"


def _code_of_terms(kernel: JointKernel) -> str:
    """Return a sum of products with weights; each term has a mean diagonal of 1 before them."""
    terms = []
    for weight, product in zip(kernel.weights, kernel.products, strict=True):
        terms.append(" * ".join([repr(weight), *(_code_of(kernel.kernels[k]) for k in product)]))
    return " + ".join(terms)


def _on_one_line(value: str) -> str:
    return " ".join(value.split())


_SHOWN = frozenset(CLASSES.values())


def info_to_json(info: ModelInfo) -> dict[str, Any]:
    """Return what is said of a model as plain JSON; versions stand elsewhere in the file."""
    node = {name: encode(getattr(info, name)) for name in _STORED}
    given = {name: getattr(info, name) for name in _OPTIONAL}
    return node | {name: encode(value) for name, value in given.items() if value}


def info_from_json(node: Any, format_version: int, kernchem_version: Any) -> ModelInfo:
    """Return what :func:`info_to_json` turned into JSON.

    Parameters
    ----------
    node : object
        Plain JSON, as it was read.
    format_version : int
        Version of the file's format.
    kernchem_version : object
        Version of kernchem that the file names.

    Returns
    -------
    ModelInfo
        Of the types that it promises.

    Raises
    ------
    ModelFileError
        If a field is missing, or of another type.
    """
    if not isinstance(node, dict) or set(node).difference(_OPTIONAL) != set(_STORED):
        raise ModelFileError("what the file says of its model is not complete")
    found = {name: decode(value) for name, value in node.items()}
    checks = _STORED | _OPTIONAL
    for name, value in found.items():
        checks[name](value, name)
    version = text(kernchem_version, "the version of kernchem")
    return ModelInfo(format_version=format_version, kernchem_version=version, **found)


def _optional_text(value: Any, name: str) -> None:
    if value is not None:
        text(value, name)


def _texts(value: Any, name: str) -> None:
    for item in value if isinstance(value, tuple) else [value]:
        text(item, name)


def _floats(value: Any, name: str) -> None:
    numbers = value if isinstance(value, tuple) else [None]
    if not all(isinstance(item, float) for item in numbers):
        raise ModelFileError(f"{name} is {short(value)}; expected a tuple of numbers")


def _optional_floats(value: Any, name: str) -> None:
    if value is not None:
        _floats(value if isinstance(value, tuple) else (value,), name)


def _optional_count(value: Any, name: str) -> None:
    if value is not None:
        whole(value, name, 1, 1 << 62)


#: The fields that a file holds, and their checks.
_STORED = {
    "model_class": text,
    "model": text,
    "target": _optional_text,
    "unit": _optional_text,
    "elements": _texts,
    "n_training": _optional_count,
    "largest": _optional_count,
    "n_targets": _optional_count,
    "baseline": _texts,
    "descriptor": _optional_text,
    "kernel": _optional_text,
    "alpha": _optional_floats,
    "loo_mae": _floats,
    "loo_rmse": _floats,
    "citations": _texts,
}
#: Fields that are left out where they say nothing, so that files of other models are as they were.
_OPTIONAL = {
    "amplitude": _floats,
    "calibration": _optional_text,
    "loo_coverage": _floats,
}
