"""One molecule or material, and its conversion from and to :class:`ase.Atoms`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kernchem._columns import TAKEN_NAMES, check_names, rectangular
from kernchem._validation import real_numbers, short, truth_values, whole_numbers
from kernchem.elements import formula
from kernchem.errors import PropertyError, StructureError

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Structure", "check_arrays", "structure_from_ase"]


class Structure:
    """One molecule or material: an item of :class:`Structures`.

    It is a scalar in NumPy's eyes (no length, ``==`` gives one truth value), so that object arrays
    of structures pass through scikit-learn.

    Parameters
    ----------
    numbers : array (n_atoms,)
        Atomic numbers.
    positions : array (n_atoms, 3)
        Angstrom.
    cell : array (3, 3), optional
        Cell vectors as rows, angstrom.
    pbc : array (3,), optional
        Which cell vectors are periodic.
    charge : float, optional
        Total charge in elementary charges; None where it was not given.
    multiplicity : int, optional
        Spin multiplicity 2S + 1; None where it was not given.
    properties : dict, optional
        Property name to a value of the structure.
    atom_properties : dict, optional
        Property name to an array with one row per atom.
    """

    __slots__ = (
        "atom_properties",
        "cell",
        "charge",
        "multiplicity",
        "numbers",
        "pbc",
        "positions",
        "properties",
    )

    def __init__(
        self,
        numbers: npt.NDArray[np.int64],
        positions: npt.NDArray[np.float64],
        *,
        cell: npt.NDArray[np.float64] | None = None,
        pbc: npt.NDArray[np.bool_] | None = None,
        charge: float | None = None,
        multiplicity: int | None = None,
        properties: Mapping[str, Any] | None = None,
        atom_properties: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        self.numbers = numbers
        self.positions = positions
        self.cell = cell
        self.pbc = pbc
        self.charge = charge
        self.multiplicity = multiplicity
        self.properties = dict(properties or {})
        self.atom_properties = dict(atom_properties or {})

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order."""
        return formula(self.numbers)

    def to_ase(self) -> Atoms:
        """Return ASE's object, with the properties in ``info`` and ``arrays``.

        Returns
        -------
        ase.Atoms
            A new object.

        Raises
        ------
        PropertyError
            If a property per atom is called ``numbers`` or ``positions``.
        """
        from ase import Atoms

        check_names(self.atom_properties)
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info.update(self.properties)
        if self.charge is not None:
            atoms.info["charge"] = self.charge
        if self.multiplicity is not None:
            atoms.info["multiplicity"] = self.multiplicity
        for name, values in self.atom_properties.items():
            atoms.set_array(name, np.array(values))
        return atoms

    def _key(self) -> tuple[Any, ...]:
        # Adding zero turns -0.0, which equals 0.0 but has other bytes, into 0.0.
        cell = None if self.cell is None else (self.cell + 0.0).tobytes()
        pbc = None if self.pbc is None else self.pbc.tobytes()
        numbers, positions = self.numbers.tobytes(), (self.positions + 0.0).tobytes()
        return numbers, positions, cell, pbc, self.charge, self.multiplicity

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Structure({self.formula}, {len(self.numbers)} atoms)"


def structure_from_ase(atoms: Atoms, k: int = 0, *, from_file: bool = False) -> Structure:
    """Return one structure made from :class:`ase.Atoms`.

    Parameters
    ----------
    atoms : ase.Atoms
        Properties come from ``info``, ``arrays`` and those stored calculator results that belong to
        this geometry.
    k : int, default 0
        Number of the structure in the messages of errors.
    from_file : bool, default False
        Whether a reader of files has just made the atoms, whose results are their own then.

    Returns
    -------
    Structure
        With copies of numbers, positions and cell.

    Raises
    ------
    StructureError
        If charge or multiplicity is not a number.
    """
    info = {str(name): value for name, value in atoms.info.items() if value is not None}
    charge, multiplicity = info.pop("charge", None), info.pop("multiplicity", None)
    for name, value in (("charge", charge), ("multiplicity", multiplicity)):
        number = isinstance(value, int | float | np.integer | np.floating)
        number = number and not isinstance(value, bool)
        fits = number and (name == "charge" or float(value).is_integer())
        if value is not None and not fits:
            raise StructureError(
                f"structure {k}: info[{name!r}] is {short(value)}; it must be one number, "
                "whole for a multiplicity"
            )
    arrays = {k: v for k, v in atoms.arrays.items() if k not in TAKEN_NAMES}
    for name, value in _results(atoms, from_file).items():
        if value is None:
            continue
        per_atom = name in {"forces", "charges", "magmoms", "energies", "stresses"}
        rows = len(value) if np.ndim(value) else 0
        (arrays if per_atom and rows == len(atoms) else info)[name] = value
    periodic = atoms.pbc.any() or atoms.cell.array.any()
    return Structure(
        np.array(atoms.numbers, dtype=np.int64),
        np.array(atoms.positions, dtype=float),
        cell=np.array(atoms.cell.array) if periodic else None,
        pbc=np.array(atoms.pbc) if periodic else None,
        charge=None if charge is None else float(charge),
        multiplicity=None if multiplicity is None else int(multiplicity),
        properties=info,
        atom_properties=arrays,
    )


def _results(atoms: Atoms, from_file: bool) -> Mapping[str, Any]:
    """Return the stored results of the calculator, none where they are those of other atoms.

    Atoms may share a calculator, which keeps the results of the last calculation, and atoms may
    have moved since. Calculators that cannot tell are believed.
    """
    results: Mapping[str, Any] = getattr(atoms.calc, "results", None) or {}
    check_state = getattr(atoms.calc, "check_state", None)
    if from_file or not results or check_state is None or _are_same(atoms, atoms.calc):
        return results
    return {} if len(check_state(atoms)) else results


def _are_same(atoms: Atoms, calc: Any) -> bool:
    """Whether atoms are those of a calculator to the last bit, which ASE takes long to find out."""
    known = getattr(calc, "atoms", None)
    if known is None or atoms.arrays.keys() != known.arrays.keys():
        return False
    same = all(np.array_equal(atoms.arrays[name], known.arrays[name]) for name in atoms.arrays)
    return same and bool(
        (atoms.cell.array == known.cell.array).all() and (atoms.pbc == known.pbc).all()
    )


def check_arrays(item: Structure, k: int) -> None:
    """Raise if the arrays of one structure do not fit each other.

    Parameters
    ----------
    item : Structure
        What a user made.
    k : int
        Number of the structure in the messages of errors.

    Raises
    ------
    StructureError
        If numbers, positions, cell and pbc do not fit each other.
    PropertyError
        If a property per atom has not one row per atom.
    """
    numbers = whole_numbers(item.numbers, f"structure {k}: numbers")
    positions = real_numbers(item.positions, f"structure {k}: positions")
    n_atoms = numbers.size
    if numbers.ndim != 1 or positions.shape != (n_atoms, 3):
        raise StructureError(
            f"structure {k}: positions have the shape {positions.shape} and numbers "
            f"{numbers.shape}, expected (n_atoms, 3) and (n_atoms,)"
        )
    cell = None if item.cell is None else real_numbers(item.cell, f"structure {k}: cell")
    pbc = None if item.pbc is None else truth_values(item.pbc, f"structure {k}: pbc")
    if cell is not None and cell.shape != (3, 3):
        raise StructureError(f"structure {k}: cell has the shape {cell.shape}, expected (3, 3)")
    if pbc is not None and pbc.shape != (3,):
        raise StructureError(f"structure {k}: pbc has the shape {pbc.shape}, expected (3,)")
    if cell is None and pbc is not None and pbc.any():
        raise StructureError(
            f"structure {k}: pbc was given without a cell; pass the cell of shape (3, 3) too"
        )
    for name, values in item.atom_properties.items():
        shape = rectangular(values, name).shape
        if shape[:1] != (n_atoms,):
            raise PropertyError(
                f"structure {k}: property {name!r} has the shape {shape} for {n_atoms} "
                "atoms; give one row per atom"
            )
