"""Published archives, read from the first byte to the last and never unpacked to disk."""

from __future__ import annotations

import bz2
import tarfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO

from kernchem.datasets.cache import progress_bar
from kernchem.errors import FileFormatError

__all__ = ["tar_members"]

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**20


def tar_members(
    path: Path, wanted: Callable[[str], bool], *, largest: int, total: int
) -> Generator[tuple[str, bytes]]:
    """Yield name and content of the wanted files of a ``.tar.bz2``.

    Names are compared and reported, never used as paths; links, devices and files whose names are
    longer than the 100 characters of a header are passed over. The blocks are read here, as
    :mod:`tarfile` takes an archive that is cut short, or damaged between two members, for a
    shorter one.

    Parameters
    ----------
    path : Path
        The archive.
    wanted : callable
        Takes a name without its folders.
    largest : int
        Bytes that a member may have.
    total : int
        Bytes that all of them may have.

    Raises
    ------
    FileFormatError
        If the archive is damaged, cut short, larger than that or no archive.
    """
    number = 0
    with (
        path.open("rb") as packed,
        bz2.open(packed) as stream,
        progress_bar(f"reading {path.name}", path.stat().st_size) as advance,
    ):
        reader = _Reader(path, stream, total)
        while (header := reader.member(largest, number)) is not None:
            name = header.name.replace("\\", "/").rpartition("/")[2]
            if header.type in tarfile.REGULAR_TYPES and wanted(name):
                yield name, reader.content(header.size)
            else:
                reader.skip(header.size)
            number += 1
            advance(packed.tell())


class _Reader:
    """Blocks of a packed archive, up to a number of bytes."""

    def __init__(self, path: Path, stream: IO[bytes], total: int) -> None:
        self._path = path
        self._stream = stream
        self._left = self._total = total

    def member(self, largest: int, number: int) -> tarfile.TarInfo | None:
        """Return the next header; None at the end."""
        block = self._read(_BLOCK)
        if not any(block):
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise self._error(f"after {number} members ({error})") from None
        if not 0 <= header.size <= largest:
            raise FileFormatError(
                f"{self._path}: its member {header.name[:80]!r} claims {header.size} bytes, where "
                f"the published ones have at most {largest}; this is another archive, or damaged"
            )
        return header

    def content(self, size: int) -> bytes:
        """Return the content of a member."""
        content = self._read(size)
        self._read(-size % _BLOCK)
        return content

    def skip(self, size: int) -> None:
        """Pass over the content of a member."""
        left = size + -size % _BLOCK
        while left:
            left -= len(self._read(min(left, _CHUNK)))

    def _read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise FileFormatError(
                f"{self._path}: it unpacks to more than {self._total} bytes; this is another "
                "archive than the published one"
            )
        try:
            data = self._stream.read(size)
        except (EOFError, OSError, ValueError) as error:
            raise self._error(f"({error})") from None
        if len(data) < size:
            raise self._error("(the end of the archive is missing)")
        return data

    def _error(self, what: str) -> FileFormatError:
        return FileFormatError(
            f"{self._path}: it cannot be read as a .tar.bz2 {what}; it is damaged or cut short, or "
            "another kind of file: fetch or copy it again"
        )
