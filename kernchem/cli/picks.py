"""Molecules that were chosen, and the files that hold them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernchem.cli.outputs import XyzWriter, identifiers, number_cell, text_cell
from kernchem.errors import PropertyError

if TYPE_CHECKING:
    from kernchem.structures import Structures

__all__ = ["ADDED", "Picks", "check_free"]

#: Properties that the chosen molecules get.
ADDED = ("pool_index", "rank", "gain")


@dataclass(frozen=True)
class Picks:
    """Chosen molecules in the order of choice.

    Attributes
    ----------
    molecules : Structures
        With all that they had in the pool.
    pool_index : array (n,) of int
        Index of each in the pool.
    rank : array (n,) of int
        Number of the pick, from 0; molecules of one group share it.
    gain, residual_trace : array (n,)
        What the pick promised, and what it left; NaN for a random one.
    """

    molecules: Structures
    pool_index: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    gain: npt.NDArray[np.float64]
    residual_trace: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, selector: Any, structures: Structures, groups: npt.NDArray[np.int64] | None
    ) -> Picks:
        """Return what a selector has chosen from molecules."""
        rows = selector.selected_
        rank = np.arange(len(rows))
        if groups is not None:
            # A group is chosen once, its molecules side by side.
            rank = np.cumsum(np.diff(groups[rows], prepend=groups[rows[0]]) != 0)
        return cls(
            structures[rows], rows, rank, selector.gain_[rank], selector.residual_trace_[rank]
        )

    def write_xyz(self, path: Path) -> None:
        """Write the molecules as extended XYZ, with the properties of :data:`ADDED`."""
        columns = np.empty((len(self.rank), len(ADDED)), dtype=object)
        for k, name in enumerate(ADDED):
            columns[:, k] = getattr(self, name).tolist()
        with path.open("w", encoding="utf-8", newline="") as text:
            XyzWriter(text, ADDED).write_all(self.molecules, columns, {})

    def write_table(self, path: Path) -> None:
        """Write one line of CSV per molecule."""
        names = identifiers(self.molecules)
        with path.open("w", encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["rank", "pool_index", "formula", *names, "gain", "residual_trace"])
            for k, molecule in enumerate(self.molecules):
                row: list[Any] = [self.rank[k], self.pool_index[k], molecule.formula]
                row += [text_cell(molecule.properties.get(name)) for name in names]
                row += [number_cell(self.gain[k]), number_cell(self.residual_trace[k])]
                writer.writerow(row)


def check_free(structures: Structures, source: str) -> None:
    """Raise, before anything is computed, if molecules carry what the chosen ones get."""
    for name in ADDED:
        if name in structures.properties:
            raise PropertyError(
                f"the molecules of {source} carry a property {name!r} already, which --out writes; "
                "rename it there, or write --table alone"
            )
