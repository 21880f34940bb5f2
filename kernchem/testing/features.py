"""Rows of features, of molecules or of their atoms, and the names of their elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.elements import formula
from kernchem.environments import Environments
from kernchem.structures import Structures
from kernchem.testing.contract import Array

__all__ = ["allowed_for", "name_of", "owners", "place_in", "rows_of", "values_of"]


def values_of(features: Any) -> Array:
    """Return features as rows, those of atoms behind each other."""
    values: Array = features.values if isinstance(features, Environments) else features
    return values


def rows_of(descriptor: Any, X: Any) -> Array:
    """Return the features of samples as rows."""
    return values_of(descriptor.transform(X))


def owners(structures: Structures, n_rows: int) -> npt.NDArray[np.int64]:
    """Return the structure that each row belongs to; rows of atoms are as many as atoms."""
    rows = np.arange(len(structures))
    return rows if n_rows == len(structures) else np.repeat(rows, structures.sizes)


def allowed_for(expected: Array) -> Array:
    """Return the differences that rounding may make: 1e-10, and 1e-12 of the row's largest."""
    largest = np.abs(expected).max(axis=1, initial=0.0, keepdims=True)
    return np.asarray(1e-10 * np.abs(expected) + 1e-12 * largest)


def name_of(structures: Structures, k: int) -> str:
    """Return number and formula of a structure, as errors name it."""
    return f"structure {k} ({formula(structures[k].numbers)})"


def place_in(
    descriptor: Any, structures: Structures, n_rows: int, what: str = ""
) -> Callable[[int, int], str]:
    """Return what names an element of the rows of these structures."""

    def place(row: int, column: int) -> str:
        k = int(owners(structures, n_rows)[row])
        atom = "" if n_rows == len(structures) else f", atom {row - structures.offsets[k]}"
        names = descriptor.get_feature_names_out()
        feature = names[column] if column < len(names) else column
        return f"{name_of(structures, k)}{atom}, feature {feature}{what and f' ({what})'}"

    return place
