"""Fitted descriptors: a file keeps elements and sizes, and the class's own ``fit`` does the rest.

A layout is compared with the number of features that the model was trained on, which the file
really holds, before anything of that size is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from kernchem._threads import effective_n_jobs
from kernchem.descriptors import (
    BagOfBonds,
    CoulombMatrix,
    Descriptor,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
)
from kernchem.elements import MAX_ATOMIC_NUMBER
from kernchem.errors import ModelFileError
from kernchem.model_files.values import class_name, decode, encode, fields, whole
from kernchem.structures import Structures

__all__ = ["decode_descriptor", "decode_elements", "encode_descriptor", "encode_elements"]


def encode_descriptor(descriptor: Any) -> dict[str, Any]:
    """Return a fitted descriptor as plain JSON: class, settings and layout."""
    class_name(descriptor)
    check_is_fitted(descriptor, "n_features_out_")
    layout = _LAYOUTS[type(descriptor)][0](descriptor)
    return {"descriptor": encode(descriptor), "layout": layout}


def decode_descriptor(node: Any, n_features: int) -> Descriptor:
    """Return the fitted descriptor that :func:`encode_descriptor` turned into JSON.

    Parameters
    ----------
    node : object
        Plain JSON, as it was read.
    n_features : int
        Number of columns of the features that the model was trained on.

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
    # Checked by `transform` only, which is never called here.
    effective_n_jobs(getattr(descriptor, "n_jobs", None))
    _LAYOUTS[type(descriptor)][1](descriptor, layout, n_features)
    if descriptor.local:
        raise ModelFileError("the descriptor has features of atoms, and the model takes others")
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


def _overlap_to_json(descriptor: OverlapEigenvalues) -> dict[str, Any]:
    return {"elements": encode_elements(descriptor.elements_), "size": descriptor.size_}


def _overlap_from_json(descriptor: OverlapEigenvalues, layout: Any, n_features: int) -> None:
    elements, size = fields(layout, "elements", "size")
    _learn(descriptor, decode_elements(elements))
    descriptor._set_size(whole(size, "size", 1, n_features))


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


#: For each class: its layout as JSON, and a function that fits an object to such a layout.
_LAYOUTS: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any, int], None]]] = {
    BagOfBonds: (_bags_to_json, _bags_from_json),
    CoulombMatrix: (_coulomb_to_json, _coulomb_from_json),
    EncodedBonds: (_encoded_to_json, _encoded_from_json),
    InverseDistances: (_inverse_to_json, _inverse_from_json),
    OverlapEigenvalues: (_overlap_to_json, _overlap_from_json),
}
