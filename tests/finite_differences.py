"""Slopes of baselines by finite differences."""

import numpy as np

from kernchem.structures import Structures


def differences(baseline, structure, step):
    """Return minus the slopes of a baseline's energy by central differences."""
    n = len(structure.numbers)
    shifts = step * np.eye(3 * n).reshape(-1, n, 3)
    both = np.concatenate([structure.positions + shifts, structure.positions - shifts])
    cells = None if structure.cell is None else np.tile(structure.cell, (6 * n, 1, 1))
    pbc = None if structure.pbc is None else np.tile(structure.pbc, (6 * n, 1))
    state = {}
    if structure.charge is not None:
        state["charge"] = [structure.charge] * (6 * n)
    if structure.multiplicity is not None:
        state["multiplicity"] = [structure.multiplicity] * (6 * n)
    moved = Structures.from_arrays(
        [structure.numbers] * (6 * n), both, cells=cells, pbc=pbc, **state
    )
    plus, minus = np.split(baseline.energies(moved), 2)
    return ((minus - plus) / (2 * step)).reshape(n, 3)
