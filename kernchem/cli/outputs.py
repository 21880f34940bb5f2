"""Files of predictions, written batch by batch: CSV and extended XYZ."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt

from kernchem.errors import SettingError

if TYPE_CHECKING:
    from ase import Atoms

    from kernchem.structure import Structure
    from kernchem.structures import Structures

__all__ = ["CsvWriter", "Writer", "XyzWriter", "identifiers", "number_cell"]

_Array = npt.NDArray[np.float64]

#: Properties that tell a reader which molecule it is.
_IDENTIFIERS = ("name", "id", "smiles")

#: Columns of extended XYZ that ASE takes for the elements of the atoms.
_ELEMENTS = frozenset({"Z", "symbols"})


class Writer(Protocol):
    """Takes predictions batch by batch, one column for each name."""

    def write(
        self, batch: Structures, first: int, predicted: _Array, reference: _Array | None
    ) -> None:
        """Write a batch whose first molecule has the index ``first`` in the input."""


class CsvWriter:
    """One line per molecule; the first batch decides which columns there are.

    Columns: ``index``, ``formula``, those of ``name``, ``id`` and ``smiles`` that the molecules
    carry, the prediction and its error bars, and where there are references ``reference`` and
    ``residual`` (reference minus prediction). A cell is empty where a number is missing.

    Parameters
    ----------
    stream : text file
        Where to write.
    names : sequence of str
        Headings of the predictions and of what comes with them.
    """

    def __init__(self, stream: TextIO, names: Sequence[str]) -> None:
        self._stream, self._names = stream, names
        self._writer = csv.writer(stream, lineterminator="\n")
        self._identifiers: list[str] | None = None
        self._compared = False

    def write(
        self, batch: Structures, first: int, predicted: _Array, reference: _Array | None
    ) -> None:
        """Write a batch whose first molecule has the index ``first`` in the input."""
        if self._identifiers is None:
            self._begin(batch, compared=reference is not None)
        missing = np.full(len(batch), np.nan)
        for k, molecule in enumerate(batch):
            row: list[Any] = [first + k, molecule.formula]
            row += [molecule.properties.get(name, "") for name in self._identifiers or ()]
            row += map(number_cell, predicted[k])
            if self._compared:
                truth = (missing if reference is None else reference)[k]
                row += [number_cell(truth), number_cell(truth - predicted[k, 0])]
            self._writer.writerow(row)
        self._stream.flush()

    def _begin(self, batch: Structures, *, compared: bool) -> None:
        self._identifiers = identifiers(batch)
        self._compared = compared
        header = ["index", "formula", *self._identifiers, *self._names]
        header += ["reference", "residual"] if compared else []
        if len(set(header)) < len(header):
            raise SettingError(
                f"--name {self._names[0]}: another column has this name; choose another"
            )
        self._writer.writerow(header)


class XyzWriter:
    """The molecules as they came, with the prediction and its error bars as further properties.

    Parameters
    ----------
    stream : text file
        Where to write.
    names : sequence of str
        Names of the properties.
    cure : str, optional
        What to do where the molecules carry a property of such a name already.
    """

    def __init__(
        self,
        stream: TextIO,
        names: Sequence[str],
        cure: str = "choose another name for the predictions with --name",
    ) -> None:
        self._stream, self._names, self._cure = stream, names, cure

    def write(
        self, batch: Structures, first: int, predicted: _Array, reference: _Array | None
    ) -> None:
        """Write a batch whose first molecule has the index ``first`` in the input."""
        self.write_all(batch, predicted, {})

    def write_all(
        self, batch: Structures, columns: npt.NDArray[Any], per_atom: Mapping[str, _Array]
    ) -> None:
        """Write a batch with columns per molecule and others, by name, with one row per atom."""
        from ase.io.extxyz import write_xyz

        for name in (*self._names, *per_atom):
            if name in batch.properties:
                raise SettingError(f"the molecules carry a property {name!r} already; {self._cure}")
        bounds = zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
        for molecule, values, (start, stop) in zip(batch, columns, bounds, strict=True):
            atoms = _atoms(molecule)
            atoms.info.update(zip(self._names, values.tolist(), strict=True))
            for name, rows in per_atom.items():
                atoms.set_array(name, rows[start:stop])
            write_xyz(self._stream, atoms)


def _atoms(molecule: Structure) -> Atoms:
    """Return ASE's object as it can be written.

    That is without the values that a batch fills in where a molecule has none.
    """
    atoms = molecule.to_ase()
    for name, value in molecule.properties.items():
        blank = value is None or (isinstance(value, str) and not value)
        if blank or (np.ndim(value) == 0 and isinstance(value, float) and np.isnan(value)):
            del atoms.info[name]
    for name, values in molecule.atom_properties.items():
        if name in _ELEMENTS:
            del atoms.arrays[name]
            continue
        # A line of text holds one row of numbers.
        if values.ndim > 2:
            del atoms.arrays[name]
            atoms.set_array(name, values.reshape(len(values), -1))
    return atoms


def identifiers(batch: Structures) -> list[str]:
    """Return which properties that tell one molecule from another a batch carries."""
    return [name for name in _IDENTIFIERS if name in set(batch.properties) - batch.per_atom]


def number_cell(value: float) -> str:
    """Return a number as CSV, nothing where it is NaN."""
    return "" if np.isnan(value) else repr(float(value))
