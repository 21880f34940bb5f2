"""The training molecules of a file or dataset, all of them or drawn in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernchem._validation import check_baselines, is_whole, short
from kernchem.cli.inputs import bare, own_properties, property_column, stream
from kernchem.cli.memory import check_memory, free_memory
from kernchem.cli.reservoir import Reservoir
from kernchem.elements import formula
from kernchem.errors import PropertyError, SettingError
from kernchem.structures import Structures

__all__ = ["TrainingMolecules", "draw"]


@dataclass(frozen=True)
class TrainingMolecules:
    """Molecules to learn from.

    Attributes
    ----------
    source : str
        File, folder or dataset.
    structures : Structures
        With their baselines, in the order of the source.
    labels : array (n,)
        Values of the target.
    index : array (n,) of int
        Index of each molecule in the source.
    target : str
        Name of the target.
    unit : str or None
        Its unit.
    n_read : int
        Number of molecules in the source.
    n_missing : int
        Those of them that were left out for lack of target or baseline.
    """

    source: str
    structures: Structures
    labels: npt.NDArray[np.float64]
    index: npt.NDArray[np.int64]
    target: str
    unit: str | None
    n_read: int
    n_missing: int


class _Missing:
    """Molecules without a number that is needed: the first, and how many there are."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.count, self._first = names, 0, ""
        self._absent = set(names)

    def find(self, batch: Structures, first: int) -> npt.NDArray[np.bool_]:
        """Return which molecules of a batch have all the numbers."""
        columns = [property_column(batch, name) for name in self.names]
        self._absent.difference_update(batch.properties)
        known: npt.NDArray[np.bool_] = np.isfinite(np.stack(columns))
        complete = np.asarray(known.all(axis=0), dtype=np.bool_)
        if not complete.all() and not self.count:
            k = int(np.flatnonzero(~complete)[0])
            name = self.names[int(np.flatnonzero(~known[:, k])[0])]
            self._first = (
                f"structure {first + k} ({formula(batch[k].numbers)}) has no finite {name!r}"
            )
        self.count += int((~complete).sum())
        return complete

    def check(self, source: str, last: Structures, *, skip: bool) -> None:
        """Raise if a property is nowhere, or missing where it may not be."""
        for name in self.names:
            if name in self._absent:
                raise PropertyError(
                    f"{source}: there is no property {name!r}; the structures carry: "
                    f"{own_properties(last)}"
                )
        if self.count and not skip:
            raise PropertyError(
                f"{source}: {self._first}; {self.count} structures lack it or another of "
                f"{', '.join(self.names)}: add --skip-missing to leave them out, or mend the file"
            )


def draw(
    source: str,
    target: str | None,
    baseline: Sequence[str],
    unit: str | None,
    *,
    n_train: int | None,
    seed: int,
    skip_missing: bool,
    advance: Callable[[int], None],
    model: str = "krr",
) -> TrainingMolecules:
    """Return the molecules of ``source``, or ``n_train`` of them drawn at random.

    Raises
    ------
    SettingError
        If there are fewer molecules than ``n_train``, or more than the memory takes for ``model``,
        or a baseline is the target or another one.
    PropertyError
        If target or baseline is missing.
    """
    for name, number, least in (("--n-train", n_train, 2), ("--seed", seed, 0)):
        if number is not None and not is_whole(number, least):
            raise SettingError(f"{name} {short(number)} is no whole number from {least} on")
    free = free_memory()
    if n_train is not None:
        check_memory(n_train, free, "use", model=model)
    molecules = stream(source, target, unit)
    if molecules.target is None:
        known = own_properties(next(molecules.batches))
        raise SettingError(f"--target is needed with a file; {source} holds: {known}")
    check_baselines(molecules.target, baseline)
    names = [molecules.target, *baseline]
    missing, reservoir, n_read = _Missing(names), Reservoir(n_train, seed), 0
    batch: Structures
    for batch in molecules.batches:
        complete = missing.find(batch, n_read)
        labels = property_column(batch, molecules.target)
        index = np.arange(n_read, n_read + len(batch))
        reservoir.add(complete, bare(batch, baseline), labels, index)
        n_read += len(batch)
        if n_train is None:
            check_memory(reservoir.n_held, free, "draw some of them with", more=True, model=model)
        advance(n_read)
    missing.check(source, batch, skip=skip_missing)
    pieces = reservoir.pieces()
    found = sum(len(columns[1]) for columns in pieces)
    if found < (n_train or 1):
        raise SettingError(
            f"{source} holds {found} molecules with {', '.join(names)}; --n-train {n_train or 1} "
            "are not there, use a smaller number"
        )
    return TrainingMolecules(
        source=source,
        structures=Structures.concatenate([columns[0] for columns in pieces]),
        labels=np.concatenate([columns[1] for columns in pieces]),
        index=np.concatenate([columns[2] for columns in pieces]),
        target=molecules.target,
        unit=molecules.unit,
        n_read=n_read,
        n_missing=missing.count,
    )
