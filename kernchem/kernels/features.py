"""Arguments of kernels between rows of features, checked, and panels of their matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import as_numbers
from kernchem.errors import SettingError
from kernchem.kernels.vector_jit import mirror, mirror_ranked

__all__ = [
    "LARGEST",
    "Bounds",
    "Matrix",
    "as_feature_pair",
    "as_features",
    "checked_bounds",
    "fill_symmetric",
    "mirror_panels",
    "product_panel",
]

Matrix = npt.NDArray[np.float64]
Bounds = tuple[float, float] | npt.ArrayLike | Literal["fixed"]

#: In place of infinite distances: times a kernel of zero, it is zero.
LARGEST = float(np.finfo(np.float64).max)

# Rows per panel, at most for matrix products: a GEMM wants tall panels, as it packs the other
# operand anew for each, yet the panel must stay in cache for the pass that follows.
_PRODUCT_PANEL = 900
_MIRROR_PANEL = 32


def as_features(values: npt.ArrayLike, name: str) -> Matrix:
    """Return rows of features as a C-contiguous float64 array, after checks."""
    try:
        array = np.ascontiguousarray(as_numbers(values))
        shape = np.shape(values)
    except (TypeError, ValueError) as error:
        raise SettingError(
            f"{name} is not an array of numbers ({error}); pass features (n_samples, n_features), "
            "for example of a descriptor's transform"
        ) from None
    if len(shape) != 2 or shape[1] == 0:
        raise SettingError(
            f"{name} has shape {shape}; expected (n_samples, n_features) with at least "
            "one feature; reshape(-1, 1) makes one feature of a list of numbers"
        )
    # The sum is finite if every term is, unless it overflows: then look at each.
    if not np.isfinite(array.sum()):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            row, column = (int(index) for index in bad[0])
            raise SettingError(
                f"{name} contains {array[row, column]} at sample {row}, feature {column} "
                f"({len(bad)} such values in all); features must be finite: drop these samples"
            )
    return array


def as_feature_pair(X: npt.ArrayLike, Y: npt.ArrayLike | None) -> tuple[Matrix, Matrix | None]:
    """Return both operands of a kernel, after checks; None for the second one if it is X."""
    left = as_features(X, "X")
    right = None if Y is None or Y is X else as_features(Y, "Y")
    if right is not None and right.shape[1] != left.shape[1]:
        raise SettingError(
            f"X has {left.shape[1]} features and Y has {right.shape[1]}; both must come from "
            "the same descriptor with the same layout"
        )
    return left, right


def checked_bounds(name: str, bounds: Any, number: int = 1) -> Any:
    """Return bounds of hyperparameters on which an optimizer can rely, as they were given.

    ``number`` is that of the values they hold for: one pair serves all of them.
    """
    try:
        if isinstance(bounds, str):
            usable = bounds == "fixed"
        else:
            pairs = as_numbers(bounds)
            usable = pairs.shape in {(2,), (1, 2), (number, 2)}
            low, high = pairs[..., 0], pairs[..., 1]
            usable = usable and bool(((low > 0) & (low <= high)).all())
    except (TypeError, ValueError, IndexError, KeyError):
        usable = False
    if not usable:
        raise SettingError(f"{name}={bounds!r}; give two numbers, 0 < low <= high, or 'fixed'")
    return bounds


def product_panel(n_rows: int) -> int:
    """Return rows per panel for an even number of equal panels, which two threads share fairly."""
    pairs = max(1, -(-n_rows // (2 * _PRODUCT_PANEL)))
    return max(1, -(-n_rows // (2 * pairs)))


def mirror_panels(out: Matrix, n_jobs: int | None) -> None:
    """Copy what stands below the diagonal to above it."""
    run_panels(lambda start, stop: mirror(out, start, stop), len(out), _MIRROR_PANEL, n_jobs)


def fill_symmetric(
    fill: Callable[[int, int], object],
    panel: int,
    out: Matrix,
    n_jobs: int | None,
    order: npt.NDArray[np.intp] | None = None,
) -> None:
    """Fill the panels on and below the diagonal, then mirror them.

    Position k of the panels is row and column ``order[k]`` of ``out``, by default k. The last
    panels are the longest, so they go first: threads finish together.
    """
    n = len(out)
    run_panels(lambda start, stop: fill(n - stop, n - start), n, panel, n_jobs)
    if order is None:
        mirror_panels(out, n_jobs)
        return
    rank = np.argsort(order)
    run_panels(lambda start, stop: mirror_ranked(out, rank, start, stop), n, _MIRROR_PANEL, n_jobs)
