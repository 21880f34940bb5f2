"""``kernchem sample``: which molecules of a pool are worth a label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernchem._validation import is_positive, is_whole
from kernchem.cli.choice import (
    QUICK,
    descriptor_option,
    kernel_option,
    named_candidate,
    seed_option,
)
from kernchem.cli.files import check_apart, check_folder
from kernchem.cli.inputs import find_dataset
from kernchem.cli.memory import check_selection, free_memory
from kernchem.cli.progress import working
from kernchem.errors import SettingError

if TYPE_CHECKING:
    from kernchem.cli.picks import Picks
    from kernchem.cli.pool import Pool

__all__ = ["sample"]

_SUFFIXES = (".xyz", ".extxyz")
#: Picks that are shown.
_SHOWN = 5
#: Strategies that hold no factor of the covariance.
_LIGHT = frozenset({"random", "fps", "lcmd", "kmeans++"})


@click.command()
@click.argument("pool", metavar="POOL")
@click.option(
    "--n",
    type=int,
    required=True,
    metavar="N",
    help="Molecules to choose, or groups with --groups.",
)
@click.option(
    "--strategy",
    metavar="NAME",
    default="isd",
    show_default=True,
    help="How: isd (the mean error bar of the predictions falls most), ivr (their mean variance), "
    "maxvar, lcmd, fps, kmeans++, cur, doptimal or random.",
)
@descriptor_option
@kernel_option
@click.option(
    "--model",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="MODEL",
    help="Saved model whose descriptor, kernel and noise are used. Its training molecules count as "
    "labelled unless --labelled or --target says which are.",
)
@click.option(
    "--labelled",
    metavar="FILE",
    help="Further molecules that have labels already; the labels themselves are not needed.",
)
@click.option(
    "--target",
    metavar="NAME",
    help="Property; molecules of POOL that have a finite value of it are labelled.",
)
@click.option(
    "--groups",
    metavar="NAME",
    help="Property, text or whole numbers, whose equal values are chosen together.",
)
@click.option(
    "--costs", metavar="NAME", help="Property, the cost of each label; gains are divided by it."
)
@click.option(
    "--targets", metavar="FILE", help="Molecules that will be predicted.  [default: POOL]"
)
@seed_option
@click.option(
    "--noise",
    type=float,
    metavar="NUMBER",
    help="Variance of the noise of labels relative to that of the kernel.  [default: that of "
    "--model, or 1e-3]",
)
@click.option(
    "--rank",
    type=int,
    metavar="N",
    help="Random targets that stand for all with isd and ivr, and number of features of cur and "
    "doptimal.  [default: all of up to 10000 molecules, 2000 of more; cur 2000, doptimal 200 of "
    "2000]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PICKS.xyz",
    help="Extended XYZ of the chosen molecules with all they had, and pool_index, rank and gain. "
    "An older file is replaced at the end.",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PICKS.csv",
    help="Table of the chosen molecules.  [default without --out and --table: both, with POOL's "
    "name and .picks.xyz and .picks.csv]",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def sample(
    *,
    pool: str,
    n: int,
    strategy: str,
    descriptor: str | None,
    kernel: str | None,
    model: Path | None,
    labelled: str | None,
    target: str | None,
    groups: str | None,
    costs: str | None,
    targets: str | None,
    seed: int,
    noise: float | None,
    rank: int | None,
    out: Path | None,
    table: Path | None,
    quiet: bool,
) -> None:
    """Choose the molecules whose labels would teach most.

    POOL is a file or folder of structures that kernchem.read understands, or the name of a dataset.
    It is held in memory. Labels are not needed; those that there are count by --target, --labelled
    or --model.
    """
    from kernchem._files import write_atomically
    from kernchem.cli.picks import Picks, check_free
    from kernchem.cli.pool import Pool

    _check(n, strategy, noise, rank)
    find_dataset(pool)
    if out is None and table is None:
        stem = _stem(pool)
        out, table = Path(f"{stem}.picks.xyz"), Path(f"{stem}.picks.csv")
    _check_outputs(out, table)
    read = {"POOL": pool, "--model": model, "--labelled": labelled, "--targets": targets}
    check_apart({"--out": out, "--table": table}, read)
    settings = {"noise": noise, "rank": rank, "random_state": seed}
    selector, lent, described = _selector(strategy, descriptor, kernel, model, settings)
    with working(f"reading {pool}", shown=not quiet):
        molecules = Pool.read(
            pool, target=target, groups=groups, costs=costs, labelled=labelled, targets=targets
        )
    if out is not None:
        check_free(molecules.structures, pool)
    own = lent if molecules.known is None and molecules.labelled is None else 0
    _check_memory(molecules, n, strategy, rank, own)
    with working(f"choosing among {len(molecules.structures)} molecules", shown=not quiet):
        molecules.fit(selector)
        _select(selector, n)
    picks = Picks.of(selector, molecules.structures, molecules.groups)
    if out is not None:
        write_atomically(out, picks.write_xyz)
    if table is not None:
        write_atomically(table, picks.write_table)
    if not quiet:
        for name, text in (
            ("strategy", strategy),
            ("pool", f"{len(molecules.structures)} molecules in {pool}"),
            ("labelled", _labelled(molecules, target, f"{own} of {model}" if own else "")),
            ("descriptor", described),
            *_told(picks, selector),
        ):
            click.echo(f"{name:<14}{text}")
        click.echo(f"Picks: {', '.join(str(path) for path in (out, table) if path)}")


def _check(n: int, strategy: str, noise: float | None, rank: int | None) -> None:
    from kernchem.sampling.strategies import STRATEGIES

    for name, number, least in (("--n", n, 1), ("--rank", rank, 1)):
        if number is not None and not is_whole(number, least):
            raise SettingError(f"{name} {number} is no whole number from {least} on")
    if strategy not in STRATEGIES:
        raise SettingError(f"--strategy {strategy} is unknown; use one of {', '.join(STRATEGIES)}")
    if noise is not None and not (is_positive(noise) or noise == 0):
        raise SettingError(f"--noise {noise}: use a finite number from zero on")


def _stem(pool: str) -> str:
    """Return the name of a file without its suffixes, or of a folder or dataset as it is."""
    from kernchem._text import COMPRESSIONS

    path = Path(pool)
    if not path.is_file():
        return path.resolve().name
    return Path(path.stem).stem if path.suffix in COMPRESSIONS else path.stem


def _check_outputs(out: Path | None, table: Path | None) -> None:
    """Raise, before anything is computed, if the results could not be written."""
    for option, path, suffixes in (("--out", out, _SUFFIXES), ("--table", table, (".csv",))):
        if path is None:
            continue
        if path.suffix.lower() not in suffixes:
            raise SettingError(f"{option} {path}: use a name that ends with {', '.join(suffixes)}")
        check_folder(path)


def _selector(
    strategy: str,
    descriptor: str | None,
    kernel: str | None,
    model: Path | None,
    settings: dict[str, Any],
) -> tuple[Any, int, str]:
    """Return what chooses, how many training molecules a model brings, and what is used."""
    from kernchem.sampling import BatchSelector

    if model is None:
        candidate = named_candidate(descriptor or QUICK, kernel)
        own, named = candidate.parts or (None, None)
        selector = BatchSelector(strategy, descriptor=own, kernel=named, **settings)
        return selector, 0, candidate.descriptor + (f", {candidate.kernel} kernel" if own else "")
    if descriptor is not None or kernel is not None:
        raise SettingError("--model excludes --descriptor and --kernel; leave out one or the other")
    from kernchem.model_files import load

    loaded: Any = load(model)
    if not loaded.model_info_.elements:
        raise SettingError(
            f"--model {model}: a model on arrays; this command takes models on molecules, use "
            "others in Python with kernchem.sampling.BatchSelector"
        )
    try:
        selector = BatchSelector.from_model(loaded, strategy, **settings)
    except SettingError as error:
        raise SettingError(f"--model {model}: {error}") from None
    return selector, len(getattr(loaded, "model_", loaded).dual_coef_), f"that of {model}"


def _check_memory(pool: Pool, n: int, strategy: str, rank: int | None, own: int) -> None:
    from kernchem.sampling.reduction import EXACT, RANK

    if strategy in _LIGHT:
        return
    known = 0 if pool.known is None else len(pool.known)
    n_rows = n_targets = len(pool.structures)
    if pool.targets is not None:
        n_targets = len(pool.targets[1])
        n_rows += n_targets
    if strategy in {"isd", "ivr"}:
        columns = min(rank or (n_targets if n_targets <= EXACT else RANK), n_targets) + n
    else:
        # A factor, which is there twice while it grows or becomes features.
        columns = 2 * min(n if strategy == "maxvar" else rank or RANK, n_rows)
    check_selection(n_rows, columns, known + pool.n_others + own, free_memory())


def _select(selector: Any, n: int) -> None:
    try:
        selector.select(n)
    except SettingError as error:
        told = str(error).removeprefix(f"n={n}, and ")
        raise SettingError(f"--n {n}: {told}") from None


def _labelled(pool: Pool, target: str | None, own: str) -> str:
    counts = [own] if own else []
    if pool.known is not None:
        counts.append(f"{len(pool.known)} of the pool with {target}")
    if pool.labelled is not None:
        counts.append(f"{pool.n_others} in {pool.labelled[0]}")
    return ", ".join(counts) or "none"


def _told(picks: Picks, selector: Any) -> list[tuple[str, str]]:
    """Return the first picks, and how much they leave."""
    n, n_picks = len(picks.rank), len(selector.gain_)
    first = [
        f"{row} {molecule.formula}"
        for row, molecule in zip(picks.pool_index[:_SHOWN], picks.molecules[:_SHOWN], strict=True)
    ]
    more = ", ..." if n > _SHOWN else ""
    of = "" if n == n_picks else f" in {n_picks} groups"
    lines = [("picks", f"{n}{of}: {', '.join(first)}{more}")]
    trace = selector.residual_trace_
    if trace[0] > 0:
        left = 100.0 * max(trace[-1], 0.0) / trace[0]
        lines.append(("residual", f"{left:.3g} % of what the first pick left"))
    return lines
