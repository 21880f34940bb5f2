"""``kernchem train``: fit a model to a file of molecules and save it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernchem._validation import renumbered
from kernchem._warnings import collected_warnings
from kernchem.cli.choice import baseline_option, choose_model, settings_option
from kernchem.cli.files import check_apart, check_folder
from kernchem.cli.inputs import check_texts
from kernchem.cli.parity import check_figure
from kernchem.cli.progress import working
from kernchem.errors import KernchemError, SettingError

if TYPE_CHECKING:
    from kernchem.cli.training_molecules import TrainingMolecules

__all__ = ["train"]


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--target",
    metavar="NAME",
    help="Property that is learnt.  [default: a dataset's own; needed with a file]",
)
@baseline_option
@click.option(
    "--descriptor",
    metavar="NAME",
    help="One of those of kernchem benchmark; a wrong name lists them. The default, a sum of "
    "kernels for energies, is the most accurate and slow: for up to some thousand molecules. "
    "encoded-bonds-3 is quick.  [default: composite]",
)
@click.option(
    "--kernel",
    metavar="NAME",
    help="One of those of kernchem benchmark; auto is what the descriptor recommends; composite "
    "has its own.  [default: auto]",
)
@click.option(
    "--model",
    metavar="krr|gpr",
    help="Kernel ridge regression, or a Gaussian process, which predicts error bars.  [default: "
    "that of --settings, or krr]",
)
@settings_option
@click.option(
    "--alpha",
    metavar="NUMBER",
    help="Regulariser relative to the kernel's mean diagonal; loo chooses it by the leave-one-out "
    "error; for gpr, where it is the noise, by the density of labels that are left out.  "
    "[default: that of --settings, or loo]",
)
@click.option(
    "--composition/--no-composition",
    default=None,
    help="Fit the numbers of atoms of each element beside the kernel.  [default: yes]",
)
@click.option("--n-train", type=int, metavar="N", help="Learn from N molecules drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of this draw.")
@click.option(
    "--skip-missing", is_flag=True, help="Leave out molecules without target or baseline."
)
@click.option(
    "--unit",
    help="Unit of the target. A dataset is loaded in it; for a file it is a label, nothing is "
    "converted.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="MODEL",
    help="File of the model, e.g. model.kc; an older one is replaced at the end.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Figure of the leave-one-out predictions, .png, .pdf or .svg.  [default: the model's name "
    "with .png]",
)
@click.option("--no-plot", is_flag=True, help="Write no figure.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def train(
    *,
    file: str,
    target: str | None,
    baseline: tuple[str, ...],
    descriptor: str | None,
    kernel: str | None,
    model: str | None,
    settings: Path | None,
    alpha: str | None,
    composition: bool | None,
    n_train: int | None,
    seed: int,
    skip_missing: bool,
    unit: str | None,
    out: Path,
    plot: Path | None,
    no_plot: bool,
    quiet: bool,
) -> None:
    """Fit a model to molecules and save it.

    FILE is a file or folder of structures that kernchem.read understands, such as extended XYZ, or
    the name of a dataset. It is read piece by piece and may be larger than the memory.
    """
    from kernchem.cli.summary import Summary
    from kernchem.cli.training_molecules import draw
    from kernchem.model_files import save

    chosen = choose_model(
        descriptor,
        kernel,
        settings,
        model=model,
        alpha=alpha,
        composition=composition,
        baselines=baseline,
    )
    figure = None if no_plot else plot or out.with_suffix(".png")
    _check_outputs(out, figure, no_plot=no_plot and plot is not None)
    check_texts({"--target": target, "--unit": unit})
    check_apart({"--out": out, "--plot": figure}, {"FILE": file, "--settings": settings})
    with working(f"reading {file}", shown=not quiet) as advance:
        sample = draw(
            file,
            target,
            baseline,
            unit,
            n_train=n_train,
            seed=seed,
            skip_missing=skip_missing,
            advance=advance,
            model=chosen.kind,
        )
    with working(f"fitting {len(sample.labels)} molecules", shown=not quiet):
        told = _fit(chosen.estimator, sample)
    save(chosen.estimator, out, target=sample.target, unit=sample.unit)
    summary = Summary(chosen.estimator, sample, chosen.name)
    if figure is not None:
        summary.plot(figure)
    if not quiet:
        summary.print(told)
        where = f"Model: {out}" if figure is None else f"Model: {out}, figure: {figure}"
        click.echo(where)


def _check_outputs(out: Path, figure: Path | None, *, no_plot: bool) -> None:
    """Raise, before anything is computed, if the results could not be written."""
    if no_plot:
        raise SettingError("--plot and --no-plot exclude each other; leave one out")
    check_folder(out)
    if figure is not None:
        check_figure(figure)


def _fit(model: Any, sample: TrainingMolecules) -> list[str]:
    """Fit the model and return the warnings that were given; an error names file and index."""
    with collected_warnings() as told:
        try:
            model.fit(sample.structures, sample.labels)
        except KernchemError as error:
            message = renumbered(str(error), sample.index)
            raise type(error)(f"{sample.source}: {message}") from None
    return told
