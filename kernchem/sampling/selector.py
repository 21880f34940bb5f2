"""Choice of the samples that are worth a label."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from kernchem._validation import check_weights, generator_of, is_positive, is_whole, short
from kernchem.errors import SettingError
from kernchem.sampling.inputs import fitted_model, gather, is_index, reduced
from kernchem.sampling.strategies import STRATEGIES
from kernchem.sampling.strategy import Problem, Strategy

__all__ = ["BatchSelector"]

_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]


class BatchSelector(BaseEstimator):
    r"""Chooses the samples of a pool whose labels teach most.

    Selection is greedy and needs no labels, so batches of any size come out in order, and a longer
    list begins with the shorter one. The strategies are:

    - "isd": the largest fall of the mean posterior standard deviation of all other targets, to
      first order :math:`\sum_{i \neq j} w_i V_{ij}^2 / 2 \sqrt{V_{ii}} (V_{jj} + \eta)`;
    - "ivr": integrated variance reduction, the largest fall of the mean posterior variance of all
      targets, :math:`\sum_i w_i V_{ij}^2 / (V_{jj} + \eta)`, which gives more to outliers;
    - "maxvar": the largest posterior variance, by partial pivoted Cholesky;
    - "lcmd": the farthest sample of the cluster with the largest weighted sum of squared distances
      of targets, labelled and chosen samples being the centres;
    - "fps": the farthest sample from all labelled and chosen ones;
    - "kmeans++": at random, in proportion to squared distances;
    - "cur": leverage on the first principal component of what is left;
    - "doptimal": the largest determinant of the information on leading components;
    - "random".

    Distances are those in the space of the kernel: :math:`k_{ii} + k_{jj} - 2 k_{ij}`. Samples with
    none between them, as copies of a molecule that are turned or shifted, count as one.

    The targets and their weights matter to "isd", "ivr", "lcmd", "cur" and "doptimal"; "maxvar",
    "fps", "kmeans++" and "random" look at the pool alone.

    Parameters
    ----------
    strategy : str, default "isd"
        One of those above.
    kernel : kernel, str, Terms, model or None, default None
        As in :class:`kernchem.KRR`; "precomputed" takes a kernel matrix as the pool. Objects are
        used as they are; a kernel by name gets a length scale from the distances in the pool. A
        fitted KRR, GPR or DeltaLearner lends its kernel, descriptor, noise and composition, and its
        training set as labelled samples unless others are given; one that is not fitted its kernel,
        descriptor and composition, and a length scale that it would choose comes from distances.
    descriptor : descriptor or None, default None
        Turns structures into features.
    noise : float or None, default None
        Variance of the noise of labels relative to the mean variance of the kernel, dimensionless;
        None is that of the model, or 1e-3.
    composition : bool or "auto", default "auto"
        Whether element counts are fitted beside the kernel; "auto" does with structures. The
        model decides where one is given.
    rank : int or None, default None
        Number of random targets by which "isd" and "ivr" estimate sums over all targets, the rank
        of :math:`V W V`; None is all of up to 10,000, and 2000 of more. For "cur" and "doptimal"
        the number of features.
    random_state : int, RandomState or None, default 0
        Of "random" and "kmeans++", of the first sample of "fps" and "lcmd" without labels, and of
        targets that stand for all.

    Attributes
    ----------
    selected_ : array of int
        Rows of the pool in the order of choice; those of a group side by side.
    gain_ : array (n_picks,)
        What each pick promised, per cost: the fall of the weighted sum of other standard deviations
        ("isd") or of variances ("ivr"), a variance ("maxvar"), a squared distance ("fps", "lcmd",
        "kmeans++"), a leverage ("cur"), a logarithm ("doptimal"); NaN for "random". Variances are
        in units of the kernel.
    residual_trace_ : array (n_picks,)
        What is left of the sum of what is reduced, after each pick; NaN for "random".

    Raises
    ------
    SettingError
        If an argument makes no sense, or more is asked for than is left.

    Notes
    -----
    The m-th pick costs O(n_pool (n_targets + m)) for "isd" and "ivr", with the rank in place of
    n_targets where targets are sampled; O(n_pool rank) for "cur", O(n_pool m) for "maxvar", and one
    column of the kernel for the others. "isd" and "ivr" hold two matrices, of n_pool rows and as
    many columns as targets and picks; sums over sampled targets have no bias, and the variances are
    exact all the same.

    Without labels that determine the energies of the elements, these have a prior of large
    variance, so the first picks vary the composition.

    References
    ----------
    D. A. Cohn, Z. Ghahramani, M. I. Jordan, J. Artif. Intell. Res. 4, 129 (1996),
    https://doi.org/10.1613/jair.295

    D. Holzmueller, V. Zaverkin, J. Kaestner, I. Steinwart, J. Mach. Learn. Res. 24, 164 (2023),
    https://www.jmlr.org/papers/v24/22-0937.html

    Examples
    --------
    >>> X = np.linspace(0.0, 1.0, 101)[:, None]
    >>> selector = BatchSelector().fit(X)
    >>> selector.select(3).shape
    (3,)
    """

    selected_: _Rows
    gain_: _Array
    residual_trace_: _Array

    def __init__(
        self,
        strategy: str = "isd",
        *,
        kernel: Any = None,
        descriptor: Any = None,
        noise: float | None = None,
        composition: bool | Literal["auto"] = "auto",
        rank: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.strategy = strategy
        self.kernel = kernel
        self.descriptor = descriptor
        self.noise = noise
        self.composition = composition
        self.rank = rank
        self.random_state = random_state

    @classmethod
    def from_model(cls, model: Any, strategy: str = "isd", **settings: Any) -> BatchSelector:
        """Return a selector in the kernel of a fitted model.

        Parameters
        ----------
        model : KRR, GPR or DeltaLearner
            Fitted model; its training set is labelled unless ``fit`` is told otherwise.
        strategy : str, default "isd"
            Name of the strategy.
        **settings : dict
            Further arguments of the class.

        Returns
        -------
        BatchSelector
            Not fitted yet.

        Raises
        ------
        SettingError
            If it is no fitted model with a kernel.
        """
        if fitted_model(model) is None:
            raise SettingError(f"{short(model)} is no fitted KRR, GPR or DeltaLearner")
        return cls(strategy, kernel=model, **settings)

    def fit(
        self,
        pool: Any,
        labelled: Any = None,
        *,
        excluded: Any = None,
        groups: Any = None,
        costs: Any = None,
        weights: Any = None,
        targets: Any = None,
    ) -> BatchSelector:
        """Look at the pool; nothing is chosen yet.

        Parameters
        ----------
        pool : structures, array (n, d), or kernel matrix (n, n)
            What may be chosen.
        labelled : array of int, or samples, optional
            Rows of the pool that have labels, or samples that are not in it; none if it is empty.
            Neither they nor copies of them are chosen.
        excluded : array of int, optional
            Rows of the pool that have no label and get none, such as failures. They and copies of
            them are not chosen, but count as targets.
        groups : array (n,), optional
            Rows of one group, such as a trajectory, are chosen together and count as one pick; a
            group with a labelled or excluded row is not chosen.
        costs : array (n,), optional
            Cost of the label of each row, above zero; gains are divided by it, that of a group by
            the sum over its rows. By default each pick costs 1, a group too.
        weights : array (n,) or (n_targets,), optional
            Weight of each target, relative to their mean; by default all are equal.
        targets : array of int, or samples, optional
            What will be predicted; by default the pool. Neither targets nor weights change what
            "maxvar", "fps", "kmeans++" and "random" choose.

        Returns
        -------
        BatchSelector
            This object.
        """
        self._check_settings()
        for name in ("selected_", "gain_", "residual_trace_", "_state"):
            self.__dict__.pop(name, None)
        given = gather(
            pool,
            None if is_index(targets) else targets,
            None if is_index(labelled) else labelled,
            kernel=self.kernel,
            descriptor=self.descriptor,
            composition=self.composition,
            noise=self.noise,
            training=labelled is None,
        )
        n_pool, n_targets, n_more = given.sizes
        n_rows = n_pool + n_targets
        own = n_rows + np.arange(n_more)
        rows = own
        levels = given.noise if given.labelled_noise is None else given.labelled_noise
        if is_index(labelled):
            rows = np.unique(_checked_rows("labelled", labelled, n_pool))
            levels = given.noise
        barred = np.zeros(0, dtype=np.int64)
        if excluded is not None:
            barred = _checked_rows("excluded", excluded, n_pool)
        aims = np.arange(n_pool)
        if targets is not None:
            named = is_index(targets)
            aims = (
                _checked_rows("targets", targets, n_pool)
                if named
                else n_pool + np.arange(n_targets)
            )
            if not len(aims):
                raise SettingError("targets is empty; name at least one, or leave it out")
        shares = check_weights(weights, len(aims), "weight")
        spread = np.bincount(aims, shares / shares.mean(), minlength=n_rows).astype(np.float64)
        units = _units(groups, n_pool)
        problem = Problem(
            given.kernel, n_pool, n_rows, rows, barred, levels, given.noise, reduced(given.basis),
            spread, given.alike, units, _costs(costs, units, n_pool), self.rank,
            np.random.default_rng(generator_of(self.random_state).randint(2**31)),
        )  # fmt: skip
        self._state: Strategy = STRATEGIES[self.strategy](problem)
        self.selected_ = np.zeros(0, dtype=np.int64)
        self.gain_, self.residual_trace_ = np.zeros(0), np.zeros(0)
        return self

    @property
    def n_left_(self) -> int:
        """Number of picks that are left: rows or groups, neither labelled nor copies of such."""
        check_is_fitted(self, "selected_")
        return int(self._state.open_units().sum()) + len(getattr(self._state, "_planned", ()))

    def select(self, n: int) -> _Rows:
        """Choose further samples.

        Parameters
        ----------
        n : int
            Number of picks: of rows, or of groups where there are any.

        Returns
        -------
        array of int
            Rows of the pool in order; after an earlier call those that come next.

        Raises
        ------
        SettingError
            If fewer are left that are neither labelled nor chosen nor copies of such rows; what
            was found is in ``selected_``.
        """
        check_is_fitted(self, "selected_")
        if not is_whole(n, 1):
            raise SettingError(f"n={n!r}; use a whole number from 1 on")
        state = self._state
        left = self.n_left_
        if n > left:
            raise SettingError(f"n={n}, and only {left} are left to choose from; use fewer")
        picks: list[_Rows] = []
        gains: list[float] = []
        traces: list[float] = []
        state._continue(n)
        try:
            for _ in range(n):
                if not getattr(state, "_planned", ()) and not state.open_units().any():
                    break
                try:
                    unit, gain = state._get_best()
                except (IndexError, StopIteration):
                    break
                if not (np.isnan(gain) or gain > 0.0):
                    break
                state.take(unit)
                traces.append(state._update(unit))
                picks.append(state.problem.units[unit])
                gains.append(gain)
        finally:
            self.gain_ = np.concatenate([self.gain_, gains])
            self.residual_trace_ = np.concatenate([self.residual_trace_, traces])
            self.selected_ = np.concatenate([self.selected_, *picks]).astype(np.int64)
        if len(picks) < n:
            raise SettingError(
                f"n={n}, and only {len(picks)} of them tell anything new: the others are copies of "
                "what is labelled or chosen, or tell nothing of the targets; use fewer"
            )
        return np.concatenate(picks)

    def _check_settings(self) -> None:
        if not isinstance(self.strategy, str) or self.strategy not in STRATEGIES:
            raise SettingError(f"strategy={self.strategy!r}; use one of {', '.join(STRATEGIES)}")
        zero = isinstance(self.noise, int | float) and self.noise == 0
        if self.noise is not None and not (is_positive(self.noise) or zero):
            raise SettingError(f"noise={short(self.noise)}; use a number >= 0, or None")
        generator_of(self.random_state)
        if self.rank is not None and not is_whole(self.rank, 1):
            raise SettingError(f"rank={self.rank!r}; use a whole number from 1 on, or None")


def _checked_rows(name: str, rows: Any, n_pool: int) -> _Rows:
    found = np.asarray(rows, dtype=np.int64) if is_index(rows) else np.array([-1])
    if len(found) and (found.min() < 0 or found.max() >= n_pool):
        raise SettingError(f"{name} names rows of the pool, 0 to {n_pool - 1}; got {short(rows)}")
    return found


def _units(groups: Any, n_pool: int) -> list[_Rows]:
    if groups is None:
        return list(np.arange(n_pool)[:, None])
    names = np.asarray(groups)
    if names.shape != (n_pool,):
        raise SettingError(f"groups has shape {names.shape}; expected ({n_pool},), one per row")
    try:
        _, number = np.unique(names, return_inverse=True)
    except TypeError:
        raise SettingError("groups must be all numbers or all text, one for each row") from None
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)


def _costs(costs: Any, units: list[_Rows], n_pool: int) -> _Array:
    if costs is None:
        return np.ones(len(units))
    try:
        prices = np.asarray(costs, dtype=np.float64)
    except (TypeError, ValueError):
        prices = np.zeros(0)
    if prices.shape != (n_pool,) or not (np.isfinite(prices) & (prices > 0)).all():
        raise SettingError(
            f"costs must be {n_pool} finite numbers above zero, one per row; got {short(costs)}"
        )
    return np.array([prices[rows].sum() for rows in units])
