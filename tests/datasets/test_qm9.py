"""QM9 from archives and folders of the published layout, and what hostile archives come to."""

import bz2
import io
import os
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule
from ase.units import Hartree, kcal, mol
from numpy.testing import assert_allclose, assert_array_equal
from published import (
    ATOMREF,
    METHANE,
    QM9_RECORDS,
    gdb9_record,
    qm9_archive,
    tar_bz2,
    uncharacterized,
)

from kernchem import datasets
from kernchem.datasets import fetch_qm9, qm9
from kernchem.errors import (
    DatasetError,
    FileFormatError,
    KernchemWarning,
    SettingError,
    StructureError,
    UnknownElementError,
)
from kernchem.io import read

HARTREE = Hartree / (kcal / mol)


@pytest.fixture
def published(server, monkeypatch):
    """The published files at another address, without their checksums."""
    server.files = {"archive": qm9_archive(), "list": uncharacterized([5, 99])}
    for name, file in (("ARCHIVE", "archive"), ("UNCHARACTERIZED", "list")):
        here = replace(getattr(qm9, name), url=server.url(file), md5=None, size=None)
        monkeypatch.setattr(qm9, name, here)
    return server


@pytest.fixture
def archive(tmp_path):
    """An archive with the list of molecules to leave out beside it."""
    path = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
    path.write_bytes(qm9_archive())
    (tmp_path / "uncharacterized.txt").write_bytes(uncharacterized([5]))
    return path


# -- what is loaded --------------------------------------------------------------------------------


def test_downloaded_once_and_read_once(published, home, monkeypatch):
    data = fetch_qm9()
    assert data["id"].tolist() == [1, 2, 3, 7]
    assert len(published.requests) == 2
    published.shutdown()
    monkeypatch.setattr(qm9, "parse_gdb9", None)
    again = fetch_qm9()
    assert len(published.requests) == 2
    assert list(again) == list(data)
    for name in data.properties:
        assert again[name].dtype == data[name].dtype
        for mine, theirs in zip(again[name], data[name], strict=True):
            assert_array_equal(mine, theirs)
    assert fetch_qm9(keep_uncharacterized=True)["id"].tolist() == [1, 2, 3, 5, 7]
    assert {path.name.split("-")[0] for path in (home / "qm9").glob("[!.]*")} == {
        "dsgdb9nsd.xyz.tar.bz2",
        "dsgdb9nsd.xyz.tar.bz2.sha256.json",
        "uncharacterized.txt",
        "uncharacterized.txt.sha256.json",
        "parsed",
    }


def test_values_of_the_first_molecule(archive):
    """Published values; the atomisation energies are those that MoleculeNet lists."""
    data = fetch_qm9(path=archive)
    methane = data[0]
    assert methane.formula == "CH4"
    assert_allclose(methane.positions[1], [0.002150416, -0.0060313176, 0.0019761204])
    assert_allclose(data["u0_atom"][0], -395.999594594, atol=1e-3)
    assert_allclose(data["u298_atom"][0], -398.643290011, atol=1e-3)
    assert_allclose(data["h298_atom"][0], -401.014646522, atol=1e-3)
    assert_allclose(data["g298_atom"][0], -372.471772148, atol=1e-3)
    assert_allclose(data["u0"][0], -40.47893 * HARTREE)
    assert_allclose(data["homo"][0], -0.3877 * HARTREE)
    assert_allclose([data[name][0] for name in ("A", "mu", "alpha", "r2", "cv")],
                    [157.7118, 0.0, 13.21, 35.3641, 6.469])  # fmt: skip
    assert data["smiles"][0] == data["smiles_relaxed"][0] == "C"
    assert data["inchi"][0] == "InChI=1S/CH4/h1H4"
    assert_allclose(data["mulliken_charges"][:2], [-0.535689, 0.133921])
    assert_allclose(data["frequencies"][0][[0, -1]], [1341.307, 3151.7078])
    assert data.per_atom == {"mulliken_charges"}


def test_it_is_what_the_reader_of_single_files_gives(archive, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number, text in QM9_RECORDS.items():
        (folder / f"dsgdb9nsd_{number:06d}.xyz").write_text(text)
    single = read(folder)
    data = fetch_qm9(path=archive, unit="Ha", keep_uncharacterized=True)
    assert list(data) == list(single)
    for name in set(single.properties) - {"name", "frequencies"}:
        assert_array_equal(data[name], single[name], err_msg=name)
    for mine, theirs in zip(data["frequencies"], single["frequencies"], strict=True):
        assert_array_equal(mine, theirs)


@pytest.mark.parametrize("unit", ["kcal/mol", "kJ/mol", "eV", "meV", "Ha"])
def test_energies_are_converted_and_nothing_else(archive, unit):
    hartree, other = fetch_qm9(path=archive, unit="Ha"), fetch_qm9(path=archive, unit=unit)
    factor = {"kcal/mol": HARTREE, "kJ/mol": 2625.4996, "eV": Hartree, "meV": 1e3 * Hartree}
    energies = {"homo", "lumo", "gap", "zpve"}
    energies |= {
        f"{name}{tail}" for name in ("u0", "u298", "h298", "g298") for tail in ("", "_atom")
    }
    for name in hartree.properties:
        if name in energies:
            assert_allclose(other[name], hartree[name] * factor.get(unit, 1.0), rtol=1e-7)
        elif name != "frequencies":
            assert_array_equal(other[name], hartree[name])


def test_free_atoms_are_the_published_ones(tmp_path):
    rows = [line.split() for line in ATOMREF.splitlines()]
    free = {row[0]: [float(word) for word in row[2:6]] for row in rows}
    names = ["CH4", "NH3", "H2O", "CF4", "HCN", "COF2"]
    records = {k: gdb9_record(k, name) for k, name in enumerate(names, start=1)}
    path = tmp_path / "archive.tar.bz2"
    path.write_bytes(qm9_archive(records))
    data = fetch_qm9(path=path, unit="Ha", keep_uncharacterized=True)
    for column, name in enumerate(("u0", "u298", "h298", "g298")):
        sums = [sum(free[symbol][column] for symbol in molecule(n).symbols) for n in names]
        assert_allclose(data[f"{name}_atom"], data[name] - sums, rtol=0, atol=1e-9)


def test_atomisation_energies_of_the_published_molecules(reference_data):
    with np.load(reference_data / "qm9" / "qm9_subset.npz") as archive:
        numbers, *labels = (
            archive[key] for key in ("Z", "u0", "u0_atom", "u298", "u298_atom", "h298",
                                     "h298_atom", "g298", "g298_atom")
        )  # fmt: skip
    known = np.flatnonzero(np.isfinite(labels[0]))[:500]
    rows = [row[row > 0] for row in numbers[known]]
    flat = np.concatenate(rows).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    for k, name in enumerate(("u0", "u298", "h298", "g298")):
        free = qm9._free_atom_sums(flat, offsets, qm9._FREE_ATOMS[name])
        mine = (labels[2 * k][known] - free) * HARTREE
        assert_allclose(mine, labels[2 * k + 1][known], atol=0.02)


def test_published_records(reference_data, tmp_path):
    raw = reference_data / "qm9" / "raw"
    path = tmp_path / "archive.tar.bz2"
    names = ("dsgdb9nsd_000212.xyz", "dsgdb9nsd_000880.xyz")
    path.write_bytes(tar_bz2((name, (raw / name).read_bytes()) for name in names))
    data = fetch_qm9(path=path, keep_uncharacterized=True)
    assert data["id"].tolist() == [212, 880]
    assert [data[0].formula, data[0].positions[0, 0]] == ["C5H7N", 2.1997e-6]


def test_order_is_that_of_the_numbers(tmp_path):
    path = tmp_path / "archive.tar.bz2"
    path.write_bytes(qm9_archive(dict(reversed(QM9_RECORDS.items()))))
    data = fetch_qm9(path=path, keep_uncharacterized=True)
    assert data["id"].tolist() == sorted(QM9_RECORDS)
    assert [item.formula for item in data][1:3] == ["H3N", "H2O"]
    assert [len(modes) for modes in data["frequencies"][1:3]] == [6, 3]


def test_many_batches(archive, monkeypatch):
    whole = fetch_qm9(path=archive)
    monkeypatch.setattr(qm9, "_BATCH", 2)
    monkeypatch.setenv("KERNCHEM_DATA_HOME", os.environ["KERNCHEM_DATA_HOME"] + "2")
    parts = fetch_qm9(path=archive)
    assert list(parts) == list(whole)
    assert_array_equal(parts["smiles"], whole["smiles"])


def test_folder(tmp_path, published, capsys, monkeypatch):
    for number, text in QM9_RECORDS.items():
        (tmp_path / f"dsgdb9nsd_{number:06d}.xyz").write_text(text)
    (tmp_path / "._dsgdb9nsd_000001.xyz").write_bytes(b"\0 what another system leaves")
    assert fetch_qm9(path=tmp_path)["id"].tolist() == [1, 2, 3, 7]
    assert [request["path"] for request in published.requests] == ["/list"]
    (tmp_path / "uncharacterized.txt").write_bytes(uncharacterized([1, 2]))
    assert fetch_qm9(path=str(tmp_path))["id"].tolist() == [3, 5, 7]


def test_the_published_list_is_needed_or_the_wish_for_all(archive, server, monkeypatch):
    server.server_close()
    monkeypatch.setattr(qm9, "UNCHARACTERIZED", replace(qm9.UNCHARACTERIZED, url=server.url("x")))
    (archive.parent / "uncharacterized.txt").unlink()
    with pytest.raises(DatasetError, match=r"beside the archive .* keep_uncharacterized=True"):
        fetch_qm9(path=archive)
    assert len(fetch_qm9(path=archive, keep_uncharacterized=True)) == 5
    (archive.parent / "uncharacterized.txt").write_text("<html>\nnot here\n")
    with pytest.raises(FileFormatError, match=r"uncharacterized\.txt: no line"):
        fetch_qm9(path=archive)


def test_wrong_arguments(archive):
    with pytest.raises(SettingError, match="unit='kcal'"):
        fetch_qm9(path=archive, unit="kcal")
    with pytest.raises(FileNotFoundError):
        fetch_qm9(path=archive.with_name("nothing"))


def test_entry():
    entry = datasets.get_dataset("qm9")
    assert (entry.n_structures, entry.target) == (133_885 - 3054, "u0_atom")
    names = {name for names, *_ in entry.properties for name in names.split(", ")}
    assert names == {
        *qm9.GDB9_PROPERTIES, *qm9._TEXTS, "u0_atom", "u298_atom", "h298_atom", "g298_atom",
        "frequencies", "mulliken_charges", "id",
    }  # fmt: skip
    assert all(f"``{name}``" in fetch_qm9.__doc__ for name in names)


# -- what is stored --------------------------------------------------------------------------------


def stored(home):
    (path,) = (home / "qm9").glob("parsed-*.npz")
    return path


def rewrite(path, **changes):
    with np.load(path) as archive:
        arrays = dict(archive.items()) | changes
    with path.open("wb") as file:
        np.savez(file, **{name: values for name, values in arrays.items() if values is not None})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"InChI=1S/CH4", b"InChI=1S/CH5")),
        lambda path: rewrite(path, digest=np.array("0" * 64)),
        lambda path: rewrite(path, digest=None),
        lambda path: rewrite(path, u0=None),
        lambda path: rewrite(path, smiles=np.array([b"\xff"] * 5)),
    ],
    ids=["empty", "cut", "altered", "another archive", "no digest", "no column", "no text"],
)
def test_what_is_stored_is_made_anew_if_it_is_damaged(archive, home, damage):
    first = fetch_qm9(path=archive)
    damage(stored(home))
    again = fetch_qm9(path=archive)
    assert list(again) == list(first)
    assert_array_equal(again["inchi"], first["inchi"])
    with np.load(stored(home)) as columns:
        assert columns["u0"].shape == (5,)


def test_another_archive_is_read_anew(archive):
    assert len(fetch_qm9(path=archive)) == 4
    archive.write_bytes(qm9_archive({1: METHANE}))
    assert len(fetch_qm9(path=archive)) == 1


def test_a_folder_that_cannot_be_written_is_told(archive, monkeypatch):
    def denied(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(qm9, "write_atomically", denied)
    with pytest.warns(KernchemWarning, match="Permission denied.*read again"):
        assert len(fetch_qm9(path=archive)) == 4


def test_progress_while_reading(archive, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    fetch_qm9(path=archive)
    assert "reading dsgdb9nsd.xyz.tar.bz2" in capsys.readouterr().err


# -- archives that are damaged or made to harm -----------------------------------------------------


@pytest.fixture
def load(tmp_path, home):
    """Load an archive of these bytes; nothing may be written but what was read."""

    def load(content):
        folder = tmp_path / "given"
        folder.mkdir(exist_ok=True)
        (folder / "archive.tar.bz2").write_bytes(content)
        (folder / "uncharacterized.txt").write_bytes(uncharacterized([99]))
        before = {path for path in tmp_path.rglob("*") if home not in path.parents}
        try:
            return fetch_qm9(path=folder / "archive.tar.bz2")
        finally:
            after = {path for path in tmp_path.rglob("*") if home not in path.parents}
            assert after - before <= {home}
            assert all(path.name.startswith("parsed-") for path in home.glob("*/*"))

    return load


def entry(name, kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize(
    "name",
    ["../../dsgdb9nsd_000002.xyz", "/tmp/dsgdb9nsd_000002.xyz", "a/./../b/dsgdb9nsd_000002.xyz",
     "..\\dsgdb9nsd_000002.xyz", "C:\\dsgdb9nsd_000002.xyz", "x" * 70 + "/dsgdb9nsd_000002.xyz"],
)  # fmt: skip
def test_names_are_no_paths(load, name):
    members = [("dsgdb9nsd_000001.xyz", METHANE.encode()), (name, QM9_RECORDS[2].encode())]
    assert load(tar_bz2(members))["id"].tolist() == [1, 2]


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_longer_names_than_published_ones_are_passed_over(load, style):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:bz2", format=style) as archive:
        for name in ("x" * 300 + "/dsgdb9nsd_000002.xyz", "dsgdb9nsd_000001.xyz"):
            info = entry(name, size=len(METHANE))
            archive.addfile(info, io.BytesIO(METHANE.encode()))
    assert load(stream.getvalue())["id"].tolist() == [1]


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
)
def test_links_and_devices_are_passed_over(load, kind):
    hostile = entry("dsgdb9nsd_000009.xyz", kind, linkname="/etc/passwd")
    members = [(hostile, b""), ("dsgdb9nsd_000001.xyz", METHANE.encode())]
    assert load(tar_bz2(members))["id"].tolist() == [1]


def test_other_files_are_passed_over(load):
    members = [("readme.txt", b"text" * 1000), ("dsgdb9nsd_000001.xyz", METHANE.encode())]
    assert load(tar_bz2(members))["id"].tolist() == [1]


def claiming(size, name="dsgdb9nsd_000001.xyz", kind=tarfile.REGTYPE):
    """An archive whose only header claims a size that nothing follows."""
    header = entry(name, kind, size=size).tobuf(format=tarfile.GNU_FORMAT)
    return bz2.compress(header + METHANE.encode())


@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SYMTYPE, b"?"]
)
@pytest.mark.parametrize("size", [2**17, 2**33, 2**62, -512])
def test_sizes_that_no_record_has(load, kind, size):
    with pytest.raises(FileFormatError, match=r"archive\.tar\.bz2: its member .* claims"):
        load(claiming(size, kind=kind))


def test_a_bomb_of_many_members(load, monkeypatch):
    monkeypatch.setattr(qm9, "_LARGEST_ARCHIVE", 2**20)
    zeros = tar_bz2((f"{k}.txt", bytes(2**15)) for k in range(200))
    assert len(zeros) < 2**14
    with pytest.raises(FileFormatError, match="unpacks to more than 1048576 bytes"):
        load(zeros)


def test_a_bomb_is_not_unpacked(load):
    """A gigabyte of zeros, the end of an archive to tar, ends the reading at once."""
    zeros = bz2.compress(bytes(2**20)) * 1000
    with pytest.raises(FileFormatError, match=r"no \.xyz file"):
        load(zeros)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "cannot be read"),
        (b"no archive", "cannot be read"),
        (b"<!DOCTYPE html>", "cannot be read"),
        (bz2.compress(b""), "end of the archive is missing"),
        (bz2.compress(b"no archive"), "end of the archive is missing"),
        (bz2.compress(b"no archive" * 100), "cannot be read"),
        (qm9_archive()[:-20], "cannot be read"),
        (qm9_archive()[:100], "cannot be read"),
        (bz2.compress(bz2.decompress(qm9_archive())[:2048]), "end of the archive is missing"),
        (bz2.compress(bz2.decompress(qm9_archive())[:700]), "end of the archive is missing"),
        (bz2.compress(bz2.decompress(qm9_archive()).replace(b"ustar", b"xstar", 2)), "cannot be"),
        (tar_bz2([]), "there is no .xyz file"),
        (tar_bz2([("readme.txt", b"text")]), "there is no .xyz file"),
    ],
)
def test_damaged_archives(load, content, text):
    with pytest.raises(FileFormatError, match=r"archive\.tar\.bz2: ") as caught:
        load(content)
    assert text in str(caught.value)


def altered(*replacements):
    text = METHANE
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    return text


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", FileFormatError, "number of atoms"),
        ("\n\n", FileFormatError, "number of atoms"),
        (METHANE[:200], FileFormatError, "lines after the atom count 5"),
        (METHANE + "more\n", FileFormatError, "lines after the atom count 5"),
        (METHANE * 2, FileFormatError, "lines after the atom count 5"),
        (altered(("5\n", "0\n")), StructureError, "no atoms"),
        (altered(("5\n", "99999999999\n")), FileFormatError, "lines after the atom count"),
        (altered(("gdb 1\t", "gdb 1")), FileFormatError, "17 words"),
        (altered(("gdb 1\t", "gdb x\t")), FileFormatError, "index"),
        (altered(("gdb 1\t", f"gdb {10**30}\t")), FileFormatError, "no number of GDB-9"),
        (altered(("1.9761204*^-3", "1.9761204*3")), FileFormatError, "not a number"),
        (altered(("1.9761204*^-3", "nan")), StructureError, "finite"),
        (altered(("C\t", "Q\t")), UnknownElementError, "'Q'"),
        (altered(("C\t", "Cl\t")), UnknownElementError, "CH4|H4Cl"),
        (altered(("-0.0126981359\t 1.0858041578\t 0.0080009958",
                  " 1.0117308433\t 1.4637511618\t 0.0002765748")), StructureError, "nearer"),
    ],
)  # fmt: skip
def test_damaged_records(load, text, error, message):
    with pytest.raises(error, match=message) as caught:
        load(tar_bz2([("dsgdb9nsd_000001.xyz", text.encode())]))
    assert "archive.tar.bz2" in str(caught.value)


def test_records_that_are_no_text(load):
    with pytest.raises(FileFormatError, match=r"dsgdb9nsd_000001\.xyz: it is no text"):
        load(tar_bz2([("dsgdb9nsd_000001.xyz", METHANE.encode() + b"\xff")]))


def test_a_number_that_comes_twice(load):
    members = [(f"dsgdb9nsd_00000{k}.xyz", METHANE.encode()) for k in range(3)]
    with pytest.raises(FileFormatError, match="3 records with the number 1"):
        load(tar_bz2(members))


def test_a_zip_is_no_tar(load):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("dsgdb9nsd_000001.xyz", METHANE)
    with pytest.raises(FileFormatError, match="cannot be read"):
        load(stream.getvalue())
