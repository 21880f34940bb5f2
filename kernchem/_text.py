"""Lines of text files, compressed or not, in memory that the size of the file bounds."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from kernchem.errors import FileFormatError

__all__ = ["COMPRESSIONS", "check_unpacked", "numbered_lines"]

#: What opens a file with this suffix.
COMPRESSIONS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

#: Compressed text may unpack to the first number of bytes, or to this many times the file's size.
#: Coordinates compress 3 to 10 times, and hardly more than 30 times where atoms rest; constant text
#: 1000 times in gzip and far more in the others. Lines take some twenty times their bytes as Python
#: objects, so that the harmless ones are what any machine can hold.
_HARMLESS = 2**26
_LARGEST_RATIO = 200
#: The longest line: a comment with a Hessian matrix of 600 atoms still fits.
_LONGEST_LINE = 2**26
#: Bytes that are unpacked at a time.
_CHUNK = 2**17

_DAMAGE = (EOFError, OSError, lzma.LZMAError, zlib.error)


class _Unpacked(io.RawIOBase):
    """The content of a compressed file, up to the number of bytes that it may have."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._packed: io.BufferedIOBase = COMPRESSIONS[path.suffix.lower()](path, "rb")
        self._limit = max(_HARMLESS, _LARGEST_RATIO * path.stat().st_size)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what follows; nothing is left at the end."""
        count = self._packed.readinto(buffer)
        self._count += count
        if self._count > self._limit:
            raise FileFormatError(
                f"{self._path}: it unpacks to more than {self._limit} bytes, over "
                f"{_LARGEST_RATIO} times its size, as no text of structures does. It is damaged, "
                "or made to fill the memory; if you trust it, unpack it and read the unpacked file"
            )
        return count

    def close(self) -> None:
        self._packed.close()
        super().close()


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() in COMPRESSIONS:
        return io.BufferedReader(_Unpacked(path), _CHUNK)
    return path.open("rb")


def _damaged(path: Path, where: str, error: Exception) -> FileFormatError:
    return FileFormatError(
        f"{path}{where}: the file cannot be read on ({error}); it is damaged or cut short: copy or "
        "download it again"
    )


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file, counted from one.

    Raises
    ------
    FileFormatError
        If the file is damaged, cut short, no text, has a line without an end or unpacks to far
        more than its size.
    """
    number = 0
    with _open(path) as stream:
        try:
            lines = iter(functools.partial(stream.readline, _LONGEST_LINE + 1), b"")
            for number, line in enumerate(lines, start=1):
                if len(line) > _LONGEST_LINE:
                    raise FileFormatError(
                        f"{path}, line {number}: the line is longer than {_LONGEST_LINE} bytes; "
                        "this is no file of structures, or the ends of its lines were lost: copy "
                        "or download it again"
                    )
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise FileFormatError(
                f"{path}, line {number}: byte {error.object[error.start]:#04x} is no UTF-8 text; "
                "the file is damaged, no text file, or must be saved again as UTF-8"
            ) from None
        except _DAMAGE as error:
            raise _damaged(path, f", after line {number}", error) from None


def check_unpacked(path: Path) -> None:
    """Unpack a compressed file once without keeping anything, before others read it as a whole.

    Raises
    ------
    FileFormatError
        If the file is damaged, cut short or unpacks to far more than its size.
    """
    if path.suffix.lower() not in COMPRESSIONS:
        return
    with _open(path) as stream:
        try:
            while stream.read(_CHUNK):
                pass
        except _DAMAGE as error:
            raise _damaged(path, "", error) from None
