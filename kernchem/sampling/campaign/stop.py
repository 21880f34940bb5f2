"""When a campaign ends: small rules that can be joined by ``|`` and ``&``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernchem._validation import is_positive, is_whole, short
from kernchem.errors import SettingError

__all__ = ["Budget", "Patience", "ProjectedGain", "StopRule", "TargetError", "stop_rule"]

History = Sequence[Mapping[str, Any]]


class StopRule(ABC):
    """Why a campaign ends.

    ``rule_1 | rule_2`` ends it when one of them says so, ``rule_1 & rule_2`` when both do.
    """

    @property
    def needs_errors(self) -> bool:
        """Whether it judges leave-one-out errors, which some models do not have; by default not."""
        return False

    @abstractmethod
    def reason(self, history: History) -> str | None:
        """Return why to stop after a round.

        Parameters
        ----------
        history : sequence of mapping
            What :attr:`ActiveLearner.history_` holds, the last round behind.

        Returns
        -------
        str or None
            A reason for the user; None to go on.
        """

    def exhausted(self, labels: int, cost: float, further: float) -> str | None:
        """Return why the next structure must not be labelled.

        Parameters
        ----------
        labels : int
            Number of labels that are there.
        cost : float
            What was spent, failed attempts included.
        further : float
            What the next structure costs.

        Returns
        -------
        str or None
            A reason for the user; None to go on.
        """
        return None

    def __or__(self, other: StopRule) -> StopRule:
        return _AnyOf((self, other))

    def __and__(self, other: StopRule) -> StopRule:
        return _AllOf((self, other))


@dataclass(frozen=True)
class TargetError(StopRule):
    """Stop when the model is accurate enough.

    Parameters
    ----------
    error : float
        Mean absolute leave-one-out error, in the unit of the labels, below which its upper bound
        must fall: with a probability of 95 %, estimated by bootstrap, the mean is below.

    Notes
    -----
    Labels that were chosen because they are hard to predict are harder than others: their
    leave-one-out error tends to be above the error on the rest of the pool.
    """

    error: float
    needs_errors = True

    def __post_init__(self) -> None:
        _require_positive("error", self.error)

    def reason(self, history: History) -> str | None:
        """Return why to stop after a round.

        Parameters
        ----------
        history : sequence of mapping
            What :attr:`ActiveLearner.history_` holds.

        Returns
        -------
        str or None
            A reason for the user; None to go on.
        """
        upper = history[-1]["loo_upper"] if history else None
        if upper is None or upper > self.error:
            return None
        return f"the leave-one-out error is below {self.error:g} (upper bound {upper:.3g})"


@dataclass(frozen=True)
class ProjectedGain(StopRule):
    """Stop when the next batch promises too little.

    Parameters
    ----------
    threshold : float
        Gain per label of the next batch, as the selector predicts it, below which it is not worth
        its price.
    relative : bool, default True
        Whether the threshold is a fraction of the largest gain per label in the campaign, among
        rounds with a model; False means the selector's own unit.
    """

    threshold: float
    relative: bool = True

    def __post_init__(self) -> None:
        _require_positive("threshold", self.threshold)

    def reason(self, history: History) -> str | None:
        """Return why to stop after a round.

        Parameters
        ----------
        history : sequence of mapping
            What :attr:`ActiveLearner.history_` holds.

        Returns
        -------
        str or None
            A reason for the user; None to go on.
        """
        # Gains before there is a model are of another kind: distances.
        known = [row["gain"] for row in history if row["refit"] is not None]
        gains = [gain for gain in known if gain is not None]
        if not gains or known[-1] is None:
            return None
        limit = self.threshold * (max(gains) if self.relative else 1.0)
        if gains[-1] >= limit:
            return None
        return f"the next batch promises a gain of {gains[-1]:.3g} per label, below {limit:.3g}"


@dataclass(frozen=True)
class Budget(StopRule):
    """Stop when labels or means are used up.

    Parameters
    ----------
    labels : int, optional
        Largest number of labels; failed attempts do not count.
    cost : float, optional
        Largest cost, in the unit of the learner's ``cost``; failed attempts count.
    """

    labels: int | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        if self.labels is None and self.cost is None:
            raise SettingError("Budget() limits nothing; give labels= or cost=")
        if self.labels is not None and not is_whole(self.labels, 1):
            raise SettingError(f"labels={short(self.labels)}; use a whole number from 1 on")
        if self.cost is not None:
            _require_positive("cost", self.cost)

    def reason(self, history: History) -> str | None:
        """Return why to stop after a round.

        Parameters
        ----------
        history : sequence of mapping
            What :attr:`ActiveLearner.history_` holds.

        Returns
        -------
        str or None
            A reason for the user; None to go on.
        """
        if not history:
            return None
        return self.exhausted(history[-1]["labels"], history[-1]["cost"], 0.0)

    def exhausted(self, labels: int, cost: float, further: float) -> str | None:
        """Return why the next structure must not be labelled.

        Parameters
        ----------
        labels : int
            Number of labels that are there.
        cost : float
            What was spent, failed attempts included.
        further : float
            What the next structure costs.

        Returns
        -------
        str or None
            A reason for the user; None to go on.
        """
        if self.labels is not None and labels >= self.labels:
            return f"the budget of {self.labels} labels is used up"
        if self.cost is not None and (cost >= self.cost or cost + further > self.cost):
            return f"the budget is used up: {cost:g} of {self.cost:g} spent"
        return None


@dataclass(frozen=True)
class Patience(StopRule):
    """Stop when the leave-one-out error does not fall any longer.

    Parameters
    ----------
    rounds : int
        Number of rounds in a row without improvement.
    improvement : float, default 0.0
        Fraction of the lowest error so far by which the mean absolute leave-one-out error must
        fall to count as improved.
    """

    rounds: int
    improvement: float = 0.0
    needs_errors = True

    def __post_init__(self) -> None:
        if not is_whole(self.rounds, 1):
            raise SettingError(f"rounds={short(self.rounds)}; use a whole number from 1 on")
        zero = isinstance(self.improvement, int | float) and self.improvement == 0
        if not (zero or is_positive(self.improvement)) or self.improvement >= 1.0:
            raise SettingError(
                f"improvement={self.improvement!r}; use a fraction from 0 to below 1"
            )

    def reason(self, history: History) -> str | None:
        """Return why to stop after a round.

        Parameters
        ----------
        history : sequence of mapping
            What :attr:`ActiveLearner.history_` holds.

        Returns
        -------
        str or None
            A reason for the user; None to go on.
        """
        errors = [row["loo_mae"] for row in history if row["loo_mae"] is not None]
        best, waited = float("inf"), 0
        for error in errors:
            improved = best == float("inf") or error < best * (1.0 - self.improvement)
            best, waited = (error, 0) if improved else (best, waited + 1)
        if waited < self.rounds:
            return None
        return f"the leave-one-out error has not improved for {waited} rounds (best {best:.3g})"


@dataclass(frozen=True)
class _Joined(StopRule):
    """Several rules."""

    rules: tuple[StopRule, ...]

    @property
    def needs_errors(self) -> bool:
        """Whether one of them does."""
        return any(rule.needs_errors for rule in self.rules)


@dataclass(frozen=True)
class _AnyOf(_Joined):
    """Stops when one of its rules does."""

    def reason(self, history: History) -> str | None:
        """Return the first reason."""
        return next(filter(None, (rule.reason(history) for rule in self.rules)), None)

    def exhausted(self, labels: int, cost: float, further: float) -> str | None:
        """Return the first reason."""
        found = (rule.exhausted(labels, cost, further) for rule in self.rules)
        return next(filter(None, found), None)


@dataclass(frozen=True)
class _AllOf(_Joined):
    """Stops when all of its rules do."""

    def reason(self, history: History) -> str | None:
        """Return all reasons."""
        return _joined([rule.reason(history) for rule in self.rules])

    def exhausted(self, labels: int, cost: float, further: float) -> str | None:
        """Return all reasons."""
        return _joined([rule.exhausted(labels, cost, further) for rule in self.rules])


def stop_rule(stop: Any) -> StopRule:
    """Return the rule that a user means.

    Parameters
    ----------
    stop : StopRule, int, sequence of them, or None
        A number is a budget of labels; one of several rules suffices; None never stops.

    Returns
    -------
    StopRule
        One rule.

    Raises
    ------
    SettingError
        If it is none of these.
    """
    if isinstance(stop, StopRule):
        return stop
    if is_whole(stop, 1):
        return Budget(labels=stop)
    if stop is None or isinstance(stop, list | tuple):
        return _AnyOf(tuple(stop_rule(one) for one in stop or ()))
    raise SettingError(
        f"stop={short(stop)}; use a number of labels, or rules such as TargetError(1.0) | "
        "Budget(labels=500)"
    )


def _joined(reasons: list[str | None]) -> str | None:
    known = [reason for reason in reasons if reason]
    return "; ".join(known) if len(known) == len(reasons) else None


def _require_positive(name: str, value: Any) -> None:
    if not is_positive(value):
        raise SettingError(f"{name}={short(value)}; use a positive number")
