"""``kernchem sample`` against the selector called from Python."""

import csv

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read as ase_read
from ase.io import write
from command import runner

from kernchem import KRR, save
from kernchem.cli import main, sample
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.io import read
from kernchem.kernels import Laplacian
from kernchem.models import Term
from kernchem.sampling import BatchSelector
from kernchem.structures import Structures

TARGET = "atomization_energy"
N_POOL = 40


def invoke(*arguments):
    return runner().invoke(main, ["sample", *map(str, arguments)])


def picked(tmp_path, *arguments):
    """Return pool index, rank, gain and residual trace of what the command chose."""
    table = tmp_path / "picks.csv"
    result = invoke(*arguments, "--table", table, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    with table.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    names = ("pool_index", "rank", "gain", "residual_trace")
    columns = [np.array([float(row[name] or "nan") for row in rows]) for name in names]
    return columns[0].astype(int), columns[1].astype(int), *columns[2:]


def assert_same(found, selector, n):
    """The picks of a fitted selector, one row each."""
    np.testing.assert_array_equal(found[0], selector.select(n))
    np.testing.assert_array_equal(found[1], np.arange(n))
    np.testing.assert_array_equal(found[2], selector.gain_)
    np.testing.assert_array_equal(found[3], selector.residual_trace_)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pool with labels of some molecules, groups and costs; other molecules; a model of these."""
    folder = tmp_path_factory.mktemp("molecules")
    data = load_qm_small()
    rng = np.random.default_rng(5)
    frames = data[:N_POOL].to_ase()
    for k, atoms in enumerate(frames):
        if k % 4:
            del atoms.info[TARGET]
        atoms.info["number"] = k // 2
        atoms.info["path"] = f"p{rng.integers(12):x}"
        atoms.info["hours"] = float(rng.choice([0.01, 1.0, 5.0]))
    frames[8].info[TARGET] = np.nan
    # The last group has no label.
    frames[1].info["path"] = frames[2].info["path"] = "q"
    write(folder / "pool.xyz", frames, format="extxyz")
    write(folder / "known.xyz", data[N_POOL : N_POOL + 15].to_ase(), format="extxyz")
    write(folder / "far.xyz", data[100:112].to_ase(), format="extxyz")
    # Elements and composition of the model are all that the pool has.
    known = read(folder / "known.xyz")
    save(fitted(known), folder / "model.kc", target=TARGET)
    return folder


def fitted(known):
    model = KRR(Laplacian(300.0), descriptor=BagOfBonds(), alpha=1e-2, optimizer=None)
    return model.fit(known, known[TARGET])


@pytest.fixture(scope="module")
def pool(folder):
    return read(folder / "pool.xyz")


@pytest.fixture(scope="module")
def known_rows(pool):
    return np.flatnonzero(np.isfinite(pool[TARGET]))


# -- the same picks as in Python ------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["isd", "ivr", "maxvar", "fps", "kmeans++", "random"])
def test_picks_are_those_of_the_selector(folder, pool, tmp_path, strategy):
    found = picked(tmp_path, folder / "pool.xyz", "--n", 6, "--strategy", strategy, "--seed", 7)
    selector = BatchSelector(
        strategy, descriptor=BagOfBonds(), kernel=BagOfBonds.recommended_kernel, random_state=7
    )
    assert_same(found, selector.fit(pool), 6)


def test_descriptor_kernel_noise_and_rank(folder, pool, tmp_path):
    found = picked(
        tmp_path, folder / "pool.xyz", "--n", 6, "--descriptor", "cm", "--kernel", "gaussian",
        "--noise", 0.1, "--rank", 9,
    )  # fmt: skip
    selector = BatchSelector(descriptor=CoulombMatrix(), kernel="gaussian", noise=0.1, rank=9)
    assert_same(found, selector.fit(pool), 6)
    others = [
        BatchSelector(descriptor=CoulombMatrix(), kernel="gaussian", **settings).fit(pool)
        for settings in ({"noise": 0.1}, {"rank": 9})
    ]
    for other in others:
        other.select(6)
        assert not np.allclose(found[3], other.residual_trace_, rtol=1e-6)


def test_a_recipe_brings_its_own_terms(folder, pool, tmp_path, monkeypatch):
    from kernchem.models.recipes import RECIPES

    terms = Term(BagOfBonds()) + Term(CoulombMatrix())
    monkeypatch.setitem(RECIPES, "composite", lambda: terms)
    found = picked(tmp_path, folder / "pool.xyz", "--n", 4, "--descriptor", "composite")
    assert_same(found, BatchSelector(kernel="composite").fit(pool), 4)


def test_a_model_lends_kernel_noise_and_labels(folder, pool, tmp_path):
    model = fitted(read(folder / "known.xyz"))
    found = picked(tmp_path, folder / "pool.xyz", "--n", 6, "--model", folder / "model.kc")
    assert_same(found, BatchSelector.from_model(model).fit(pool), 6)
    far = folder / "far.xyz"
    found = picked(
        tmp_path, folder / "pool.xyz", "--n", 6, "--model", folder / "model.kc", "--labelled", far
    )
    assert_same(found, BatchSelector.from_model(model).fit(pool, labelled=read(far)), 6)


def test_labelled_and_targets_are_files(folder, pool, tmp_path):
    known, far = folder / "known.xyz", folder / "far.xyz"
    found = picked(tmp_path, folder / "pool.xyz", "--n", 6, "--labelled", known, "--targets", far)
    selector = BatchSelector(descriptor=BagOfBonds(), kernel="laplacian")
    assert_same(found, selector.fit(pool, labelled=read(known), targets=read(far)), 6)


# -- labels, groups and costs ---------------------------------------------------------------------


def test_molecules_with_the_target_are_labelled(folder, pool, tmp_path, known_rows):
    assert known_rows.tolist() == [0, 4, *range(12, N_POOL, 4)]
    n = N_POOL - len(known_rows)
    found = picked(tmp_path, folder / "pool.xyz", "--n", n, "--target", TARGET)
    assert sorted(found[0]) == sorted(set(range(N_POOL)) - set(known_rows.tolist()))
    selector = BatchSelector(descriptor=BagOfBonds(), kernel="laplacian")
    assert_same(found, selector.fit(pool, labelled=known_rows), n)


def test_both_kinds_of_labels_count(folder, pool, tmp_path, known_rows):
    """As if all labelled molecules were given one by one, none of them from the pool.

    The kernel is that of a model: by name it has a width that depends on what else is there.
    """
    far = read(folder / "far.xyz")
    found = picked(
        tmp_path, folder / "pool.xyz", "--n", 8, "--target", TARGET, "--labelled",
        folder / "far.xyz", "--costs", "hours", "--model", folder / "model.kc",
    )  # fmt: skip
    labelled = Structures.concatenate([pool[known_rows], far])
    selector = BatchSelector.from_model(fitted(read(folder / "known.xyz")))
    selector.fit(pool, labelled=labelled, costs=pool["hours"])
    np.testing.assert_array_equal(found[0], selector.select(8))
    np.testing.assert_allclose(found[2], selector.gain_, rtol=1e-6)
    np.testing.assert_allclose(found[3], selector.residual_trace_, rtol=1e-6)


@pytest.mark.parametrize("more", [[], ["--labelled", "far.xyz"]])
def test_a_group_is_chosen_as_a_whole_unless_it_has_a_label(
    folder, pool, tmp_path, known_rows, more
):
    touched = set(pool["path"][known_rows])
    left = sorted(set(pool["path"]) - touched)
    assert touched
    assert len(left) > 1
    assert left[-1] == max(pool["path"])
    more = [folder / one if one.endswith(".xyz") else one for one in more]
    found = picked(
        tmp_path, folder / "pool.xyz", "--n", len(left), "--groups", "path", "--target", TARGET,
        *more,
    )  # fmt: skip
    rows, rank = found[:2]
    assert sorted(rows) == np.flatnonzero(np.isin(pool["path"], left)).tolist()
    for k in range(len(left)):
        assert len(set(pool["path"][rows[rank == k]])) == 1
        assert len(set(found[2][rank == k])) == len(set(found[3][rank == k])) == 1
    assert sorted(set(rank)) == list(range(len(left)))
    assert (np.diff(rank) >= 0).all()


def test_groups_of_numbers_and_costs_are_those_of_the_selector(folder, pool, tmp_path):
    found = picked(
        tmp_path, folder / "pool.xyz", "--n", 5, "--groups", "number", "--costs", "hours"
    )
    selector = BatchSelector(descriptor=BagOfBonds(), kernel="laplacian")
    selector.fit(pool, groups=pool["number"], costs=pool["hours"])
    np.testing.assert_array_equal(found[0], selector.select(5))
    assert found[1].tolist() == [k // 2 for k in range(10)]
    np.testing.assert_array_equal(found[2][::2], selector.gain_)
    free = BatchSelector(descriptor=BagOfBonds(), kernel="laplacian")
    assert free.fit(pool, groups=pool["number"]).select(5).tolist() != found[0].tolist()


# -- files and what is printed --------------------------------------------------------------------


def test_the_chosen_molecules_with_all_they_had(folder, pool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(folder / "pool.xyz", "--n", 7)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pool.picks.csv", "pool.picks.xyz"]
    selector = BatchSelector(descriptor=BagOfBonds(), kernel="laplacian").fit(pool)
    expected = selector.select(7)
    before = ase_read(folder / "pool.xyz", ":", format="extxyz")
    after = ase_read("pool.picks.xyz", ":", format="extxyz")
    assert [atoms.info["pool_index"] for atoms in after] == expected.tolist()
    assert [atoms.info["rank"] for atoms in after] == list(range(7))
    assert [atoms.info["gain"] for atoms in after] == selector.gain_.tolist()
    assert all(isinstance(atoms.info["pool_index"], int | np.integer) for atoms in after)
    for atoms, row in zip(after, expected, strict=True):
        old = before[row]
        added = {"pool_index", "rank", "gain"}
        assert set(atoms.info) - added == set(old.info) - ({TARGET} if row == 8 else set())
        assert atoms.info["smiles"] == old.info["smiles"]
        np.testing.assert_allclose(atoms.positions, old.positions, atol=1e-8)
        np.testing.assert_allclose(atoms.arrays["q_gfn2"], old.arrays["q_gfn2"])
    lines = (tmp_path / "pool.picks.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "rank,pool_index,formula,id,smiles,gain,residual_trace"
    first = pool[int(expected[0])]
    told = f"0,{expected[0]},{first.formula},{first.properties['id']},{first.properties['smiles']},"
    assert lines[1].startswith(told)


def test_what_is_printed(folder, pool, tmp_path, known_rows):
    table = tmp_path / "t.csv"
    result = invoke(
        folder / "pool.xyz", "--n", 7, "--target", TARGET, "--labelled", folder / "far.xyz",
        "--strategy", "fps", "--table", table,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["strategy"] == "fps"
    assert lines["pool"] == f"{N_POOL} molecules in {folder / 'pool.xyz'}"
    labelled = f"{len(known_rows)} of the pool with {TARGET}, 12 in {folder / 'far.xyz'}"
    assert lines["labelled"] == labelled
    assert lines["descriptor"] == "bob, laplacian kernel"
    with table.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    first = ", ".join(f"{row['pool_index']} {row['formula']}" for row in rows[:5])
    assert lines["picks"] == f"7: {first}, ..."
    left = 100 * float(rows[-1]["residual_trace"]) / float(rows[0]["residual_trace"])
    assert lines["residual"] == f"{left:.3g} % of what the first pick left"
    assert lines["Picks:"] == str(table)


def test_labels_of_a_model_are_told_where_they_count(folder, tmp_path):
    model, arguments = folder / "model.kc", [folder / "pool.xyz", "--n", 2]
    arguments += ["--model", folder / "model.kc", "--table", tmp_path / "t.csv"]
    for more, told in (
        ([], f"15 of {model}"),
        (["--labelled", folder / "far.xyz"], f"12 in {folder / 'far.xyz'}"),
    ):
        result = invoke(*arguments, *more)
        assert result.exit_code == 0, result.output
        lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        assert lines["labelled"] == told
        assert lines["descriptor"] == f"that of {model}"


def test_random_picks_have_no_gain(folder, tmp_path):
    out, table = tmp_path / "p.extxyz", tmp_path / "p.csv"
    result = invoke(
        folder / "pool.xyz", "--n", 2, "--strategy", "random", "--out", out, "--table", table
    )
    assert result.exit_code == 0, result.output
    assert "residual" not in result.stdout
    assert all(line.endswith(",,") for line in table.read_text().splitlines()[1:])
    assert all(np.isnan(atoms.info["gain"]) for atoms in ase_read(out, ":", format="extxyz"))


def test_names_that_are_taken(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke(folder / "pool.xyz", "--n", 5, "--out", "first.xyz", "-q").exit_code == 0
    result = invoke("first.xyz", "--n", 2)
    assert result.exit_code == 2
    assert "'pool_index' already" in result.stderr
    assert "--table alone" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["first.xyz"]
    assert len(picked(tmp_path, "first.xyz", "--n", 2)[0]) == 2


# -- errors ---------------------------------------------------------------------------------------


def test_nothing_is_lost_by_an_error(folder, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("older\n")
    result = invoke(folder / "pool.xyz", "--n", N_POOL + 1, "--table", table)
    assert result.exit_code == 2
    assert f"--n {N_POOL + 1}: only {N_POOL} are left" in result.stderr
    assert table.read_text() == "older\n"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_molecule_that_the_model_refuses_is_named(folder, tmp_path):
    frames = ase_read(folder / "far.xyz", ":", format="extxyz")
    write(tmp_path / "odd.xyz", [*frames[:3], molecule("SiH4")], format="extxyz")
    result = invoke(
        folder / "pool.xyz", "--n", 2, "--model", folder / "model.kc", "--targets",
        tmp_path / "odd.xyz", "--table", tmp_path / "p.csv",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "odd.xyz: structure 3" in result.stderr
    assert "Si" in result.stderr


def test_memory_that_is_not_there(folder, tmp_path, monkeypatch):
    # Columns of all targets and picks, and the rows of the labelled molecules, twice.
    needed = 8 * (N_POOL * (N_POOL + 2 + 2 * 12) + 2 * 12**2)
    arguments = [folder / "pool.xyz", "--n", 2, "--labelled", folder / "far.xyz", "--table",
                 tmp_path / "p.csv"]  # fmt: skip
    monkeypatch.setattr(sample, "free_memory", lambda: needed - 1)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "--rank" in result.stderr
    assert invoke(*arguments, "--rank", 5).exit_code == 0
    assert invoke(*arguments, "--strategy", "fps").exit_code == 0
    monkeypatch.setattr(sample, "free_memory", lambda: needed)
    assert invoke(*arguments).exit_code == 0


def test_memory_goes_by_the_targets(folder, tmp_path, monkeypatch):
    # 12 targets beside the pool: their columns and those of the picks, for all rows.
    needed = 8 * (N_POOL + 12) * (12 + 2)
    arguments = [folder / "pool.xyz", "--n", 2, "--targets", folder / "far.xyz", "--table",
                 tmp_path / "p.csv"]  # fmt: skip
    monkeypatch.setattr("kernchem.sampling.reduction.EXACT", 12)
    monkeypatch.setattr("kernchem.sampling.reduction.RANK", 3)
    monkeypatch.setattr(sample, "free_memory", lambda: needed - 1)
    assert invoke(*arguments).exit_code == 2
    monkeypatch.setattr(sample, "free_memory", lambda: needed)
    assert invoke(*arguments).exit_code == 0


def test_bad_groups_and_costs_name_the_molecule(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = ase_read(folder / "far.xyz", ":", format="extxyz")
    for k, atoms in enumerate(frames):
        atoms.info |= {"path": f"p{k}q", "part": 0.5 * k, "hours": 1.0 - 0.25 * k, "on": True}
    del frames[3].info["path"]
    write("bad.xyz", frames, format="extxyz")
    formulas = read("bad.xyz")
    for option, name, k in (
        ("--groups", "path", 3),
        ("--groups", "part", 1),
        ("--costs", "hours", 4),
    ):
        result = invoke("bad.xyz", "--n", 2, option, name)
        assert result.exit_code == 2
        told = f"{option} {name}: structure {k} ({formulas[k].formula}) of bad.xyz has "
        assert told in result.stderr
    for option, name in (("--groups", "on"), ("--groups", "q_gfn2"), ("--costs", "path")):
        result = invoke("bad.xyz", "--n", 2, option, name)
        assert result.exit_code == 2
        assert f"{option} {name}" in result.stderr
        assert "per molecule is needed" in result.stderr.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.xyz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.xyz", "--n", "2"], "nowhere.xyz"),
        (["{pool}", "--n", "0"], "--n 0"),
        (["{pool}", "--n", "2", "--seed", "-1"], "--seed"),
        (["{pool}", "--n", "2", "--seed", "5000000000"], "--seed"),
        (["{pool}", "--n", "2", "--rank", "0"], "--rank 0"),
        (["{pool}", "--n", "2", "--noise", "-1"], "--noise -1"),
        (["{pool}", "--n", "2", "--noise", "nan"], "--noise nan"),
        (["{pool}", "--n", "2", "--strategy", "best"], "lcmd"),
        (["{pool}", "--n", "2", "--descriptor", "x"], "--descriptor x: "),
        (["{pool}", "--n", "2", "--kernel", "x"], "--kernel x: "),
        (["{pool}", "--n", "2", "--descriptor", "composite", "--kernel", "linear"], "its own"),
        (["{pool}", "--n", "2", "--model", "{pool}"], "model"),
        (["{pool}", "--n", "2", "--model", "{model}", "--kernel", "linear"], "--model excludes"),
        (["{pool}", "--n", "2", "--model", "{arrays}"], "on arrays"),
        (["{pool}", "--n", "2", "--labelled", "x.xyz"], "--labelled x.xyz"),
        (["{pool}", "--n", "2", "--targets", "x.xyz"], "--targets x.xyz"),
        (["{pool}", "--n", "2", "--target", "nothing"], "--target nothing"),
        (["{pool}", "--n", "2", "--target", "smiles"], "--target smiles"),
        (["{pool}", "--n", "2", "--groups", "nothing"], "--groups nothing"),
        (["{pool}", "--n", "2", "--costs", "nothing"], "--costs nothing"),
        (["{pool}", "--n", "2", "--out", "p.csv"], "--out p.csv"),
        (["{pool}", "--n", "2", "--table", "p.xyz"], "--table p.xyz"),
        (["{pool}", "--n", "2", "--table", "no/p.csv"], "no"),
    ],
)
def test_wrong_options(folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    arrays = folder / "arrays.kc"
    if not arrays.exists():
        X = np.arange(10.0)[:, None]
        save(KRR("gaussian", alpha=1e-3).fit(X, X[:, 0]), arrays)
    paths = {"pool": folder / "pool.xyz", "model": folder / "model.kc", "arrays": arrays}
    result = invoke(*[argument.format(**paths) for argument in arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []
