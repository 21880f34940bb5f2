"""Arrays in files of MATLAB's format 5, as QM7 and QM7b are published.

SciPy's reader crashes the process on some damaged files; this one reads arrays of real numbers and
nothing else, within the bytes that are there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.errors import FileFormatError

__all__ = ["MAGIC", "read_mat"]

#: A file begins with this text; what follows up to the first array is 128 bytes long, and ends with
#: a mark of the order of bytes.
MAGIC = b"MATLAB 5.0 MAT-file"
_HEADER, _LITTLE_ENDIAN = 128, b"IM"

#: Kinds of elements: numbers, an array, and an array compressed. From "MAT-File Format", The
#: MathWorks, tables 1-1 and 1-3.
_NUMBERS = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8",
}  # fmt: skip
_INT8, _INT32, _UINT32 = 1, 5, 6
_ARRAY, _COMPRESSED = 14, 15
#: Classes of arrays that hold numbers, and the flag of complex ones.
_REAL_CLASSES = range(6, 16)
_COMPLEX = 0x800

#: The published files hold 20 MB.
_LARGEST = 2**28


class _DamagedError(Exception):
    """An element is not what the format demands; the message says in what."""


def read_mat(
    path: Path, shapes: Mapping[str, tuple[int | str, ...]]
) -> dict[str, npt.NDArray[np.float64]]:
    """Return arrays of real numbers from a file of MATLAB's format 5.

    Parameters
    ----------
    path : Path
        The file.
    shapes : mapping of str to tuple of int or str
        Names of the arrays, and their shapes; a letter stands for a length that is free, but the
        same wherever it stands.

    Returns
    -------
    dict of array
        Float64 arrays of these shapes.

    Raises
    ------
    FileFormatError
        If the file cannot be read, lacks an array, or holds other shapes.
    """
    try:
        found = {name: values for name, values in _arrays(path) if name in shapes}
    except (_DamagedError, struct.error, zlib.error, ValueError) as error:
        raise FileFormatError(
            f"{path}: it cannot be read as a file of MATLAB's format 5 ({error}); it is damaged or "
            "cut short, or another kind of file: fetch or copy it again"
        ) from error
    lengths: dict[str, int] = {}
    return {
        name: _checked(path, name, found.get(name), shape, lengths)
        for name, shape in shapes.items()
    }


def _checked(
    path: Path,
    name: str,
    values: npt.NDArray[Any] | None,
    shape: tuple[int | str, ...],
    lengths: dict[str, int],
) -> npt.NDArray[np.float64]:
    """Return an array as float64; ``lengths`` takes up what the letters in ``shape`` stand for."""
    expected = f"expected one of shape ({', '.join(map(str, shape))})"
    if values is None:
        raise FileFormatError(
            f"{path}: there is no array {name!r} of real numbers in it; {expected}"
        )
    fits = values.ndim == len(shape) and values.size > 0
    if fits:
        for length, wanted in zip(values.shape, shape, strict=True):
            known = lengths.setdefault(wanted, length) if isinstance(wanted, str) else wanted
            fits &= length == known
    if not fits:
        raise FileFormatError(
            f"{path}: the array {name!r} has the shape {values.shape}; {expected}"
        )
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise FileFormatError(f"{path}: {name!r} holds a number that is not finite")
    return numbers


def _arrays(path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield names and values of all arrays of real numbers."""
    if path.stat().st_size > _LARGEST:
        raise _DamagedError(f"it is larger than {_LARGEST} bytes")
    content = memoryview(path.read_bytes())
    mark = bytes(content[_HEADER - len(_LITTLE_ENDIAN) : _HEADER])
    if bytes(content[: len(MAGIC)]) != MAGIC or mark != _LITTLE_ENDIAN:
        raise _DamagedError(f"it does not begin with {MAGIC.decode()!r}, little-endian")
    left = _LARGEST
    for kind, data in _elements(content[_HEADER:]):
        unpacked = [(kind, data)]
        if kind == _COMPRESSED:
            plain = zlib.decompressobj().decompress(data, left + 1)
            left -= len(plain)
            if left < 0:
                raise _DamagedError(f"its arrays take more than {_LARGEST} bytes")
            unpacked = list(_elements(memoryview(plain)))
        for inner, values in unpacked:
            found = _array(values) if inner == _ARRAY else None
            if found is not None:
                yield found


def _elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and data of elements that stand one behind the other."""
    place = 0
    while place < len(content):
        if place + 8 > len(content):
            raise _DamagedError("it is cut short")
        kind, size = struct.unpack_from("<II", content, place)
        start = place + 8
        if kind >> 16:  # up to four bytes, in the second half of the tag
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            place = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > min(len(content), place):
            raise _DamagedError("it is cut short")
        yield kind, content[start : start + size]


def _array(content: memoryview) -> tuple[str, npt.NDArray[Any]] | None:
    """Return name and values of an array; None for one of text, cells, complex numbers, ...."""
    elements = list(_elements(content))
    if [kind for kind, _ in elements[:3]] != [_UINT32, _INT32, _INT8]:
        raise _DamagedError("an array lacks its class, shape or name")
    (_, flags), (_, shape), (_, name) = elements[:3]
    (word,) = struct.unpack_from("<I", flags)
    if word & 0xFF not in _REAL_CLASSES or word & _COMPLEX:
        return None
    if len(elements) != 4 or elements[3][0] not in _NUMBERS:
        raise _DamagedError("an array lacks its numbers")
    kind, data = elements[3]
    values: npt.NDArray[Any] = np.frombuffer(data, _NUMBERS[kind])
    lengths = np.frombuffer(shape, "<i4").tolist()
    if min(lengths, default=-1) < 0:
        raise _DamagedError(f"an array has the shape {lengths}")
    return bytes(name).decode("ascii", "replace"), values.reshape(lengths, order="F")
