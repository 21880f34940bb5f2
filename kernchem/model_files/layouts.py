"""Fitted descriptors: a file keeps elements and sizes, and the class's own ``fit`` does the rest.

A layout is compared with the number of features that the model was trained on, which the file
really holds, before anything of that size is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.descriptors import (
    BagOfBonds,
    CoulombMatrix,
    Descriptor,
    EncodedBonds,
    InverseDistances,
    Torsions,
)
from kernchem.elements import MAX_ATOMIC_NUMBER
from kernchem.environments import Environments
from kernchem.errors import ModelFileError
from kernchem.model_files.features import width_of
from kernchem.model_files.values import class_name, decode, encode, fields, whole
from kernchem.models.joint import JointDescriptor, JointFeatures
from kernchem.structures import Structures

__all__ = [
    "decode_descriptor",
    "decode_elements",
    "decode_fitted",
    "encode_descriptor",
    "encode_elements",
    "n_parts_of",
]

#: Numbers among the settings that are no sizes.
_NO_SIZES = ("n_jobs", "random_state")
#: Points of a grid that every memory has room for.
_FEW = 10_000
#: Far beyond every real setting; its square is finite.
_LARGEST = 1e100
#: Points of a grid of shifted Gaussians, per angstrom.
_SHIFTED = 3.0
#: More than the range of all angles, radian.
_ANGLES = 5.0


def encode_descriptor(descriptor: Any) -> dict[str, Any]:
    """Return a fitted descriptor as plain JSON: class, settings and layout; or several of them."""
    if isinstance(descriptor, JointDescriptor):
        return {"joint": [encode_descriptor(one) for one in descriptor.descriptors]}
    class_name(descriptor)
    descriptor._require_fitted()
    layout = _layout_of(descriptor)[0](descriptor)
    return {"descriptor": encode(descriptor), "layout": layout}


def n_parts_of(node: Any) -> int | None:
    """Return the number of descriptors that stand for one, or None for a single descriptor."""
    if not isinstance(node, dict) or set(node) != {"joint"}:
        return None
    if not isinstance(node["joint"], list) or not node["joint"]:
        raise ModelFileError("a joint descriptor must be a list of descriptors")
    return len(node["joint"])


def decode_fitted(node: Any, features: Any) -> Any:
    """Return the descriptor of a model with the features that it was trained on.

    Parameters
    ----------
    node : object
        Plain JSON, as it was read.
    features : array, Environments or JointFeatures
        Of as many parts as the descriptor.

    Returns
    -------
    Descriptor or JointDescriptor
        Fitted.
    """
    if isinstance(features, JointFeatures):
        pairs = zip(node["joint"], features.parts, strict=True)
        return JointDescriptor([decode_fitted(one, part) for one, part in pairs])
    local = isinstance(features, Environments)
    descriptor = decode_descriptor(node, width_of(features), local=local)
    if local and not np.isin(features.numbers, descriptor.elements_).all():
        raise ModelFileError("atoms of the training set are none of those of the descriptor")
    return descriptor


def decode_descriptor(node: Any, n_features: int, *, local: bool = False) -> Descriptor:
    """Return the fitted descriptor that :func:`encode_descriptor` turned into JSON.

    Parameters
    ----------
    node : object
        Plain JSON, as it was read.
    n_features : int
        Number of columns of the features that the model was trained on.
    local : bool
        Whether they are features of atoms.

    Returns
    -------
    Descriptor
        Fitted.

    Raises
    ------
    ModelFileError
        If settings and layout do not fit each other or the features.
    """
    settings, layout = fields(node, "descriptor", "layout")
    descriptor = decode(settings)
    if not isinstance(descriptor, Descriptor):
        raise ModelFileError(f"{type(descriptor).__name__} is no descriptor")
    _layout_of(descriptor)[1](descriptor, layout, n_features)
    if descriptor.local != local:
        kinds = ("structures", "atoms")
        raise ModelFileError(
            f"the descriptor has features of {kinds[descriptor.local]}, the training set of "
            f"{kinds[local]}"
        )
    _require(descriptor.n_features_out_, n_features)
    return descriptor


def encode_elements(numbers: Any) -> list[int]:
    """Return atomic numbers as plain JSON."""
    return [int(number) for number in numbers]


def decode_elements(value: Any) -> tuple[int, ...]:
    """Return atomic numbers that must be ascending."""
    if not isinstance(value, list) or not value:
        raise ModelFileError("elements must be a list of at least one atomic number")
    elements = tuple(whole(z, "an atomic number", 1, MAX_ATOMIC_NUMBER) for z in value)
    if list(elements) != sorted(set(elements)):
        raise ModelFileError(f"elements={list(elements)} must ascend")
    return elements


def _require(n_columns: int, n_features: int) -> None:
    if n_columns != n_features:
        raise ModelFileError(
            f"the layout of the descriptor has {n_columns} columns, the training set {n_features}"
        )


def _learn(descriptor: Descriptor, elements: tuple[int, ...]) -> None:
    """Fit a descriptor on one atom of each element, which checks its settings."""
    n = len(elements)
    descriptor.fit(Structures(elements, np.zeros((n, 3)), np.arange(n + 1)))
    if descriptor.elements_ != elements:
        raise ModelFileError("the elements of a descriptor are not those of its settings")


def _coulomb_to_json(descriptor: CoulombMatrix) -> dict[str, Any]:
    return {
        "elements": encode_elements(descriptor.elements_),
        "size": descriptor.size_,
        "noise_seed": getattr(descriptor, "noise_seed_", None),
    }


def _coulomb_from_json(descriptor: CoulombMatrix, layout: Any, n_features: int) -> None:
    elements, size, seed = fields(layout, "elements", "size", "noise_seed")
    _learn(descriptor, decode_elements(elements))
    descriptor._set_size(whole(size, "size", 1, n_features))
    if descriptor.permutation == "random":
        descriptor.noise_seed_ = whole(seed, "noise_seed", 0, 2**31 - 2)
    elif seed is not None:
        raise ModelFileError("only a randomly sorted Coulomb matrix has a noise_seed")


def _bags_to_json(descriptor: BagOfBonds) -> dict[str, Any]:
    sizes = [int(size) for size in descriptor.bags_.values()]
    return {"elements": encode_elements(descriptor.elements_), "sizes": sizes}


def _bags_from_json(descriptor: BagOfBonds, layout: Any, n_features: int) -> None:
    numbers, sizes = fields(layout, "elements", "sizes")
    elements = decode_elements(numbers)
    n = len(elements)
    if not isinstance(sizes, list) or len(sizes) != n + n * (n + 1) // 2:
        raise ModelFileError(f"{n} elements have {n + n * (n + 1) // 2} bags")
    checked = [whole(s, "the size of a bag", int(k < n), n_features) for k, s in enumerate(sizes)]
    _learn(descriptor, elements)
    descriptor._set_sizes(np.array(checked, dtype=np.int64))


def _encoded_to_json(descriptor: EncodedBonds) -> dict[str, Any]:
    return {"elements": encode_elements(descriptor.elements_)}


def _encoded_from_json(descriptor: EncodedBonds, layout: Any, n_features: int) -> None:
    elements = decode_elements(fields(layout, "elements")[0])
    grid = descriptor.grid
    # A triple of another kind is refused by the descriptor itself.
    if isinstance(grid, tuple | list) and len(grid) == 3 and isinstance(grid[2], int | np.integer):
        _require(len(elements) * (len(elements) + 1) // 2 * int(grid[2]), n_features)
    _learn(descriptor, elements)


def _inverse_to_json(descriptor: InverseDistances) -> dict[str, Any]:
    return {"numbers": encode_elements(descriptor.numbers_)}


def _inverse_from_json(descriptor: InverseDistances, layout: Any, n_features: int) -> None:
    (given,) = fields(layout, "numbers")
    if not isinstance(given, list):
        raise ModelFileError("numbers must be a list")
    n = len(given)
    _require(n * (n - 1) // 2, n_features)
    numbers = [whole(z, "an atomic number", 1, MAX_ATOMIC_NUMBER) for z in given]
    # Any molecule of these atoms, none of them near another.
    positions: npt.NDArray[np.float64] = np.zeros((n, 3))
    positions[:, 0] = np.arange(n)
    descriptor.fit(Structures(numbers, positions, [0, n]))
    if not np.isfinite(descriptor.scale_).all():
        raise ModelFileError("the equilibrium has distances that are no finite numbers")


def _common_to_json(descriptor: Any) -> dict[str, Any]:
    """Return elements, and size and types of those that have them."""
    layout: dict[str, Any] = {"elements": encode_elements(descriptor.elements_)}
    if hasattr(descriptor, "size_"):
        layout["size"] = int(descriptor.size_)
    if hasattr(descriptor, "types_"):
        layout["types"] = [encode_elements(members) for members in descriptor.types_]
    return layout


def _common_from_json(descriptor: Any, layout: Any, n_features: int) -> None:
    if not isinstance(layout, dict) or "elements" not in layout:
        raise ModelFileError("a layout has elements")
    elements = decode_elements(layout["elements"])
    _require_small(descriptor, n_features)
    _learn(descriptor, elements)
    learnt = _common_to_json(descriptor)
    found = dict(zip(learnt, fields(layout, *learnt), strict=True))
    if "size" in found:
        descriptor._set_size(whole(found["size"], "size", 1, n_features))
    if "types" in found:
        sizes = (4, 4) if isinstance(descriptor, Torsions) else (1, 3)
        items = _items(found["types"], int(not isinstance(descriptor, Torsions)))
        types = [_type_from_json(members, elements, sizes) for members in items]
        if len(set(types)) < len(types) or len(types) > n_features:
            raise ModelFileError("a type of a layout is there twice, or there are too many")
        descriptor._set_types(types)


def _items(value: Any, fewest: int) -> list[Any]:
    if not isinstance(value, list) or len(value) < fewest:
        raise ModelFileError(f"types must be a list of at least {fewest}")
    return value


def _type_from_json(
    value: Any, elements: tuple[int, ...], sizes: tuple[int, int]
) -> tuple[int, ...]:
    """Return so many elements, of both directions the lesser one."""
    fewest, most = sizes
    members = value if isinstance(value, list) else []
    usable = fewest <= len(members) <= most
    if not usable or not all(type(z) is int and z in elements for z in members):
        raise ModelFileError(f"types of a layout must be {fewest} to {most} of its elements")
    if members > members[::-1]:
        raise ModelFileError(f"the type {members} of a layout must be written from its other end")
    return tuple(members)


def _has_shifted(settings: dict[str, Any]) -> bool:
    given = (settings.get("g2"), settings.get("radial"))
    return any(isinstance(value, str) and value == "shifted" for value in given)


def _count_in(value: Any) -> float:
    """Return a whole number, and 0 for anything else."""
    return float(value) if isinstance(value, int | np.integer) else 0.0


def _require_small(descriptor: Any, n_features: int) -> None:
    """Raise where a setting makes more functions or points of a grid than there are features.

    Nor may squares of numbers be too large or too small for float64.
    """
    settings = descriptor.get_params(deep=False)
    for name, value in settings.items():
        if name in _NO_SIZES or not isinstance(value, int | float | np.integer):
            continue
        if value and not 1.0 / _LARGEST <= abs(float(value)) <= _LARGEST:
            raise ModelFileError(f"{name}={value!r} is no number for a descriptor")
        # Lengths may be given as whole numbers.
        made = 0.0 if name.endswith("_cut") else _count_in(value)
        if name == "n_max":
            # Each pair of radial functions makes a feature, and a matrix for each degree.
            made = made**2 / 2.0 * (1.0 + _count_in(settings.get("l_max")))
        if name.startswith("step"):
            # Along distances up to the cutoff, or angles.
            made = max(float(settings.get("r_cut") or 0.0), _ANGLES) / (float(value) or 1e-99)
        if name == "r_cut" and _has_shifted(settings):
            made = _SHIFTED * float(value)
        if not made <= max(n_features, _FEW):
            raise ModelFileError(f"{name}={value!r} is too much for {n_features} features")


#: For each class: its layout as JSON, and a function that fits an object to such a layout.
_LAYOUTS: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any, int], None]]] = {
    BagOfBonds: (_bags_to_json, _bags_from_json),
    CoulombMatrix: (_coulomb_to_json, _coulomb_from_json),
    EncodedBonds: (_encoded_to_json, _encoded_from_json),
    InverseDistances: (_inverse_to_json, _inverse_from_json),
}


def _layout_of(descriptor: Any) -> tuple[Callable[[Any], Any], Callable[[Any, Any, int], None]]:
    return _LAYOUTS.get(type(descriptor), (_common_to_json, _common_from_json))
