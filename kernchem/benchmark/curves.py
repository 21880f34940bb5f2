"""Results of learning curves: records, means over repeats, files."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kernchem._files import write_atomically
from kernchem.benchmark.figure import draw, write_figure
from kernchem.benchmark.protocol import ERROR_BARS, METRICS, Record
from kernchem.benchmark.run_folder import to_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LearningCurves"]

_AVERAGED = (*METRICS, *ERROR_BARS, "loo_mae", "fit_seconds", "predict_seconds")
_CURVE = ("mode", "descriptor", "kernel")


@dataclass(frozen=True)
class LearningCurves:
    """Errors of models over the number of training molecules.

    Parameters
    ----------
    records : list of dict
        One per fit: ``repeat, n_train, n_test, mode`` ("direct" or "delta"), ``descriptor,
        kernel``; errors on the test set ``mae, rmse, p95`` (95th percentile of the absolute
        errors), ``max_error`` in the unit of the target and ``r2``; of a Gaussian process also
        ``miscalibration_area, ence, coverage_90, sharpness, nll, crps, error_spearman``
        (:mod:`kernchem.uncertainty`); ``loo_mae`` of the training set; the chosen ``length_scale``
        and ``alpha``; ``condition`` and ``jitter`` of the matrix; ``fit_seconds,
        predict_seconds``; the reason of a ``failure``, and ``warnings``.
    run : dict
        ``settings``, ``data`` (number of molecules, SHA-256), ``versions``, ``platform``,
        ``command`` and the time at which the run ``started``.

    Examples
    --------
    >>> from kernchem.benchmark import learning_curves
    >>> from kernchem.datasets import load_qm_small
    >>> curves = learning_curves(
    ...     load_qm_small(), "atomization_energy", descriptors="cm", sizes=[50], repeats=2
    ... )
    >>> [(row["descriptor"], row["n_train"], row["n_repeats"]) for row in curves.summary()]
    [('composition', 50, 2), ('cm', 50, 2)]
    """

    records: list[Record]
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> list[int]:
        """Numbers of training molecules, ascending."""
        return sorted({record["n_train"] for record in self.records})

    @property
    def unit(self) -> str | None:
        """Unit of the target, if it was told."""
        unit: str | None = self.run.get("settings", {}).get("unit")
        return unit

    def summary(self) -> list[Record]:
        """Return means and standard deviations over the repeats.

        Returns
        -------
        list of dict
            One per mode, descriptor, kernel and size: these, ``n_repeats`` (those that did not
            fail), and for every measured quantity ``x`` its mean ``x`` and ``x_std`` (of the
            sample, n - 1; None with fewer than two repeats).
        """
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for record in self.records:
            key = (*(record[name] for name in _CURVE), record["n_train"])
            groups.setdefault(key, []).append(record)
        curves = list(dict.fromkeys(key[:-1] for key in groups))
        averaged = [name for name in _AVERAGED if self.records and name in self.records[0]]
        rows = []
        for key in sorted(
            groups, key=lambda key: (key[0] != "direct", curves.index(key[:-1]), key)
        ):
            members = [record for record in groups[key] if record["failure"] is None]
            row: Record = dict(zip((*_CURVE, "n_train"), key, strict=True))
            row["n_repeats"] = len(members)
            for name in averaged:
                values = [record[name] for record in members if record[name] is not None]
                row[name] = float(np.mean(values)) if values else None
                row[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
            rows.append(row)
        return rows

    def notes(self) -> list[str]:
        """Return what a reader of the numbers must know: molecules left out, failures, warnings.

        Returns
        -------
        list of str
            One sentence each; empty if there is nothing to say.
        """
        said = []
        n_dropped = self.run.get("data", {}).get("n_dropped", 0)
        if n_dropped:
            said.append(f"{n_dropped} molecules without a finite target or baseline were left out.")
        for name, text in (("failure", "failed"), ("warnings", "gave warnings")):
            concerned = [record for record in self.records if record[name]]
            if concerned:
                first = concerned[0]
                reason = first[name] if name == "failure" else first[name][0]
                where = f"{first['descriptor']} {first['mode']} N={first['n_train']}"
                n = len(self.records)
                said.append(f"{len(concerned)} of {n} fits {text}; the first ({where}): {reason}")
        return said

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``results.json``, ``results.csv`` and the figure as PNG and SVG.

        Parameters
        ----------
        folder : path
            Made if absent. Each file is written under a temporary name and renamed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        results = {**self.run, "notes": self.notes(), "summary": self.summary(),
                   "records": self.records}  # fmt: skip
        write_atomically(
            folder / "results.json", lambda path: path.write_text(to_json(results), "utf-8")
        )
        write_atomically(folder / "results.csv", self._write_csv)
        self.plot(folder / "learning_curves.png")
        self.plot(folder / "learning_curves.svg")

    def plot(self, target: str | os.PathLike[str] | Axes) -> None:
        """Draw the mean absolute errors with their standard deviations over the repeats.

        Parameters
        ----------
        target : path or matplotlib axes
            File to write, in the format of its suffix, or axes to draw on.
        """
        summary, settings = self.summary(), self.run.get("settings", {})
        if isinstance(target, str | os.PathLike):
            write_atomically(Path(target), lambda path: write_figure(summary, settings, path))
        else:
            draw(summary, settings, target)

    def _write_csv(self, path: Path) -> None:
        """Write one line per fit, each with what identifies the run."""
        settings = self.run.get("settings", {})
        same = {name: settings.get(name) for name in ("target", "baseline", "unit", "seed")}
        same["kernchem"] = self.run.get("versions", {}).get("kernchem")
        same["data_sha256"] = self.run.get("data", {}).get("sha256")
        same["command"] = self.run.get("command")
        names = [*(self.records[0] if self.records else ()), *same]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for record in self.records:
                told = "; ".join(record["warnings"])
                writer.writerow({**record, "warnings": told, **same})
