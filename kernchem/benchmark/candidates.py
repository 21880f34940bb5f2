"""What is compared: descriptors and kernels by short names or as objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.gaussian_process.kernels import Kernel

from kernchem._identity import describe
from kernchem._validation import is_positive, short
from kernchem._warnings import collected_warnings
from kernchem.descriptors import (
    ACSF,
    FCHL19,
    SLATM,
    SOAP,
    WACSF,
    AtomicCoulombMatrix,
    BagOfBonds,
    CoulombMatrix,
    Descriptor,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
    Torsions,
)
from kernchem.errors import KernchemError, SettingError
from kernchem.kernels import NAMED_KERNELS, Average, BestMatch, Gaussian, Laplacian, REMatch
from kernchem.models import GPR, KRR, CompositionBaseline, DeltaLearner
from kernchem.models.recipes import RECIPES
from kernchem.models.terms import Term, TermProduct, Terms, TermSum, joined, kernel_for

__all__ = [
    "COMPOSITION",
    "DEFAULT_DESCRIPTORS",
    "DESCRIPTORS",
    "KERNELS",
    "MODELS",
    "RECOMMENDED",
    "STRUCTURE_KERNELS",
    "Candidate",
    "list_candidates",
    "model_settings",
]

#: Short name to descriptor.
DESCRIPTORS: dict[str, Callable[[], Descriptor]] = {
    "cm": CoulombMatrix,
    "cm-eigenspectrum": lambda: CoulombMatrix(permutation="eigenspectrum"),
    "bob": BagOfBonds,
    "encoded-bonds": EncodedBonds,
    "encoded-bonds-3": lambda: EncodedBonds(max_bonds=3),
    "overlap-s": lambda: OverlapEigenvalues("s"),
    "overlap-sp": OverlapEigenvalues,
    "inverse-distances": InverseDistances,
    "slatm": SLATM,
    "torsions": Torsions,
    "aslatm": lambda: SLATM(per_atom=True),
    "fchl19": FCHL19,
    "soap": SOAP,
    "acsf": ACSF,
    "wacsf": WACSF,
    "acm": AtomicCoulombMatrix,
}
#: What is compared where nothing is named: those for molecules of any kind that were made to learn
#: energies.
DEFAULT_DESCRIPTORS = ("cm", "cm-eigenspectrum", "bob", "encoded-bonds", "encoded-bonds-3")
#: Short name to kernel between structures; of others, such as "gaussian", the sum over atoms is
#: taken where a descriptor gives features of atoms.
STRUCTURE_KERNELS: dict[str, Callable[[], Kernel]] = {
    "average-gaussian": lambda: Average(Gaussian()),
    "average-laplacian": lambda: Average(Laplacian()),
    "best-match": lambda: BestMatch(Gaussian()),
    "rematch": lambda: REMatch(Gaussian()),
}
#: Names of kernels; "auto" is the one that the descriptor recommends.
KERNELS = ("auto", *NAMED_KERNELS, *STRUCTURE_KERNELS)
#: Short name to regressor; the first one where nothing is said.
MODELS: dict[str, Callable[..., Any]] = {"krr": KRR, "gpr": GPR}
#: Name of what is recommended where accuracy is worth some time.
RECOMMENDED = "composite"
#: Label of a kernel that brings its own descriptors.
_OWN_KERNEL = "terms"
#: Name of the reference that knows nothing but element counts.
COMPOSITION = "composition"


@dataclass(frozen=True)
class Candidate:
    """One line of a learning curve's figure, but for the choice between direct and Delta.

    ``descriptor`` and ``kernel`` are labels; ``parts`` are the objects, None for the reference.
    A kernel that brings its own descriptors has None in place of one.
    """

    descriptor: str
    kernel: str
    parts: tuple[Descriptor | None, str | Kernel | Terms] | None = None

    def estimator(self, baseline: Any = None, model: str = "krr", **settings: Any) -> Any:
        """Return an unfitted estimator on structures; with a baseline it learns the difference.

        ``model`` is a name of :data:`MODELS` and ``settings`` are those of its class, checked by
        :func:`model_settings`; the reference has none.
        """
        if self.parts is None:
            made: Any = CompositionBaseline()
        else:
            descriptor, kernel = self.parts
            own = None if descriptor is None else clone(descriptor)
            made = MODELS[model](kernel, descriptor=own, **settings)
        return made if baseline is None else DeltaLearner(made, baseline)

    def check(self, structures: Any) -> None:
        """Raise SettingError if descriptor or kernel have a setting that they cannot have.

        Settings are checked where they are used, which is here the kernel of some structures.
        """
        if self.parts is None:
            return
        descriptor, kernel = self.parts
        if descriptor is not None:
            terms: Terms = Term(clone(descriptor), kernel)
        else:
            terms = RECIPES[kernel]() if isinstance(kernel, str) else kernel
        try:
            with collected_warnings():
                terms(structures)
                _ = joined(terms)[1].bounds
        except SettingError as error:
            raise SettingError(f"{self.descriptor} {self.kernel}: {error}") from None
        except KernchemError:
            # Molecules that do not suit are the business of the fits.
            return

    def describe(self) -> str:
        """Return all that distinguishes this candidate from others, the same in every process."""
        descriptor, kernel = self.parts or (None, "")
        told = self.descriptor in DESCRIPTORS or _tells_all(descriptor)
        told = told and (self.kernel in KERNELS or _tells_all(kernel))
        parts = repr(self.parts) if told else describe(self.parts)
        return " ".join(f"{self.descriptor} {self.kernel} {parts}".split())


def model_settings(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of :meth:`Candidate.estimator` for a regressor.

    Parameters
    ----------
    model : str
        Name of :data:`MODELS`.
    given : mapping
        Arguments of the regressor, in the words of :class:`kernchem.KRR`: ``alpha="loo"`` is "fit"
        of :class:`kernchem.GPR`.

    Returns
    -------
    dict
        The arguments, and ``model`` where it is not "krr".

    Raises
    ------
    SettingError
        If there is no such regressor, or it lacks a setting that was given.
    """
    if not isinstance(model, str) or model not in MODELS:
        raise SettingError(f"model {short(model)} is unknown; use {' or '.join(MODELS)}")
    settings = dict(given)
    alpha = settings.get("alpha", "loo")
    if is_positive(alpha):
        settings["alpha"] = float(alpha)
    elif not isinstance(alpha, str) or alpha not in {"loo", "fit"}:
        raise SettingError(f"alpha {short(alpha)}; use a positive number or 'loo'")
    if model == "krr":
        if settings.get("alpha") == "fit":
            raise SettingError("alpha 'fit' is a word of gpr; use a positive number or 'loo'")
        return settings
    if "criterion" in settings:
        raise SettingError(
            "criterion is a setting of krr; a gpr is chosen by the density of labels that are left "
            "out: leave it away"
        )
    if settings.get("alpha") == "loo":
        settings["alpha"] = "fit"
    return {"model": model, **settings}


def list_candidates(descriptors: Any, kernels: Any) -> list[Candidate]:
    """Return the reference and all descriptors with all kernels, without repetitions.

    Objects that differ and look alike have labels with numbers.

    Parameters
    ----------
    descriptors : str, descriptor, terms, iterable of these, or None
        Names of :data:`DESCRIPTORS` or of recipes, or objects; None is
        :data:`DEFAULT_DESCRIPTORS`.
    kernels : str, kernel or iterable of these
        Names of :data:`KERNELS` or objects; not for terms and recipes, which have their own.

    Returns
    -------
    list of Candidate
        The reference first.

    Raises
    ------
    SettingError
        If a name is unknown, a kernel does not suit a descriptor, or nothing is left to compare.
    """
    found = [Candidate(COMPOSITION, "")]
    for label, descriptor in _told_apart(map(_descriptor, _each(descriptors, DEFAULT_DESCRIPTORS))):
        if not isinstance(descriptor, Descriptor):
            found.append(Candidate(label, _OWN_KERNEL, (None, descriptor)))
            continue
        named = (_kernel(item, descriptor) for item in _each(kernels, ("auto",)))
        for kernel_label, kernel in _told_apart(named):
            found.append(Candidate(label, kernel_label, (descriptor, kernel)))
    if len(found) == 1:
        raise SettingError(
            f"there is nothing to compare: descriptors={descriptors!r}, kernels={kernels!r}; name "
            f"at least one of {', '.join((*DESCRIPTORS, *RECIPES))} and one of {', '.join(KERNELS)}"
        )
    return found


def _each(items: Any, default: Iterable[str]) -> list[Any]:
    if items is None:
        return list(default)
    if isinstance(items, str | Descriptor | Kernel | Terms) or not isinstance(items, Iterable):
        return [items]
    return list(items)


def _told_apart(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield labels and objects once each, with numbers behind the labels that are there already."""
    found = {f"{label} {describe(item)}": (label, item) for label, item in named}
    seen: Counter[str] = Counter()
    for label, item in found.values():
        seen[label] += 1
        yield label if seen[label] == 1 else f"{label} ({seen[label]})", item


def _tells_all(value: Any) -> bool:
    """Whether the text of an object holds all of its settings; that of a kernel is rounded."""
    if isinstance(value, Descriptor):
        # scikit-learn shortens what is long.
        return "..." not in repr(value) and _tells_all(value.get_params(deep=False))
    if isinstance(value, dict):
        return _tells_all([*value, *value.values()])
    if isinstance(value, list | tuple):
        return all(map(_tells_all, value))
    return value is None or isinstance(value, str | int | float)


def _descriptor(item: Any) -> tuple[str, Descriptor | Terms | str]:
    if isinstance(item, Descriptor):
        return _line(item), item
    if isinstance(item, Terms):
        joined(item)
        return _formula(item), item
    if isinstance(item, str) and item in RECIPES:
        return item, item
    if not isinstance(item, str) or item not in DESCRIPTORS:
        raise SettingError(
            f"there is no descriptor {item!r}; use {', '.join((*DESCRIPTORS, *RECIPES))}, or from "
            "Python an object: a descriptor or terms"
        )
    return item, DESCRIPTORS[item]()


def _kernel(item: Any, descriptor: Descriptor) -> tuple[str, str | Kernel]:
    if isinstance(item, Kernel):
        kernel_for(descriptor, item)
        return _line(item), item
    if not isinstance(item, str) or item not in KERNELS:
        raise SettingError(
            f"kernel {short(item)} is unknown; use {', '.join(KERNELS)}, or from Python a kernel "
            "object"
        )
    if item in STRUCTURE_KERNELS:
        kernel = STRUCTURE_KERNELS[item]()
        kernel_for(descriptor, kernel)
        return item, kernel
    name = descriptor.recommended_kernel if item == "auto" else item
    return name, name


def _line(item: Any) -> str:
    return " ".join(repr(item).split())


def _formula(terms: Any) -> str:
    """Return terms as a formula."""
    if isinstance(terms, TermSum):
        fixed = " (fixed weights)" if terms.fixed_weights else ""
        return " + ".join(map(_formula, terms.terms)) + fixed
    if isinstance(terms, TermProduct):
        return f"{terms.weight:g} {' * '.join(map(_formula, terms.factors))}"
    kernel = terms.descriptor.recommended_kernel if terms.kernel is None else terms.kernel
    text = kernel if isinstance(kernel, str) else _line(kernel)
    width = "" if terms.width is None else f" (width {terms.width:g})"
    return f"{terms.weight:g} {text}{width} of {_line(terms.descriptor)}"
