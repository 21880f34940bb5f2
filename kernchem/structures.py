"""Batches of molecules and materials as flat arrays.

:class:`Structures` is the one container behind every descriptor and estimator. It indexes like a
sequence in scikit-learn's eyes, converts from and to :class:`ase.Atoms`, and is checked once, when
it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from kernchem._columns import (
    as_column,
    atom_column,
    check_names,
    frozen,
    objects,
    rectangular,
    value_column,
)
from kernchem._ragged import Ragged
from kernchem._validation import real_numbers, short, truth_values, whole_numbers
from kernchem.errors import PropertyError, StructureError
from kernchem.neighbors import find_contact, find_flat_cell
from kernchem.structure import Structure, check_arrays, structure_from_ase

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["MIN_DISTANCE", "Structures", "as_structures"]

#: Atoms nearer than this (angstrom) are taken for a broken file.
MIN_DISTANCE = 0.1

_CURE = (
    "pass a kernchem.Structures, ase.Atoms or a list of them, or a file read by kernchem.read(path)"
)


class Structures(Ragged[Structure]):
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
        Spin multiplicities 2S + 1; 0 where none is known.
    properties : dict of array (n, ...), optional
        Values per structure.
    atom_properties : dict of array (n_atoms, ...), optional
        Values per atom, under other names than ``numbers`` and ``positions``.

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
        If a property has the wrong length, or a name that it cannot have.

    Examples
    --------
    >>> from ase.build import molecule
    >>> batch = Structures.from_ase([molecule("H2O"), molecule("CH4")])
    >>> batch
    Structures(2 structures, 8 atoms, elements H C O)
    >>> batch[0].formula, batch[1:].numbers.tolist()
    ('H2O', [6, 1, 1, 1, 1])
    """

    _selectors = ", or by a property's name"
    _not_numbers = (
        "structures are not numbers: put a descriptor before an estimator that works on arrays, "
        "e.g. make_pipeline(CoulombMatrix(), estimator)"
    )

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
        self.numbers = frozen(whole_numbers(numbers, "numbers"))
        self.positions: npt.NDArray[np.float64] = frozen(real_numbers(positions, "positions"))
        self.offsets = frozen(whole_numbers(offsets, "offsets"))
        self.cells: npt.NDArray[np.float64] | None = None
        self.pbc: npt.NDArray[np.bool_] | None = None
        if cells is not None:
            self.cells = frozen(real_numbers(cells, "cells"))
            nowhere = np.zeros((*self.cells.shape[:1], 3), dtype=bool)
            self.pbc = frozen(nowhere if pbc is None else truth_values(pbc, "pbc"))
        elif pbc is not None and truth_values(pbc, "pbc").any():
            raise StructureError("pbc was given without cells; pass cells of shape (n, 3, 3) too")
        self.charge = None if charge is None else frozen(real_numbers(charge, "charge"))
        self.multiplicity = (
            None if multiplicity is None else frozen(whole_numbers(multiplicity, "multiplicity"))
        )
        per_structure = {k: frozen(as_column(v, k)) for k, v in (properties or {}).items()}
        per_atom = {k: frozen(as_column(v, k)) for k, v in (atom_properties or {}).items()}
        check_names(per_atom)
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
            setattr(self, name, value if value is None else frozen(value))
        self.per_atom = frozenset(fields["per_atom"])
        properties = {name: frozen(values) for name, values in fields["properties"].items()}
        self.properties = MappingProxyType(properties)
        return self

    @classmethod
    def from_ase(cls, atoms: Atoms | Iterable[Atoms]) -> Structures:
        """Make a batch from :class:`ase.Atoms`.

        Properties come from ``info`` (per structure), ``arrays`` (per atom) and stored calculator
        results, under the names they have there; ``info["charge"]`` and ``info["multiplicity"]``
        become :attr:`charge` and :attr:`multiplicity`. Results that belong to other atoms, because
        these have moved since or share a calculator with others, are left out, as ASE itself does
        not give them away: ``atoms.calc.check_state(atoms)`` tells what differs. A number that some
        structures lack is NaN there, a text is empty; arrays that some structures lack or whose
        shapes differ are kept as an array of objects.

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
        if not (isinstance(numbers, Sized) and isinstance(positions, Sized)):
            raise StructureError(
                f"numbers is {short(numbers)} and positions {short(positions)}; both must be "
                "arrays, or lists of arrays"
            )
        per_structure_numbers = _rows_of_numbers(numbers, len(positions))
        if len(per_structure_numbers) != len(positions):
            raise StructureError(
                f"numbers holds {len(per_structure_numbers)} structures and positions "
                f"{len(positions)}; both must hold the same"
            )
        masks = [row != 0 for row in per_structure_numbers]

        def flat(blocks: Any, name: str) -> npt.NDArray[Any]:
            if not hasattr(blocks, "__len__"):
                raise PropertyError(
                    f"{name!r} is {short(blocks)}; it must be an array, or a list of arrays"
                )
            if len(blocks) != len(masks):
                raise PropertyError(
                    f"{name!r} holds {len(blocks)} structures where there are {len(masks)}"
                )
            kept = []
            for k, (block, mask) in enumerate(zip(blocks, masks, strict=True)):
                rows = rectangular(block, name)
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
        """Join batches; properties that some of them lack are filled as :meth:`from_ase` does.

        Parameters
        ----------
        batches : sequence of Structures
            In the order in which they are joined.

        Returns
        -------
        Structures
            All structures; the batch itself if there is only one.
        """
        batches = [as_structures(batch) for batch in batches]
        if len(batches) == 1:
            return batches[0]
        ragged = {
            name
            for batch in batches
            for name, values in batch.properties.items()
            if values.dtype == object
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
            check_arrays(item, k)
        cells = pbc = None
        if any(item.cell is not None for item in items):
            empty, nowhere = np.zeros((3, 3)), np.zeros(3, dtype=bool)
            cells = np.array([empty if item.cell is None else item.cell for item in items])
            pbc = np.array([nowhere if item.pbc is None else item.pbc for item in items])
        charge = multiplicity = None
        if any(item.charge is not None for item in items):
            charge = [0.0 if item.charge is None else item.charge for item in items]
        if any(item.multiplicity is not None for item in items):
            multiplicity = [0 if item.multiplicity is None else item.multiplicity for item in items]
        names = list(dict.fromkeys(name for item in items for name in item.properties))
        properties = {}
        for name in names:
            values = [item.properties.get(name) for item in items]
            properties[name] = objects(values) if name in ragged else value_column(values)
        atom_names = list(dict.fromkeys(name for item in items for name in item.atom_properties))
        atom_properties = {}
        for name in atom_names:
            if name in properties:
                raise PropertyError(
                    f"property {name!r} is per structure in one place and per atom in another; "
                    "rename one"
                )
            blocks = [
                rectangular(item.atom_properties[name], name)
                if name in item.atom_properties
                else None
                for item in items
            ]
            column = atom_column(blocks, [len(item.numbers) for item in items])
            if column is None:
                properties[name] = objects(blocks)
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
        """Return ASE's objects, with the properties in ``info`` and ``arrays``.

        Returns
        -------
        list of ase.Atoms
            New objects, in the same order.
        """
        return [item.to_ase() for item in self]

    # -- what scikit-learn and NumPy ask of a sequence of samples ------------------------------

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
        return super().__getitem__(key)

    def __contains__(self, item: object) -> bool:
        return item in self.properties if isinstance(item, str) else super().__contains__(item)

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

    def _selection(
        self,
        rows: npt.NDArray[np.int64],
        atoms: npt.NDArray[np.int64],
        offsets: npt.NDArray[np.int64],
    ) -> Structures:
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

    def _single(self, row: int, atoms: slice) -> Structure:
        return Structure(
            self.numbers[atoms],
            self.positions[atoms],
            cell=None if self.cells is None else self.cells[row],
            pbc=None if self.pbc is None else self.pbc[row],
            charge=None if self.charge is None else float(self.charge[row]),
            # None where it is 0: another structure of the batch has one.
            multiplicity=None if self.multiplicity is None else int(self.multiplicity[row]) or None,
            properties={k: v[row] for k, v in self.properties.items() if k not in self.per_atom},
            atom_properties={name: self.properties[name][atoms] for name in sorted(self.per_atom)},
        )

    # -- checks ---------------------------------------------------------------------------------

    def _check(self) -> None:
        self._check_shapes()
        self._check_numbers()
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
        if self.multiplicity is not None and (self.multiplicity < 0).any():
            k = int(np.flatnonzero(self.multiplicity < 0)[0])
            raise StructureError(
                f"structure {k}: multiplicity holds {self.multiplicity[k]}; it is 2S + 1, from 1 "
                "on, and 0 where none is known"
            )
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
        k = find_flat_cell(self.cells, self.pbc, 2.0 * MIN_DISTANCE)
        if k is not None:
            raise StructureError(
                f"structure {k}: the cell {self.cells[k].tolist()} does not span the periodic "
                f"axes {self.pbc[k].tolist()}: a vector is zero, lies in the plane of the others "
                f"or spans less than {2.0 * MIN_DISTANCE} angstrom; mend the cell or set pbc to "
                "False"
            )

    def _check_shapes(self) -> None:
        self._check_offsets()
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
        return structure_from_ase(item, k)
    raise StructureError(f"item {k} is {short(item)}, not a structure; {_CURE}")


def _each(X: Any) -> Iterable[Any]:
    """Return samples one by one; a single structure is the only one of its kind."""
    if isinstance(X, np.ndarray) and X.ndim == 0:
        X = X.item()
    if isinstance(X, Structure) or hasattr(X, "get_atomic_numbers"):
        return [X]
    if isinstance(X, str | bytes) or not isinstance(X, Iterable):
        raise StructureError(f"got {short(X)} where structures were expected; {_CURE}")
    return X


def _rebuild(fields: dict[str, Any]) -> Structures:
    # An array of objects forgets which of them were read-only.
    for name, values in fields["properties"].items():
        fields["properties"][name] = as_column(values, name) if values.dtype == object else values
    return Structures._unchecked(**fields)


def _rows_of_numbers(numbers: Any, n: int) -> list[npt.NDArray[np.int64]]:
    """Return atomic numbers per structure, one row shared by all ``n`` frames if there is one."""
    # As objects, rows of different lengths have a dimension too.
    if len(numbers) and np.asarray(numbers[0], dtype=object).ndim == 0:
        return [whole_numbers(numbers, "numbers")] * n
    return [whole_numbers(row, f"structure {k}: numbers") for k, row in enumerate(numbers)]
