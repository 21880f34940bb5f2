"""Campaigns: a model asks for the labels that teach it most until it is good enough."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone

from kernchem._validation import is_whole, real_numbers, short
from kernchem._warnings import collected_warnings
from kernchem.errors import CompositionError, KernchemWarning, OracleError, SettingError
from kernchem.sampling.active_folder import Journal
from kernchem.sampling.active_ledger import Ledger
from kernchem.sampling.active_models import Follower, bounds_of_mae, describe, kernel_part
from kernchem.sampling.active_oracles import Oracle, make_oracle, read_answers, write_questions
from kernchem.sampling.active_reports import (
    draw_history,
    status_line,
    write_history,
    write_labelled,
    write_picture,
)
from kernchem.sampling.active_stop import StopRule, stop_rule
from kernchem.sampling.selector import BatchSelector
from kernchem.structures import Structures, as_structures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ActiveLearner"]

_Array = npt.NDArray[np.float64]

#: Names of files for the user in the folder of a campaign.
_QUESTIONS, _ANSWERS = "questions.xyz", ("answers*.xyz", "answers*.extxyz", "answers*.csv")
#: Labels below which no model is fitted.
_LEAST = 2


class ActiveLearner(BaseEstimator):
    r"""Asks for one batch of labels after the other, and fits a model to them.

    Each round fits the model to all labels, selects the next batch in the kernel of this model,
    and asks for its labels one by one. A folder keeps every label and every failure as soon as it
    is there: after a kill at any moment ``run`` goes on, with the picks that an undisturbed
    campaign would have made, and asks for no label twice but for one that it was waiting for.

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
    selector : BatchSelector or str, default "ivr"
        Its strategy alone, or all settings; without a kernel of its own it selects in the kernel
        of the fitted model, and before there is one in what the model names.
    batch_size : int, default 20
        Picks per round.
    initial : int or None, default None
        Labels before the first model; they are chosen by the selector without labels. None is
        ``batch_size``.
    stop : StopRule, int, sequence of them or None, default None
        When to end; a number is a budget of labels, one of several rules suffices, None labels the
        whole pool. May differ from call to call.
    max_failures : int, default 10
        Failures in a row after which the oracle is taken to be broken.
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
        If the folder holds another campaign, or a process is at work in it.
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
    begins with ``answers`` will do, and call ``run`` again.

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
        selector: Any = "ivr",
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
            Cost of each label, above zero; by default 1.
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
        prices = np.ones(len(batch)) if costs is None else real_numbers(costs, "costs")
        known = np.full(len(batch), np.nan) if labels is None else _known(labels, len(batch))
        options = {"costs": costs, "groups": groups, "weights": weights, "targets": targets}
        settings = {
            "model": describe(self.model),
            "oracle": identity,
            "selector": describe(selector),
            "batch_size": self.batch_size,
            "initial": self.initial,
            "target": self.target,
            "pool": _digest(batch),
            "labels": describe(known),
            **{name: describe(value) for name, value in options.items() if value is not None},
        }
        folder = Path(self.folder)
        with Journal.locked(folder):
            ledger = Ledger(Journal(folder, settings), known, prices)
            campaign = _Campaign(self, batch, ledger, rule, selector, options, folder, report)
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

    def _take(self, campaign: _Campaign) -> None:
        ledger = campaign.ledger
        self.model_, self.stopped_ = campaign.follower.model, campaign.stopped
        self.history_ = campaign.history
        self.labels_, self.failed_ = ledger.labels, dict(ledger.failed)
        self.selected_ = np.array(ledger.order, dtype=np.int64)
        self.waiting_ = np.array(campaign.waiting, dtype=np.int64)

    def _checked_selector(self) -> BatchSelector:
        """Return an unfitted selector; complain about settings."""
        for name, least in (("batch_size", 1), ("max_failures", 1), ("initial", _LEAST)):
            value = getattr(self, name)
            if not is_whole(value, least) and not (name == "initial" and value is None):
                raise SettingError(f"{name}={short(value)}; use a whole number from {least} on")
        if not isinstance(self.target, str) or not self.target.isidentifier():
            raise SettingError(
                f"target={self.target!r}; use a name of letters, digits and underscores"
            )
        if isinstance(self.selector, str):
            made = BatchSelector(self.selector)
        elif isinstance(self.selector, BatchSelector):
            made = clone(self.selector)
        else:
            raise SettingError(f"selector={short(self.selector)}; use a BatchSelector or a name")
        made._check_settings()
        own = made.kernel is not None or made.descriptor is not None
        if not own and not hasattr(kernel_part(self.model), "descriptor"):
            raise SettingError(
                f"model={short(self.model)} has no kernel to select in; give "
                "selector=BatchSelector(descriptor=...)"
            )
        return made


class _Campaign:
    """One call of ``run``."""

    def __init__(
        self,
        learner: ActiveLearner,
        pool: Structures,
        ledger: Ledger,
        rule: StopRule,
        selector: BatchSelector,
        options: dict[str, Any],
        folder: Path,
        report: Callable[[Mapping[str, Any]], None] | None,
    ) -> None:
        self.learner, self.pool, self.ledger, self.rule = learner, pool, ledger, rule
        self.selector, self.options, self.folder = selector, options, folder
        self.report, self.stopped = report, ""
        self.follower = Follower(learner.model)
        self.history = [dict(row) for row in ledger.rounds]
        self.waiting: list[int] = []
        self._failures = 0
        self._told: list[str] = []

    def run(self, oracle: Oracle | None) -> None:
        """Go on until there is a reason to stop."""
        with status_line(shown=self.learner.progress) as self.show:
            try:
                self._replay()
                while not self.stopped:
                    if not self.ledger.pending and not self._begin():
                        break
                    self.stopped = self.rule.reason(self.history) or ""
                    if not self.stopped:
                        self._ask_user() if oracle is None else self._ask(oracle)
                self._close()
            finally:
                self._write()
        for text in self._told:
            warnings.warn(text, KernchemWarning, stacklevel=3)

    def _replay(self) -> None:
        """Fit the model of the last round; it depends on nothing before the last choice."""
        rounds = self.ledger.rounds
        chosen = [k for k, row in enumerate(rounds) if row["refit"] == "chosen"]
        for row in rounds[chosen[-1] :] if chosen else ():
            self._learn(row["labels"])

    def _learn(self, n_labels: int) -> str | None:
        rows = self.ledger.order[:n_labels]
        self.show(f"learning {n_labels} labels")
        if len(rows) < max(self.learner.initial or self.learner.batch_size, _LEAST):
            return None
        if len(rows) == self.follower.n_known:
            return "unchanged"
        # Of few labels there is much to complain; only the last model's troubles matter.
        try:
            with collected_warnings() as self._told:
                return self.follower.learn(self.pool[rows], self.ledger.labels[rows])
        except CompositionError as error:
            if self.follower.model is not None:
                raise
            # Some more labels will do.
            self._told = [str(error)]
            return None

    def _state(self, refit: str | None) -> dict[str, Any]:
        """Return what is known about the model."""
        residuals = getattr(self.follower.model, "loo_residuals_", np.zeros(0))
        mean, lower, upper = bounds_of_mae(residuals, len(self.ledger.order))
        return {
            "round": len(self.ledger.rounds),
            "labels": len(self.ledger.order),
            "failed": len(self.ledger.failed),
            "cost": self.ledger.spent,
            "loo_mae": mean,
            "loo_lower": lower,
            "loo_upper": upper,
            "refit": refit,
        }

    def _begin(self) -> bool:
        """Learn what is new and select the next batch; False if there is nothing left."""
        clock = time.perf_counter()
        state = self._state(self._learn(len(self.ledger.order)))
        picks, gains = self._select()
        if not picks:
            self.stopped = "the whole pool is labelled or failed"
            return False
        gain = float(np.mean(gains))
        state |= {
            "gain": gain if math.isfinite(gain) else None,
            "picks": picks,
            "seconds": round(time.perf_counter() - clock, 3),
        }
        self.ledger.begin(state)
        self._tell(dict(self.ledger.rounds[-1]))
        return True

    def _select(self) -> tuple[list[int], _Array]:
        ledger, number = self.ledger, len(self.ledger.rounds)
        self.show(f"selecting among {len(self.pool)} structures")
        selector = clone(self.selector)
        if is_whole(selector.random_state, 0):
            seed = np.random.SeedSequence([selector.random_state, number])
            selector.random_state = int(seed.generate_state(1)[0])
        if selector.kernel is None and selector.descriptor is None:
            selector.kernel = kernel_part(self.follower.model or self.learner.model)
        selector.fit(
            self.pool,
            np.array(ledger.order, dtype=np.int64),
            excluded=np.array(sorted(ledger.failed), dtype=np.int64),
            **self.options,
        )
        n = self.learner.batch_size
        if self.follower.model is None:
            missing = (self.learner.initial or n) - len(ledger.order)
            n = missing if missing > 0 else n
        n = min(n, selector.n_left_)
        if n:
            try:
                selector.select(n)
            except SettingError:
                # Those that are left tell nothing new.
                n = len(selector.gain_)
        return selector.selected_.tolist(), selector.gain_

    def _ask(self, oracle: Oracle) -> None:
        for index in self.ledger.pending:
            self.stopped = self._exhausted([index]) or ""
            if self.stopped:
                return
            self.show(
                f"round {len(self.ledger.rounds) - 1}: asking for structure {index}, "
                f"{len(self.ledger.order)} labels are there"
            )
            answer = oracle(self.pool[index : index + 1])
            self.ledger.answer(index, answer)
            self._failures = self._failures + 1 if answer.reason else 0
            if self._failures >= self.learner.max_failures:
                raise OracleError(
                    f"{self._failures} labels in a row failed, the last of structure {index} "
                    f"({self.pool[index].formula}): {answer.reason}; mend the oracle, or raise "
                    "max_failures; what is labelled is kept"
                )

    def _exhausted(self, asked: list[int]) -> str | None:
        """Return why the last of some structures must not be labelled after the others."""
        prices = self.ledger.costs[asked]
        n_labels, spent = len(self.ledger.order) + len(asked) - 1, float(prices[:-1].sum())
        return self.rule.exhausted(n_labels, self.ledger.spent + spent, float(prices[-1]))

    def _ask_user(self) -> None:
        """Take what the user has answered; write down what is still to be labelled."""
        name = self.learner.target
        for pattern in _ANSWERS:
            for path in sorted(self.folder.glob(pattern)):
                for index, answer in sorted(read_answers(path, name, self.pool).items()):
                    if not self.ledger.is_known(index):
                        self.ledger.answer(index, answer)
        path = self.folder / _QUESTIONS
        for index in self.ledger.pending:
            reason = self._exhausted([*self.waiting, index])
            if reason:
                self.stopped = "" if self.waiting else reason
                break
            self.waiting.append(index)
        if not self.waiting:
            path.unlink(missing_ok=True)
            return
        write_questions(path, self.pool, self.waiting)
        self.stopped = (
            f"waiting for {len(self.waiting)} labels: {path} holds the structures; put their "
            f"{name} into {path.with_name('answers.xyz')}, or pool_index and {name} into "
            f"{path.with_name('answers.csv')}, and start again"
        )

    def _close(self) -> None:
        """Learn what came after the last round began, and add the end to the history."""
        n_labels = len(self.ledger.order)
        last = self.ledger.rounds[-1] if self.ledger.rounds else {"labels": -1, "failed": 0}
        refit: Any = last.get("refit")
        if n_labels == last["labels"] and len(self.ledger.failed) == last["failed"]:
            return
        if n_labels > last["labels"]:
            refit = self._learn(n_labels)
        self._tell(self._state(refit) | {"gain": None, "picks": [], "seconds": None})

    def _tell(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        if self.report is not None:
            self.report(row)

    def _write(self) -> None:
        """Write the table, the picture and the labelled structures."""
        write_history(self.folder / "history.csv", self.history)
        write_labelled(
            self.folder / "labelled.xyz", self.pool, self.ledger.order, self.ledger.labels,
            self.learner.target,
        )  # fmt: skip
        write_picture(self.folder / "history.png", self.history, self.learner.target)


def _known(labels: Any, n_pool: int) -> _Array:
    try:
        found = np.asarray(labels, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (n_pool,) or np.isinf(found).any():
        raise SettingError(
            f"labels={short(labels)}; give one number for each of the {n_pool} structures of the "
            "pool, NaN where there is none"
        )
    return found


def _digest(pool: Structures) -> str:
    """Return a checksum of the structures, not of their properties."""
    found = hashlib.sha256()
    for name in ("numbers", "positions", "offsets", "cells", "pbc", "charge", "multiplicity"):
        value = getattr(pool, name, None)
        if value is not None:
            found.update(np.ascontiguousarray(value).tobytes())
    return found.hexdigest()
