"""The files of a command: what it writes never replaces what it reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kernchem.errors import SettingError

__all__ = ["check_apart", "check_folder"]


def check_folder(path: Path) -> None:
    """Raise if a file cannot be written into its folder."""
    folder = path.parent
    if not folder.is_dir():
        raise SettingError(f"{path}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(
            f"{path}: the folder {folder} is read-only for you; use another one, or change its "
            "permissions"
        )


def check_apart(
    outputs: Mapping[str, Path | None], inputs: Mapping[str, str | Path | None]
) -> None:
    """Raise, before anything is computed, if one file of a command would replace another.

    Parameters
    ----------
    outputs, inputs : mapping
        Files under the options that name them, None where there is none. An input may be a folder
        of structures, or the name of a dataset.

    Raises
    ------
    SettingError
        If two outputs are the same file, or an output is an input or a part of it.
    """
    written = {option: path for option, path in outputs.items() if path is not None}
    places: dict[Path, str] = {}
    for option, path in written.items():
        other = places.setdefault(path.resolve(), option)
        if other != option:
            raise SettingError(
                f"{other} {path} and {option} {path} are the same file; use another name for one "
                "of them"
            )
        for source_option, name in inputs.items():
            if name is not None and _replaces(path, Path(name)):
                raise SettingError(
                    f"{option} {path} would replace {source_option} {name}; use another name"
                )


def _replaces(path: Path, source: Path) -> bool:
    """Return whether a file that will be written is an input, or a part of it."""
    if not (path.exists() and source.exists()):
        return False
    if source.is_dir():
        from kernchem.io import FOLDER_SUFFIXES

        return path.suffix.lower() in FOLDER_SUFFIXES and path.parent.samefile(source)
    return path.samefile(source)
