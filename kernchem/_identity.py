"""Texts and checksums by which objects are known again."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

__all__ = ["describe", "digest"]

#: What structures are made of, without their properties.
_GEOMETRY = ("numbers", "positions", "offsets", "cells", "cell", "pbc", "charge", "multiplicity")


def digest(structures: Any) -> str:
    """Return a checksum of structures, or of one, not of their properties."""
    found = hashlib.sha256()
    for name in _GEOMETRY:
        value = getattr(structures, name, None)
        if value is not None:
            found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def describe(value: Any) -> str:
    """Return all settings of an object as text, the same in every process."""
    if isinstance(value, np.ndarray):
        # Of objects, an array holds the places in memory.
        plain = np.ascontiguousarray(value).tobytes()
        told = repr(value.tolist()).encode() if value.dtype.kind == "O" else plain
        return f"array{value.shape} {value.dtype} {hashlib.sha256(told).hexdigest()[:16]}"
    if isinstance(value, set | frozenset):
        return f"[{', '.join(sorted(map(describe, value)))}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(describe, value))}]"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "positions") and hasattr(value, "numbers"):
        return f"{value!r} {digest(value)[:16]}"
    shown: Any = type(value).__repr__
    settings = value if isinstance(value, dict) else None
    if hasattr(value, "get_params"):
        settings = value.get_params(deep=False)
    elif shown is object.__repr__:
        settings = getattr(value, "__dict__", {})
    return repr(value) if settings is None else _with_settings(type(value).__name__, settings)


def _with_settings(name: str, settings: dict[str, Any]) -> str:
    told = (f"{key}={describe(value)}" for key, value in sorted(settings.items()))
    return f"{name}({', '.join(told)})"
