"""What is known of the errors of labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import as_numbers, short
from kernchem.errors import LabelError

__all__ = ["UNKNOWN", "LabelErrors", "grouped"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: Standard deviations of labels whose squares are numbers.
_LARGEST_NOISE = 1e150


@dataclass(frozen=True)
class LabelErrors:
    """What is known of the errors of labels.

    Attributes
    ----------
    variances : array (n,) or None
        Known variances, in the squared unit of the labels.
    groups : array (n,) or None
        Number of the group of each label; the labels of a group share an unknown noise.
    names : tuple
        Name of each group.
    """

    variances: _Array | None = None
    groups: _Rows | None = None
    names: tuple[Any, ...] = ()

    @classmethod
    def of(cls, noise: Any, groups: Any, n_samples: int) -> LabelErrors:
        """Check standard deviations and names of groups, one per label, or None.

        Raises
        ------
        LabelError
            If a standard deviation is negative or not finite, the number of them is wrong, or a
            name of a group is missing.
        """
        variances = None
        if noise is not None:
            try:
                if np.asarray(noise).dtype == bool:
                    raise TypeError("they are booleans")
                deviations = as_numbers(noise)
            except (TypeError, ValueError) as error:
                raise LabelError(f"noise must hold numbers ({error})") from None
            if deviations.shape not in {(), (n_samples,)}:
                raise LabelError(
                    f"noise has shape {deviations.shape}; expected ({n_samples},), the standard "
                    "deviation of each label, or one number for all"
                )
            deviations = np.broadcast_to(deviations, (n_samples,))
            bad = np.flatnonzero(~((deviations >= 0) & (deviations < _LARGEST_NOISE)))
            if len(bad):
                raise LabelError(
                    f"the noise of sample {bad[0]} is {deviations[bad[0]]}; give finite standard "
                    "deviations >= 0, in the unit of the labels"
                )
            variances = deviations**2
        if groups is None:
            return cls(variances)
        try:
            names, numbers = grouped("noise_groups", groups, n_samples)
        except ValueError as error:
            raise LabelError(str(error)) from None
        return cls(variances, numbers, tuple(names.tolist()))

    @property
    def n_groups(self) -> int:
        """Number of noises that are not known."""
        return max(len(self.names), 1)

    def numbers(self, n: int) -> _Rows:
        """Return the number of the group of each of n labels."""
        return np.zeros(n, dtype=np.int64) if self.groups is None else self.groups

    def key_of(self, row: int, weights: _Array) -> tuple[float, ...]:
        """Return what labels of one sample must share to be merged: their noise.

        Labels of one group whose weights differ have noise in proportion to 1 / weight, which means
        are weighted by; known variances do not follow the weights.
        """
        key = [] if self.groups is None else [float(self.groups[row])]
        if self.variances is not None:
            key += [float(self.variances[row]), float(weights[row])]
        return tuple(key)

    def take(self, rows: _Rows) -> LabelErrors:
        """Return those of some of the labels; the groups stay the same."""
        return replace(
            self,
            variances=None if self.variances is None else self.variances[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def appended(self, more: LabelErrors) -> LabelErrors:
        """Return these and those of further labels.

        Raises
        ------
        LabelError
            If one of both has what the other lacks, or a group is new.
        """
        for name, own, other in (
            ("noise", self.variances, more.variances),
            ("noise_groups", self.groups, more.groups),
        ):
            if (own is None) != (other is None):
                raise LabelError(
                    f"{name} must be given for new labels exactly where it was given to fit"
                )
        variances, groups = self.variances, self.groups
        if variances is not None and more.variances is not None:
            variances = np.concatenate([variances, more.variances])
        if groups is not None and more.groups is not None:
            unknown = [name for name in more.names if name not in self.names]
            if unknown:
                raise LabelError(
                    f"the group of noise {unknown[0]!r} is new; known are "
                    f"{', '.join(map(repr, self.names))}: fit the model anew"
                )
            places = np.array([self.names.index(name) for name in more.names])
            groups = np.concatenate([groups, places[more.groups]])
        return replace(self, variances=variances, groups=groups)

    def merged(self, member: _Rows, first: _Rows, weights: _Array) -> LabelErrors:
        """Return those of weighted means of labels; ``member`` numbers the mean of each label."""
        taken = self.take(first)
        if self.variances is None:
            return taken
        means = np.bincount(member, weights**2 * self.variances) / np.bincount(member, weights) ** 2
        return replace(taken, variances=means)


#: Nothing is known, and all labels share one noise.
UNKNOWN = LabelErrors()


def grouped(name: str, groups: Any, n_samples: int) -> tuple[npt.NDArray[Any], _Rows]:
    """Return the names of groups in order and the number of that of each sample.

    Raises
    ------
    ValueError
        If there is not one name per sample, or names cannot be put in order; it tells the sample.
    """
    try:
        given = np.asarray(groups)
    except ValueError:
        raise ValueError(f"{name} is ragged; expected ({n_samples},), one per sample") from None
    if given.shape != (n_samples,):
        raise ValueError(
            f"{name} has the shape {given.shape}; expected ({n_samples},), one per sample"
        )
    for sample, one in enumerate(given.tolist() if given.dtype.kind in "fO" else ()):
        if one is None or (isinstance(one, float) and np.isnan(one)):
            raise ValueError(f"{name} holds {one} for sample {sample}; give each sample a group")
        if given.dtype.kind == "O" and isinstance(one, str) != isinstance(given[0], str):
            raise ValueError(
                f"{name} holds {short(given[0])} for sample 0 and {short(one)} for sample "
                f"{sample}; give names of one type"
            )
    try:
        names, numbers = np.unique(given, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"{name} must be numbers or texts ({error})") from None
    return names, numbers
