"""Batches of molecules and materials as flat arrays.

:class:`Structures` is the one container behind every descriptor and estimator. It indexes like a
sequence in scikit-learn's eyes, converts from and to :class:`ase.Atoms`, and is checked once, when
it is made.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from kernchem.elements import MAX_ATOMIC_NUMBER, formula
from kernchem.errors import PropertyError, StructureError, UnknownElementError
from kernchem.neighbors import find_contact, find_flat_cell

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["MIN_DISTANCE", "Structure", "Structures", "as_structures"]

#: Atoms nearer than this (angstrom) are taken for a broken file.
MIN_DISTANCE = 0.1

_CURE = (
    "pass a kernchem.Structures, ase.Atoms or a list of them, or a file read by kernchem.read(path)"
)


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
        """Return a new :class:`ase.Atoms` with the properties in ``info`` and ``arrays``."""
        from ase import Atoms

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
        cell = None if self.cell is None else self.cell.tobytes()
        pbc = None if self.pbc is None else self.pbc.tobytes()
        numbers, positions = self.numbers.tobytes(), self.positions.tobytes()
        return numbers, positions, cell, pbc, self.charge, self.multiplicity

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Structure({self.formula}, {len(self.numbers)} atoms)"


class Structures(Sequence[Structure]):
    """Immutable batch of molecules or materials.

    The atoms of all structures lie behind each other in flat arrays; structure ``k`` owns the rows
    ``offsets[k]:offsets[k + 1]``. Indexing with a number gives a :class:`Structure`; with a slice,
    a mask or a list of numbers a new batch; with a property's name its array.

    Parameters
    ----------
    numbers : array (n_atoms,)
        Atomic numbers of all structures.
    positions : array (n_atoms, 3)
        Cartesian coordinates in angstrom.
    offsets : array (n + 1,)
        First row of each structure; ``offsets[0] = 0`` and ``offsets[n] = n_atoms``.
    cells : array (n, 3, 3), optional
        Cell vectors as rows, angstrom.
    pbc : array (n, 3), optional
        Which cell vectors are periodic; needs ``cells``.
    charge : array (n,), optional
        Total charges in elementary charges.
    multiplicity : array (n,), optional
        Spin multiplicities 2S + 1.
    properties : dict of array (n, ...), optional
        Values per structure.
    atom_properties : dict of array (n_atoms, ...), optional
        Values per atom.

    Attributes
    ----------
    properties : mapping of str to array
        Both kinds of properties under their names (read-only).
    per_atom : frozenset of str
        Names of the properties with one row per atom.

    Raises
    ------
    StructureError
        If coordinates are not finite, atoms coincide (nearer than 0.1 angstrom, also through a
        periodic image), the cell vectors of a periodic structure are zero or lie in a plane, a
        structure has no atoms or arrays do not fit; the message names the structure's index.
    UnknownElementError
        If an atomic number is not 1 to 118.
    PropertyError
        If a property has the wrong length.

    Examples
    --------
    >>> from ase.build import molecule
    >>> batch = Structures.from_ase([molecule("H2O"), molecule("CH4")])
    >>> batch
    Structures(2 structures, 8 atoms, elements H C O)
    >>> batch[0].formula, batch[1:].numbers.tolist()
    ('H2O', [6, 1, 1, 1, 1])
    """

    def __init__(
        self,
        numbers: npt.ArrayLike,
        positions: npt.ArrayLike,
        offsets: npt.ArrayLike,
        *,
        cells: npt.ArrayLike | None = None,
        pbc: npt.ArrayLike | None = None,
        charge: npt.ArrayLike | None = None,
        multiplicity: npt.ArrayLike | None = None,
        properties: Mapping[str, npt.ArrayLike] | None = None,
        atom_properties: Mapping[str, npt.ArrayLike] | None = None,
    ) -> None:
        self.numbers: npt.NDArray[np.int64] = _frozen(_integers(numbers, "numbers"))
        self.positions: npt.NDArray[np.float64] = _frozen(_floats(positions, "positions"))
        self.offsets: npt.NDArray[np.int64] = _frozen(_integers(offsets, "offsets"))
        self.cells: npt.NDArray[np.float64] | None = None
        self.pbc: npt.NDArray[np.bool_] | None = None
        if cells is not None:
            self.cells = _frozen(_floats(cells, "cells"))
            nowhere = np.zeros((*self.cells.shape[:1], 3), dtype=bool)
            self.pbc = _frozen(nowhere if pbc is None else np.array(pbc, dtype=bool))
        elif pbc is not None and np.any(pbc):
            raise StructureError("pbc was given without cells; pass cells of shape (n, 3, 3) too")
        self.charge = None if charge is None else _frozen(_floats(charge, "charge"))
        self.multiplicity = (
            None if multiplicity is None else _frozen(_integers(multiplicity, "multiplicity"))
        )
        per_structure = {k: _frozen(_as_column(v)) for k, v in (properties or {}).items()}
        per_atom = {k: _frozen(_as_column(v)) for k, v in (atom_properties or {}).items()}
        self.per_atom = frozenset(per_atom)
        self.properties: Mapping[str, npt.NDArray[Any]] = MappingProxyType(per_structure | per_atom)
        both = self.per_atom.intersection(per_structure)
        if both:
            raise PropertyError(
                f"property {min(both)!r} was given per structure and per atom; rename one"
            )
        self._check()

    @classmethod
    def _unchecked(cls, **fields: Any) -> Structures:
        """Make a batch out of arrays that came out of another batch."""
        self = object.__new__(cls)
        for name in ("numbers", "positions", "offsets", "cells", "pbc", "charge", "multiplicity"):
            value = fields[name]
            setattr(self, name, value if value is None else _frozen(value))
        self.per_atom = frozenset(fields["per_atom"])
        properties = {name: _frozen(values) for name, values in fields["properties"].items()}
        self.properties = MappingProxyType(properties)
        return self

    @classmethod
    def from_ase(cls, atoms: Atoms | Iterable[Atoms]) -> Structures:
        """Make a batch from :class:`ase.Atoms`.

        Properties come from ``info`` (per structure), ``arrays`` (per atom) and stored calculator
        results, under the names they have there; ``info["charge"]`` and ``info["multiplicity"]``
        become :attr:`charge` and :attr:`multiplicity`. A number that some structures lack is NaN
        there, a text is empty; arrays that some structures lack or whose shapes differ are kept as
        an array of objects.

        Parameters
        ----------
        atoms : ase.Atoms or iterable of ase.Atoms
            At least one structure.

        Returns
        -------
        Structures
            A batch in the same order.

        Raises
        ------
        StructureError
            If an item is not :class:`ase.Atoms`, or as :class:`Structures` does.
        """
        return cls._from_items([_item_from(item, k) for k, item in enumerate(_each(atoms))])

    @classmethod
    def from_arrays(
        cls,
        numbers: npt.ArrayLike | Sequence[npt.ArrayLike],
        positions: npt.ArrayLike | Sequence[npt.ArrayLike],
        *,
        properties: Mapping[str, npt.ArrayLike] | None = None,
        atom_properties: Mapping[str, Any] | None = None,
        **optional: Any,
    ) -> Structures:
        """Make a batch from padded arrays, one molecule's frames, or lists of arrays.

        Parameters
        ----------
        numbers : array (n, m) padded with zeros, array (m,) shared by all frames, or list of arrays
            Atomic numbers.
        positions : array (n, m, 3) or list of arrays (m_k, 3)
            Angstrom; rows where ``numbers`` is zero are dropped.
        properties : dict of array (n, ...), optional
            Values per structure.
        atom_properties : dict of array (n, m, ...) or list of arrays (m_k, ...), optional
            Values per atom, laid out as ``positions``.
        **optional
            ``cells``, ``pbc``, ``charge`` and ``multiplicity`` as in :class:`Structures`.

        Returns
        -------
        Structures
            A batch in the same order.
        """
        per_structure_numbers = _rows_of_numbers(numbers, len(positions))  # type: ignore[arg-type]
        if len(per_structure_numbers) != len(positions):  # type: ignore[arg-type]
            raise StructureError(
                f"numbers holds {len(per_structure_numbers)} structures and positions "
                f"{len(positions)}; both must hold the same"  # type: ignore[arg-type]
            )
        masks = [row != 0 for row in per_structure_numbers]

        def flat(blocks: Any, name: str) -> npt.NDArray[Any]:
            if len(blocks) != len(masks):
                raise PropertyError(
                    f"{name!r} holds {len(blocks)} structures where there are {len(masks)}"
                )
            kept = []
            for k, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
                rows = np.asarray(block)
                if rows.ndim == 0 or len(rows) != len(mask):
                    raise StructureError(
                        f"structure {k}: {name!r} has shape {rows.shape} but the structure has "
                        f"{len(mask)} atoms; give one row per atom"
                    )
                kept.append(rows[mask])
            return np.concatenate(kept) if kept else np.zeros((0, 3))

        sizes = [int(mask.sum()) for mask in masks]
        return cls(
            np.concatenate(
                [row[mask] for row, mask in zip(per_structure_numbers, masks, strict=True)]
            )
            if masks
            else np.zeros(0, dtype=np.int64),
            flat(positions, "positions"),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            properties=properties,
            atom_properties={k: flat(v, k) for k, v in (atom_properties or {}).items()},
            **optional,
        )

    @classmethod
    def concatenate(cls, batches: Sequence[Structures]) -> Structures:
        """Join batches; properties that some of them lack are filled as :meth:`from_ase` does."""
        if len(batches) == 1:
            return batches[0]
        ragged = {
            name
            for batch in batches
            for name, values in batch.properties.items()
            if values.dtype == object and name not in batch.per_atom
        }
        return cls._from_items([item for batch in batches for item in batch], ragged)

    @classmethod
    def _from_items(
        cls, items: Sequence[Structure], ragged: AbstractSet[str] = frozenset()
    ) -> Structures:
        """Make a checked batch from single structures.

        Properties named in ``ragged`` stay arrays of objects even if all shapes agree.
        """
        n = len(items)
        for k, item in enumerate(items):
            _check_item(item, k)
        cells = pbc = None
        if any(item.cell is not None for item in items):
            empty, nowhere = np.zeros((3, 3)), np.zeros(3, dtype=bool)
            cells = np.array([empty if item.cell is None else item.cell for item in items])
            pbc = np.array([nowhere if item.pbc is None else item.pbc for item in items])
        charge = multiplicity = None
        if any(item.charge is not None for item in items):
            charge = np.array([item.charge or 0.0 for item in items])
        if any(item.multiplicity is not None for item in items):
            multiplicity = np.array([item.multiplicity or 1 for item in items])
        names = list(dict.fromkeys(name for item in items for name in item.properties))
        properties = {}
        for name in names:
            values = [item.properties.get(name) for item in items]
            properties[name] = _objects(values) if name in ragged else _column(values)
        atom_names = list(dict.fromkeys(name for item in items for name in item.atom_properties))
        atom_properties = {}
        for name in atom_names:
            if name in properties:
                raise PropertyError(
                    f"property {name!r} is per structure in one place and per atom in another; "
                    "rename one"
                )
            blocks = [item.atom_properties.get(name) for item in items]
            column = _atom_column(blocks, [len(item.numbers) for item in items])
            if column is None:
                properties[name] = _objects(blocks)
            else:
                atom_properties[name] = column
        sizes = [len(item.numbers) for item in items]
        return cls(
            np.concatenate([item.numbers for item in items]) if n else np.zeros(0, dtype=np.int64),
            np.concatenate([item.positions for item in items]) if n else np.zeros((0, 3)),
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            cells=cells,
            pbc=pbc,
            charge=charge,
            multiplicity=multiplicity,
            properties=properties,
            atom_properties=atom_properties,
        )

    def to_ase(self) -> list[Atoms]:
        """Return a list of new :class:`ase.Atoms`."""
        return [item.to_ase() for item in self]

    # -- what scikit-learn and NumPy ask of a sequence of samples ------------------------------

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def shape(self) -> tuple[int]:
        """Number of structures, as a shape."""
        return (len(self),)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of atoms of each structure, array (n,)."""
        return np.diff(self.offsets)

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, ascending."""
        return tuple(int(number) for number in np.unique(self.numbers))

    @overload
    def __getitem__(self, key: int) -> Structure: ...
    @overload
    def __getitem__(self, key: str) -> npt.NDArray[Any]: ...
    @overload
    def __getitem__(
        self, key: slice | Sequence[int] | npt.NDArray[Any] | tuple[Any, ...]
    ) -> Structures: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._property(key)
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]
        if isinstance(key, slice):
            return self._take(np.arange(len(self))[key])
        try:
            index = operator.index(key)
        except TypeError:
            return self._take(self._rows(key))
        return self._item(index)

    def __iter__(self) -> Iterator[Structure]:
        return (self._item(index) for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[np.object_]:
        if dtype is not None and np.dtype(dtype) != np.dtype(object):
            raise StructureError(
                "structures are not numbers: put a descriptor before an estimator that works on "
                "arrays, e.g. make_pipeline(CoulombMatrix(), estimator)"
            )
        return _objects(list(self))

    def __repr__(self) -> str:
        from kernchem.elements import symbol

        elements = " ".join(symbol(number) for number in self.elements)
        return f"Structures({len(self)} structures, {len(self.numbers)} atoms, elements {elements})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._fields(),)

    def _fields(self) -> dict[str, Any]:
        names = ("numbers", "positions", "offsets", "cells", "pbc", "charge", "multiplicity")
        fields: dict[str, Any] = {name: getattr(self, name) for name in names}
        # The order of a set differs between processes, and with it joblib's hash.
        fields["per_atom"] = tuple(sorted(self.per_atom))
        fields["properties"] = dict(self.properties)
        return fields

    def _property(self, name: str) -> npt.NDArray[Any]:
        try:
            return self.properties[name]
        except KeyError:
            known = ", ".join(sorted(self.properties)) or "none"
            raise PropertyError(
                f"there is no property {name!r}; the structures carry: {known}"
            ) from None

    def _rows(self, key: Any) -> npt.NDArray[np.int64]:
        rows = np.asarray(key)
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(
                    f"a mask of shape {rows.shape} cannot select from {len(self)} structures"
                )
            return np.flatnonzero(rows)
        if rows.size == 0:
            return np.zeros(0, dtype=np.int64)
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise IndexError(
                "structures are selected by a number, a slice, a mask, a list of numbers, or a "
                f"property's name; got {key!r}"
            )
        n = len(self)
        if rows.min() < -n or rows.max() >= n:
            wrong = rows.max() if rows.max() >= n else rows.min()
            raise IndexError(f"index {wrong} is out of range for {n} structures")
        return rows.astype(np.int64) % n

    def _take(self, rows: npt.NDArray[np.int64]) -> Structures:
        starts, sizes = self.offsets[rows], self.sizes[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        atoms = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], sizes)

        def at(values: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
            return None if values is None else values[rows]

        return Structures._unchecked(
            numbers=self.numbers[atoms],
            positions=self.positions[atoms],
            offsets=offsets,
            cells=at(self.cells),
            pbc=at(self.pbc),
            charge=at(self.charge),
            multiplicity=at(self.multiplicity),
            per_atom=self.per_atom,
            properties={
                name: values[atoms if name in self.per_atom else rows]
                for name, values in self.properties.items()
            },
        )

    def _item(self, index: int) -> Structure:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"index {index} is out of range for {n} structures")
        index %= n
        atoms = slice(self.offsets[index], self.offsets[index + 1])
        return Structure(
            self.numbers[atoms],
            self.positions[atoms],
            cell=None if self.cells is None else self.cells[index],
            pbc=None if self.pbc is None else self.pbc[index],
            charge=None if self.charge is None else float(self.charge[index]),
            multiplicity=None if self.multiplicity is None else int(self.multiplicity[index]),
            properties={k: v[index] for k, v in self.properties.items() if k not in self.per_atom},
            atom_properties={name: self.properties[name][atoms] for name in sorted(self.per_atom)},
        )

    # -- checks ---------------------------------------------------------------------------------

    def _check(self) -> None:
        self._check_shapes()
        bad = np.flatnonzero((self.numbers < 1) | (self.numbers > MAX_ATOMIC_NUMBER))
        if len(bad):
            k, i = self._locate(bad[0])
            raise UnknownElementError(
                f"structure {k}: atom {i} has atomic number {self.numbers[bad[0]]}, which is no "
                f"element; use 1 (H) to {MAX_ATOMIC_NUMBER}"
            )
        bad = np.flatnonzero(~np.isfinite(self.positions).all(axis=1))
        if len(bad):
            k, i = self._locate(bad[0])
            raise StructureError(
                f"structure {k}: atom {i} has the position {self.positions[bad[0]]}; every "
                "coordinate must be a finite number in angstrom: mend or drop this structure"
            )
        for name in ("cells", "charge"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                k = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise StructureError(f"structure {k}: {name} holds {values[k]}; it must be finite")
        self._check_cells()
        contact = find_contact(self.positions, self.offsets, MIN_DISTANCE, self.cells, self.pbc)
        if contact is not None:
            k, i, j = contact
            raise StructureError(
                f"structure {k}: atoms {i} and {j} are nearer than {MIN_DISTANCE} angstrom; "
                "positions are in angstrom, and no two atoms may coincide: mend or drop it"
            )

    def _check_cells(self) -> None:
        if self.cells is None or self.pbc is None:
            return
        k = find_flat_cell(self.cells, self.pbc, MIN_DISTANCE)
        if k is not None:
            raise StructureError(
                f"structure {k}: the cell {self.cells[k].tolist()} does not span the periodic "
                f"axes {self.pbc[k].tolist()}: a vector is zero, lies in the plane of the others "
                f"or spans less than {MIN_DISTANCE} angstrom; mend the cell or set pbc to False"
            )

    def _check_shapes(self) -> None:
        if self.offsets.ndim != 1 or len(self.offsets) == 0 or self.offsets[0] != 0:
            raise StructureError("offsets must be a 1-D array that starts with 0")
        empty = np.flatnonzero(np.diff(self.offsets) <= 0)
        if len(empty):
            raise StructureError(
                f"structure {int(empty[0])} has no atoms; drop it before making the batch"
            )
        n, n_atoms = len(self), int(self.offsets[-1])
        expected = [
            ("numbers", self.numbers, (n_atoms,)),
            ("positions", self.positions, (n_atoms, 3)),
            ("cells", self.cells, (n, 3, 3)),
            ("pbc", self.pbc, (n, 3)),
            ("charge", self.charge, (n,)),
            ("multiplicity", self.multiplicity, (n,)),
        ]
        for name, values, shape in expected:
            if values is not None and values.shape != shape:
                raise StructureError(
                    f"{name} has shape {values.shape}, expected {shape} for {n} structures with "
                    f"{n_atoms} atoms in all"
                )
        for name, values in self.properties.items():
            rows, kind = (n_atoms, "atoms") if name in self.per_atom else (n, "structures")
            if len(values) != rows:
                raise PropertyError(
                    f"property {name!r} has {len(values)} rows for {rows} {kind}; "
                    f"give one row for each"
                )

    def _locate(self, atom: np.int64) -> tuple[int, int]:
        """Return the structure that owns a row, and the atom's number within it."""
        k = int(np.searchsorted(self.offsets, atom, side="right")) - 1
        return k, int(atom - self.offsets[k])


def as_structures(X: Any) -> Structures:
    """Return ``X`` as :class:`Structures`; the one border where other inputs are accepted.

    Parameters
    ----------
    X : Structures, Structure, ase.Atoms, or a sequence or object array of the latter two
        What a user passed as samples.

    Returns
    -------
    Structures
        ``X`` itself if it is a batch already.

    Raises
    ------
    StructureError
        If ``X`` or one of its items is none of these; the message names the item's index.
    """
    if isinstance(X, Structures):
        return X
    return Structures._from_items([_item_from(item, k) for k, item in enumerate(_each(X))])


def _item_from(item: Any, k: int) -> Structure:
    if isinstance(item, Structure):
        return item
    if hasattr(item, "get_atomic_numbers"):
        return _item_from_ase(item, k)
    raise StructureError(f"item {k} is {_short(item)}, not a structure; {_CURE}")


def _check_item(item: Structure, k: int) -> None:
    """Raise if the arrays of one structure do not fit each other."""
    n_atoms = len(item.numbers)
    if np.shape(item.positions) != (n_atoms, 3):
        raise StructureError(
            f"structure {k}: positions have the shape {np.shape(item.positions)}, expected "
            f"{(n_atoms, 3)} for its {n_atoms} atomic numbers"
        )
    for name, values in item.atom_properties.items():
        if np.ndim(values) == 0 or len(values) != n_atoms:
            raise PropertyError(
                f"structure {k}: property {name!r} has the shape {np.shape(values)} for {n_atoms} "
                "atoms; give one row per atom"
            )


def _each(X: Any) -> Iterable[Any]:
    """Return samples one by one; a single structure is the only one of its kind."""
    if isinstance(X, Structure) or hasattr(X, "get_atomic_numbers"):
        return [X]
    if isinstance(X, str | bytes) or not isinstance(X, Iterable):
        raise StructureError(f"got {_short(X)} where structures were expected; {_CURE}")
    return X


def _short(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def _rebuild(fields: dict[str, Any]) -> Structures:
    return Structures._unchecked(**fields)


def _item_from_ase(atoms: Atoms, k: int = 0) -> Structure:
    info = {str(name): value for name, value in atoms.info.items() if value is not None}
    charge, multiplicity = info.pop("charge", None), info.pop("multiplicity", None)
    for name, value in (("charge", charge), ("multiplicity", multiplicity)):
        whole = name == "charge" or value is None or value == np.floor(value)
        if value is not None and not (isinstance(value, int | float | np.number) and whole):
            raise StructureError(
                f"structure {k}: info[{name!r}] is {_short(value)}; it must be one number, "
                "whole for a multiplicity"
            )
    arrays = {k: v for k, v in atoms.arrays.items() if k not in {"numbers", "positions"}}
    results = getattr(atoms.calc, "results", None) or {}
    for name, value in results.items():
        if value is None:
            continue
        per_atom = name in {"forces", "charges", "magmoms", "energies", "stresses"}
        fits = np.ndim(value) > 0 and len(value) == len(atoms)
        (arrays if per_atom and fits else info)[name] = value
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


def _column(values: list[Any]) -> npt.NDArray[Any]:
    """Return one value per structure as an array; None marks a structure that has none."""
    present = [value for value in values if value is not None]
    if not present:
        return _objects(values)
    if all(isinstance(value, str) for value in present):
        return np.array(["" if value is None else value for value in values])
    try:
        arrays = [np.asarray(value) for value in present]
    except ValueError:  # nested lists of different lengths
        return _objects(values)
    same = len({array.shape for array in arrays}) == 1
    if not same or any(array.dtype.kind not in "biuf" for array in arrays):
        return _objects(values)
    if len(present) < len(values):
        hole = np.full(arrays[0].shape, np.nan)
        return np.array([hole if value is None else value for value in values], dtype=float)
    return np.array(values)


def _atom_column(
    blocks: list[npt.NDArray[Any] | None], sizes: list[int]
) -> npt.NDArray[Any] | None:
    """Return values per atom as one array; None if the blocks do not fit together."""
    present = [block for block in blocks if block is not None]
    if len({(block.shape[1:], block.dtype.kind) for block in present}) != 1:
        return None
    if len(present) == len(blocks):
        return np.concatenate(present)
    if present[0].dtype.kind not in "biuf":
        return None
    trailing = present[0].shape[1:]
    filled = [
        np.full((size, *trailing), np.nan) if block is None else block
        for block, size in zip(blocks, sizes, strict=True)
    ]
    return np.concatenate(filled)


def _objects(values: list[Any]) -> npt.NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    for k, value in enumerate(values):
        column[k] = value
    return column


def _rows_of_numbers(numbers: Any, n: int) -> list[npt.NDArray[np.int64]]:
    """Return atomic numbers per structure, one row shared by all ``n`` frames if there is one."""
    if len(numbers) and np.ndim(numbers[0]) == 0:
        return [_integers(numbers, "numbers")] * n
    return [_integers(row, "numbers") for row in numbers]


def _integers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    whole = array.size == 0 or np.issubdtype(array.dtype, np.integer)
    if not whole and array.dtype.kind == "f":
        whole = bool((np.isfinite(array) & (array == np.floor(array))).all())
    if not whole:
        raise StructureError(f"{name} must hold whole numbers; got {_short(values)}")
    return np.array(array, dtype=np.int64)


def _floats(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise StructureError(
            f"{name} must be one rectangular array of numbers; got {_short(values)}. Lists of "
            "arrays of different lengths go through Structures.from_arrays"
        ) from None


def _as_column(values: npt.ArrayLike) -> npt.NDArray[Any]:
    array = np.array(values)
    return array if array.ndim else array[None]


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array
