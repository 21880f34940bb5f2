"""Checks of arrays of labels, predictions and standard deviations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import as_numbers, short
from kernchem.errors import SettingError

__all__ = ["check_coverage", "check_matrix", "check_predictions", "check_std", "check_vector"]

_Array = npt.NDArray[np.float64]


def check_vector(values: Any, name: str, n: int | None = None, *, finite: bool = True) -> _Array:
    """Return values as a float64 array (n,).

    Parameters
    ----------
    values : array-like (n,)
        What was given.
    name : str
        Its name, for the message.
    n : int, optional
        Length it must have; any but zero by default.
    finite : bool, default True
        False lets infinity through, never NaN.

    Returns
    -------
    array (n,)
        The values.

    Raises
    ------
    SettingError
        If they are not real numbers, of another shape, or not finite.
    """
    array = _real(values, name)
    if array.ndim != 1 or array.size == 0 or (n is not None and len(array) != n):
        raise SettingError(
            f"{name} has shape {array.shape}; expected ({'n' if n is None else n},), one number "
            "per sample and at least one sample"
        )
    bad = np.flatnonzero(~np.isfinite(array) if finite else np.isnan(array))
    if len(bad):
        raise SettingError(
            f"{name}[{bad[0]}] is {array[bad[0]]}; every number must be "
            f"{'finite' if finite else 'a number'} ({len(bad)} are not). Leave such samples out"
        )
    return array


def check_matrix(values: Any, name: str, shape: tuple[int | None, int | None]) -> _Array:
    """Return values as a finite float64 matrix; None in ``shape`` stands for any number."""
    array = _real(values, name)
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    fits = array.ndim == 2 and all(
        size is None or size == given for size, given in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise SettingError(f"{name} has shape {array.shape}; expected ({wanted})")
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise SettingError(
            f"{name}[{row}, {column}] is {array[row, column]}; every number must be finite"
        )
    return array


def check_std(values: Any, name: str = "std", n: int | None = None) -> _Array:
    """Return standard deviations as a float64 array (n,), all finite and above zero."""
    std = check_vector(values, name, n)
    bad = np.flatnonzero(std <= 0)
    if len(bad):
        raise SettingError(
            f"{name}[{bad[0]}] is {std[bad[0]]}; a standard deviation must be above zero "
            f"({len(bad)} are not). Add the noise of the labels to the variance"
        )
    return std


def check_predictions(y: Any, mean: Any, std: Any) -> tuple[_Array, _Array, _Array]:
    """Return labels, predictions and standard deviations as float64 arrays (n,)."""
    y = check_vector(y, "y")
    return y, check_vector(mean, "mean", len(y)), check_std(std, "std", len(y))


def check_coverage(coverage: Any, name: str = "coverage") -> float:
    """Return a probability as a float, above 0 and below 1."""
    real = isinstance(coverage, int | float | np.integer | np.floating)
    if not real or isinstance(coverage, bool) or not 0.0 < coverage < 1.0:
        hint = "; use 0.9 for 90 %" if real and 1 <= coverage < math.inf else ""
        raise SettingError(
            f"{name}={short(coverage)}: a probability above 0 and below 1 is needed{hint}"
        )
    return float(coverage)


def _real(values: Any, name: str) -> _Array:
    try:
        return as_numbers(values)
    except (TypeError, ValueError):
        raise SettingError(
            f"{name} must be an array of real numbers; got {short(values)}"
        ) from None
