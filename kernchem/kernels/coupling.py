"""Which elements a kernel between atoms compares, and with what weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import short
from kernchem.elements import MAX_ATOMIC_NUMBER, atomic_number
from kernchem.errors import SettingError, UnknownElementError

__all__ = ["Coupling", "coupling_matrix"]

Coupling = str | Mapping[str, float]

#: Eigenvalues of a coupling matrix down to minus this, relative to the largest, are zero.
_NEGATIVE = 1e-10
_NAMED = ("same", "all", "heavy")


def coupling_matrix(coupling: Any) -> npt.NDArray[np.float64]:
    """Return the weight of every pair of elements, array (119, 119) indexed by atomic numbers.

    Parameters
    ----------
    coupling : {"same", "all", "heavy"} or mapping of str to float
        Pairs of the same element; all pairs; all pairs without hydrogen; or weights by name, such
        as ``{"C-N": 0.5}``, where pairs of the same element have the weight 1 and others 0 unless
        they are named.

    Raises
    ------
    SettingError
        If it is none of these, or not positive semi-definite.
    """
    n = MAX_ATOMIC_NUMBER + 1
    if isinstance(coupling, str) and coupling in _NAMED:
        matrix = np.eye(n) if coupling == "same" else np.ones((n, n))
        if coupling == "heavy":
            matrix[1] = matrix[:, 1] = 0.0
        return matrix
    if not isinstance(coupling, Mapping):
        raise SettingError(
            f"coupling={short(coupling)}; use one of {', '.join(map(repr, _NAMED))}, or weights of "
            "pairs of elements such as {'C-N': 0.5}"
        )
    matrix = np.eye(n)
    for name, weight in coupling.items():
        try:
            first, second = (atomic_number(part) for part in name.split("-"))
        except (UnknownElementError, ValueError, AttributeError):
            raise SettingError(
                f"coupling has the key {name!r}, which is no pair of elements; write 'C-N'"
            ) from None
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise SettingError(f"coupling[{name!r}]={weight!r} is no number")
        matrix[first, second] = matrix[second, first] = float(weight)
    values = np.linalg.eigvalsh(matrix) if np.isfinite(matrix).all() else np.array([-np.inf, 1.0])
    if values[0] < -_NEGATIVE * values[-1]:
        raise SettingError(
            f"coupling={dict(coupling)!r} is not positive semi-definite (smallest eigenvalue "
            f"{values[0]:.3g}), and so would the kernel be; give weights of smaller size between "
            "different elements"
        )
    return matrix
