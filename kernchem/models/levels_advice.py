r"""Which label to compute next: the fall of the top level's variance for what a label costs.

With V the posterior covariance of what labels tell, and C that with the top level, labels B of one
molecule reduce the sum of the top level's variances, weighted by W, by

.. math:: \operatorname{tr}\left[ C_{B \cdot} W C_{\cdot B} (V_{BB} + N_{BB})^{-1} \right]

After each choice V is conditioned on it, so that labels of a batch do not repeat each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernchem.errors import SettingError

__all__ = ["Advice", "advice", "checked_costs", "checked_known"]

_Array = npt.NDArray[np.float64]
_Mask = npt.NDArray[np.bool_]

#: A label is as good as known if its variance is below this fraction of the largest one.
_KNOWN = 1e-12


class Advice(NamedTuple):
    """Labels of one molecule that are worth their cost.

    Attributes
    ----------
    sample : int
        Number of the molecule.
    levels : tuple of int
        Levels to compute, from the cheapest on.
    gain : float
        How much the mean variance of the top level falls, in the squared unit of the labels, once
        all labels before it in the list are there.
    cost : float
        Sum of the costs of the labels.
    """

    sample: int
    levels: tuple[int, ...]
    gain: float
    cost: float


def advice(
    covariance: _Array,
    noise: _Array,
    top: _Array,
    weights: _Array,
    costs: _Array,
    known: _Mask,
    n: int,
    *,
    nested: bool,
) -> list[Advice]:
    """Return the labels of the largest fall of variance per cost, one after the other.

    Parameters
    ----------
    covariance : array (m, T, m, T)
        Posterior covariance of what labels tell, without noise. **Overwritten.**
    noise : array (T,)
        Variances of the noise of labels.
    top : array (T,)
        Weights with which the top level is made of what labels tell.
    weights : array (m,)
        Weight of the top level's variance of each molecule.
    costs : array (n_candidates, T)
        Cost of each label; candidates are the first molecules.
    known : array (n_candidates, T)
        Labels that are there already.
    n : int
        Number of choices.
    nested : bool
        Whether a label needs those of all levels below.

    Notes
    -----
    (m T)^2 numbers, and (m T)^2 flops for each choice.
    """
    m, n_levels = covariance.shape[:2]
    flat = covariance.reshape(m * n_levels, m * n_levels)
    known, n_candidates = known.copy(), len(costs)
    floor = _KNOWN * float(np.max(np.einsum("ii->i", flat), initial=0.0))
    floor = max(floor, float(np.finfo(float).tiny))
    own = np.arange(n_candidates)
    found: list[Advice] = []
    while len(found) < n and not known.all():
        with_top = np.einsum("s,isjt->ijt", top, covariance[:, :, :n_candidates])
        products = np.einsum("ijs,i,ijt->jst", with_top, weights, with_top, optimize=True)
        blocks = covariance[own, :, own, :] + np.diag(noise)
        best: tuple[float, float, int, tuple[int, ...]] | None = None
        for levels, rows in _choices(known, nested=nested):
            columns = np.array(levels)
            part = np.ix_(rows, columns, columns)
            inner = blocks[part] + floor * np.eye(len(levels))
            gains = np.einsum("jss->j", np.linalg.solve(inner, products[part]))
            rates = gains / costs[np.ix_(rows, columns)].sum(axis=1)
            k = int(np.argmax(rates))
            if best is None or rates[k] > best[0]:
                best = float(rates[k]), float(gains[k]), int(rows[k]), levels
        assert best is not None
        _, gain, sample, levels = best
        found.append(Advice(sample, levels, gain, float(costs[sample, list(levels)].sum())))
        known[sample, list(levels)] = True
        columns = np.array(levels)
        inner = blocks[sample][np.ix_(columns, columns)] + floor * np.eye(len(levels))
        labels = sample * n_levels + columns
        half = np.linalg.solve(np.linalg.cholesky(inner), flat[labels])
        flat -= half.T @ half
    return found


def _choices(known: _Mask, *, nested: bool) -> list[tuple[tuple[int, ...], npt.NDArray[np.intp]]]:
    """Return sets of levels, and the molecules of which they can be computed next."""
    found: dict[tuple[int, ...], list[int]] = {}
    for row, there in enumerate(known):
        for t in np.flatnonzero(~there):
            levels = tuple(np.flatnonzero(~there[: t + 1]).tolist()) if nested else (int(t),)
            found.setdefault(levels, []).append(row)
    return [(levels, np.array(rows)) for levels, rows in found.items()]


def checked_costs(costs: npt.ArrayLike, n: int, n_levels: int) -> _Array:
    """Return the cost of each label, array (n, n_levels), from one per level or per label."""
    try:
        given = np.asarray(costs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SettingError(f"costs must be numbers ({error})") from None
    if given.shape not in {(n_levels,), (n, n_levels)}:
        raise SettingError(
            f"costs has shape {given.shape}; expected ({n_levels},), one for each level, or "
            f"({n}, {n_levels})"
        )
    if not (np.isfinite(given) & (given > 0.0)).all():
        raise SettingError("costs must be finite and above zero, in any unit")
    return np.broadcast_to(given, (n, n_levels))


def checked_known(known: npt.ArrayLike | None, n: int, n_levels: int) -> _Mask:
    """Return which labels are there already, array (n, n_levels)."""
    if known is None:
        return np.zeros((n, n_levels), dtype=np.bool_)
    mask = np.asarray(known)
    if mask.shape != (n, n_levels) or mask.dtype != np.bool_:
        raise SettingError(
            f"known has shape {mask.shape} and type {mask.dtype}; expected bool ({n}, {n_levels}), "
            "such as np.isfinite(y)"
        )
    return mask
