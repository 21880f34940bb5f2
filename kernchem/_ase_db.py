"""Databases of ASE: atoms, and the keys and data that stand beside them in their rows."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernchem._npz import is_per_atom

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["DATABASES", "read_rows"]

#: Formats of ASE whose files are databases.
DATABASES = frozenset({"db", "json"})


def read_rows(path: Path, kind: str) -> Iterator[tuple[str, Atoms]]:
    """Yield the atoms of a database, each with the number of its row as messages name it.

    Keys and data are put into ``info`` and ``arrays``. Data are per atom if they have one row per
    atom wherever they are and the molecules differ in size; else their name and shape decide, as
    in a NumPy archive. What has a name that the row uses already is left out.
    """
    from ase.db import connect

    if kind == "json":
        from ase.io.formats import open_with_compression

        # The text is parsed as a whole, once.
        with open_with_compression(str(path), "rt") as text:
            rows = list(connect(text, "json", serial=True, use_lock_file=False).select())
        select: Callable[[], Iterable[Any]] = rows.__iter__
    else:
        is_lmdb = path.suffix == ".aselmdb"
        if not is_lmdb:
            _check_table(path)
        select = connect(str(path.resolve()), "aselmdb" if is_lmdb else "db", serial=True).select
    per_atom = _names_per_atom(select())
    for row in select():
        yield f"row {row.id}", _atoms(row, per_atom)


def _check_table(path: Path) -> None:
    """Raise if a file of SQLite holds no structures: ASE would write its tables into it."""
    address = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=20)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name='systems'")
        if tables.fetchone() is None:
            raise ValueError("it has no table of structures")


def _names_per_atom(rows: Iterable[Any]) -> set[str]:
    shapes: dict[str, set[tuple[tuple[int, ...], int]]] = defaultdict(set)
    for row in rows:
        for name, value in _entries(row).items():
            shapes[name].add((np.shape(value), row.natoms))
    return {name for name, found in shapes.items() if _are_per_atom(name, found)}


def _are_per_atom(name: str, found: set[tuple[tuple[int, ...], int]]) -> bool:
    if any(shape[:1] != (n_atoms,) for shape, n_atoms in found):
        return False
    several = len({n_atoms for _, n_atoms in found}) > 1
    return several or all(is_per_atom(name, (1, *shape), n_atoms) for shape, n_atoms in found)


def _entries(row: Any) -> dict[str, Any]:
    """Return the keys and data of a row that are texts, numbers or arrays of numbers."""
    found: dict[str, Any] = {}
    for name, value in {**row.data, **row.key_value_pairs}.items():
        if isinstance(value, str):
            found[str(name)] = value
            continue
        try:
            array = np.asarray(value)
        except ValueError:  # nested lists of different lengths
            continue
        if array.dtype.kind in "biuf":
            found[str(name)] = array if array.ndim else array.item()
    return found


def _atoms(row: Any, per_atom: set[str]) -> Atoms:
    atoms: Atoms = row.toatoms()
    results = getattr(atoms.calc, "results", {})
    for name, value in _entries(row).items():
        if name in atoms.arrays or name in results:
            continue
        if name in per_atom:
            atoms.set_array(name, value)
        else:
            atoms.info[name] = value
    return atoms
