"""The folder of a run: what was asked for, what is finished, and how to go on."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import kernchem
from kernchem._files import write_atomically
from kernchem.benchmark.protocol import KEYS, Record
from kernchem.errors import ResumeError, SettingError

__all__ = ["RunFolder", "provenance", "to_json"]

_RUN, _RECORDS = "run.json", "records.jsonl"
#: All that a run writes; ``overwrite`` removes these and nothing else.
_FILES = (
    _RUN,
    _RECORDS,
    "results.json",
    "results.csv",
    "learning_curves.png",
    "learning_curves.svg",
)
#: Settings that are written down only where they differ from these.
_DEFAULTS = {"model": "krr"}
_CURE = "add --overwrite (overwrite=True) to start afresh, or name another folder with --out (out=)"


def provenance() -> dict[str, Any]:
    """Return what is needed to repeat a run: time, command line, versions and machine."""
    packages = ("numpy", "scipy", "scikit-learn", "numba")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "versions": {
            "kernchem": kernchem.__version__,
            **{name: metadata.version(name) for name in packages},
            "python": platform.python_version(),
        },
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


def to_json(value: Any) -> str:
    """Return indented JSON; numbers that JSON does not know are an error."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


class RunFolder:
    """A folder that holds one run, finished or not.

    Parameters
    ----------
    folder : Path
        Made if absent.
    run : dict
        ``settings`` and ``data`` identify the run; the rest says how it was made.
    overwrite : bool
        Remove what an earlier run left.

    Attributes
    ----------
    run : dict
        As given, or as the earlier run stored it, with this start under ``resumed``.
    records : list of dict
        Finished ones.

    Raises
    ------
    ResumeError
        If the folder holds another run with finished records, or one that cannot be read.
    SettingError
        If the folder is a file, or the run cannot be written down; nothing is removed then.
    """

    def __init__(self, folder: Path, run: dict[str, Any], *, overwrite: bool) -> None:
        try:
            to_json(run)
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"a setting of the run is neither a text nor a finite number: {error}"
            ) from None
        if folder.is_file():
            raise SettingError(f"out={str(folder)!r} is a file; name a folder")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite or self._is_bare():
            for name in _FILES:
                (folder / name).unlink(missing_ok=True)
        self.run, self.records = run, []
        if (folder / _RUN).exists():
            self.run = self._earlier(run)
            self.records = self._finished()
        else:
            left = [name for name in _FILES if (folder / name).exists()]
            if left:
                raise ResumeError(f"{folder}: {left[0]} lies there without {_RUN}; {_CURE}")
        write_atomically(folder / _RUN, lambda path: path.write_text(to_json(self.run), "utf-8"))
        # Written anew, because the last line may be cut.
        lines = "".join(map(_line, self.records))
        write_atomically(folder / _RECORDS, lambda path: path.write_text(lines, "utf-8"))

    def append(self, record: Record) -> None:
        """Store a finished record for good."""
        with (self.folder / _RECORDS).open("a", encoding="utf-8") as file:
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)

    def _is_bare(self) -> bool:
        """Return whether an earlier run left settings and nothing that could be lost."""
        left = [name for name in _FILES if (self.folder / name).exists()]
        return left in ([_RUN], [_RUN, _RECORDS]) and not self._finished()

    def _earlier(self, run: dict[str, Any]) -> dict[str, Any]:
        path = self.folder / _RUN
        try:
            earlier = json.loads(path.read_text("utf-8"))
            differences = _differences(earlier, run)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ResumeError(f"{path} is damaged, so the run cannot go on; {_CURE}") from None
        if differences:
            raise ResumeError(f"{self.folder} holds another run: {'; '.join(differences)}; {_CURE}")
        start = {key: run[key] for key in ("started", "command", "versions", "platform")}
        return {**earlier, "resumed": [*earlier.get("resumed", []), start]}

    def _finished(self) -> list[Record]:
        path = self.folder / _RECORDS
        if not path.exists():
            return []
        lines = path.read_text("utf-8", errors="replace").splitlines()
        records = []
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict) or not record.keys() >= KEYS:
                    raise ValueError
                records.append(record)
            except ValueError:
                if number < len(lines):
                    raise ResumeError(f"{path}, line {number} is damaged; {_CURE}") from None
        return records


def _line(record: Record) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _differences(earlier: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """Return what identifies a run and differs, as it is told to the user."""
    was = {**_DEFAULTS, **earlier["settings"]}
    told = [
        f"{name} was {was.get(name)!r} and is now {value!r}"
        for name, value in {**_DEFAULTS, **json.loads(json.dumps(run["settings"]))}.items()
        if was.get(name) != value
    ]
    if earlier["data"]["sha256"] != run["data"]["sha256"]:
        told.append("the molecules or their labels are not the same")
    old, new = earlier["versions"]["kernchem"], run["versions"]["kernchem"]
    if old != new:
        told.append(f"it was made by kernchem {old}, this is {new}")
    return told
