"""The molecules that may be chosen, those that have labels already, and those that are meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernchem._validation import short
from kernchem.cli.inputs import bare, own_properties, property_column, read_all
from kernchem.elements import formula
from kernchem.errors import KernchemError, PropertyError

if TYPE_CHECKING:
    from kernchem.structures import Structures

__all__ = ["Pool"]


@dataclass(frozen=True)
class Pool:
    """What a selector is given.

    Attributes
    ----------
    source : str
        File, folder or dataset.
    structures : Structures
        All its molecules, with their properties.
    known : array of int or None
        Those that have a label; None where no target was named.
    groups : array (n,) of int or None
        Number of the group of each.
    costs : array (n,) or None
        Cost of each.
    labelled, targets : tuple of str and Structures, or None
        File of further labelled molecules, and of those that will be predicted.
    """

    source: str
    structures: Structures
    known: npt.NDArray[np.int64] | None = None
    groups: npt.NDArray[np.int64] | None = None
    costs: npt.NDArray[np.float64] | None = None
    labelled: tuple[str, Structures] | None = None
    targets: tuple[str, Structures] | None = None

    @classmethod
    def read(
        cls,
        source: str,
        *,
        target: str | None,
        groups: str | None,
        costs: str | None,
        labelled: str | None,
        targets: str | None,
    ) -> Pool:
        """Read all files and the properties of these names.

        Raises
        ------
        PropertyError
            If a property is missing or of the wrong kind.
        DatasetError
            If there is no such file or dataset.
        """
        structures = read_all(source)
        return cls(
            source,
            structures,
            None if target is None else _known(source, structures, target),
            None if groups is None else _groups(source, structures, groups),
            None if costs is None else _costs(source, structures, costs),
            *(
                None if name is None else (name, bare(read_all(name, option)))
                for option, name in (("--labelled", labelled), ("--targets", targets))
            ),
        )

    @property
    def n_others(self) -> int:
        """Number of labelled molecules that are not in the pool."""
        return 0 if self.labelled is None else len(self.labelled[1])

    def fit(self, selector: Any) -> None:
        """Show everything to a selector.

        Raises
        ------
        KernchemError
            If a molecule cannot be used; the message names its file and its index there.
        """
        n, others = len(self.structures), self.n_others
        parts = [(self.source, n)]
        pool, groups, costs = self.structures, self.groups, self.costs
        targets: Any = None if self.targets is None else self.targets[1]
        labelled: Any = self.known
        if self.labelled is not None and self.known is None:
            labelled = self.labelled[1]
        elif self.labelled is not None:
            # A selector takes either rows or molecules, and only rows close their groups.
            pool = type(pool).concatenate([bare(pool), self.labelled[1]])
            labelled = np.concatenate([self.known, n + np.arange(others)])
            parts.append((self.labelled[0], others))
            targets = np.arange(n) if targets is None else targets
            if groups is not None:
                groups = np.concatenate([groups, groups.max() + 1 + np.arange(others)])
            if costs is not None:
                costs = np.concatenate([costs, np.ones(others)])
        if self.targets is not None:
            parts.append((self.targets[0], len(self.targets[1])))
        if self.labelled is not None and self.known is None:
            parts.append((self.labelled[0], others))
        try:
            selector.fit(pool, labelled, groups=groups, costs=costs, targets=targets)
        except KernchemError as error:
            raise type(error)(_located(str(error), parts)) from None


def _known(source: str, data: Structures, name: str) -> npt.NDArray[np.int64]:
    _check_there(source, data, "--target", name)
    rows = np.flatnonzero(np.isfinite(_numbers(source, data, "--target", name)))
    if not len(rows):
        raise PropertyError(
            f"--target {name}: no molecule of {source} has a finite value of it; leave the option "
            "out"
        )
    return rows.astype(np.int64)


def _costs(source: str, data: Structures, name: str) -> npt.NDArray[np.float64]:
    _check_there(source, data, "--costs", name)
    costs = _numbers(source, data, "--costs", name)
    bad = np.flatnonzero(~(np.isfinite(costs) & (costs > 0)))
    if len(bad):
        k = int(bad[0])
        raise PropertyError(
            f"--costs {name}: structure {k} ({formula(data[k].numbers)}) of {source} has "
            f"{costs[k]:g}; every molecule needs a finite number above zero"
        )
    return costs


def _groups(source: str, data: Structures, name: str) -> npt.NDArray[np.int64]:
    """Return the number of each molecule's group; groups are sorted by their values."""
    _check_there(source, data, "--groups", name)
    values = data[name]
    kind = values.dtype.kind
    if values.shape != (len(data),) or name in data.per_atom or kind not in "iufUO":
        raise PropertyError(
            f"--groups {name}: it has the shape {values.shape} and type {values.dtype} in "
            f"{source}; one text or whole number per molecule is needed"
        )
    for k, value in enumerate(values.tolist()):
        missing = value is None or value == "" or (kind == "f" and np.isnan(value))
        whole = kind in "iu" or (kind == "f" and float(value).is_integer())
        if missing or not (whole or isinstance(value, str)):
            what = "none" if missing else short(value)
            raise PropertyError(
                f"--groups {name}: structure {k} ({formula(data[k].numbers)}) of {source} has "
                f"{what}; every molecule needs a text or a whole number"
            )
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _numbers(source: str, data: Structures, option: str, name: str) -> npt.NDArray[np.float64]:
    try:
        return property_column(data, name)
    except PropertyError as error:
        raise PropertyError(f"{option} {name}, {source}: {error}") from None


def _check_there(source: str, data: Structures, option: str, name: str) -> None:
    if name not in data.properties:
        raise PropertyError(
            f"{option} {name}: there is no such property in {source}; use one of "
            f"{own_properties(data)}"
        )


def _located(message: str, parts: list[tuple[str, int]]) -> str:
    """Return a message about a structure among several files with its file and index there."""
    found = re.search(r"structure (\d+)", message)
    if found is None:
        return message
    index = int(found[1])
    for source, size in parts:
        if index < size:
            told = f"{message[: found.start(1)]}{index}{message[found.end(1) :]}"
            return f"{source}: {told}"
        index -= size
    return message
