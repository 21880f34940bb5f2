"""Molecules to check descriptors on, and what may be done to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernchem.structures import Structures
from kernchem.testing.contract import Array

__all__ = ["changed", "moved", "random_rotation", "small_and_others", "small_molecules"]

_SMALL_MOLECULES = (
    "H2O NH3 CH4 HCN CO CO2 C2H2 C2H4 C2H6 CH3OH H2CO H3CNH2 CH3CN HCOOH CH3CHO CH3CH2OH"
).split()


def small_molecules() -> Structures:
    """Return sixteen molecules of two to nine atoms, most of them symmetric, as ASE has them."""
    from ase.build import molecule

    return Structures.from_ase([molecule(name) for name in _SMALL_MOLECULES])


def changed(structures: Structures, **changes: Any) -> Structures:
    """Return structures with other arrays, without their properties."""
    names = ("numbers", "positions", "offsets", "cells", "pbc", "charge", "multiplicity")
    return Structures(**({name: getattr(structures, name) for name in names} | changes))


def moved(structures: Structures, matrix: Array, shift: Array | float = 0.0) -> Structures:
    """Return structures whose positions r became matrix r + shift."""
    cells = None if structures.cells is None else structures.cells @ matrix.T
    return changed(structures, positions=structures.positions @ matrix.T + shift, cells=cells)


def random_rotation(rng: np.random.Generator) -> Array:
    """Return a random rotation, uniformly distributed (Haar)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return np.asarray(q * np.linalg.det(q))


def small_and_others(descriptor: Any, structures: Structures) -> tuple[Structures, Structures]:
    """Return the smaller half, and those of the others whose elements are known from it."""
    order = np.argsort(structures.sizes, kind="stable")
    half = (len(order) + 1) // 2
    small, large = structures[order[:half]], structures[order[half:]]
    known = descriptor.fit(small).elements_
    return small, large[[bool(np.isin(item.numbers, known).all()) for item in large]]
