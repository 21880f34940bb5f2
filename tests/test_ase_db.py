"""Databases of ASE: what stands beside the atoms of a row is read with them."""

import gzip
import sqlite3

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_array_equal

from kernchem.errors import FileFormatError, StructureError
from kernchem.io import iread, read

NAMES = ("H2O", "CH4", "NH3")


@pytest.fixture(params=["known.db", "known.json"])
def path(request, tmp_path):
    return tmp_path / request.param


def fill(path, entries, names=NAMES):
    """Write one row per molecule, with its keys and its data."""
    with ase.db.connect(path) as database:
        for name, (keys, data) in zip(names, entries, strict=True):
            database.write(molecule(name), data=data, **keys)
    return path


def test_keys_and_data(path):
    sizes = [len(molecule(name)) for name in NAMES]
    charges = [np.arange(size) - 0.5 for size in sizes]
    entries = [
        (
            {"pbe": 0.5 * k, "level": "PBE", "converged": True},
            {"u0": -k, "dipole": [1.0, 2.0, k], "q": charges[k], "raw": {"a": [1]}, "label": "x"},
        )
        for k in range(3)
    ]
    data = read(fill(path, entries))
    assert set(data.properties) == {"pbe", "level", "converged", "u0", "dipole", "q", "label"}
    assert data.per_atom == {"q"}
    assert_array_equal(data["pbe"], [0.0, 0.5, 1.0])
    assert data["level"].tolist() == ["PBE"] * 3
    assert_array_equal(data["u0"], [0, -1, -2])
    assert_array_equal(data["dipole"], [[1, 2, 0], [1, 2, 1], [1, 2, 2]])
    assert_array_equal(data["q"], np.concatenate(charges))
    # The size of the batches decides nothing.
    batches = list(iread(path, batch=1))
    assert [batch.per_atom for batch in batches] == [{"q"}] * 3
    assert batches[0]["dipole"].shape == (1, 3)


def test_rows_without_a_key(path):
    data = read(fill(path, [({"pbe": 1.5}, {}), ({}, {"u0": 2.0}), ({"level": "PBE"}, {})]))
    assert_array_equal(data["pbe"], [1.5, np.nan, np.nan])
    assert_array_equal(data["u0"], [np.nan, 2.0, np.nan])
    assert data["level"].tolist() == ["", "", "PBE"]


def test_molecules_of_one_size_go_by_name_and_shape(path):
    entry = {"dipole": [0.0, 0.0, 1.0], "q_esp": [0.0, 0.5, -0.5], "field": np.ones((3, 3))}
    data = read(fill(path, [({}, entry)] * 2, ["H2O", "H2O"]))
    assert data.per_atom == {"q_esp", "field"}
    assert data["dipole"].shape == (2, 3)


def test_names_that_are_taken(path):
    """What the row holds itself, as atoms, results or keys, is not replaced."""
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((3, 3)))
    data = {"energy": 5.0, "forces": np.zeros((3, 3)), "positions": np.zeros((3, 3)), "pbe": 7.0}
    with ase.db.connect(path) as database:
        database.write(atoms, pbe=0.5, multiplicity=3, data={**data, "charge": 1})
    found = read(path)
    assert (found["energy"], found["pbe"]) == (-1.0, 0.5)
    assert_array_equal(found["forces"], np.ones((3, 3)))
    assert_array_equal(found.positions, atoms.positions)
    assert (found[0].charge, found[0].multiplicity) == (1.0, 3)
    assert set(found.properties) == {"energy", "forces", "pbe"}


def test_errors_name_file_and_row(path):
    fill(path, [({}, {}), ({}, {}), ({"multiplicity": 1.5}, {})])
    ase.db.connect(path).delete([1])
    with pytest.raises(StructureError, match=rf"{path.name}, row 3: structure 1: .*multiplicity"):
        read(path)
    ase.db.connect(path).delete([3])
    ase.db.connect(path).write(ase.Atoms("H2"))
    with pytest.raises(StructureError, match=rf"{path.name}, row 4: structure 1: atoms 0 and 1"):
        read(path)


def test_what_is_per_atom_in_some_rows_only_is_kept_row_by_row(path):
    values = [1.0, [1.0] * 5, [2.0] * 4]
    data = read(fill(path, [({}, {"q": value}) for value in values]))
    assert data.per_atom == set()
    assert [np.asarray(value).tolist() for value in data["q"]] == values


def test_a_packed_database(tmp_path):
    path = fill(tmp_path / "known.json", [({"pbe": k}, {}) for k in range(3)])
    (tmp_path / "known.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert_array_equal(read(tmp_path / "known.json.gz")["pbe"], [0, 1, 2])


def test_a_database_of_any_name(tmp_path):
    fill(tmp_path / "known.db", [({"pbe": k}, {}) for k in range(3)]).rename(tmp_path / "known.x")
    assert_array_equal(read(tmp_path / "known.x", format="db")["pbe"], [0, 1, 2])


def test_damaged_databases(tmp_path):
    content = fill(tmp_path / "known.db", [({}, {})] * 3).read_bytes()
    for damaged in (content[: len(content) // 2], content[:100] + b"\xff" * 8000):
        (tmp_path / "bad.db").write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"bad\.db: ASE cannot read it as 'db'"):
            read(tmp_path / "bad.db")


def test_a_database_of_another_program_stays_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE results (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(FileFormatError, match="no table of structures"):
        read(path)
    assert path.read_bytes() == before
