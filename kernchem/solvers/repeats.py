"""Labels that were repeated, beside their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Repeats", "distinct_labels"]

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
    more : array (n,)
        Number m - 1 of labels beyond the first one of each distinct sample.
    spread : array (n, t)
        Weighted mean of the squared deviations from the mean, of each target.
    logs : array (n,)
        The last two terms.
    """

    more: _Rows
    spread: _Array
    logs: _Array

    @classmethod
    def of(cls, labels: _Array, weights: _Array, member: _Rows) -> Repeats:
        """Return those of labels (n_labels, t) with weights; ``member`` numbers the samples.

        Equal labels of a sample are one, as :func:`distinct_labels` has it.
        """
        labels, weights, member, _ = distinct_labels(labels, weights, member)
        totals = np.bincount(member, weights)
        shares = weights / totals[member]
        means = np.stack([np.bincount(member, shares * one) for one in labels.T], axis=1)
        squares = shares[:, None] * (labels - means[member]) ** 2
        return cls(
            np.bincount(member) - 1,
            np.stack([np.bincount(member, one) for one in squares.T], axis=1, dtype=float),
            -np.bincount(member, np.log(shares)).astype(float),
        )

    def take(self, rows: _Rows) -> Repeats:
        """Return those of some distinct samples."""
        return Repeats(self.more[rows], self.spread[rows], self.logs[rows])

    def appended(self, n_new: int) -> Repeats:
        """Return these and those of further samples of one label each."""
        return Repeats(
            np.pad(self.more, (0, n_new)),
            np.pad(self.spread, ((0, n_new), (0, 0))),
            np.pad(self.logs, (0, n_new)),
        )

    def quadratic(self, noise: _Array) -> _Array:
        """Return the sum of the first terms, array (t,), with the variances v (n,)."""
        return np.asarray(np.sum(self.spread / noise[:, None], axis=0))

    def volume(self, noise: _Array) -> float:
        """Return the sum of all other terms, but for log 2 pi."""
        return float(np.sum(self.more * np.log(noise) + self.logs))

    def slopes(self, noise: _Array, amplitudes: _Array) -> _Array:
        """Return the slopes along v, array (n,), averaged over targets.

        Variances are in units of ``amplitudes`` (t,).
        """
        squares = np.mean(self.spread / amplitudes, axis=1)
        return np.asarray((self.more - squares / noise) / noise)


def distinct_labels(
    labels: _Array, weights: _Array, member: _Rows
) -> tuple[_Array, _Array, _Rows, _Rows]:
    """Merge equal labels of the same sample: one label that was given twice, not two that agree.

    So a repetition of sample and label is a weight of two, which tells nothing of the noise.

    Parameters
    ----------
    labels : array (n_labels, t)
        All labels.
    weights : array (n_labels,)
        Their weights.
    member : array (n_labels,)
        Sample of each.

    Returns
    -------
    labels, weights, member : array (n, t), array (n,), array (n,)
        The same of distinct ones, whose weights are summed.
    place : array (n_labels,)
        Which of these each label is.
    """
    both = np.column_stack([member, labels])
    _, first, place = np.unique(both, axis=0, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    return labels[first], np.bincount(place, weights).astype(float), member[first], place
