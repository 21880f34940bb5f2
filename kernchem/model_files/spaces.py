"""What all models keep: the compositions that they know, and the shape of their predictions."""

from __future__ import annotations

from typing import Any

from kernchem.errors import ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.layouts import decode_elements, encode_elements
from kernchem.model_files.values import fields, whole
from kernchem.models.composition import CompositionSpace

__all__ = ["MOST", "space_from_json", "space_to_json", "target_shape_from_json"]

#: Far beyond every real search or batch.
MOST = 1 << 40


def space_to_json(space: CompositionSpace | None, output: Output) -> Any:
    """Return a space of compositions as plain JSON, and put its vectors into the output."""
    if space is None:
        return None
    # As it was made: the transpose of a C-contiguous array, whose products have the same bits.
    output.put(composition=space.vectors.T)
    return {
        "elements": encode_elements(space.elements),
        "n_structures": space.n_structures,
        "largest": space.largest,
    }


def space_from_json(node: Any, source: Input) -> CompositionSpace | None:
    """Return the space that :func:`space_to_json` turned into JSON."""
    if node is None:
        return None
    numbers, n_structures, largest = fields(node, "elements", "n_structures", "largest")
    elements = decode_elements(numbers)
    vectors = source.floats("composition", None, len(elements)).T
    return CompositionSpace.restored(
        elements,
        vectors,
        whole(n_structures, "n_structures", 1, MOST),
        whole(largest, "largest", 1, MOST),
    )


def target_shape_from_json(value: Any, n_targets: int) -> tuple[int, ...]:
    """Return the shape of one label, if it is one of so many targets."""
    if value not in ([], [n_targets]) or (value == [] and n_targets != 1):
        raise ModelFileError(f"the shape of the targets is no shape of {n_targets} of them")
    return tuple(value)
