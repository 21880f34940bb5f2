import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from click.testing import CliRunner

import kernchem
from kernchem.cli import main
from kernchem.datasets import load_qm_small
from kernchem.errors import SettingError

TIMES = ("fit_seconds", "predict_seconds")
SMALL = ["--descriptors", "cm,cm-eigenspectrum", "--sizes", "10,20", "--test-size", "10"]
TARGET, GFN2 = "atomization_energy", "gfn2_atomization_energy"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def command(*arguments):
    return [sys.executable, "-m", "kernchem", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=Path(kernchem.__file__).parent.parent,
        check=False,
    )


def timeless(folder):
    records = json.loads((folder / "results.json").read_text("utf-8"))["records"]
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def is_in_table(row, output, suffix=""):
    """Whether a line shows mean and standard deviation, with one digit after the point or two."""
    cells = [f"{row['mae']:.{k}f} ± {row['mae_std']:.{k}f}{suffix}" for k in (1, 2)]
    return any(
        line.split()[:1] == [row["descriptor"]] and cell in line
        for line in output.splitlines()
        for cell in cells
    )


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """A text for each figure, as drawing takes longer than all fits; undone where one is seen."""

    def write_text(summary, settings, path):
        path.write_text(f"{len(summary)} rows")

    monkeypatch.setattr("kernchem.benchmark.curves.write_figure", write_text)


@pytest.fixture(scope="module")
def molecules_file(tmp_path_factory):
    """Thirty molecules in an extended XYZ file that ASE wrote, energies in eV."""
    data = load_qm_small(unit="eV")[:30]
    frames = []
    for atoms, energy, baseline in zip(data.to_ase(), data[TARGET], data[GFN2], strict=True):
        atoms.info = {"energy": energy, "cheap": baseline}
        for name in set(atoms.arrays) - {"numbers", "positions"}:
            del atoms.arrays[name]
        frames.append(atoms)
    path = tmp_path_factory.mktemp("files") / "molecules.extxyz"
    write(path, frames)
    return path


# -- the command ----------------------------------------------------------------------------------


def test_version_and_help():
    assert invoke("--version").output == f"kernchem, version {kernchem.__version__}\n"
    assert "benchmark" in invoke("--help").output
    shown = invoke("benchmark", "--help").output
    for option in ("--dataset", "--target", "--unit", "--out", "--overwrite", "qm_small"):
        assert option in shown


def test_defaults_are_the_packaged_molecules(monkeypatch, tmp_path):
    given = {}

    def record(data, target, **settings):
        given.update(settings, data=data, target=target)
        raise SettingError("seen enough")

    monkeypatch.setattr("kernchem.benchmark.learning_curves", record)
    result = invoke("benchmark")
    assert result.exit_code == 2
    assert len(given["data"]) == 1280
    assert (given["target"], given["baseline"], given["unit"]) == (TARGET, GFN2, "kcal/mol")
    np.testing.assert_array_equal(given["data"][TARGET], load_qm_small()[TARGET])
    assert given["descriptors"] is given["sizes"] is given["test_size"] is None
    assert (given["kernels"], given["seed"], given["repeats"]) == (["auto"], 0, 3)
    assert given["out"] == Path("kernchem-benchmark")
    assert not given["overwrite"]


@pytest.fixture
def small_recipe(monkeypatch):
    """A quick sum of kernels under the name of the recommended one."""
    from kernchem.descriptors import BagOfBonds, CoulombMatrix
    from kernchem.models import Term
    from kernchem.models.recipes import RECIPES

    terms = Term(BagOfBonds()) + Term(CoulombMatrix())
    monkeypatch.setitem(RECIPES, "composite", lambda: terms)


@pytest.mark.slow
def test_best_runs_the_recipe_beside_the_reference(small_recipe, tmp_path):
    options = ["--sizes", "25", "--test-size", 10, "--repeats", 1, "--quiet", "--out", tmp_path]
    assert invoke("benchmark", "--best", *options).exit_code == 0
    assert [(record["mode"], record["descriptor"]) for record in timeless(tmp_path)] == [
        ("direct", "composition"), ("direct", "composite"),
        ("delta", "composition"), ("delta", "composite"),
    ]  # fmt: skip
    assert {record["failure"] for record in timeless(tmp_path)} == {None}
    options += ["--overwrite", "--no-delta", "--descriptors", "cm"]
    assert invoke("benchmark", "--best", *options).exit_code == 0
    found = [record["descriptor"] for record in timeless(tmp_path)]
    assert found == ["composition", "composite", "cm"]


@pytest.mark.slow
def test_settings_file_is_what_python_makes_of_it(tmp_path):
    from kernchem.benchmark import learning_curves
    from kernchem.descriptors import CoulombMatrix
    from kernchem.kernels import Gaussian

    path, out = tmp_path / "model.toml", tmp_path / "out"
    path.write_text(
        'alpha = 1e-6\ncriterion = "rmse"\n[descriptor]\nname = "cm"\nsize = 30\n'
        '[kernel]\nname = "gaussian"\nlength_scale = 50.0\n'
    )
    result = invoke("benchmark", "--settings", path, "--sizes", 25, "--test-size", 10,
                    "--repeats", 1, "--no-delta", "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    expected = learning_curves(
        load_qm_small(), TARGET, descriptors=CoulombMatrix(size=30), kernels=Gaussian(50.0),
        alpha=1e-6, criterion="rmse", sizes=[25], test_size=10, repeats=1,
    )  # fmt: skip
    for found, record in zip(timeless(out), expected.records, strict=True):
        assert found == {k: v for k, v in record.items() if k not in TIMES}
    path.write_text('[descriptor]\nname = "cm"\nr_cut = 3\n')
    (line,) = invoke("benchmark", "--settings", path, "--out", out).output.splitlines()
    assert "model.toml: descriptor cm: unknown key 'r_cut'; use name, " in line


@pytest.mark.slow
def test_run_prints_tables_and_names_the_folder(monkeypatch, tmp_path):
    monkeypatch.undo()
    out = tmp_path / "out"
    options = ["--sizes", "30,50", "--test-size", 20, "--repeats", 2, "--seed", 5]
    result = invoke("benchmark", *SMALL[:2], *options, "--out", out)
    assert result.exit_code == 0
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert results["settings"]["seed"] == 5
    for row in results["summary"]:
        assert is_in_table(row, result.output)
    # The second pair of tables: direct, then Delta.
    text = result.output.split("the rest at N = 50")
    for mode, part in zip(("direct", "delta"), text[1:], strict=True):
        rows = {line.split()[0]: line.split()[2:5] for line in part.splitlines() if line.strip()}
        for row in results["summary"]:
            if (row["mode"], row["n_train"]) == (mode, 50):
                expected = [row[name] for name in ("rmse", "p95", "max_error")]
                cells = [float(cell) for cell in rows[row["descriptor"]]]
                assert cells == pytest.approx(expected, abs=0.051)
    assert "Delta on gfn2_atomization_energy: mean absolute error / kcal/mol" in result.output
    assert result.output.splitlines()[-1].endswith(str(out))
    assert "Note: " not in result.output
    assert (out / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    assert b"</svg>" in (out / "learning_curves.svg").read_bytes()


@pytest.mark.slow
def test_error_bars_are_printed(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text('model = "gpr"\nalpha = 1e-3\ndescriptor = "cm"\n')
    out = tmp_path / "out"
    options = ["--sizes", 30, "--test-size", 20, "--repeats", 1, "--settings", path, "--out", out]
    result = invoke("benchmark", *options)
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert results["settings"]["model"] == "gpr"
    names = ["miscalibration_area", "ence", "coverage_90", "error_spearman", "nll", "crps",
             "sharpness"]  # fmt: skip
    for title, mode in (("Direct", "direct"), (f"Delta on {GFN2}", "delta")):
        table = result.output.split(f"{title}: error bars at N = 30, CRPS and sharpness / kcal/mol")
        # Headings, a rule, and one row: element counts have no error bars.
        lines = table[1].splitlines()[1:5]
        assert lines[0].split()[2:] == ["miscal", "ENCE", "in", "90", "%", "Spearman", "NLL",
                                        "CRPS", "sharp"]  # fmt: skip
        assert lines[3].strip() == ""
        (row,) = (r for r in results["records"][1::2] if r["mode"] == mode)
        cells = [float(cell) for cell in lines[2].split()[2:]]
        for name, cell in zip(names, cells, strict=True):
            in_unit = name in {"crps", "sharpness"}
            assert cell == pytest.approx(row[name], abs=0.051 if in_unit else 0.00051)
    changed = invoke("benchmark", *options, "--model", "krr")
    assert changed.exit_code == 2
    assert "model was 'gpr' and is now 'krr'" in changed.output


def test_failed_fits_are_counted_and_explained(tmp_path):
    # Ten molecules are too few to hold all five elements in every repeat.
    result = invoke("benchmark", *SMALL, "--repeats", 4, "--out", tmp_path)
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    partial = [row for row in results["summary"] if 1 < row["n_repeats"] < 4]
    assert partial
    for row in partial:
        assert is_in_table(row, result.output, f" ({row['n_repeats']})")
    n_failed = sum(record["failure"] is not None for record in results["records"])
    assert f"Note: {n_failed} of {len(results['records'])} fits failed" in result.output


def test_unit_converts_the_packaged_molecules(tmp_path):
    for unit in ("eV", "meV"):
        assert invoke("benchmark", *SMALL, "--repeats", 1, "--unit", unit, "--no-delta", "--quiet",
                      "--out", tmp_path / unit).output == ""  # fmt: skip
    first, second = (timeless(tmp_path / unit)[0] for unit in ("eV", "meV"))
    assert second["mae"] == pytest.approx(1000 * first["mae"])
    assert {record["mode"] for record in timeless(tmp_path / "eV")} == {"direct"}


def test_another_property_has_no_baseline_and_no_unit_of_its_own(tmp_path):
    options = ["--target", "mu", "--repeats", 1, "--out", tmp_path, "--unit", "debye"]
    result = invoke("benchmark", *SMALL, *options)
    assert result.exit_code == 0
    assert "Direct: mean absolute error / debye" in result.output
    assert "Delta" not in result.output


def test_file_and_folder_of_structures(molecules_file, tmp_path):
    options = ["--target", "energy", "--baseline", "cheap", "--unit", "eV", "--repeats", 1]
    data = load_qm_small(unit="eV")[:30]
    for name, dataset in (("file", molecules_file), ("folder", molecules_file.parent)):
        out = tmp_path / name
        result = invoke("benchmark", "--dataset", dataset, *options, *SMALL, "--out", out)
        assert result.exit_code == 0, result.output
        assert "30 molecules, 10 for testing" in result.output
        assert "/ eV" in result.output
    assert timeless(tmp_path / "file") == timeless(tmp_path / "folder")
    from kernchem.benchmark import learning_curves

    expected = learning_curves(
        data, TARGET, baseline=GFN2, descriptors=["cm", "cm-eigenspectrum"], sizes=[10, 20],
        test_size=10, repeats=1,
    )  # fmt: skip
    for found, record in zip(timeless(tmp_path / "file"), expected.records, strict=True):
        assert found["mae"] == pytest.approx(record["mae"], rel=1e-4)


def test_several_baselines_at_once(tmp_path):
    options = ["--baseline", GFN2, "--baseline", "homo", "--repeats", 1, "--out", tmp_path]
    result = invoke("benchmark", *SMALL, *options)
    assert result.exit_code == 0, result.output
    assert f"Delta on {GFN2}, homo" in result.output
    from kernchem.benchmark import learning_curves

    expected = learning_curves(
        load_qm_small(), TARGET, baseline=[GFN2, "homo"], descriptors=["cm", "cm-eigenspectrum"],
        sizes=[10, 20], test_size=10, repeats=1,
    )  # fmt: skip
    for found, record in zip(timeless(tmp_path), expected.records, strict=True):
        assert found["mae"] == pytest.approx(record["mae"], rel=1e-4)


def test_second_start_continues_and_overwrite_starts_afresh(tmp_path):
    options = [*SMALL, "--repeats", 1, "--out", tmp_path]
    assert invoke("benchmark", *options).exit_code == 0
    first = (tmp_path / "records.jsonl").read_text()
    assert invoke("benchmark", *options).exit_code == 0
    assert (tmp_path / "records.jsonl").read_text() == first
    assert invoke("benchmark", *options, "--overwrite").exit_code == 0
    assert (tmp_path / "records.jsonl").read_text() != first


def test_interrupt_says_how_to_go_on(monkeypatch, tmp_path):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("kernchem.benchmark.learning_curves", interrupted)
    result = invoke("benchmark", "--out", tmp_path)
    assert result.exit_code == 130
    assert str(tmp_path) in result.output
    assert "goes on from there" in result.output


# -- another process ------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_run_goes_on_to_the_same_results(tmp_path):
    options = ["benchmark", *SMALL, "--repeats", 3]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    process = subprocess.Popen(
        command(*options, "--out", killed),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(kernchem.__file__).parent.parent,
    )
    path = killed / "records.jsonl"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= 5:
            break
        time.sleep(0.002)
    process.kill()
    process.wait()
    total = 3 * 2 * 2 * 3
    assert 5 <= path.read_bytes().count(b"\n") < total
    assert not (killed / "results.json").exists()
    before = path.read_bytes().splitlines()[:5]

    resumed = run(*options, "--out", killed)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr == ""
    assert path.read_bytes().splitlines()[:5] == before
    assert invoke(*options, "--out", undisturbed, "--quiet").exit_code == 0
    assert len(timeless(killed)) == total
    for found, expected in zip(timeless(killed), timeless(undisturbed), strict=True):
        assert found == expected
    results = json.loads((killed / "results.json").read_text("utf-8"))
    for start in (results, *results["resumed"]):
        assert start["command"].endswith(f"--out {killed}")
    with (killed / "results.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == total


def test_errors_are_one_line_on_stderr(tmp_path):
    failed = run("benchmark", "--dataset", "absent.xyz", "--out", tmp_path / "out")
    assert failed.returncode == 2
    assert failed.stdout == ""
    (line,) = failed.stderr.splitlines()
    assert line.startswith("kernchem: --dataset absent.xyz: there is no such file or folder")
    assert "qm_small" in line
    assert not (tmp_path / "out").exists()


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "qm_9"], "no dataset of that name; datasets: md17-aspirin"),
        (["--target", "enthalpy"], "there is no property 'enthalpy'; the structures carry:"),
        (["--target", "smiles"], "one real number per molecule"),
        (["--baseline", "pm6"], "there is no property 'pm6'"),
        (["--baseline", GFN2, "--no-delta"], "exclude each other"),
        (["--descriptors", "sopa"], "there is no descriptor 'sopa'; use cm, "),
        (["--descriptors", "cm", "--kernels", "rematch"], "features of whole structures"),
        (["--settings", "absent.toml"], "absent.toml"),
        (["--settings", "absent.toml", "--best"], "--settings excludes --descriptors"),
        (["--model", "svm"], "'svm' is unknown; use krr or gpr"),
        (["--descriptors", ","], "nothing to compare"),
        (["--kernels", "cubic"], "'cubic' is unknown; use auto, gaussian, laplacian"),
        (["--sizes", "100,5000"], "use sizes up to"),
        (["--sizes", "100;200"], "e.g. --sizes 100,200"),
        (["--sizes", ""], "e.g. --sizes 100,200"),
        (["--test-size", "1279"], "are more than the 1280 there are"),
        (["--repeats", "0"], "repeats: 0 is no whole number from 1 on"),
        (["--unit", "kcal"], "--unit kcal: use one of kcal/mol, kJ/mol, eV"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    result = invoke("benchmark", *options, "--out", tmp_path / "out")
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert line.startswith("kernchem: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_wrong_files(molecules_file, tmp_path):
    cut = tmp_path / "cut.xyz"
    cut.write_text("\n".join(molecules_file.read_text().splitlines()[:-3]))
    for options, message in (
        (["--dataset", cut, "--target", "energy"], "cut.xyz"),
        (["--dataset", molecules_file], "--target is needed with a file"),
        (["--dataset", molecules_file], "holds: cheap, energy"),
        (["--dataset", molecules_file, "--target", "gap"], "no property 'gap'"),
    ):
        result = invoke("benchmark", *options, "--out", tmp_path / "out")
        assert result.exit_code == 2
        (line,) = result.output.splitlines()
        assert message in line


def test_other_settings_in_the_same_folder(tmp_path):
    options = ["benchmark", *SMALL, "--repeats", 1, "--quiet", "--out", tmp_path]
    assert invoke(*options).exit_code == 0
    result = invoke(*options, "--seed", 1)
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert "seed was 0 and is now 1; add --overwrite" in line


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("benchmark", *SMALL, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 2
    (line,) = result.output.splitlines()
    assert "file" in line
