"""Settings as plain JSON, and back: numbers, texts, containers, and objects of listed classes.

A class is never looked up by what a file says: its name is a key of :data:`CLASSES`, or the file is
refused.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import model_selection
from sklearn.gaussian_process import kernels as sklearn_kernels
from sklearn.gaussian_process.kernels import Kernel
from sklearn.pipeline import Pipeline

from kernchem import baselines, descriptors, kernels, models
from kernchem._threads import effective_n_jobs
from kernchem._validation import is_positive, short
from kernchem.errors import ModelFileError
from kernchem.kernels import StructureKernel
from kernchem.model_files.geometry import geometry_from_json, geometry_to_json
from kernchem.models import joint
from kernchem.models.terms import Terms

__all__ = [
    "CLASSES",
    "class_name",
    "decode",
    "encode",
    "fields",
    "number",
    "settings_of",
    "text",
    "whole",
]

_SKLEARN_KERNELS = (
    "ConstantKernel DotProduct ExpSineSquared Exponentiation Matern Product RBF RationalQuadratic "
    "Sum WhiteKernel"
).split()
_SPLITTERS = (
    "GroupKFold KFold LeaveOneGroupOut LeaveOneOut PredefinedSplit StratifiedGroupKFold "
    "StratifiedKFold"
).split()
#: Containers and objects within one another: far beyond every real model.
_DEEPEST = 100
LONGEST_TEXT = 10_000
_MOST_AXES = 8
_NOT_FINITE = ("nan", "inf", "-inf")
#: Types of arrays among the settings, and of their items as Python knows them.
_ITEMS: dict[str, set[type]] = {
    "bool": {bool},
    "float32": {float},
    "float64": {float},
    "int32": {int},
    "int64": {int},
    "str": {str},
}


def _classes(package: str, module: Any, names: list[str]) -> dict[str, type]:
    found = {f"{package}.{name}": getattr(module, name) for name in names}
    return {
        name: cls
        for name, cls in found.items()
        if inspect.isclass(cls) and not inspect.isabstract(cls)
    }


_ESTIMATORS = ["KRR", "GPR", "CompositionBaseline", "DeltaLearner", "MultiFidelityGPR"]
_TERMS = [
    name
    for name in models.__all__
    if inspect.isclass(getattr(models, name)) and issubclass(getattr(models, name), Terms)
]
_BASELINES = [
    name
    for name in baselines.__all__
    if inspect.isclass(getattr(baselines, name))
    and issubclass(getattr(baselines, name), baselines.Baseline)
]

#: The classes whose objects are kept, by the names that stand in a file.
CLASSES: dict[str, type] = {
    **_classes("kernchem", models, _ESTIMATORS),
    **_classes("kernchem.models", models, _TERMS),
    **_classes("kernchem.baselines", baselines, _BASELINES),
    **_classes("kernchem.models", joint, ["JointKernel"]),
    **_classes("kernchem.descriptors", descriptors, descriptors.__all__),
    **_classes("kernchem.kernels", kernels, kernels.__all__),
    **_classes("sklearn.gaussian_process.kernels", sklearn_kernels, _SKLEARN_KERNELS),
    **_classes("sklearn.model_selection", model_selection, _SPLITTERS),
    "sklearn.pipeline.Pipeline": Pipeline,
}
_NAMES = {cls: name for name, cls in CLASSES.items()}


def class_name(item: object) -> str:
    """Return the name under which the class of an object stands in a file.

    Raises
    ------
    ModelFileError
        If it is none of the classes whose objects are kept.
    """
    try:
        return _NAMES[type(item)]
    except KeyError:
        raise ModelFileError(
            f"{short(item)} cannot be kept in a model file. What can: "
            f"{', '.join(_ESTIMATORS)} and pipelines of a descriptor and KRR or GPR; descriptors, "
            "terms and kernels of kernchem, kernels of scikit-learn; numbers, texts, lists, "
            "tuples, mappings and arrays. For other objects use joblib, whose files can run code "
            "when they are loaded"
        ) from None


def settings_of(item: Any) -> dict[str, Any]:
    """Return the arguments with which an object was made."""
    if hasattr(item, "get_params"):
        return dict(item.get_params(deep=False))
    return {name: getattr(item, name) for name in _arguments(type(item))}


def encode(value: Any) -> Any:
    """Return a value as plain JSON.

    Parameters
    ----------
    value : object
        Number, text, None, list, tuple, mapping, array, or object of a listed class.

    Returns
    -------
    object
        None, bool, int, float, str or list; what JSON does not know is a dict whose one key, or
        two for an object, names its type.
    """
    return _encode(value, 0)


def _encode(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ModelFileError(f"settings lie within one another more than {_DEEPEST} deep")
    kind = type(value)
    if value is None or kind in {bool, int, str} or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return {"float": str(value)}
    return _encode_other(value, depth)


def _encode_other(value: Any, depth: int) -> Any:
    """Return a container, an array or an object as JSON."""
    kind = type(value)
    if kind in {list, tuple}:
        items = [_encode(item, depth + 1) for item in value]
        return items if kind is list else {"tuple": items}
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return {"mapping": [[key, _encode(item, depth + 1)] for key, item in value.items()]}
    if isinstance(value, np.ndarray | np.generic) and _dtype_name(value.dtype) in _ITEMS:
        items = [_encode(item, depth + 1) for item in np.ravel(value).tolist()]
        name = _dtype_name(value.dtype)
        if isinstance(value, np.generic):
            return {"scalar": [name, items[0]]}
        return {"array": [name, list(value.shape), items]}
    geometry = geometry_to_json(value)
    return _encode_object(value, depth) if geometry is None else {"geometry": geometry}


def _encode_object(item: Any, depth: int) -> dict[str, Any]:
    name, settings = class_name(item), {}
    _require_no_cache(item)
    for key, value in settings_of(item).items():
        try:
            settings[key] = _encode(value, depth + 1)
        except ModelFileError as error:
            raise ModelFileError(f"{key} of {type(item).__name__}: {error}") from None
    return {"class": name, "settings": settings}


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "str" if dtype.kind == "U" else dtype.name


def decode(value: Any) -> Any:
    """Return the value that :func:`encode` turned into JSON.

    Parameters
    ----------
    value : object
        Plain JSON, as it was read.

    Returns
    -------
    object
        The value.

    Raises
    ------
    ModelFileError
        If it stands for no value, or for an object of a class that is not listed.
    """
    return _decode(value, 0)


def _decode(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ModelFileError(f"settings lie within one another more than {_DEEPEST} deep")
    if isinstance(value, list):
        return [_decode(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if set(value) == {"class", "settings"}:
            return _decode_object(value, depth)
        return _decode_typed(value, depth)
    if isinstance(value, float) and not math.isfinite(value):
        raise ModelFileError("a number is too large for float64, or none at all")
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise ModelFileError("a whole number is too large for int64")
    return value


def _decode_typed(value: dict[str, Any], depth: int) -> Any:
    """Return the value of a dict with one key, which names the type."""
    key, content = next(iter(value.items())) if len(value) == 1 else ("", None)
    if key == "float" and isinstance(content, str) and content in _NOT_FINITE:
        return float(content)
    if key == "tuple" and isinstance(content, list):
        return tuple(_decode(content, depth))
    if key == "mapping" and isinstance(content, list):
        pairs = [item if isinstance(item, list) else [] for item in content]
        if all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
            return {name: _decode(item, depth + 1) for name, item in pairs}
    if key == "scalar" and isinstance(content, list) and len(content) == 2:
        return _decode_array(content[0], [], [content[1]], depth)[()]
    if key == "array" and isinstance(content, list) and len(content) == 3:
        return _decode_array(content[0], content[1], content[2], depth)
    if key == "geometry":
        return geometry_from_json(content)
    raise ModelFileError(f"{short(value)} stands for no value")


def _decode_array(dtype: Any, shape: Any, items: Any, depth: int) -> npt.NDArray[Any]:
    usable = isinstance(dtype, str) and dtype in _ITEMS and isinstance(items, list)
    if not usable or not isinstance(shape, list) or len(shape) > _MOST_AXES:
        raise ModelFileError(f"an array of type {short(dtype)} and shape {short(shape)} is none")
    for n in shape:
        whole(n, "the shape of an array", 0, 1 << 31)
    decoded = [_decode(item, depth + 1) for item in items]
    if any(type(item) not in _ITEMS[dtype] for item in decoded):
        raise ModelFileError(f"an array of type {dtype} holds items of another type")
    return np.array(decoded, dtype=dtype).reshape(shape)


def _decode_object(value: dict[str, Any], depth: int) -> Any:
    """Make an object of a listed class from its settings."""
    name, given = value["class"], value["settings"]
    cls = CLASSES.get(name) if isinstance(name, str) else None
    if cls is None or not isinstance(given, dict):
        raise ModelFileError(
            f"{short(name)} is none of the classes whose objects are kept; update kernchem if a "
            "newer one wrote the file"
        )
    unknown = set(given).difference(_arguments(cls))
    if unknown:
        raise ModelFileError(
            f"{name} has no setting {min(unknown)!r} here; update the package that it belongs to"
        )
    settings = {key: _decode(item, depth + 1) for key, item in given.items()}
    if issubclass(cls, Kernel):
        for key, item in settings.items():
            _check_kernel_setting(name, key, item)
    if cls is joint.JointKernel:
        _check_joint_kernel(**settings)
    try:
        made = cls(**settings)
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ModelFileError(f"{name} cannot have these settings: {error}") from None
    _require_no_cache(made)
    return made


def _require_no_cache(item: Any) -> None:
    """Raise if an object would read or write a folder that a file names."""
    if isinstance(item, Pipeline) and item.memory is not None:
        raise ModelFileError("memory of Pipeline: a model file names no cache; set memory=None")
    if isinstance(item, baselines.Baseline) and getattr(item, "cache", None) is not None:
        name = type(item).__name__
        raise ModelFileError(f"cache of {name}: a model file names no cache; set cache=None")


def _check_kernel_setting(name: str, key: str, value: Any) -> None:
    """Raise unless an argument of a kernel is a kernel, a number, numbers or bounds."""
    if key in _JOINT and name == "kernchem.models.JointKernel":
        return
    if key in {"k1", "k2", "kernel"}:
        usable = isinstance(value, Kernel)
    elif key == "base":
        usable = isinstance(value, Kernel) and not isinstance(value, StructureKernel)
    elif key == "coupling":
        usable = isinstance(value, str) or _are_weights(value)
    elif key == "normalize":
        usable = isinstance(value, bool)
    elif key == "n_jobs":
        usable = effective_n_jobs(value) > 0
    elif key.endswith("_bounds"):
        usable = value == "fixed" if isinstance(value, str) else _are_bounds(value)
    else:
        usable = _numbers(value) is not None and np.ndim(value) <= 1
    if not usable:
        raise ModelFileError(f"{name} cannot have {key}={short(value)}")


_JOINT = ("kernels", "parts", "products", "weights", "scales", "fixed_weights")


def _check_joint_kernel(
    kernels: Any,
    parts: Any,
    products: Any,
    weights: Any,
    scales: Any = None,
    fixed_weights: Any = False,
) -> None:
    """Raise unless these are factors, the part of each, and terms that are made of them."""
    usable = (
        isinstance(fixed_weights, bool)
        and all(isinstance(given, list) and given for given in (kernels, parts, products, weights))
        and all(isinstance(kernel, Kernel) for kernel in kernels)
        and len(parts) == len(kernels)
        and all(type(part) is int and part >= 0 for part in parts)
        and all(isinstance(product, list) and product for product in products)
        and all(type(k) is int and 0 <= k < len(kernels) for product in products for k in product)
        and all(
            isinstance(given, list)
            and len(given) == len(products)
            and all(type(item) is float and is_positive(item) for item in given)
            for given in (weights, weights if scales is None else scales)
        )
    )
    if not usable:
        raise ModelFileError("factors and terms of a joint kernel do not belong to each other")


def _are_weights(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, int | float | np.number) for item in value.values()
    )


def _are_bounds(value: Any) -> bool:
    pairs = _numbers(value)
    if pairs is None or pairs.ndim not in {1, 2} or pairs.shape[-1] != 2:
        return False
    return bool((pairs > 0).all() and (pairs[..., 0] <= pairs[..., 1]).all())


def _numbers(value: Any) -> npt.NDArray[np.float64] | None:
    """Return real numbers, none of them NaN, as an array; None where that is not what they are."""
    try:
        array = np.asarray(value)
        numbers = array.astype(np.float64) if array.size and array.dtype.kind in "iuf" else None
    except ValueError:
        return None
    return None if numbers is None or np.isnan(numbers).any() else numbers


def _arguments(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in {"args", "kwargs"}]


def fields(node: Any, *names: str) -> list[Any]:
    """Return the values of a JSON object that must have these names and no others."""
    if not isinstance(node, dict) or set(node) != set(names):
        found = sorted(node) if isinstance(node, dict) else short(node)
        raise ModelFileError(f"expected the fields {', '.join(names)}; found {short(found)}")
    return [node[name] for name in names]


def whole(value: Any, what: str, low: int, high: int) -> int:
    """Return a whole number in a range, both ends included."""
    if type(value) is not int or not low <= value <= high:
        raise ModelFileError(f"{what} is {short(value)}; expected a whole number, {low} to {high}")
    return value


def number(value: Any, what: str, low: float, high: float) -> float:
    """Return a decoded float in a range, both ends included."""
    found = decode(value)
    if not isinstance(found, float) or not low <= found <= high:
        raise ModelFileError(f"{what} is {short(found)}; expected a number, {low:g} to {high:g}")
    return found


def text(value: Any, what: str) -> str:
    """Return a text of one line, without characters that could steer a terminal."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_TEXT:
        raise ModelFileError(
            f"{what} is {short(value)}; expected one line of at most {LONGEST_TEXT} printable "
            "characters"
        )
    return value
