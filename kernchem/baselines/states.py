"""Charges and multiplicities, and what no program shall be asked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernchem.neighbors import find_contact
from kernchem.structures import Structures

__all__ = ["NEAREST", "States"]

_Ints = npt.NDArray[np.int64]

#: Atoms nearer than this (angstrom) make programs converge to nonsense without a word.
NEAREST = 0.5

#: Electrons below the valence shell, and room in it, up to and including an atomic number. Wide
#: where methods differ (d shells as valence or core): what it refuses no method can hold.
_SHELLS = (
    (2, 0, 1),
    (10, 2, 4),
    (18, 10, 9),
    (30, 18, 9),
    (36, 28, 9),
    (48, 36, 9),
    (54, 46, 9),
    (56, 54, 9),
    (71, 54, 16),
    (80, 68, 9),
    (86, 78, 9),
    (118, 86, 16),
)


class States:
    """Charge and multiplicity of structures, and why some cannot be computed.

    Parameters
    ----------
    structures : Structures
        Charges that are absent are zero; multiplicities that are absent the lowest, 1 for an even
        number of electrons and 2 for an odd one.

    Attributes
    ----------
    charges, multiplicities : array (n,) of int
        Of each structure.
    reasons : list of str, length n
        "" where a program may be asked.
    """

    def __init__(self, structures: Structures) -> None:
        n = len(structures)
        given = np.zeros(n) if structures.charge is None else structures.charge
        self.charges: _Ints = np.rint(given).astype(np.int64)
        starts = structures.offsets[:-1]
        electrons = np.add.reduceat(structures.numbers, starts) if n else np.zeros(0, np.int64)
        electrons = electrons - self.charges
        lowest = 1 + electrons % 2
        self.multiplicities: _Ints = (
            lowest
            if structures.multiplicity is None
            else np.where(structures.multiplicity == 0, lowest, structures.multiplicity)
        )
        self.reasons = [""] * n
        self._refuse_states(structures, given, electrons)
        self._refuse_contacts(structures)

    def _refuse_states(
        self, structures: Structures, given: npt.NDArray[np.float64], electrons: _Ints
    ) -> None:
        core, room = _shells()
        starts = structures.offsets[:-1]
        n = len(structures)
        if n == 0:
            return
        valence = electrons - np.add.reduceat(core[structures.numbers], starts)
        holes = 2 * np.add.reduceat(room[structures.numbers], starts) - valence
        unpaired = self.multiplicities - 1
        for k in np.flatnonzero(np.abs(given - self.charges) > 1e-6):
            self.reasons[k] = f"the charge {given[k]:g} is not a whole number"
        for k in np.flatnonzero((valence < 0) | (holes < 0)):
            self.reasons[k] = self.reasons[k] or (
                f"the charge {self.charges[k]:+d} is impossible: it leaves {electrons[k]} electrons"
            )
        odd = (electrons - unpaired) % 2 != 0
        beyond = (unpaired < 0) | (unpaired > np.minimum(valence, holes))
        for k in np.flatnonzero(odd | beyond):
            self.reasons[k] = self.reasons[k] or (
                f"the multiplicity {self.multiplicities[k]} is impossible with {electrons[k]} "
                f"electrons (charge {self.charges[k]:+d})"
            )

    def _refuse_contacts(self, structures: Structures) -> None:
        first = 0
        while first < len(structures):
            contact = find_contact(
                structures.positions,
                structures.offsets[first:],
                NEAREST,
                None if structures.cells is None else structures.cells[first:],
                None if structures.pbc is None else structures.pbc[first:],
            )
            if contact is None:
                return
            k, i, j = first + contact[0], contact[1], contact[2]
            self.reasons[k] = self.reasons[k] or (
                f"atoms {i} and {j} are nearer than {NEAREST} angstrom"
            )
            first = k + 1


def _shells() -> tuple[_Ints, _Ints]:
    """Return core electrons and valence orbitals of each element, indexed by atomic number."""
    core, room, first = np.zeros(119, np.int64), np.zeros(119, np.int64), 1
    for last, electrons, orbitals in _SHELLS:
        core[first : last + 1], room[first : last + 1] = electrons, orbitals
        first = last + 1
    return core, room
