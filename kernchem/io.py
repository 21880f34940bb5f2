"""Files of structures: GDB-9, (extended) XYZ, NumPy archives, folders, and what ASE reads."""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kernchem._ase_db import DATABASES, read_rows
from kernchem._npz import read_npz
from kernchem._text import COMPRESSIONS, check_unpacked
from kernchem._validation import is_whole, short
from kernchem._xyz import (
    PARSER_ERRORS,
    is_gdb9,
    read_extxyz,
    read_gdb9,
    restore_text,
)
from kernchem.errors import FileFormatError, KernchemError, SettingError
from kernchem.structure import Structure, structure_from_ase
from kernchem.structures import Structures, as_structures

__all__ = ["iread", "read"]

#: Suffixes of the files that are taken from a folder; others lie there for other reasons.
FOLDER_SUFFIXES = frozenset(
    ".cfg .cif .con .cube .extxyz .gen .gro .mol .npz .pdb .poscar .res .sdf .traj .vasp .xsf .xyz"
    .split()
)  # fmt: skip

#: Kept as one array per structure even where all have the same length.
_RAGGED = frozenset({"frequencies"})

#: Structures of an archive in a folder that are held at a time.
_ARCHIVE_SLICE = 1000


class _Entry(NamedTuple):
    """One structure and where it came from.

    ``place`` is its line or row in the file as messages name it, ``comment`` that of a frame of
    extended XYZ, ``only_name`` the name of a file that holds no other structure.
    """

    path: Path
    place: str | None
    structure: Structure
    comment: str | None = None
    only_name: str | None = None


def read(path: str | os.PathLike[str], *, format: str | None = None) -> Structures:  # noqa: A002
    r"""Read all structures of a file or a folder, with everything stored beside them.

    Parameters
    ----------
    path : str or path-like
        One of

        - a GDB-9 file (QM9 as published: ``.xyz`` whose second line begins with ``gdb``);
        - an XYZ or extended XYZ file (``.xyz``, ``.extxyz``), all frames;
        - a NumPy archive (``.npz``) with atomic numbers ``nuclear_charges``, ``Z``, ``z``,
          ``numbers`` or ``atomic_numbers`` of shape (n, m), padded with zeros, or (m,), shared by
          all frames, and ``coords``, ``R``, ``positions`` or ``coordinates`` of shape (n, m, 3);
        - any other file that ASE reads, all frames;
        - a folder: every structure file in it, sorted by name.

        Text may be compressed (``.gz``, ``.bz2``, ``.xz``); what unpacks to more than 64 MiB and
        200 times the size of the file is refused.
    format : str, optional
        ``"gdb9"``, ``"extxyz"``, ``"npz"`` or the name of one of ASE's formats; by default it is
        recognised by content and suffix.

    Returns
    -------
    Structures
        In the order of the file; positions in angstrom. All other values keep the name and the
        unit that they have in the file:

        - GDB-9: ``A B C`` (GHz), ``mu`` (debye), ``alpha`` (bohr^3), ``homo lumo gap zpve u0 u298
          h298 g298`` (hartree), ``r2`` (bohr^2), ``cv`` (cal/mol/K), ``id``, ``frequencies`` (1/cm,
          an array of objects), ``smiles``, ``smiles_relaxed``, ``inchi``, ``inchi_relaxed``, and
          per atom ``mulliken_charges`` (e). Exponents written ``*^`` are understood.
        - extended XYZ: as :meth:`Structures.from_ase` names them, energies in eV where the file
          follows ASE's convention. A comment without ``key=value`` is the property ``comment``.
          ``name``, ``smiles`` and ``inchi`` are taken as they stand, with brackets and backslashes.
        - ``.npz``: arrays whose first axis has length n. Shape (n, m, ...), m the padded number of
          atoms, is per atom; but (n, m) with m = 1, 3, 6 or 9 is per structure, because vectors and
          tensors have these widths, unless the name holds ``charge``, ``atom`` or ``force`` or
          begins with ``q_``. Arrays of another length belong to no structure and are left out, and
          so are those per atom called ``numbers`` or ``positions`` if another name was found first.
        - databases of ASE (``.db``, ``.json``): results of the calculator, the keys of a row and
          the entries of its ``data`` that are a text, a number or an array of numbers. An array is
          per atom if it has one row per atom in every structure and these differ in size; where
          all have the same size the rule is that of ``.npz``. An entry of ``data`` with the name
          of a key or of a result is left out.
        - folder: ``name``, the name of the file without the suffixes of its format and of a
          compression, where each file holds one structure and none carries a ``name`` of its own.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If a file is damaged, cut short or of no format that can be read; the message names the
        file and, where it is text, the line.
    StructureError
        If a structure cannot be used; the message names the file, the line and the structure.
    SettingError
        If ``format`` is unknown.

    Notes
    -----
    Cost O(size of the file). Frames of XYZ files are parsed by ASE, which takes most of the time;
    NumPy archives take next to none.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "h2.xyz"
    ...     _ = path.write_text("2\nenergy=-31.7\nH 0 0 0\nH 0 0 0.74\n")
    ...     data = read(path)
    >>> data["energy"]
    array([-31.7])
    """
    return next(_batches(_existing(path), format, None))


def iread(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    batch: int = 1000,
) -> Iterator[Structures]:
    r"""Read the structures of a file or a folder batch by batch.

    The file may be larger than the memory: besides a batch, one structure is held.

    Parameters
    ----------
    path : str or path-like
        As :func:`read` takes it.
    format : str, optional
        As in :func:`read`.
    batch : int, default 1000
        Number of structures in each batch but the last one.

    Returns
    -------
    iterator of Structures
        Batches in the order of the file.

    Raises
    ------
    FileNotFoundError, FileFormatError, StructureError, SettingError
        As in :func:`read`. What is wrong inside the file is raised by the batch that meets it;
        structures are numbered from the beginning of the file.

    Notes
    -----
    Properties are made into arrays batch by batch. A property that no structure of a batch has is
    absent from that batch; numbers may be integers in one batch and, because some are missing,
    floats in the next. Text that looks like a number is text in a batch if the same key was
    text anywhere before the end of that batch (:func:`read` looks at the whole file); the keys
    ``name``, ``smiles``, ``inchi``, ``comment`` are text always. The name of a file is given to its
    structure where all files in the batch hold a single one.

    Of NumPy archives, arrays that are stored uncompressed (``numpy.savez``) are mapped into memory
    and read slice by slice; compressed ones are loaded as a whole. Some of ASE's formats are loaded
    as a whole by ASE.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "atoms.xyz"
    ...     _ = path.write_text("1\n\nHe 0 0 0\n" * 5)
    ...     [len(batch) for batch in iread(path, batch=2)]
    [2, 2, 1]
    """
    if not is_whole(batch, 1):
        raise SettingError(f"batch={short(batch)} is no whole number from 1 on")
    return _batches(_existing(path), format, batch)


def _existing(path: str | os.PathLike[str]) -> Path:
    name, path = os.fspath(path), Path(path)
    if not name or not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return path


def _batches(path: Path, kind: str | None, size: int | None) -> Iterator[Structures]:
    """Return an iterator over batches, at least one; all structures are one if size is None."""
    _check_format(kind)
    if path.is_dir():
        return _Builder().batches(_folder_entries(path, kind), size)
    kind = kind or _detect(path)
    if kind == "npz":
        return read_npz(path, size)
    return _Builder().batches(_entries(path, kind), size)


class _Builder:
    """Makes batches of consecutive structures and remembers what the next one depends on."""

    def __init__(self) -> None:
        #: Number of structures in all batches so far.
        self._count = 0
        #: File of the last structure, and its keys that are known to be text.
        self._path: Path | None = None
        self._texts: set[str] = set()

    def batches(self, entries: Iterator[_Entry], size: int | None) -> Iterator[Structures]:
        """Yield batches of ``size`` structures."""
        while found := list(itertools.islice(entries, size)):
            self._restore_text(found)
            if all(e.only_name and "name" not in e.structure.properties for e in found):
                for entry in found:
                    entry.structure.properties["name"] = entry.only_name
            yield self._build(found)
            self._count += len(found)
            found.clear()

    def _restore_text(self, entries: list[_Entry]) -> None:
        for path, group in itertools.groupby(entries, key=lambda entry: entry.path):
            if path != self._path:
                self._path, self._texts = path, set()
            texts = [(e.structure, e.comment) for e in group if e.comment is not None]
            restore_text([item for item, _ in texts], [text for _, text in texts], self._texts)

    def _build(self, entries: list[_Entry]) -> Structures:
        """Join structures; an error names the file and line that its structure came from."""
        try:
            return Structures._from_items([entry.structure for entry in entries], _RAGGED)
        except KernchemError as error:
            for k, entry in enumerate(entries, start=self._count):
                place = "" if entry.place is None else f", {entry.place}"
                try:
                    as_structures(entry.structure)
                except KernchemError as own:
                    message = str(own).replace("structure 0", f"structure {k}", 1)
                    raise type(own)(f"{entry.path}{place}: {message}") from None
            raise type(error)(f"{entries[0].path}: {error}") from None


def _entries(path: Path, kind: str) -> Iterator[_Entry]:
    """Yield the structures of a file, at least one."""
    if kind == "npz":
        for batch in read_npz(path, _ARCHIVE_SLICE):
            yield from (_Entry(path, None, structure) for structure in batch)
    elif kind == "gdb9":
        yield from (_Entry(path, f"line {line}", item) for line, item in read_gdb9(path))
    elif kind in {"xyz", "extxyz"}:
        for line, item, comment in read_extxyz(path):
            yield _Entry(path, f"line {line}", item, comment)
    else:
        yield from _ase_entries(path, kind)


def _check_format(name: str | None) -> None:
    if name is None or (isinstance(name, str) and name in {"gdb9", "npz"}):
        return
    from ase.io.formats import ioformats

    if not isinstance(name, str) or name not in ioformats or not ioformats[name].can_read:
        raise SettingError(
            f"format={name!r} is unknown; use 'gdb9', 'extxyz', 'npz' or a format that ASE reads: "
            + ", ".join(sorted(name for name in ioformats if ioformats[name].can_read))
        )


def _suffix(path: Path) -> str:
    """Return the suffix in lower case, that of a compression left aside."""
    if path.suffix.lower() in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix.lower()


def _bare_name(path: Path) -> str:
    """Return the name of a file without the suffixes of a compression and of its format."""
    if path.suffix.lower() in COMPRESSIONS:
        path = path.with_suffix("")
    return path.stem if path.suffix.lower() in FOLDER_SUFFIXES else path.name


def _detect(path: Path) -> str:
    """Return the format of a file by its suffix and content."""
    suffix = _suffix(path)
    if suffix == ".npz":
        return "npz"
    if suffix in {".xyz", ".extxyz"}:
        return "gdb9" if is_gdb9(path) else "extxyz"
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        # ASE takes some relative names for addresses of databases.
        kind = filetype(str(path.resolve()))
    except (*PARSER_ERRORS, UnknownFileTypeError):
        # A damaged file is told as such.
        check_unpacked(path)
        kind = ""
    if kind not in ioformats or not ioformats[kind].can_read:
        raise FileFormatError(
            f"{path}: the format cannot be told from the suffix {suffix!r} or the content. "
            "kernchem reads GDB-9 and (extended) XYZ (.xyz, .extxyz), NumPy archives (.npz), "
            "folders of these, and the formats of ASE (.cif, .traj, POSCAR, ...; list them with "
            "'ase info --formats'); if it is one of these, name it with format="
        )
    return str(kind)


def _ase_entries(path: Path, kind: str) -> Iterator[_Entry]:
    from ase import Atoms
    from ase.io import iread as ase_iread

    check_unpacked(path)
    count = 0
    frames: Iterator[tuple[str | None, Any]]
    if kind in DATABASES:
        frames = read_rows(path, kind)
    else:
        found = ase_iread(str(path.resolve()), ":", kind, do_not_split_by_at_sign=True)
        frames = ((None, frame) for frame in found)
    while True:
        try:
            place, frame = next(frames, (None, None))
        except (*PARSER_ERRORS, sqlite3.Error, zipfile.BadZipFile) as error:
            cause = str(error) or type(error).__name__
            raise FileFormatError(
                f"{path}: ASE cannot read it as {kind!r} after {count} structures ({cause}); the "
                "file is damaged or cut short, or of another format: name it with format="
            ) from error
        if frame is None and count > 0:
            return
        if not isinstance(frame, Atoms):
            raise FileFormatError(f"{path}: ASE finds no structure in it, read as {kind!r}")
        try:
            structure = structure_from_ase(frame, count, from_file=True)
        except KernchemError as error:
            where = "" if place is None else f", {place}"
            raise type(error)(f"{path}{where}: {error}") from None
        yield _Entry(path, place, structure)
        count += 1


def _folder_entries(folder: Path, kind: str | None) -> Iterator[_Entry]:
    """Yield the structures of all files of a folder; ``kind`` applies to each of them."""
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.name.startswith(".")
        and (_suffix(path) in FOLDER_SUFFIXES or path.name.startswith(("POSCAR", "CONTCAR")))
    ]
    if not files:
        raise FileFormatError(
            f"{folder}: there is no structure file in this folder; files with these suffixes are "
            f"read: {', '.join(sorted(FOLDER_SUFFIXES))}"
        )
    for path in files:
        entries = _entries(path, kind or _detect(path))
        first, second = next(entries), next(entries, None)
        if second is None:
            yield first._replace(only_name=_bare_name(path))
        else:
            yield from itertools.chain((first, second), entries)
