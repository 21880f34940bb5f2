"""Files of public datasets: downloaded once, verified whenever they are used.

A download goes on where an earlier one broke off. What identifies a file is the checksum that its
source publishes, or else the one recorded at the first download.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kernchem.datasets.cache import data_home, locked, make_folder, write_atomically
from kernchem.datasets.transfer import ResumingDownloader, TransferError
from kernchem.errors import DatasetError, FileFormatError

__all__ = ["RemoteFile", "fetch_file", "local_file", "local_path", "sha256"]


@dataclass(frozen=True)
class RemoteFile:
    """One published file.

    Parameters
    ----------
    name : str
        Its place in the cache folder, e.g. ``"qm9/dsgdb9nsd.xyz.tar.bz2"``.
    url : str
        Where it is published.
    begins : bytes
        How a file of this kind begins; what begins otherwise is refused, as are the pages that
        servers send instead of a file.
    md5 : str, optional
        The MD5 that the source publishes.
    size : int, optional
        The size in bytes that the source publishes.
    otherwise : str
        What a user can do who has no network, other than putting the file into the cache folder.
    """

    name: str
    url: str
    begins: bytes = b""
    md5: str | None = None
    size: int | None = None
    otherwise: str = "pass the file or folder you have as path= (--path on the command line)"

    @property
    def path(self) -> Path:
        """The file's place in the cache folder."""
        return data_home() / self.name

    @property
    def record(self) -> Path:
        """The place of the checksum recorded at the first download."""
        return self.path.with_name(f"{self.path.name}.sha256.json")


def fetch_file(file: RemoteFile) -> tuple[Path, str]:
    """Return a published file's place in the cache folder, and its SHA-256.

    Parameters
    ----------
    file : RemoteFile
        Downloaded unless it lies there already.

    Returns
    -------
    path : Path
        A verified file.
    digest : str
        SHA-256, in hexadecimal.

    Raises
    ------
    DatasetError
        If it cannot be downloaded, or is not the file that the source publishes or that was
        downloaded first.
    """
    path = file.path
    if not path.exists():
        make_folder(path.parent)
        try:
            with locked(path):
                # pooch leaves it alone where another process has fetched it meanwhile.
                _download(file, path)
        except OSError as error:
            raise DatasetError(
                f"{path} cannot be written ({error.strerror or error}); make room there, or name "
                "another folder in the environment variable KERNCHEM_DATA_HOME"
            ) from error
    cure = f"delete {path} and fetch again"
    return path, _verify(file, path, f"{path} has changed, or is not what was published", cure)


def local_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user gave.

    Parameters
    ----------
    path : str or path-like
        A file or folder.

    Returns
    -------
    Path
        The same, which exists.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    found = Path(path)
    if not os.fspath(path) or not found.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    return found


def local_file(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user gave, which is no folder.

    Parameters
    ----------
    path : str or path-like
        A file.

    Returns
    -------
    Path
        The same, which exists.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is a folder.
    """
    found = local_path(path)
    if found.is_dir():
        raise FileFormatError(f"{path} is a folder; give the published file in it")
    return found


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return _digest(path, "sha256")


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        # MD5 serves to recognise the file here: it guards no secret.
        return hashlib.file_digest(
            stream, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


def _download(file: RemoteFile, path: Path) -> None:
    import pooch

    def check(part: Path) -> None:
        cure = f"fetch again; if the file there was replaced on purpose, delete {file.record} first"
        _verify(file, part, f"{file.url} sent another file than expected; it was dropped", cure)

    # The checksum is ours: pooch would verify a published one only.
    downloader = ResumingDownloader(path.with_name(f"{path.name}.part"), file.size, check)
    try:
        with _silent(pooch.get_logger()):
            pooch.retrieve(
                file.url, None, fname=path.name, path=str(path.parent), downloader=downloader
            )
    except TransferError as error:
        kept = " What has arrived is kept for the next attempt." if downloader.part.exists() else ""
        raise DatasetError(
            f"{file.name} could not be downloaded from {file.url}: {error}.{kept} Without network, "
            f"put the file there yourself as {path}, or {file.otherwise}"
        ) from error


@contextlib.contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger from telling what the progress bar and the errors tell."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _verify(file: RemoteFile, path: Path, what: str, cure: str) -> str:
    """Return the SHA-256 of a file that is the expected one; record it if nothing is recorded."""
    with path.open("rb") as stream:
        begins = stream.read(len(file.begins))
    if begins != file.begins:
        raise DatasetError(
            f"{what}: it begins with {begins!r}, where {file.begins!r} was expected; {cure}"
        )
    digest = sha256(path)
    recorded = _recorded(file)
    if recorded is not None:
        if digest != recorded:
            raise DatasetError(
                f"{what}: its SHA-256 is {digest}, and {recorded} was recorded at the first "
                f"download in {file.record}; {cure}"
            )
        return digest
    md5 = None if file.md5 is None else _digest(path, "md5")
    if md5 != file.md5:
        raise DatasetError(f"{what}: its MD5 is {md5}, and {file.md5} is published; {cure}")
    content = {
        "sha256": digest,
        "bytes": path.stat().st_size,
        "url": file.url,
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(content, indent=1) + "\n"
    # A folder that an administrator filled for many users may be readable only.
    with contextlib.suppress(OSError):
        write_atomically(file.record, lambda stream: stream.write(text.encode()))
    return digest


def _recorded(file: RemoteFile) -> str | None:
    """Return the SHA-256 recorded at the first download, if there is a record."""
    try:
        content: Any = json.loads(file.record.read_text("utf-8"))
        digest = content["sha256"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, LookupError, RecursionError):
        digest = None
    if not isinstance(digest, str):
        raise DatasetError(
            f"{file.record} holds no checksum; delete it, and {file.path} unless you know where "
            "that is from, and fetch again"
        )
    return digest
