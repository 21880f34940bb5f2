"""Campaigns: a model asks for the labels that teach it most until it is good enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from kernchem._identity import describe, digest
from kernchem._validation import is_whole, real_numbers, short
from kernchem.errors import SettingError
from kernchem.sampling.campaign.folder import Journal
from kernchem.sampling.campaign.following import (
    hyperparameters_of,
    kernel_part,
    values_of_baselines,
)
from kernchem.sampling.campaign.ledger import Ledger
from kernchem.sampling.campaign.loop import LEAST, Campaign
from kernchem.sampling.campaign.oracles import TAKEN, make_oracle
from kernchem.sampling.campaign.reports import draw_history
from kernchem.sampling.campaign.stop import stop_rule
from kernchem.sampling.inputs import is_index
from kernchem.sampling.selector import BatchSelector
from kernchem.structures import as_structures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ActiveLearner"]

_Array = npt.NDArray[np.float64]


class ActiveLearner(BaseEstimator):
    r"""Asks for one batch of labels after the other, and fits a model to them.

    Each round fits the model to all labels, selects the next batch in the kernel of this model,
    and asks for its labels one by one. A folder keeps every label and every failure as soon as it
    is there: after a kill at any moment ``run`` goes on, with the picks that an undisturbed
    campaign would have made, and asks for no label twice but for one that it was waiting for.
    Errors and gains of its history may differ from those of such a campaign in the last digits.

    Parameters
    ----------
    model : estimator
        GPR, KRR, DeltaLearner, or any other that learns from structures (then ``selector`` needs a
        kernel or descriptor of its own). Never changed.
    oracle : callable, Baseline, str or None, default None
        What gives a label: a function of :class:`~kernchem.Structures` with one molecule; an
        object of :mod:`kernchem.baselines`; a factory of ASE calculators; the name of a stored
        property; None asks the user, see Notes.
    folder : path
        Where the campaign is kept; made if absent.
    target : str, default "label"
        Name of the label in the files of the folder.
    selector : BatchSelector or str, default "isd"
        Its strategy alone, or all settings; without a kernel of its own it selects in the kernel
        of the fitted model, and before there is one in what the model names.
    batch_size : int, default 20
        Picks per round.
    initial : int or None, default None
        Labels before the first model; they are chosen by the selector without labels. None is
        ``batch_size``. Where the campaign ends before, there is a model of those that are there.
    stop : StopRule, int, sequence of them or None, default None
        When to end; a number is a budget of labels, one of several rules suffices, None labels the
        whole pool. May differ from call to call.
    max_failures : int, default 10
        Failures in a row after which the oracle is taken to be broken. They count for nothing: the
        next call asks for these labels again.
    progress : bool, default False
        Show a line with what happens if standard error is a terminal.

    Attributes
    ----------
    model_ : estimator or None
        Fitted to all labels; None where there were too few.
    history_ : list of dict
        For each round, before its questions: ``round``, ``labels``, ``failed``, ``cost``,
        ``loo_mae`` with its bounds ``loo_lower`` and ``loo_upper`` at 5 and 95 % (bootstrap),
        ``refit`` ("chosen", "appended", "refitted", "unchanged" or None), ``gain`` per pick of the
        next batch, ``picks``, ``seconds``. Labels that came after the last round began are told by
        a last row without picks.
    labels_ : array (n_pool,)
        NaN where there is no label.
    selected_ : array of int
        Labelled rows of the pool in the order of their labels.
    failed_ : dict of int to str
        Rows that failed, and why.
    waiting_ : array of int
        Rows that the user has been asked for.
    stopped_ : str
        Why the campaign ended, or what it waits for.

    Raises
    ------
    ResumeError
        If the folder holds another campaign, or files that the campaign would replace, or a process
        is at work in it.
    OracleError
        If many labels fail one after the other.
    SettingError
        If an argument makes no sense.

    Notes
    -----
    Hyperparameters are chosen anew when the number of labels has doubled; in between a Gaussian
    process appends labels to its factor (O(n^2) each) and other models are fitted at fixed
    hyperparameters. Selection costs what :class:`BatchSelector` tells.

    Without an oracle, ``run`` writes the picks of a round to ``questions.xyz`` and returns. Put
    their labels into ``answers.xyz`` (extended XYZ with ``pool_index`` and ``target``) or
    ``answers.csv`` (these two columns; ``failed`` may hold a reason) in the folder, any name that
    begins with ``answers`` will do, or into ``questions.xyz`` itself, and call ``run`` again. An
    answer that was changed in its file takes the place of the old one, with a warning; a reason in
    ``failed`` takes a label back.

    The folder also gets ``history.csv``, ``history.png`` and ``labelled.xyz``.

    References
    ----------
    D. A. Cohn, Z. Ghahramani, M. I. Jordan, J. Artif. Intell. Res. 4, 129 (1996),
    https://doi.org/10.1613/jair.295

    Examples
    --------
    >>> import tempfile
    >>> from kernchem import GPR, datasets
    >>> from kernchem.descriptors import BagOfBonds
    >>> pool = datasets.load_qm_small()[:200]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     learner = ActiveLearner(
    ...         GPR(descriptor=BagOfBonds()), "atomization_energy", folder=folder, stop=60
    ...     ).run(pool)
    >>> [row["labels"] for row in learner.history_], learner.stopped_
    ([0, 20, 40, 60], 'the budget of 60 labels is used up')
    """

    model_: Any
    history_: list[dict[str, Any]]
    labels_: _Array
    selected_: npt.NDArray[np.int64]
    failed_: dict[int, str]
    waiting_: npt.NDArray[np.int64]
    stopped_: str

    def __init__(
        self,
        model: Any,
        oracle: Any = None,
        *,
        folder: Any,
        target: str = "label",
        selector: Any = "isd",
        batch_size: int = 20,
        initial: int | None = None,
        stop: Any = None,
        max_failures: int = 10,
        progress: bool = False,
    ) -> None:
        self.model = model
        self.oracle = oracle
        self.folder = folder
        self.target = target
        self.selector = selector
        self.batch_size = batch_size
        self.initial = initial
        self.stop = stop
        self.max_failures = max_failures
        self.progress = progress

    def run(
        self,
        pool: Any,
        labels: Any = None,
        *,
        costs: Any = None,
        groups: Any = None,
        weights: Any = None,
        targets: Any = None,
        report: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> ActiveLearner:
        """Label, learn and select until a rule says stop, or go on where an earlier call ended.

        Parameters
        ----------
        pool : structures
            What may be labelled.
        labels : array (n_pool,), optional
            Labels that are there, NaN elsewhere; they cost nothing.
        costs : array (n_pool,), optional
            Cost of each label, above zero; by default 1. Without it, selection counts a group as
            one, however many labels it has; with ones, groups compete by their gain per label.
        groups, weights, targets : optional
            As in :meth:`BatchSelector.fit`.
        report : callable, optional
            Called with each new row of ``history_``.

        Returns
        -------
        ActiveLearner
            This object.
        """
        batch = as_structures(pool)
        rule, selector = stop_rule(self.stop), self._checked_selector()
        oracle, identity = make_oracle(self.oracle)
        baselines = values_of_baselines(self.model, batch)
        prices = np.ones(len(batch)) if costs is None else real_numbers(costs, "costs")
        known = np.full(len(batch), np.nan) if labels is None else _known(labels, len(batch))
        options = {"costs": costs, "groups": groups, "weights": weights, "targets": targets}
        settings = {
            "model": describe(self.model),
            "oracle": identity,
            "selector": describe(selector),
            "batch_size": int(self.batch_size),
            "initial": None if self.initial is None else int(self.initial),
            "target": self.target,
            "pool": digest(batch),
            "labels": describe(known),
            **{name: describe(value) for name, value in options.items() if value is not None},
            "baselines": baselines,
            "lent": hyperparameters_of(selector.kernel),
        }
        if targets is not None and not is_index(targets):
            settings["geometries"] = digest(as_structures(targets))
        try:
            folder = Path(self.folder)
        except TypeError:
            raise SettingError(f"folder={short(self.folder)}; give a path") from None
        with Journal.locked(folder):
            ledger = Ledger(Journal(folder, settings), known, prices)
            campaign = Campaign(self, batch, ledger, rule, selector, options, folder, report)
            try:
                campaign.run(oracle)
            finally:
                self._take(campaign)
        return self

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the leave-one-out error with its bounds over the number of labels.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        return draw_history(self.history_, self.target, ax)

    def _take(self, campaign: Campaign) -> None:
        ledger = campaign.ledger
        self.model_, self.stopped_ = campaign.follower.model, campaign.stopped
        self.history_ = campaign.history
        self.labels_, self.failed_ = ledger.labels, dict(ledger.failed)
        self.selected_ = np.array(ledger.order, dtype=np.int64)
        self.waiting_ = np.array(campaign.waiting, dtype=np.int64)

    def _checked_selector(self) -> BatchSelector:
        """Return the selector, which nothing here changes; complain about settings."""
        for name, least in (("batch_size", 1), ("max_failures", 1), ("initial", LEAST)):
            value = getattr(self, name)
            if not is_whole(value, least) and not (name == "initial" and value is None):
                raise SettingError(f"{name}={short(value)}; use a whole number from {least} on")
        if not isinstance(self.target, str) or not self.target.isidentifier():
            raise SettingError(
                f"target={self.target!r}; use a name of letters, digits and underscores"
            )
        if self.target in TAKEN:
            raise SettingError(
                f"target={self.target!r}, which means something else in the files of a campaign; "
                "use another name"
            )
        if isinstance(self.selector, str):
            made = BatchSelector(self.selector)
        elif isinstance(self.selector, BatchSelector):
            made = self.selector
        else:
            raise SettingError(f"selector={short(self.selector)}; use a BatchSelector or a name")
        made._check_settings()
        _require_seeds("selector", made)
        _require_seeds("model", self.model)
        own = made.kernel is not None or made.descriptor is not None
        if not own and not hasattr(kernel_part(self.model), "descriptor"):
            raise SettingError(
                f"model={short(self.model)} has no kernel to select in; give "
                "selector=BatchSelector(descriptor=...)"
            )
        return made


def _require_seeds(name: str, given: Any) -> None:
    """Raise if randomness comes from an object, which another process cannot have."""
    settings = given.get_params() if hasattr(given, "get_params") else {}
    for setting, value in settings.items():
        if isinstance(value, np.random.RandomState | np.random.Generator):
            raise SettingError(
                f"a {name} with a {type(value).__name__} cannot go on in another process; give it "
                f"a whole number as {setting}"
            )


def _known(labels: Any, n_pool: int) -> _Array:
    try:
        found = np.asarray(labels)
        found = found.astype(np.float64) if found.dtype.kind in "iufO" else np.zeros(0)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (n_pool,) or np.isinf(found).any():
        raise SettingError(
            f"labels={short(labels)}; give one number for each of the {n_pool} structures of the "
            "pool, NaN where there is none"
        )
    return found
