"""The molecules that a command was given: a dataset by its name, or a file or folder."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kernchem.errors import DatasetError, PropertyError, SettingError
from kernchem.units import ENERGY_UNITS

if TYPE_CHECKING:
    from kernchem.datasets import Dataset
    from kernchem.structures import Structures

__all__ = [
    "Molecules",
    "bare",
    "check_texts",
    "find_dataset",
    "has_other_unit",
    "load_dataset",
    "own_properties",
    "property_column",
    "read_all",
    "stream",
]

#: Unit of the energies of the packaged datasets unless another is asked for.
_DEFAULT_UNIT = "kcal/mol"


@dataclass(frozen=True)
class Molecules:
    """Molecules batch by batch, the property that is meant, its baseline and its unit."""

    batches: Iterator[Structures]
    target: str | None
    baseline: str | None
    unit: str | None


def check_texts(options: Mapping[str, str | None]) -> None:
    """Raise, before anything is computed, if a model file cannot hold what was named."""
    from kernchem.model_files.values import text

    for option, value in options.items():
        if value is not None:
            text(value, option)


def find_dataset(name: str, option: str = "") -> Dataset | None:
    """Return the entry of a dataset, None for a file or folder.

    Raises
    ------
    DatasetError
        If it is neither; the message begins with the option under which the name was given.
    """
    from kernchem.datasets import get_dataset, list_datasets

    if name in list_datasets():
        return get_dataset(name)
    if not Path(name).exists():
        raise DatasetError(
            f"{option} {name}: there is no such file or folder, and no dataset of that name; "
            f"datasets: {', '.join(list_datasets())}".lstrip()
        )
    return None


def load_dataset(
    entry: Dataset, target: str | None, unit: str | None
) -> tuple[Structures, str, str | None, str | None]:
    """Return molecules, target, the baseline that belongs to it, and the target's unit."""
    own = target is None or target == entry.target
    if own and _converts(entry) and unit is None:
        unit = _DEFAULT_UNIT
    if _has_other_unit(entry, target, unit):
        raise SettingError(f"--unit {unit}: use one of {', '.join(ENERGY_UNITS)}")
    converted = _converts(entry) and unit in ENERGY_UNITS
    data = entry.loader(unit=unit) if converted else entry.loader()
    return data, target or entry.target, entry.baseline if own else None, unit


def _converts(entry: Dataset) -> bool:
    return "unit" in inspect.signature(entry.loader).parameters


def has_other_unit(name: str, target: str | None, unit: str | None) -> bool:
    """Return whether a dataset has the target of a model, but cannot be loaded in its unit."""
    entry = find_dataset(name)
    return entry is not None and target is not None and _has_other_unit(entry, target, unit)


def _has_other_unit(entry: Dataset, target: str | None, unit: str | None) -> bool:
    """Return whether a target is an energy, and the unit none of those that there are."""
    if unit is None or unit in ENERGY_UNITS or not _converts(entry):
        return False
    if target is None or target == entry.target:
        return True
    # Energies, and nothing else, differ from one unit to another.
    first, second = (entry.loader(unit=energy) for energy in ENERGY_UNITS[:2])
    if target not in first.properties or first[target].dtype.kind != "f":
        return False
    return not np.array_equal(first[target], second[target], equal_nan=True)


def stream(name: str, target: str | None, unit: str | None, *, batch: int = 1000) -> Molecules:
    """Return the molecules of a dataset or of a file, which is read as the batches are taken."""
    entry = find_dataset(name)
    if entry is None:
        from kernchem.io import iread

        return Molecules(iread(name, batch=batch), target, None, unit)
    data, target, baseline, unit = load_dataset(entry, target, unit)
    slices = (data[k : k + batch] for k in range(0, len(data), batch))
    return Molecules(slices, target, baseline, unit)


def read_all(name: str, option: str = "") -> Structures:
    """Return all molecules of a dataset, file or folder."""
    entry = find_dataset(name, option)
    if entry is None:
        from kernchem.io import read

        return read(name)
    return load_dataset(entry, None, None)[0]


def bare(batch: Structures, names: Sequence[str] = ()) -> Structures:
    """Return a batch without the properties that are not needed: they may fill the memory."""
    fields = batch._fields()
    fields["properties"] = {name: batch[name] for name in names if name in batch.properties}
    fields["per_atom"] = frozenset()
    return type(batch)._unchecked(**fields)


def own_properties(data: Structures) -> str:
    """Return the names of the properties that molecules carry, but for those per atom."""
    return ", ".join(sorted(set(data.properties) - data.per_atom)) or "none"


def property_column(data: Structures, name: str) -> npt.NDArray[np.float64]:
    """Return one number per molecule, NaN where it is missing.

    Raises
    ------
    PropertyError
        If the property is there, but is not one real number per molecule.
    """
    if name not in data.properties:
        return np.full(len(data), np.nan)
    values = data[name]
    if values.dtype.kind not in "iuf" or values.shape != (len(data),) or name in data.per_atom:
        raise PropertyError(
            f"property {name!r} has the shape {values.shape} and type {values.dtype}; one real "
            "number per molecule is needed"
        )
    return values.astype(np.float64)
