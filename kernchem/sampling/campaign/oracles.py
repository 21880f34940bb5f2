"""Who gives labels: functions, programs, calculators, stored properties, and the user."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kernchem._files import write_atomically
from kernchem._text import numbered_lines
from kernchem._validation import short
from kernchem._xyz import RESERVED
from kernchem.baselines import ASECalculator, Baseline
from kernchem.errors import FileFormatError, PropertyError, SettingError, StructureError
from kernchem.models.baseline_columns import ComputedSource, PropertySource, sources_of
from kernchem.structures import Structures

__all__ = [
    "INDEX",
    "TAKEN",
    "Answer",
    "Oracle",
    "holds_answers",
    "make_oracle",
    "read_all_answers",
    "read_answers",
    "write_questions",
    "write_structures",
]

#: Property that tells which structure of the pool one of a file is.
INDEX = "pool_index"
#: Property, or column, that tells why a structure has no label and will get none.
_FAILED = "failed"
#: What the files of a campaign hold beside labels.
TAKEN = RESERVED | {INDEX, _FAILED}
#: How far atoms of an answer may be from those of the pool, angstrom: files are rounded.
_MOVED = 1e-3
#: Longest reason that is kept.
_LONGEST = 500


class Answer(NamedTuple):
    """A label, or why there is none."""

    label: float
    reason: str = ""


Oracle = Callable[[Structures], Answer]


def make_oracle(given: Any) -> tuple[Oracle | None, str]:
    """Return the function that labels a single structure, and what tells it from others.

    Parameters
    ----------
    given : str, Baseline, callable or None
        What a user passed to :class:`kernchem.sampling.ActiveLearner`.

    Returns
    -------
    oracle : callable or None
        None where the user is asked.
    identity : str
        The same for the same oracle in another process.

    Raises
    ------
    SettingError
        If it is none of these.
    """
    if given is None:
        return None, "the user"
    if not (isinstance(given, str | Baseline) or callable(given)) or hasattr(given, "predict"):
        raise SettingError(
            f"oracle={short(given)}; use a function of structures, a kernchem.baselines object, a "
            "factory of ASE calculators, the name of a stored property, or None to be asked"
        )
    source = sources_of(given)[0]
    if isinstance(source, PropertySource):
        return _stored(source.name), f"property {source.name}"
    if isinstance(source, ComputedSource):
        program = source.baseline
        identity = program.identity() if hasattr(program, "identity") else repr(program)
        if isinstance(program, ASECalculator):
            identity += f" {_name(program.factory)}"
        return _program(program), f"{type(program).__name__} {identity}"
    return _function(given), _name(given)


def write_questions(path: Path, pool: Structures, indices: Iterable[int]) -> None:
    """Write structures to be labelled as extended XYZ, with their index in the pool."""
    write_atomically(path, lambda temporary: write_structures(temporary, pool, indices, {}))


def write_structures(
    path: Path, pool: Structures, indices: Iterable[int], columns: Mapping[str, Any]
) -> None:
    """Write structures of the pool with their index, and columns (n_pool,) of numbers."""
    from ase.io.extxyz import write_xyz

    with path.open("w", encoding="utf-8", newline="") as file:
        for k in indices:
            atoms = pool[k].to_ase()
            # Other properties of the pool might pass for labels.
            kept = {"charge", "multiplicity", "name", "smiles"}
            info = {key: value for key, value in atoms.info.items() if key in kept}
            told = {name: float(values[k]) for name, values in columns.items()}
            atoms.info = {INDEX: int(k), **info, **told}
            for name in set(atoms.arrays) - {"numbers", "positions"}:
                del atoms.arrays[name]
            atoms.calc = None
            write_xyz(file, atoms)


def read_answers(path: Path, name: str, pool: Structures) -> dict[int, Answer]:
    """Return the answers in a file, by index in the pool.

    Parameters
    ----------
    path : Path
        CSV with the columns ``pool_index`` and ``name``, or structures with these properties.
        Where the label is missing, the structure is still to be labelled, unless ``failed`` holds
        a reason.
    name : str
        Name of the label.
    pool : Structures
        The pool.

    Returns
    -------
    dict
        Answers by index.

    Raises
    ------
    PropertyError, FileFormatError
        If the file lacks a column, or a cell is no number.
    StructureError
        If a structure is not the one that the pool has at this index.
    """
    rows = _csv_rows(path, name) if path.suffix.lower() == ".csv" else _xyz_rows(path, name, pool)
    answers: dict[int, Answer] = {}
    for index, label, reason in rows:
        if not 0 <= index < len(pool):
            raise StructureError(
                f"{path}: {INDEX} {index} is not in the pool, which has the indices 0 to "
                f"{len(pool) - 1}"
            )
        if index in answers:
            raise FileFormatError(f"{path}: {INDEX} {index} occurs twice; keep one of them")
        if reason or math.isfinite(label):
            answers[index] = Answer(math.nan, reason[:_LONGEST]) if reason else Answer(label)
    return answers


def holds_answers(path: Path, name: str) -> bool:
    """Whether structures that were written as questions tell labels, or why there are none."""
    from kernchem.io import read

    return path.exists() and not {name, _FAILED}.isdisjoint(read(path).properties)


def read_all_answers(paths: Iterable[Path], name: str, pool: Structures) -> dict[int, Answer]:
    """Return the answers in several files, which do not contradict each other; see above."""
    answers: dict[int, Answer] = {}
    places: dict[int, Path] = {}
    for path in paths:
        for index, answer in read_answers(path, name, pool).items():
            known = answers.setdefault(index, answer)
            if (known.label, known.reason) != (answer.label, answer.reason) and not (
                known.reason and answer.reason
            ):
                raise FileFormatError(
                    f"{path} and {places[index]} have different answers for {INDEX} {index}; keep "
                    "one of them"
                )
            places.setdefault(index, path)
    return answers


def _csv_rows(path: Path, name: str) -> Iterable[tuple[int, float, str]]:
    reader = csv.DictReader(line for _, line in numbered_lines(path))
    try:
        columns = reader.fieldnames or ()
        _require_columns(path, name, columns)
        if len(set(columns)) < len(columns):
            raise FileFormatError(f"{path}: a column occurs twice; keep one of them")
        for number, row in enumerate(reader, 2):
            yield _csv_row(f"{path}, line {number}", row, name)
    except csv.Error as error:
        raise FileFormatError(f"{path}: {error}; is a quotation mark not closed?") from None


def _csv_row(place: str, row: dict[Any, Any], name: str) -> tuple[int, float, str]:
    if None in row:
        raise FileFormatError(
            f"{place} has more cells than the header; numbers have a decimal point, and texts with "
            "commas stand in quotation marks"
        )
    index, text = ((row[column] or "").strip() for column in (INDEX, name))
    try:
        if "_" in index + text:
            raise ValueError
        return int(index), float(text) if text else math.nan, (row.get(_FAILED) or "").strip()
    except ValueError:
        raise FileFormatError(
            f"{place}: {INDEX} {index!r}, {name} {text!r}; a whole number and a number are expected"
        ) from None


def _xyz_rows(path: Path, name: str, pool: Structures) -> Iterable[tuple[int, float, str]]:
    from kernchem.io import read

    found = read(path)
    _require_columns(path, name, found.properties)
    for values in (found[INDEX], found[name]):
        if values.shape != (len(found),) or values.dtype.kind not in "iuf":
            raise PropertyError(f"{path}: {INDEX} and {name} must be one number per structure")
    indices = found[INDEX].astype(np.float64)
    if not (np.isfinite(indices).all() and (indices == np.rint(indices)).all()):
        raise PropertyError(f"{path}: a structure has no {INDEX}; keep it where the file had it")
    for k, one in enumerate(found):
        index = int(indices[k])
        if 0 <= index < len(pool):
            asked = pool[index]
            same = np.array_equal(asked.numbers, one.numbers)
            if not same or np.abs(asked.positions - one.positions).max() > _MOVED:
                raise StructureError(
                    f"{path}: structure {k} ({one.formula}) is not the one that was asked for, "
                    f"{INDEX} {index} ({asked.formula}): atoms were moved or reordered; labels "
                    "belong to the structures as they were written"
                )
        reason = one.properties.get(_FAILED) or ""
        yield index, float(found[name][k]), _told(reason)


def _told(reason: Any) -> str:
    """Return a reason as text; True is 1 where other structures of a file have none."""
    if isinstance(reason, str):
        return reason.strip()
    return "failed" if reason == 1 else ""


def _require_columns(path: Path, name: str, columns: Iterable[str]) -> None:
    known = list(columns)
    for needed in (INDEX, name):
        if needed not in known:
            raise PropertyError(
                f"{path}: there is no {needed!r}; the file holds: {', '.join(sorted(known))}"
            )


def _stored(name: str) -> Oracle:
    def ask(structure: Structures) -> Answer:
        value = structure[name]
        if value.shape != (1,) or value.dtype.kind not in "iuf" or name in structure.per_atom:
            raise PropertyError(f"property {name!r} is not one real number per structure")
        label = float(value[0])
        return Answer(label) if math.isfinite(label) else Answer(label, f"no {name!r} is stored")

    return ask


def _program(program: Baseline) -> Oracle:
    def ask(structure: Structures) -> Answer:
        # A missing program or a wrong setting is no failure of a structure, and is raised.
        result = program.compute(structure)
        return _answer(result.energies, result.reasons[0])

    return ask


def _function(function: Callable[[Structures], Any]) -> Oracle:
    def ask(structure: Structures) -> Answer:
        try:
            value = function(structure)
        except Exception as error:  # noqa: BLE001  (whatever it is, the next one is asked)
            return _answer(math.nan, f"{type(error).__name__}: {error}")
        return _answer(value, "")

    return ask


def _answer(value: Any, reason: str) -> Answer:
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "iuf":
            raise TypeError
        (label,) = found.astype(np.float64).reshape(-1)
    except (TypeError, ValueError):
        told = f"the oracle returned {short(value)} and not one number"
        return Answer(math.nan, told)
    if math.isfinite(label) and not reason:
        return Answer(float(label))
    return Answer(math.nan, (" ".join(reason.split()) or f"the label is {label}")[:_LONGEST])


def _name(function: Any) -> str:
    inner = getattr(function, "func", function)
    owner = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{owner.__module__}.{owner.__qualname__}"
