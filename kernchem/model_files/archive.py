"""The container: a zip archive of one fixed form, in which no byte is free.

The first member, ``model.json``, lists the others with their sizes and digests, and the archive's
comment is its own digest. All that lies between the members follows from that list, so it is made
anew and compared: nothing that a zip archive may hold beside its data is ever interpreted.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import kernchem
from kernchem._validation import short
from kernchem.errors import ModelFileError

__all__ = ["FORMAT", "VERSION", "Archive", "write_archive"]

FORMAT = "kernchem model"
VERSION = 1

_MANIFEST = "model.json"
_NAME = re.compile(r"[a-z0-9_]{1,32}(\.[a-z0-9_]{1,32}){0,15}\.npy")
#: Bytes of ``model.json`` and numbers of members that are read: far beyond every real model, and
#: little enough for every memory.
_LONGEST_MANIFEST = 16 << 20
_MOST_MEMBERS = 1000
_DIGEST = 64
#: Sizes and offsets from here on stand in the fields of zip64, and this number in their place.
_LARGE_FROM = _ELSEWHERE = 0xFFFFFFFF

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
#: Version 2.0 (4.5 for zip64), flags, method "stored", midnight of 1 January 1980: fixed, so that
#: equal models give equal files.
_PLAIN, _LARGE, _FIXED = 20, 45, (0, 0, 0, 0x21)
_UNIX = 3 << 8
_READABLE = 0o600 << 16

_NPY = b"\x93NUMPY\x01\x00"
_LONGEST_NPY_HEADER = 512
_NPY_HEADER = re.compile(
    rb"\{'descr': '<([fi])8', 'fortran_order': (True|False), "
    rb"'shape': \(([1-9]\d{0,14}(?:, [1-9]\d{0,14})*),?\), \} *\n"
)


class _Member(NamedTuple):
    """One member of the archive."""

    name: str
    size: int
    crc32: int
    sha256: str


def write_archive(
    path: Path, content: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write a model file, under a temporary name first.

    Parameters
    ----------
    path : Path
        Where to; a file there is replaced.
    content : dict
        What ``model.json`` holds beside format, versions and members; plain JSON values.
    arrays : mapping of str to array
        Arrays of float64 or int64, none of them empty, by the names of their members.
    """
    parts = {name: _npy(array) for name, array in arrays.items()}
    members = _listed([_described(name, part)._asdict() for name, part in parts.items()])
    manifest = json.dumps(
        {
            **content,
            "format": FORMAT,
            "version": VERSION,
            "kernchem": kernchem.__version__,
            "members": [member._asdict() for member in members],
        },
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    ).encode("ascii")
    if len(manifest) > _LONGEST_MANIFEST:
        raise ModelFileError(
            f"{path}: the settings of the model take {len(manifest)} bytes; a model file has room "
            f"for {_LONGEST_MANIFEST}"
        )
    headers, end = _frame(manifest, members)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(headers[0] + manifest)
            for header, member in zip(headers[1:], members, strict=True):
                file.write(header)
                for part in parts[member.name]:
                    file.write(part)
            file.write(end)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Archive:
    """An open model file whose frame is intact; arrays are verified when they are read.

    Parameters
    ----------
    file : binary file
        Open at its beginning, and a regular file.

    Attributes
    ----------
    manifest : dict
        Content of ``model.json``.

    Raises
    ------
    ModelFileError
        If it is no model file, was cut or altered, or has a version that is not known here.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        text = self._manifest_bytes()
        self.manifest = _parsed(text)
        members = _listed(self.manifest.pop("members", None))
        if sum(member.size for member in members) > self._size:
            raise ModelFileError(f"its members are larger than the file; {_DAMAGED}")
        headers, end = _frame(text, members)
        self._places: dict[str, tuple[int, _Member]] = {}
        place = len(headers[0]) + len(text)
        for header, member in zip(headers[1:], members, strict=True):
            place += len(header)
            self._places[member.name] = place, member
            place += member.size
        if place + len(end) != self._size:
            raise ModelFileError(
                f"it is {self._size} bytes long and should be {place + len(end)}; {_DAMAGED}"
            )
        frame = [(place, end), (0, headers[0])]
        for header, (begin, _) in zip(headers[1:], self._places.values(), strict=True):
            frame.append((begin - len(header), header))
        for begin, expected in frame:
            if self._read(begin, len(expected)) != expected:
                raise ModelFileError(f"the bytes from {begin} on are not its own; {_DAMAGED}")

    def array(self, name: str, kind: type[np.generic], ndim: int) -> npt.NDArray[Any]:
        """Return an array, and remove it from those that are left.

        Parameters
        ----------
        name : str
            Name of the member.
        kind : {numpy.float64, numpy.int64}
            Type of the array.
        ndim : int
            Number of its axes.

        Returns
        -------
        array
            None of its axes is empty.
        """
        if name not in self._places:
            raise ModelFileError(f"the array {name} is missing from the list of members")
        begin, member = self._places.pop(name)
        head = self._read(begin, min(len(_NPY) + 2, member.size))
        length = len(_NPY) + 2 + int.from_bytes(head[-2:], "little")
        if not head.startswith(_NPY) or length > min(_LONGEST_NPY_HEADER, member.size):
            raise ModelFileError(f"{name} is no array of NumPy's format 1.0")
        head = self._read(begin, length)
        match = _NPY_HEADER.fullmatch(head[len(_NPY) + 2 :])
        if match is None:
            raise ModelFileError(f"{name} has a header of another form than numpy.save writes")
        dtype = np.dtype(f"<{match[1].decode()}8")
        shape = tuple(int(n) for n in match[3].split(b", "))
        n_bytes = 8
        for n in shape:
            n_bytes *= n
        if dtype.kind != np.dtype(kind).kind or len(shape) != ndim:
            raise ModelFileError(
                f"{name} is of type {dtype} and shape {shape}; expected {kind.__name__} and "
                f"{ndim} axes"
            )
        if length + n_bytes != member.size:
            raise ModelFileError(
                f"{name} has the shape {shape}, which takes {n_bytes} bytes, and "
                f"{member.size - length} in the file"
            )
        values = np.empty(n_bytes // 8, dtype)
        data = values.data.cast("B")
        digest = hashlib.sha256(head)
        self._file.readinto(data)
        digest.update(data)
        if digest.hexdigest() != member.sha256:
            raise ModelFileError(f"{name} does not match its digest; {_DAMAGED}")
        # Of another type only where the machine writes numbers the other way round.
        values = values.astype(kind, copy=False)
        return values.reshape(shape[::-1]).T if match[2] == b"True" else values.reshape(shape)

    def has(self, name: str) -> bool:
        """Return whether an array is there, and was not read yet."""
        return name in self._places

    def require_all_read(self) -> None:
        """Raise if there are arrays that no part of the model asked for."""
        if self._places:
            raise ModelFileError(f"it holds {min(self._places)}, which is no part of the model")

    def _manifest_bytes(self) -> bytes:
        """Return ``model.json``, whose digest is the last thing in the file."""
        start = self._file.read(_LOCAL.size + len(_MANIFEST))
        if not start.startswith(b"PK\x03\x04"):
            what = "it is empty" if not start else "it is no zip archive"
            raise ModelFileError(f"{what}, so it is no model file; {_CURE}")
        if len(start) < _LOCAL.size + len(_MANIFEST) or start[_LOCAL.size :] != _MANIFEST.encode():
            raise ModelFileError(f"it is an archive, but not one that kernchem.save wrote; {_CURE}")
        length = _LOCAL.unpack_from(start)[7]
        if length > min(_LONGEST_MANIFEST, self._size - len(start) - _DIGEST):
            raise ModelFileError(f"{_MANIFEST} is longer than the file has room for; {_DAMAGED}")
        text = self._read(len(start), length)
        if self._read(self._size - _DIGEST, _DIGEST) != _digest(text):
            raise ModelFileError(f"{_MANIFEST} does not match its digest; {_DAMAGED}")
        return text

    def _read(self, begin: int, length: int) -> bytes:
        self._file.seek(begin)
        return self._file.read(length)


_DAMAGED = "the file was cut or altered: copy it again"
_CURE = "give a file that kernchem.save wrote, and copy it again if it is one"


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _npy(array: npt.NDArray[Any]) -> list[bytes | memoryview]:
    """Return header and data of an array as numpy.save writes them, the data not copied."""
    kind = "<i8" if array.dtype.kind in "iu" else "<f8"
    array = np.asarray(array, dtype=kind)
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    rows = array if array.flags.c_contiguous else array.T
    return [header.getvalue(), rows.data.cast("B")]


def _described(name: str, parts: list[bytes | memoryview]) -> _Member:
    digest, crc32, size = hashlib.sha256(), 0, 0
    for part in parts:
        digest.update(part)
        crc32 = zlib.crc32(part, crc32)
        size += len(part)
    return _Member(name, size, crc32, digest.hexdigest())


def _parsed(text: bytes) -> dict[str, Any]:
    """Return the manifest, if it is one of a version that is known here."""
    try:
        manifest = json.loads(text.decode("ascii"), object_pairs_hook=_object)
    except ValueError as error:
        raise ModelFileError(f"{_MANIFEST} is no JSON that can be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.pop("format", None) != FORMAT:
        raise ModelFileError(f"{_MANIFEST} does not describe a model; {_CURE}")
    version = manifest.pop("version", None)
    if type(version) is not int or version < 1:
        raise ModelFileError(f"version={short(version)} is no version of the format")
    if version > VERSION:
        raise ModelFileError(
            f"it has version {version} of the format, written by kernchem "
            f"{short(manifest.get('kernchem'))}; this is kernchem {kernchem.__version__}, which "
            f"reads versions up to {VERSION}: update it (python -m pip install --upgrade kernchem)"
        )
    return manifest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _listed(members: Any) -> list[_Member]:
    """Return the members that the manifest lists, after checks."""
    if not isinstance(members, list) or len(members) > _MOST_MEMBERS:
        raise ModelFileError(f"members must be a list of at most {_MOST_MEMBERS}")
    found: list[_Member] = []
    for item in members:
        if not isinstance(item, dict) or set(item) != set(_Member._fields):
            raise ModelFileError("a member is not described as it must be")
        member = _Member(**item)
        usable = (
            isinstance(member.name, str)
            and _NAME.fullmatch(member.name) is not None
            and type(member.size) is int
            and 0 <= member.size < 1 << 60
            and type(member.crc32) is int
            and 0 <= member.crc32 < 1 << 32
            and isinstance(member.sha256, str)
        )
        if not usable:
            raise ModelFileError(f"a member cannot be as it is described: {short(item)}")
        found.append(member)
    if len({member.name for member in found}) < len(found):
        raise ModelFileError("a member is listed twice")
    return found


def _frame(manifest: bytes, members: list[_Member]) -> tuple[list[bytes], bytes]:
    """Return what stands in front of each member, and all that stands behind the last one."""
    first = _Member(_MANIFEST, len(manifest), zlib.crc32(manifest), "")
    headers, directory, place = [], [], 0
    for member in (first, *members):
        name = member.name.encode("ascii")
        size, large = member.size, b""
        if size >= _LARGE_FROM:
            size, large = _ELSEWHERE, struct.pack("<QQ", size, size)
        common = (*_FIXED, member.crc32, size, size, len(name))
        extra = _zip64_field(large)
        version = _LARGE if extra else _PLAIN
        header = _LOCAL.pack(b"PK\x03\x04", version, *common, len(extra)) + name + extra
        headers.append(header)
        offset = place
        if place >= _LARGE_FROM:
            offset, large = _ELSEWHERE, large + struct.pack("<Q", place)
        extra = _zip64_field(large)
        version = _LARGE if extra else _PLAIN
        entry = (b"PK\x01\x02", version | _UNIX, version, *common, len(extra), 0, 0, 0, _READABLE)
        directory.append(_CENTRAL.pack(*entry, offset) + name + extra)
        place += len(header) + member.size
    entries, n = b"".join(directory), len(directory)
    end = entries
    begin = place
    if place >= _LARGE_FROM:
        begin = _ELSEWHERE
        large_end = (b"PK\x06\x06", 44, _LARGE | _UNIX, _LARGE, 0, 0, n, n, len(entries), place)
        end += _END64.pack(*large_end) + _LOCATOR.pack(b"PK\x06\x07", 0, place + len(entries), 1)
    end += _END.pack(b"PK\x05\x06", 0, 0, n, n, len(entries), begin, _DIGEST)
    return headers, end + _digest(manifest)


def _zip64_field(values: bytes) -> bytes:
    return struct.pack("<HH", 1, len(values)) + values if values else b""
