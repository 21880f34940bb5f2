"""How many molecules the free memory takes, for training and for a choice among them."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from kernchem.errors import SettingError

__all__ = ["check_memory", "check_selection", "free_memory", "largest_training_set"]

#: Up to this many molecules the search for hyperparameters holds a matrix of distances as well.
_SEARCHED = 8000
_BYTES = 8
#: Matrices that the fit of a Gaussian process holds at its peak: 3.2 are seen with 6000 samples.
_OF_PROCESS = 4


def free_memory() -> int | None:
    """Return the bytes that this process may still use, None where nobody tells."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(kilobytes))
    except (OSError, ValueError):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    # A container may have less than the machine.
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(limit - used, 0))
    return min(found, default=None)


def largest_training_set(free: int, model: str = "krr") -> int:
    """Return how many molecules a model can be fitted on in ``free`` bytes."""
    numbers = free // _BYTES
    if model == "gpr":
        return math.isqrt(numbers // _OF_PROCESS)
    if numbers < 2 * _SEARCHED**2:
        return math.isqrt(numbers // 2)
    return math.isqrt(numbers - _SEARCHED**2)


def check_memory(
    n: int, free: int | None, cure: str, *, more: bool = False, model: str = "krr"
) -> None:
    """Raise if the kernel matrix of ``n`` molecules does not fit into ``free`` bytes.

    A "gpr" needs it several times. ``more`` says that there are more molecules than the ``n`` that
    were counted.
    """
    if free is None or n <= largest_training_set(free, model):
        return
    most = largest_training_set(free, model)
    matrices = f"{_OF_PROCESS} kernel matrices" if model == "gpr" else "a kernel matrix"
    # Two leading digits.
    step = 10 ** max(len(str(most)) - 2, 0)
    raise SettingError(
        f"{'more than ' if more else ''}{n} training molecules need {matrices} of "
        f"{_BYTES * n**2 / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free, enough for "
        f"about {most} molecules; {cure} --n-train {most // step * step}"
    )


def check_selection(n_rows: int, n_columns: int, n_labelled: int, free: int | None) -> None:
    """Raise if the matrices of a choice among ``n_rows`` molecules do not fit into ``free`` bytes.

    ``n_columns`` are those of all matrices of covariances and their factors.
    """
    # The matrices of labelled ones are there twice while they are made.
    needed = _BYTES * (n_rows * (n_columns + 2 * n_labelled) + 2 * n_labelled**2)
    if free is None or needed <= free:
        return
    raise SettingError(
        f"the choice among {n_rows} molecules beside {n_labelled} labelled ones needs about "
        f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free; use a smaller --rank "
        "or pool, fewer labelled molecules, or --strategy fps"
    )
