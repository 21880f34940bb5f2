"""Energies that do not fit their composition: what a program got wrong without saying so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import as_numbers, is_positive, short
from kernchem.errors import LabelError, SettingError
from kernchem.structures import as_structures

__all__ = ["deviations", "flag_outliers"]

_Array = npt.NDArray[np.float64]

#: Turns a median absolute deviation into the standard deviation of a normal distribution.
_NORMAL = 1.4826
#: Structures per element, below which a fit on element counts leaves nothing to judge by.
_PER_ELEMENT = 10
#: A robust deviation is not taken for smaller than this (kcal/mol): repeated structures.
_SMALLEST = 1e-3
#: Fits, each without the outliers of the one before; few change anything after the third.
_FITS = 10


def flag_outliers(energies: Any, structures: Any, threshold: float = 6.0) -> npt.NDArray[np.bool_]:
    """Return which energies lie far from what their element counts say.

    Energies are fitted by least squares on element counts. Residuals further from their median
    than ``threshold`` robust deviations (1.4826 times the median absolute deviation) are flagged;
    the fit is repeated without them until no more are found, so that one absurd energy does not
    hide another.

    Parameters
    ----------
    energies : array (n,) or BaselineResult
        In kcal/mol; NaN where there is none.
    structures : Structures or sequence of ase.Atoms
        What they belong to.
    threshold : float, default 6.0
        Robust deviations.

    Returns
    -------
    array (n,) of bool
        None are flagged among fewer than ten structures with energies per element. Cost O(n) for
        each of a few fits.

    Raises
    ------
    LabelError
        If there are more or fewer energies than structures.
    SettingError
        If the threshold is not positive.

    Examples
    --------
    >>> from kernchem.datasets import load_qm_small
    >>> data = load_qm_small()[:300]
    >>> energies = data["gfn2_energy"].copy()
    >>> energies[7] += 2000.0
    >>> np.flatnonzero(flag_outliers(energies, data))
    array([7])
    """
    if not is_positive(threshold):
        raise SettingError(f"threshold={threshold!r} is not a positive number")
    batch = as_structures(structures)
    given = getattr(energies, "energies", energies)
    try:
        values = as_numbers(given)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (len(batch),):
        raise LabelError(
            f"energies are {short(energies)}, not one number for each of {len(batch)} structures; "
            "give NaN where there is none"
        )
    return np.abs(deviations(values, batch.numbers, batch.offsets, threshold)) > threshold


def deviations(
    energies: _Array,
    numbers: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    threshold: float,
) -> _Array:
    """Return how many robust deviations each residual lies from the median.

    Parameters
    ----------
    energies : array (n,)
        In kcal/mol; NaN where there is none.
    numbers : array (n_atoms,)
        Atomic numbers.
    offsets : array (n + 1,)
        First atom of each structure.
    threshold : float
        Beyond which an energy does not enter the next fit.

    Returns
    -------
    array (n,)
        Zero where there is no energy, and where there are too few to judge.
    """
    known = np.isfinite(energies)
    elements, columns = np.unique(numbers, return_inverse=True)
    n, width = len(energies), len(elements)
    rows = np.repeat(np.arange(n), np.diff(offsets))
    counts = np.bincount(rows * width + columns, minlength=n * width).reshape(n, width)
    counts = counts.astype(np.float64)
    scores, used = np.zeros(n), known.copy()
    for _ in range(_FITS):
        if used.sum() < max(1, _PER_ELEMENT * width):
            break
        solution = np.linalg.lstsq(counts[used], energies[used], rcond=None)[0]
        residuals = energies - counts @ solution
        centre = np.median(residuals[used])
        spread = _NORMAL * np.median(np.abs(residuals[used] - centre))
        scores = np.where(known, (residuals - centre) / max(spread, _SMALLEST), 0.0)
        fitting = known & (np.abs(scores) <= threshold)
        if (fitting == used).all():
            break
        used &= fitting
    return scores
