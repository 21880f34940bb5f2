"""One call of a campaign: what it learns, selects, asks for and writes."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kernchem._validation import is_whole, numbered
from kernchem._warnings import collected_warnings
from kernchem.errors import (
    CompositionError,
    KernchemWarning,
    OracleError,
    ResumeError,
    SettingError,
)
from kernchem.sampling.campaign.following import Follower, bounds_of_mae, kernel_part
from kernchem.sampling.campaign.ledger import Ledger
from kernchem.sampling.campaign.oracles import (
    Oracle,
    holds_answers,
    read_all_answers,
    write_questions,
)
from kernchem.sampling.campaign.reports import (
    status_line,
    write_history,
    write_labelled,
    write_picture,
)
from kernchem.sampling.campaign.stop import StopRule
from kernchem.sampling.selector import BatchSelector
from kernchem.structures import Structures

__all__ = ["FILES", "LEAST", "Campaign"]

_Array = npt.NDArray[np.float64]

#: What a campaign writes for the user, and what it reads, in its folder.
FILES = _QUESTIONS, _LABELLED, _TABLE, _PICTURE = (
    "questions.xyz", "labelled.xyz", "history.csv", "history.png",
)  # fmt: skip
_ANSWERS = ("answers*.xyz", "answers*.extxyz", "answers*.csv")
#: Labels below which no model is fitted.
LEAST = 2


class Settings(Protocol):
    """What a campaign takes from :class:`kernchem.sampling.ActiveLearner`."""

    model: Any
    target: str
    batch_size: int
    initial: int | None
    max_failures: int
    progress: bool


class Campaign:
    """One call of :meth:`ActiveLearner.run`.

    Parameters
    ----------
    learner : ActiveLearner
        Its settings, which are sound.
    pool : Structures
        What may be labelled.
    ledger : Ledger
        What earlier calls have left.
    rule : StopRule
        When to end.
    selector : BatchSelector
        Its settings are those of each round; never changed.
    options : dict
        Further arguments of its ``fit``.
    folder : Path
        Where to write.
    report : callable or None
        Called with each new row of the history.

    Attributes
    ----------
    follower : Follower
        The model.
    history : list of dict
        All rounds.
    stopped : str
        Why it ended.
    waiting : list of int
        What the user was asked for.

    Raises
    ------
    ResumeError
        If the folder holds files that no campaign has written.
    """

    def __init__(
        self,
        learner: Settings,
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
        self.history = [dict(row) for row in ledger.rounds]
        self.waiting: list[int] = []
        self.show: Callable[[str], object] = str
        #: Labels from which on there is a model.
        self._enough = max(learner.initial or learner.batch_size, LEAST)
        self._failures: list[int] = []
        self._told: list[str] = []
        self._corrected: list[str] = []
        self._require_own_files()

    def run(self, oracle: Oracle | None) -> None:
        """Go on until there is a reason to stop."""
        with status_line(shown=self.learner.progress) as self.show:
            try:
                self._replay()
                if oracle is None and (self.ledger.rounds or self._begin()):
                    self._take_answers()
                while not self.stopped:
                    if not self.ledger.pending and not self._begin():
                        break
                    self.stopped = self.rule.reason(self.history) or ""
                    if not self.stopped:
                        self._ask_user() if oracle is None else self._ask(oracle)
                self._close()
            finally:
                # What is not begun owns no files in its folder.
                if self.ledger.is_begun:
                    self._write()
        for text in self._corrected + self._told:
            warnings.warn(text, KernchemWarning, stacklevel=3)

    def _require_own_files(self) -> None:
        """Raise if files would be replaced that no campaign has written."""
        found = [name for name in FILES if (self.folder / name).exists()]
        if found and not self.ledger.is_begun:
            raise ResumeError(
                f"{self.folder} holds {', '.join(found)} and no campaign, which would write files "
                "of these names; move what is there elsewhere, or name another folder"
            )

    def _replay(self) -> None:
        """Fit the model of the last round; it depends on nothing before the last choice."""
        self.follower = Follower(self.learner.model)
        rounds = self.ledger.rounds
        chosen = [k for k, row in enumerate(rounds) if row["refit"] == "chosen"]
        for row in rounds[chosen[-1] :] if chosen else ():
            self._learn(row["labels"])

    def _learn(self, n_labels: int) -> str | None:
        rows = self.ledger.order[:n_labels]
        self.show(f"learning {n_labels} labels")
        if len(rows) < self._enough:
            return None
        if len(rows) == self.follower.n_known:
            return "unchanged"
        # Of few labels there is much to complain; only the last model's troubles matter.
        try:
            with collected_warnings() as self._told, numbered(rows):
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
        fitted = self.follower.model
        if fitted is not None and self.rule.needs_errors and not hasattr(fitted, "loo_residuals_"):
            raise SettingError(
                f"{type(fitted).__name__} has no leave-one-out residuals, by which TargetError and "
                "Patience judge; stop by Budget or ProjectedGain, or learn with GPR or KRR"
            )
        picks, gains = self._select()
        if not picks:
            left = len(self.pool) - len(self.ledger.order) - len(self.ledger.failed)
            self.stopped = "the whole pool is labelled or failed"
            if left:
                self.stopped = (
                    f"the other {left} structures are copies of those that are labelled or failed, "
                    "share a group with one, or tell nothing new"
                )
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
        # A clone would take the fit from a model that lends its kernel.
        selector = type(self.selector)(**self.selector.get_params(deep=False))
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
        n, missing = self.learner.batch_size, 0
        if self.follower.model is None:
            missing = (self.learner.initial or n) - len(ledger.order)
        # Those that are left may tell nothing new.
        with contextlib.suppress(SettingError):
            if missing > 0 and self.options["groups"] is not None:
                while len(selector.selected_) < missing and selector.n_left_:
                    selector.select(1)
            else:
                selector.select(min(missing if missing > 0 else n, selector.n_left_))
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
            self._failures = [*self._failures, index] if answer.reason else []
            if len(self._failures) >= self.learner.max_failures:
                self.ledger.take_back(self._failures)
                self.history = [dict(row) for row in self.ledger.rounds]
                raise OracleError(
                    f"{len(self._failures)} labels in a row failed, the last of structure {index} "
                    f"({self.pool[index].formula}): {answer.reason}; mend the oracle, or raise "
                    "max_failures; what is labelled is kept, and these are asked for again"
                )

    def _exhausted(self, asked: list[int]) -> str | None:
        """Return why the last of some structures must not be labelled after the others."""
        prices = self.ledger.costs[asked]
        n_labels, spent = len(self.ledger.order) + len(asked) - 1, float(prices[:-1].sum())
        return self.rule.exhausted(n_labels, self.ledger.spent + spent, float(prices[-1]))

    def _take_answers(self) -> None:
        """Keep what the user has answered; what was changed takes the place of what was there."""
        ledger = self.ledger
        paths = [path for pattern in _ANSWERS for path in sorted(self.folder.glob(pattern))]
        questions = self.folder / _QUESTIONS
        if holds_answers(questions, self.learner.target):
            paths.append(questions)
        answers = read_all_answers(paths, self.learner.target, self.pool)
        for index, answer in sorted(answers.items()):
            now = answer.reason or answer.label
            was = ledger.failed.get(index) or ledger.labels[index]
            if ledger.is_known(index) and was != now:
                self._corrected.append(
                    f"the answer for structure {index} ({self.pool[index].formula}) was {was} and "
                    f"is now {now}"
                )
            if was != now:
                ledger.answer(index, answer)
        if self._corrected:
            self._replay()
            # A rule that ends the campaign may have judged a model of what was wrong.
            if self.rule.reason(self.history):
                self._begin()

    def _ask_user(self) -> None:
        """Write down what is still to be labelled."""
        name = self.learner.target
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
        if not self.waiting:
            self._enough = LEAST
        n_labels = len(self.ledger.order)
        last = self.ledger.rounds[-1] if self.ledger.rounds else {"labels": -1, "failed": 0}
        refit = self._learn(n_labels)
        learnt = refit not in {None, "unchanged"}
        if n_labels == last["labels"] and len(self.ledger.failed) == last["failed"] and not learnt:
            return
        self._tell(self._state(refit) | {"gain": None, "picks": [], "seconds": None})

    def _tell(self, row: dict[str, Any]) -> None:
        self.history.append(row)
        if self.report is not None:
            self.report(row)

    def _write(self) -> None:
        """Write the table, the picture and the labelled structures."""
        write_history(self.folder / _TABLE, self.history)
        write_labelled(
            self.folder / _LABELLED, self.pool, self.ledger.order, self.ledger.labels,
            self.learner.target,
        )  # fmt: skip
        write_picture(self.folder / _PICTURE, self.history, self.learner.target)
