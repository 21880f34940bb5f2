"""Files of structures: GDB-9, (extended) XYZ, NumPy archives, folders, and what ASE reads."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._xyz import COMPRESSIONS, PARSER_ERRORS, is_gdb9, read_extxyz, read_gdb9
from kernchem.errors import FileFormatError, KernchemError, SettingError
from kernchem.structure import Structure
from kernchem.structures import Structures, as_structures

__all__ = ["read"]

#: Suffixes of the files that are taken from a folder; others lie there for other reasons.
_FOLDER_SUFFIXES = frozenset(
    ".cfg .cif .con .cube .extxyz .gen .gro .mol .npz .pdb .poscar .res .sdf .traj .vasp .xsf .xyz"
    .split()
)  # fmt: skip

#: Names that packages give to the same two arrays, in the order in which they are looked for.
_NUMBERS = ("nuclear_charges", "Z", "z", "numbers", "atomic_numbers")
_POSITIONS = ("coords", "R", "positions", "coordinates")

#: Widths that a value per structure has as well: a scalar, a vector, tensors in Voigt's and in full
#: notation.
_TENSOR_WIDTHS = (1, 3, 6, 9)

#: Kept as one array per structure even where all have the same length.
_RAGGED = frozenset({"frequencies"})

_Entry = tuple[Path, int | None, Structure]


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

        Text may be compressed (``.gz``, ``.bz2``, ``.xz``).
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
        - ``.npz``: arrays whose first axis has length n. Shape (n, m, ...), m the padded number of
          atoms, is per atom; but (n, m) with m = 1, 3, 6 or 9 is per structure, because vectors and
          tensors have these widths, unless the name holds ``charge``, ``atom`` or ``force`` or
          begins with ``q_``. Arrays of another length belong to no structure and are left out.
        - folder: ``name``, the name of the file without its suffixes, where each file holds one
          structure and none carries a ``name`` of its own.

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
    name, path = os.fspath(path), Path(path)
    if not name or not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    _check_format(format)
    if path.is_dir():
        return _build(_read_folder(path, format))
    kind = format or _detect(path)
    return _read_npz(path) if kind == "npz" else _build(_read_entries(path, kind))


def _build(entries: list[_Entry]) -> Structures:
    """Join structures; an error names the file and line that its structure came from."""
    try:
        return Structures._from_items([structure for *_, structure in entries], _RAGGED)
    except KernchemError as error:
        for k, (path, line, structure) in enumerate(entries):
            where = f"{path}" if line is None else f"{path}, line {line}"
            try:
                as_structures(structure)
            except KernchemError as own:
                message = str(own).replace("structure 0", f"structure {k}", 1)
                raise type(own)(f"{where}: {message}") from None
        raise type(error)(f"{entries[0][0]}: {error}") from None


def _read_entries(path: Path, kind: str) -> list[_Entry]:
    if kind == "npz":
        return [(path, None, structure) for structure in _read_npz(path)]
    if kind in {"gdb9", "xyz", "extxyz"}:
        found = read_gdb9(path) if kind == "gdb9" else read_extxyz(path)
        return [(path, line, structure) for line, structure in found]
    return _read_ase(path, kind)


def _check_format(name: str | None) -> None:
    if name is None or name in {"gdb9", "npz"}:
        return
    from ase.io.formats import ioformats

    if name not in ioformats or not ioformats[name].can_read:
        raise SettingError(
            f"format={name!r} is unknown; use 'gdb9', 'extxyz', 'npz' or a format that ASE reads: "
            + ", ".join(sorted(name for name in ioformats if ioformats[name].can_read))
        )


def _suffix(path: Path) -> str:
    """Return the suffix in lower case, that of a compression left aside."""
    if path.suffix.lower() in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix.lower()


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
        kind = ""
    if kind not in ioformats or not ioformats[kind].can_read:
        raise FileFormatError(
            f"{path}: the format cannot be told from the suffix {suffix!r} or the content. "
            "kernchem reads GDB-9 and (extended) XYZ (.xyz, .extxyz), NumPy archives (.npz), "
            "folders of these, and the formats of ASE (.cif, .traj, POSCAR, ...; list them with "
            "'ase info --formats'); if it is one of these, name it with format="
        )
    return str(kind)


def _read_ase(path: Path, kind: str) -> list[_Entry]:
    from ase import Atoms
    from ase.io import iread

    frames: list[Any] = []
    try:
        frames.extend(iread(str(path.resolve()), ":", kind, do_not_split_by_at_sign=True))
    except (*PARSER_ERRORS, zipfile.BadZipFile) as error:
        cause = str(error) or type(error).__name__
        raise FileFormatError(
            f"{path}: ASE cannot read it as {kind!r} after {len(frames)} structures ({cause}); the "
            "file is damaged or cut short, or of another format: name it with format="
        ) from error
    if not frames or not all(isinstance(frame, Atoms) for frame in frames):
        raise FileFormatError(f"{path}: ASE finds no structure in it, read as {kind!r}")
    return [(path, None, structure) for structure in _converted(path, frames)]


def _converted(path: Path, frames: list[Any]) -> list[Structure]:
    try:
        return list(Structures.from_ase(frames))
    except KernchemError as error:
        raise type(error)(f"{path}: {error}") from None


def _read_folder(folder: Path, kind: str | None) -> list[_Entry]:
    """Read every structure file of a folder; ``kind`` applies to all of them."""
    files = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.name.startswith(".")
        and (_suffix(path) in _FOLDER_SUFFIXES or path.name.startswith(("POSCAR", "CONTCAR")))
    ]
    if not files:
        raise FileFormatError(
            f"{folder}: there is no structure file in this folder; files with these suffixes are "
            f"read: {', '.join(sorted(_FOLDER_SUFFIXES))}"
        )
    entries: list[_Entry] = []
    for path in files:
        entries += _read_entries(path, kind or _detect(path))
    single = len(entries) == len(files) == len({path for path, *_ in entries})
    if single and not any("name" in structure.properties for *_, structure in entries):
        for path, _, structure in entries:
            structure.properties["name"] = path.name.split(".", maxsplit=1)[0]
    return entries


def _read_npz(path: Path) -> Structures:
    arrays = _load_arrays(path)
    numbers = _pick(path, arrays, _NUMBERS, "atomic numbers")
    positions = _pick(path, arrays, _POSITIONS, "coordinates")
    if positions.ndim != 3 or positions.shape[2] != 3 or positions.dtype.kind not in "iuf":
        raise FileFormatError(
            f"{path}: the coordinates have the shape {positions.shape} and type "
            f"{positions.dtype}; expected real numbers of shape (structures, atoms, 3)"
        )
    n, m = positions.shape[:2]
    if numbers.shape not in {(m,), (n, m)} or numbers.dtype.kind not in "iuf":
        raise FileFormatError(
            f"{path}: the atomic numbers have the shape {numbers.shape} and type {numbers.dtype}; "
            f"expected whole numbers of shape {(n, m)}, or {(m,)} for all frames alike"
        )
    numbers = np.broadcast_to(numbers, (n, m))
    real = numbers != 0
    properties, atom_properties = {}, {}
    for name, values in arrays.items():
        if values.shape[:1] != (n,):
            continue
        if _is_per_atom(name, values.shape, m):
            atom_properties[name] = values[real]
        else:
            properties[name] = values
    try:
        return Structures(
            numbers[real],
            positions[real],
            np.concatenate([[0], np.cumsum(real.sum(axis=1))]),
            properties=properties,
            atom_properties=atom_properties,
        )
    except KernchemError as error:
        raise type(error)(f"{path}: {error}") from None


def _load_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an archive; pickled objects, which can run code, are refused."""
    try:
        # Opened here, as NumPy leaves a damaged archive open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise FileFormatError(
                    f"{path}: this is one array, not an archive; write it with numpy.savez"
                )
            return dict(archive.items())
    except FileFormatError:
        raise
    except (*PARSER_ERRORS, zipfile.BadZipFile) as error:
        cause = str(error) or type(error).__name__
        raise FileFormatError(
            f"{path}: it is no readable NumPy archive ({cause}); it is damaged or cut short, or "
            "holds Python objects: copy it again, or save plain arrays with numpy.savez"
        ) from error


def _pick(
    path: Path, arrays: dict[str, npt.NDArray[Any]], names: tuple[str, ...], what: str
) -> npt.NDArray[Any]:
    """Take the first of several names out of the arrays."""
    for name in names:
        if name in arrays:
            values = arrays.pop(name)
            if isinstance(values, np.ndarray):
                return values
    raise FileFormatError(
        f"{path}: there are no {what}: expected one of the arrays {', '.join(names)}; the archive "
        f"holds {', '.join(sorted(arrays)) or 'nothing'}"
    )


def _is_per_atom(name: str, shape: tuple[int, ...], m: int) -> bool:
    """Return whether an array (n, ...) holds one row per padded atom; see :func:`read`."""
    if len(shape) < 2 or shape[1] != m:
        return False
    name = name.lower()
    named = any(part in name for part in ("charge", "atom", "force")) or name.startswith("q_")
    if len(shape) == 2:
        return named or m not in _TENSOR_WIDTHS
    tensor = any(part in name for part in ("hess", "polariz", "quadrupole", "stress", "virial"))
    return named or not (tensor and m in _TENSOR_WIDTHS)
