"""What commands read and write: nothing that was read is replaced, and an interrupt loses nothing.

The files are those before the command, byte by byte.
"""

import pytest
from ase.io import write
from command import runner

from kernchem import KRR, save
from kernchem.cli import main
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds
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


def test_other_files_of_the_same_folder_are_written(folder):
    assert invoke("train", "many", *MODEL, "--out", "many/m.kc").exit_code == 0
    assert invoke("train", "many", *MODEL, "--out", "many/m.kc").exit_code == 0
    assert {path.name for path in (folder / "many").iterdir()} == {"b.xyz", "m.kc", "m.png"}


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
