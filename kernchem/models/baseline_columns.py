"""Where the columns of a baseline come from: properties, arrays, programs, functions and models."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import NotFittedError

from kernchem._validation import as_numbers, short
from kernchem.baselines import ASECalculator, Baseline, PairPotential
from kernchem.errors import PropertyError, SettingError
from kernchem.structures import Structures

__all__ = [
    "ArraySource",
    "Columns",
    "ComputedSource",
    "FunctionSource",
    "ModelSource",
    "PropertySource",
    "Source",
    "beside",
    "is_free_potential",
    "is_single",
    "sources_of",
]

_Array = npt.NDArray[np.float64]


class Columns(NamedTuple):
    """Baselines of n structures.

    Attributes
    ----------
    values : array (n, n_columns)
        In the unit of their source.
    covariances : array (n, n_columns), array (n, n, n_columns) or None
        Variances, or covariances between structures, whichever was asked for; None where every
        value counts as known.
    """

    values: _Array
    covariances: _Array | None = None


class Source(ABC):
    """Something that gives one or several columns of numbers for structures."""

    #: How it is called in messages and tables.
    name: str
    #: What a user passed.
    origin: Any

    @abstractmethod
    def columns(self, structures: Structures, spread: str | None = None) -> Columns:
        """Return the columns; ``spread`` is "std" or "cov" where uncertainties are wanted."""

    def fit_columns(self, structures: Structures) -> tuple[Source, _Array]:
        """Return the columns of a training set, and the source that has the same of others."""
        return self, self.columns(structures).values

    def slope_std(self, n_columns: int) -> _Array:
        """Return standard deviations of the slopes about zero beforehand; infinite: free."""
        return np.full(n_columns, np.inf)


class PropertySource(Source):
    """A stored property with one or several numbers per structure."""

    def __init__(self, name: str) -> None:
        self.origin = self.name = name

    def columns(self, structures: Structures, spread: str | None = None) -> Columns:
        """Return the property as it is stored."""
        cure = f"compute it (kernchem baseline), or drop the structures without {self.name!r}"
        return Columns(_checked(structures[self.name], structures, repr(self.name), cure))


class ArraySource(Source):
    """Numbers that were passed beside the structures."""

    name = "array"

    def __init__(self, values: Any) -> None:
        self.origin = self._values = values

    def columns(self, structures: Structures, spread: str | None = None) -> Columns:
        """Return the array."""
        return Columns(_checked(self._values, structures, "array", "drop the structures without"))


class ComputedSource(Source):
    """A :class:`kernchem.baselines.Baseline`, e.g. a semiempirical program."""

    def __init__(self, baseline: Baseline) -> None:
        self.origin = self.baseline = baseline
        self.name = type(baseline).__name__

    def columns(self, structures: Structures, spread: str | None = None) -> Columns:
        """Return energies, kcal/mol, and what else the baseline has columns of."""
        return Columns(self.baseline.columns(structures))

    def fit_columns(self, structures: Structures) -> tuple[Source, _Array]:
        """Return the columns of a training set, and the source that has the same of others."""
        baseline, columns = self.baseline.fit_columns(structures)
        return ComputedSource(baseline), columns

    def slope_std(self, n_columns: int) -> _Array:
        """Return standard deviations of the slopes about zero beforehand; infinite: free."""
        return self.baseline.slope_std(n_columns)


class FunctionSource(Source):
    """A function of structures."""

    def __init__(self, function: Callable[[Structures], Any]) -> None:
        self.origin = self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def columns(self, structures: Structures, spread: str | None = None) -> Columns:
        """Return what the function returns."""
        cure = "return a number for each structure"
        return Columns(_checked(self.function(structures), structures, self.name, cure))


class ModelSource(Source):
    """A fitted model, with its uncertainty if it has one."""

    def __init__(self, model: Any) -> None:
        self.origin = self.model = model
        self.name = type(getattr(model, "estimator", model)).__name__

    def columns(self, structures: Structures, spread: str | None = None) -> Columns:
        """Return predictions."""
        flag = f"return_{spread}"
        wanted = spread is not None and _offers(self.model, flag)
        try:
            found = self.model.predict(structures, **({flag: True} if wanted else {}))
        except NotFittedError:
            raise SettingError(
                f"baseline {self.name} is not fitted; fit it first. Where the model around it is "
                "cloned, as in a search, pass sklearn.frozen.FrozenEstimator(baseline)"
            ) from None
        mean, width = found if isinstance(found, tuple) else (found, None)
        values = _checked(mean, structures, self.name, "drop it")
        if width is None:
            return Columns(values)
        n = len(structures)
        if spread == "std":
            return Columns(values, np.square(width).reshape(n, -1))
        return Columns(values, np.asarray(width).reshape(n, n, -1))


def _offers(model: Any, flag: str) -> bool:
    """Return whether predictions take a flag, here or in what those around them pass it on to."""
    parameters = inspect.signature(model.predict).parameters
    if flag in parameters:
        return True
    steps = getattr(model, "steps", None)
    inner = steps[-1][1] if steps else getattr(model, "model_", None)
    passed_on = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return passed_on and hasattr(inner, "predict") and _offers(inner, flag)


def beside(parts: list[Columns]) -> Columns:
    """Return the columns of several sources beside each other; of what is known, zero spread."""
    values = np.hstack([part.values for part in parts])
    spreads = [part.covariances for part in parts]
    uncertain = [spread for spread in spreads if spread is not None]
    if not uncertain:
        return Columns(values)
    filled = [
        np.zeros((*uncertain[0].shape[:-1], part.values.shape[1])) if spread is None else spread
        for part, spread in zip(parts, spreads, strict=True)
    ]
    return Columns(values, np.concatenate(filled, axis=-1))


def sources_of(baseline: Any) -> list[Source]:
    """Return where the columns come from.

    Parameters
    ----------
    baseline : str, Baseline, callable, fitted model, or sequence of them
        What a user passed.

    Returns
    -------
    list of Source
        One per item.

    Raises
    ------
    SettingError
        If an item is none of these.
    """
    items = [baseline] if is_single(baseline) else list(baseline)
    if not items:
        raise SettingError(_refusal(baseline))
    return [_source_of(item) for item in items]


def is_free_potential(source: Source) -> bool:
    """Return whether a source is a pair potential some of whose parameters are to be chosen."""
    return (
        isinstance(source, ComputedSource)
        and isinstance(source.baseline, PairPotential)
        and len(source.baseline.theta) > 0
    )


def is_single(baseline: Any) -> bool:
    """Return whether a baseline is one item, not a sequence of them."""
    return isinstance(baseline, str) or not isinstance(baseline, Iterable)


def _source_of(item: Any) -> Source:
    if isinstance(item, str):
        return PropertySource(item)
    if isinstance(item, Baseline):
        return ComputedSource(item)
    if inspect.isclass(item) and issubclass(item, Baseline):
        raise SettingError(
            f"baseline={item.__name__} is a class; give an object: {item.__name__}()"
        )
    if hasattr(item, "predict") and not inspect.isclass(item):
        return ModelSource(item)
    if callable(item):
        return ComputedSource(ASECalculator(item)) if _is_factory(item) else FunctionSource(item)
    raise SettingError(_refusal(item))


def _refusal(item: Any) -> str:
    return (
        f"baseline={short(item)}; use the name of a stored property, a kernchem.baselines object, "
        "a function of structures, a factory of ASE calculators or a fitted model, or several of "
        "these; an array is passed to fit and predict: fit(X, y, baseline=array)"
    )


def _is_factory(function: Any) -> bool:
    """Return whether something is called without arguments, as a class of calculators is."""
    if inspect.isclass(getattr(function, "func", function)):  # a class, or a partial one
        return True
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return not any(
        p.kind in positional or p.kind == inspect.Parameter.VAR_POSITIONAL for p in parameters
    )


def _checked(values: Any, structures: Structures, what: str, cure: str) -> _Array:
    """Return finite numbers, array (n, n_columns), or raise an error that names a structure."""
    try:
        columns = as_numbers(values)
    except (TypeError, ValueError) as error:
        raise PropertyError(f"baseline {what} cannot be used: {error}") from None
    if columns.ndim == 1:
        columns = columns[:, None]
    if columns.ndim != 2 or len(columns) != len(structures) or not columns.shape[1]:
        raise PropertyError(
            f"baseline {what} has shape {np.shape(values)}; it must hold one number per structure "
            f"and column: ({len(structures)},) or ({len(structures)}, n_columns)"
        )
    bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if len(bad):
        k = int(bad[0])
        found = columns[k][~np.isfinite(columns[k])][0]
        raise PropertyError(
            f"structure {k} ({structures[k].formula}): baseline {what} is {found}; {cure} "
            f"({len(bad)} structures)"
        )
    return columns
