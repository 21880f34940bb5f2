"""The training set, whose features are rows of structures, rows of atoms, or several of these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Kernel

from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import ModelFileError
from kernchem.model_files.arrays import Input, Output
from kernchem.models.composition import CompositionSpace
from kernchem.models.joint import JointFeatures, JointKernel
from kernchem.models.training_set import TrainingSet
from kernchem.solvers import Repeats

__all__ = ["features_from", "probe_kernel", "put_features", "training_from", "width_of"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Columns of features that are kept without their zeros, of which a file need not hold one number:
#: some times those of every real layout.
_MOST_COLUMNS = 1 << 22
#: Structures, and atoms of each of them, on which a kernel is tried.
_TRIED = 2


def put_features(features: Any, output: Output, name: str = "features") -> None:
    """Put features into the output.

    Parameters
    ----------
    features : array, Environments or JointFeatures
        Of the training set.
    output : Output
        Receives the arrays.
    name : str
        Name of the array, or the beginning of the names of several.
    """
    if isinstance(features, np.ndarray):
        output.put(**{name: features})
        return
    inner = output.part(name)
    if isinstance(features, JointFeatures):
        for k, part in enumerate(features.parts):
            put_features(part, inner, f"part{k}")
        return
    inner.put(numbers=features.numbers, offsets=features.offsets)
    if features.blocks is None:
        inner.put(values=features.values)
        return
    blocks = features.blocks
    inner.put(
        width=np.array([features.n_features]),
        sizes=np.array([block.values.shape for block in blocks]),
        atoms=np.concatenate([block.atoms for block in blocks]),
    )
    columns = np.concatenate([block.columns for block in blocks])
    if len(columns):
        values = np.concatenate([block.values.reshape(-1) for block in blocks])
        inner.put(columns=columns, values=values)


def features_from(source: Input, n: int, n_parts: int | None, name: str = "features") -> Any:
    """Return the features that :func:`put_features` put into a file.

    Parameters
    ----------
    source : Input
        The arrays.
    n : int
        Number of structures.
    n_parts : int or None
        Number of descriptors of a joint one; None of a single descriptor.
    name : str
        As there.

    Returns
    -------
    array, Environments or JointFeatures
        Finite numbers, in rows of structures or atoms and in columns that exist.
    """
    inner = source.part(name)
    if n_parts is not None:
        parts = [features_from(inner, n, None, f"part{k}") for k in range(n_parts)]
        return JointFeatures(parts)
    if source.has(name):
        return source.floats(name, n, None)
    numbers = inner.whole_numbers("numbers", None)
    n_atoms = len(numbers)
    offsets = inner.rows("offsets", n + 1, n_atoms + 1)
    if offsets[-1] != n_atoms:
        raise ModelFileError("offsets are not those of the atoms")
    if inner.has("sizes"):
        blocks, width = _blocks_from(inner, n_atoms)
        batch = Environments.from_blocks(blocks, numbers, offsets, width)
    else:
        batch = Environments._unchecked(inner.floats("values", n_atoms, None), numbers, offsets)
    batch._check_offsets()
    batch._check_numbers()
    return batch


def _blocks_from(source: Input, n_atoms: int) -> tuple[list[FeatureBlock], int]:
    """Return blocks that hold each atom once, in columns that ascend, and the number of columns."""
    width = int(source.rows("width", 1, _MOST_COLUMNS + 1)[0])
    sizes = source.rows("sizes", None, max(n_atoms, width) + 1, n_columns=2).tolist()
    atoms = source.rows("atoms", n_atoms, n_atoms)
    if sum(m for m, _ in sizes) != n_atoms or len(np.unique(atoms)) != n_atoms:
        raise ModelFileError("the blocks of features do not hold each atom once")
    n_columns, n_values = sum(c for _, c in sizes), sum(m * c for m, c in sizes)
    columns, values = np.zeros(0, dtype=np.int64), np.zeros(0)
    if n_columns:
        columns = source.rows("columns", n_columns, width)
        values = source.floats("values", n_values)
    blocks, row, column, value = [], 0, 0, 0
    for m, c in sizes:
        own = columns[column : column + c]
        if m == 0 or (np.diff(own) <= 0).any():
            raise ModelFileError("the columns of a block of features do not ascend")
        # Arrays of their own, as a descriptor makes them.
        part = values[value : value + m * c].reshape(m, c).copy()
        blocks.append(FeatureBlock(atoms[row : row + m].copy(), own.copy(), part))
        row, column, value = row + m, column + c, value + m * c
    return blocks, width


def width_of(features: Any) -> int:
    """Return the number of columns."""
    return features.n_features if isinstance(features, Environments) else features.shape[1]


def training_from(
    source: Input, space: CompositionSpace | None, labels: _Array, n_parts: int | None
) -> tuple[TrainingSet, _Rows]:
    """Return the training set, and which of the caller's samples it was made of."""
    targets = source.floats("targets", None, labels.shape[1])
    n = len(targets)
    kept = source.rows("kept", None, len(labels))
    member = source.rows("member", len(kept), n)
    first = source.rows("first", n, len(kept))
    if (np.diff(kept) <= 0).any() or (member[first] != np.arange(n)).any():
        raise ModelFileError("the rows of the training set do not belong to its samples")
    weights = source.floats("weights", n)
    if (weights <= 0).any():
        raise ModelFileError("a weight is not above zero")
    basis = None
    if space is not None:
        basis = source.floats("basis", n, space.vectors.shape[1])
    features = features_from(source, n, n_parts)
    alike = source.rows("alike", n, len(kept)) if source.has("alike") else None
    training = TrainingSet(features, targets, weights, basis, first, member, alike=alike)
    if len(kept) == n:
        return training, kept
    # Files of older versions do not hold them.
    own = weights[member] / np.bincount(member)[member]
    if source.has("label_weights"):
        own = source.floats("label_weights", len(kept))
        if (own <= 0).any():
            raise ModelFileError("a weight of a label is not above zero")
    repeats = Repeats.of(labels[kept], own, member)
    return replace(training, label_weights=own, repeats=repeats), kept


def probe_kernel(kernel: Kernel, features: Any) -> None:
    """Raise unless a kernel has hyperparameters, a text and finite values of some features."""
    rows, copy = _few_of(features), _few_of(features)
    if isinstance(kernel, JointKernel) and max(kernel.parts) >= len(_parts_of(features)):
        raise ModelFileError("the parts of a joint kernel are not those of the features")
    with np.errstate(all="ignore"):
        K, cross, diagonal = kernel(rows), kernel(rows, copy), kernel.diag(rows)
        usable = K.shape == cross.shape == (len(rows), len(rows)) and diagonal.shape == (len(rows),)
        usable = usable and all(np.isfinite(values).all() for values in (K, cross, diagonal))
        if not usable or len(np.atleast_1d(kernel.theta)) != len(
            np.reshape(kernel.bounds, (-1, 2))
        ):
            raise ModelFileError(f"{kernel!r} has no finite values of the training set")


def _few_of(features: Any) -> Any:
    """Return new features of few structures, and of few atoms of each, to try a kernel on."""
    if isinstance(features, JointFeatures):
        return JointFeatures([_few_of(part) for part in features.parts])
    if not isinstance(features, Environments):
        return features[:_TRIED].copy(order="K")
    starts = features.offsets[:-1][:_TRIED]
    counts = np.minimum(features.sizes[:_TRIED], _TRIED)
    atoms: _Rows = np.concatenate(
        [np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)]
    )
    numbers, offsets = features.numbers[atoms], np.concatenate([[0], np.cumsum(counts)])
    if features.blocks is None:
        return Environments._unchecked(features.values[atoms], numbers, offsets)
    return Environments.from_blocks(
        features._blocks_of(atoms), numbers, offsets, features.n_features
    )


def _parts_of(features: Any) -> tuple[Any, ...]:
    return features.parts if isinstance(features, JointFeatures) else ()
