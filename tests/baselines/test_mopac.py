"""AM1, PM6 and PM7 against MOPAC run on an input file, and differences."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import molecule
from finite_differences import differences

from kernchem.baselines import AM1, PM6, PM7
from kernchem.baselines.mopac_runs import open_mopac
from kernchem.baselines.records import Job
from kernchem.errors import SettingError

api = pytest.importorskip("mopactools.api")

#: Of the mixture: what an input file needs to say.
STATES = ["", "UHF", "UHF TRIPLET", "UHF CHARGE=1", "CHARGE=-1", ""]


FROM_FILES = "import sys, mopactools.api as api; sys.exit(any(map(api.from_file, sys.argv[1:])))"


@pytest.mark.parametrize("make", [AM1, PM6, PM7])
def test_equals_an_input_file(mixture, make, tmp_path):
    result = make(n_jobs=1, tolerance=0.01).compute(mixture)
    assert result.ok.all()
    for k, state in enumerate(STATES):
        atoms = mixture[k].to_ase()
        lines = [f"{make.__name__} 1SCF PRECISE {state}", "", ""]
        for symbol, place in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True):
            lines.append(symbol + "".join(f" {value:.10f} 1" for value in place))
        (tmp_path / f"{k}.mop").write_text("\n".join(lines) + "\n")
    # In a process of its own, which it may damage.
    files = [tmp_path / f"{k}.mop" for k in range(len(STATES))]
    subprocess.run([sys.executable, "-c", FROM_FILES, *files], check=True)
    for k in range(len(STATES)):
        printed = (tmp_path / f"{k}.out").read_text()
        heat = float(re.search(r"FINAL HEAT OF FORMATION = +(\S+)", printed)[1])
        assert result.energies[k] == pytest.approx(heat, abs=2e-4)
        table = re.search(r"DIPOLE CONTRIBUTIONS\n\n.*\n((?: +\d+ .*\n)+)", printed)[1]
        charges = [float(line.split()[2]) for line in table.splitlines()]
        rows = slice(*mixture.offsets[k : k + 2])
        np.testing.assert_allclose(result.charges[rows], charges, atol=1e-4)


@pytest.mark.parametrize("make", [AM1, PM7])
def test_bond_orders(make):
    """Of minimal basis sets, and of what Lewis would draw."""
    atoms = [molecule(name) for name in ("H2", "N2", "C2H4", "C2H2")]
    result = make(n_jobs=1, bond_orders=True).compute(atoms)
    found = [orders[0, 1] for orders in result.bond_orders]
    np.testing.assert_allclose(found[:2], [1.0, 3.0], atol=1e-3)
    np.testing.assert_allclose(found[2:], [2.0, 3.0], atol=0.1)
    for orders in result.bond_orders:
        np.testing.assert_array_equal(orders, orders.T)
        assert not np.diag(orders).any()


def test_dipole_is_in_electrons_times_angstrom():
    (dipole,) = PM7(n_jobs=1).compute([molecule("H2O")]).dipoles
    # Printed by MOPAC: 2.159 debye.
    assert np.linalg.norm(dipole) == pytest.approx(2.159 * 0.20819, abs=1e-3)
    assert dipole[2] < 0  # hydrogen, which is positive, lies below


@pytest.mark.parametrize("make", [AM1, PM7])
@pytest.mark.parametrize("k", [0, 1])
def test_forces_are_slopes(mixture, make, k):
    program = make(forces=True, n_jobs=1, tolerance=0.01)
    forces = program.compute(mixture[k : k + 1]).forces
    # MOPAC's own derivatives of two-centre integrals are finite differences.
    np.testing.assert_allclose(forces, differences(program, mixture[k], 3e-3), atol=0.05)


def test_library_keeps_no_state(mixture):
    program = PM6(n_jobs=1)
    first = program.compute(mixture)
    backwards = program.compute(mixture[::-1])
    np.testing.assert_array_equal(first.energies, backwards.energies[::-1])
    alone = [program.compute(mixture[k : k + 1]).energies[0] for k in (1, 5)]
    np.testing.assert_array_equal(alone, first.energies[[1, 5]])


def test_leaves_no_files_and_prints_nothing(mixture, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    PM7(n_jobs=1).compute(mixture[:2])
    PM7(n_jobs=2).compute(mixture[:2])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_damages_no_memory_of_ours():
    """In the library's own process this quartet ends in a segmentation fault at exit."""
    code = (
        "from ase.build import molecule; from kernchem.baselines import PM7; "
        "atoms = molecule('CH3'); atoms.info['multiplicity'] = 4; "
        "print(PM7(n_jobs=1).energies([atoms])[0])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    ).stdout
    # The high-spin state lies some 210 kcal/mol above the doublet.
    doublet = PM7(n_jobs=1).energies([molecule("CH3")])[0]
    assert 150.0 < float(printed) - doublet < 270.0


def test_what_it_cannot_compute():
    heavy, small, large = (molecule("H2O") for _ in range(3))
    heavy.numbers[0] = 92
    for atoms, length in ((small, 5.0), (large, 12.0)):
        atoms.set_cell([length] * 3)
        atoms.pbc = True
    result = AM1(n_jobs=1).compute([molecule("H2O"), heavy, small, large])
    assert result.ok.tolist() == [True, False, False, True]
    assert result.reasons[1] == "Parameters for some elements are missing"
    assert "a cell vector is 5.00 angstrom long; MOPAC needs 6 at least" in result.reasons[2]
    # A large cell is almost a vacuum.
    assert result.energies[3] == pytest.approx(result.energies[0], abs=1.0)
    assert np.isnan(result.dipoles[3]).all()


def test_elements_that_are_taken_for_bare_charges():
    from ase import Atoms

    result = PM7(n_jobs=1).compute([Atoms("U")])
    assert result.reasons == ("the program's charges add up to 2.000 where the charge is 0",)


def test_second_attempt(molecules, monkeypatch):
    """An SCF that fails unless the tolerance is loose, in place of one that takes minutes."""
    asked = []

    def stand_in(system, state):
        asked.append(system.tolerance)
        loose = system.tolerance > 50.0
        return SimpleNamespace(
            error_msg=[] if loose else ["THE SCF CALCULATION FAILED."],
            heat=-57.0,
            coord_deriv=np.zeros(9),
            charge=np.zeros(3),
            dipole=np.zeros(3),
        )

    monkeypatch.setattr(api, "from_data", stand_in)
    water = Job(molecules[0].numbers, molecules[0].positions)
    record = open_mopac("PM7", tolerance=1.0)(water)
    assert record.note == "converged in a second attempt, 100 times looser"
    assert record.energy == -57.0
    assert asked == [1.0, 100.0]
    record = open_mopac("PM7", tolerance=0.1)(water)
    assert record.reason == "THE SCF CALCULATION FAILED. (also in a second, looser attempt)"


def test_settings_are_checked(molecules):
    with pytest.raises(SettingError, match="tolerance=0"):
        PM7(tolerance=0).compute(molecules)
