"""Bag of bonds: interactions of nuclei, sorted within each pair of elements."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kernchem._threads import run_panels
from kernchem._validation import is_whole
from kernchem.descriptors import bags_jit
from kernchem.descriptors.base import Descriptor
from kernchem.descriptors.pairs import element_kinds, pair_name, pair_table
from kernchem.elements import atomic_number, formula, symbol
from kernchem.errors import LayoutError, SettingError, UnknownElementError
from kernchem.structures import Structures

__all__ = ["BagOfBonds"]

# Molecules per panel: enough that calling the compiled code costs nothing beside them.
_PANEL = 256
_BAG = re.compile(r"([A-Z][a-z]?)(?:-?([A-Z][a-z]?))?")


class BagOfBonds(Descriptor):
    """Bag of bonds: nuclear interactions, sorted within each pair of elements.

    One bag per unordered pair of elements holds ``Z_i Z_j / |r_i - r_j|`` (angstrom) of all such
    pairs of atoms, bonded or not, in descending order; one bag per element holds ``0.5 Z^2.4`` once
    per atom. Bags are padded with zeros.

    Parameters
    ----------
    bags : mapping of str to int, optional
        Sizes of the bags, such as ``{"C": 7, "H": 16, "C-H": 60}``: for each element the largest
        number of atoms and, if wished, for a pair of them (``"C-H"`` or ``"CH"``) the largest
        number of pairs of atoms; otherwise it follows from the numbers of atoms. By default sizes
        are learnt in ``fit``: the largest number of atoms and of pairs in one molecule.
    n_jobs : int, optional
        Number of threads; None uses all cores.

    Attributes
    ----------
    bags_ : dict of str to int
        Size of each bag by its name (``"C"``, ``"C-H"``), in the order of the columns.
    elements_ : tuple of int
        Atomic numbers that have a bag.
    n_features_out_ : int
        Sum of the sizes.

    Raises
    ------
    SettingError
        By ``fit``, if a key or a size in ``bags`` makes no sense.
    LayoutError
        By ``fit`` and ``transform``, if a molecule overflows a bag.

    Notes
    -----
    The bags of elements come first, by atomic number, then those of pairs. Cost O(n^2 log n) per
    molecule of n atoms. Sizes learnt here are often smaller than those of qmllib, which takes
    products of the largest numbers of atoms (as ``bags`` without pairs does); padding does not
    change any distance between features.

    Bags forget which atoms a pair belongs to: different molecules with the same sets of distances
    look the same. Where sorting swaps two pairs the derivatives of the features jump.

    References
    ----------
    .. [1] K. Hansen et al., J. Phys. Chem. Lett. 6, 2326 (2015),
       https://doi.org/10.1021/acs.jpclett.5b00831

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = BagOfBonds().fit([molecule("H2O"), molecule("H2")])
    >>> descriptor.bags_
    {'H': 2, 'O': 1, 'H-H': 1, 'H-O': 2, 'O-O': 0}
    >>> descriptor.transform(molecule("H2O")).round(3).tolist()
    [[0.5, 0.5, 73.517, 0.655, 8.259, 8.259]]
    """

    citation = (
        "K. Hansen, F. Biegler, R. Ramakrishnan, W. Pronobis, O. A. von Lilienfeld, K.-R. Mueller, "
        "A. Tkatchenko, Machine learning predictions of molecular properties: accurate many-body "
        "potentials and nonlocality in chemical space, J. Phys. Chem. Lett. 6, 2326 (2015), "
        "https://doi.org/10.1021/acs.jpclett.5b00831"
    )
    recommended_kernel = "laplacian"

    def __init__(self, *, bags: Mapping[str, int] | None = None, n_jobs: int | None = None) -> None:
        self.bags = bags
        self.n_jobs = n_jobs

    def _learn(self, structures: Structures) -> None:
        if self.bags is None:
            self._set_sizes(self._counts(structures).max(axis=0))
            return
        self.elements_, sizes = _parsed(self.bags)
        self._set_sizes(sizes)
        self._require_known_elements(structures)
        self._require_fit(structures)

    def _set_sizes(self, sizes: npt.NDArray[np.int64]) -> None:
        """Lay out bags of these sizes: those of the elements, then those of the pairs."""
        self.bags_ = dict(zip(_bag_names(self.elements_), sizes.tolist(), strict=True))
        self.n_features_out_ = int(sizes.sum())

    def _counts(self, structures: Structures) -> npt.NDArray[np.int64]:
        """Return how many entries each molecule has in each bag, array (n, n_bags)."""
        n, n_kinds = len(structures), len(self.elements_)
        kinds = element_kinds(structures.numbers, self.elements_)
        cells = np.repeat(np.arange(n) * n_kinds, structures.sizes) + kinds
        atoms = np.bincount(cells, minlength=n * n_kinds).reshape(n, n_kinds)
        pairs, _ = pair_table(self.elements_)
        counts = np.empty((n, n_kinds + len(pairs)), dtype=np.int64)
        counts[:, :n_kinds] = atoms
        for bag, (a, b) in enumerate(pairs, start=n_kinds):
            counts[:, bag] = _number_of_pairs(atoms[:, a], atoms[:, b], a == b)
        return counts

    def _require_fit(self, structures: Structures) -> None:
        counts = self._counts(structures)
        sizes = np.array(list(self.bags_.values()))
        overflows = np.argwhere(counts > sizes)
        if not len(overflows):
            return
        k, bag = (int(index) for index in overflows[0])
        name = list(self.bags_)[bag]
        raise LayoutError(
            f"structure {k} ({formula(structures[k].numbers)}) has {counts[k, bag]} entries in bag "
            f"{name}, which holds {sizes[bag]} ({len(np.unique(overflows[:, 0]))} such structures "
            "in all); fit on molecules as large, pass bags= with larger sizes, or let an estimator "
            "own the descriptor, which then widens it: KRR(descriptor=BagOfBonds())"
        )

    def _compute(self, structures: Structures) -> npt.NDArray[np.float64]:
        out = np.zeros((len(structures), self.n_features_out_))
        if len(structures) == 0:
            return out
        n_kinds = len(self.elements_)
        sizes = np.array(list(self.bags_.values()))
        starts = np.cumsum(sizes) - sizes
        _, table = pair_table(self.elements_)
        nuclear_starts, pair_starts = starts[:n_kinds], starts[n_kinds:][table]
        kinds = element_kinds(structures.numbers, self.elements_)
        charges = np.array(self.elements_, dtype=np.float64)
        diagonal = 0.5 * charges**2.4
        largest, fullest = int(structures.sizes.max()), int(sizes[n_kinds:].max())

        def fill(start: int, stop: int) -> None:
            bags_jit.fill_bags(
                kinds,
                structures.positions,
                structures.offsets,
                charges,
                diagonal,
                nuclear_starts,
                pair_starts,
                out,
                start,
                stop,
                largest,
                fullest,
            )

        run_panels(fill, len(structures), _PANEL, self.n_jobs)
        return out

    def _feature_names(self) -> list[str]:
        return [f"{name}[{i}]" for name, size in self.bags_.items() for i in range(size)]

    def _widen(self, structures: Structures) -> tuple[Descriptor, npt.NDArray[np.int64]]:
        old = np.array(list(self.bags_.values()))
        new = np.maximum(old, self._counts(structures).max(axis=0, initial=0))
        shift = (np.cumsum(new) - new) - (np.cumsum(old) - old)
        columns = np.arange(self.n_features_out_) + np.repeat(shift, old)
        if (new == old).all():
            return self, columns
        wider = copy.copy(self)
        wider._set_sizes(new)
        return wider, columns


def _bag_names(elements: tuple[int, ...]) -> list[str]:
    pairs, _ = pair_table(elements)
    names = [symbol(number) for number in elements]
    return names + [pair_name(elements[a], elements[b]) for a, b in pairs]


def _number_of_pairs(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], same: bool
) -> npt.NDArray[np.int64]:
    """Return numbers of pairs of atoms, from the numbers of atoms of the two elements."""
    return first * (first - 1) // 2 if same else first * second


def _parsed(bags: Mapping[str, int]) -> tuple[tuple[int, ...], npt.NDArray[np.int64]]:
    """Return the elements that a user's sizes name, and the sizes of all bags."""
    if not isinstance(bags, Mapping) or not bags:
        raise SettingError(
            f"bags={bags!r} is no mapping of bags to sizes; write e.g. "
            "{'C': 7, 'H': 16, 'C-H': 60}, or None to learn them in fit"
        )
    atoms: dict[int, int] = {}
    given: dict[tuple[int, int], int] = {}
    for key, size in bags.items():
        numbers = _elements_of(key)
        if not is_whole(size, 2 - len(numbers)):
            raise SettingError(
                f"bags[{key!r}]={size!r} is no size; give a whole number, at least 1 for an "
                "element and 0 for a pair"
            )
        if len(numbers) == 1:
            atoms[numbers[0]] = int(size)
            continue
        pair = (min(numbers), max(numbers))
        if pair in given:
            raise SettingError(f"bags gives pair {pair_name(*pair)} twice; keep one of its keys")
        given[pair] = int(size)
    for pair in given:
        for number in pair:
            if number not in atoms:
                raise SettingError(
                    f"bags gives pair {pair_name(*pair)} but not the number of {symbol(number)} "
                    f"atoms; add {symbol(number)!r} too"
                )
    elements = tuple(sorted(atoms))
    counts = np.array([atoms[number] for number in elements])
    pairs, _ = pair_table(elements)
    sizes = [
        given.get((elements[a], elements[b]), int(_number_of_pairs(counts[a], counts[b], a == b)))
        for a, b in pairs
    ]
    return elements, np.concatenate([counts, np.array(sizes, dtype=np.int64)])


def _elements_of(key: str) -> list[int]:
    """Return the one or two atomic numbers that the name of a bag consists of."""
    match = _BAG.fullmatch(key) if isinstance(key, str) else None
    if match is None:
        raise SettingError(
            f"bags has the key {key!r}, which is no bag; write an element as 'C', a pair as 'C-H'"
        )
    try:
        return [atomic_number(name) for name in match.groups() if name]
    except UnknownElementError as error:
        raise SettingError(f"bags has the key {key!r}: {error}") from None
