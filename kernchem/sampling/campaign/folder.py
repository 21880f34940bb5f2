"""The folder of a campaign: a journal that survives any kill, and who writes it."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kernchem
from kernchem._files import try_lock, write_atomically
from kernchem.errors import ResumeError, SettingError

__all__ = ["Journal"]

Record = dict[str, Any]

#: Differences of numbers that count as rounding, relative to the largest: hyperparameters that a
#: search has chosen differ most.
_ROUNDING = 1e-5
#: Settings that folders of older versions lack.
_LATER = {
    "baselines": "the fitted models in the baseline",
    "lent": "the hyperparameters of the fitted model in the selector",
    "geometries": "the structures of the targets",
}
#: What is not told in full.
_SHORT = {"pool": "the structures of the pool"} | _LATER

_RUN, _JOURNAL, _LOCK = "campaign.json", "journal.jsonl", "lock"


class Journal:
    """Records of a campaign, one per line, each with a checksum.

    A record is on the disk when :meth:`append` returns. What a kill has cut is the last line, which
    then has no end; it is removed when the journal is opened again.

    Parameters
    ----------
    folder : Path
        Made if absent.
    settings : dict
        What tells this campaign from others, as JSON knows it.

    Attributes
    ----------
    records : list of dict
        All that is known.

    Raises
    ------
    ResumeError
        If the folder holds another campaign, or one that is damaged.
    """

    def __init__(self, folder: Path, settings: Record) -> None:
        self._path, self._settings = folder / _JOURNAL, json.loads(json.dumps(settings))
        _check(folder, self._settings)
        self.records, end = _sound(self._path)
        if self._path.exists() and self._path.stat().st_size > end:
            os.truncate(self._path, end)

    @staticmethod
    @contextmanager
    def locked(folder: Path) -> Iterator[None]:
        """Keep other processes out of a folder; the system frees it when this one dies."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise SettingError(f"{folder} is a file; name a folder for the campaign") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingError(
                f"folder={str(folder)!r} cannot be made ({reason}); name another"
            ) from None
        with (folder / _LOCK).open("a") as file:
            if not try_lock(file):
                raise ResumeError(
                    f"{folder}: another process works in this folder; wait until it ends, or name "
                    "another folder"
                )
            yield

    def append(self, record: Record) -> None:
        """Store a record for good; what the campaign is comes before the first one."""
        if not self.records:
            _bind(self._path.with_name(_RUN), self._settings)
        text = json.dumps(record, allow_nan=False).encode()
        with self._path.open("ab") as file:
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)


def _sound(path: Path) -> tuple[list[Record], int]:
    """Return the records of a journal and the byte behind the last of them."""
    if not path.exists():
        return [], 0
    lines = path.read_bytes().splitlines(keepends=True)
    records, end = [], 0
    for number, line in enumerate(lines, 1):
        record = _record(line)
        if record is None:
            if line.endswith(b"\n"):
                raise ResumeError(
                    f"{path}, line {number} is damaged, so the campaign cannot go on; restore the "
                    "file from a copy, or name another folder"
                )
            break
        records.append(record)
        end += len(line)
    return records, end


def _record(line: bytes) -> Record | None:
    """Return the record of a line, None if it is cut or damaged."""
    checksum, text = line[:8], line[9:-1]
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    return dict(json.loads(text))


def _bind(path: Path, settings: Record) -> None:
    """Write down what the campaign is."""
    text = json.dumps({"settings": settings, "kernchem": kernchem.__version__}, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def _check(folder: Path, now: Record) -> None:
    """Compare what the campaign is with what is there; without a record it is none yet."""
    path, cure = folder / _RUN, "name another folder, or give what it was started with"
    journal = folder / _JOURNAL
    if not journal.exists() or not journal.stat().st_size:
        return
    if not path.exists():
        raise ResumeError(f"{folder}: {_JOURNAL} lies there without {_RUN}; {cure}")
    try:
        was = json.loads(path.read_text("utf-8"))["settings"]
        names = [
            name
            for name in {**was, **now}
            if not _alike(was.get(name), now.get(name)) and (name in was or name not in _LATER)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ResumeError(f"{path} is damaged, so the campaign cannot go on; {cure}") from None
    if names:
        told = "; ".join(_difference(name, was.get(name), now.get(name)) for name in names)
        raise ResumeError(f"{folder} holds another campaign: {told}; {cure}")


def _alike(was: Any, now: Any) -> bool:
    """Whether settings are the same; numbers may differ by rounding, as machines do."""
    if not (isinstance(was, list) and isinstance(now, list) and len(was) == len(now)):
        return bool(was == now)
    limit = _ROUNDING * max(map(abs, was), default=0.0)
    return all(abs(one - other) <= limit for one, other in zip(was, now, strict=True))


def _difference(name: str, was: Any, now: Any) -> str:
    if name in _SHORT:
        return f"{_SHORT[name]} are not the same"
    return f"{name} was {was} and is now {now}"
