"""What commands read and write: nothing that was read is replaced, and an interrupt loses nothing.

The files are those before the command, byte by byte.
"""

import csv
import os

import numpy as np
import pytest
from ase.io import write
from command import runner

from kernchem import KRR, load, save
from kernchem.cli import main
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds
from kernchem.io import read
from kernchem.kernels import Laplacian

TARGET = "atomization_energy"
MODEL = ["--target", TARGET, "--descriptor", "bob", "-q"]


def invoke(*arguments):
    return runner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Molecules, a link to them, a folder of them, a model and settings; the present folder."""
    data = load_qm_small()[:40]
    write(tmp_path / "a.xyz", data.to_ase(), format="extxyz")
    (tmp_path / "link.xyz").symlink_to("a.xyz")
    (tmp_path / "many").mkdir()
    write(tmp_path / "many" / "b.xyz", data.to_ase(), format="extxyz")
    model = KRR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-6, optimizer=None)
    save(model.fit(data, data[TARGET]), tmp_path / "m.png", target=TARGET)
    (tmp_path / "s.toml").write_text('descriptor = "bob"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "a.xyz", *MODEL, "--out", "n.png"],
        ["train", "a.xyz", *MODEL, "--out", "x.svg", "--plot", "./x.svg"],
        ["train", "a.xyz", *MODEL, "--out", "a.xyz"],
        ["train", "link.xyz", *MODEL, "--out", "a.xyz"],
        ["train", "a.xyz", "--target", TARGET, "--settings", "s.toml", "--out", "s.toml"],
        ["predict", "m.png", "a.xyz", "--out", "a.xyz", "--name", "other"],
        ["predict", "m.png", "a.xyz", "--plot", "m.png"],
        ["predict", "m.png", "many", "--out", "many/b.xyz", "--name", "other"],
        ["sample", "a.xyz", "--n", "2", "--out", "a.xyz"],
        ["sample", "many", "--n", "2", "--labelled", "a.xyz", "--out", "link.xyz"],
        ["sample", "many", "--n", "2", "--targets", "a.xyz", "--out", "a.xyz"],
        ["learn", "a.xyz", "--folder", "c", "--target", "e", "--out", "a.xyz"],
        ["baseline", "a.xyz", "--method", "pm7", "--output", "a.xyz"],
    ],
)
def test_what_is_read_is_not_replaced(folder, arguments):
    before = contents(folder)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "use another name" in result.stderr
    assert result.stderr.count("\n") == 1
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["train", "none.xyz", *MODEL, "--out", "ro/o.kc", "--plot", "o.png"], "ro/o.kc"),
        (["train", "none.xyz", *MODEL, "--out", "o.kc", "--plot", "ro/o.png"], "ro/o.png"),
        (["predict", "none.kc", "a.xyz", "--out", "ro/o.csv"], "ro/o.csv"),
        (["sample", "a.xyz", "--n", "1000", "--out", "ro/o.xyz"], "ro/o.xyz"),
        (["sample", "a.xyz", "--n", "1000", "--table", "ro/o.csv"], "ro/o.csv"),
    ],
)
def test_a_read_only_folder_is_told_before_anything_is_read(folder, monkeypatch, arguments, option):
    """No folder is read-only for the superuser."""
    (folder / "ro").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "ro" and allowed(path, mode))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert f"{option}: the folder ro is read-only for you" in result.stderr


def test_a_campaign_does_not_replace_its_pool(folder):
    (folder / "c").mkdir()
    (folder / "c" / "labelled.xyz").write_bytes((folder / "a.xyz").read_bytes())
    before = contents(folder)
    result = invoke("learn", "c/labelled.xyz", "--folder", "c", "--oracle", "stored", *MODEL)
    assert result.exit_code == 2
    assert "labelled.xyz in --folder" in result.stderr
    assert contents(folder) == before


def test_other_files_of_the_same_folder_are_written(folder):
    assert invoke("train", "many", *MODEL, "--out", "many/m.kc").exit_code == 0
    assert invoke("train", "many", *MODEL, "--out", "many/m.kc").exit_code == 0
    assert {path.name for path in (folder / "many").iterdir()} == {"b.xyz", "m.kc", "m.png"}


# -- what is written ------------------------------------------------------------------------------

RESERVED = ["Lattice", "Properties", "pbc", "stress", "virial", "charge", "multiplicity", "SMILES",
            "a=b", "a'b", 'a"b', "a\\b", "a\nb", "a\tb", " "]  # fmt: skip


@pytest.mark.parametrize("name", RESERVED)
def test_names_that_mean_something_else(folder, name):
    before = contents(folder)
    result = invoke("predict", "m.png", "a.xyz", "--out", "p.xyz", "--name", name)
    assert result.exit_code == 2
    assert "extended XYZ cannot hold numbers under the name" in result.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["energy", "dipole", "a b", "a:b", "\u00e9", "1", "T", "numbers"])
def test_other_names_are_read_back(folder, name):
    assert invoke("predict", "m.png", "a.xyz", "--out", "p.xyz", "--name", name).exit_code == 0
    before, after = read(folder / "a.xyz"), read(folder / "p.xyz")
    expected = load(folder / "m.png").predict(before)
    np.testing.assert_array_equal(after[name], expected)
    assert set(after.properties) == {*before.properties, name}


def test_headings_that_are_those_of_other_columns(folder):
    for name in ("index", "id", "smiles", "residual"):
        result = invoke("predict", "m.png", "a.xyz", "--name", name)
        assert result.exit_code == 2
        assert "another column has this name" in result.stderr
        assert result.stdout == ""


@pytest.fixture
def late(folder):
    """Molecules of which the first have neither label nor name, and one of the others no id."""
    frames = load_qm_small()[:12].to_ase()
    for k, atoms in enumerate(frames):
        if k < 5:
            for name in (TARGET, "id", "smiles"):
                del atoms.info[name]
        if k == 8:
            del atoms.info["id"]
    write(folder / "late.xyz", frames, format="extxyz")
    return frames


def test_columns_that_begin_late_are_in_the_table(folder, late):
    for size in (2, 5, 12):
        out = folder / f"p{size}.csv"
        result = invoke("predict", "m.png", "late.xyz", "--out", out, "--batch", size)
        assert result.exit_code == 0, result.output
        assert "lacks" not in result.stderr
        with out.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        assert list(rows[0]) == [
            "index", "formula", "id", "smiles", f"predicted_{TARGET}", "reference", "residual",
        ]  # fmt: skip
        for k, (row, atoms) in enumerate(zip(rows, late, strict=True)):
            assert int(row["index"]) == k
            assert row["smiles"] == atoms.info.get("smiles", "")
            assert (row["id"] and float(row["id"])) == atoms.info.get("id", "")
            if k < 5:
                assert row["reference"] == row["residual"] == ""
            else:
                label, predicted = atoms.info[TARGET], float(row[f"predicted_{TARGET}"])
                assert float(row["reference"]) == label
                assert float(row["residual"]) == label - predicted


def test_columns_that_a_pipe_cannot_take_are_told(folder, late):
    result = invoke("predict", "m.png", "late.xyz", "--batch", 5)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 13
    assert "lacks id, smiles, reference, residual" in result.stderr
    assert "lacks" not in invoke("predict", "m.png", "late.xyz", "--batch", 12).stderr


def test_an_identifier_that_is_missing_is_an_empty_cell_of_the_picks(folder, late):
    assert invoke("sample", "late.xyz", "--n", 12, "--table", "p.csv", "-q").exit_code == 0
    with (folder / "p.csv").open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    assert {int(row["pool_index"]) for row in rows if row["id"] == ""} == {0, 1, 2, 3, 4, 8}


# -- interrupts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "where", "told"),
    [
        (["train", "a.xyz", *MODEL, "--out", "m.kc"], "kernchem.io.iread", "Nothing half-written"),
        (["predict", "m.png", "a.xyz"], "kernchem.model_files.load", "Nothing half-written"),
        (["predict", "m.png", "a.xyz"], "kernchem.io.iread", "Nothing half-written"),
        (["sample", "a.xyz", "--n", "2"], "kernchem.io.read", "Nothing half-written"),
        (["learn", "a.xyz", "--folder", "c", "--target", "e"], "kernchem.io.read", "kept in c"),
        (["benchmark", "--dataset", "a.xyz"], "kernchem.io.read", "Nothing half-written"),
        (["datasets", "info", "qm7"], "kernchem.datasets.get_dataset", "Nothing half-written"),
    ],
)
def test_an_interrupt_ends_with_status_130_anywhere(folder, monkeypatch, arguments, where, told):
    before = contents(folder)

    def interrupt(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    result = invoke(*arguments)
    assert result.exit_code == 130
    assert result.stderr.startswith("Interrupted. ")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert contents(folder) == before
