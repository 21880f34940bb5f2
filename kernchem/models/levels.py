"""Labels of several levels of theory: which molecule has which, and what element counts explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import as_numbers, check_labels
from kernchem.errors import CompositionError, LabelError, UnknownElementError
from kernchem.models.composition import CompositionSpace
from kernchem.solvers import equal_labels
from kernchem.structures import Structures

__all__ = [
    "Level",
    "LevelQueries",
    "Levels",
    "check_level_labels",
    "label_variances",
    "mean_labels",
]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """Labels of one level of theory.

    Attributes
    ----------
    rows : array of int (n_labels,)
        Molecules that have a label.
    rest : array (n_labels,)
        What element counts, fitted by least squares, leave of the labels.
    weights : array (n_labels,)
        How many equal molecules each label is the mean of.
    basis : array (n_labels, p)
        Coordinates of their compositions.
    offset : array (p,)
        Coefficients of what was taken away.
    space : CompositionSpace or None
        Compositions that the level determines.
    scale : float
        Typical size of the rest, above zero.
    """

    rows: _Rows
    rest: _Array
    weights: _Array
    basis: _Array
    offset: _Array
    space: CompositionSpace | None
    scale: float


@dataclass(frozen=True)
class Levels:
    """Labels of all levels, the cheapest first.

    Attributes
    ----------
    features : array, Environments or JointFeatures
        Of the distinct molecules.
    levels : list of Level
        At least one.
    """

    features: Any
    levels: list[Level]

    @classmethod
    def of(
        cls, features: Any, targets: _Array, counts: _Array, molecules: Structures | None
    ) -> Levels:
        """Take labels (n, n_levels) apart; NaN is a missing one.

        ``counts`` (n, n_levels) are their weights, and ``molecules`` the structures if element
        counts are to be fitted.
        """
        levels = []
        for column, weights in zip(targets.T, counts.T, strict=True):
            rows = np.flatnonzero(np.isfinite(column))
            space, basis = None, np.zeros((len(rows), 0))
            if molecules is not None:
                space = CompositionSpace(molecules[rows])
                basis = space.basis(molecules[rows])
            levels.append(level_of(rows, column[rows], weights[rows], basis, space))
        return cls(features, levels)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.levels)

    def lower(self, t: int) -> _Array:
        """Return the rest of level ``t - 1`` at the molecules of level ``t``; NaN if missing."""
        values = np.full(len(self), np.nan)
        values[self.levels[t - 1].rows] = self.levels[t - 1].rest
        return values[self.levels[t].rows]

    def table(self, values: list[_Array]) -> _Array:
        """Return numbers of each level's labels as an array (n, n_levels), else NaN."""
        out = np.full((len(self), self.n_levels), np.nan)
        for t, (level, own) in enumerate(zip(self.levels, values, strict=True)):
            out[level.rows, t] = own
        return out

    def bases(self, molecules: Structures | None, n: int, highest: int) -> list[_Array]:
        """Return the linear part (n, p) of new molecules at the levels up to ``highest``.

        Raises
        ------
        CompositionError, UnknownElementError
            If a level does not determine the composition of a molecule; the message names both.
        """
        if molecules is None:
            return [np.zeros((n, 0))] * (highest + 1)
        found = []
        for t, level in enumerate(self.levels[: highest + 1]):
            assert level.space is not None
            try:
                found.append(level.space.basis(molecules))
            except (CompositionError, UnknownElementError) as error:
                raise type(error)(
                    f"level {t} of {self.n_levels} ({len(level.rows)} labels): {error}; or predict "
                    "a lower level (level=)"
                ) from None
        return found


def level_of(
    rows: _Rows,
    labels: _Array,
    weights: _Array,
    basis: _Array,
    space: CompositionSpace | None,
    offset: _Array | None = None,
) -> Level:
    """Return the labels of a level; the offsets are those of least squares if not given."""
    if offset is None:
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(basis * root[:, None], labels * root, rcond=None)[0]
        offset = np.asarray(solution, dtype=np.float64)
    rest = labels - basis @ offset
    size = float(np.sqrt(np.mean(rest**2)))
    return Level(rows, rest, weights, basis, offset, space, size if size > 0.0 else 1.0)


@dataclass(frozen=True)
class LevelQueries:
    """New molecules.

    Attributes
    ----------
    features, known : array, Environments or JointFeatures
        Of the new molecules and of the training set, under one layout.
    bases : list of array (m, p)
        Linear part of each level up to the one that is asked for.
    """

    features: Any
    known: Any
    bases: list[_Array]

    def __len__(self) -> int:
        return len(self.features)

    def take(self, panel: slice) -> LevelQueries:
        """Return some of the molecules."""
        return LevelQueries(self.features[panel], self.known, [one[panel] for one in self.bases])


def mean_labels(labels: _Array, member: _Rows, n: int) -> tuple[_Array, _Array]:
    """Return means of the labels (n, n_levels) of equal samples, and how many there are of each.

    ``member`` (n_samples,) tells which of n distinct samples each one is; NaN is a missing label.
    """
    there = np.isfinite(labels)
    counts, sums = np.zeros((n, labels.shape[1])), np.zeros((n, labels.shape[1]))
    np.add.at(counts, member, there)
    np.add.at(sums, member, np.where(there, labels, 0.0))
    return np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan), counts


def label_variances(labels: _Array, member: _Rows) -> _Array:
    """Return what each label (n_samples, n_levels) has more of noise than the mean of its sample.

    Variances in units of that of one label; NaN for a missing one. Equal labels of a sample at a
    level are one label of as much weight.
    """
    out = np.full(labels.shape, np.nan)
    for t, column in enumerate(labels.T):
        there = np.flatnonzero(np.isfinite(column))
        own = member[there]
        weights = equal_labels(column[there], np.ones(len(there)), own)[1]
        out[there, t] = 1.0 / weights - 1.0 / np.bincount(own)[own]
    return out


def check_level_labels(y: Any, n_samples: int, names: Any = str) -> _Array:
    """Return labels as a float64 array (n_samples, n_levels), NaN for a missing one.

    Parameters
    ----------
    y : array-like (n_samples,) or (n_samples, n_levels)
        Labels from the cheapest level to the dearest; of one level none may be missing.
    n_samples : int
        Number of samples they belong to.
    names : callable
        Returns what to call a sample in a message, given its number.

    Raises
    ------
    LabelError
        If a level or a sample has no label, or a label is infinite; the message names it.
    """
    if y is None or np.ndim(y) != 2 or np.shape(y)[1] < 2 or len(y) != n_samples:
        return check_labels(y, n_samples).reshape(n_samples, -1)
    try:
        found = np.ma.filled(y.astype(np.float64), np.nan) if np.ma.isMaskedArray(y) else y
        labels = np.array(as_numbers(found))
    except (TypeError, ValueError) as error:
        raise LabelError(f"Unknown label type: labels must be numbers ({error})") from None
    bad = np.argwhere(np.isinf(labels))
    if len(bad):
        raise LabelError(
            f"the label of sample {names(bad[0, 0])} at level {bad[0, 1]} is infinite; a label "
            "that is missing is NaN"
        )
    there = np.isfinite(labels)
    empty = np.flatnonzero(~there.any(axis=0))
    if len(empty):
        raise LabelError(
            f"level {empty[0]} of {labels.shape[1]} has no labels: all of its column of y is NaN; "
            "give some, or leave the column out"
        )
    bare = np.flatnonzero(~there.any(axis=1))
    if len(bare):
        raise LabelError(
            f"sample {names(bare[0])} has no label at any level ({len(bare)} such samples in all); "
            "drop them, e.g. with keep = np.isfinite(y).any(axis=1)"
        )
    return labels
