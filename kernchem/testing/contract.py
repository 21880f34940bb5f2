"""Promises, and what is said where one is broken.

A promise is a function whose docstring says what is promised, and which raises an AssertionError
that says where it is not kept. There are no ``assert`` statements: ``python -O`` would drop them.
"""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "pickled", "require", "require_close", "require_promises", "require_refusal"]

Array = npt.NDArray[np.float64]
Trial = TypeVar("Trial")


def require_promises(
    promises: Iterable[Callable[[Trial], None]], trial: Trial, subject: object
) -> None:
    """Raise an AssertionError at the first promise that is broken, or that cannot be tried."""
    for promise in promises:
        try:
            promise(trial)
        except Exception as error:
            text = " ".join((promise.__doc__ or promise.__name__).split())
            said = str(error)
            if not isinstance(error, AssertionError):
                said = f"{type(error).__name__} was raised: {said}"
            raise AssertionError(
                f"{type(subject).__name__} breaks a promise. {text} Here: {said}"
            ) from error


def require(condition: object, otherwise: str) -> None:
    """Raise an AssertionError with the text unless the condition holds."""
    if not condition:
        raise AssertionError(otherwise)


def require_close(
    actual: Array,
    expected: Array,
    where: Callable[..., str],
    allowed: npt.ArrayLike = 0.0,
) -> None:
    """Raise an AssertionError that names the worst element, unless all are close enough.

    Parameters
    ----------
    actual, expected : array
        What is compared; the shapes must be equal too.
    where : callable
        Takes the index of an element, one argument per axis, and returns its name.
    allowed : array-like
        Largest difference, of any shape that fits; zero asks for the same bits.
    """
    require(
        actual.shape == expected.shape,
        f"the shape is {actual.shape} where {expected.shape} was expected",
    )
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual - expected)
    wrong = ~(difference <= allowed)
    if not wrong.any():
        return
    size = np.where(wrong, np.nan_to_num(difference, nan=np.inf), -1.0)
    worst = np.unravel_index(int(size.argmax()), size.shape)
    limit = float(np.broadcast_to(allowed, actual.shape)[worst])
    raise AssertionError(
        f"{where(*map(int, worst))} is {actual[worst]:.10g} where {expected[worst]:.10g} was "
        f"expected: off by {difference[worst]:.2g}, "
        + (f"and at most {limit:.2g} is allowed" if limit else "and every bit must agree")
    )


def require_refusal(call: Callable[[], object], error: type[Exception], naming: str) -> None:
    """Raise an AssertionError unless the call raises the error, with this in its message."""
    try:
        call()
    except error as raised:
        require(
            naming in str(raised), f"the {error.__name__} does not say {naming!r}, but: {raised}"
        )
    else:
        raise AssertionError(f"no {error.__name__} was raised")


def pickled(thing: Any) -> Any:
    """Return a copy that went through pickle.

    A class that was made inside a function or an example of a document cannot be pickled, as its
    name leads nowhere; copy.deepcopy then asks it for its state in the same way.
    """
    classes = {type(part) for part in (thing, *thing.get_params().values())}
    if all(_is_found_by_name(cls) for cls in classes):
        return pickle.loads(pickle.dumps(thing))
    return copy.deepcopy(thing)


def _is_found_by_name(cls: type) -> bool:
    return getattr(sys.modules.get(cls.__module__), cls.__qualname__, None) is cls
