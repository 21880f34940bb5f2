"""Checks that several modules share, and the texts of their errors."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from kernchem.errors import KernchemError, LabelError, SettingError, StructureError

__all__ = [
    "as_numbers",
    "check_baselines",
    "check_labels",
    "check_size",
    "check_weights",
    "generator_of",
    "is_length",
    "is_not_negative",
    "is_positive",
    "is_whole",
    "numbered",
    "real_numbers",
    "renumbered",
    "sample_numbers",
    "short",
    "truth_values",
    "whole_numbers",
]


_MOST_ATOMS = 1_000_000

#: What arrays hold that numpy would turn into numbers, by the kind of their type.
_OTHER_KINDS = {"c": "complex numbers", "M": "dates", "m": "time spans", "U": "texts", "S": "texts"}


def as_numbers(values: Any) -> npt.NDArray[np.float64]:
    """Return values as a float64 array, of which it makes no copy.

    Raises
    ------
    TypeError, ValueError
        If they are something else that could be made numbers; it tells what they are.
    """
    array = np.asarray(values)
    if array.dtype.kind in _OTHER_KINDS:
        raise TypeError(f"they are {_OTHER_KINDS[array.dtype.kind]}")
    if array.dtype.kind == "O" and any(isinstance(one, str | bytes) for one in array.flat):
        raise TypeError("some are texts")
    if np.ma.is_masked(values):
        raise TypeError("some are masked; leave these samples out")
    return np.asarray(array, dtype=np.float64)


def check_labels(y: Any, n_samples: int) -> npt.NDArray[np.float64]:
    """Return labels as a float64 array (n_samples,) or (n_samples, n_targets).

    Parameters
    ----------
    y : array-like (n_samples,) or (n_samples, n_targets)
        Labels.
    n_samples : int
        Number of samples they belong to.

    Returns
    -------
    array
        A float64 array of the same shape.

    Raises
    ------
    LabelError
        If a label is missing, not a number or not finite; the message names the sample's index.
    """
    if y is None:
        raise LabelError("requires y to be passed, but the target y is None")
    try:
        labels = np.array(as_numbers(y))
    except (TypeError, ValueError) as error:
        raise LabelError(f"Unknown label type: labels must be numbers ({error})") from None
    if n_samples == 0:
        raise LabelError("there are no samples; give at least one")
    if labels.ndim not in {1, 2} or 0 in labels.shape[1:]:
        raise LabelError(
            f"y has shape {labels.shape}; expected ({n_samples},) or ({n_samples}, n_targets)"
        )
    if len(labels) != n_samples:
        raise LabelError(
            f"there are {len(labels)} labels for {n_samples} samples; give one for each "
            "(inconsistent numbers of samples)"
        )
    bad = np.argwhere(~np.isfinite(labels))
    if len(bad):
        index = int(bad[0, 0])
        what = "NaN" if np.isnan(labels[tuple(bad[0])]) else "infinity"
        raise LabelError(
            f"Input y contains {what}: the label of sample {index} is not a finite number "
            f"({len(bad)} such labels in all); drop these samples, e.g. X[np.isfinite(y)]"
        )
    return labels


def check_weights(
    sample_weight: Any, n_samples: int, name: str = "sample_weight"
) -> npt.NDArray[np.float64]:
    """Return weights as an array (n_samples,); ones if none were given.

    Raises
    ------
    LabelError
        If a weight is negative or not finite, all are zero, or the number is wrong.
    """
    if sample_weight is None:
        return np.ones(n_samples)
    try:
        weights = as_numbers(sample_weight)
    except (TypeError, ValueError) as error:
        raise LabelError(f"{name} must hold numbers ({error})") from None
    if weights.ndim == 0:
        weights = np.full(n_samples, float(weights))
    if weights.shape != (n_samples,):
        raise LabelError(
            f"{name} has shape {weights.shape}; expected ({n_samples},), one per sample"
        )
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise LabelError(
            f"the weight of sample {bad[0]} is {weights[bad[0]]}; weights are finite and >= 0"
        )
    if not weights.any():
        raise LabelError(f"every {name} is zero; at least one sample must count")
    return weights


def check_baselines(target: str | None, baselines: Sequence[str]) -> None:
    """Raise if a property is learnt from itself, or is named twice as a baseline.

    Raises
    ------
    SettingError
        If so; the message names the property.
    """
    for k, name in enumerate(baselines):
        if name == target:
            raise SettingError(
                f"baseline {name!r} is the target itself, of which nothing is left to learn; name "
                "a property of a cheaper method"
            )
        if name in baselines[:k]:
            raise SettingError(f"baseline {name!r} is named twice; name it once")


def check_size(size: Any) -> None:
    """Raise SettingError unless a size is a number of atoms for which features have room, or None.

    Its square must be a number of bytes.
    """
    if size is not None and not (is_whole(size, 1) and size <= _MOST_ATOMS):
        raise SettingError(
            f"size={size!r} is no number of atoms; give a whole number from 1 to {_MOST_ATOMS}, or "
            "None to learn it in fit"
        )


def renumbered(message: str, numbers: Any) -> str:
    """Return a message about a structure of a subset with its number in the whole.

    Parameters
    ----------
    message : str
        What may name a structure of the subset, as in "structure 3 (CH4)".
    numbers : sequence of int
        Number in the whole of each structure of the subset.

    Returns
    -------
    str
        The message as it is if it names none.
    """

    def number(match: re.Match[str]) -> str:
        k = int(match[1])
        return f"structure {numbers[k]}" if k < len(numbers) else match[0]

    return re.sub(r"\bstructure (\d+)", number, message, count=1)


@contextmanager
def numbered(numbers: Any) -> Iterator[None]:
    """Give errors about a structure of a subset its number in the whole, as in ``renumbered``."""
    try:
        yield
    except KernchemError as error:
        raise type(error)(renumbered(str(error), numbers)) from None


def generator_of(random_state: Any) -> np.random.RandomState:
    """Return the source of randomness that a ``random_state`` names."""
    # Commands that compute nothing start without scikit-learn.
    from sklearn.utils import check_random_state

    try:
        generator: np.random.RandomState = check_random_state(random_state)
    except (TypeError, ValueError):
        raise SettingError(
            f"random_state={short(random_state)}; use a whole number from 0 to {2**32 - 1}, a "
            "numpy.random.RandomState, or None"
        ) from None
    return generator


def short(value: Any) -> str:
    """Return type and beginning of a value, for an error's message."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def whole_numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    """Return values as int64 if they are whole numbers."""
    array = _rectangular(values, name)
    whole = array.size == 0 or np.issubdtype(array.dtype, np.integer)
    if not whole and array.dtype.kind == "f":
        # Beyond 2**53 a float64 no longer tells whole numbers apart.
        whole = bool(((np.abs(array) <= 2**53) & (array == np.floor(array))).all())
    if not whole:
        raise StructureError(f"{name} must hold whole numbers; got {short(values)}")
    return np.array(array, dtype=np.int64)


def real_numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    """Return values as a C-contiguous float64 array if they are real numbers."""
    array = _rectangular(values, name)
    # A text, a truth value or a missing one is not the number that NumPy would make of it.
    if array.size and array.dtype.kind not in "iuf":
        raise StructureError(
            f"{name} must hold real numbers; got {short(values)} of type {array.dtype}: convert "
            "them before, e.g. np.asarray(values, dtype=float)"
        )
    return np.array(array, dtype=np.float64, order="C")


def truth_values(values: npt.ArrayLike, name: str) -> npt.NDArray[np.bool_]:
    """Return values as booleans if they are such, or zeros and ones."""
    array = _rectangular(values, name)
    known = array.dtype.kind == "b" or array.size == 0
    if not known and not (array.dtype.kind in "iuf" and np.isin(array, [0, 1]).all()):
        raise StructureError(f"{name} must hold True and False; got {short(values)}")
    return np.array(array, dtype=bool)


def _rectangular(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise StructureError(
            f"{name} must be one rectangular array of numbers; got {short(values)}. Lists of "
            "arrays of different lengths go through Structures.from_arrays"
        ) from None


def sample_numbers(samples: Any, n_samples: int) -> npt.NDArray[np.int64]:
    """Return numbers of samples, ascending and each once, from such numbers or from a mask.

    Raises
    ------
    SettingError
        If they are none, or there are no such samples.
    """
    try:
        given = np.asarray(samples)
    except ValueError:
        given = np.zeros(0)
    if given.dtype == bool and given.shape == (n_samples,):
        given = np.flatnonzero(given)
    numbers = np.unique(given) if given.dtype.kind in "iu" else np.zeros(0)
    if len(numbers) == 0 or numbers[0] < 0 or numbers[-1] >= n_samples:
        raise SettingError(
            f"samples={short(samples)}; give whole numbers from 0 to {n_samples - 1}, or a mask of "
            f"{n_samples} booleans"
        )
    return numbers.astype(np.int64)


def is_whole(value: Any, smallest: int) -> TypeGuard[int]:
    """Whether an argument is a whole number and not below ``smallest``."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return bool(whole and value >= smallest)


def is_not_negative(value: Any) -> bool:
    """Whether an argument is a finite number from zero on."""
    return bool(_is_real(value) and 0.0 <= value < math.inf)


def is_positive(value: Any) -> bool:
    """Whether an argument is a finite number above zero."""
    return bool(_is_real(value) and 0.0 < value < math.inf)


def is_length(value: Any) -> bool:
    """Whether an argument is a number, 1e-150 to 1e150, whose square is neither 0 nor infinite."""
    return bool(_is_real(value) and 1e-150 <= value <= 1e150)


def _is_real(value: Any) -> bool:
    real = isinstance(value, int | float | np.integer | np.floating)
    return real and not isinstance(value, bool)
