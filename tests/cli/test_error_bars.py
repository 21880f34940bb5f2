"""Error bars of ``kernchem train --model gpr`` and ``kernchem predict``, against Python."""

import csv
import io
import re

import numpy as np
import pytest
from ase.io import read as ase_read
from ase.io import write
from click.testing import CliRunner
from matplotlib.figure import Figure
from scipy.stats import norm

from kernchem import GPR, KRR, DeltaLearner, load, save
from kernchem.cli import main
from kernchem.cli.memory import largest_training_set
from kernchem.cli.parity import _draw_pairs
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds
from kernchem.io import read
from kernchem.kernels import Laplacian

TARGET, GFN2 = "atomization_energy", "gfn2_atomization_energy"
NAME = f"predicted_{TARGET}"
COLUMNS = [NAME, f"{NAME}_std", f"{NAME}_lower", f"{NAME}_upper"]
OPTIONS = ["--target", TARGET, "--descriptor", "bob", "--unit", "kcal/mol", "--no-plot"]


def invoke(*arguments):
    try:
        runner = CliRunner(mix_stderr=False)
    except TypeError:
        runner = CliRunner()
    return runner.invoke(main, [str(argument) for argument in arguments])


def table(text):
    """Return the columns of predictions as an array, NaN where a cell is empty."""
    rows = list(csv.DictReader(io.StringIO(text)))
    return np.array([[float(row[name] or "nan") for name in COLUMNS] for row in rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Molecules to learn from, and others to predict."""
    folder = tmp_path_factory.mktemp("molecules")
    data = load_qm_small()
    write(folder / "train.xyz", data[:50].to_ase(), format="extxyz")
    write(folder / "test.xyz", data[50:75].to_ase(), format="extxyz")
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """What the command says that makes the model."""
    result = invoke(
        "train", folder / "train.xyz", "--model", "gpr", *OPTIONS, "--out", folder / "model.kc"
    )
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def reference(folder):
    """The same model, fitted in Python on what the file holds."""
    train = read(folder / "train.xyz")
    return GPR(descriptor=BagOfBonds()).fit(train, train[TARGET])


@pytest.fixture(scope="module")
def unseen(folder):
    return read(folder / "test.xyz")


# -- train ----------------------------------------------------------------------------------------


def test_the_summary_tells_noise_amplitude_and_coverage(folder, trained, reference):
    labels = read(folder / "train.xyz")[TARGET]
    # The kernel of a sample with itself is 1.
    noise = np.sqrt(reference.amplitude_ * reference.alpha_)
    residuals, std = reference.loo_residuals_, reference.loo_std_
    inside = int((np.abs(residuals) <= norm.ppf(0.95) * std).sum())
    errors = f"MAE {np.abs(residuals).mean():.4g} kcal/mol"
    for name, text in (
        ("alpha", f"{reference.alpha_:.3g} (by leave-one-out)"),
        ("noise", f"{noise:.3g} kcal/mol, standard deviation"),
        ("amplitude", f"{reference.amplitude_:.3g} (kcal/mol)^2"),
        ("leave-one-out", errors),
        ("", f"{inside} of {len(labels)} inside 90 % intervals, {2 * inside}.0 % "),
    ):
        assert re.search(rf"^{name:<14}{re.escape(text)}", trained, re.MULTILINE), text


def test_a_correction_with_error_bars(folder, unseen):
    model = folder / "delta.kc"
    result = invoke(
        "train", folder / "train.xyz", "--model", "gpr", *OPTIONS, "--baseline", GFN2, "--alpha",
        "1e-3", "--no-composition", "--quiet", "--out", model,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output == ""
    train = read(folder / "train.xyz")
    gpr = GPR(descriptor=BagOfBonds(), alpha=1e-3, composition=False)
    expected = DeltaLearner(gpr, GFN2).fit(train, train[TARGET])
    found = table(invoke("predict", model, folder / "test.xyz", "-q").stdout)
    np.testing.assert_array_equal(found[:, :2].T, expected.predict(unseen, return_std=True))
    np.testing.assert_allclose(found[:, 2:].T, expected.predict_interval(unseen), rtol=1e-12)


def test_settings_file_names_the_model(folder, tmp_path):
    path, model = tmp_path / "model.toml", tmp_path / "model.kc"
    path.write_text(
        'model = "gpr"\nalpha = 1e-4\ndescriptor = "bob"\n'
        '[kernel]\nname = "laplacian"\nlength_scale = 1000.0\nlength_scale_bounds = "fixed"\n'
    )
    options = ["train", folder / "train.xyz", "--target", TARGET, "--settings", path,
               "--no-plot", "--quiet", "--out", model]  # fmt: skip
    train = read(folder / "train.xyz")
    for more, kind in (([], GPR), (["--model", "krr"], KRR)):
        result = invoke(*options, *more)
        assert result.exit_code == 0, result.output
        expected = kind(Laplacian(1000.0), descriptor=BagOfBonds(), alpha=1e-4, optimizer=None).fit(
            train, train[TARGET]
        )
        found = load(model)
        assert isinstance(found, kind)
        np.testing.assert_allclose(found.predict(train), expected.predict(train), rtol=1e-12)


def test_more_memory_is_needed(folder, tmp_path, monkeypatch):
    from kernchem.cli import training_molecules

    for free in (10**6, 10**9, 24 * 10**9):
        n = largest_training_set(free, "gpr")
        assert 4 * 8 * n**2 <= free < 4 * 8 * (n + 1) ** 2
    monkeypatch.setattr(training_molecules, "free_memory", lambda: 4 * 8 * 30**2)
    result = invoke(
        "train", folder / "train.xyz", "--model", "gpr", *OPTIONS, "--out", tmp_path / "m.kc"
    )
    assert result.exit_code == 2
    assert "4 kernel matrices" in result.stderr
    assert "--n-train 30" in result.stderr


# -- predict --------------------------------------------------------------------------------------


def test_csv_holds_error_bars(folder, trained, reference, unseen):
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--quiet")
    assert result.exit_code == 0
    header = result.stdout.splitlines()[0].split(",")
    assert header[-6:] == [*COLUMNS, "reference", "residual"]
    found = table(result.stdout)
    mean, std = reference.predict(unseen, return_std=True)
    expected = [mean, std, *reference.predict_interval(unseen)]
    np.testing.assert_array_equal(found.T, expected)
    (row, *_) = csv.DictReader(io.StringIO(result.stdout))
    assert float(row["residual"]) == pytest.approx(unseen[TARGET][0] - mean[0], abs=1e-9)


def test_gaussian_intervals(folder, trained, reference, unseen):
    options = ["--coverage", 0.5, "--method", "gaussian"]
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--quiet", *options)
    mean, std = reference.predict(unseen, return_std=True)
    expected = norm.interval(0.5, mean, std)
    np.testing.assert_allclose(table(result.stdout)[:, 2:].T, expected, rtol=1e-12)


@pytest.mark.parametrize("method", ["jackknife+", "cv+"])
def test_intervals_of_models_that_left_samples_out(folder, trained, reference, unseen, method):
    options = ["--coverage", 0.8, "--method", method]
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--quiet", *options)
    expected = reference.predict_interval(unseen, 0.8, method)
    np.testing.assert_allclose(table(result.stdout)[:, 2:].T, expected, rtol=1e-12)


def test_extended_xyz_holds_error_bars(folder, trained, reference, unseen, tmp_path):
    out = tmp_path / "predicted.xyz"
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--out", out, "-q")
    assert result.exit_code == 0, result.output
    frames = ase_read(out, ":", format="extxyz")
    found = np.array([[atoms.info[name] for name in COLUMNS] for atoms in frames])
    mean, std = reference.predict(unseen, return_std=True)
    np.testing.assert_array_equal(found.T, [mean, std, *reference.predict_interval(unseen)])
    for atoms in frames:
        del atoms.info[NAME]
    write(out, frames, format="extxyz")
    again = invoke("predict", folder / "model.kc", out, "--out", tmp_path / "again.xyz")
    assert again.exit_code == 2
    assert f"'{NAME}_std' already; choose another name" in again.stderr


def test_batches_change_nothing_and_are_all_that_is_held(folder, trained, monkeypatch):
    sizes = []
    predict = GPR.predict

    def counted(self, X, **options):
        sizes.append(len(X))
        return predict(self, X, **options)

    whole = invoke("predict", folder / "model.kc", folder / "test.xyz", "-q")
    monkeypatch.setattr(GPR, "predict", counted)
    parts = invoke("predict", folder / "model.kc", folder / "test.xyz", "-q", "--batch", 10)
    assert sizes == [10, 10, 5]
    np.testing.assert_allclose(table(parts.stdout), table(whole.stdout), rtol=1e-10)


def test_the_coverage_of_references_is_told(folder, trained, reference, unseen):
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--coverage", 0.55)
    lower, upper = reference.predict_interval(unseen, 0.55)
    inside = int(((lower <= unseen[TARGET]) & (unseen[TARGET] <= upper)).sum())
    assert 0 < inside < 25
    told = f"{TARGET}, {inside} of 25 inside 55 % intervals, {4 * inside}.0 %"
    assert told in result.stderr


def test_refused_molecules_have_no_error_bars(folder, trained, tmp_path):
    from ase.build import molecule

    frames = ase_read(folder / "test.xyz", ":4", format="extxyz")
    write(tmp_path / "silane.xyz", [*frames, molecule("SiH4")], format="extxyz")
    result = invoke("predict", folder / "model.kc", tmp_path / "silane.xyz", "--skip-bad")
    assert result.exit_code == 0
    assert np.isnan(table(result.stdout)).tolist() == [[False] * 4] * 4 + [[True] * 4]
    assert "inside 90 % intervals" in result.stderr


def test_the_figure_shows_intervals(folder, trained, reference, unseen, tmp_path, monkeypatch):
    given = {}

    def record(path, reference, predicted, **options):
        given.update(options)
        path.write_text("figure")

    monkeypatch.setattr("kernchem.cli.predict.write_parity", record)
    figure = tmp_path / "parity.png"
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--plot", figure, "-q")
    assert result.exit_code == 0
    np.testing.assert_array_equal(given["intervals"], reference.predict_interval(unseen))
    assert given["title"].endswith("; 90 % intervals")


def test_bars_are_drawn_where_they_have_ends():
    ax = Figure().add_subplot()
    x, lower = np.arange(4.0), np.array([-1.0, -np.inf, -1.0, 2.0])
    _draw_pairs(ax, x, x, (lower, np.array([1.0, 2.0, 4.0, np.inf])))
    (bars,) = ax.collections
    segments = [segment.tolist() for segment in bars.get_segments()]
    assert segments == [[[0.0, -1.0], [0.0, 1.0]], [[2.0, -1.0], [2.0, 4.0]]]
    assert ax.get_ylim()[0] < -1.0
    assert ax.get_ylim()[1] > 4.0


# -- errors ---------------------------------------------------------------------------------------


def test_a_model_without_error_bars(folder, tmp_path):
    train = read(folder / "train.xyz")
    krr = KRR("laplacian", descriptor=BagOfBonds(), alpha=1e-6, optimizer=None)
    for model in (krr, DeltaLearner(krr, GFN2)):
        save(model.fit(train, train[TARGET]), tmp_path / "krr.kc", target=TARGET)
        for options in (["--coverage", 0.9], ["--method", "gaussian"]):
            result = invoke("predict", tmp_path / "krr.kc", folder / "test.xyz", *options)
            assert result.exit_code == 2
            (line,) = result.stderr.splitlines()
            assert "krr.kc is a KRR, which has no error bars" in line
            assert "kernchem train --model gpr" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coverage", 90], "--coverage 90.0: use a probability above 0 and below 1"),
        (["--coverage", 0], "--coverage 0.0"),
        (["--method", "conformal"], "use one of calibrated, gaussian, jackknife+, cv+"),
    ],
)
def test_wrong_options(folder, trained, options, message):
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", *options)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "svm"], "'svm' is unknown; use krr or gpr"),
        (["--alpha", "fit"], "alpha 'fit' is a word of gpr"),
        (["--model", "gpr", "--alpha", "x"], "--alpha x: use a positive number or loo"),
    ],
)
def test_wrong_models(folder, tmp_path, options, message):
    out = tmp_path / "model.kc"
    result = invoke("train", folder / "train.xyz", *OPTIONS, *options, "--out", out)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert not out.exists()
