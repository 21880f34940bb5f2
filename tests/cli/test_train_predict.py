"""``kernchem train`` and ``kernchem predict`` against the same steps in Python."""

import csv
import io
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.io import read as ase_read
from ase.io import write
from command import runner

from kernchem import KRR, DeltaLearner, load, save
from kernchem.cli import main, memory
from kernchem.cli.memory import largest_training_set
from kernchem.cli.outputs import XyzWriter
from kernchem.cli.reservoir import Reservoir
from kernchem.cli.summary import Summary
from kernchem.cli.training_molecules import draw
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, OverlapEigenvalues
from kernchem.io import read
from kernchem.kernels import AtomSum, Gaussian, Laplacian
from kernchem.models import Term
from kernchem.structures import Structures

TARGET, GFN2 = "atomization_energy", "gfn2_atomization_energy"
FIXED = ["--descriptor", "bob", "--kernel", "laplacian", "--no-plot", "--quiet"]


def invoke(*arguments):
    return runner().invoke(main, [str(argument) for argument in arguments])


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Molecules to learn from, others to predict, and a model of the former."""
    folder = tmp_path_factory.mktemp("molecules")
    data = load_qm_small()
    write(folder / "train.xyz", data[:60].to_ase(), format="extxyz")
    write(folder / "test.xyz", data[60:90].to_ase(), format="extxyz")
    result = invoke(
        "train", folder / "train.xyz", "--target", TARGET, "--unit", "kcal/mol", *FIXED,
        "--out", folder / "model.kc",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output == ""
    return folder


@pytest.fixture(scope="module")
def reference(folder):
    """The same model, fitted in Python on what the file holds."""
    train = read(folder / "train.xyz")
    return KRR("laplacian", descriptor=BagOfBonds()).fit(train, train[TARGET])


def test_the_model_is_that_of_python(folder, reference):
    model = load(folder / "model.kc")
    test = read(folder / "test.xyz")
    np.testing.assert_array_equal(model.predict(test), reference.predict(test))
    assert (model.model_info_.target, model.model_info_.unit) == (TARGET, "kcal/mol")
    assert isinstance(model.kernel_, Laplacian)


def test_csv_holds_predictions_and_references(folder, reference):
    test = read(folder / "test.xyz")
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--quiet")
    assert result.exit_code == 0
    rows = rows_of(result.stdout)
    assert [int(row["index"]) for row in rows] == list(range(30))
    predicted = np.array([float(row[f"predicted_{TARGET}"]) for row in rows])
    np.testing.assert_array_equal(predicted, reference.predict(test))
    np.testing.assert_array_equal([float(row["reference"]) for row in rows], test[TARGET])
    residuals = [float(row["residual"]) for row in rows]
    np.testing.assert_allclose(residuals, test[TARGET] - predicted, atol=1e-12)
    assert [row["smiles"] for row in rows] == test["smiles"].tolist()
    assert rows[4]["formula"] == test[4].formula


def test_terms_are_summarised_and_predict(folder, tmp_path, capsys):
    terms = Term(BagOfBonds(), Laplacian(500.0)) + 0.1 * Term(
        OverlapEigenvalues("s", r_cut=3.0), AtomSum(Gaussian(0.5))
    )
    sample = draw(
        str(folder / "train.xyz"), TARGET, (), "kcal/mol", n_train=30, seed=0,
        skip_missing=False, advance=lambda _: None,
    )  # fmt: skip
    model = KRR(terms, alpha=1e-6, optimizer=None).fit(sample.structures, sample.labels)
    Summary(model, sample, "two terms").print([])
    told = capsys.readouterr().out
    first, second = (one.n_features_out_ for one in model.descriptor_.descriptors)
    assert f"two terms, {first} + {second} features" in told
    assert f"1 * {Laplacian(500.0)} + 0.1 * AtomSum({Gaussian(0.5)})" in told
    assert [line[:9] for line in told.splitlines() if line.startswith("Cite: ")] == [
        "Cite: K. ",
        "Cite: A. ",
    ]
    save(model, tmp_path / "terms.kc", target=TARGET)
    result = invoke("predict", tmp_path / "terms.kc", folder / "test.xyz", "--quiet")
    predicted = [float(row[f"predicted_{TARGET}"]) for row in rows_of(result.stdout)]
    np.testing.assert_array_equal(predicted, model.predict(read(folder / "test.xyz")))


def test_errors_are_reported(folder, reference):
    test = read(folder / "test.xyz")
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--batch", 7)
    errors = np.abs(reference.predict(test) - test[TARGET])
    assert "30 of 30 molecules predicted" in result.stderr
    assert f"MAE {errors.mean():.4g} kcal/mol" in result.stderr
    assert f"RMSE {np.sqrt((errors**2).mean()):.4g}" in result.stderr
    assert f"max {errors.max():.4g}" in result.stderr


@pytest.mark.parametrize("suffix", [".xyz", ".extxyz"])
def test_extended_xyz_keeps_what_was_there(folder, reference, suffix, tmp_path):
    out = tmp_path / f"predicted{suffix}"
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--out", out, "-q")
    assert result.exit_code == 0, result.output
    before = ase_read(folder / "test.xyz", ":", format="extxyz")
    after = ase_read(out, ":", format="extxyz")
    expected = reference.predict(read(folder / "test.xyz"))
    for old, new, value in zip(before, after, expected, strict=True):
        assert new.info[f"predicted_{TARGET}"] == value
        assert {name: new.info[name] for name in ("id", "smiles")} == {
            name: old.info[name] for name in ("id", "smiles")
        }
        np.testing.assert_allclose(new.positions, old.positions, atol=1e-8)
    again = invoke("predict", folder / "model.kc", out, "--out", tmp_path / "again.xyz")
    assert again.exit_code == 2
    assert "choose another name" in again.stderr
    assert not (tmp_path / "again.xyz").exists()


@pytest.mark.parametrize(
    ("name", "column"), [("Z", [7, 1]), ("Z", [7.0, 1.0]), ("symbols", ["N", "H"])]
)
def test_extended_xyz_keeps_the_elements(tmp_path, name, column):
    batch = Structures.from_arrays(
        [[8, 1]], [[[0, 0, 0], [0, 0, 0.97]]], atom_properties={name: [column], "q": [[1.0, 2.0]]}
    )
    with (tmp_path / "out.xyz").open("w") as stream:
        XyzWriter(stream, ["gap"]).write(batch, 0, np.array([[2.0]]), None)
    data = read(tmp_path / "out.xyz")
    assert data.numbers.tolist() == [8, 1]
    assert data["q"].tolist() == [1.0, 2.0]


def test_batches_change_nothing_and_are_all_that_is_held(folder, monkeypatch):
    sizes = []
    predict = KRR.predict

    def counted(self, X):
        sizes.append(len(X))
        return predict(self, X)

    whole = invoke("predict", folder / "model.kc", folder / "test.xyz", "-q")
    monkeypatch.setattr(KRR, "predict", counted)
    parts = invoke("predict", folder / "model.kc", folder / "test.xyz", "-q", "--batch", 8)
    assert sizes == [8, 8, 8, 6]
    one, other = rows_of(whole.stdout), rows_of(parts.stdout)
    for left, right in zip(one, other, strict=True):
        assert left["index"] == right["index"]
        name = f"predicted_{TARGET}"
        assert float(left[name]) == pytest.approx(float(right[name]), rel=1e-12)


@pytest.fixture(scope="module")
def with_silane(folder):
    """A file whose structure 17 holds an element that the model never saw."""
    from ase.build import molecule

    frames = ase_read(folder / "test.xyz", ":", format="extxyz")
    frames.insert(17, molecule("SiH4"))
    write(folder / "silane.xyz", frames, format="extxyz")
    return folder / "silane.xyz"


def test_a_refused_molecule_is_named_and_nothing_is_lost(folder, with_silane, tmp_path):
    out = tmp_path / "predicted.csv"
    out.write_text("older\n")
    result = invoke("predict", folder / "model.kc", with_silane, "--out", out, "--batch", 5)
    assert result.exit_code == 2
    assert "structure 17 (H4Si)" in result.stderr
    assert "Si" in result.stderr
    assert out.read_text() == "older\n"
    assert [path.name for path in tmp_path.iterdir()] == ["predicted.csv"]


def test_refused_molecules_can_be_skipped(folder, with_silane):
    result = invoke("predict", folder / "model.kc", with_silane, "--skip-bad", "--batch", 5)
    assert result.exit_code == 0
    rows = rows_of(result.stdout)
    assert len(rows) == 31
    assert [row["index"] for row in rows if not row[f"predicted_{TARGET}"]] == ["17"]
    assert "30 of 31 molecules predicted" in result.stderr
    assert "1 UnknownElementError" in result.stderr


def test_delta_learning_and_its_summary(folder, tmp_path):
    model, figure = tmp_path / "delta.kc", tmp_path / "loo.svg"
    result = invoke(
        "train", folder / "train.xyz", "--target", TARGET, "--baseline", GFN2, "--descriptor",
        "bob", "--out", model, "--plot", figure, "--unit", "kcal/mol",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    train = read(folder / "train.xyz")
    expected = DeltaLearner(KRR(descriptor=BagOfBonds()), GFN2).fit(train, train[TARGET])
    np.testing.assert_array_equal(load(model).predict(train), expected.predict(train))
    residuals = expected.model_.loo_residuals_
    assert f"MAE {np.nanmean(np.abs(residuals)):.4g} kcal/mol" in result.output
    worst = int(np.nanargmax(np.abs(residuals)))
    lines = result.output.split("Largest leave-one-out errors")[1].splitlines()
    assert lines[2].split()[:2] == [str(worst), train[worst].formula]
    assert "https://doi.org/10.1021/acs.jpclett.5b00831" in result.output
    assert figure.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    # The baseline belongs to the input.
    bare = ase_read(folder / "test.xyz", ":", format="extxyz")
    for atoms in bare:
        del atoms.info[GFN2]
    write(tmp_path / "bare.xyz", bare, format="extxyz")
    refused = invoke("predict", model, tmp_path / "bare.xyz")
    assert refused.exit_code == 2
    assert GFN2 in refused.stderr


def test_a_parity_plot_of_predictions(folder, tmp_path):
    figure = tmp_path / "parity.png"
    result = invoke("predict", folder / "model.kc", folder / "test.xyz", "--plot", figure, "-q")
    assert result.exit_code == 0
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_sample_does_not_depend_on_the_batches():
    values = np.arange(1000)

    def sample(sizes, seed=3):
        reservoir = Reservoir(50, seed)
        for part in np.split(values, np.cumsum(sizes)):
            reservoir.add(np.ones(len(part), dtype=bool), part)
        return np.concatenate([columns[0] for columns in reservoir.pieces()])

    expected = sample([1000])
    assert len(set(expected.tolist())) == 50
    assert (np.diff(expected) > 0).all()
    for sizes in ([1] * 999, [7] * 100, [500, 1, 499]):
        np.testing.assert_array_equal(sample(sizes), expected)
    assert (sample([1000], seed=4) != expected).any()


def test_a_sample_is_uniform():
    counts = np.zeros(20)
    for seed in range(2000):
        reservoir = Reservoir(5, seed)
        reservoir.add(np.ones(20, dtype=bool), np.arange(20))
        counts[np.concatenate([columns[0] for columns in reservoir.pieces()])] += 1
    # 500 expected, standard deviation 19.4
    assert np.abs(counts - 500).max() < 5 * 19.4


def test_training_on_a_sample(folder, tmp_path):
    result = invoke(
        "train", folder / "train.xyz", "--target", TARGET, "--n-train", 25, "--seed", 1, *FIXED,
        "--out", tmp_path / "m.kc",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    model = load(tmp_path / "m.kc")
    assert len(model.dual_coef_) == 25
    train = read(folder / "train.xyz")
    labels = model.predict(train) if model.alpha_ == 0 else train[TARGET]
    assert np.isfinite(labels).all()
    too_many = invoke(
        "train", folder / "train.xyz", "--target", TARGET, "--n-train", 61, *FIXED,
        "--out", tmp_path / "n.kc",
    )  # fmt: skip
    assert too_many.exit_code == 2
    assert "holds 60 molecules" in too_many.stderr
    assert not (tmp_path / "n.kc").exists()


def test_molecules_without_a_label(folder, tmp_path):
    frames = ase_read(folder / "train.xyz", ":", format="extxyz")
    del frames[7].info[TARGET]
    frames[9].info[TARGET] = np.nan
    write(tmp_path / "holes.xyz", frames, format="extxyz")
    arguments = ["train", tmp_path / "holes.xyz", "--target", TARGET, *FIXED, "--out"]
    result = invoke(*arguments, tmp_path / "m.kc")
    assert result.exit_code == 2
    assert "structure 7" in result.stderr
    assert "2 structures" in result.stderr
    assert "--skip-missing" in result.stderr
    result = invoke(*arguments, tmp_path / "m.kc", "--skip-missing")
    assert result.exit_code == 0
    assert len(load(tmp_path / "m.kc").dual_coef_) == 58


@pytest.mark.parametrize("drawn", [[], ["--n-train", 19]])
def test_a_molecule_that_cannot_be_fitted_has_its_number_in_the_file(tmp_path, drawn):
    frames = load_qm_small()[:26].to_ase()
    for atoms in frames[:5]:
        del atoms.info[TARGET]
    for atoms in frames[12:15]:
        atoms.set_cell([30.0, 30.0, 30.0])
        atoms.pbc = True
    write(tmp_path / "some.xyz", frames, format="extxyz")
    result = invoke(
        "train", tmp_path / "some.xyz", "--target", TARGET, *FIXED, "--skip-missing", *drawn,
        "--out", tmp_path / "m.kc",
    )  # fmt: skip
    assert result.exit_code == 2
    # Of three such molecules one is there when two are left out.
    named = re.search(r"some\.xyz: structure (\d+) \((\w+)\) is periodic", result.stderr)
    assert int(named[1]) in {12, 13, 14}
    assert named[2] == load_qm_small()[int(named[1])].formula


def test_what_is_too_little_to_learn_from_says_what_helps(tmp_path):
    write(tmp_path / "three.xyz", load_qm_small()[:3].to_ase(), format="extxyz")
    command = ["train", tmp_path / "three.xyz", "--target", TARGET, *FIXED, "--out",
               tmp_path / "m.kc"]  # fmt: skip
    result = invoke(*command)
    assert result.exit_code == 2
    assert "add molecules, use composition=False (--no-composition), or in Python" in result.stderr
    assert invoke(*command, "--no-composition").exit_code == 0


def test_only_what_was_chosen_is_said_to_be(folder, tmp_path):
    settings = tmp_path / "s.toml"
    for text, chosen in (
        ("linear", False),
        ("gaussian", True),
        ('gaussian"\nlength_scale = 50.0\nlength_scale_bounds = "fixed', False),
    ):
        settings.write_text(f'descriptor = "bob"\n[kernel]\nname = "{text}"\n')
        result = invoke(
            "train", folder / "train.xyz", "--target", TARGET, "--settings", settings, "--no-plot",
            "--out", tmp_path / "m.kc",
        )  # fmt: skip
        lines = {line[:14].strip(): line for line in result.output.splitlines()}
        assert lines["kernel"].endswith(" (by leave-one-out)") == chosen
        assert lines["alpha"].endswith(" (by leave-one-out)")


def test_a_kernel_matrix_that_does_not_fit(folder, tmp_path, monkeypatch):
    from kernchem.cli import training_molecules

    monkeypatch.setattr(training_molecules, "free_memory", lambda: 8 * 2 * 40**2)
    result = invoke(
        "train", folder / "train.xyz", "--target", TARGET, *FIXED, "--out", tmp_path / "m.kc"
    )
    assert result.exit_code == 2
    assert "--n-train 40" in result.stderr


@pytest.mark.slow
def test_the_recommended_recipe_is_the_default(folder, tmp_path, monkeypatch):
    from kernchem.descriptors import CoulombMatrix
    from kernchem.models import Term
    from kernchem.models.recipes import RECIPES

    terms = Term(BagOfBonds()) + Term(CoulombMatrix())
    monkeypatch.setitem(RECIPES, "composite", lambda: terms)
    options = ["train", folder / "train.xyz", "--target", TARGET, "--no-plot"]
    result = invoke(*options, "--out", tmp_path / "model.kc")
    assert result.exit_code == 0, result.output
    assert re.search(r"^descriptor +composite, ", result.output, re.MULTILINE)
    train = read(folder / "train.xyz")
    expected = KRR(terms).fit(train, train[TARGET]).predict(train)
    np.testing.assert_array_equal(load(tmp_path / "model.kc").predict(train), expected)


@pytest.mark.slow
def test_settings_file(folder, tmp_path):
    path, model = tmp_path / "model.toml", tmp_path / "model.kc"
    path.write_text('alpha = 1e-4\n[descriptor]\nname = "bob"\n[kernel]\nname = "laplacian"\n')
    options = ["train", folder / "train.xyz", "--target", TARGET, "--settings", path,
               "--no-composition", "--no-plot", "--quiet", "--out", model]  # fmt: skip
    train = read(folder / "train.xyz")
    for more, alpha in (([], 1e-4), (["--alpha", "1e-3"], 1e-3)):
        result = invoke(*options, *more)
        assert result.exit_code == 0, result.output
        expected = KRR(Laplacian(), descriptor=BagOfBonds(), alpha=alpha, composition=False)
        expected.fit(train, train[TARGET])
        np.testing.assert_array_equal(load(model).predict(train), expected.predict(train))


def test_the_largest_training_set_fits():
    for free in (10**6, 10**9, 24 * 10**9):
        n = largest_training_set(free)
        for size, fits in ((n, True), (n + 1, False)):
            needed = 8 * (size**2 + min(size, 8000) ** 2)
            assert (needed <= free) == fits
    assert memory.free_memory() is None or memory.free_memory() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere.xyz", "--target", "e", "--out", "m.kc"], "nowhere.xyz"),
        (["train", "{train}", "--out", "m.kc"], "--target is needed"),
        (["train", "{train}", "--target", "nothing", "--out", "m.kc"], "nothing"),
        (["train", "{train}", "--target", TARGET, "--alpha", "x", "--out", "m.kc"], "alpha"),
        (["train", "{train}", "--target", TARGET, "--descriptor", "x", "--out", "m.kc"], "bob"),
        (["train", "{train}", "--target", TARGET, "--kernel", "x", "--out", "m.kc"], "matern32"),
        (
            ["train", "{train}", "--target", TARGET, "--kernel", "linear", "--out", "m.kc"],
            "its own",
        ),
        (["train", "{train}", "--settings", "x.toml", "--out", "m.kc"], "x.toml"),
        (
            ["train", "{train}", "--settings", "x.toml", "--kernel", "linear", "--out", "m.kc"],
            "--settings excludes",
        ),
        (["train", "{train}", "--target", TARGET, "--n-train", "1", "--out", "m.kc"], "n-train"),
        (["train", "{train}", "--target", TARGET, "--unit", "a\tb", "--out", "m.kc"], "--unit is"),
        (["train", "absent", "--target", "a\tb", "--out", "m.kc"], "--target is"),
        (
            ["train", "{train}", "--target", TARGET, "--baseline", TARGET, "--out", "m.kc"],
            "is the target itself",
        ),
        (
            ["train", "{train}", "--target", TARGET, *["--baseline", GFN2] * 2, "--out", "m.kc"],
            "is named twice",
        ),
        (
            ["train", "{train}", "--target", TARGET, "--alpha", "-1", "--out", "m.kc"],
            "use a positive number",
        ),
        (["predict", "{train}", "{train}"], "model"),
        (["predict", "{model}", "{train}", "--out", "x.dat"], r".csv"),
        (["predict", "{model}", "{train}", "--batch", "0"], "--batch"),
        (["predict", "{model}", "{train}", "--plot", "x.dat"], "x.dat"),
    ],
)
def test_wrong_options(folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    paths = {"train": folder / "train.xyz", "model": folder / "model.kc"}
    result = invoke(*[argument.format(**paths) for argument in arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


# -- the document ---------------------------------------------------------------------------------

DOCUMENT = Path(__file__).parents[2] / "docs" / "command_line.md"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def assert_like(line, expected):
    """The same text, and the same numbers within what another BLAS may change."""
    assert NUMBER.sub("#", line) == NUMBER.sub("#", expected)
    found = [float(number) for number in NUMBER.findall(line)]
    assert found == pytest.approx([float(x) for x in NUMBER.findall(expected)], rel=0.03)


@pytest.mark.slow
@pytest.mark.skipif(not DOCUMENT.exists(), reason="the documents are not here")
def test_the_document_shows_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    exec(code, {})
    sessions = re.findall(r"```console\n\$ (.+?)\n(.+?)```", text, re.DOTALL)
    commands = [session.split()[0] for session, _ in sessions]
    assert (
        commands == ["kernchem", "kernchem", "head"] * 2 + ["kernchem", "head"] + ["kernchem"] * 3
    )
    for session, shown in sessions:
        command, *arguments = shlex.split(session)
        if arguments[0] == "baseline" and not all(map(find_spec, ("tblite", "mopactools"))):
            continue
        if command == "head":
            lines = Path(arguments[-1]).read_text(encoding="utf-8").splitlines()[:2]
        else:
            result = invoke(*arguments)
            assert result.exit_code == 0, result.output
            lines = result.output.splitlines()
        # A line of three dots stands for lines that are left out.
        before, *rest = re.split(r"^\.\.\.\n", shown, maxsplit=1, flags=re.MULTILINE)
        beginning, end = before.splitlines(), "".join(rest).splitlines()
        assert len(lines) == len(beginning) or rest
        for line, expected in zip(lines, beginning, strict=False):
            assert_like(line, expected)
        for line, expected in zip(lines[len(lines) - len(end) :], end, strict=True):
            assert_like(line, expected)
