"""Labels that were repeated, beside their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Repeats", "equal_labels"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Repeats:
    r"""What several labels of one sample tell beside their weighted mean.

    Of m labels with weights w and noise in proportion to 1 / w, let the noise of their mean have
    the variance v. The density of the labels is that of the mean times one that no kernel enters,

    .. math::
        -2 \log p = \frac{\overline{(y - \bar y)^2}}{v} + (m - 1) \log 2 \pi v
            + m \log \sum w - \sum \log w

    Attributes
    ----------
    more : array (n, t)
        Number m - 1 of labels beyond the first one of each distinct sample and target.
    spread : array (n, t)
        Weighted mean of the squared deviations from the mean.
    logs : array (n, t)
        The last two terms.
    """

    more: _Rows
    spread: _Array
    logs: _Array

    @classmethod
    def of(cls, labels: _Array, weights: _Array, member: _Rows) -> Repeats:
        """Return those of labels (n_labels, t) with weights; ``member`` numbers the samples.

        Equal labels of a sample are one, as :func:`equal_labels` has it.
        """
        totals = np.bincount(member, weights)
        more, spread, logs = [], [], []
        for y in labels.T:
            first, own = equal_labels(y, weights, member)
            sample, shares = member[first], own[first] / totals[member[first]]
            squares = shares * (y[first] - np.bincount(sample, shares * y[first])[sample]) ** 2
            more.append(np.bincount(sample) - 1)
            spread.append(np.bincount(sample, squares).astype(np.float64))
            logs.append(-np.bincount(sample, np.log(shares)).astype(np.float64))
        return cls(np.stack(more, axis=1), np.stack(spread, axis=1), np.stack(logs, axis=1))

    def take(self, rows: _Rows) -> Repeats:
        """Return those of some distinct samples."""
        return Repeats(self.more[rows], self.spread[rows], self.logs[rows])

    def of_targets(self, which: npt.NDArray[np.bool_]) -> Repeats:
        """Return those of some targets."""
        return Repeats(self.more[:, which], self.spread[:, which], self.logs[:, which])

    def appended(self, n_new: int) -> Repeats:
        """Return these and those of further samples of one label each."""
        room = ((0, n_new), (0, 0))
        return Repeats(np.pad(self.more, room), np.pad(self.spread, room), np.pad(self.logs, room))

    @property
    def n_more(self) -> _Rows:
        """Number of labels of each target beyond the first ones, array (t,)."""
        return np.asarray(self.more.sum(axis=0))

    def quadratic(self, noise: _Array) -> _Array:
        """Return the sum of the first terms, array (t,), with the variances v (n,)."""
        return np.asarray(np.sum(self.spread / noise[:, None], axis=0))

    def volume(self, noise: _Array) -> _Array:
        """Return the sum of all other terms, but for log 2 pi, array (t,)."""
        return np.asarray(np.sum(self.more * np.log(noise)[:, None] + self.logs, axis=0))

    def slopes(self, noise: _Array, amplitudes: _Array) -> _Array:
        """Return the slopes along v, array (n,), averaged over targets.

        Variances are in units of ``amplitudes`` (t,).
        """
        found = np.mean(self.more - self.spread / amplitudes / noise[:, None], axis=1)
        return np.asarray(found / noise)


def equal_labels(labels: _Array, weights: _Array, member: _Rows) -> tuple[_Rows, _Array]:
    """Find equal labels of the same sample: one that was given twice, not two that agree.

    So a repetition of sample and label is a weight of two, which tells nothing of the noise.

    Parameters
    ----------
    labels : array (n_labels,)
        All labels of one target.
    weights : array (n_labels,)
        Their weights.
    member : array (n_labels,)
        Sample of each.

    Returns
    -------
    first : array (n,)
        The first one of each distinct label of a sample.
    weights : array (n_labels,)
        Sum of the weights of the labels that equal each one.
    """
    both = np.column_stack([member, labels])
    _, first, place = np.unique(both, axis=0, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    return first.astype(np.int64), np.bincount(place, weights).astype(np.float64)[place]
