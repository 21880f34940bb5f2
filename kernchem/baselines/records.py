"""What a program is asked of one structure, what it answers, and how answers become bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

__all__ = [
    "BONDS",
    "CHARGES",
    "DIPOLE",
    "FAILED",
    "FORCES",
    "Job",
    "Record",
    "decode",
    "encode",
]

_Array = npt.NDArray[np.float64]

#: Bits of what a record holds beside an energy.
FORCES, CHARGES, DIPOLE, FAILED, BONDS = 1, 2, 4, 8, 16

#: What it holds, number of atoms, bytes of reason and note, energy; then these, then the arrays.
_HEAD = struct.Struct("<BIHHd")
_LONGEST_TEXT = 500


@dataclass(frozen=True)
class Job:
    """One structure that a program shall compute.

    Parameters
    ----------
    numbers : array (n_atoms,)
        Atomic numbers.
    positions : array (n_atoms, 3)
        Angstrom.
    charge : int
        Total charge, elementary charges.
    multiplicity : int
        2S + 1; possible for this number of electrons.
    cell : array (3, 3), optional
        Cell vectors as rows, angstrom; None for a molecule.
    pbc : array (3,) of bool, optional
        Which of them are periodic; None for a molecule.
    """

    numbers: npt.NDArray[np.int64]
    positions: _Array
    charge: int = 0
    multiplicity: int = 1
    cell: _Array | None = None
    pbc: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Record:
    """What a program said of one structure.

    Parameters
    ----------
    energy : float
        kcal/mol; NaN where it failed.
    reason : str, default ""
        Why there is no energy.
    note : str, default ""
        What a user should know of an energy that is there.
    forces : array (n_atoms, 3), optional
        kcal/mol/angstrom.
    charges : array (n_atoms,), optional
        Elementary charges.
    dipole : array (3,), optional
        Elementary charges times angstrom.
    bond_orders : array (n_atoms, n_atoms), optional
        Symmetric, zero on the diagonal.
    lasting : bool, default True
        Whether another attempt would end the same way; what would not is kept in no cache.
    """

    energy: float
    reason: str = ""
    note: str = ""
    forces: _Array | None = None
    charges: _Array | None = None
    dipole: _Array | None = None
    bond_orders: _Array | None = None
    lasting: bool = True

    @classmethod
    def failure(cls, reason: str, *, lasting: bool = True) -> Record:
        """Return a record without energy.

        Parameters
        ----------
        reason : str
            Why; line breaks become blanks.
        lasting : bool, default True
            Whether another attempt would end the same way.

        Returns
        -------
        Record
            With NaN as its energy.
        """
        text = " ".join(reason.split()) or "the program gave no reason"
        return cls(float("nan"), text[:_LONGEST_TEXT], lasting=lasting)

    def with_charge(self, charge: int) -> Record:
        """Return the record, or a failure if its charges do not add up.

        Programs that lack parameters of an element may go on without it, and say nothing.

        Parameters
        ----------
        charge : int
            Total charge, elementary charges.

        Returns
        -------
        Record
            With charges whose sum is this one within 0.01, or a reason.
        """
        if self.charges is None or self.reason or abs(self.charges.sum() - charge) < 0.01:
            return self
        return Record.failure(
            f"the program's charges add up to {self.charges.sum():.3f} where the charge is {charge}"
        )

    def misfit(self, n_atoms: int) -> str:
        """Return which array has another shape than a structure of so many atoms has, "" if none.

        Parameters
        ----------
        n_atoms : int
            Atoms of the structure.

        Returns
        -------
        str
            Name of the array, and its shape.
        """
        shapes = {
            "forces": (n_atoms, 3),
            "charges": (n_atoms,),
            "dipole": (3,),
            "bond_orders": (n_atoms, n_atoms),
        }
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values is not None and np.shape(values) != shape:
                return f"{name.replace('_', ' ')} of shape {np.shape(values)}, not {shape}"
        return ""

    def checked(self, n_atoms: int) -> Record:
        """Return the record, or a failure if a number is not finite or an array has another shape.

        Parameters
        ----------
        n_atoms : int
            Atoms of the structure.

        Returns
        -------
        Record
            With finite numbers, or a reason.
        """
        if self.reason:
            return self
        if not np.isfinite(self.energy):
            return Record.failure(f"the program returned the energy {self.energy}")
        if misfit := self.misfit(n_atoms):
            return Record.failure(f"the program returned {misfit}")
        for name in ("forces", "charges", "dipole", "bond_orders"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                what = name.replace("_", " ")
                return Record.failure(f"the program returned {what} that are not finite")
        return self


def encode(record: Record) -> bytes:
    """Return a record as bytes; the first one tells what it holds.

    Parameters
    ----------
    record : Record
        Texts are cut to 500 characters.

    Returns
    -------
    bytes
        21 bytes, the texts, and 8 bytes for each number.
    """
    reason = record.reason[:_LONGEST_TEXT].encode()
    note = record.note[:_LONGEST_TEXT].encode()
    flags, n_atoms, arrays = FAILED if record.reason else 0, 0, b""
    for bit, values in (
        (FORCES, record.forces),
        (CHARGES, record.charges),
        (BONDS, record.bond_orders),
        (DIPOLE, record.dipole),
    ):
        if values is not None:
            flags |= bit
            n_atoms = n_atoms if bit == DIPOLE else len(values)
            kept = values[_above(n_atoms)] if bit == BONDS else values
            arrays += np.ascontiguousarray(kept, dtype="<f8").tobytes()
    head = _HEAD.pack(flags, n_atoms, len(reason), len(note), record.energy)
    return head + reason + note + arrays


def decode(data: bytes) -> Record:
    """Return the record that ``encode`` turned into bytes.

    Parameters
    ----------
    data : bytes
        All of them, and no more.

    Returns
    -------
    Record
        Its arrays are read-only.

    Raises
    ------
    ValueError
        If the bytes are not those of a record.
    """
    if len(data) < _HEAD.size:
        raise ValueError("too short for a record")
    flags, n_atoms, n_reason, n_note, energy = _HEAD.unpack_from(data)
    start = _HEAD.size + n_reason + n_note
    counts = [
        3 * n_atoms * bool(flags & FORCES),
        n_atoms * bool(flags & CHARGES),
        n_atoms * (n_atoms - 1) // 2 * bool(flags & BONDS),
        3 * bool(flags & DIPOLE),
    ]
    if len(data) != start + 8 * sum(counts):
        raise ValueError("a record of another length")
    reason = data[_HEAD.size : _HEAD.size + n_reason].decode()
    note = data[_HEAD.size + n_reason : start].decode()
    numbers = np.frombuffer(data, "<f8", offset=start)
    ends = [0, *accumulate(counts)]
    forces, charges, bonds, dipole = (numbers[a:b] for a, b in pairwise(ends))
    return Record(
        energy,
        reason,
        note,
        forces.reshape(-1, 3) if flags & FORCES else None,
        charges if flags & CHARGES else None,
        dipole if flags & DIPOLE else None,
        _symmetric(bonds, n_atoms) if flags & BONDS else None,
    )


@lru_cache(maxsize=256)
def _above(n: int) -> tuple[npt.NDArray[np.intp], ...]:
    """Return rows and columns of what lies above the diagonal."""
    return np.triu_indices(n, 1)


def _symmetric(upper: _Array, n: int) -> _Array:
    """Return the matrix (n, n) with zeros on its diagonal that has these numbers above it."""
    matrix = np.zeros((n, n))
    matrix[_above(n)] = upper
    return matrix + matrix.T
