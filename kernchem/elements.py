"""Chemical elements: symbols, atomic numbers and covalent radii."""

import functools

import numpy as np
import numpy.typing as npt

from kernchem.errors import UnknownElementError

__all__ = ["MAX_ATOMIC_NUMBER", "atomic_number", "covalent_radii", "formula", "symbol"]

MAX_ATOMIC_NUMBER = 118


def symbol(number: int) -> str:
    """Return the symbol of an atomic number.

    Parameters
    ----------
    number : int
        1 (hydrogen) to 118.

    Returns
    -------
    str
        E.g. ``"Cl"``.

    Raises
    ------
    UnknownElementError
        If there is no such element.
    """
    from ase.data import chemical_symbols

    if not 1 <= number <= MAX_ATOMIC_NUMBER:
        raise UnknownElementError(
            f"{number} is no atomic number of an element; use 1 (H) to {MAX_ATOMIC_NUMBER}"
        )
    return str(chemical_symbols[int(number)])


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element symbol.

    Parameters
    ----------
    symbol : str
        As in the periodic table, e.g. ``"Cl"``.

    Returns
    -------
    int
        1 to 118.

    Raises
    ------
    UnknownElementError
        If there is no such element.
    """
    from ase.data import atomic_numbers

    try:
        number = atomic_numbers[symbol]
    except KeyError:
        number = 0
    if number == 0:
        raise UnknownElementError(
            f"{symbol!r} is not an element symbol; write it as in the periodic table, e.g. 'Cl'"
        )
    return int(number)


def formula(numbers: npt.ArrayLike) -> str:
    """Return a chemical formula: carbon, hydrogen, then the others by the alphabet.

    Parameters
    ----------
    numbers : array-like (n_atoms,)
        Atomic numbers.

    Returns
    -------
    str
        E.g. ``"C2H6O"``.

    Raises
    ------
    UnknownElementError
        If a number is that of no element.
    """
    from ase.formula import Formula

    symbols = [symbol(number) for number in np.asarray(numbers).ravel()]
    return str(Formula.from_list(symbols).format("hill"))


@functools.cache
def covalent_radii() -> npt.NDArray[np.float64]:
    """Return covalent radii, indexed by atomic number.

    Returns
    -------
    array (119,)
        Angstrom; NaN for elements that the reference does not list (beyond curium) and at 0.

    References
    ----------
    Cordero et al., Dalton Trans. 2832 (2008), https://doi.org/10.1039/b801115j
    """
    from ase.data import covalent_radii as radii

    table = np.array(radii[: MAX_ATOMIC_NUMBER + 1], dtype=float)
    # The table of Cordero et al. ends with curium; ASE fills the rest with 2.0, which is also the
    # value they give for protactinium.
    table[0] = np.nan
    table[97:] = np.nan
    table.flags.writeable = False
    return table
