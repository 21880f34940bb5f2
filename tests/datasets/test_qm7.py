"""QM7 and QM7b from files of the published layout."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from ase.build import molecule
from ase.units import Hartree, kcal, mol
from numpy.testing import assert_allclose, assert_array_equal
from published import (
    BOHR,
    QM7_NAMES,
    QM7B_NAMES,
    coulomb_matrix,
    mat,
    padded,
    qm7_arrays,
    qm7b_arrays,
)

from kernchem import datasets
from kernchem.datasets import fetch_qm7, fetch_qm7b, matlab, qm7
from kernchem.errors import DatasetError, FileFormatError, KernchemError, SettingError
from kernchem.structures import Structures

LOADERS = [(fetch_qm7, "QM7", qm7_arrays), (fetch_qm7b, "QM7B", qm7b_arrays)]


@pytest.fixture
def given(tmp_path):
    """Write a file, return its path."""

    def given(content):
        path = tmp_path / "given.mat"
        path.write_bytes(content if isinstance(content, bytes) else mat(content))
        return path

    return given


def distances(positions):
    return np.linalg.norm(positions[:, None] - positions, axis=2)


# -- both ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loader", "name", "arrays"), LOADERS)
def test_downloaded_once(loader, name, arrays, server, monkeypatch):
    server.files["data"] = mat(arrays())
    here = replace(getattr(qm7, name), url=server.url("data"), size=None)
    monkeypatch.setattr(qm7, name, here)
    data = loader()
    server.shutdown()
    again = loader()
    assert len(server.requests) == 1
    assert list(again) == list(data)
    for label in data.properties:
        assert_array_equal(again[label], data[label])
    here.path.write_bytes(mat(arrays(), do_compression=True))
    with pytest.raises(DatasetError, match=f"delete {here.path} and fetch again"):
        loader()


@pytest.mark.parametrize(("loader", "name", "arrays"), LOADERS)
@pytest.mark.parametrize("compressed", [True, False])
def test_compressed_and_plain(loader, name, arrays, compressed, given):
    data = loader(path=str(given(mat(arrays(), do_compression=compressed))))
    assert len(data) == len(arrays()["X"])


@pytest.mark.parametrize(("loader", "name", "arrays"), LOADERS)
def test_wrong_arguments(loader, name, arrays, given):
    with pytest.raises(SettingError, match="unit='kcal'"):
        loader(path=given(arrays()), unit="kcal")
    with pytest.raises(FileNotFoundError):
        loader(path="nothing.mat")
    with pytest.raises(FileFormatError, match="is a folder; give the published file"):
        loader(path=Path(__file__).parent)


@pytest.mark.parametrize(("loader", "name", "arrays"), LOADERS)
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "it does not begin with 'MATLAB 5.0 MAT-file'"),
        (b"<!DOCTYPE html>" * 100, "it does not begin with"),
        (mat(qm7_arrays())[:-1], "it is cut short"),
        (mat(qm7_arrays())[:133], "it is cut short|there is no"),
        (mat({"A": np.zeros(3)}), "there is no array '.' of real numbers in it; expected one"),
    ],
)
def test_other_files(loader, name, arrays, content, text, given):
    with pytest.raises(FileFormatError, match=rf"given\.mat: .*({text})"):
        loader(path=given(content))


@pytest.mark.parametrize(("loader", "name", "arrays"), LOADERS)
def test_a_bomb_is_not_unpacked(loader, name, arrays, given, monkeypatch):
    monkeypatch.setattr(matlab, "_LARGEST", 2**20)
    bomb = zlib.compress(bytes(2**24))
    header = mat({})[:128]
    assert len(bomb) < 2**15
    content = header + struct.pack("<II", 15, len(bomb)) + bomb
    with pytest.raises(FileFormatError, match="take more than 1048576 bytes"):
        loader(path=given(content))
    with pytest.raises(FileFormatError, match="cannot be read"):
        loader(path=given(header + struct.pack("<II", 15, 2**32 - 1) + bomb))


@pytest.mark.parametrize(("loader", "name", "arrays"), LOADERS)
def test_damage_in_a_compressed_array(loader, name, arrays, given):
    content = bytearray(mat(arrays(), do_compression=True))
    content[200:220] = bytes(20)
    with pytest.raises(FileFormatError, match="cannot be read"):
        loader(path=given(bytes(content)))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 3), (2, 3, 4)])
def test_reader_against_that_of_scipy(given, kind, shape, compressed):
    values = (np.arange(np.prod(shape)).reshape(shape) + 1).astype(kind)
    others = {"text": "some", "cells": np.array([1, "a"], dtype=object), "z": np.ones(2) * 1j}
    path = given(mat(others | {"a_name": values, "b": values[:1]}, do_compression=compressed))
    expected = scipy.io.loadmat(path)
    found = matlab.read_mat(path, {"a_name": shape, "b": ("n", *shape[1:])})
    for name in ("a_name", "b"):
        assert found[name].dtype == np.float64
        assert_array_equal(found[name], expected[name])


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [element(6, struct.pack("<II", 6, 0))],
        [element(6, struct.pack("<II", 6, 0)), element(5, struct.pack("<ii", 1, 1)),
         element(1, b"Z")],
        [element(6, struct.pack("<II", 6, 0)), element(5, struct.pack("<ii", 1, 1)),
         element(1, b"Z"), element(16, b"text")],
        [element(6, struct.pack("<II", 6, 0)), element(5, struct.pack("<ii", 1, 2)),
         element(1, b"Z"), element(9, bytes(8))],
        [element(6, struct.pack("<II", 6, 0)), element(5, struct.pack("<ii", -1, -1)),
         element(1, b"Z"), element(9, bytes(8))],
        [element(6, struct.pack("<II", 6, 0)), element(5, b""),
         element(1, b"Z"), element(9, bytes(8))],
        [element(6, struct.pack("<II", 6, 0)), element(5, b"abc"),
         element(1, b"Z"), element(9, bytes(8))],
        [element(6, struct.pack("<II", 6, 0)), element(5, struct.pack("<ii", 1, 1)),
         element(1, b"Z"), element(9, bytes(7))],
        [element(6, b"")[:8], element(5, struct.pack("<ii", 1, 1)),
         element(1, b"Z"), element(9, bytes(8))],
    ],
)  # fmt: skip
def test_arrays_that_are_none(given, parts):
    content = mat({})[:128] + element(14, b"".join(parts))
    with pytest.raises(FileFormatError, match=r"given\.mat: it cannot be read"):
        fetch_qm7(path=given(content))


def test_a_file_larger_than_the_published_ones(given, monkeypatch):
    monkeypatch.setattr(matlab, "_LARGEST", 1000)
    with pytest.raises(FileFormatError, match="larger than 1000 bytes"):
        fetch_qm7(path=given(qm7_arrays()))


@pytest.mark.parametrize("name", ["qm7", "qm7b"])
def test_entries(name):
    entry = datasets.get_dataset(name)
    loader = entry.loader
    names = [name for name, *_ in entry.properties]
    assert entry.target == names[0]
    assert all(f"``{name}``" in loader.__doc__ for name in names)
    assert entry.citation.isascii()
    assert entry.n_structures == {"qm7": 7165, "qm7b": 7211}[name]


# -- QM7 -------------------------------------------------------------------------------------------


def test_qm7_molecules_and_labels(given):
    data = fetch_qm7(path=given(qm7_arrays()))
    for item, name in zip(data, QM7_NAMES, strict=True):
        atoms = molecule(name)
        assert_array_equal(item.numbers, atoms.numbers)
        assert_allclose(item.positions, atoms.positions, atol=1e-6)
    assert_allclose(data["atomization_energy"], [-100.0 * k for k in range(1, 11)])
    assert data["fold"].tolist() == [0, 1, 2, 3, 4] * 2
    assert data["fold"].dtype == np.int64


@pytest.mark.parametrize(("unit", "factor"), [("eV", kcal / mol), ("Ha", kcal / mol / Hartree)])
def test_qm7_units(given, unit, factor):
    data = fetch_qm7(path=given(qm7_arrays()), unit=unit)
    assert_allclose(data["atomization_energy"][:2], np.array([-100.0, -200.0]) * factor)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"P": np.arange(10).reshape(5, 2) + 1}, "'P' holds other numbers than 0 to 9"),
        ({"P": np.zeros((5, 2))}, "'P' holds other numbers"),
        ({"P": np.arange(10).reshape(5, 2) + 0.5}, "'P' holds other numbers"),
        ({"P": np.arange(5).reshape(5, 1)}, "'P' holds other numbers"),
        ({"P": np.arange(10).reshape(2, 5)}, r"'P' has the shape \(2, 5\)"),
        ({"T": np.zeros((1, 9))}, r"'T' has the shape \(1, 9\)"),
        ({"T": np.full((1, 10), np.nan)}, "'T' holds a number that is not finite"),
        ({"T": np.array(["a" * 10])}, "no array 'T' of real numbers"),
        ({"R": np.zeros((10, 23, 2))}, r"'R' has the shape \(10, 23, 2\)"),
        ({"R": np.zeros((10, 23, 3))}, "structure 0: atoms 0 and 1 are nearer"),
        ({"Z": np.full((10, 23), 200.0)}, "atomic number 200"),
        ({"Z": np.full((10, 23), 0.5)}, "numbers"),
        ({"Z": np.zeros((10, 23))}, "structure 0 has no atoms"),
        ({"Z": np.zeros((0, 23)), "R": np.zeros((0, 23, 3))}, "'Z' has the shape"),
        ({"Z": {"a": 1.0}}, "no array 'Z' of real numbers"),
        ({"Z": np.array([["a", 1.0]], dtype=object)}, "no array 'Z' of real numbers"),
        ({"Z": 1j * np.ones((10, 23))}, "no array 'Z' of real numbers"),
    ],
)
def test_qm7_damaged(given, changes, text):
    with pytest.raises(KernchemError, match=text) as caught:
        fetch_qm7(path=given(qm7_arrays() | changes))
    assert "given.mat: " in str(caught.value)


def test_qm7_against_another_copy(reference_data, given):
    """The published layout, filled with molecules of an independent copy of QM7."""
    with np.load(reference_data / "qm7" / "qm7.npz") as archive:
        numbers, positions = archive["Z"][:20].astype(float), archive["R"][:20]
        energies = archive["e_pbe0"][:20]
    molecules = list(zip(numbers, positions / BOHR, strict=True))
    arrays = {
        "X": np.array([coulomb_matrix(*m) for m in molecules], dtype=np.float32),
        "R": (positions / BOHR).astype(np.float32),
        "Z": numbers.astype(np.float32),
        "T": energies.astype(np.float32)[None],
        "P": np.arange(20).reshape(5, 4),
    }
    data = fetch_qm7(path=given(arrays))
    assert_allclose(data["atomization_energy"], energies, rtol=1e-6)
    for item, z, r in zip(data, numbers, positions, strict=True):
        assert_array_equal(item.numbers, z[z > 0])
        assert_allclose(item.positions, r[z > 0], atol=1e-5)
    labels = np.zeros((20, 14))
    rebuilt = fetch_qm7b(path=given({"X": arrays["X"], "T": labels}))
    for item, other in zip(rebuilt, data, strict=True):
        assert_array_equal(item.numbers, other.numbers)
        assert_allclose(distances(item.positions), distances(other.positions), atol=2e-5)


# -- QM7b ------------------------------------------------------------------------------------------


def test_qm7b_distances_are_those_of_the_molecules(given):
    data = fetch_qm7b(path=given(qm7b_arrays()))
    for item, name in zip(data, QM7B_NAMES, strict=True):
        atoms = molecule(name)
        assert_array_equal(item.numbers, atoms.numbers)
        assert_allclose(distances(item.positions), atoms.get_all_distances(), atol=2e-5)
        assert_allclose(item.positions.mean(axis=0), 0.0, atol=1e-6)


def test_qm7b_molecules_of_one_and_two_atoms(given):
    names = ["H2", "Ne"]
    atoms = {"H2": ([1.0, 1.0], [[0, 0, 0], [0, 0, 1.4]]), "Ne": ([10.0], [[0, 0, 0]])}
    matrices = np.zeros((2, 23, 23))
    for k, name in enumerate(names):
        small = coulomb_matrix(*(np.array(values, dtype=float) for values in atoms[name]))
        matrices[k, : len(small), : len(small)] = small
    data = fetch_qm7b(path=given({"X": matrices, "T": np.zeros((2, 14))}))
    assert [item.formula for item in data] == ["H2", "Ne"]
    assert_allclose(distances(data[0].positions)[0, 1], 1.4 * BOHR)


def test_qm7b_chiral_molecules_up_to_their_mirror_image(given):
    hand = molecule("CH3CHO")
    hand.positions[4] += [0.3, 0.4, 0.5]
    mirrored = hand.copy()
    mirrored.positions[:, 0] *= -1
    matrices = np.zeros((2, 23, 23))
    for k, atoms in enumerate((hand, mirrored)):
        n = len(atoms)
        matrices[k, :n, :n] = coulomb_matrix(atoms.numbers.astype(float), atoms.positions / BOHR)
    first, second = fetch_qm7b(path=given({"X": matrices, "T": np.zeros((2, 14))}))
    assert_allclose(first.positions, second.positions, atol=1e-5)
    for axis in first.positions.T:
        assert axis[np.abs(axis).argmax()] > 0
    assert_allclose(distances(first.positions), hand.get_all_distances(), atol=1e-5)


def test_qm7b_labels_and_units(given):
    path = given(qm7b_arrays())
    data, in_ev = fetch_qm7b(path=path), fetch_qm7b(path=path, unit="eV")
    names = [name for name, *_ in qm7.QM7B_COLUMNS]
    assert set(data.properties) == set(names)
    published = np.arange(len(data) * 14.0).reshape(-1, 14)
    in_kcal = 1.0 / (kcal / mol)
    assert_allclose(data["aepbe0"], published[:, 0])
    assert_allclose(in_ev["aepbe0"], published[:, 0] * (kcal / mol))
    for k, name in enumerate(names):
        if k in {2, 12, 13}:  # an intensity, two polarisabilities
            assert_array_equal(data[name], published[:, k])
            assert_array_equal(in_ev[name], published[:, k])
        elif k:
            assert_allclose(data[name], published[:, k] * in_kcal)
            assert_array_equal(in_ev[name], published[:, k])
    assert names[3] == "zindo-homo"
    assert names[9:12] == ["ks-lumo", "gw-homo", "gw-lumo"]


def broken(change, k=1):
    arrays = qm7b_arrays(QM7B_NAMES[:3])
    matrices = arrays["X"].astype(float)
    change(matrices[k])
    return arrays | {"X": matrices}


def stretch(matrix):
    matrix[0, 5] *= 0.5
    matrix[5, 0] *= 0.5


def one_sided(matrix):
    matrix[5, 0] *= 0.9


def far(matrix):
    matrix[0, 1] = matrix[1, 0] = 1e-300


def set_to(row, column, value):
    def change(matrix):
        matrix[row, column] = value

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (stretch, r"structure 1 \(C2H6\): its Coulomb matrix belongs to no arrangement"),
        (one_sided, "belongs to no arrangement"),
        (far, "belongs to no arrangement"),
        (set_to(0, 0, 40.0), r"structure 1: the diagonal \[40\.0, "),
        (set_to(0, 0, 1e300), "structure 1: the diagonal"),
        (set_to(0, 1, -1.0), "structure 1: expected a Coulomb matrix"),
        (set_to(0, 1, 0.0), "structure 1: expected a Coulomb matrix"),
        (set_to(22, 22, 0.5), "structure 1: expected a Coulomb matrix"),
        (set_to(22, 0, 0.5), "structure 1: expected a Coulomb matrix"),
        (set_to(slice(None), slice(None), 0.0), "structure 1: expected a Coulomb matrix"),
        (set_to(0, 1, np.inf), "'X' holds a number that is not finite"),
    ],
)
def test_qm7b_damaged(given, change, text):
    with pytest.raises(KernchemError, match=text) as caught:
        fetch_qm7b(path=given(broken(change)))
    assert "given.mat: " in str(caught.value)


def test_qm7b_rounding_of_the_file_is_no_damage(given):
    arrays = qm7b_arrays()
    noisy = arrays["X"] * (1 + 1e-6 * np.random.default_rng(0).normal(size=arrays["X"].shape))
    data = fetch_qm7b(path=given(arrays | {"X": noisy}))
    assert isinstance(data, Structures)


def test_padded_helper_is_in_bohr():
    charges, positions = padded("H2O")
    assert charges[:4].tolist() == [8, 1, 1, 0]
    assert_allclose(np.linalg.norm(positions[0] - positions[1]) * BOHR, 0.969, atol=1e-3)
