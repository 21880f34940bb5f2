"""Features of atoms, for structures with different numbers of them.

:class:`Environments` is what descriptors with features per atom return. Like
:class:`~kernchem.structures.Structures` it indexes like a sequence of structures in scikit-learn's
eyes, and is checked once, when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernchem._columns import frozen
from kernchem._ragged import Ragged
from kernchem._validation import real_numbers, short, whole_numbers
from kernchem.elements import formula
from kernchem.errors import StructureError

__all__ = ["AtomFeatures", "Environments", "FeatureBlock", "as_environments"]

_CURE = "pass what the transform of a descriptor with features per atom returned"


class FeatureBlock(NamedTuple):
    """Features of some atoms in the columns where they may differ from zero.

    Parameters
    ----------
    atoms : array (m,)
        Rows of the atoms in the batch.
    columns : array (c,)
        Features, ascending; all others are zero for these atoms.
    values : array (m, c)
        The features, C-contiguous.
    """

    atoms: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class AtomFeatures:
    """Features of the atoms of one structure: an item of :class:`Environments`.

    It is a scalar in NumPy's eyes (no length, ``==`` gives one truth value), so that object arrays
    of such items pass through scikit-learn.

    Parameters
    ----------
    values : array (n_atoms, n_features)
        One row per atom.
    numbers : array (n_atoms,)
        Atomic numbers.

    Raises
    ------
    StructureError
        If there is not one row of features for each atomic number.
    """

    __slots__ = ("numbers", "values")

    def __init__(self, values: npt.ArrayLike, numbers: npt.ArrayLike) -> None:
        self.values: npt.NDArray[np.float64] = (
            values if isinstance(values, np.ndarray) else real_numbers(values, "values")
        )
        self.numbers: npt.NDArray[np.int64] = (
            numbers if isinstance(numbers, np.ndarray) else whole_numbers(numbers, "numbers")
        )
        if self.values.ndim != 2 or self.numbers.shape != self.values.shape[:1]:
            raise StructureError(
                f"values has shape {self.values.shape} and numbers {self.numbers.shape}; expected "
                "(n_atoms, n_features) and (n_atoms,), one row of features for each atom"
            )

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order."""
        return formula(self.numbers)

    def _key(self) -> tuple[Any, ...]:
        # Adding zero turns -0.0, which equals 0.0 but has other bytes, into 0.0.
        return self.numbers.tobytes(), (self.values + 0.0).tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AtomFeatures) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        n_atoms, n_features = self.values.shape
        return f"AtomFeatures({self.formula}, {n_atoms} atoms, {n_features} features)"


class Environments(Ragged[AtomFeatures]):
    """Immutable batch of structures, each with one row of features per atom.

    The atoms of all structures lie behind each other in flat arrays; structure ``k`` owns the rows
    ``offsets[k]:offsets[k + 1]``. Indexing with a number gives an :class:`AtomFeatures`; with a
    slice, a mask or a list of numbers a new batch.

    Parameters
    ----------
    values : array (n_atoms, n_features)
        Features of all atoms of all structures.
    numbers : array (n_atoms,)
        Their atomic numbers.
    offsets : array (n + 1,)
        First row of each structure; ``offsets[0] = 0`` and ``offsets[n] = n_atoms``.

    Raises
    ------
    StructureError
        If features are not finite, a structure has no atoms or arrays do not fit; the message
        names the structure's index.
    UnknownElementError
        If an atomic number is not 1 to 118.

    Examples
    --------
    >>> batch = Environments([[0.5, 1.0], [0.2, 0.0], [0.5, 0.9]], [8, 1, 8], [0, 2, 3])
    >>> batch
    Environments(2 structures, 3 atoms, 2 features)
    >>> batch[0].formula, batch[1:].values.tolist()
    ('HO', [[0.5, 0.9]])
    """

    _not_numbers = (
        "features per atom are no array with one row per structure: use a kernel that compares "
        "atoms, or a descriptor with one row of features per structure"
    )

    def __init__(
        self, values: npt.ArrayLike, numbers: npt.ArrayLike, offsets: npt.ArrayLike
    ) -> None:
        features = real_numbers(values, "values")
        self._values: npt.NDArray[np.float64] | None = frozen(features)
        self._blocks: tuple[FeatureBlock, ...] | None = None
        self._n_features = features.shape[1] if features.ndim == 2 else 0
        self.numbers = frozen(whole_numbers(numbers, "numbers"))
        self.offsets = frozen(whole_numbers(offsets, "offsets"))
        self._check()

    @classmethod
    def _unchecked(
        cls,
        values: npt.NDArray[np.float64],
        numbers: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> Environments:
        """Make a batch out of arrays that came out of another batch or out of a descriptor."""
        self = object.__new__(cls)
        self._values, self._blocks, self._n_features = frozen(values), None, values.shape[1]
        self.numbers, self.offsets = frozen(numbers), frozen(offsets)
        return self

    @classmethod
    def from_blocks(
        cls,
        blocks: Iterable[FeatureBlock],
        numbers: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
        n_features: int,
    ) -> Environments:
        """Make a batch whose features are kept without most of their zeros.

        Nothing is checked: this is for descriptors, which make such arrays.

        Parameters
        ----------
        blocks : iterable of FeatureBlock
            Atoms that may have features in the same columns; every atom is in one block.
        numbers : array (n_atoms,)
            Atomic numbers.
        offsets : array (n + 1,)
            First row of each structure.
        n_features : int
            Number of columns, those of zeros included.

        Returns
        -------
        Environments
            Its :attr:`values` are made when they are asked for, and not kept.
        """
        self = object.__new__(cls)
        self._values, self._n_features = None, int(n_features)
        self._blocks = tuple(FeatureBlock(*(frozen(part) for part in block)) for block in blocks)
        self.numbers, self.offsets = frozen(numbers), frozen(offsets)
        return self

    @classmethod
    def concatenate(cls, batches: Sequence[Environments]) -> Environments:
        """Join batches with the same features.

        Parameters
        ----------
        batches : sequence of Environments
            At least one, in the order in which they are joined.

        Returns
        -------
        Environments
            All structures; the batch itself if there is only one.

        Raises
        ------
        StructureError
            If there is no batch, or their numbers of features differ.
        """
        if not batches:
            raise StructureError("there are no batches to join; give at least one")
        batches = [as_environments(batch) for batch in batches]
        if len(batches) == 1:
            return batches[0]
        width = batches[0].n_features
        for k, batch in enumerate(batches):
            if batch.n_features != width:
                raise StructureError(
                    f"batch {k} has {batch.n_features} features per atom and batch 0 has {width}; "
                    "join what one fitted descriptor returned"
                )
        ends = np.cumsum([0] + [len(batch.numbers) for batch in batches])
        starts = [batch.offsets[:-1] + end for batch, end in zip(batches, ends[:-1], strict=True)]
        numbers = np.concatenate([batch.numbers for batch in batches])
        offsets = np.concatenate([*starts, ends[-1:]])
        if all(batch.blocks is None for batch in batches):
            values = np.concatenate([batch.values for batch in batches])
            return cls._unchecked(values, numbers, offsets)
        moved = [
            FeatureBlock(block.atoms + end, block.columns, block.values)
            for batch, end in zip(batches, ends[:-1], strict=True)
            for block in batch.nonzero_blocks()
        ]
        return cls.from_blocks(_joined(moved), numbers, offsets, width)

    @property
    def n_features(self) -> int:
        """Number of features of each atom."""
        return self._n_features

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Features of all atoms, array (n_atoms, n_features).

        A batch that is kept as :attr:`blocks` makes a new array each time.
        """
        if self._values is not None:
            return self._values
        return frozen(self.rows_of_atoms(np.arange(len(self.numbers))))

    @property
    def blocks(self) -> tuple[FeatureBlock, ...] | None:
        """The features without most of their zeros; None where :attr:`values` are kept instead."""
        return self._blocks

    def rows_of_atoms(self, atoms: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the features of some atoms.

        Parameters
        ----------
        atoms : array (n_chosen,)
            Rows of the atoms in the batch.

        Returns
        -------
        array (n_chosen, n_features)
            Their features.
        """
        if self._values is not None:
            return self._values[atoms]
        dense = np.zeros((len(atoms), self._n_features))
        for block in self._blocks_of(atoms):
            dense[np.ix_(block.atoms, block.columns)] = block.values
        return dense

    def nonzero_blocks(self) -> tuple[FeatureBlock, ...]:
        """Return :attr:`blocks`; of a batch without them, one block that holds all features."""
        if self._blocks is not None:
            return self._blocks
        rows, columns = np.arange(len(self.numbers)), np.arange(self._n_features)
        return (FeatureBlock(rows, columns, self.values),)

    def __repr__(self) -> str:
        return (
            f"Environments({len(self)} structures, {len(self.numbers)} atoms, "
            f"{self.n_features} features)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        if self._blocks is None:
            return _rebuild, (self.values, self.numbers, self.offsets)
        blocks = tuple(tuple(block) for block in self._blocks)
        return _rebuild_blocks, (blocks, self.numbers, self.offsets, self._n_features)

    def _selection(
        self,
        rows: npt.NDArray[np.int64],
        atoms: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> Environments:
        numbers = self.numbers[atoms]
        if self._blocks is None:
            return self._unchecked(self.values[atoms], numbers, offsets)
        return self.from_blocks(self._blocks_of(atoms), numbers, offsets, self._n_features)

    def _single(self, row: int, atoms: slice) -> AtomFeatures:
        if self._blocks is None:
            return AtomFeatures(self.values[atoms], self.numbers[atoms])
        rows = np.arange(atoms.start, atoms.stop)
        return AtomFeatures(frozen(self.rows_of_atoms(rows)), self.numbers[atoms])

    @cached_property
    def _places(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Number of the block that holds each atom, and the atom's row there."""
        block_of, row_of = np.empty((2, len(self.numbers)), dtype=np.int64)
        for number, block in enumerate(self.nonzero_blocks()):
            block_of[block.atoms], row_of[block.atoms] = number, np.arange(len(block.atoms))
        return block_of, row_of

    def _blocks_of(self, atoms: npt.NDArray[np.int64]) -> list[FeatureBlock]:
        """Return the blocks of a selection of atoms, which become rows 0, 1, ..."""
        block_of, row_of = (places[atoms] for places in self._places)
        blocks, found = self.nonzero_blocks(), []
        for number in np.unique(block_of):
            here = np.flatnonzero(block_of == number)
            block = blocks[number]
            found.append(FeatureBlock(here, block.columns, block.values[row_of[here]]))
        return found

    def _check(self) -> None:
        self._check_offsets()
        n_atoms = int(self.offsets[-1])
        if self.values.ndim != 2 or len(self.values) != n_atoms:
            raise StructureError(
                f"values has shape {self.values.shape}, expected ({n_atoms}, n_features) for "
                f"{len(self)} structures with {n_atoms} atoms in all"
            )
        if self.numbers.shape != (n_atoms,):
            raise StructureError(
                f"numbers has shape {self.numbers.shape}, expected ({n_atoms},) for {len(self)} "
                f"structures with {n_atoms} atoms in all"
            )
        self._check_numbers()
        wrong = np.argwhere(~np.isfinite(self.values))
        if len(wrong):
            k, i = self._locate(wrong[0, 0])
            raise StructureError(
                f"structure {k}: feature {wrong[0, 1]} of atom {i} is "
                f"{self.values[tuple(wrong[0])]}; every feature must be a finite number: mend or "
                "drop this structure"
            )


def as_environments(X: Any) -> Environments:
    """Return ``X`` as :class:`Environments`.

    Parameters
    ----------
    X : Environments, AtomFeatures, or a sequence or object array of the latter
        What a kernel between atoms was given.

    Returns
    -------
    Environments
        ``X`` itself if it is a batch already.

    Raises
    ------
    StructureError
        If ``X`` or one of its items is none of these, or items differ in their numbers of features;
        the message names the item's index.
    """
    if isinstance(X, Environments):
        return X
    if isinstance(X, np.ndarray) and X.ndim == 0:
        X = X.item()
    if isinstance(X, str | bytes) or not isinstance(X, Iterable | AtomFeatures):
        raise StructureError(f"got {short(X)} where features per atom were expected; {_CURE}")
    items = [X] if isinstance(X, AtomFeatures) else list(X)
    for k, item in enumerate(items):
        if not isinstance(item, AtomFeatures):
            raise StructureError(
                f"item {k} is {short(item)}, not the features of a structure's atoms; {_CURE}"
            )
        if item.values.shape[1] != items[0].values.shape[1]:
            raise StructureError(
                f"item {k} has {item.values.shape[1]} features per atom and item 0 has "
                f"{items[0].values.shape[1]}; join what one fitted descriptor returned"
            )
    if not items:
        raise StructureError(f"there are no items, which leaves the features unknown; {_CURE}")
    return Environments(
        np.concatenate([item.values for item in items]),
        np.concatenate([item.numbers for item in items]),
        np.cumsum([0] + [len(item.numbers) for item in items]),
    )


def _joined(blocks: list[FeatureBlock]) -> list[FeatureBlock]:
    """Return blocks in which those with the same columns have become one."""
    alike: dict[bytes, list[FeatureBlock]] = {}
    for block in blocks:
        alike.setdefault(block.columns.tobytes(), []).append(block)
    return [
        FeatureBlock(
            np.concatenate([block.atoms for block in group]),
            group[0].columns,
            np.concatenate([block.values for block in group]),
        )
        for group in alike.values()
    ]


def _rebuild_blocks(
    blocks: tuple[Any, ...],
    numbers: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    n_features: int,
) -> Environments:
    made = [FeatureBlock(*block) for block in blocks]
    return Environments.from_blocks(made, numbers, offsets, n_features)


def _rebuild(
    values: npt.NDArray[np.float64], numbers: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> Environments:
    return Environments._unchecked(values, numbers, offsets)
