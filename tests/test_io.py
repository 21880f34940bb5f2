"""Files: every format, units untouched, and damage always told by file and line."""

import bz2
import gc
import gzip
import io
import lzma
import re
import warnings
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from kernchem.errors import (
    FileFormatError,
    KernchemError,
    SettingError,
    StructureError,
    UnknownElementError,
)
from kernchem.io import read
from kernchem.structures import Structures

# A made-up record in the layout of GDB-9: a bent molecule of three atoms has three vibrations.
GDB9 = (
    "3\n"
    "gdb 3\t799.58\t437.90\t282.94\t1.8511\t6.31\t-0.2928\t0.0687\t0.3615\t19.0002\t0.021375\t"
    "-76.404702\t-76.401867\t-76.400922\t-76.422349\t6.002\t\n"
    "O\t-0.0343604951\t 0.9775395708\t 7.6*^-3\t-0.589706\n"
    "H\t 0.0647664923\t 2.05721*^-2\t 1.5346E-3\t 0.294853\n"
    "H\t 0.8717903737\t 1.3007924048\t 6.9*^-4\t 0.294853\n"
    "1671.4222\t3803.6305\t3907.698\n"
    "O\tO\t\n"
    "InChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
)
GDB9_LINEAR = (
    "2\n"
    "gdb 9\t0.0\t1.0\t1.0\t1.8\t4.9\t-0.4\t0.1\t0.5\t13.0\t9*^-3\t-100.4\t-100.3\t-100.2\t-100.1\t"
    "5.0\t\n"
    "F 0 0 0 -0.4\nH 0 0 0.92 0.4\n"
    "4100.5\nF\tF\nInChI=1S/FH/h1H\tInChI=1S/FH/h1H\n"
)
EXTXYZ = (
    "3\n"
    'Properties=species:S:1:pos:R:3:forces:R:3:q:R:1 energy=-10.5 smiles="O" pbc="F F F"\n'
    "O 0.0 0.0 0.1192 0.1 0.2 0.3 -0.6\n"
    "H 0.0 0.7632 -0.4770 0.0 -0.1 0.0 0.3\n"
    "H 0.0 -0.7632 -0.4770 0.0 -0.1 0.0 0.3\n"
    "2\n"
    'Properties=species:S:1:pos:R:3:forces:R:3:q:R:1 energy=-7.25 smiles="F" charge=0\n'
    "F 0.0 0.0 0.0 0.0 0.0 0.0 -0.4\n"
    "H 0.0 0.0 0.92 0.0 0.0 0.0 0.4\n"
    "1\n"
    'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:forces:R:3:q:R:1 energy=1e2\n'
    "Ar 0.5 0.5 0.5 0.0 0.0 0.0 0.0\n"
)
# Line on which each frame of EXTXYZ begins.
FRAME_LINES = (1, 6, 10)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def npz_bytes(*, compressed=True, **arrays):
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


NPZ = {
    "Z": np.array([[8, 1, 1, 0], [6, 1, 1, 1]], dtype=np.uint8),
    "R": np.array(
        [
            [[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5], [0, 0, 0]],
            [[0, 0, 0.0], [1.1, 0, 0], [0, 1.1, 0], [0, 0, 1.1]],
        ]
    ),
    "energy": np.array([-1.5, 2.5]),
    "q": np.array([[1.0, 2.0, 3.0, 0.0], [4.0, 5.0, 6.0, 7.0]]),
    "forces": np.arange(24.0).reshape(2, 4, 3),
    "dipole": np.arange(6.0).reshape(2, 3),
    "smiles": np.array(["O", "[CH3]"]),
}


# -- GDB-9 ---------------------------------------------------------------------------------------


def test_gdb9_keeps_names_units_and_star_exponents(tmp_path):
    data = read(write(tmp_path, "dsgdb9nsd_000003.xyz", GDB9))
    assert_array_equal(data.numbers, [8, 1, 1])
    assert_array_equal(data.positions[:, 2], [7.6e-3, 1.5346e-3, 6.9e-4])
    assert data.positions[1, 1] == 2.05721e-2
    names = "A B C mu alpha homo lumo gap r2 zpve u0 u298 h298 g298 cv".split()
    numbers = [float(word) for word in GDB9.splitlines()[1].split()[2:]]
    assert [float(data[name][0]) for name in names] == numbers
    assert data["id"].tolist() == [3]
    assert_array_equal(data["mulliken_charges"], [-0.589706, 0.294853, 0.294853])
    assert_array_equal(data["frequencies"][0], [1671.4222, 3803.6305, 3907.698])
    assert data["frequencies"].dtype == object
    assert data["smiles"].tolist() == data["smiles_relaxed"].tolist() == ["O"]
    assert data["inchi"].tolist() == data["inchi_relaxed"].tolist() == ["InChI=1S/H2O/h1H2"]
    assert data.per_atom == {"mulliken_charges"}


def test_gdb9_records_may_follow_each_other(tmp_path):
    data = read(write(tmp_path, "both.xyz", GDB9 + GDB9_LINEAR))
    assert [item.formula for item in data] == ["H2O", "HF"]
    assert [len(values) for values in data["frequencies"]] == [3, 1]
    assert data["zpve"].tolist() == [0.021375, 9e-3]
    assert data["smiles"].tolist() == ["O", "F"]


def test_published_gdb9_files(reference_data):
    folder = reference_data / "qm9" / "raw"
    published = read(folder / "dsgdb9nsd_000212.xyz")
    starred = read(folder / "derived_000212_star_exponent.xyz")
    assert published[0] == starred[0]
    assert published.positions[0, 0] == 2.1997e-6
    assert len(published["frequencies"][0]) == 3 * 13 - 6
    both = read(folder)
    assert len(both) == 3
    assert both["name"].tolist()[1:] == ["dsgdb9nsd_000212", "dsgdb9nsd_000880"]
    assert both["u0"].tolist()[1:] == [-249.387499, -376.605347]
    subset = np.load(reference_data / "qm9" / "qm9_subset.npz")
    for k in np.flatnonzero(np.isin(subset["id"], both["id"])):
        match = both[np.flatnonzero(both["id"] == subset["id"][k])[0]]
        assert_array_equal(subset["R"][k][subset["Z"][k] > 0].round(8), match.positions.round(8))


@pytest.mark.parametrize("lines", range(8))
def test_gdb9_cut_at_any_line(tmp_path, lines):
    text = "".join(GDB9.splitlines(keepends=True)[:lines])
    path = write(tmp_path, "cut.xyz", text)
    with pytest.raises(FileFormatError, match=rf"cut\.xyz, line {max(lines, 1)}\b"):
        read(path, format="gdb9")


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        (1, "3\n", "three\n"),
        (1, "3\n", "-3\n"),
        (2, "799.58", "79x.58"),
        (2, "6.31\t", ""),
        (2, "gdb 3", "gdb three"),
        (2, "gdb 3", "xyz 3"),
        (3, "-0.589706", ""),
        (4, "2.05721*^-2", "2.05721*^"),
        (5, "H\t", "Hh\t"),
        (6, "\t3907.698", ""),
        (7, "O\tO", "O"),
        (8, "InChI=1S/H2O/h1H2\t", ""),
    ],
)
def test_gdb9_errors_name_the_line(tmp_path, line, old, new):
    lines = GDB9.splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path = write(tmp_path, "bad.xyz", "".join(lines))
    with pytest.raises((FileFormatError, UnknownElementError), match=rf"bad\.xyz, line {line}\b"):
        read(path, format="gdb9")


# -- (extended) XYZ ------------------------------------------------------------------------------


def test_extxyz_all_frames_and_properties(tmp_path):
    data = read(write(tmp_path, "frames.xyz", EXTXYZ))
    assert [item.formula for item in data] == ["H2O", "HF", "Ar"]
    assert_array_equal(data["energy"], [-10.5, -7.25, 100.0])
    assert data["smiles"].tolist() == ["O", "F", ""]  # ASE alone reads F as the truth value False
    assert_array_equal(data["q"], [-0.6, 0.3, 0.3, -0.4, 0.4, 0.0])
    assert_array_equal(data["forces"][0], [0.1, 0.2, 0.3])
    assert data.per_atom == {"q", "forces"}
    assert_array_equal(data.cells[2], 3 * np.eye(3))
    assert data.pbc.tolist() == [[False] * 3, [False] * 3, [True] * 3]


def test_extxyz_agrees_with_ase_on_what_it_writes(tmp_path):
    frames = []
    for k, atoms in enumerate(
        [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", 5.6), molecule("O2")]
    ):
        atoms.info = {"vector": np.arange(3.0) + k, "tag": f"a b {k}", "index": k}
        atoms.set_array("weight", np.linspace(0, 1, len(atoms)))
        forces = np.full((len(atoms), 3), 0.25 * k)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 - k, forces=forces)
        frames.append(atoms)
    path = tmp_path / "ase.extxyz"
    ase.io.write(path, frames, format="extxyz")
    data, expected = read(path), Structures.from_ase(ase.io.read(path, ":", format="extxyz"))
    assert list(data) == list(expected)
    assert set(data.properties) == set(expected.properties)
    for name in data.properties:
        assert_array_equal(data[name], expected[name])


def test_plain_xyz_keeps_its_comment(tmp_path):
    text = "2\nhydrogen, a guess\nH 0 0 0\nH 0 0 7.4*^-1\n\n2\n\nh 0 0 0\nh 0 0 0.8\n\n\n"
    data = read(write(tmp_path, "plain.xyz", text))
    assert len(data) == 2
    assert data["comment"].tolist() == ["hydrogen, a guess", ""]
    assert_array_equal(data.positions[:, 2], [0, 0.74, 0, 0.8])


def test_text_is_not_taken_for_numbers(tmp_path):
    frame = "1\nname={} label={} smiles={}\nHe 0 0 0\n"
    text = frame.format("0007", "T", "F") + frame.format("x", "b", '"C(F)"')
    data = read(write(tmp_path, "text.xyz", text))
    assert data["name"].tolist() == ["0007", "x"]
    assert data["label"].tolist() == ["T", "b"]
    assert data["smiles"].tolist() == ["F", "C(F)"]


SMILES = [
    r"F/C=C\F",
    "C[C@H](O)F",
    "[Na+].[Cl-]",
    r"C[C@H](O)/C=C\F",
    "[H][H]",
    "O=C=O",
    "F",
    "[He]",
]


@pytest.mark.parametrize("smiles", SMILES)
@pytest.mark.parametrize("form", ["{}", '"{}"', "'{}'"])
def test_smiles_are_taken_as_they_stand(tmp_path, smiles, form):
    comment = f"energy=-1.5 smiles={form.format(smiles)} name=007 gap=2"
    data = read(write(tmp_path, "text.xyz", f"1\n{comment}\nHe 0 0 0\n"))
    assert data["smiles"].tolist() == [smiles]
    assert data["name"].tolist() == ["007"]
    assert (data["energy"][0], data["gap"][0]) == (-1.5, 2)
    assert list(data.properties) == ["smiles", "name", "gap", "energy"]


def test_text_survives_the_writer_of_ase(tmp_path):
    frames = [molecule("H2O") for _ in SMILES]
    for atoms, smiles in zip(frames, SMILES, strict=True):
        atoms.info = {"smiles": smiles, "name": 'the "old" one', "energy": -2.0}
    ase.io.write(tmp_path / "ase.xyz", frames, format="extxyz")
    data = read(tmp_path / "ase.xyz")
    assert data["smiles"].tolist() == SMILES
    assert set(data["name"]) == {'the "old" one'}
    assert set(data["energy"]) == {-2.0}


@pytest.mark.parametrize("text", ["N,N'-dimethylurea", "[Na+].[Cl-]", "F/C=C\\F", '"a \'b"'])
def test_a_text_takes_nothing_from_its_neighbours(tmp_path, text):
    path = tmp_path / "a.xyz"
    path.write_text(f"1\nname={text} gap=1.5 note=x\nH 0 0 0\n")
    found = read(path)
    assert found["gap"].tolist() == [1.5]
    assert found["note"].tolist() == ["x"]
    assert found["name"].tolist() == [text.strip('"')]


@pytest.mark.parametrize(
    ("comment", "key", "text"),
    [
        ('note="a smiles=CC b" smiles=F', "smiles", "F"),
        ("note='a smiles=CC b' smiles=F", "smiles", "F"),
        ("note={a smiles=CC b} smiles=F", "smiles", "F"),
        ("note=[a smiles=CC b] smiles=F", "smiles", "F"),
        ('note="a \\" smiles=CC b" smiles=F', "smiles", "F"),
        ("smiles=CC smiles=F", "smiles", "F"),
        ('smiles="F/C=C\\\\F"', "smiles", "F/C=C\\F"),  # both backslashes written
        ("gap=1 smiles = F", "smiles", "F"),
        ("name={a b}", "name", "a b"),
        ("name=[a b]", "name", "a b"),
        ("name=[1,2]", "name", "[1,2]"),
        ("name=N,N'-dimethylurea gap=1", "name", "N,N'-dimethylurea"),
        ('comment="T"', "comment", "T"),
        ('name=""', "name", ""),
        ("name=''", "name", ""),
    ],
)
def test_texts_of_a_comment(tmp_path, comment, key, text):
    data = read(write(tmp_path, "text.xyz", f"1\n{comment}\nHe 0 0 0\n"))
    assert data[key].tolist() == [text]
    known = {"note", "gap", key}
    assert set(data.properties) <= known


def test_windows_line_ends_and_byte_order_mark(tmp_path):
    text = "\ufeff" + EXTXYZ.replace("\n", "\r\n")
    data = read(write(tmp_path, "windows.xyz", text))
    expected = read(write(tmp_path, "unix.xyz", EXTXYZ))
    assert list(data) == list(expected)
    assert data["smiles"].tolist() == expected["smiles"].tolist()


def test_adf_cell_vectors(tmp_path):
    text = "1\n\nAr 0 0 0\nVEC1 4 0 0\nVEC2 0 5 0\n1\n\nAr 0 0 0\n"
    data = read(write(tmp_path, "adf.xyz", text))
    assert data.pbc.tolist() == [[True, True, False], [False] * 3]
    assert_array_equal(data.cells[0], np.diag([4.0, 5.0, 0.0]))


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
def test_compressed_text(tmp_path, suffix, compress):
    for name, text in (("a.xyz", EXTXYZ), ("b.xyz", GDB9)):
        packed = read(write(tmp_path, name + suffix, compress(text.encode())))
        assert list(packed) == list(read(write(tmp_path, name, text)))
    broken = compress(EXTXYZ.encode())[:-12]
    with pytest.raises(FileFormatError, match=r"cut short"):
        read(write(tmp_path, "cut.xyz" + suffix, broken))


@pytest.mark.parametrize("lines", [n for n in range(12) if n + 1 not in FRAME_LINES])
def test_extxyz_cut_at_any_line(tmp_path, lines):
    text = "".join(EXTXYZ.splitlines(keepends=True)[:lines])
    path = write(tmp_path, "cut.xyz", text)
    frame = sum(line <= lines for line in FRAME_LINES) - 1
    with pytest.raises(FileFormatError, match=rf"cut\.xyz, line {lines} \(frame {frame}\)"):
        read(path)


@pytest.mark.parametrize("lines", [line - 1 for line in FRAME_LINES[1:]])
def test_extxyz_cut_between_frames_is_whole(tmp_path, lines):
    text = "".join(EXTXYZ.splitlines(keepends=True)[:lines])
    assert len(read(write(tmp_path, "short.xyz", text))) == FRAME_LINES.index(lines + 1)


@pytest.mark.parametrize(
    ("line", "old", "new", "index", "told"),
    [
        (3, "0.1192", "0.11x92", 0, 3),
        (4, "0.0 0.3\n", "\n", 0, 4),
        (5, "H", "Hq", 0, 5),
        (6, "2", "3", 1, 10),  # the next count is no atom
        (6, "2", "1", 2, 9),  # an atom is no count
        (7, "q:R:1", "q:R:x", 1, 7),
        (7, "q:R:1", "q:R:0", 1, 7),
        (7, "pos:R:3", "pos:R:99999999999", 1, 8),
        (7, "charge=0", "charge=high", 1, 7),
        (7, "charge=0", "charge=T", 1, 7),
        (7, "charge=0", "multiplicity=-1", 1, 6),
        (8, "F", "X", 1, 8),
        # What is wrong with the molecule is told at the line where its frame begins.
        (8, "0.0", "nan", 1, 6),
        (9, "0.92", "0.02", 1, 6),
        (10, "1", "0", 2, 10),
        (10, "1", "one", 2, 10),
        (10, "1", "99999999999999999999999", 2, 10),
        (11, "3 0 0 0 3 0", "3 0 0 3 0 0", 2, 10),
        (11, "3 0 0 0 3 0", "3 0 0 0 3", 2, 11),
    ],
)
def test_extxyz_errors_name_line_and_frame(tmp_path, line, old, new, index, told):
    lines = EXTXYZ.splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path = write(tmp_path, "bad.xyz", "".join(lines))
    message = rf"bad\.xyz, line {told}\b.*(frame|structure) {index}\b"
    with pytest.raises((FileFormatError, StructureError), match=message):
        read(path)


def test_text_that_is_not_utf8(tmp_path):
    path = write(tmp_path, "latin.xyz", EXTXYZ.encode().replace(b"smiles", b"sm\xedles"))
    with pytest.raises(FileFormatError, match=r"latin\.xyz, line 2: byte 0xed .*UTF-8"):
        read(path)


# -- NumPy archives ------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [True, False])
def test_padded_archive(tmp_path, compressed):
    data = read(write(tmp_path, "set.npz", npz_bytes(compressed=compressed, **NPZ)))
    assert_array_equal(data.sizes, [3, 4])
    real = NPZ["Z"] > 0
    assert_array_equal(data.positions, NPZ["R"][real])
    assert_array_equal(data["q"], NPZ["q"][real])
    assert_array_equal(data["forces"], NPZ["forces"][real])
    assert_array_equal(data["dipole"], NPZ["dipole"])
    assert data["smiles"].tolist() == ["O", "[CH3]"]
    assert data.per_atom == {"q", "forces"}


def test_frames_of_one_molecule(tmp_path):
    coords = NPZ["R"][:1, :3] + np.arange(4.0)[:, None, None]
    content = npz_bytes(
        nuclear_charges=np.array([8, 1, 1]),
        coords=coords,
        energies=np.arange(4.0),
        forces=2 * coords,
        dipoles=np.ones((4, 3)),  # as wide as the molecule has atoms, but a vector
        mulliken_charges=np.ones((4, 3)),
        units=np.array("kcal/mol"),
        grid=np.arange(7.0),
    )
    data = read(write(tmp_path, "rmd17_water.npz", content))
    assert len(data) == 4
    assert_array_equal(data.positions.reshape(4, 3, 3), coords)
    assert data.per_atom == {"forces", "mulliken_charges"}
    assert data["dipoles"].shape == (4, 3)
    assert set(data.properties) == {"energies", "forces", "dipoles", "mulliken_charges"}


def test_md_sets(reference_data):
    folder = reference_data / "md"
    amons = np.load(folder / "amons_train.npz")
    data = read(folder / "amons_train.npz")
    real = amons["nuclear_charges"] > 0
    assert data.per_atom == {"forces"}
    assert_array_equal(data["forces"], amons["forces"][real])
    assert_array_equal(data["smiles"], amons["smiles"])
    assert data["dipoles"].shape == (800, 3)
    water = read(folder / "water_mp2_2000.npz")
    assert len(water) == 2000
    assert water["forces"].shape == (6000, 3)
    assert read(reference_data / "qm7" / "qm7.npz")["name"].dtype.kind == "U"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Z": None}, "atomic numbers.*nuclear_charges.*holds"),
        ({"R": None}, "coordinates.*coords.*holds"),
        ({"R": np.zeros((2, 4))}, r"\(structures, atoms, 3\)"),
        ({"R": np.zeros((2, 4, 3), complex)}, "complex128"),
        ({"Z": np.ones((2, 5), int)}, r"\(2, 4\)"),
        ({"Z": np.full((2, 4), "H")}, "<U1"),
        ({"Z": np.array([[0, 0, 0, 0], [6, 1, 1, 1]])}, "structure 0 has no atoms"),
        ({"Z": np.array([[8, 1, 1, 0], [6, 1, 200, 1]])}, "structure 1: atom 2 .*200"),
        ({"R": np.full((2, 4, 3), np.nan)}, "structure 0: atom 0 .*finite"),
        ({"R": np.zeros((2, 4, 3))}, "structure 0: atoms 0 and 1"),
        ({"smiles": np.array(["O", None], dtype=object)}, "Python objects"),
    ],
)
def test_archives_that_do_not_fit(tmp_path, change, message):
    arrays = {name: values for name, values in (NPZ | change).items() if values is not None}
    path = write(tmp_path, "bad.npz", npz_bytes(**arrays))
    with pytest.raises((FileFormatError, StructureError), match=rf"bad\.npz: .*{message}"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"\x80\x04K\x01.", EXTXYZ])
def test_what_is_no_archive(tmp_path, content):
    path = write(tmp_path, "bad.npz", content)
    with pytest.raises(FileFormatError, match=r"bad\.npz"):
        read(path)


def test_archive_of_other_things(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("Z", "text")
        archive.writestr("R", "text")
    with pytest.raises(FileFormatError, match="atomic numbers"):
        read(write(tmp_path, "text.npz", stream.getvalue()))
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    with pytest.raises(FileFormatError, match=r"numpy\.savez"):
        read(write(tmp_path, "array.npz", stream.getvalue()))


# -- folders and ASE's formats -------------------------------------------------------------------


def test_folder_is_sorted_and_named(tmp_path):
    write(tmp_path, "b.xyz", "1\n\nHe 0 0 0\n")
    write(tmp_path, "a.xyz.gz", gzip.compress(b"1\nenergy=2\nNe 0 0 0\n"))
    write(tmp_path, "c.xyz", GDB9)
    write(tmp_path, "README.md", "1\n\nAr 0 0 0\n")
    write(tmp_path, ".hidden.xyz", "nonsense")
    (tmp_path / "folder.xyz").mkdir()
    data = read(tmp_path)
    assert [item.formula for item in data] == ["Ne", "He", "H2O"]
    assert data["name"].tolist() == ["a", "b", "c"]
    assert_array_equal(data["energy"], [2.0, np.nan, np.nan])


def test_names_of_a_folder_keep_their_dots(tmp_path):
    for name in ("h2_0.70.xyz", "h2_0.74.XYZ", "h2_0.80.extxyz"):
        write(tmp_path, name, "1\n\nHe 0 0 0\n")
    write(tmp_path, "h2_0.90.xyz.gz", gzip.compress(b"1\n\nHe 0 0 0\n"))
    ase.io.write(tmp_path / "POSCAR.1", bulk("Si"), format="vasp")
    names = ["POSCAR.1", "h2_0.70", "h2_0.74", "h2_0.80", "h2_0.90"]
    assert read(tmp_path)["name"].tolist() == names


def test_folder_with_several_frames_has_no_names(tmp_path):
    write(tmp_path, "b.xyz", EXTXYZ)
    write(tmp_path, "a.npz", npz_bytes(**NPZ))
    data = read(str(tmp_path))
    assert len(data) == 5
    assert "name" not in data.properties
    assert_array_equal(data["energy"], [-1.5, 2.5, -10.5, -7.25, 100.0])


def test_error_in_a_folder_names_the_file(tmp_path):
    write(tmp_path, "a.xyz", "1\n\nHe 0 0 0\n")
    write(tmp_path, "b.xyz", "2\n\nHe 0 0 0\nHe 0 0 0.01\n")
    with pytest.raises(StructureError, match=r"b\.xyz, line 1: structure 1: atoms 0 and 1"):
        read(tmp_path)


def test_folder_without_structures(tmp_path):
    write(tmp_path, "notes.txt", "nothing")
    with pytest.raises(FileFormatError, match=r"no structure file.*\.xyz"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["x.traj", "x.cif", "POSCAR", "x.pdb", "x.json", "x.cif.gz"])
def test_formats_of_ase(tmp_path, name):
    atoms = bulk("Si", cubic=True)
    path = tmp_path / name
    ase.io.write(path, atoms)
    data = read(path)
    assert [item.formula for item in data] == ["Si8"]
    np.testing.assert_allclose(data.cells[0], atoms.cell.array, atol=1e-2)
    np.testing.assert_allclose(
        np.sort(data.positions.ravel()), np.sort(atoms.positions.ravel()), atol=1e-2
    )


def test_all_frames_of_a_trajectory(tmp_path):
    frames = [molecule(name) for name in ("H2O", "CH4", "NH3")]
    for k, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=atoms.positions)
    ase.io.write(tmp_path / "run.traj", frames)
    data = read(tmp_path / "run.traj")
    assert_array_equal(data["energy"], [0.0, 1.0, 2.0])
    assert_array_equal(data["forces"], data.positions)


def test_format_overrides_the_suffix(tmp_path):
    assert len(read(write(tmp_path, "frames.txt", EXTXYZ), format="extxyz")) == 3
    assert len(read(write(tmp_path, "record.dat", GDB9), format="gdb9")) == 1
    assert len(read(write(tmp_path, "arrays.bin", npz_bytes(**NPZ)), format="npz")) == 2
    with pytest.raises(SettingError, match=r"'xzy' is unknown.*extxyz"):
        read(tmp_path / "frames.txt", format="xzy")
    for wrong in (["xyz"], 3):
        with pytest.raises(SettingError, match=r"unknown.*extxyz"):
            read(tmp_path / "frames.txt", format=wrong)


def test_a_file_without_suffix_is_recognised_by_content(tmp_path):
    assert len(read(write(tmp_path, "frames", EXTXYZ))) == 3


@pytest.mark.parametrize("name", ["missing.xyz", "missing.npz", "missing", "no/folder/x.cif"])
def test_missing_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=re.escape(Path(name).name)):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["table.csv", "text", "x.unknown"])
def test_unknown_suffix_says_what_is_read(tmp_path, name):
    path = write(tmp_path, name, "some,other,text\n1,2,3\n")
    with pytest.raises(FileFormatError, match=r"\.xyz.*\.npz.*ase info --formats.*format="):
        read(path)


@pytest.mark.parametrize("name", ["x.cif", "x.traj", "POSCAR", "x.pdb", "x.json", "x.xyz"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff broken \xfe", b"data_x\nloop_\n_a\n"])
def test_broken_files_of_any_format(tmp_path, name, content):
    with pytest.raises((FileFormatError, StructureError), match=re.escape(name)):
        read(write(tmp_path, name, content))


# -- what decides between two readings -------------------------------------------------------------


def test_gdb9_of_one_atom_has_no_vibrations(tmp_path):
    header = "\t".join(["GDB 1", *["0.5"] * 15])
    data = read(write(tmp_path, "he.xyz", f"1\n{header}\nHe 0 0 0 0.1\n\n[He]\t[He]\nHe\tHe\n"))
    assert data["frequencies"][0].shape == (0,)
    assert data["mulliken_charges"].tolist() == [0.1]


def test_three_adf_cell_vectors(tmp_path):
    text = "1\n\nAr 0 0 0\nVEC1 4 0 0\nVEC2 0 5 0\nVEC3 0 1 6\n" * 2
    data = read(write(tmp_path, "adf.xyz", text))
    assert data.pbc.all()
    assert_array_equal(data.cells, [[[4, 0, 0], [0, 5, 0], [0, 1, 6]]] * 2)


@pytest.mark.parametrize("key", ["name", "smiles", "SMILES", "InChI"])
def test_keys_that_are_text_by_their_name(tmp_path, key):
    text = "".join(f"1\n{key}={value}\nHe 0 0 0\n" for value in ("F", "0007"))
    assert read(write(tmp_path, "text.xyz", text))[key].tolist() == ["F", "0007"]


@pytest.mark.parametrize("atoms", [1, 3, 4, 6, 9])
def test_arrays_as_wide_as_the_molecule(tmp_path, atoms):
    ones = np.ones((2, atoms))
    content = npz_bytes(
        Z=np.full((2, atoms), 1.0),  # whole numbers, kept as floats
        R=np.arange(6.0 * atoms).reshape(2, atoms, 3),
        spread=ones,
        Charges=ones,
        q_low=ones,
        shift_per_atom=ones,
        forces=np.ones((2, atoms, 3)),
        polarizability=np.ones((2, atoms, 3)),
        atomic_polarizability=np.ones((2, atoms, 3)),
    )
    data = read(write(tmp_path, "wide.npz", content))
    per_atom = {"Charges", "q_low", "shift_per_atom", "forces", "atomic_polarizability"}
    # Vectors and tensors have one, three, six or nine numbers.
    own = set() if atoms in {1, 3, 6, 9} else {"spread", "polarizability"}
    assert data.per_atom == per_atom | own
    assert data.numbers.tolist() == [1] * 2 * atoms


def test_archive_with_two_arrays_of_numbers(tmp_path):
    content = npz_bytes(nuclear_charges=NPZ["Z"], coords=NPZ["R"], z=np.array([0.5, 1.5]))
    data = read(write(tmp_path, "both.npz", content))
    assert data.elements == (1, 6, 8)
    assert data["z"].tolist() == [0.5, 1.5]


def test_archive_with_other_coordinates(tmp_path):
    other = npz_bytes(**NPZ, positions=NPZ["R"] + 1.0, numbers=NPZ["Z"] + 1)
    data = read(write(tmp_path, "both.npz", other))
    plain = read(write(tmp_path, "plain.npz", npz_bytes(**NPZ)))
    assert set(data.properties) == set(plain.properties)
    for atoms, item in zip(data.to_ase(), plain, strict=True):
        assert_array_equal(atoms.positions, item.positions)
        assert_array_equal(atoms.numbers, item.numbers)


def test_only_zeros_pad_an_archive(tmp_path):
    numbers = NPZ["Z"].astype(int)
    numbers[0, 1] = -1
    with pytest.raises(UnknownElementError, match=r"bad\.npz: structure 0: atom 1 .*-1"):
        read(write(tmp_path, "bad.npz", npz_bytes(**(NPZ | {"Z": numbers}))))


def test_folder_keeps_names_that_files_carry(tmp_path):
    write(tmp_path, "a.xyz", "1\nname=neon\nNe 0 0 0\n")
    write(tmp_path, "b.xyz", "1\n\nHe 0 0 0\n")
    assert read(tmp_path)["name"].tolist() == ["neon", ""]


def test_folder_of_vasp_files(tmp_path):
    for name in ("POSCAR", "CONTCAR_2"):
        ase.io.write(tmp_path / name, bulk("Si"), format="vasp")
    data = read(tmp_path)
    assert data["name"].tolist() == ["CONTCAR_2", "POSCAR"]
    assert [item.formula for item in data] == ["Si2", "Si2"]


def test_format_applies_to_every_file_of_a_folder(tmp_path):
    write(tmp_path, "a.cif", EXTXYZ)
    write(tmp_path, "b.npz", "1\n\nHe 0 0 0\n")
    assert len(read(tmp_path, format="extxyz")) == 4


def test_format_that_is_only_written_is_refused(tmp_path):
    with pytest.raises(SettingError, match="'eps' is unknown"):
        read(write(tmp_path, "frames.xyz", EXTXYZ), format="eps")


@pytest.mark.parametrize("name", ["mysql.cif", "postgres.cif", "silicon@2.cif"])
def test_relative_names_are_files(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ase.io.write("silicon.cif", bulk("Si"))
    Path("silicon.cif").rename(name)
    assert [item.formula for item in read(name)] == ["Si2"]


# -- damage of every kind ------------------------------------------------------------------------


def damage(data, content):
    """Draw a damaged copy: some bytes replaced, or the end cut off."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'0123 -.=":\n')))
    return bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])


def assert_read_or_typed_error(path, content, **options):
    path.write_bytes(content)
    try:
        batch = read(path, **options)
    except KernchemError as error:
        assert path.name in str(error)  # noqa: PT017
        return str(error)
    assert isinstance(batch, Structures)
    assert np.isfinite(batch.positions).all()
    return None


fuzz = settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzz
@given(st.data())
def test_damaged_gdb9(tmp_path, data):
    content = damage(data, (GDB9 + GDB9_LINEAR).encode())
    message = assert_read_or_typed_error(tmp_path / "damaged.xyz", content, format="gdb9")
    assert message is None or "line" in message


@fuzz
@given(st.data())
def test_damaged_extxyz(tmp_path, data):
    content = damage(data, EXTXYZ.encode())
    message = assert_read_or_typed_error(tmp_path / "damaged.xyz", content)
    assert message is None or "line" in message


@fuzz
@given(st.data(), st.booleans())
def test_damaged_archive(tmp_path, data, compressed):
    content = damage(data, npz_bytes(compressed=compressed, **NPZ))
    assert_read_or_typed_error(tmp_path / "damaged.npz", content)


def test_no_name_is_no_file():
    with pytest.raises(FileNotFoundError):
        read("")


def test_a_damaged_archive_is_closed(tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, Z=np.ones((1, 2), dtype=int), R=np.eye(3)[None, :2])
    path.write_bytes(path.read_bytes()[:-30])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(FileFormatError, match=r"cut\.npz"):
            read(path)
        gc.collect()


def test_one_array_is_no_archive(tmp_path):
    path = tmp_path / "one.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(FileFormatError, match="one array"):
        read(path)
