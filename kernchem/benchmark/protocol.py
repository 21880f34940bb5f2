"""The protocol of a learning curve: which molecules train, which test, and what is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import renumbered
from kernchem._warnings import collected_warnings
from kernchem.benchmark.candidates import Candidate
from kernchem.errors import (
    CompositionError,
    KernchemError,
    LayoutError,
    SettingError,
    SingularKernelError,
    UnknownElementError,
)
from kernchem.structures import Structures
from kernchem.uncertainty import uncertainty_report

__all__ = [
    "ERROR_BARS",
    "KEYS",
    "METRICS",
    "Protocol",
    "Record",
    "Task",
    "error_bar_metrics",
    "error_metrics",
]

Record = dict[str, Any]
_Array = npt.NDArray[np.float64]
_Rows = npt.NDArray[np.int64]

#: What :func:`error_metrics` returns, in the unit of the labels but for ``r2``.
METRICS = ("mae", "rmse", "p95", "max_error", "r2")
#: What :func:`error_bar_metrics` returns, and the names in a report.
ERROR_BARS = {
    "miscalibration_area": "miscalibration_area",
    "ence": "ence",
    "coverage_90": "coverage",
    "sharpness": "sharpness",
    "nll": "nll",
    "crps": "crps",
    "error_spearman": "error_spearman",
}
#: What tells a record from others.
_IDENTITY = ("repeat", "n_train", "n_test", "mode", "descriptor", "kernel")
#: What else is measured.
_MEASURED = ("loo_mae", "length_scale", "alpha", "condition", "jitter", "fit_seconds",
             "predict_seconds", "failure")  # fmt: skip
#: What every record has.
KEYS = frozenset((*_IDENTITY, *METRICS, *_MEASURED, "warnings"))
#: Default training sizes, where there are molecules enough.
_SIZES = (125, 250, 500, 1000)
#: At most so many molecules test by default.
_MAX_TEST = 1000
#: Failures of one fit that belong to its training set, not to the run.
_FAILURES = (UnknownElementError, CompositionError, LayoutError, SingularKernelError)


@dataclass(frozen=True)
class Task:
    """One fit: ``mode`` is "direct" or "delta"."""

    repeat: int
    n_train: int
    mode: str
    candidate: Candidate

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this task's record from others."""
        return (
            self.repeat,
            self.n_train,
            self.mode,
            self.candidate.descriptor,
            self.candidate.kernel,
        )


@dataclass(frozen=True)
class Protocol:
    """Training sizes, test size, repeats and seed, checked against the number of molecules.

    Attributes
    ----------
    n : int
        Number of molecules.
    sizes : tuple of int
        Training sizes, ascending.
    test_size : int
        Number of molecules that test.
    repeats : int
        Number of permutations.
    seed : int
        Permutation ``r`` is ``numpy.random.default_rng([seed, r]).permutation(n)``.
    """

    n: int
    sizes: tuple[int, ...]
    test_size: int
    repeats: int
    seed: int

    @classmethod
    def checked(cls, n: int, sizes: Any, test_size: Any, repeats: Any, seed: Any) -> Protocol:
        """Fill in defaults and raise SettingError where the numbers do not fit."""
        if n < 3:
            raise SettingError(
                f"a learning curve needs at least 3 molecules with labels, there are {n}; give "
                "more, or another target"
            )
        repeats = _whole(repeats, "repeats", 1)
        seed = _whole(seed, "seed", 0)
        if test_size is not None:
            test_size = _whole(test_size, "test_size", 1)
        if sizes is None:
            pool = n - (max(1, n // 5) if test_size is None else test_size)
            wanted = _SIZES if pool >= _SIZES[-1] else [pool // 8, pool // 4, pool // 2, pool]
            sizes = [size for size in wanted if size >= 2]
        sizes = sorted({_whole(size, "sizes", 2) for size in np.atleast_1d(sizes).tolist()})
        largest = sizes[-1] if sizes else n
        if test_size is None:
            test_size = max(1, min(n - largest, _MAX_TEST))
        if not sizes or largest + test_size > n:
            raise SettingError(
                f"{largest} molecules to train on and {test_size} to test on are more than the "
                f"{n} there are; use sizes up to {max(n - test_size, 0)}, or a smaller test size"
            )
        return cls(n, tuple(sizes), test_size, repeats, seed)

    def split(self, repeat: int, n_train: int) -> tuple[_Rows, _Rows]:
        """Return the molecules that train and those that test.

        All training sets of a repeat are beginnings of one permutation, and its end tests.
        """
        order = np.random.default_rng([self.seed, repeat]).permutation(self.n)
        return order[:n_train], order[self.n - self.test_size :]

    def tasks(self, candidates: list[Candidate], modes: tuple[str, ...]) -> Iterator[Task]:
        """Yield all fits, repeat by repeat."""
        for repeat in range(self.repeats):
            for n_train in self.sizes:
                for mode in modes:
                    for candidate in candidates:
                        yield Task(repeat, n_train, mode, candidate)

    def measure(
        self,
        task: Task,
        data: Structures,
        target: str,
        baselines: list[str],
        settings: Mapping[str, Any] | None = None,
        numbers: _Rows | None = None,
    ) -> Record:
        """Fit one model and return its record; a failed fit has the reason under ``failure``.

        ``settings`` are those of :func:`kernchem.benchmark.candidates.model_settings`. Records of
        a "gpr" have :data:`ERROR_BARS` as well, which are None for the reference. Errors name a
        molecule by its number in ``data``, or by that of ``numbers``.
        """
        train_rows, test_rows = self.split(task.repeat, task.n_train)
        train, test = data[train_rows], data[test_rows]
        own = dict(settings or {})
        model = task.candidate.estimator(baselines if task.mode == "delta" else None, **own)
        bars = ERROR_BARS if own.get("model") == "gpr" else ()
        record = _empty_record(task, self.test_size, (*METRICS, *bars))
        with collected_warnings() as told:
            concerned = train_rows
            try:
                start = time.perf_counter()
                model.fit(train, train[target])
                fitted = time.perf_counter()
                concerned = test_rows
                if bars and task.candidate.parts is not None:
                    predicted, std = model.predict(test, return_std=True)
                else:
                    predicted, std = model.predict(test), None
                record["predict_seconds"] = time.perf_counter() - fitted
                record["fit_seconds"] = fitted - start
                record |= error_metrics(test[target], predicted)
                if std is not None:
                    record |= error_bar_metrics(test[target], predicted, std)
                record |= _choices(model)
            except KernchemError as error:
                own_numbers = concerned if numbers is None else numbers[concerned]
                told_of = renumbered(str(error), own_numbers)
                if not isinstance(error, _FAILURES):
                    raise type(error)(told_of) from None
                record["failure"] = told_of
        record["warnings"] += told
        return record


def error_metrics(y: _Array, predicted: _Array) -> dict[str, float | None]:
    """Return the errors of predictions.

    Parameters
    ----------
    y : array (n,)
        Labels.
    predicted : array (n,)
        Predictions in the same unit.

    Returns
    -------
    dict
        ``mae``, ``rmse``, ``p95`` (95th percentile of the absolute errors) and ``max_error`` in the
        unit of the labels, and ``r2``, which is None where all labels are equal.
    """
    error = np.abs(y - predicted)
    spread = float(((y - y.mean()) ** 2).sum())
    return {
        "mae": _number(error.mean()),
        "rmse": _number(np.sqrt((error**2).mean())),
        "p95": _number(np.percentile(error, 95.0)),
        "max_error": _number(error.max()),
        "r2": _number(1.0 - (error**2).sum() / spread) if spread > 0 else None,
    }


def error_bar_metrics(y: _Array, predicted: _Array, std: _Array) -> dict[str, float | None]:
    """Return how well standard deviations describe the errors of predictions.

    Parameters
    ----------
    y : array (n,)
        Labels.
    predicted : array (n,)
        Predictions in the same unit.
    std : array (n,)
        Their standard deviations.

    Returns
    -------
    dict
        ``miscalibration_area``, ``ence``, ``coverage_90`` (of Gaussian intervals of 90 %),
        ``sharpness`` and ``crps`` in the unit of the labels, ``nll``, and ``error_spearman``;
        see :func:`kernchem.uncertainty.uncertainty_report`.
    """
    report = uncertainty_report(y, predicted, std, coverage=0.9).to_dict()
    return {name: _number(report[found]) for name, found in ERROR_BARS.items()}


def _empty_record(task: Task, n_test: int, metrics: Sequence[str]) -> Record:
    """Return a record with every key, so that all have the same."""
    known = (task.repeat, task.n_train, n_test, *task.key[2:])
    return {
        **dict(zip(_IDENTITY, known, strict=True)),
        **dict.fromkeys((*metrics, *_MEASURED)),
        "warnings": [],
    }


def _choices(model: Any) -> Record:
    """Return what a fitted model chose; nothing for the reference."""
    model = getattr(model, "model_", model)
    if not hasattr(model, "alpha_"):
        return {}
    residuals = np.abs(model.loo_residuals_)
    known = residuals[np.isfinite(residuals)]
    return {
        "loo_mae": _number(known.mean()) if len(known) else None,
        "length_scale": _number(getattr(model.kernel_, "length_scale", None)),
        "alpha": _number(model.alpha_),
        "condition": _number(model.condition_),
        "jitter": _number(model.jitter_),
    }


def _number(value: Any) -> float | None:
    """Return a number that JSON can hold, None for what it cannot."""
    if value is None or np.ndim(value) or not np.isfinite(value):
        return None
    return float(value)


def _whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise SettingError(f"{name}: {value!r} is no whole number from {least} on")
    return int(value)
