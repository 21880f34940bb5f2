"""What is compared: descriptors and kernels by short names or as objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.gaussian_process.kernels import Kernel

from kernchem._validation import short
from kernchem.descriptors import (
    SLATM,
    BagOfBonds,
    CoulombMatrix,
    Descriptor,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
)
from kernchem.errors import SettingError
from kernchem.kernels import NAMED_KERNELS
from kernchem.models import KRR, CompositionBaseline, DeltaLearner

__all__ = [
    "COMPOSITION",
    "DEFAULT_DESCRIPTORS",
    "DESCRIPTORS",
    "KERNELS",
    "Candidate",
    "list_candidates",
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
}
#: What is compared where nothing is named: those for molecules of any kind that were made to learn
#: energies.
DEFAULT_DESCRIPTORS = ("cm", "cm-eigenspectrum", "bob", "encoded-bonds", "encoded-bonds-3")
#: Names of kernels; "auto" is the one that the descriptor recommends.
KERNELS = ("auto", *NAMED_KERNELS)
#: Name of the reference that knows nothing but element counts.
COMPOSITION = "composition"


@dataclass(frozen=True)
class Candidate:
    """One line of a learning curve's figure, but for the choice between direct and Delta.

    ``descriptor`` and ``kernel`` are labels; ``parts`` are the objects, None for the reference.
    """

    descriptor: str
    kernel: str
    parts: tuple[Descriptor, str | Kernel] | None = None

    def estimator(self, baseline: str | None) -> Any:
        """Return an unfitted estimator on structures; with a baseline it learns the difference."""
        if self.parts is None:
            model: Any = CompositionBaseline()
        else:
            descriptor, kernel = self.parts
            model = KRR(kernel, descriptor=clone(descriptor))
        return model if baseline is None else DeltaLearner(model, baseline)

    def describe(self) -> str:
        """Return all that distinguishes this candidate from others of the same labels."""
        return " ".join(f"{self.descriptor} {self.kernel} {self.parts!r}".split())


def list_candidates(descriptors: Any, kernels: Any) -> list[Candidate]:
    """Return the reference and all descriptors with all kernels, without repetitions.

    Parameters
    ----------
    descriptors : str, descriptor, iterable of these, or None
        Names of :data:`DESCRIPTORS` or objects; None is :data:`DEFAULT_DESCRIPTORS`.
    kernels : str, kernel or iterable of these
        Names of :data:`KERNELS` or objects.

    Returns
    -------
    list of Candidate
        The reference first.

    Raises
    ------
    SettingError
        If a name is unknown, or nothing is left to compare.
    """
    found = {(COMPOSITION, ""): Candidate(COMPOSITION, "")}
    named = [_descriptor(item) for item in _each(descriptors, DEFAULT_DESCRIPTORS)]
    for label, descriptor in named:
        for item in _each(kernels, ("auto",)):
            kernel_label, kernel = _kernel(item, descriptor)
            candidate = Candidate(label, kernel_label, (descriptor, kernel))
            found.setdefault((label, kernel_label), candidate)
    if len(found) == 1:
        raise SettingError(
            f"there is nothing to compare: descriptors={descriptors!r}, kernels={kernels!r}; name "
            f"at least one of {', '.join(DESCRIPTORS)} and one of {', '.join(KERNELS)}"
        )
    return list(found.values())


def _each(items: Any, default: Iterable[str]) -> list[Any]:
    if items is None:
        return list(default)
    if isinstance(items, str | Descriptor | Kernel) or not isinstance(items, Iterable):
        return [items]
    return list(items)


def _descriptor(item: Any) -> tuple[str, Descriptor]:
    if isinstance(item, Descriptor):
        return " ".join(repr(item).split()), item
    if not isinstance(item, str) or item not in DESCRIPTORS:
        raise SettingError(
            f"there is no descriptor {item!r}; use {', '.join(DESCRIPTORS)}, or from Python a "
            "descriptor object"
        )
    return item, DESCRIPTORS[item]()


def _kernel(item: Any, descriptor: Descriptor) -> tuple[str, str | Kernel]:
    if isinstance(item, Kernel):
        return " ".join(repr(item).split()), item
    if not isinstance(item, str) or item not in KERNELS:
        raise SettingError(
            f"kernel {short(item)} is unknown; use {', '.join(KERNELS)}, or from Python a kernel "
            "object"
        )
    name = descriptor.recommended_kernel if item == "auto" else item
    return name, name
