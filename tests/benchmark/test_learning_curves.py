import csv
import json
import platform
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

import kernchem
from kernchem import KRR
from kernchem.benchmark import LearningCurves, learning_curves
from kernchem.datasets import load_qm_small
from kernchem.descriptors import FCHL19, EncodedBonds, OverlapEigenvalues
from kernchem.errors import PropertyError, ResumeError, SettingError, StructureError
from kernchem.kernels import Gaussian
from kernchem.models import Term
from kernchem.structures import Structures

TARGET, GFN2 = "atomization_energy", "gfn2_atomization_energy"
SETTINGS = {
    "baseline": GFN2,
    "descriptors": ["cm", "cm-eigenspectrum"],
    "sizes": [10, 20],
    "repeats": 2,
    "test_size": 10,
    "unit": "kcal/mol",
}
TIMES = ("fit_seconds", "predict_seconds")
FILES = {
    "run.json", "records.jsonl", "results.json", "results.csv",
    "learning_curves.png", "learning_curves.svg",
}  # fmt: skip


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """A text for each figure, as drawing takes longer than all fits; undone where one is seen."""

    def write_text(summary, settings, path):
        path.write_text(f"{len(summary)} rows")

    monkeypatch.setattr("kernchem.benchmark.curves.write_figure", write_text)


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[:40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "made" / "here"


@pytest.fixture(scope="module")
def curves(small, folder):
    return learning_curves(small, TARGET, **SETTINGS, out=folder)


def timeless(records):
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def renamed(data, **properties):
    return Structures.from_arrays(
        [s.numbers for s in data], [s.positions for s in data], properties=properties
    )


# -- records --------------------------------------------------------------------------------------


def test_one_record_for_each_combination(curves):
    keys = {
        (r["repeat"], r["n_train"], r["mode"], r["descriptor"], r["kernel"]) for r in curves.records
    }
    assert keys == {
        (repeat, size, mode, descriptor, kernel)
        for repeat in (0, 1)
        for size in (10, 20)
        for mode in ("direct", "delta")
        for descriptor, kernel in (
            ("composition", ""), ("cm", "laplacian"), ("cm-eigenspectrum", "laplacian"),
        )
    }  # fmt: skip
    assert len(curves.records) == len(keys)
    assert len({tuple(record) for record in curves.records}) == 1


def test_equal_seeds_give_equal_records(curves, small):
    again = learning_curves(small, TARGET, **SETTINGS)
    assert timeless(again.records) == timeless(curves.records)
    other = learning_curves(small, TARGET, **SETTINGS, seed=1)
    assert other.records[0]["mae"] != curves.records[0]["mae"]


def test_no_delta_without_a_baseline(small):
    settings = {**SETTINGS, "baseline": None, "descriptors": "cm", "sizes": [10], "repeats": 1}
    assert {r["mode"] for r in learning_curves(small, TARGET, **settings).records} == {"direct"}


def test_molecules_without_a_label_are_left_out_and_told(small):
    y, baseline = small[TARGET].copy(), small[GFN2].copy()
    y[3], baseline[[3, 5]] = np.nan, np.inf
    settings = {**SETTINGS, "descriptors": "cm", "sizes": [10], "repeats": 1}
    found = learning_curves(renamed(small, **{TARGET: y, GFN2: baseline}), TARGET, **settings)
    rows = [k for k in range(40) if k not in {3, 5}]
    clean = renamed(small[rows], **{TARGET: y[rows], GFN2: baseline[rows]})
    expected = learning_curves(clean, TARGET, **settings)
    assert timeless(found.records) == timeless(expected.records)
    assert found.run["data"]["n_dropped"] == 2
    assert found.notes()[0].startswith("2 molecules without a finite target or baseline")


@pytest.mark.parametrize("target", ["smiles", "dipole_dft", "q_mulliken", "absent"])
def test_target_must_be_one_number_per_molecule(small, target):
    with pytest.raises(PropertyError, match=target):
        learning_curves(small, target, **SETTINGS)


def test_baseline_must_be_there(small):
    with pytest.raises(PropertyError, match="absent"):
        learning_curves(small, TARGET, **{**SETTINGS, "baseline": "absent"})


def test_settings_are_checked_before_the_folder_is_made(small, tmp_path):
    with pytest.raises(SettingError):
        learning_curves(small, TARGET, sizes=[100], out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# -- summary --------------------------------------------------------------------------------------


def test_summary_is_mean_and_standard_deviation(curves):
    rows = curves.summary()
    assert len(rows) == 2 * 3 * 2
    for row in rows:
        own = [
            r for r in curves.records
            if all(r[k] == row[k] for k in ("mode", "descriptor", "kernel", "n_train"))
        ]  # fmt: skip
        assert row["n_repeats"] == len(own) == 2
        for name in ("mae", "rmse", "p95", "max_error", "r2", "fit_seconds"):
            first, second = (r[name] for r in own)
            assert_allclose(row[name], (first + second) / 2)
            # Two values: the standard deviation of the sample is their distance over sqrt(2).
            assert_allclose(row[f"{name}_std"], abs(first - second) / np.sqrt(2), atol=1e-15)


def test_summary_is_in_order(curves):
    shown = [(r["mode"], r["descriptor"], r["n_train"]) for r in curves.summary()]
    names = ["composition", "cm", "cm-eigenspectrum"]
    assert shown == [(m, d, n) for m in ("direct", "delta") for d in names for n in (10, 20)]


def record(**changes):
    base = {
        "repeat": 0, "n_train": 10, "n_test": 5, "mode": "direct", "descriptor": "cm",
        "kernel": "laplacian", "mae": 1.0, "rmse": 1.0, "p95": 1.0, "max_error": 1.0, "r2": 0.5,
        "loo_mae": 1.0, "length_scale": 1.0, "alpha": 1.0, "condition": 1.0, "jitter": 0.0,
        "fit_seconds": 1.0, "predict_seconds": 1.0, "failure": None, "warnings": [],
    }  # fmt: skip
    return {**base, **changes}


def test_failed_fits_are_left_out_of_means_and_told(tmp_path):
    failed = record(repeat=1, mae=None, failure="no Si in the training set")
    mixed = LearningCurves([record(), failed])
    (row,) = mixed.summary()
    assert (row["n_repeats"], row["mae"], row["mae_std"]) == (1, 1.0, None)
    reason = "the first (cm direct N=10): no Si in the training set"
    assert mixed.notes() == [f"1 of 2 fits failed; {reason}"]
    alone = LearningCurves([failed])
    assert alone.summary()[0]["mae"] is None
    alone.save(tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["summary"][0]["mae"] is None


# -- files ----------------------------------------------------------------------------------------


def test_folder_holds_the_run_and_nothing_else(curves, folder):
    assert {path.name for path in folder.iterdir()} == FILES


def test_results_can_be_repeated_from_their_file(curves, folder):
    results = json.loads((folder / "results.json").read_text("utf-8"))
    assert results["records"] == curves.records
    assert results["summary"] == curves.summary()
    assert results["settings"]["seed"] == 0
    assert results["settings"]["sizes"] == [10, 20]
    assert results["versions"]["kernchem"] == kernchem.__version__
    assert results["versions"]["numpy"] == np.__version__
    assert results["versions"]["python"] == platform.python_version()
    assert set(results["versions"]) == {
        "kernchem", "numpy", "scipy", "scikit-learn", "numba", "python",
    }  # fmt: skip
    assert "pytest" in results["command"]
    assert len(results["data"]["sha256"]) == 64


def test_table_parses_and_tells_its_origin(curves, folder):
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(curves.records)
    for row, expected in zip(rows, curves.records, strict=True):
        assert float(row["mae"]) == expected["mae"]
        assert int(row["n_train"]) == expected["n_train"]
        assert (row["seed"], row["unit"], row["target"]) == ("0", "kcal/mol", TARGET)
        assert row["kernchem"] == kernchem.__version__
        assert "pytest" in row["command"]


def test_pictures_are_valid_and_reproducible(monkeypatch, curves, folder, tmp_path):
    monkeypatch.undo()
    png = (folder / "learning_curves.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert png.rstrip().endswith(b"IEND\xaeB`\x82")
    root = ET.fromstring((folder / "learning_curves.svg").read_text("utf-8"))
    assert root.tag.endswith("svg")
    curves.plot(tmp_path / "again.svg")
    again = (tmp_path / "again.svg").read_bytes()
    assert again == (folder / "learning_curves.svg").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.svg"]


def test_axes_say_what_they_show(curves):
    ax = Figure().add_subplot()
    curves.plot(ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xticks().tolist() == [10, 20]
    assert ax.get_ylabel() == "mean absolute error / kcal/mol"
    assert [text.get_text() for text in ax.texts] == ["1 kcal/mol"]
    assert len(ax.containers) == 6
    drawn = {tuple(c.lines[0].get_ydata()) for c in ax.containers}
    rows = curves.summary()
    assert drawn == {(a["mae"], b["mae"]) for a, b in zip(rows[::2], rows[1::2], strict=True)}
    dashed = [c for c in ax.containers if c.lines[0].get_linestyle() == "--"]
    assert len(dashed) == 3
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[:4] == ["composition", "cm", "cm-eigenspectrum", "direct"]


@pytest.mark.parametrize(("unit", "height"), [("eV", 0.0433641), (None, None), ("debye", None)])
def test_chemical_accuracy_is_drawn_in_units_of_energy_only(unit, height):
    curves = LearningCurves([record()], {"settings": {"target": "x", "test_size": 5, "repeats": 1,
                                                      "unit": unit}})  # fmt: skip
    ax = Figure().add_subplot()
    curves.plot(ax)
    assert len(ax.texts) == (height is not None)
    if height is not None:
        assert_allclose(ax.texts[0].xy[1], height, rtol=1e-5)


# -- resuming -------------------------------------------------------------------------------------


def run_until(monkeypatch, small, out, n_fits):
    """Start a run that is interrupted when ``n_fits`` records were written."""
    from kernchem.benchmark.run_folder import RunFolder

    append = RunFolder.append

    def stopping(self, record):
        if len(self.records) == n_fits:
            raise InterruptedError
        append(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", stopping)
        with pytest.raises(InterruptedError):
            learning_curves(small, TARGET, **SETTINGS, out=out)


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_interrupted_run_goes_on(monkeypatch, curves, small, tmp_path, cut):
    run_until(monkeypatch, small, tmp_path, 5)
    path = tmp_path / "records.jsonl"
    text = path.read_text()
    path.write_text(text[: len(text) - cut])
    stored = [json.loads(line) for line in text.splitlines()]
    resumed = learning_curves(small, TARGET, **SETTINGS, out=tmp_path)
    assert timeless(resumed.records) == timeless(curves.records)
    # What was finished was not fitted again: the times are those of the first start.
    kept = 4 if cut > 1 else 5
    assert resumed.records[:kept] == stored[:kept]
    assert [json.loads(line) for line in path.read_text().splitlines()] == resumed.records
    assert len(resumed.run["resumed"]) == 1
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_finished_run_is_not_repeated(curves, small, folder):
    again = learning_curves(small, TARGET, **SETTINGS, out=folder)
    assert again.records == curves.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed was 0 and is now 1; add --overwrite"),
        ({"sizes": [10]}, r"sizes was \[10, 20\] and is now \[10\]"),
        ({"descriptors": ["cm"]}, "candidates was"),
        ({"unit": None}, "unit was 'kcal/mol' and is now None"),
    ],
)
def test_other_settings_need_another_folder(curves, small, folder, change, message):
    before = (folder / "run.json").read_bytes()
    with pytest.raises(ResumeError, match=message):
        learning_curves(small, TARGET, **{**SETTINGS, **change}, out=folder)
    assert (folder / "run.json").read_bytes() == before


def test_a_kernel_that_looks_alike_needs_another_folder(small, tmp_path):
    given = {"sizes": [20], "repeats": 1, "descriptors": "cm", "out": tmp_path}
    fixed, free = Gaussian(10.0, "fixed"), Gaussian(10.0)
    both = learning_curves(small, TARGET, **{**given, "out": None}, kernels=[fixed, free])
    alone = learning_curves(small, TARGET, **given, kernels=fixed)
    with pytest.raises(ResumeError, match=r"candidates was .*'fixed'"):
        learning_curves(small, TARGET, **given, kernels=free)
    maes = [row["mae"] for row in both.records]
    assert len(maes) == len(set(maes)) == 3
    assert maes[1] == alone.records[1]["mae"]


def test_other_data_need_another_folder(curves, small, folder):
    y = small[TARGET].copy()
    y[0] += 1e-9
    changed = renamed(small, **{TARGET: y, GFN2: small[GFN2]})
    with pytest.raises(ResumeError, match="molecules or their labels are not the same"):
        learning_curves(changed, TARGET, **SETTINGS, out=folder)


# -- Gaussian processes ---------------------------------------------------------------------------

ERROR_BARS = [
    "miscalibration_area", "ence", "coverage_90", "sharpness", "nll", "crps", "error_spearman",
]  # fmt: skip


def test_records_of_ridge_regression_have_no_error_bars(curves, folder):
    assert list(curves.records[-1]) == list(record())
    assert "model" not in curves.run["settings"]
    assert "crps" not in curves.summary()[0]


def test_records_of_a_process_have_error_bars(small, tmp_path):
    settings = {**SETTINGS, "descriptors": "cm", "sizes": [20], "repeats": 2, "baseline": None}
    made = learning_curves(small, TARGET, **settings, model="gpr", alpha=1e-3, out=tmp_path)
    names = list(record())
    k = names.index("loo_mae")
    assert {tuple(r) for r in made.records} == {(*names[:k], *ERROR_BARS, *names[k:])}
    reference, row = made.summary()
    for name in ERROR_BARS:
        first, second = (r[name] for r in made.records if r["descriptor"] == "cm")
        assert_allclose(row[name], (first + second) / 2)
        assert reference[name] is None
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["crps"] for row in rows] == [str(r["crps"] or "") for r in made.records]
    # A finished run is not repeated, and a run of another model is another run.
    again = learning_curves(small, TARGET, **settings, model="gpr", alpha=1e-3, out=tmp_path)
    assert again.records == made.records
    with pytest.raises(ResumeError, match="model was 'gpr' and is now 'krr'; "):
        learning_curves(small, TARGET, **settings, alpha=1e-3, criterion="rmse", out=tmp_path)


def test_a_run_of_ridge_regression_does_not_go_on_as_a_process(curves, small, folder):
    with pytest.raises(ResumeError, match="model was 'krr' and is now 'gpr'"):
        learning_curves(small, TARGET, **SETTINGS, model="gpr", out=folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "svm"}, "'svm' is unknown; use krr or gpr"),
        ({"model": ["gpr"]}, "unknown"),
        ({"model": "gpr", "criterion": "mae"}, "criterion is a setting of krr"),
        ({"alpha": "fit"}, "'fit' is a word of gpr"),
        ({"alpha": float("nan")}, "alpha float nan; use a positive number"),
        ({"alpha": -1.0}, "alpha float -1.0; use a positive number"),
        ({"alpha": True}, "alpha bool True; use a positive number"),
        ({"alpha": "x"}, "alpha str 'x'; use a positive number"),
        ({"unit": object()}, "neither a text nor a finite number"),
        ({"baseline": TARGET}, "is the target itself"),
        ({"baseline": [GFN2, GFN2]}, "is named twice"),
        ({"descriptors": EncodedBonds(max_bonds=0)}, "max_bonds=0"),
        ({"descriptors": FCHL19(r_cut=-1.0)}, "r_cut=-1.0"),
        ({"descriptors": "bob", "kernels": Gaussian(-1.0)}, "length_scale=-1.0"),
        ({"descriptors": "bob", "kernels": Gaussian(1.0, "fix")}, "length_scale_bounds"),
        ({"descriptors": Term(OverlapEigenvalues("d"))}, "orbitals='d'"),
    ],
)
def test_settings_that_a_model_does_not_have(small, tmp_path, settings, message):
    with pytest.raises(SettingError, match=message):
        learning_curves(small, TARGET, **(SETTINGS | settings), out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    for name in ("run.json", "records.jsonl", "results.json"):
        (tmp_path / name).write_text("earlier")
    with pytest.raises(SettingError, match=message):
        learning_curves(small, TARGET, **(SETTINGS | settings), out=tmp_path, overwrite=True)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"earlier"}


@pytest.mark.parametrize("alpha", [np.float32(0.5), np.int64(1), 1])
def test_numbers_of_numpy_are_settings(small, tmp_path, alpha):
    settings = {**SETTINGS, "descriptors": "cm", "sizes": [10], "repeats": 1, "alpha": alpha}
    curves = learning_curves(small, TARGET, **settings, out=tmp_path)
    assert {r["alpha"] for r in curves.records if r["descriptor"] == "cm"} == {float(alpha)}
    again = learning_curves(small, TARGET, **settings, out=tmp_path)
    assert again.records == curves.records


@pytest.mark.parametrize("records", [None, "", '{"repeat": 0, "n_tr'])
def test_a_folder_without_records_is_free(curves, small, folder, tmp_path, records):
    settings = {**SETTINGS, "descriptors": "cm", "sizes": [10], "repeats": 1}
    (tmp_path / "run.json").write_bytes((folder / "run.json").read_bytes())
    if records is not None:
        (tmp_path / "records.jsonl").write_text(records)
    run = learning_curves(small, TARGET, **settings, out=tmp_path).run
    assert run["settings"]["sizes"] == [10]
    assert "resumed" not in run


@pytest.mark.parametrize("line", ["{}", "[]", "3", '{"repeat": 0}'])
def test_a_last_line_that_is_no_record_is_made_anew(curves, small, folder, tmp_path, line):
    (tmp_path / "run.json").write_bytes((folder / "run.json").read_bytes())
    lines = (folder / "records.jsonl").read_text().splitlines()
    (tmp_path / "records.jsonl").write_text("\n".join([*lines[:-1], line]) + "\n")
    again = learning_curves(small, TARGET, **SETTINGS, out=tmp_path)
    assert timeless(again.records) == timeless(curves.records)
    assert again.records[:-1] == curves.records[:-1]


def test_a_file_in_place_of_the_folder(small, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingError, match="is a file; name a folder"):
        learning_curves(small, TARGET, **SETTINGS, out=tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


def test_failures_name_the_molecule_of_the_user(small, monkeypatch):
    """One molecule has silicon, another before it no label; who tests is a permutation."""
    numbers = [np.array(s.numbers) for s in small]
    numbers[7][:] = 14
    labels = small[TARGET].copy()
    labels[2] = np.nan
    data = Structures.from_arrays(
        numbers, [s.positions for s in small], properties={TARGET: labels}
    )
    settings = {**SETTINGS, "descriptors": "cm", "sizes": [10], "baseline": None}
    curves = learning_curves(data, TARGET, **settings)
    failures = [record["failure"] for record in curves.records if record["failure"]]
    assert failures
    assert all(text.startswith("structure 7 (") for text in failures)
    message = r"structure 7 \(.*\): told"

    def refuse(self, X, y):
        k = int(np.flatnonzero([14 in one.numbers for one in X])[0])
        raise StructureError(f"structure {k} ({X[k].formula}): told")

    monkeypatch.setattr(KRR, "fit", refuse)
    with pytest.raises(StructureError, match=message):
        learning_curves(data, TARGET, **{**settings, "sizes": [len(small) - 11]})


def test_another_version_needs_another_folder(monkeypatch, curves, small, folder):
    monkeypatch.setattr(kernchem, "__version__", "99.0")
    with pytest.raises(ResumeError, match=r"made by kernchem .*, this is 99\.0"):
        learning_curves(small, TARGET, **SETTINGS, out=folder)


def test_damaged_folders_are_refused_and_overwritten(small, tmp_path):
    settings = {**SETTINGS, "descriptors": "cm", "sizes": [10], "repeats": 1}
    (tmp_path / "mine.txt").write_text("kept")
    (tmp_path / "records.jsonl").write_text("")
    with pytest.raises(ResumeError, match=r"lies there without run\.json"):
        learning_curves(small, TARGET, **settings, out=tmp_path)
    learning_curves(small, TARGET, **settings, out=tmp_path, overwrite=True)
    lines = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_text("".join([lines[0][:20] + "\n", *lines[1:]]))
    with pytest.raises(ResumeError, match="line 1 is damaged"):
        learning_curves(small, TARGET, **settings, out=tmp_path)
    for text in ("{", "{}", "[]", "3"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(ResumeError, match=r"run\.json is damaged"):
            learning_curves(small, TARGET, **settings, out=tmp_path)
    learning_curves(small, TARGET, **settings, out=tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "kept"
