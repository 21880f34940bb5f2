"""Warnings that are told later, in another place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from kernchem.errors import KernchemWarning

__all__ = ["collected_warnings"]


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Yield a list that holds the texts of our own warnings at the end; others are passed on."""
    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", KernchemWarning)
        yield told
    for one in caught:
        if issubclass(one.category, KernchemWarning):
            told.append(str(one.message))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
