"""Covalent radii, and elements that an argument names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from kernchem._validation import is_positive, is_whole
from kernchem.elements import atomic_number, covalent_radii, symbol
from kernchem.errors import SettingError, UnknownElementError

__all__ = ["bond_radii", "element_number", "element_numbers", "radius_table"]


def radius_table(radii: Mapping[str, float] | None) -> npt.NDArray[np.float64]:
    """Return covalent radii with those that a user gave in place of the tabulated ones.

    Parameters
    ----------
    radii : mapping of str to float, or None
        Radii in angstrom by element symbol.

    Returns
    -------
    array (119,)
        Angstrom, indexed by atomic number; NaN where no radius is known.

    Raises
    ------
    SettingError
        If a key names no element or a value is no radius.
    """
    if radii is not None and not isinstance(radii, Mapping):
        raise SettingError(f"radii={radii!r} is no mapping; write e.g. {{'C': 0.76}}, in angstrom")
    table = covalent_radii().copy()
    for name, radius in (radii or {}).items():
        number = element_number(name, "radii")
        if not is_positive(radius):
            raise SettingError(
                f"radii[{name!r}]={radius!r} is no radius; give a finite number of angstrom above 0"
            )
        table[number] = radius
    return table


def bond_radii(
    elements: Sequence[int], radii: Mapping[str, float] | None, cure: str = ""
) -> npt.NDArray[np.float64]:
    """Return the covalent radii of elements whose bonds are looked for, angstrom.

    Raises
    ------
    SettingError
        If one of them has no known radius; ``cure`` names another way out.
    """
    found = radius_table(radii)[list(elements)]
    unknown = np.flatnonzero(np.isnan(found))
    if len(unknown):
        name = symbol(elements[unknown[0]])
        raise SettingError(
            f"no covalent radius of {name} is known, so its bonds cannot be found: pass "
            f"radii={{{name!r}: ...}} in angstrom{cure}"
        )
    return found


def element_number(item: str | int, argument: str) -> int:
    """Return the atomic number of a symbol or of an atomic number in an argument of that name."""
    try:
        if isinstance(item, str):
            return atomic_number(item)
        if is_whole(item, 1):
            return atomic_number(symbol(item))
    except UnknownElementError as error:
        raise SettingError(f"{argument}: {error}") from None
    raise SettingError(f"{argument} holds {item!r}; write a symbol such as 'C' or an atomic number")


def element_numbers(elements: Sequence[str | int], argument: str = "elements") -> tuple[int, ...]:
    """Return the atomic numbers that a user listed as ``argument``, ascending."""
    if isinstance(elements, str | bytes) or not np.iterable(elements):
        raise SettingError(
            f"{argument}={elements!r} is no list of elements; write e.g. ['H', 'C'] or [1, 6]"
        )
    numbers = [element_number(item, argument) for item in elements]
    if not numbers or len(set(numbers)) < len(numbers):
        raise SettingError(
            f"{argument}={elements!r} must name at least one element, and each of them once"
        )
    return tuple(sorted(numbers))
