"""Semiempirical methods by their names on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernchem.errors import SettingError

if TYPE_CHECKING:
    from kernchem.baselines import ProgramBaseline

__all__ = ["METHODS", "make_program"]

#: Names of methods, and the classes that run them.
METHODS = {"gfn1": "GFN1", "gfn2": "GFN2", "am1": "AM1", "pm6": "PM6", "pm7": "PM7"}


def make_program(name: str, settings: dict[str, Any]) -> ProgramBaseline:
    """Return the program of a method.

    Raises
    ------
    SettingError
        If there is no method of this name.
    """
    from kernchem import baselines

    if name not in METHODS:
        raise SettingError(f"--method {name} is unknown; use one of {', '.join(METHODS)}")
    made: ProgramBaseline = getattr(baselines, METHODS[name])(**settings)
    return made
