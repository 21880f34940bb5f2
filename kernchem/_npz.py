"""NumPy archives of structures, read in slices.

What an archive claims about its arrays is compared with what it can hold before memory is taken.
"""

from __future__ import annotations

import math
import re
import struct
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from kernchem._columns import TAKEN_NAMES
from kernchem._xyz import PARSER_ERRORS
from kernchem.errors import FileFormatError, KernchemError
from kernchem.structures import Structures

__all__ = ["is_per_atom", "read_npz"]

_Arrays = dict[str, npt.NDArray[Any]]

#: Names that packages give to the same two arrays, in the order in which they are looked for.
_NUMBERS = ("nuclear_charges", "Z", "z", "numbers", "atomic_numbers")
_POSITIONS = ("coords", "R", "positions", "coordinates")

#: Widths that a value per structure has as well: a scalar, a vector, tensors in Voigt's and in full
#: notation.
_TENSOR_WIDTHS = (1, 3, 6, 9)

#: Coordinates hardly compress. Padding with zeros does, so small archives may claim anything up to
#: the first number of bytes, and larger ones this many times their own size.
_HARMLESS = 2**28
_LARGEST_RATIO = 100
#: Arrays smaller than this are loaded at once, as a map of a page would cost more.
_MAPPED_FROM = 2**16
_CHUNK = 2**20


def read_npz(path: Path, size: int | None) -> Iterator[Structures]:
    """Yield the structures of an archive, ``size`` at a time, or all of them at once.

    Arrays that are stored uncompressed are mapped into memory, others are loaded.
    """
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
    if n * m == 0:
        raise FileFormatError(
            f"{path}: the coordinates have the shape {positions.shape}; it holds no structure"
        )
    own = {name: values for name, values in arrays.items() if values.shape[:1] == (n,)}
    for start in range(0, n, size or n):
        rows = slice(start, start + (size or n))
        try:
            yield _structures(
                numbers if numbers.ndim == 1 else numbers[rows],
                positions[rows],
                {name: values[rows] for name, values in own.items()},
            )
        except KernchemError as error:
            raise type(error)(f"{path}: {_shifted(str(error), start)}") from None


def _structures(
    numbers: npt.NDArray[Any], positions: npt.NDArray[Any], arrays: _Arrays
) -> Structures:
    """Return structures made of arrays that are padded with zeros."""
    n, m = positions.shape[:2]
    numbers = np.broadcast_to(numbers, (n, m))
    real = numbers != 0
    properties, atom_properties = {}, {}
    for name, values in arrays.items():
        if is_per_atom(name, values.shape, m):
            # What an archive holds beside the numbers and positions that were taken.
            if name not in TAKEN_NAMES:
                atom_properties[name] = values[real]
        else:
            properties[name] = values
    return Structures(
        numbers[real],
        positions[real],
        np.concatenate([[0], np.cumsum(real.sum(axis=1))]),
        properties=properties,
        atom_properties=atom_properties,
    )


def _shifted(message: str, start: int) -> str:
    """Return a message about a slice with the structure's index in the whole archive."""
    return re.sub(
        r"\bstructure (\d+)", lambda match: f"structure {int(match[1]) + start}", message, count=1
    )


def _load_arrays(path: Path) -> _Arrays:
    """Return the arrays of an archive; pickled objects, which can run code, are refused."""
    try:
        # Opened here, as a damaged archive would stay open.
        with path.open("rb") as file:
            if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise FileFormatError(
                    f"{path}: this is one array, not an archive; write it with numpy.savez"
                )
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                _refuse_bomb(path, members)
                arrays = {}
                for member in members:
                    values = _load(path, archive, member)
                    if values is not None:
                        arrays[member.filename.removesuffix(".npy")] = values
                return arrays
    except FileFormatError:
        raise
    except (*PARSER_ERRORS, zipfile.BadZipFile, struct.error, tokenize.TokenError) as error:
        cause = str(error) or type(error).__name__
        raise FileFormatError(
            f"{path}: it is no readable NumPy archive ({cause}); it is damaged or cut short: copy "
            "it again, or save plain arrays with numpy.savez"
        ) from error


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise if the arrays would take far more memory than an archive of structures does."""
    claimed, size = sum(member.file_size for member in members), path.stat().st_size
    if claimed > max(_HARMLESS, _LARGEST_RATIO * size):
        raise FileFormatError(
            f"{path}: its arrays claim {claimed} bytes, {claimed // max(size, 1)} times the size "
            f"of the file; at most {_LARGEST_RATIO} times are read. It is damaged, or made to fill "
            "the memory; if you trust it, unpack it and save the arrays with numpy.savez"
        )


def _load(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any] | None:
    """Return one array, mapped where that is possible; None for a member that is no array."""
    with archive.open(member) as stream:
        if stream.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            return None
        shape, fortran, dtype = _read_header(stream)
        if dtype.hasobject:
            raise FileFormatError(
                f"{path}: {member.filename} holds Python objects, which could run code and are not "
                "read; save plain arrays with numpy.savez"
            )
        n_bytes, begin = math.prod(shape) * dtype.itemsize, stream.tell()
        if min(shape, default=0) < 0 or begin + n_bytes != member.file_size:
            raise FileFormatError(
                f"{path}: {member.filename} claims an array of shape {shape} and type {dtype}, "
                f"{n_bytes} bytes, but there are {member.file_size - begin}; it is damaged"
            )
        order: Any = "F" if fortran else "C"
        if member.compress_type != zipfile.ZIP_STORED or n_bytes < _MAPPED_FROM:
            return np.ndarray(shape, dtype, buffer=stream.read(n_bytes), order=order)
        # Read once in passing, which compares the checksum.
        while stream.read(_CHUNK):
            pass
    offset = _data_offset(path, member) + begin
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order=order)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of an array whose magic string was read."""
    major, minor = stream.read(2)
    if (major, minor) == (1, 0):
        return npy.read_array_header_1_0(stream)
    # The third version differs in the encoding of the names of fields only.
    return npy.read_array_header_2_0(stream)


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where in the file the data of a member begin, behind its local header."""
    with path.open("rb") as file:
        # 30 bytes, of which the last four hold the lengths of name and extra field that follow.
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return int(member.header_offset) + 30 + int(name) + int(extra)


def _pick(path: Path, arrays: _Arrays, names: tuple[str, ...], what: str) -> npt.NDArray[Any]:
    """Take the first of several names out of the arrays."""
    for name in names:
        if name in arrays:
            return arrays.pop(name)
    raise FileFormatError(
        f"{path}: there are no {what}: expected one of the arrays {', '.join(names)}; the archive "
        f"holds {', '.join(sorted(arrays)) or 'nothing'}"
    )


def is_per_atom(name: str, shape: tuple[int, ...], m: int) -> bool:
    """Return whether an array (n, ...) holds one row per padded atom; see :func:`kernchem.read`."""
    if len(shape) < 2 or shape[1] != m:
        return False
    name = name.lower()
    named = any(part in name for part in ("charge", "atom", "force")) or name.startswith("q_")
    if len(shape) == 2:
        return named or m not in _TENSOR_WIDTHS
    tensor = any(part in name for part in ("hess", "polariz", "quadrupole", "stress", "virial"))
    return named or not (tensor and m in _TENSOR_WIDTHS)
