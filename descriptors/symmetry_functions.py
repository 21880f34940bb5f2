"""Parameters of atom-centred symmetry functions: ready sets, and those that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import is_positive, is_whole
from kernchem.errors import SettingError

__all__ = [
    "AngularLayout",
    "angular_layout",
    "angular_parameters",
    "angular_set",
    "radial_parameters",
    "radial_set",
    "wave_numbers",
]

_Array = npt.NDArray[np.float64]

#: Gaussians, shapes, ends and members, as the compiled fillers take them.
AngularLayout = tuple[_Array, _Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]

# The ready sets are those that Gastegger et al. start from (supporting information): the last grid
# point lies half an angstrom inside the cutoff, shifted Gaussians begin at 0.5 angstrom, a third of
# an angstrom apart, and centred ones at 1 angstrom.
_LAST, _FIRST_SHIFTED, _FIRST_CENTRED = 0.5, 0.5, 1.0
_SPACING = 1.0 / 3.0
_N_CENTRED, _N_ANGULAR = 10, 3
_ZETAS = (1.0, 2.0, 4.0)
# Gaussians narrower than 0.007 angstrom, or farther away than twice the cutoff, see no atoms;
# powers beyond this one overflow; and a ready set of more functions suits no molecule.
_LARGEST_ETA, _FARTHEST, _LARGEST_ZETA, _MOST = 1e4, 2.0, 500.0, 1000
_SAY_ETA = f"eta must lie from 0 to {_LARGEST_ETA:g}, in 1/angstrom^2"
#: Least cutoff that leaves the grids a length, angstrom.
_LEAST_R_CUT = 2.0
_RADIAL_SETS, _ANGULAR_SET = ("shifted", "centred"), "centred"
_SAY_RADIAL = "choose 'shifted' or 'centred', give rows (eta, r_s), or None for no functions"
_SAY_ANGULAR = (
    "choose 'centred', give rows (eta, zeta, lambda) or (eta, zeta, lambda, r_s), or None for no "
    "functions"
)


def radial_set(kind: str, r_cut: float, n: int | None = None) -> _Array:
    """Return evenly spaced radial functions.

    Parameters
    ----------
    kind : {"shifted", "centred"}
        Gaussians at the points R of a grid that are as wide as its spacing,
        ``r_s = R, eta = 1 / (2 dR^2)``; or Gaussians at the atom that are as wide as R,
        ``r_s = 0, eta = 1 / (2 R^2)``. The grid ends at ``r_cut - 0.5`` and begins at 0.5 (shifted)
        or 1.0 (centred).
    r_cut : float
        Cutoff, angstrom, at least 2.
    n : int, optional
        Number of functions, at least 2; by default the number that makes the spacing a third of an
        angstrom (shifted), or 10 (centred).

    Returns
    -------
    array (n, 2)
        eta in 1/angstrom^2 and r_s in angstrom.

    Raises
    ------
    SettingError
        If the kind is unknown, the number is none, or the cutoff leaves the grid no length.

    References
    ----------
    M. Gastegger et al., J. Chem. Phys. 148, 241709 (2018), https://doi.org/10.1063/1.5019667
    """
    _require_length(r_cut)
    if n is not None:
        _require_number(n, 2)
    if kind == "shifted":
        width = r_cut - _LAST - _FIRST_SHIFTED
        if n is None and width > _SPACING * _MOST:
            raise SettingError(
                f"r_cut={r_cut!r} makes a ready set of more than {_MOST} functions; choose a "
                "smaller one, or give parameters of your own"
            )
        count = round(width / _SPACING) + 1 if n is None else n
        grid = np.linspace(_FIRST_SHIFTED, r_cut - _LAST, count)
        return np.column_stack([np.full(count, 0.5 / (grid[1] - grid[0]) ** 2), grid])
    if kind == "centred":
        grid = np.linspace(_FIRST_CENTRED, r_cut - _LAST, _N_CENTRED if n is None else n)
        return np.column_stack([0.5 / grid**2, np.zeros(len(grid))])
    raise SettingError(f"there is no set of radial functions {kind!r}: 'shifted' or 'centred'")


def angular_set(r_cut: float, n: int = _N_ANGULAR, zetas: Sequence[float] = _ZETAS) -> _Array:
    """Return angular functions with evenly spaced widths, each zeta with lambda 1 and -1.

    Parameters
    ----------
    r_cut : float
        Cutoff, angstrom, at least 2.
    n : int, default 3
        Number of Gaussians, ``eta = 1 / (2 R^2)`` for R on a grid from 1.0 to ``r_cut - 0.5``.
    zetas : sequence of float, default (1, 2, 4)
        Exponents of the angular part.

    Returns
    -------
    array (n * len(zetas) * 2, 3)
        eta in 1/angstrom^2, zeta and lambda.

    Raises
    ------
    SettingError
        If the number is none, or the cutoff leaves the grid no length.

    References
    ----------
    M. Gastegger et al., J. Chem. Phys. 148, 241709 (2018), https://doi.org/10.1063/1.5019667
    """
    _require_length(r_cut)
    _require_number(n, 1)
    etas = 0.5 / np.linspace(_FIRST_CENTRED, r_cut - _LAST, n) ** 2
    return np.array([(eta, zeta, sign) for eta in etas for zeta in zetas for sign in (1.0, -1.0)])


def _require_number(n: int, fewest: int) -> None:
    if not is_whole(n, fewest) or n > _MOST:
        raise SettingError(
            f"n={n!r} is no number of functions; give a whole number from {fewest} to {_MOST}"
        )


def _require_length(r_cut: float) -> None:
    if not is_positive(r_cut):
        raise SettingError(f"r_cut={r_cut!r} must be a finite number of angstrom above 0")
    if r_cut < _LEAST_R_CUT:
        raise SettingError(
            f"r_cut={r_cut!r} is too short for the ready sets of functions, which begin at 1 "
            f"angstrom; choose at least {_LEAST_R_CUT}, or give parameters of your own"
        )


def radial_parameters(value: Any, argument: str, r_cut: float) -> _Array:
    """Return (eta, r_s) of the radial functions that an argument stands for, array (n, 2)."""
    if isinstance(value, str):
        if value not in _RADIAL_SETS:
            raise SettingError(f"{argument}={value!r} is no ready set; {_SAY_RADIAL}")
        return radial_set(value, r_cut)
    rows = _rows(value, (2,), f"{argument}={value!r} is no list of rows; {_SAY_RADIAL}")
    _require_gaussians(rows, 1, argument, r_cut)
    return rows


def wave_numbers(value: Any, argument: str) -> _Array:
    """Return the kappas of an argument, array (n,)."""
    message = f"{argument}={value!r} is no list of numbers; write e.g. [0.5, 1.0], in 1/angstrom"
    return _rows(value, None, message)


def angular_parameters(value: Any, argument: str, r_cut: float) -> _Array:
    """Return (eta, zeta, lambda, r_s) of the functions that an argument stands for."""
    if isinstance(value, str):
        if value != _ANGULAR_SET:
            raise SettingError(f"{argument}={value!r} is no ready set; {_SAY_ANGULAR}")
        value = angular_set(r_cut)
    rows = _rows(value, (3, 4), f"{argument}={value!r} is no list of rows; {_SAY_ANGULAR}")
    if rows.shape[1] == 3:
        rows = np.column_stack([rows, np.zeros(len(rows))])
    _require_gaussians(rows, 3, argument, r_cut)
    said = f"zeta must be above 0, and {_LARGEST_ZETA:g} at most"
    _require_row((rows[:, 1] > 0.0) & (rows[:, 1] <= _LARGEST_ZETA), rows, argument, said)
    _require_row(np.abs(rows[:, 2]) <= 1.0, rows, argument, "lambda must lie from -1 to 1")
    return rows


def angular_layout(parameters: _Array, first: int) -> AngularLayout:
    """Sort angular functions by what they share, as the compiled fillers want them.

    Parameters
    ----------
    parameters : array (n, 4)
        (eta, zeta, lambda, r_s) of each function.
    first : int
        Place of the first one in the block of a pair of elements.

    Returns
    -------
    gaussians : array (n_gaussians, 2)
        The different (eta, r_s).
    shapes : array (n_shapes, 2)
        The different (zeta, lambda).
    ends : array (n_shapes + 1,)
        Functions of shape s are the rows ``ends[s]:ends[s + 1]`` of members.
    members : array (n, 2)
        Number of its Gaussian, and place in the block, of each function.
    """
    gaussians, gaussian_of = np.unique(parameters[:, [0, 3]], axis=0, return_inverse=True)
    shapes, shape_of = np.unique(parameters[:, [1, 2]], axis=0, return_inverse=True)
    order = np.argsort(shape_of.ravel(), kind="stable")
    ends = np.searchsorted(shape_of.ravel()[order], np.arange(len(shapes) + 1))
    members = np.column_stack([gaussian_of.ravel()[order], first + order])
    return gaussians, shapes, ends.astype(np.int64), members.astype(np.int64)


def _rows(value: Any, widths: tuple[int, ...] | None, message: str) -> _Array:
    """Return finite numbers in rows of one of the widths, or in one row; None gives no rows."""
    try:
        given = np.array([] if value is None else value)
    except ValueError:
        raise SettingError(message) from None
    # Neither texts, which may look like numbers, nor truth values nor complex numbers.
    if given.dtype.kind not in "iuf":
        raise SettingError(message)
    rows = given.astype(np.float64)
    if rows.size == 0 and rows.ndim:
        rows = np.zeros(0 if widths is None else (0, widths[0]))
    shaped = rows.ndim == 1 if widths is None else rows.ndim == 2 and rows.shape[1] in widths
    if not shaped or not np.isfinite(rows).all():
        raise SettingError(message)
    return rows


def _require_gaussians(rows: _Array, shift: int, argument: str, r_cut: float) -> None:
    """Raise SettingError unless the Gaussians (eta in column 0, r_s in ``shift``) can see atoms."""
    etas, shifts = rows[:, 0], rows[:, shift]
    _require_row((etas >= 0.0) & (etas <= _LARGEST_ETA), rows, argument, _SAY_ETA)
    said = f"r_s must not be beyond twice r_cut={r_cut!r}"
    _require_row(np.abs(shifts) <= _FARTHEST * r_cut, rows, argument, said)


def _require_row(good: npt.NDArray[np.bool_], rows: _Array, argument: str, wanted: str) -> None:
    if not good.all():
        k = int(np.argmin(good))
        raise SettingError(f"{argument}[{k}]={tuple(rows[k].tolist())}: {wanted}")
