"""What a campaign knows: rounds, labels and failures, as its journal tells them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem.sampling.campaign.folder import Journal
from kernchem.sampling.campaign.oracles import Answer

__all__ = ["Ledger"]

_Array = npt.NDArray[np.float64]


class Ledger:
    """Rounds, labels and failures, in the order in which they came.

    What is added is on the disk before it counts.

    Parameters
    ----------
    journal : Journal
        Its records are read, and new ones appended.
    known : array (n_pool,)
        Labels that were there before, NaN elsewhere.
    costs : array (n_pool,)
        Cost of asking for each label.

    Attributes
    ----------
    costs : array (n_pool,)
        As given.
    rounds : list of dict
        One for each round: the state before its picks were asked for, and the picks.
    order : list of int
        Labelled rows of the pool.
    labels : array (n_pool,)
        NaN where there is none.
    failed : dict of int to str
        Rows without label, and why.
    """

    def __init__(self, journal: Journal, known: _Array, costs: _Array) -> None:
        self._journal, self.costs = journal, costs
        self.rounds: list[dict[str, Any]] = []
        self.labels = known.copy()
        self.order: list[int] = np.flatnonzero(np.isfinite(known)).tolist()
        self.failed: dict[int, str] = {}
        self._asked: set[int] = set()
        for record in journal.records:
            self._learn(record)

    @property
    def is_begun(self) -> bool:
        """Whether anything is on the disk."""
        return bool(self._journal.records)

    @property
    def spent(self) -> float:
        """Cost of all questions, the same in whatever order they were asked."""
        return math.fsum(self.costs[list(self._asked)])

    @property
    def pending(self) -> list[int]:
        """Picks of the last round that have neither label nor failure."""
        picks = self.rounds[-1]["picks"] if self.rounds else []
        return [k for k in picks if not self.is_known(k)]

    def is_known(self, index: int) -> bool:
        """Whether a row has a label or failed."""
        return index in self.failed or math.isfinite(self.labels[index])

    def begin(self, state: dict[str, Any]) -> None:
        """Start a round."""
        self._add({"kind": "round", **state})

    def answer(self, index: int, answer: Answer) -> None:
        """Keep a label, or why there is none; it takes the place of what was there."""
        if answer.reason:
            self._add({"kind": "failure", "index": index, "reason": answer.reason})
        else:
            self._add({"kind": "label", "index": index, "label": answer.label})

    def take_back(self, indices: list[int]) -> None:
        """Forget failures behind each other, and the rounds that began between them."""
        self._add({"kind": "taken back", "indices": indices})

    def _add(self, record: dict[str, Any]) -> None:
        self._journal.append(record)
        self._learn(record)

    def _learn(self, record: dict[str, Any]) -> None:
        if record["kind"] == "round":
            self.rounds.append({key: value for key, value in record.items() if key != "kind"})
            return
        if record["kind"] == "taken back":
            self._asked.difference_update(record["indices"])
            for index in record["indices"]:
                del self.failed[index]
            while record["indices"][0] not in self.rounds[-1]["picks"]:
                self.rounds.pop()
            return
        index = int(record["index"])
        if not self.is_known(index):
            self._asked.add(index)
        labelled = math.isfinite(self.labels[index])
        if record["kind"] == "failure":
            self.failed[index] = str(record["reason"])
            self.labels[index] = math.nan
            if labelled:
                self.order.remove(index)
            return
        self.failed.pop(index, None)
        if not labelled:
            self.order.append(index)
        self.labels[index] = record["label"]
