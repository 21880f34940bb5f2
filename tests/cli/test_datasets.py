"""``kernchem datasets``."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from published import mat, qm7_arrays, qm9_archive, rmd17_archive, serving, uncharacterized

import kernchem
from kernchem import datasets
from kernchem.cli import main
from kernchem.datasets import qm7, qm9


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERNCHEM_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def invoke(*arguments):
    return CliRunner().invoke(main, ["datasets", *map(str, arguments)])


def error(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("kernchem: ")
    return line


def cells(output, name):
    (line,) = (line for line in output.splitlines() if line.split()[:1] == [name])
    return line.split()


def test_list(home):
    output = invoke("list").output
    assert cells(output, "qm_small") == ["qm_small", "1,280", "-", "packaged"]
    assert cells(output, "qm9") == ["qm9", "130,831", "87", "MB", "not", "fetched"]
    assert cells(output, "qm7b") == ["qm7b", "7,211", "?", "not", "fetched"]
    assert cells(output, "md17-aspirin") == ["md17-aspirin", "100,000", "1.1", "GB", "not",
                                             "fetched"]  # fmt: skip
    assert [line.split()[0] for line in output.splitlines()[1:-2]] == datasets.list_datasets()
    for file in datasets.get_dataset("qm7").files:
        file.path.parent.mkdir(parents=True)
        file.path.write_bytes(b"")
    assert cells(invoke("list").output, "qm7")[-1] == "cached"
    assert str(home) in output


def test_list_is_plain_in_a_pipe(home, tmp_path):
    command = [sys.executable, "-m", "kernchem", "datasets", "list"]
    run = subprocess.run(
        command,
        capture_output=True,
        check=True,
        cwd=Path(kernchem.__file__).parent.parent,
        env={
            **os.environ,
            "KERNCHEM_DATA_HOME": "/data",
            "PYTHONIOENCODING": "ascii",
            "FORCE_COLOR": "1",
        },
    )
    text = run.stdout.decode("ascii")
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", datasets.list_datasets())
def test_info(name, monkeypatch):
    monkeypatch.setenv("KERNCHEM_DATA_HOME", "/data")
    result = invoke("info", name)
    assert result.exit_code == 0
    output, entry = result.output, datasets.get_dataset(name)
    assert output.isascii()
    assert max(map(len, output.splitlines())) <= 80
    flat = " ".join(output.split())
    assert cells(output, "name") == ["name", name]
    assert " ".join(entry.summary.split()) in flat
    assert " ".join(entry.citation.split()) in flat
    assert cells(output, "target")[1] == entry.target
    for names, unit, meaning in entry.properties:
        assert names in flat
        assert f"{unit} {meaning}".strip() in flat
    for file in entry.files:
        assert file.url in flat
        assert str(file.path) in flat


def test_info_names_what_help_explains():
    for name in ("qm9", "md17-benzene", "qm_small"):
        ((_, text),) = (
            line.split() for line in invoke("info", name).output.splitlines() if "help(" in line
        )
        module, _, function = text.removeprefix("help(").removesuffix(")").rpartition(".")
        assert callable(getattr(sys.modules[module], function))


def test_licences():
    assert cells(invoke("info", "qm9").output, "licence") == ["licence", "CC0"]
    assert cells(invoke("info", "md17-uracil").output, "licence") == ["licence", "CC0"]
    assert "none stated by the source" in invoke("info", "qm7").output
    assert "licence" not in invoke("info", "qm_small").output


def test_fetch_downloads(monkeypatch, home):
    with serving() as server:
        server.files["data"] = mat(qm7_arrays())
        monkeypatch.setattr(qm7, "QM7", replace(qm7.QM7, url=server.url("data"), size=None))
        result = invoke("fetch", "qm7")
        assert result.exit_code == 0
        assert "qm7: Structures(10 structures, 53 atoms, elements H C N O S)" in result.output
        assert "properties  atomization_energy, fold" in result.output
        assert (home / "qm7" / "qm7.mat").exists()
        assert "qm7.mat" in "".join(result.output.split())
        server.shutdown()
        assert invoke("fetch", "qm7").output == result.output
        assert len(server.requests) == 1


def test_fetch_from_what_is_here(tmp_path):
    archive = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
    archive.write_bytes(qm9_archive())
    (tmp_path / "uncharacterized.txt").write_bytes(uncharacterized([5]))
    result = invoke("fetch", "qm9", "--path", archive)
    assert result.exit_code == 0
    assert "qm9: Structures(4 structures" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    frames = tmp_path / "rmd17.tar.bz2"
    frames.write_bytes(rmd17_archive())
    assert "4 structures, 36 atoms" in invoke("fetch", "md17-ethanol", "--path", frames).output


def test_fetch_all_molecules_from_what_is_here(tmp_path):
    """Nothing is downloaded: there is no server."""
    archive = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
    archive.write_bytes(qm9_archive())
    result = invoke("fetch", "qm9", "--path", archive, "--keep-uncharacterized")
    assert "qm9: Structures(5 structures" in result.output
    told = error("fetch", "qm_small", "--keep-uncharacterized")
    assert "--keep-uncharacterized: qm_small has no such list" in told


def test_an_archive_is_looked_at_before_its_list_is_downloaded(tmp_path, monkeypatch):
    with serving() as server:
        listed = replace(qm9.UNCHARACTERIZED, url=server.url("list"), md5=None, size=None)
        monkeypatch.setattr(qm9, "UNCHARACTERIZED", listed)
        (tmp_path / "known.xyz").write_text("1\n\nHe 0 0 0\n")
        assert "known.xyz: it cannot be read as a .tar.bz2" in error(
            "fetch", "qm9", "--path", tmp_path / "known.xyz"
        )
        assert server.requests == []
        archive = tmp_path / "dsgdb9nsd.xyz.tar.bz2"
        archive.write_bytes(qm9_archive())
        # The cure is an option of the command.
        assert "fetch qm9 --keep-uncharacterized" in error("fetch", "qm9", "--path", archive)


def test_fetch_of_what_is_packaged():
    assert "1280 structures" in invoke("fetch", "qm_small").output
    assert "--path: qm_small is not read from" in error("fetch", "qm_small", "--path", "x")


def test_errors(tmp_path, monkeypatch):
    assert "there is no dataset 'qm5'" in error("info", "qm5")
    assert "there is no dataset 'qm5'" in error("fetch", "qm5")
    assert f"{tmp_path / 'nothing'}: No such file" in error(
        "fetch", "qm9", "--path", tmp_path / "nothing"
    )
    (tmp_path / "page.mat").write_text("<html>")
    assert "page.mat: it cannot be read" in error("fetch", "qm7", "--path", tmp_path / "page.mat")
    with serving() as server:
        monkeypatch.setattr(qm7, "QM7", replace(qm7.QM7, url=server.url("absent")))
        assert "404 (Not Found)" in error("fetch", "qm7")


@pytest.mark.slow
def test_benchmark_takes_a_dataset_by_name(monkeypatch, tmp_path):
    """Its target and unit are the dataset's own."""
    path = tmp_path / "home" / "qm7" / "qm7.mat"
    path.parent.mkdir(parents=True)
    path.write_bytes(mat(qm7_arrays(["CH4", "C2H6", "CH3OH", "CH3CN", "HCOOH"] * 6)))
    options = ["--descriptors", "cm-eigenspectrum", "--sizes", "10", "--test-size", "5",
               "--repeats", "1", "--out", str(tmp_path / "out")]  # fmt: skip
    result = CliRunner().invoke(main, ["benchmark", "--dataset", "qm7", *options])
    assert result.exit_code == 0, result.output
    assert "atomization_energy: 30 molecules" in result.output
    assert "kcal/mol" in result.output
