"""The model that a command was told to fit: descriptor and kernel by name, or a settings file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kernchem.errors import SettingError

if TYPE_CHECKING:
    from kernchem.benchmark.candidates import Candidate
    from kernchem.benchmark.settings_file import ModelSettings

__all__ = [
    "QUICK",
    "ChosenModel",
    "baseline_option",
    "checked_settings",
    "choose_model",
    "descriptor_option",
    "kernel_option",
    "named_candidate",
    "seed_option",
    "settings_option",
]


#: What describes molecules where nothing is named: quick, and made for molecules of any kind.
QUICK = "bob"

#: Of commands that are quick by default.
descriptor_option = click.option(
    "--descriptor",
    metavar="NAME",
    help="One of those of kernchem benchmark; a wrong name lists them.  [default: bob]",
)

#: Beside it.
kernel_option = click.option(
    "--kernel",
    metavar="NAME",
    help="One of those of kernchem benchmark; auto is what the descriptor recommends.  [default: "
    "auto]",
)

#: Of commands that learn.
baseline_option = click.option(
    "--baseline",
    metavar="NAME",
    multiple=True,
    help="Property of a cheaper method; the difference to it is learnt. May be given several "
    "times.",
)

#: Of commands that learn.
settings_option = click.option(
    "--settings",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="Descriptor and kernel, or terms, with all their settings, in place of --descriptor and "
    "--kernel.",
)


#: Of commands that choose molecules.
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of random choices.",
)


@dataclass(frozen=True)
class ChosenModel:
    """An estimator that is not fitted, its kind ("krr" or "gpr") and what describes molecules."""

    estimator: Any
    kind: str
    name: str


def choose_model(
    descriptor: str | None,
    kernel: str | None,
    settings: Path | None,
    *,
    model: str | None = None,
    alpha: str | None = None,
    composition: bool | None = None,
    baselines: Sequence[str] = (),
    default: str | None = None,
    default_kind: str = "krr",
) -> ChosenModel:
    """Return the model that options of these names ask for.

    Raises
    ------
    SettingError
        If a name is unknown, or options exclude one another.
    """
    from kernchem.benchmark.candidates import RECOMMENDED, model_settings

    own: dict[str, Any] = {}
    if settings is not None:
        if descriptor is not None or kernel is not None:
            raise SettingError(
                "--settings excludes --descriptor and --kernel; leave out one or the other"
            )
        read, candidate = checked_settings(settings)
        own = read.estimator_settings()
    else:
        candidate = named_candidate(descriptor or default or RECOMMENDED, kernel)
    of_file = own.pop("model", default_kind)
    kind = of_file if model is None else model
    own = model_settings(kind, own | ({} if alpha is None else {"alpha": _alpha(alpha)}))
    if composition is not None:
        own["composition"] = composition
    names = baselines[0] if len(baselines) == 1 else list(baselines) or None
    return ChosenModel(candidate.estimator(names, **own), kind, candidate.descriptor)


def checked_settings(path: Path) -> tuple[ModelSettings, Candidate]:
    """Return what a settings file says, and the model that it describes.

    Raises
    ------
    SettingError
        If a setting is unknown or has a value that it cannot have; the message names the file.
    """
    from kernchem.benchmark.candidates import list_candidates
    from kernchem.benchmark.settings_file import read_settings
    from kernchem.structures import Structures

    read = read_settings(path)
    # The first candidate is the reference.
    candidate = list_candidates([read.descriptor], [read.kernel])[1]
    # Settings are checked where they are used: a molecule tells wrong ones before others are read.
    hydrogen = Structures([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]], [0, 2])
    try:
        candidate.check(hydrogen)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None
    return read, candidate


def named_candidate(descriptor: str, kernel: str | None) -> Candidate:
    """Return a descriptor, or a recipe, and a kernel, by default the recommended one.

    Raises
    ------
    SettingError
        If a name is unknown, or a kernel was named for a recipe.
    """
    from kernchem.benchmark.candidates import KERNELS, list_candidates
    from kernchem.models.recipes import RECIPES

    if descriptor in RECIPES and kernel not in {None, "auto"}:
        if kernel not in KERNELS:
            raise SettingError(f"--kernel {kernel} is unknown; use one of {', '.join(KERNELS)}")
        raise SettingError(
            f"--kernel {kernel}: {descriptor} brings its own kernel; name a --descriptor too, such "
            "as encoded-bonds-3"
        )
    try:
        # The first candidate is the reference.
        return list_candidates([descriptor], ["auto" if kernel is None else kernel])[1]
    except SettingError as error:
        options = f"--descriptor {descriptor}" + ("" if kernel is None else f" --kernel {kernel}")
        raise SettingError(f"{options}: {error}") from None


def _alpha(text: str) -> Any:
    if text in {"loo", "fit"}:
        return text
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"--alpha {text}: use a positive number or loo") from None
