"""``kernchem baseline`` against the same steps in Python."""

import shutil
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read as ase_read
from ase.io import write
from click.testing import CliRunner
from fake_baseline import Fake
from fake_program import calls

import kernchem.baselines
from kernchem.baselines import GFN2, PM7
from kernchem.cli import main
from kernchem.units import energy_factor


def invoke(*arguments):
    try:
        runner = CliRunner(mix_stderr=False)
    except TypeError:
        runner = CliRunner()
    return runner.invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path):
    """Molecules with a name and a column per atom; the third cannot be computed."""
    made = [molecule("H2O"), molecule("CH3"), Atoms("C2", [[0, 0, 0], [0, 0, 0.3]])]
    made.append(molecule("O2"))
    made[3].info["multiplicity"] = 3
    for k, atoms in enumerate(made):
        atoms.info["name"] = f"number {k}"
        atoms.set_array("mark", np.arange(len(atoms)))
    write(tmp_path / "in.xyz", made, format="extxyz")
    return tmp_path / "in.xyz"


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Programs that are not needed: both methods count their calls."""
    for name in ("GFN2", "PM7"):
        monkeypatch.setattr(
            kernchem.baselines,
            name,
            lambda _log=tmp_path / f"{name}.log", **settings: Fake(_log, **settings),
        )


def test_real_programs(file, tmp_path):
    pytest.importorskip("tblite")
    pytest.importorskip("mopactools")
    out = tmp_path / "out.xyz"
    result = invoke(
        "baseline", file, "--method", "gfn2", "--method", "pm7", "--output", out, "--forces",
        "--n-jobs", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    before, after = ase_read(file, ":"), ase_read(out, ":")
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        assert new.info["name"] == f"number {k}"
        assert ("multiplicity" in new.info) == (k == 3)
        np.testing.assert_array_equal(new.arrays["mark"], np.arange(len(old)))
        np.testing.assert_allclose(new.positions, old.positions, atol=1e-8)
    for name, make in (("gfn2", GFN2), ("pm7", PM7)):
        expected = make(n_jobs=1, forces=True).compute(before)
        energies = [atoms.info[f"{name}_energy"] for atoms in after]
        np.testing.assert_allclose(energies, expected.energies, atol=1e-6)
        forces = np.concatenate([atoms.arrays[f"{name}_forces"] for atoms in after])
        np.testing.assert_allclose(forces, expected.forces, atol=1e-6)
        assert f"{name}: 3 of 4 energies in kcal/mol" in result.stderr
    assert "failed: atoms 0 and 1 are nearer than 0.5 angstrom" in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_goes_on_from_its_cache(file, tmp_path, fakes):
    out = tmp_path / "out.xyz"
    command = ["baseline", file, "--method", "gfn2", "--output", out, "--n-jobs", 1]
    assert invoke(*command).exit_code == 0
    assert calls(tmp_path / "GFN2.log") == 3
    assert (tmp_path / "out.cache").is_dir()
    written = out.read_text()
    out.unlink()
    assert invoke(*command, "--quiet").stderr == ""
    assert out.read_text() == written
    assert calls(tmp_path / "GFN2.log") == 3
    assert invoke(*command, "--cache", tmp_path / "other").exit_code == 0
    assert calls(tmp_path / "GFN2.log") == 6


def test_interrupted(file, tmp_path, fakes, monkeypatch):
    out = tmp_path / "out.xyz"
    out.write_text("older")

    def interrupt(self, X):
        raise KeyboardInterrupt

    monkeypatch.setattr(Fake, "compute", interrupt)
    result = invoke("baseline", file, "--method", "gfn2", "--output", out)
    assert result.exit_code == 130
    assert "is kept in" in result.stderr
    assert out.read_text() == "older"
    assert not list(tmp_path.glob("*.part*"))


def test_a_dataset_and_its_unit(tmp_path, fakes):
    out = tmp_path / "out.extxyz"
    result = invoke(
        "baseline", "qm_small", "--method", "PM7", "--unit", "eV", "--output", out, "--n-jobs", 1
    )
    assert result.exit_code == 0, result.output
    after = ase_read(out, ":")
    assert len(after) == 1280
    expected = Fake(tmp_path / "log").energies(after[:5]) * energy_factor("kcal/mol", "eV")
    found = [atoms.info["pm7_energy"] for atoms in after[:5]]
    # The file holds eight decimals of the positions.
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert "smiles" in after[0].info
    assert "pm7: 1280 of 1280 energies in eV" in result.stderr
    shutil.rmtree(tmp_path / "out.cache")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "gfn3", "--output", "o.xyz"], "--method gfn3 is unknown; use one of gfn1"),
        (["--method", "gfn2", "--output", "o.csv"], "use a name that ends with .xyz"),
        (["--method", "gfn2", "--output", "o.xyz", "--unit", "K"], "is not an energy unit"),
        (["--method", "gfn2", "--output", "no/o.xyz"], "there is no folder"),
        (["--method", "gfn2", "--output", "o.xyz", "--n-jobs", "0"], "n_jobs=0"),
    ],
)
def test_wrong_arguments_end_in_one_line(file, tmp_path, monkeypatch, fakes, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke("baseline", file, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_columns_that_are_taken(tmp_path, fakes):
    result = invoke("baseline", "qm_small", "--method", "gfn2", "--output", tmp_path / "o.xyz")
    assert result.exit_code == 2
    assert "carry a property 'gfn2_energy' already" in result.stderr
    assert calls(tmp_path / "GFN2.log") == 0


def test_a_program_that_is_not_installed(file, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "tblite"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tblite", None)
    result = invoke("baseline", file, "--method", "gfn2", "--output", tmp_path / "o.xyz")
    assert result.exit_code == 2
    assert 'type: pip install "kernchem[xtb]"' in result.stderr
    assert result.stderr.count("\n") == 1
