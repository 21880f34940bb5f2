"""A geometry among the settings, such as the equilibrium of ``InverseDistances``, as plain JSON."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from kernchem._validation import short
from kernchem.errors import ModelFileError
from kernchem.structure import Structure, structure_from_ase
from kernchem.structures import Structures

__all__ = ["geometry_from_json", "geometry_to_json"]

#: Beyond this, a check of all pairs of atoms takes long.
_MOST_ATOMS = 10_000
_KINDS = ("Atoms", "Structure", "Structures")


def geometry_to_json(value: Any) -> list[Any] | None:
    """Return what stands for one structure, without its properties; None if it is none.

    Parameters
    ----------
    value : object
        A Structure, a Structures of one, ase.Atoms, or anything else.

    Returns
    -------
    list or None
        Type, atomic numbers, and in rows of plain numbers: positions, cell, pbc; charge and
        multiplicity.
    """
    if isinstance(value, Structures) and len(value) == 1:
        kind, item = "Structures", value[0]
    elif isinstance(value, Structure):
        kind, item = "Structure", value
    # Who holds such an object has imported ase already.
    elif "ase" in sys.modules and isinstance(value, sys.modules["ase"].Atoms):
        kind, item = "Atoms", structure_from_ase(value)
    else:
        return None
    cell = None if item.cell is None else np.asarray(item.cell).tolist()
    pbc = None if item.pbc is None else np.asarray(item.pbc).tolist()
    charge = None if item.charge is None else float(item.charge)
    multiplicity = None if item.multiplicity is None else int(item.multiplicity)
    numbers, positions = item.numbers.tolist(), item.positions.tolist()
    return [kind, numbers, positions, cell, pbc, charge, multiplicity]


def geometry_from_json(value: Any) -> Any:
    """Return the structure that :func:`geometry_to_json` turned into JSON, as the same type."""
    if not isinstance(value, list) or len(value) != 7 or value[0] not in _KINDS:
        raise ModelFileError(f"{short(value)} is no geometry")
    kind, numbers, positions, *optional = value
    if not isinstance(numbers, list) or len(numbers) > _MOST_ATOMS:
        raise ModelFileError(f"a geometry has {_MOST_ATOMS} atoms at most")
    cell, pbc, charge, multiplicity = ([item] if item is not None else None for item in optional)
    try:
        batch = Structures(
            numbers,
            positions,
            [0, len(numbers)],
            cells=cell,
            pbc=pbc,
            charge=charge,
            multiplicity=multiplicity,
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ModelFileError(f"a geometry is none: {error}") from None
    if kind == "Structures":
        return batch
    return batch[0] if kind == "Structure" else batch[0].to_ase()
