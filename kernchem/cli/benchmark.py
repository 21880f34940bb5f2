"""``kernchem benchmark``: learning curves of descriptors and kernels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernchem.cli.choice import checked_settings
from kernchem.cli.inputs import find_dataset, load_dataset, own_properties
from kernchem.cli.progress import kept
from kernchem.errors import SettingError

if TYPE_CHECKING:
    from kernchem.structures import Structures

__all__ = ["benchmark"]


@click.command()
@click.option(
    "--dataset",
    default="qm_small",
    show_default=True,
    metavar="NAME|FILE|FOLDER",
    help="A packaged dataset, or a file or folder of structures that kernchem.read understands.",
)
@click.option("--target", help="Property that is learnt.  [default: the dataset's own]")
@click.option(
    "--baseline",
    multiple=True,
    help="Property of a cheaper method, on which the difference is learnt as well. May be given "
    "several times.  [default: the dataset's own, where the target is its own too]",
)
@click.option("--no-delta", is_flag=True, help="Do not learn the difference to a baseline.")
@click.option(
    "--unit",
    help="Energy unit in which a packaged dataset is loaded.  [default: kcal/mol]  For a file, the "
    "unit in which it holds the target (eV where ASE's conventions hold): a label, nothing is "
    "converted.",
)
@click.option(
    "--descriptors",
    metavar="A,B,...",
    help="cm, cm-eigenspectrum, bob, encoded-bonds, encoded-bonds-3, overlap-s, overlap-sp, "
    "inverse-distances, slatm, torsions; features of atoms: aslatm, fchl19, soap, acsf, wacsf, "
    "acm; and composite, a sum of kernels.  [default: the first five]",
)
@click.option(
    "--best",
    is_flag=True,
    help="What is recommended for energies, composite, beside those of --descriptors. Slower; for "
    "up to some thousand molecules.",
)
@click.option(
    "--model",
    metavar="krr|gpr",
    help="Kernel ridge regression, or a Gaussian process, whose error bars are judged as well.  "
    "[default: that of --settings, or krr]",
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="Descriptor and kernel, or terms, with all their settings, in place of --descriptors and "
    "--kernels.",
)
@click.option(
    "--kernels",
    metavar="A,B,...",
    help="gaussian, laplacian, matern12, matern32, matern52, linear, polynomial, or auto: what the "
    "descriptor recommends; summed over atoms where the features are those of atoms. For these "
    "only: average-gaussian, average-laplacian, best-match, rematch.  [default: auto]",
)
@click.option(
    "--sizes",
    metavar="N,N,...",
    help="Numbers of training molecules.  [default: 125,250,500,1000 as far as they fit]",
)
@click.option("--repeats", type=int, default=3, show_default=True, help="Random splits.")
@click.option(
    "--test-size",
    type=int,
    help="Molecules that test.  [default: all that the largest size leaves, at most 1000]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the splits.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="kernchem-benchmark",
    show_default=True,
    help="Folder of the results; an interrupted run goes on there.",
)
@click.option("--overwrite", is_flag=True, help="Remove an earlier run from the folder first.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
def benchmark(
    *,
    dataset: str,
    target: str | None,
    baseline: tuple[str, ...],
    no_delta: bool,
    unit: str | None,
    descriptors: str | None,
    best: bool,
    model: str | None,
    settings: Path | None,
    kernels: str | None,
    sizes: str | None,
    repeats: int,
    test_size: int | None,
    seed: int,
    out: Path,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Measure learning curves: the error over the number of training molecules.

    Each descriptor is tried with kernel ridge regression or a Gaussian process, on the target
    itself and on its difference to the baseline. Without options this takes about a minute, on
    molecules that come with kernchem.
    """
    from kernchem.benchmark import learning_curves
    from kernchem.cli.tables import print_tables

    if no_delta and baseline:
        raise SettingError("--no-delta and --baseline exclude each other; leave one out")
    compared = _compared(descriptors, kernels, settings, best=best)
    if model is not None:
        compared["model"] = model
    data, target, own_baseline, unit = _load(dataset, target, unit)
    advice = "the same command without --overwrite goes on from there."
    with kept(f"What is finished is in {out}; {advice}"):
        curves = learning_curves(
            data,
            target,
            baseline=None if no_delta else _below(baseline) or own_baseline,
            **compared,
            sizes=None if sizes is None else _numbers(sizes),
            repeats=repeats,
            test_size=test_size,
            seed=seed,
            unit=unit,
            out=out,
            overwrite=overwrite,
            progress=not quiet,
        )
    if not quiet:
        print_tables(curves)
        click.echo(f"Results, settings and figure are in {out}")


def _compared(
    descriptors: str | None, kernels: str | None, settings: Path | None, *, best: bool
) -> dict[str, Any]:
    """Return what the options say about models, as arguments of ``learning_curves``."""
    from kernchem.benchmark.candidates import RECOMMENDED

    if settings is not None:
        if descriptors is not None or kernels is not None or best:
            raise SettingError(
                "--settings excludes --descriptors, --kernels and --best; leave out one or the "
                "other"
            )
        model, _ = checked_settings(settings)
        named = {"descriptors": [model.descriptor], "kernels": [model.kernel]}
        return {**named, **model.estimator_settings()}
    names = None if descriptors is None else _names(descriptors)
    if best:
        names = [RECOMMENDED, *(names or ())]
    return {"descriptors": names, "kernels": _names("auto" if kernels is None else kernels)}


def _load(
    dataset: str, target: str | None, unit: str | None
) -> tuple[Structures, str, str | None, str | None]:
    """Return molecules, target, the baseline that belongs to it, and the target's unit."""
    from kernchem.io import read

    entry = find_dataset(dataset, "--dataset")
    if entry is not None:
        return load_dataset(entry, target, unit)
    data = read(dataset)
    if target is None:
        raise SettingError(
            f"--target is needed with a file; {dataset} holds: {own_properties(data)}"
        )
    return data, target, None, unit


def _below(baselines: tuple[str, ...]) -> str | list[str] | None:
    if len(baselines) > 1:
        return list(baselines)
    return baselines[0] if baselines else None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise SettingError(
            f"--sizes {text}: give whole numbers with commas between them, e.g. --sizes 100,200"
        ) from None
