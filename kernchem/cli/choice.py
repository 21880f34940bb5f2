"""The descriptor and kernel that a command was given by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernchem.errors import SettingError

if TYPE_CHECKING:
    from kernchem.benchmark.candidates import Candidate

__all__ = ["named_candidate"]


def named_candidate(descriptor: str, kernel: str | None) -> Candidate:
    """Return a descriptor, or a recipe, and a kernel, by default the recommended one.

    Raises
    ------
    SettingError
        If a name is unknown, or a kernel was named for a recipe.
    """
    from kernchem.benchmark.candidates import KERNELS, list_candidates
    from kernchem.models.recipes import RECIPES

    if descriptor in RECIPES and kernel not in {None, "auto"}:
        if kernel not in KERNELS:
            raise SettingError(f"--kernel {kernel} is unknown; use one of {', '.join(KERNELS)}")
        raise SettingError(
            f"--kernel {kernel}: {descriptor} brings its own kernel; name a --descriptor too, such "
            "as encoded-bonds-3"
        )
    try:
        # The first candidate is the reference.
        return list_candidates([descriptor], ["auto" if kernel is None else kernel])[1]
    except SettingError as error:
        options = f"--descriptor {descriptor}" + ("" if kernel is None else f" --kernel {kernel}")
        raise SettingError(f"{options}: {error}") from None
