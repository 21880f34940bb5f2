"""Datasets by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kernchem.datasets.remote import RemoteFile
from kernchem.errors import DatasetError
from kernchem.structures import Structures

__all__ = ["Dataset", "get_dataset", "list_datasets", "load", "register"]

_REGISTRY: dict[str, "Dataset"] = {}


@dataclass(frozen=True)
class Dataset:
    """One dataset that :func:`load` knows: the extension point of this package.

    Parameters
    ----------
    name : str
        Name used by :func:`load` and on the command line.
    loader : callable
        Returns :class:`~kernchem.Structures`; takes the options as keywords.
    summary : str
        One line: what it is.
    n_structures : int
        Number of structures.
    target : str
        The property that is learnt unless another is named.
    baseline : str or None
        The property of the cheap method that belongs to ``target``, if there is one.
    files : tuple of RemoteFile
        What is downloaded; none for a dataset that comes with kernchem.
    properties : tuple of (str, str, str)
        Names, published unit and meaning; the loader converts energies to the unit asked for.
    citation : str
        What to cite, with DOI; in ASCII, as terminals and pipes take no more.
    licence : str
        As its source states it; empty if it states none.
    """

    name: str
    loader: Callable[..., Structures]
    summary: str
    n_structures: int
    target: str
    baseline: str | None = None
    files: tuple[RemoteFile, ...] = ()
    properties: tuple[tuple[str, str, str], ...] = ()
    citation: str = ""
    licence: str = ""


def register(dataset: Dataset) -> Dataset:
    """Make a dataset known to :func:`load`; return it.

    Parameters
    ----------
    dataset : Dataset
        The entry.

    Returns
    -------
    Dataset
        The same entry.

    Raises
    ------
    DatasetError
        If another dataset has that name.
    """
    if _REGISTRY.get(dataset.name, dataset) != dataset:
        raise DatasetError(f"a dataset {dataset.name!r} exists already; choose another name")
    _REGISTRY[dataset.name] = dataset
    return dataset


def list_datasets() -> list[str]:
    """Return the names that :func:`load` knows, in alphabetical order.

    Returns
    -------
    list of str
        Names.

    Examples
    --------
    >>> from kernchem.datasets import list_datasets
    >>> "qm_small" in list_datasets()
    True
    """
    return sorted(_REGISTRY)


def get_dataset(name: str) -> Dataset:
    """Return the entry of a dataset.

    Parameters
    ----------
    name : str
        One of :func:`list_datasets`.

    Returns
    -------
    Dataset
        What is known about it without loading it.

    Raises
    ------
    DatasetError
        If there is no such dataset; the message lists those there are.
    """
    try:
        return _REGISTRY[name]
    except (KeyError, TypeError):
        raise DatasetError(
            f"there is no dataset {name!r}; use one of {', '.join(list_datasets())}"
        ) from None


def load(name: str, **options: Any) -> Structures:
    """Load a dataset by its name.

    Parameters
    ----------
    name : str
        One of :func:`list_datasets`.
    **options
        Keywords of that dataset's own loader, e.g. ``unit="eV"``.

    Returns
    -------
    Structures
        Molecules with their labels as properties.

    Raises
    ------
    DatasetError
        If there is no such dataset; the message lists those there are.

    Examples
    --------
    >>> from kernchem.datasets import load
    >>> len(load("qm_small"))
    1280
    """
    return get_dataset(name).loader(**options)
