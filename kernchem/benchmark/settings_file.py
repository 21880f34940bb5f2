"""Models described in a TOML file: descriptor, kernel or terms, with all their settings."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.gaussian_process.kernels import Kernel

from kernchem import descriptors, kernels
from kernchem._validation import is_positive, short
from kernchem.benchmark.candidates import DESCRIPTORS, STRUCTURE_KERNELS, model_settings
from kernchem.descriptors import Descriptor
from kernchem.errors import SettingError
from kernchem.kernels import NAMED_KERNELS, Gaussian, StructureKernel
from kernchem.models.recipes import RECIPES
from kernchem.models.terms import Term, TermProduct, Terms, TermSum, joined, kernel_for

__all__ = ["ModelSettings", "read_settings"]

#: Keys of the file itself.
_REGRESSOR = ("alpha", "criterion", "model")
_TOP = ("descriptor", "kernel", "term", *_REGRESSOR)
_TERM = ("descriptor", "kernel", "weight", "width")
_PRODUCT = ("factors", "weight")
_CRITERIA = ("mae", "rmse")

_Makers = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class ModelSettings:
    """What a settings file describes.

    Parameters
    ----------
    descriptor : Descriptor, Terms or str
        Object, or the name of a recipe.
    kernel : kernel or str
        Object, or "auto": what the descriptor recommends, or what terms bring along.
    alpha : float or "loo" or "fit" or None
        Regulariser; None where the file says nothing.
    criterion : {"mae", "rmse"} or None
        Error that :class:`kernchem.KRR` makes small; None where the file says nothing.
    model : {"krr", "gpr"} or None
        Regressor; None where the file says nothing.
    """

    descriptor: Descriptor | Terms | str
    kernel: Kernel | str = "auto"
    alpha: Any = None
    criterion: Any = None
    model: Any = None

    def estimator_settings(self) -> dict[str, Any]:
        """Return the regressor and its arguments that the file gives, by name."""
        given = {"model": self.model, "alpha": self.alpha, "criterion": self.criterion}
        return {name: value for name, value in given.items() if value is not None}


def read_settings(path: str | os.PathLike[str]) -> ModelSettings:
    """Return the model that a TOML file describes.

    Parameters
    ----------
    path : path
        File with the tables ``[descriptor]`` and ``[kernel]``, or one ``[[term]]`` for each term
        of a sum, and with ``model``, ``alpha`` and ``criterion`` before them.

    Returns
    -------
    ModelSettings
        Unfitted objects.

    Raises
    ------
    SettingError
        If the file is no TOML, or holds a name, key or value that is unknown; the message names
        the file, the key and what is allowed.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is no TOML file: {error}") from None
    try:
        return _settings(content)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None


def _settings(content: dict[str, Any]) -> ModelSettings:
    _require_known(content, _TOP, "")
    given = {name: content[name] for name in _REGRESSOR if name in content}
    alpha, criterion = given.get("alpha"), given.get("criterion")
    if not (alpha in (None, "loo", "fit") or is_positive(alpha)):
        raise SettingError(f"alpha = {short(alpha)}; use a positive number or 'loo'")
    if criterion is not None and criterion not in _CRITERIA:
        raise SettingError(f"criterion = {short(criterion)}; use one of {', '.join(_CRITERIA)}")
    if "model" in given:
        model_settings(given["model"], {n: v for n, v in given.items() if n != "model"})
    return ModelSettings(*_parts(content), **given)


def _parts(content: dict[str, Any]) -> tuple[Any, Kernel | str]:
    """Return descriptor, terms or the name of a recipe, and the kernel."""
    if "term" in content:
        if "descriptor" in content or "kernel" in content:
            raise SettingError(
                "[[term]] excludes [descriptor] and [kernel]; give each term its own"
            )
        return _sum(content["term"]), "auto"
    if "descriptor" not in content:
        raise SettingError("there is neither a table [descriptor] nor [[term]]; give one of them")
    name = _name_of(content["descriptor"], "descriptor")
    if name in RECIPES:
        _require_known(_arguments(content["descriptor"]), (), f"descriptor {name}")
        if "kernel" in content:
            raise SettingError(f"kernel: descriptor {name} brings its own; leave it out")
        return name, "auto"
    descriptor = _descriptor(content["descriptor"], "descriptor", tuple(RECIPES))
    kernel = _kernel(content.get("kernel", "auto"), "kernel")
    _suited(descriptor, kernel, "kernel")
    return descriptor, kernel


def _sum(tables: Any) -> TermSum:
    if not isinstance(tables, list) or not tables:
        raise SettingError("term must be tables [[term]], one for each term")
    terms = []
    for number, table in enumerate(tables, 1):
        where = f"term {number}"
        if not isinstance(table, dict):
            raise SettingError(f"{where} = {short(table)} is no table; write [[term]]")
        term = _product(table, where) if "factors" in table else _term(table, where)
        try:
            joined(term)
        except SettingError as error:
            raise SettingError(f"{where}: {error}") from None
        terms.append(term)
    return TermSum(terms)


def _product(table: dict[str, Any], where: str) -> TermProduct:
    _require_known(table, _PRODUCT, where)
    factors = table["factors"]
    if not isinstance(factors, list) or not factors:
        raise SettingError(f"{where}, factors = {short(factors)} is no list of tables")
    made = []
    for number, factor in enumerate(factors, 1):
        place = f"{where}, factor {number}"
        if not isinstance(factor, dict):
            raise SettingError(f"{place} = {short(factor)} is no table; write {{descriptor = ...}}")
        made.append(_term(factor, place))
    return TermProduct(made, weight=table.get("weight", 1.0))


def _term(table: dict[str, Any], where: str) -> Term:
    _require_known(table, _TERM, where)
    if "descriptor" not in table:
        raise SettingError(
            f"{where} has no descriptor; use {', '.join(_short_names(_DESCRIPTORS))}"
        )
    descriptor = _descriptor(table["descriptor"], f"{where}, descriptor")
    kernel = _kernel(table.get("kernel", "auto"), f"{where}, kernel")
    _suited(descriptor, kernel, f"{where}, kernel")
    return Term(
        descriptor,
        None if isinstance(kernel, str) and kernel == "auto" else kernel,
        weight=table.get("weight", 1.0),
        width=table.get("width"),
    )


# -- descriptors and kernels ----------------------------------------------------------------------


def _public(module: Any, kind: type, abstract: tuple[type, ...]) -> dict[str, Any]:
    """Return the classes of a package that can be named, by their names."""
    found = {name: getattr(module, name) for name in module.__all__}
    return {
        name: item
        for name, item in found.items()
        if isinstance(item, type) and issubclass(item, kind) and item not in abstract
    }


def _structure_kernel(kind: type) -> Callable[[], Any]:
    return lambda: kind(Gaussian())


_DESCRIPTORS: dict[str, Callable[[], Any]] = {
    **DESCRIPTORS,
    **_public(descriptors, Descriptor, (Descriptor,)),
}
_STRUCTURE_CLASSES = _public(kernels, StructureKernel, (StructureKernel,))
_KERNELS: dict[str, Callable[[], Any]] = {
    **NAMED_KERNELS,
    **STRUCTURE_KERNELS,
    "atom-sum": _structure_kernel(kernels.AtomSum),
    "average": _structure_kernel(kernels.Average),
    **_public(kernels, Kernel, (kernels.RadialKernel, StructureKernel)),
    **{name: _structure_kernel(kind) for name, kind in _STRUCTURE_CLASSES.items()},
}


def _short_names(makers: _Makers) -> list[str]:
    """Return short names, without the names of classes that are allowed beside them."""
    return [name for name in makers if name == name.lower()]


def _descriptor(given: Any, where: str, others: tuple[str, ...] = ()) -> Any:
    return _made(given, _DESCRIPTORS, where, others)


def _kernel(given: Any, where: str) -> Any:
    """Return an object, or "auto"."""
    if given == "auto" or (isinstance(given, dict) and given == {"name": "auto"}):
        return "auto"
    if isinstance(given, dict) and "base" in given:
        base = _made(given["base"], _KERNELS, f"{where}, base", ())
        given = {**given, "base": base}
    return _made(given, _KERNELS, where, ("auto",))


def _made(given: Any, makers: _Makers, where: str, others: tuple[str, ...]) -> Any:
    """Return the object of a name, or of a table of its name and its arguments."""
    name, arguments = _name_of(given, where), _arguments(given)
    if name not in makers:
        raise SettingError(
            f"{where}: there is no {name!r}; use {', '.join((*_short_names(makers), *others))}"
        )
    made = makers[name]()
    defaults = made.get_params(deep=False)
    _require_known(arguments, tuple(defaults), f"{where} {name}", ("name",))
    try:
        return type(made)(**{**defaults, **arguments})
    except (TypeError, ValueError) as error:
        raise SettingError(f"{where} {name}: {error}") from None


def _suited(descriptor: Any, kernel: Any, where: str) -> None:
    try:
        kernel_for(descriptor, None if isinstance(kernel, str) else kernel)
    except SettingError as error:
        raise SettingError(f"{where}: {error}") from None


def _name_of(given: Any, where: str) -> str:
    name = given.get("name") if isinstance(given, dict) else given
    if not isinstance(name, str):
        raise SettingError(f"{where}: name = {short(name)} is no name; give one as text")
    return name


def _arguments(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    return {key: value for key, value in given.items() if key != "name"}


def _require_known(
    table: Mapping[str, Any], known: tuple[str, ...], where: str, others: tuple[str, ...] = ()
) -> None:
    for key in table:
        if key not in known:
            allowed = ", ".join((*others, *known)) or "no key but name"
            raise SettingError(f"{where + ': ' if where else ''}unknown key {key!r}; use {allowed}")
