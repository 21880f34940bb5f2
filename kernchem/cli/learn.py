"""``kernchem learn``: a campaign that asks for the labels which teach most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from kernchem._validation import check_baselines
from kernchem._warnings import collected_warnings
from kernchem.cli.choice import (
    QUICK,
    baseline_option,
    choose_model,
    descriptor_option,
    kernel_option,
    seed_option,
    settings_option,
)
from kernchem.cli.files import check_apart, check_folder
from kernchem.cli.inputs import check_texts, find_dataset
from kernchem.cli.methods import METHODS, make_program
from kernchem.cli.pool import Pool
from kernchem.cli.progress import kept, working
from kernchem.errors import KernchemError, SettingError

if TYPE_CHECKING:
    from kernchem.sampling import ActiveLearner

__all__ = ["learn"]

_ASK, _STORED = "ask", "stored"
_HEADINGS = ("round", "labels", "failed", "cost", "LOO MAE", "5 %", "95 %", "gain", "model")


@click.command()
@click.argument("pool", metavar="POOL")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Where the campaign is kept; the same command goes on with it.",
)
@click.option(
    "--oracle",
    default=_ASK,
    show_default=True,
    metavar="NAME",
    help=f"What gives labels: {_ASK} writes molecules to a file and waits for yours; a method, one "
    f"of {', '.join(METHODS)}, in kcal/mol; {_STORED} is the molecules' own --target.",
)
@click.option(
    "--target",
    metavar="NAME",
    help="Name of the label. Values that molecules of POOL carry count as labelled, unless the "
    f"oracle is {_STORED}.  [default: a method's name with _energy; else needed]",
)
@baseline_option
@descriptor_option
@kernel_option
@click.option(
    "--model",
    metavar="krr|gpr",
    help="Kernel ridge regression, or a Gaussian process.  [default: that of --settings, or gpr]",
)
@settings_option
@click.option(
    "--strategy",
    metavar="NAME",
    default="isd",
    show_default=True,
    help="How molecules are chosen, as in kernchem sample.",
)
@click.option(
    "--batch", type=int, default=20, show_default=True, metavar="N", help="Labels per round."
)
@click.option(
    "--initial", type=int, metavar="N", help="Labels before the first model.  [default: --batch]"
)
@click.option("--n", type=int, metavar="N", help="Stop at this number of labels.")
@click.option("--budget", type=float, metavar="COST", help="Stop when so much is spent.")
@click.option(
    "--error",
    type=float,
    metavar="E",
    help="Stop when the leave-one-out MAE is below E with a probability of 95 %.",
)
@click.option(
    "--patience", type=int, metavar="N", help="Stop after N rounds without improvement of it."
)
@click.option(
    "--min-gain",
    type=float,
    metavar="F",
    help="Stop when a label promises less than this fraction of the largest gain so far.",
)
@click.option("--costs", metavar="NAME", help="Property, the cost of each label.  [default: 1]")
@click.option(
    "--groups",
    metavar="NAME",
    help="Property, text or whole numbers, whose equal values are labelled together.",
)
@click.option(
    "--max-failures",
    type=int,
    default=10,
    show_default=True,
    metavar="N",
    help="Failures in a row after which the oracle is taken to be broken.",
)
@seed_option
@click.option("--unit", help="Unit of the target, for the model file; nothing is converted.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="MODEL",
    help="File of the model at the end.  [default: model.kc in the folder]",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def learn(
    *,
    pool: str,
    folder: Path,
    oracle: str,
    target: str | None,
    baseline: tuple[str, ...],
    descriptor: str | None,
    kernel: str | None,
    model: str | None,
    settings: Path | None,
    strategy: str,
    batch: int,
    initial: int | None,
    n: int | None,
    budget: float | None,
    error: float | None,
    patience: int | None,
    min_gain: float | None,
    costs: str | None,
    groups: str | None,
    max_failures: int,
    seed: int,
    unit: str | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Ask for the labels that teach a model most, until it is good enough.

    POOL is a file or folder of structures that kernchem.read understands, or the name of a dataset.
    Each label is kept in the folder as soon as it is there; the same command goes on after an
    interrupt, with another --n or --error too.

    With --oracle ask, the molecules of a round are written to questions.xyz in the folder: put
    their labels into answers.xyz, or pool_index and the target into answers.csv, and start again.
    """
    from kernchem.model_files import save
    from kernchem.sampling import ActiveLearner, BatchSelector
    from kernchem.sampling.campaign.loop import FILES

    chosen = choose_model(
        descriptor, kernel, settings, model=model, baselines=baseline, default=QUICK,
        default_kind="gpr",
    )  # fmt: skip
    oracles = (_ASK, _STORED, *METHODS)
    if oracle not in oracles:
        raise SettingError(f"--oracle {oracle} is unknown; use one of {', '.join(oracles)}")
    name = target or (f"{oracle}_energy" if oracle in METHODS else "")
    if not name:
        raise SettingError(f"--target is needed with --oracle {oracle}: the name of the label")
    find_dataset(pool)
    path = folder / "model.kc" if out is None else out
    if out is not None:
        check_folder(out)
    check_texts({"--target": name, "--unit": unit})
    check_baselines(name, baseline)
    written = {"--out": path} | {f"{name} in --folder": folder / name for name in FILES}
    check_apart(written, {"POOL": pool, "--settings": settings})
    learner = ActiveLearner(
        chosen.estimator,
        _oracle(oracle, name, folder),
        folder=folder,
        target=name,
        selector=BatchSelector(strategy, random_state=seed),
        batch_size=batch,
        initial=initial,
        stop=_rules(n, budget, error, patience, min_gain),
        max_failures=max_failures,
        progress=not quiet,
    )
    with kept(f"What is labelled is kept in {folder}; the same command goes on."):
        with working(f"reading {pool}", shown=not quiet):
            # Stored labels have to be there; others may.
            stored = name if oracle == _STORED else None
            molecules = Pool.read(
                pool, target=stored, groups=groups, costs=costs, labelled=None, targets=None
            )
        told = _run(learner, molecules, None if stored else name, quiet=quiet)
        if learner.model_ is not None:
            save(learner.model_, path, target=name, unit=unit)
    if not quiet:
        for text in told:
            click.echo(f"Note: {text}")
        click.echo(f"Stopped: {learner.stopped_}")
        saved = "" if learner.model_ is None else f", model: {path}"
        click.echo(f"Campaign: {folder}{saved}")


def _oracle(name: str, target: str, folder: Path) -> Any:
    if name == _ASK:
        return None
    if name == _STORED:
        return target
    settings = {"forces": False, "cache": folder / "cache", "n_jobs": 1, "progress": False}
    program = make_program(name, settings)
    # What is not installed is told before anything is read.
    program.identity()
    return program


def _rules(
    n: int | None,
    budget: float | None,
    error: float | None,
    patience: int | None,
    min_gain: float | None,
) -> list[Any]:
    """Return the stop rules of the options; errors name the option."""
    from kernchem.sampling import Budget, Patience, ProjectedGain, TargetError

    makers: dict[str, tuple[Any, Any]] = {
        "--n": (n, lambda value: Budget(labels=value)),
        "--budget": (budget, lambda value: Budget(cost=value)),
        "--error": (error, TargetError),
        "--patience": (patience, Patience),
        "--min-gain": (min_gain, ProjectedGain),
    }
    rules = []
    for option, (value, make) in makers.items():
        if value is not None:
            try:
                rules.append(make(value))
            except SettingError as problem:
                raise SettingError(f"{option} {value}: {problem}") from None
    return rules


def _run(learner: ActiveLearner, pool: Pool, known: str | None, *, quiet: bool) -> list[str]:
    """Run the campaign, print its rounds, and return the warnings of the last model."""
    from kernchem.cli.inputs import property_column

    labels = None
    if known is not None and known in pool.structures.properties:
        labels = property_column(pool.structures, known)
        labels[~np.isfinite(labels)] = np.nan
    if not quiet:
        click.echo("  ".join(f"{text:>8}" for text in _HEADINGS))
    with collected_warnings() as told:
        try:
            learner.run(
                pool.structures, labels, costs=pool.costs, groups=pool.groups,
                report=None if quiet else _print_round,
            )  # fmt: skip
        except KernchemError as error:
            # What is wrong with a molecule begins with its number.
            if not str(error).startswith("structure "):
                raise
            raise type(error)(f"{pool.source}: {error}") from None
    return told


def _print_round(row: Mapping[str, Any]) -> None:
    cells = [row[name] for name in ("round", "labels", "failed")]
    numbers = [row[name] for name in ("cost", "loo_mae", "loo_lower", "loo_upper", "gain")]
    told = [*map(str, cells), *("" if x is None else f"{x:.4g}" for x in numbers)]
    click.echo("  ".join(f"{text:>8}" for text in (*told, row["refit"] or "")))
