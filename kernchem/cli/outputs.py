"""Files of predictions, written batch by batch: CSV and extended XYZ."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import numpy as np
import numpy.typing as npt

from kernchem._xyz import is_key
from kernchem.errors import SettingError

if TYPE_CHECKING:
    from ase import Atoms

    from kernchem.structure import Structure
    from kernchem.structures import Structures

__all__ = ["CsvWriter", "Writer", "XyzWriter", "identifiers", "number_cell", "text_cell"]

_Array = npt.NDArray[np.float64]

#: Properties that tell a reader which molecule it is.
_IDENTIFIERS = ("name", "id", "smiles")
#: What stands beside predictions that have references.
_COMPARISON = ("reference", "residual")

#: Columns of extended XYZ that ASE takes for the elements of the atoms.
_ELEMENTS = frozenset({"Z", "symbols"})


class Writer(Protocol):
    """Takes predictions batch by batch, one column for each name.

    Attributes
    ----------
    left_out : list of str
        What came too late to be written.
    """

    left_out: list[str]

    def write(
        self, batch: Structures, first: int, predicted: _Array, reference: _Array | None
    ) -> None:
        """Write a batch whose first molecule has the index ``first`` in the input."""


class CsvWriter:
    """One line per molecule.

    Columns: ``index``, ``formula``, those of ``name``, ``id`` and ``smiles`` that the molecules
    carry, the prediction and its error bars, and where there are references ``reference`` and
    ``residual`` (reference minus prediction). A cell is empty where a value is missing. A column
    that a later batch brings is put into the lines that are written.

    Parameters
    ----------
    stream : text file
        Where to write; open for reading too unless it is final.
    names : sequence of str
        Headings of the predictions and of what comes with them.
    final : bool, default False
        What is written cannot be changed: columns that come later are left out.

    Attributes
    ----------
    left_out : list of str
        Those that were.

    Raises
    ------
    SettingError
        If a heading is that of another column.
    """

    def __init__(self, stream: TextIO, names: Sequence[str], *, final: bool = False) -> None:
        self._stream, self._final = stream, final
        self._all = ["index", "formula", *_IDENTIFIERS, *names, *_COMPARISON]
        if len(set(self._all)) < len(self._all):
            raise SettingError(f"--name {names[0]}: another column has this name; choose another")
        #: Headings, in the order of all that there may be.
        self._columns: list[str] = []
        self._always = ["index", "formula", *names]
        self.left_out: list[str] = []

    def write(
        self, batch: Structures, first: int, predicted: _Array, reference: _Array | None
    ) -> None:
        """Write a batch whose first molecule has the index ``first`` in the input."""
        known = identifiers(batch)
        self._provide({*known, *(() if reference is None else _COMPARISON)})
        writer = csv.DictWriter(
            self._stream, self._columns, extrasaction="ignore", lineterminator="\n"
        )
        for k, molecule in enumerate(batch):
            cells = [first + k, molecule.formula, *map(number_cell, predicted[k])]
            row = dict(zip(self._always, cells, strict=True))
            row |= {name: text_cell(molecule.properties.get(name)) for name in known}
            if reference is not None:
                truth = reference[k]
                numbers = number_cell(truth), number_cell(truth - predicted[k, 0])
                row |= dict(zip(_COMPARISON, numbers, strict=True))
            writer.writerow(row)
        self._stream.flush()

    def _provide(self, names: set[str]) -> None:
        """Begin the table, or put columns into it that are not there."""
        missing = names - set(self._columns) - set(self.left_out)
        if self._columns and not missing:
            return
        if self._columns and self._final:
            self.left_out += [name for name in self._all if name in missing]
            return
        before = self._columns
        self._columns = [name for name in self._all if name in {*self._always, *before, *missing}]
        writer = csv.DictWriter(self._stream, self._columns, lineterminator="\n")
        if not before:
            writer.writeheader()
            return
        with tempfile.TemporaryFile("w+", encoding="utf-8", newline="") as copy:
            self._stream.seek(0)
            shutil.copyfileobj(self._stream, copy)
            copy.seek(0)
            self._stream.seek(0)
            self._stream.truncate()
            writer.writeheader()
            writer.writerows(csv.DictReader(copy))


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

    Raises
    ------
    SettingError
        If a name means something else in extended XYZ, or cannot be read back.
    """

    def __init__(
        self,
        stream: TextIO,
        names: Sequence[str],
        cure: str = "choose another name for the predictions with --name",
    ) -> None:
        self._stream, self._names, self._cure = stream, names, cure
        self.left_out: list[str] = []
        for name in names:
            if not is_key(name):
                raise SettingError(
                    f"extended XYZ cannot hold numbers under the name {name!r}; {cure}"
                )

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


def text_cell(value: Any) -> Any:
    """Return a text or number as CSV, nothing where it is missing."""
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else value
