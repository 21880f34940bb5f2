"""Learning curves: error over the number of training molecules."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import check_baselines
from kernchem.benchmark.candidates import (
    COMPOSITION,
    Candidate,
    list_candidates,
    model_settings,
)
from kernchem.benchmark.curves import LearningCurves
from kernchem.benchmark.protocol import Protocol, Record, Task
from kernchem.benchmark.run_folder import RunFolder, provenance
from kernchem.errors import PropertyError
from kernchem.structures import Structures, as_structures

__all__ = ["learning_curves"]


def learning_curves(
    data: Any,
    target: str,
    *,
    baseline: str | Sequence[str] | None = None,
    descriptors: Any = None,
    kernels: Any = "auto",
    model: str = "krr",
    alpha: Any = "loo",
    criterion: Any = None,
    sizes: Any = None,
    repeats: int = 3,
    test_size: int | None = None,
    seed: int = 0,
    unit: str | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> LearningCurves:
    """Measure how the error of descriptors and kernels falls with the number of training molecules.

    Each repeat permutes the molecules; the end of the permutation tests, and all training sets are
    beginnings of it, so that each holds the smaller ones. Every model is :class:`kernchem.KRR` or
    :class:`kernchem.GPR`, which chooses its hyperparameters by leave-one-out inside the training
    set. A reference that knows element counts only (``composition``) shows what any model must
    beat.

    Parameters
    ----------
    data : Structures or sequence of ase.Atoms
        Molecules that carry ``target`` and ``baseline``; those for which one of the two is NaN are
        left out, and their number is reported.
    target : str
        Name of the property that is learnt.
    baseline : str or sequence of str, optional
        Name of the property of a cheaper method, or several. If given, every model is also fitted
        as :class:`kernchem.DeltaLearner` on them.
    descriptors : str, descriptor, terms or sequence of these, optional
        ``"cm"`` (sorted Coulomb matrix), ``"cm-eigenspectrum"``, ``"bob"``, ``"encoded-bonds"``,
        ``"encoded-bonds-3"`` (pairs at most three bonds apart): by default these five. Others are
        ``"slatm"``, ``"fchl19"`` and the like, ``"composite"``, which brings its own kernel, or
        objects: descriptors, and sums of :class:`kernchem.models.Term`.
    kernels : str, kernel or sequence of these, default "auto"
        ``"gaussian"``, ``"laplacian"``, ``"auto"`` (what the descriptor recommends), or objects. Of
        features of atoms these names mean the sum over atoms; ``"average-gaussian"``,
        ``"rematch"`` and others are for such features only. Objects that differ and look alike
        have labels with a number behind: ``Gaussian(length_scale=10) (2)``.
    model : {"krr", "gpr"}, default "krr"
        Regressor: :class:`kernchem.KRR`, or :class:`kernchem.GPR`, whose error bars are judged as
        well.
    alpha : float or "loo", default "loo"
        Regulariser of every model; "loo" is "fit" of :class:`kernchem.GPR`.
    criterion : {"mae", "rmse"}, optional
        Leave-out error that every :class:`kernchem.KRR` makes small, by default "mae"; not for
        "gpr".
    sizes : sequence of int, optional
        Numbers of training molecules. By default 125, 250, 500 and 1000, with fewer than 1250
        molecules an eighth, a quarter, half and all of the four fifths that do not test.
    repeats : int, default 3
        Number of permutations.
    test_size : int, optional
        Number of molecules that test; by default all that the largest size leaves, at most 1000.
    seed : int, default 0
        Permutation ``r`` is ``numpy.random.default_rng([seed, r]).permutation(n)``.
    unit : str, optional
        Unit of ``target``, for tables and figures; nothing is converted.
    out : path, optional
        Folder to which every finished fit is written at once. A run that was interrupted goes on
        there when it is started again with the same settings and data. At the end it also holds
        ``results.json``, ``results.csv`` and the figure.
    overwrite : bool, default False
        Remove an earlier run from ``out`` first.
    progress : bool, default False
        Show a progress bar if standard error is a terminal.

    Returns
    -------
    LearningCurves
        Records of all fits.

    Raises
    ------
    SettingError
        If a name is unknown, a setting makes no sense, or the sizes do not fit the number of
        molecules; an earlier run in ``out`` is not touched then.
    PropertyError
        If the molecules lack a property, or it is not one number per molecule.
    ResumeError
        If ``out`` holds a run with other settings or data.

    Notes
    -----
    A fit that fails because of its training set, e.g. one without an element that occurs in the
    test set, is recorded with the reason, and the run goes on. Times are of the second use of the
    compiled code.

    References
    ----------
    Rupp, Tkatchenko, Mueller and von Lilienfeld, Phys. Rev. Lett. 108, 058301 (2012),
    https://doi.org/10.1103/PhysRevLett.108.058301

    Examples
    --------
    >>> from kernchem.datasets import load_qm_small
    >>> curves = learning_curves(
    ...     load_qm_small(), "atomization_energy", descriptors="bob", sizes=[50, 200], repeats=1
    ... )
    >>> small, large = (row["mae"] for row in curves.records if row["descriptor"] == "bob")
    >>> large < small
    True
    """
    candidates = list_candidates(descriptors, kernels)
    if criterion is None and model == "krr":
        criterion = "mae"
    given = {"alpha": alpha, "criterion": criterion}
    own = model_settings(model, {name: value for name, value in given.items() if value is not None})
    baselines = _names(baseline)
    check_baselines(target, baselines)
    everything = as_structures(data)
    rows = _labelled(everything, target, baselines)
    n_dropped = len(everything) - len(rows)
    structures = everything[rows] if n_dropped else everything
    protocol = Protocol.checked(len(structures), sizes, test_size, repeats, seed)
    for candidate in candidates:
        candidate.check(structures[:1])
    run: dict[str, Any] = {
        "settings": {
            "target": target,
            "baseline": baseline if isinstance(baseline, str) else baselines or None,
            "candidates": [candidate.describe() for candidate in candidates],
            "sizes": list(protocol.sizes),
            "repeats": protocol.repeats,
            "test_size": protocol.test_size,
            "seed": protocol.seed,
            "unit": unit,
            **own,
        },
        "data": {
            "n_structures": len(structures),
            "n_dropped": n_dropped,
            "sha256": _fingerprint(structures, target, baselines),
        },
        **provenance(),
    }
    folder = None if out is None else RunFolder(Path(out), run, overwrite=overwrite)
    modes = ("direct", "delta") if baselines else ("direct",)
    tasks = list(protocol.tasks(candidates, modes))
    finished = {} if folder is None else {_key(record): record for record in folder.records}
    pending = [task for task in tasks if task.key not in finished]
    with _progress_bar(len(tasks), shown=progress) as advance:
        advance(len(tasks) - len(pending), "compiling")
        for candidate in _first_uses(pending):
            first = Task(0, protocol.sizes[0], "direct", candidate)
            protocol.measure(first, structures, target, [], own, rows)
        done = 0
        for task in pending:
            advance(done, f"{task.candidate.descriptor} {task.mode} N={task.n_train}")
            done = 1
            record = protocol.measure(task, structures, target, baselines, own, rows)
            if folder is not None:
                folder.append(record)
            finished[task.key] = record
    records = [finished[task.key] for task in tasks]
    curves = LearningCurves(records, run if folder is None else folder.run)
    if folder is not None:
        curves.save(folder.folder)
    return curves


def _names(baseline: str | Sequence[str] | None) -> list[str]:
    if baseline is None:
        return []
    return [baseline] if isinstance(baseline, str) else list(baseline)


def _labelled(data: Structures, target: str, baselines: list[str]) -> npt.NDArray[np.int64]:
    """Return the numbers of the molecules whose labels are all known."""
    known = np.ones(len(data), dtype=bool)
    for name in (target, *baselines):
        values = data[name]
        if values.dtype.kind not in "iuf" or values.shape != (len(data),) or name in data.per_atom:
            raise PropertyError(
                f"property {name!r} has the shape {values.shape} and type {values.dtype}; a "
                "learning curve needs one real number per molecule"
            )
        known &= np.isfinite(values)
    return np.flatnonzero(known)


def _fingerprint(data: Structures, target: str, baselines: list[str]) -> str:
    """Return the SHA-256 of the molecules and labels that a run uses."""
    digest = hashlib.sha256()
    arrays: list[npt.NDArray[Any]] = [data.numbers, data.positions, data.offsets, data[target]]
    arrays += [data[name] for name in baselines]
    optional = (data.cells, data.pbc, data.charge, data.multiplicity)
    arrays += [values for values in optional if values is not None]
    for values in arrays:
        little = values.astype(values.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(np.ascontiguousarray(little).tobytes())
    return digest.hexdigest()


def _first_uses(tasks: list[Task]) -> list[Candidate]:
    """Return one candidate per descriptor and kernel, whose code is compiled before it is timed."""
    found = {(task.candidate.descriptor, task.candidate.kernel): task.candidate for task in tasks}
    return [candidate for key, candidate in found.items() if key[0] != COMPOSITION]


def _key(record: Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("repeat", "n_train", "mode", "descriptor", "kernel"))


@contextmanager
def _progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[int, str], None]]:
    """Yield a function (steps, text) that moves the bar on and says what comes next."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda *_: None
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda steps, text: bar.update(task, advance=steps, description=text)
