"""``kernchem learn`` against campaigns from Python, and what it says."""

import csv

import numpy as np
import pytest
from ase.io import read as ase_read
from ase.io import write
from click.testing import CliRunner

from kernchem import GPR, load
from kernchem.cli import main
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds
from kernchem.io import read
from kernchem.kernels import Laplacian
from kernchem.sampling import ActiveLearner, BatchSelector

TARGET = "atomization_energy"


@pytest.fixture
def pool(tmp_path):
    """A file of 60 molecules with labels, and 60 without."""
    data = load_qm_small()[:60]
    write(tmp_path / "pool.xyz", data.to_ase(), format="extxyz")
    bare = data.to_ase()
    for atoms in bare:
        atoms.info, atoms.calc = {}, None
    write(tmp_path / "bare.xyz", bare, format="extxyz")
    return read(tmp_path / "pool.xyz")


def invoke(folder, *arguments):
    options = ["learn", *map(str, arguments), "--folder", str(folder)]
    return CliRunner().invoke(main, options)


def test_a_campaign_is_that_of_python(tmp_path, pool):
    options = ("--oracle", "stored", "--target", TARGET, "--batch", 10, "--model", "gpr")
    more = ("--strategy", "maxvar", "--seed", 3, "--unit", "kcal/mol")
    found = invoke(tmp_path / "c", tmp_path / "pool.xyz", *options, *more, "--n", 25)
    assert found.exit_code == 0, found.output
    own = ActiveLearner(
        GPR(Laplacian(), descriptor=BagOfBonds()), TARGET, folder=tmp_path / "own", batch_size=10,
        selector=BatchSelector("maxvar", random_state=3), stop=25,
    ).run(pool)  # fmt: skip
    labelled = ase_read(tmp_path / "c" / "labelled.xyz", ":")
    assert [atoms.info["pool_index"] for atoms in labelled] == own.selected_.tolist()
    model = load(tmp_path / "c" / "model.kc")
    np.testing.assert_allclose(model.predict(pool), own.model_.predict(pool), rtol=1e-6)
    assert model.model_info_.target == TARGET
    assert "Stopped: the budget of 25 labels is used up" in found.output
    assert f"{own.history_[-1]['loo_mae']:.4g}" in found.output
    # The same command with more labels goes on.
    found = invoke(tmp_path / "c", tmp_path / "pool.xyz", *options, *more, "--n", 30)
    assert found.exit_code == 0, found.output
    own.set_params(stop=30).run(pool)
    labelled = ase_read(tmp_path / "c" / "labelled.xyz", ":")
    assert [atoms.info["pool_index"] for atoms in labelled] == own.selected_.tolist()


def test_the_user_answers(tmp_path, pool):
    options = (tmp_path / "bare.xyz", "--target", "energy", "--batch", 8, "--n", 12)
    folder = tmp_path / "c"
    for turn in range(2):
        found = invoke(folder, *options)
        assert found.exit_code == 0, found.output
        assert f"waiting for {(8, 4)[turn]} labels" in found.output
        asked = [atoms.info["pool_index"] for atoms in ase_read(folder / "questions.xyz", ":")]
        with (folder / f"answers{turn}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("pool_index", "energy"), *((k, pool[TARGET][k]) for k in asked)])
    found = invoke(folder, *options, "--quiet")
    assert (found.exit_code, found.output) == (0, "")
    assert len(ase_read(folder / "labelled.xyz", ":")) == 12
    assert load(folder / "model.kc").model_info_.target == "energy"


def test_a_program_labels_what_is_not_known(tmp_path, pool):
    pytest.importorskip("tblite")
    few = pool[:12].to_ase()
    for k, atoms in enumerate(few):
        atoms.calc = None
        atoms.info = {"gfn2_energy": 1.0} if k < 4 else {}
    write(tmp_path / "few.xyz", few, format="extxyz")
    out = tmp_path / "own.kc"
    found = invoke(
        tmp_path / "c", tmp_path / "few.xyz", "--oracle", "gfn2", "--batch", 4, "--out", out
    )
    assert found.exit_code == 0, found.output
    labelled = ase_read(tmp_path / "c" / "labelled.xyz", ":")
    assert len(labelled) == 12
    values = {atoms.info["pool_index"]: atoms.info["gfn2_energy"] for atoms in labelled}
    assert [values[k] for k in range(4)] == [1.0] * 4
    from kernchem.baselines import GFN2

    expected = GFN2().compute(pool[4:12]).energies
    np.testing.assert_allclose([values[k] for k in range(4, 12)], expected, rtol=1e-8)
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--target is needed"),
        (("--oracle", "dft"), "--oracle dft is unknown"),
        (("--oracle", "stored", "--target", "e"), "--target e"),
        (("--target", "e", "--unit", "a\tb"), "--unit is str 'a\\tb'"),
        (("--target", "e", "--baseline", "e"), "is the target itself"),
        (("--target", "e", "--n", 0), "--n 0: labels"),
        (("--target", "e", "--error", -1), "--error -1.0"),
        (("--target", "e", "--batch", 0), "batch_size=int 0"),
        (("--target", "e", "--descriptor", "x"), "--descriptor x"),
        (("--target", "e", "--strategy", "x"), "strategy='x'"),
        (("--target", "e", "--costs", "x"), "--costs x"),
    ],
)
def test_errors(tmp_path, pool, arguments, message):
    found = invoke(tmp_path / "c", tmp_path / "pool.xyz", *arguments)
    assert found.exit_code == 2
    assert message in found.output
    assert found.output.count("\n") <= 2


def test_a_molecule_that_cannot_be_used_is_named_with_its_file(tmp_path, pool):
    molecules = pool.to_ase()
    molecules[20].set_cell([9.0, 9.0, 9.0])
    molecules[20].pbc = True
    path = tmp_path / "boxed.xyz"
    write(path, molecules, format="extxyz")
    found = invoke(tmp_path / "c", path, "--oracle", "stored", "--target", TARGET, "--n", 10)
    assert found.exit_code == 2
    formula = pool[20].formula
    assert f"{path}: structure 20 ({formula}) is periodic" in found.output


def test_another_campaign_is_refused(tmp_path, pool):
    options = (tmp_path / "pool.xyz", "--oracle", "stored", "--target", TARGET, "--n", 10)
    assert invoke(tmp_path / "c", *options, "--batch", 5).exit_code == 0
    found = invoke(tmp_path / "c", *options, "--batch", 6)
    assert found.exit_code == 2
    assert "batch_size was 5 and is now 6" in found.output
