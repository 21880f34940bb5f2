"""Tables of SOAP that follow from its settings: weights of neighbours, factors of harmonics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import factorial, factorial2

from kernchem._validation import is_not_negative, is_positive
from kernchem.errors import SettingError

__all__ = ["harmonic_recurrences", "harmonic_starts", "weight_numbers"]

_Array = npt.NDArray[np.float64]

# Harmonics of a degree are padded to a multiple of this, the width of a vector register.
_LANES = 4
# Radial weights, by the numbers the compiled code knows, and the settings each of them needs.
_WEIGHTS = {"poly": (1, "r0 c m"), "pow": (2, "r0 c d m"), "exp": (3, "r0 c d")}
# Lengths of rows are made of fourth powers of weights; and no two atoms are nearer than this.
_LARGEST, _NEAREST = 1e60, 0.05
_EXAMPLE = "{'function': 'poly', 'r0': 5.0, 'c': 1.0, 'm': 2.0}"


def weight_numbers(weighting: Any, r_cut: float, cutoff: float | None, reach: float) -> _Array:
    """Return the weights of neighbours as the numbers that the compiled code takes.

    Parameters
    ----------
    weighting : dict or None
        Setting of that name.
    r_cut : float
        Radius of the surroundings, angstrom.
    cutoff : float or None
        Width of the shell in which weights fall to zero, angstrom.
    reach : float
        Distance up to which neighbours count, angstrom.

    Returns
    -------
    array (8,)
        Number of the function, r0, c, d, m, weight of the centre (-1: that of the function),
        ``r_cut``, and width (0: none).

    Raises
    ------
    SettingError
        If the setting has entries it cannot have.
    """
    numbers = np.array([0.0, 1.0, 0.0, 0.0, 0.0, -1.0, r_cut, cutoff or 0.0])
    if weighting is None:
        return numbers
    if not isinstance(weighting, Mapping):
        raise SettingError(f"weighting={weighting!r} is no mapping; write e.g. {_EXAMPLE}")
    given = dict(weighting)
    function, centre = given.pop("function", None), given.pop("w0", None)
    if function is not None and not (isinstance(function, str) and function in _WEIGHTS):
        raise SettingError(
            f"weighting: the function {function!r} is unknown; choose one of "
            f"{', '.join(map(repr, _WEIGHTS))}, e.g. {_EXAMPLE}"
        )
    number, needed = (0, "") if function is None else _WEIGHTS[function]
    if set(given) != set(needed.split()):
        raise SettingError(
            f"weighting={weighting!r}: beside 'function' and 'w0', it must hold "
            f"{', '.join(needed.split()) or 'nothing'}; write e.g. {_EXAMPLE}"
        )
    if centre is not None:
        given["w0"] = centre
    places = {"r0": 1, "c": 2, "d": 3, "m": 4, "w0": 5}
    for name, value in given.items():
        # At the centre "pow" divides by d alone.
        positive = name == "r0" or (name == "d" and function == "pow" and centre is None)
        if not (is_positive(value) if positive else is_not_negative(value)):
            raise SettingError(
                f"weighting[{name!r}]={value!r} must be a finite number "
                f"{'above' if positive else 'not below'} 0"
            )
        numbers[places[name]] = value
    numbers[0] = number
    largest = _largest_weight(numbers, reach)
    if not largest <= _LARGEST:
        raise SettingError(
            f"weighting={weighting!r} gives neighbours from {_NEAREST:g} to {reach:.3g} angstrom "
            f"weights up to {largest:.2g}, and features hold {_LARGEST:g} at most; choose a "
            "smaller c, w0 or m, or a larger d"
        )
    return numbers


def _largest_weight(numbers: _Array, reach: float) -> float:
    """Return the largest weight of atoms at distances from the nearest one to ``reach``."""
    function, r0, c, d, m, centre = numbers[:6]
    largest = [1.0, c, np.inf, np.inf][int(function)]
    with np.errstate(all="ignore"):
        if function == 2:
            largest = c / (d + (_NEAREST / r0) ** m)
        elif function == 3:
            largest = c / (d + np.exp(-reach / r0))
    return float(np.maximum(largest, centre))


def harmonic_recurrences(l_max: int) -> _Array:
    """Return the factors by which harmonics follow from those of lower degrees.

    Parameters
    ----------
    l_max : int
        Largest degree.

    Returns
    -------
    array (2, l_max + 1, l_max + 1)
        See :func:`kernchem.descriptors.soap_jit._fill_harmonics`.
    """
    degree, m = np.indices((l_max + 1, l_max + 1), dtype=np.float64)
    above = degree >= m
    norms = np.where(m > 0.0, 2.0, 1.0) * (2.0 * degree + 1.0) / (4.0 * np.pi)
    norms = np.sqrt(norms * factorial(np.where(above, degree - m, 0)) / factorial(degree + m))
    steps = np.where(degree > m, degree - m, 1.0)
    out = np.zeros((2, *norms.shape))
    out[0, 1:] = ((2.0 * degree - 1.0) / steps * norms)[1:] / norms[:-1]
    out[1, 2:] = ((degree + m - 1.0) / steps * norms)[2:] / norms[:-2]
    own = np.arange(l_max + 1)
    out[0, own, own] = norms[own, own] * factorial2(np.maximum(2 * own - 1, 1))
    return np.where(above, out, 0.0)


def harmonic_starts(l_max: int) -> npt.NDArray[np.int64]:
    """Return where the harmonics of each degree start, and the end of the last ones.

    Parameters
    ----------
    l_max : int
        Largest degree.

    Returns
    -------
    array (l_max + 2,)
        Degree l has ``2 l + 1`` harmonics and, behind them, zeros up to a whole vector register.
    """
    widths = -(-(2 * np.arange(l_max + 1) + 1) // _LANES) * _LANES
    return np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
