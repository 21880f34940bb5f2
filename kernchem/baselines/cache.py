"""Results of programs on disk, kept in files to which one process each appends.

A folder may serve many processes and users at once: nobody ever writes to a file of another, so
no locks are needed, which network folders do not offer reliably. Each record carries its length
and a checksum. What a killed process left half-written, or a disk damaged, is not found and is
computed again.
"""

from __future__ import annotations

import os
import secrets
import struct
import warnings
import zlib
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from kernchem.baselines.records import FAILED, Record, decode, encode
from kernchem.errors import KernchemWarning, SettingError
from kernchem.structures import Structures

__all__ = ["ResultCache", "result_keys"]

#: Positions and cells are rounded to this many per angstrom before they enter a key.
_PER_ANGSTROM = 1e6

_MAGIC = b"\x93KcR"
#: Magic, checksum of all that follows, bytes of the payload, key.
_HEAD = struct.Struct("<4sII16s")
_SUFFIX = ".results"


def result_keys(
    structures: Structures,
    charges: npt.NDArray[np.int64],
    multiplicities: npt.NDArray[np.int64],
    identity: str,
) -> list[bytes]:
    """Return what the results of structures are found under, 16 bytes each.

    Parameters
    ----------
    structures : Structures
        Numbers, order of the atoms, positions and the periodic cell vectors count; both of the
        latter rounded to 1e-6 angstrom.
    charges, multiplicities : array (n,)
        Of each structure.
    identity : str
        Method, version of the program, and settings that change its results.

    Returns
    -------
    list of bytes
        Cost O(atoms).
    """
    numbers = structures.numbers.astype("<i8").tobytes()
    positions = np.rint(structures.positions * _PER_ANGSTROM).astype("<i8").tobytes()
    states = np.stack([charges, multiplicities], axis=1).astype("<i8").tobytes()
    cells = None
    if structures.cells is not None and structures.pbc is not None and structures.pbc.any():
        periodic = structures.cells * structures.pbc[:, :, None]
        rounded = np.rint(periodic * _PER_ANGSTROM).astype("<i8")
        flags = structures.pbc[:, :, None].astype("<i8")
        cells = np.concatenate([rounded, flags], axis=2).tobytes()
    start = blake2b(identity.encode(), digest_size=16, person=b"kernchem-results")
    offsets, keys = structures.offsets.tolist(), []
    for k in range(len(structures)):
        first, last = offsets[k], offsets[k + 1]
        digest = start.copy()
        digest.update(numbers[8 * first : 8 * last])
        digest.update(positions[24 * first : 24 * last])
        digest.update(states[16 * k : 16 * k + 16])
        if cells is not None and structures.pbc is not None and structures.pbc[k].any():
            digest.update(cells[96 * k : 96 * k + 96])
        keys.append(digest.digest())
    return keys


class ResultCache:
    """A folder of results.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist.

    Raises
    ------
    SettingError
        If it is a file, or cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingError(
                f"cache={str(folder)!r}: the folder cannot be made ({reason}); name another"
            ) from None
        #: Where each key's record stands: file, first byte, bytes of the payload, what it holds.
        self._index: dict[bytes, tuple[str, int, int, int]] = {}
        #: How far each file was read.
        self._read: dict[str, int] = {}
        self._own: BinaryIO | None = None
        self._owner = 0

    def lookup(self, keys: Sequence[bytes], needed: int = 0) -> list[Record | None]:
        """Return records, None where there is none that holds what is needed.

        Parameters
        ----------
        keys : sequence of bytes
            Of :func:`result_keys`.
        needed : int, default 0
            Sum of the bits ``FORCES``, ``CHARGES`` and ``DIPOLE``. A failure holds everything.

        Returns
        -------
        list of Record or None
            In the same order. Damaged records are left out, with a warning.
        """
        self._refresh()
        found: list[Record | None] = [None] * len(keys)
        wanted: dict[str, list[tuple[int, int, int]]] = {}
        for k, key in enumerate(keys):
            entry = self._index.get(key)
            if entry is not None and (entry[3] & FAILED or entry[3] & needed == needed):
                wanted.setdefault(entry[0], []).append((entry[1], entry[2], k))
        for name, places in wanted.items():
            try:
                # Files are closed one by one: a folder may hold more than a process may open.
                with (self.folder / name).open("rb") as file:
                    damaged = _read_records(file, sorted(places), keys, found)
            except OSError:
                damaged = len(places)
            if damaged:
                _warn(self.folder / name, damaged)
        return found

    def store(self, key: bytes, record: Record) -> None:
        """Append a record to the file of this process; it is safe from then on from any kill.

        Parameters
        ----------
        key : bytes
            Of :func:`result_keys`.
        record : Record
            What will be found under it.
        """
        payload = encode(record)
        rest = struct.pack("<I16s", len(payload), key) + payload
        data = _MAGIC + struct.pack("<I", zlib.crc32(rest)) + rest
        # One unbuffered write: what the system has taken survives the process.
        self._file().write(data)

    def close(self) -> None:
        """Close the file that is written; the next record begins another."""
        if self._own is not None:
            self._own.close()
            self._own = None

    def _file(self) -> BinaryIO:
        # A forked child must not append to its parent's file.
        if self._own is None or self._owner != os.getpid():
            path = self.folder / f"{secrets.token_hex(8)}{_SUFFIX}"
            self._own, self._owner = path.open("xb", buffering=0), os.getpid()
        return self._own

    def _refresh(self) -> None:
        """Read what was added to the folder since the last time."""
        sizes = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(_SUFFIX):
                    sizes[entry.name] = entry.stat().st_size
        if any(sizes.get(name, -1) < done for name, done in self._read.items()):
            # A file was removed or cut: nothing that is known of it holds any longer.
            self._index.clear()
            self._read.clear()
        if self._own is not None and Path(self._own.name).name not in sizes:
            # What is appended to a file without a name is lost.
            self.close()
        for name in sorted(sizes):
            done = self._read.get(name, 0)
            if sizes[name] > done:
                self._scan(name, done)

    def _scan(self, name: str, start: int) -> None:
        with (self.folder / name).open("rb") as file:
            file.seek(start)
            data = file.read()
        view, position, damaged = memoryview(data), 0, 0
        while position < len(data):
            end = _record_end(view, position)
            if end:
                key, length = data[position + 12 : position + 28], end - position - _HEAD.size
                self._enter(key, (name, start + position, length, data[position + _HEAD.size]))
                position = end
                continue
            following = _next_record(data, view, position + 1)
            if following < 0:
                # The end of a file may be in the hands of its writer at this moment.
                if _is_whole(data, position):
                    damaged += 1
                    position = len(data)
                break
            damaged += 1
            position = following
        self._read[name] = start + position
        if damaged:
            _warn(self.folder / name, damaged)

    def _enter(self, key: bytes, entry: tuple[str, int, int, int]) -> None:
        known = self._index.get(key)
        if known is None or known[3] | entry[3] == entry[3]:
            self._index[key] = entry


def _record_end(view: memoryview, position: int) -> int:
    """Return the byte behind a record, 0 if there is no sound one at this place."""
    if len(view) - position <= _HEAD.size:
        return 0
    magic, checksum, length, _ = _HEAD.unpack_from(view, position)
    end = position + _HEAD.size + int(length)
    if magic != _MAGIC or not length or end > len(view):
        return 0
    return end if zlib.crc32(view[position + 8 : end]) == checksum else 0


def _next_record(data: bytes, view: memoryview, position: int) -> int:
    """Return where the next sound record begins, -1 if there is none."""
    position = data.find(_MAGIC, position)
    while position >= 0 and not _record_end(view, position):
        position = data.find(_MAGIC, position + 1)
    return position


def _is_whole(data: bytes, position: int) -> bool:
    """Whether what begins here is as long as it says, or no record at all."""
    if len(data) - position < _HEAD.size:
        return not _MAGIC.startswith(data[position : position + 4])
    magic, _, length, _ = _HEAD.unpack_from(data, position)
    return bool(magic != _MAGIC or position + _HEAD.size + length <= len(data))


def _read_records(
    file: BinaryIO,
    places: list[tuple[int, int, int]],
    keys: Sequence[bytes],
    found: list[Record | None],
) -> int:
    """Fill in the records at these places of one file and return how many are damaged."""
    damaged = 0
    for position, length, k in places:
        file.seek(position)
        data = file.read(_HEAD.size + length)
        if _record_end(memoryview(data), 0) == len(data) > 0 and data[12:28] == keys[k]:
            try:
                found[k] = decode(data[_HEAD.size :])
                continue
            except ValueError:
                pass
        damaged += 1
    return damaged


def _warn(path: Path, damaged: int) -> None:
    warnings.warn(
        f"{path}: {damaged} damaged {'record' if damaged == 1 else 'records'} of the cache; these "
        "results are computed again",
        KernchemWarning,
        stacklevel=2,
    )
