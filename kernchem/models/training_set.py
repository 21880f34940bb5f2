"""Training samples as the solvers want them: distinct, weighted, with their linear part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import check_cv

from kernchem._room import Room
from kernchem.errors import SettingError
from kernchem.models.joint import stacked
from kernchem.models.label_errors import UNKNOWN, LabelErrors, grouped
from kernchem.solvers import Repeats

__all__ = ["TrainingSet", "fold_numbers", "full_rank"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Singular values below this fraction of the largest one do not count towards the rank.
_RANK = 1e-10


@dataclass(frozen=True)
class TrainingSet:
    """Distinct samples with targets, weights and a linear part.

    Attributes
    ----------
    features : array (n, n_features) or (n, n), Environments or JointFeatures
        Features, or the kernel matrix where that was given.
    targets : array (n, t)
        Weighted means of the labels of each distinct sample.
    weights : array (n,)
        Sums of the weights of each distinct sample.
    basis : array (n, p) or None
        Linear part, of full column rank.
    first : array (n,)
        Row of the caller's samples that each distinct sample was taken from.
    member : array (n_samples,)
        Distinct sample that each of the caller's samples belongs to.
    errors : LabelErrors
        What is known of the errors of the targets.
    label_weights : array (n_samples,) or None
        Weight of the label of each of the caller's samples, where some of these were merged.
    repeats : Repeats or None
        What those labels tell beside their means.
    alike : array (n,) or None
        Number of the sample that each row is of, where labels of one sample have noise of their own
        and are rows of their own.
    room : Room
        Where rows of features that are appended go.
    """

    features: Any
    targets: _Array
    weights: _Array
    basis: _Array | None
    first: _Rows
    member: _Rows
    errors: LabelErrors = UNKNOWN
    label_weights: _Array | None = None
    repeats: Repeats | None = None
    alike: _Rows | None = None
    room: Room = field(default_factory=Room, repr=False, compare=False)

    @classmethod
    def distinct(
        cls,
        features: Any,
        labels: _Array,
        weights: _Array,
        basis: _Array | None = None,
        samples: Iterable[Any] | None = None,
        errors: LabelErrors = UNKNOWN,
    ) -> TrainingSet:
        """Merge samples that agree in features, linear part and noise.

        With ``samples``, those of which the bytes agree, as of features of atoms. Their weights
        are added and their labels averaged, so a weight of two and a repetition give the same
        model. Those of other noise are told to be ``alike``: a sample cannot be predicted from its
        own copy.
        """
        keys: dict[tuple[Any, ...], int] = {}
        numbers: dict[tuple[Any, ...], int] = {}
        member = np.empty(len(features), dtype=np.int64)
        first: list[int] = []
        alike: list[int] = []
        for row, values in enumerate(features if samples is None else samples):
            part = b"" if basis is None else basis[row].tobytes()
            # Adding 0.0 turns -0.0 into 0.0, whose bytes differ.
            own = (values + 0.0).tobytes() if samples is None else values
            key = (own, part, *errors.key_of(row, weights))
            member[row] = keys.setdefault(key, len(keys))
            if member[row] == len(first):
                first.append(row)
                alike.append(numbers.setdefault((own, part), len(numbers)))
        chosen = np.array(first, dtype=np.int64)
        total: _Array = np.bincount(member, weights).astype(np.float64)
        sums = [np.bincount(member, weights * column) for column in labels.T]
        targets = np.stack(sums, axis=1) / total[:, None]
        unique = len(chosen) == len(features)
        return cls(
            features=features if unique else features[chosen],
            targets=labels if unique else targets,
            weights=total,
            basis=basis if basis is None or unique else basis[chosen],
            first=chosen,
            member=member,
            errors=errors.merged(member, chosen, weights),
            label_weights=None if unique else weights,
            repeats=None if unique else Repeats.of(labels, weights, member),
            alike=None if len(numbers) == len(first) else np.array(alike),
        )

    @classmethod
    def all(
        cls,
        features: Any,
        labels: _Array,
        weights: _Array,
        basis: _Array | None = None,
        errors: LabelErrors = UNKNOWN,
    ) -> TrainingSet:
        """Take samples as they are, as for a kernel matrix."""
        rows = np.arange(len(features))
        return cls(features, labels, weights, basis, rows, rows, errors)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def n_labels(self) -> int | _Rows:
        """Number of labels, of each target."""
        return len(self) + (0 if self.repeats is None else self.repeats.n_more)

    @property
    def partition(self) -> list[_Rows] | None:
        """Rows of each sample, which are left out together; None where each is one row."""
        if self.alike is None:
            return None
        order = np.argsort(self.alike, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.alike[order])) + 1)

    def take(self, rows: _Rows, *, square: bool) -> TrainingSet:
        """Return some of the distinct samples; ``square`` features are a kernel matrix."""
        basis = None if self.basis is None else full_rank(self.basis[rows])
        features = self.features[np.ix_(rows, rows)] if square else self.features[rows]
        own = np.arange(len(rows))
        return TrainingSet(
            features,
            self.targets[rows],
            self.weights[rows],
            basis,
            self.first[rows],
            own,
            self.errors.take(rows),
            repeats=None if self.repeats is None else self.repeats.take(rows),
            alike=None if self.alike is None else self.alike[rows],
        )

    def appended(
        self, known: Any, features: Any, targets: _Array, basis: _Array, errors: LabelErrors
    ) -> TrainingSet:
        """Return this set, its features replaced by ``known``, and further samples of weight 1."""
        n_new, weights = len(targets), self.label_weights
        plain = isinstance(known, np.ndarray)
        return TrainingSet(
            self.room.joined(known, features) if plain else stacked([known, features]),
            np.concatenate([self.targets, targets]),
            np.concatenate([self.weights, np.ones(n_new)]),
            None if self.basis is None else np.concatenate([self.basis, basis]),
            np.concatenate([self.first, len(self.member) + np.arange(n_new)]),
            np.concatenate([self.member, len(self) + np.arange(n_new)]),
            errors,
            None if weights is None else np.concatenate([weights, np.ones(n_new)]),
            None if self.repeats is None else self.repeats.appended(n_new),
            None if self.alike is None else self._alike_with(n_new),
            self.room,
        )

    def without(self, rows: _Rows, kept: npt.NDArray[np.bool_]) -> TrainingSet:
        """Return the set without some distinct samples; ``kept`` tells which samples are left."""
        left = np.delete(np.arange(len(self)), rows)
        place = np.full(len(self), -1)
        place[left] = np.arange(len(left))
        moved = np.cumsum(kept) - 1
        return TrainingSet(
            self.features[left],
            self.targets[left],
            self.weights[left],
            None if self.basis is None else self.basis[left],
            moved[self.first[left]],
            place[self.member[kept]],
            self.errors.take(left),
            None if self.label_weights is None else self.label_weights[kept],
            None if self.repeats is None else self.repeats.take(left),
            None if self.alike is None else self.alike[left],
        )

    def _alike_with(self, n_new: int) -> _Rows:
        """Return the numbers of samples, and those of further ones."""
        assert self.alike is not None
        return np.concatenate([self.alike, self.alike.max() + 1 + np.arange(n_new)])

    def sample(
        self, n_rows: int, folds: list[_Rows] | None, *, square: bool
    ) -> tuple[TrainingSet, list[_Rows] | None]:
        """Return so many random samples, or all if there are no more, with what each fold keeps."""
        if len(self) <= n_rows:
            return self, folds
        rows = np.sort(np.random.default_rng(0).permutation(len(self))[:n_rows])
        part = self.take(rows, square=square)
        if folds is None:
            return part, None
        position = np.full(len(self), -1)
        position[rows] = np.arange(n_rows)
        inside = [position[fold][position[fold] >= 0] for fold in folds]
        return part, [fold for fold in inside if len(fold)]

    def folds(self, fold_of_sample: _Rows | None) -> list[_Rows] | None:
        """Return the distinct samples of each fold; copies leave with the first that is in one.

        Without folds these are the rows of each sample, or None for one row at a time.

        Raises
        ------
        SettingError
            If there is no fold, or one holds all distinct samples, which leaves nothing to predict
            it from.
        """
        if fold_of_sample is None:
            return self.partition
        sample = np.arange(len(self)) if self.alike is None else self.alike
        fold = np.full(int(sample.max()) + 1, -1)
        # Of several copies the last that is written stays: the first one.
        inside = np.flatnonzero(fold_of_sample >= 0)[::-1]
        fold[sample[self.member[inside]]] = fold_of_sample[inside]
        fold = fold[sample]
        folds = [np.flatnonzero(fold == number) for number in np.unique(fold[fold >= 0])]
        if not folds:
            raise SettingError(
                "cv leaves out no sample: it has no test sets, or empty ones; use other folds, or "
                "None for one sample at a time"
            )
        if any(len(rows) == len(self) for rows in folds):
            raise SettingError(
                "a fold holds all distinct samples and leaves none to learn from; use at least two "
                "groups, or other folds"
            )
        return folds

    def residuals_of_samples(self, residuals: _Array, labels: _Array) -> _Array:
        """Return residuals of the caller's samples from those of the distinct ones.

        All copies of a sample are left out together: each is compared with the same prediction.
        """
        return labels - (self.targets - residuals)[self.member]


def fold_numbers(cv: Any, groups: Any, labels: _Array) -> _Rows | None:
    """Return the number of the fold in which each sample is left out.

    Parameters
    ----------
    cv : int, splitter, iterable of splits or None
        As in scikit-learn; None is one group at a time, or one sample without groups.
    groups : array (n_samples,) or None
        Group of each sample.
    labels : array (n_samples, n_targets)
        Labels, for splitters that look at them.

    Returns
    -------
    array (n_samples,) or None
        Fold of each sample, -1 for one in no fold; None for one sample at a time.

    Raises
    ------
    SettingError
        If there are no such folds, a sample would be left out more than once, or there is not one
        group per sample.
    """
    numbers = None
    if groups is not None:
        try:
            names, numbers = grouped("groups", groups, len(labels))
            groups = names[numbers]
        except ValueError as error:
            raise SettingError(str(error)) from None
    if cv is None:
        return numbers
    fold = np.full(len(labels), -1)
    index = np.zeros((len(labels), 1))
    try:
        found = check_cv(cv).split(index, labels[:, 0], groups)
        rows = np.arange(len(labels))
        splits = [(np.ravel(rows[a]), np.ravel(rows[b])) for a, b in found]
    except (IndexError, TypeError, ValueError) as error:
        raise SettingError(f"cv={cv!r} cannot split {len(labels)} samples: {error}") from None
    for number, (train, test) in enumerate(splits):
        if (fold[test] >= 0).any():
            raise SettingError(
                f"the folds of cv={cv!r} overlap; the closed form needs a splitter whose test sets "
                "are disjoint, such as KFold or GroupKFold"
            )
        fold[test] = number
        if len(np.union1d(train, test)) < len(labels):
            raise SettingError(
                f"cv={cv!r} trains on a part of what it does not leave out; the closed form needs "
                "a splitter that trains on all the rest, such as KFold or GroupKFold"
            )
    return fold


def full_rank(basis: _Array) -> _Array:
    """Return a basis of the column space."""
    _, values, transposed = np.linalg.svd(basis, full_matrices=False)
    return np.asarray(basis @ transposed[values > _RANK * values[0]].T)
