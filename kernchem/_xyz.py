"""Text of XYZ files: frames with their line numbers, GDB-9 records and extended XYZ.

Frames are cut out of the text here, so that a broken one is reported with its line; the extended
XYZ of a frame itself is parsed by ASE.
"""

from __future__ import annotations

import io
import itertools
import lzma
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernchem._text import numbered_lines
from kernchem.errors import FileFormatError, StructureError, UnknownElementError
from kernchem.structure import Structure, structure_from_ase

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "PARSER_ERRORS",
    "RESERVED",
    "is_gdb9",
    "is_key",
    "parse_gdb9",
    "read_extxyz",
    "read_gdb9",
    "restore_text",
]

#: What ASE's parsers raise when they meet text they were not written for.
PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    zlib.error,
)

#: The columns of a GDB-9 record after its index, in the order of the file.
GDB9_PROPERTIES = (
    "A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve",
    "u0", "u298", "h298", "g298", "cv",
)  # fmt: skip

#: Keys of an extended XYZ comment that are text, even where they look like a number or a truth
#: value (the SMILES of hydrogen fluoride is ``F``).
_TEXT_KEYS = frozenset({"comment", "inchi", "inchi_relaxed", "name", "smiles", "smiles_relaxed"})

#: Keys that mean something else than a number of the structure: to the format, to ASE, to
#: :class:`~kernchem.structure.Structure`, or as text.
RESERVED = _TEXT_KEYS | {
    "Lattice", "Properties", "charge", "multiplicity", "pbc", "stress", "virial",
}  # fmt: skip
#: Characters that no key holds.
_SPECIAL = frozenset("=\"'\\")

_KEY_VALUE = re.compile(r"(?:^|\s)[\w.+-]+=\S")

#: A word or a quoted text of a comment, with the value behind it where there is one. Brackets are
#: quotes only around several words; around one they may be those of a SMILES. The time goes with
#: the length, whatever a damaged line holds: nothing is matched twice.
_PAIR = re.compile(
    r"""(?P<key>"[^"\\]*+(?:\\.[^"\\]*+)*+"|'[^']*+'|[^\s=]++)
    (?:\s*+=\s*+(?P<value>
        "(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)"(?!\S)
        |'(?P<single>[^']*+)'(?!\S)
        |\{(?P<braces>[^{}]*+)\}(?!\S)
        |\[(?P<brackets>[^\[\]\s]*+\s[^\[\]]*+)\](?!\S)
        |\S++
    ))?""",
    re.VERBOSE,
)


@dataclass
class _Frame:
    """The text of one structure: the number of its first line, and the lines after that one."""

    path: Path
    index: int
    line: int
    size: int
    lines: list[str]

    def error(self, message: str, offset: int = 0) -> FileFormatError:
        """Return an error about the line ``offset`` lines after the atom count."""
        where = f"{self.path}, line {self.line + offset} (frame {self.index})"
        return FileFormatError(f"{where}: {message}")

    @property
    def comment(self) -> str:
        return self.lines[0].strip()

    @property
    def atoms(self) -> list[str]:
        return self.lines[1 : self.size + 1]


def is_key(name: str) -> bool:
    """Return whether numbers that are written under this key are read back under it."""
    plain = name.isprintable() and name.strip() and not _SPECIAL.intersection(name)
    return bool(plain) and name not in RESERVED and name.lower() not in _TEXT_KEYS


def is_gdb9(path: Path) -> bool:
    """Return whether the second line of a text file begins as a GDB-9 record does."""
    lines = numbered_lines(path)
    second = next(itertools.islice(lines, 1, None), (2, ""))[1]
    return second.lower().startswith("gdb")


def read_gdb9(path: Path) -> Iterator[tuple[int, Structure]]:
    """Yield the structures of a GDB-9 file, each with the number of its first line."""
    for frame in _frames(path, tail=3):
        yield frame.line, _parse_gdb9(frame)


def parse_gdb9(text: str, path: Path) -> Structure:
    """Return the structure of a text that is one GDB-9 record; ``path`` names it in errors."""
    first, *lines = text.rstrip().split("\n")
    frame = _Frame(path, 0, 1, 0, lines)
    frame.size = _atom_count(frame, first)
    if len(lines) != frame.size + 4:
        raise frame.error(
            f"expected {frame.size + 4} lines after the atom count {frame.size}, got {len(lines)}: "
            "the record is cut short, or the count is wrong"
        )
    return _parse_gdb9(frame)


def read_extxyz(path: Path) -> Iterator[tuple[int, Structure, str]]:
    """Yield the structures of an (extended) XYZ file with first line and comment.

    Text that ASE took for numbers is left to :func:`restore_text`.
    """
    for frame in _frames(path):
        atoms = _parse_extxyz(frame)
        try:
            structure = structure_from_ase(atoms, frame.index, from_file=True)
        except StructureError as error:
            raise StructureError(f"{path}, line {frame.line + 1}: {error}") from None
        yield frame.line, structure, frame.comment


class _Lines:
    """Numbered lines of a file, of which the last one taken can be put back."""

    def __init__(self, path: Path) -> None:
        self._lines = numbered_lines(path)
        self._held: list[tuple[int, str]] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> tuple[int, str]:
        return self._held.pop() if self._held else next(self._lines)

    def put_back(self, line: tuple[int, str]) -> None:
        self._held.append(line)


def _frames(path: Path, tail: int = 0) -> Iterator[_Frame]:
    """Cut a file into frames: atom count, comment, one line per atom and ``tail`` lines."""
    lines = _Lines(path)
    index = 0
    for number, text in lines:
        if not text.strip():
            continue
        frame = _Frame(path, index, number, 0, [])
        frame.size = _atom_count(frame, text)
        expected = frame.size + 1 + tail
        frame.lines = [line for _, line in itertools.islice(lines, expected)]
        if len(frame.lines) < expected:
            raise frame.error(
                f"the file ends after {len(frame.lines)} of the {expected} lines that belong "
                f"after the atom count {frame.size}: it is cut short, or the count is wrong",
                len(frame.lines),
            )
        # ADF writes the cell as up to three lines VEC1, VEC2, VEC3 after the atoms.
        for line in itertools.islice(lines, 3 if tail == 0 else 0):
            if not line[1].lstrip().startswith("VEC"):
                lines.put_back(line)
                break
            frame.lines.append(line[1])
        yield frame
        index += 1
    if index == 0:
        raise FileFormatError(f"{path}, line 1: the file is empty; it holds no structure")


def _atom_count(frame: _Frame, text: str) -> int:
    try:
        size = int(text)
    except ValueError:
        raise frame.error(
            f"expected the number of atoms that begins a frame, got {_short(text)}; the frame "
            "before has more lines than its count says, or this is no XYZ file"
        ) from None
    if size == 0:
        raise StructureError(
            f"{frame.path}, line {frame.line}: structure {frame.index} has no atoms; drop the frame"
        )
    if not 0 < size < sys.maxsize - 10:
        raise frame.error(f"{_short(text)} cannot be a number of atoms; mend or drop the frame")
    return size


def _short(text: str) -> str:
    text = text.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _number(frame: _Frame, word: str, offset: int) -> float:
    """Return a number of a GDB-9 file, whose exponents are written ``*^`` in places."""
    try:
        return float(word.replace("*^", "e"))
    except ValueError:
        raise frame.error(
            f"{_short(word)} is not a number; the file is damaged, or not in the format of GDB-9",
            offset,
        ) from None


def _check_symbol(frame: _Frame, atom: int, symbol: str) -> int:
    from ase.data import atomic_numbers

    number = atomic_numbers.get(symbol.capitalize(), 0)
    if number == 0:
        raise UnknownElementError(
            f"{frame.path}, line {frame.line + 2 + atom}: structure {frame.index}: atom {atom} has "
            f"the symbol {_short(symbol)}, which is no element; write it as in the periodic table"
        )
    return int(number)


def _words(frame: _Frame, offset: int, count: tuple[int, ...], what: str) -> list[str]:
    words = frame.lines[offset - 1].split()
    if len(words) not in count:
        raise frame.error(
            f"expected {' or '.join(map(str, count))} words ({what}), got {len(words)}: "
            f"{_short(frame.lines[offset - 1])}; the file is damaged, or not in GDB-9's format",
            offset,
        )
    return words


def _parse_gdb9(frame: _Frame) -> Structure:
    n = frame.size
    header = _words(frame, 1, (2 + len(GDB9_PROPERTIES),), "gdb, index and 15 properties")
    if header[0].lower() != "gdb" or not header[1].isdecimal():
        raise frame.error(f"expected 'gdb' and an index, got {_short(frame.comment)}", 1)
    properties: dict[str, Any] = {"id": int(header[1])}
    for name, word in zip(GDB9_PROPERTIES, header[2:], strict=True):
        properties[name] = _number(frame, word, 1)
    numbers = np.empty(n, dtype=np.int64)
    values = np.empty((n, 4))
    for i in range(n):
        words = _words(frame, i + 2, (5,), "symbol, x, y, z, charge")
        numbers[i] = _check_symbol(frame, i, words[0])
        values[i] = [_number(frame, word, i + 2) for word in words[1:]]
    # A molecule has 3N - 6 vibrations, a linear one 3N - 5.
    modes = (max(3 * n - 6, 0), max(3 * n - 5, 0))
    words = _words(frame, n + 2, modes, "frequencies")
    properties["frequencies"] = np.array([_number(frame, word, n + 2) for word in words])
    for offset, name, what in ((n + 3, "smiles", "SMILES"), (n + 4, "inchi", "InChI")):
        words = _words(frame, offset, (2,), f"{what} as enumerated and relaxed")
        properties[name], properties[f"{name}_relaxed"] = words
    charges = values[:, 3].copy()
    return Structure(
        numbers,
        values[:, :3].copy(),
        properties=properties,
        atom_properties={"mulliken_charges": charges},
    )


def _parse_extxyz(frame: _Frame) -> Atoms:
    """Return a frame as ASE reads it, or say which line it cannot read."""
    from ase.io.extxyz import read_xyz

    columns = _column_count(frame)
    _check_row(frame, 0, columns)
    text = "".join([f"{frame.size}\n", *frame.lines])
    if "*^" in text:
        rows = "".join(frame.lines[1:]).replace("*^", "e")
        text = f"{frame.size}\n{frame.lines[0]}{rows}"
    try:
        atoms: Atoms = next(read_xyz(io.StringIO(text), 0, properties_parser=_parse_comment))
    except PARSER_ERRORS as error:
        for atom in range(frame.size):
            _check_row(frame, atom, columns)
        cause = str(error) or type(error).__name__
        raise frame.error(
            f"ASE cannot read this frame ({cause}): {_short(frame.comment)}", 1
        ) from (error)
    return atoms


def _column_count(frame: _Frame) -> int:
    """Return how many words each atom must have at least."""
    declared = _raw_values(frame.comment).get("Properties")
    if declared is None:
        return 4
    try:
        counts = [int(word) for word in declared.split(":")[2::3]]
    except ValueError:
        counts = [0]
    if not counts or min(counts) < 1:
        raise frame.error(
            f"Properties={_short(declared)} is no list of name:type:columns, e.g. "
            "species:S:1:pos:R:3",
            1,
        )
    return sum(counts)


def _check_row(frame: _Frame, atom: int, columns: int) -> None:
    """Raise if an atom's line is short, or not symbol and coordinates where it ought to be."""
    words = frame.atoms[atom].split()
    if len(words) < columns:
        raise frame.error(
            f"atom {atom} has {len(words)} of {columns} columns: {_short(frame.atoms[atom])}; the "
            "line is cut short, or the atom count or Properties= of this frame is wrong",
            atom + 2,
        )
    declared = _raw_values(frame.comment).get("Properties") or "species:S:1:pos:R:3"
    if not declared.startswith("species:S:1:pos:R:3"):
        return
    _check_symbol(frame, atom, words[0])
    for word in words[1:4]:
        try:
            float(word.replace("*^", "e"))
        except ValueError:
            raise frame.error(
                f"atom {atom} has the coordinate {_short(word)}, which is not a number", atom + 2
            ) from None


def _parse_comment(comment: str) -> dict[str, Any]:
    """Parse a comment line; one that has no ``key=value`` is kept as a text."""
    from ase.io.extxyz import key_val_str_to_dict

    if not _KEY_VALUE.search(comment):
        return {"comment": comment}
    texts = {key: raw for key, raw in _raw_values(comment).items() if key.lower() in _TEXT_KEYS}

    def hidden(match: re.Match[str]) -> str:
        # ASE would take brackets for quotes, and a backslash for an escape.
        return f"{match['key']}=_" if match["key"] in texts else match[0]

    info: dict[str, Any] = key_val_str_to_dict(_PAIR.sub(hidden, comment))
    return info | texts


def _raw_values(comment: str) -> dict[str, str]:
    """Return the texts of all ``key=value`` of a comment, without their quotes."""
    raw = {}
    for match in _PAIR.finditer(comment):
        # A backslash is part of the text, such as a bond of a SMILES, except in quotes before a
        # quote or another one: ASE quotes a text with brackets, but leaves its backslashes alone.
        if match["quoted"] is not None:
            raw[match["key"]] = re.sub(r'\\(["\\])', r"\1", match["quoted"])
        elif match["value"] is not None:
            enclosed = (match[kind] for kind in ("single", "braces", "brackets"))
            raw[match["key"]] = next((e for e in enclosed if e is not None), match["value"])
    return raw


def restore_text(structures: list[Structure], comments: list[str], texts: set[str]) -> None:
    """Undo ASE's reading of text as numbers and truth values.

    That is the text of keys that are text in some frames and a number or a truth value in others;
    ``texts`` takes up those, and adds them where they are known already.
    """
    texts |= {
        key
        for structure in structures
        for key, value in structure.properties.items()
        if isinstance(value, str)
    }
    for structure, comment in zip(structures, comments, strict=True):
        changed = [
            key
            for key, value in structure.properties.items()
            if not isinstance(value, str) and key in texts
        ]
        if changed:
            raw = _raw_values(comment)
            structure.properties.update({key: raw[key] for key in changed if key in raw})
