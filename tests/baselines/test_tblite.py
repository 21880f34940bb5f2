"""GFN1 and GFN2 against tblite's own calculator of ASE, differences and each other."""

import numpy as np
import pytest
from ase.build import molecule
from ase.units import Hartree, kcal, mol
from finite_differences import differences

from kernchem.baselines import GFN1, GFN2
from kernchem.baselines.batch import run_batch
from kernchem.datasets import load_qm_small
from kernchem.errors import SettingError
from kernchem.structures import Structures

tblite = pytest.importorskip("tblite.interface")
EV = mol / kcal
METHODS = [(GFN1, "GFN1-xTB"), (GFN2, "GFN2-xTB")]


def peer(method, structure):
    from tblite.ase import TBLite

    atoms = structure.to_ase()
    charge = structure.charge or 0
    lowest = 1 + (sum(atoms.numbers) - int(charge)) % 2
    state = {"charge": charge, "multiplicity": structure.multiplicity or int(lowest)}
    atoms.calc = TBLite(method=method, verbosity=0, accuracy=0.01, **state)
    return atoms


@pytest.mark.parametrize(("make", "method"), METHODS)
def test_equals_the_calculator_of_ase(mixture, make, method):
    result = make(forces=True, n_jobs=1, accuracy=0.01).compute(mixture)
    assert result.ok.all()
    for k, structure in enumerate(mixture):
        rows = slice(*mixture.offsets[k : k + 2])
        atoms = peer(method, structure)
        # Another unit of length: ASE's is the program's own to nine digits.
        assert result.energies[k] == pytest.approx(atoms.get_potential_energy() * EV, abs=1e-5)
        np.testing.assert_allclose(result.forces[rows], atoms.get_forces() * EV, atol=1e-3)
        np.testing.assert_allclose(result.charges[rows], atoms.get_charges(), atol=1e-6)
        np.testing.assert_allclose(result.dipoles[k], atoms.get_dipole_moment(), atol=1e-6)


def test_equals_the_packaged_column():
    data = load_qm_small()[:10]
    np.testing.assert_allclose(GFN2(n_jobs=1).energies(data), data["gfn2_energy"], atol=1e-3)


@pytest.mark.parametrize("make", [GFN1, GFN2])
@pytest.mark.parametrize("k", [1, 2])
def test_forces_are_slopes(mixture, make, k):
    program = make(forces=True, n_jobs=1, accuracy=0.01)
    forces = program.compute(mixture[k : k + 1]).forces
    np.testing.assert_allclose(forces, differences(program, mixture[k], 1e-3), atol=5e-3)


def test_bond_orders():
    """Of minimal basis sets, and of what Lewis would draw."""
    names = {"H2": 1.0, "N2": 3.0, "C2H4": 2.0, "C2H2": 3.0}
    atoms = [molecule(name) for name in names]
    ion = molecule("H2")
    ion.info.update(charge=1, multiplicity=2)
    oxygen = molecule("O2")
    oxygen.info.update(multiplicity=3)
    result = GFN2(n_jobs=1, bond_orders=True).compute([*atoms, ion, oxygen])
    found = [orders[0, 1] for orders in result.bond_orders]
    np.testing.assert_allclose(found[:2], [1.0, 3.0], atol=0.02)
    np.testing.assert_allclose(found[2:4], [2.0, 3.0], atol=0.1)
    # Half a bond of one electron; two bonds although two electrons have the same spin.
    np.testing.assert_allclose(found[4:], [0.5, 2.0], atol=0.02)
    for orders, one in zip(result.bond_orders, atoms, strict=False):
        np.testing.assert_array_equal(orders, orders.T)
        assert not np.diag(orders).any()
        assert orders.shape == (len(one), len(one))
    assert GFN2(n_jobs=1).compute(atoms[:1]).bond_orders is None


def test_crystal():
    atoms = molecule("H2O", cell=[5.0, 5.0, 6.0], pbc=True)
    program = GFN1(forces=True, n_jobs=1, accuracy=0.01)
    result = program.compute([atoms])
    crystal = Structures.from_ase([atoms])[0]
    expected = peer("GFN1-xTB", crystal)
    assert result.energies[0] == pytest.approx(expected.get_potential_energy() * EV, abs=1e-4)
    assert result.dipoles is None
    np.testing.assert_allclose(result.forces, expected.get_forces() * EV, atol=1e-2)


def test_what_it_cannot_compute():
    slab = molecule("H2O")
    slab.set_cell([8.0, 8.0, 8.0])
    slab.pbc = [True, True, False]
    heavy = molecule("H2O")
    heavy.numbers[0] = 92
    result = GFN2(n_jobs=1).compute([molecule("H2O"), slab, heavy])
    assert result.ok.tolist() == [True, False, False]
    assert "periodic along 2 of 3 axes" in result.reasons[1]
    assert "Z >86" in result.reasons[2]


def test_second_attempt(molecules):
    few = molecules[[item.formula in {"H2O", "CH4O"} for item in molecules]]
    sure = GFN2(n_jobs=1).compute(few)
    assert set(sure.notes) == {""}
    # Converges within the four times as many iterations of the second attempt, which are damped.
    hasty = GFN2(n_jobs=1, max_iterations=5).compute(few)
    assert hasty.ok.all()
    assert hasty.notes[0] == "converged in a second attempt with more damping"
    np.testing.assert_allclose(hasty.energies, sure.energies, atol=1e-3)
    never = GFN2(n_jobs=1, max_iterations=1).compute(few)
    assert not never.ok.any()
    assert "not converged in 4 cycles, in a second attempt" in never.reasons[0]


def test_processes_give_the_same(molecules):
    one = GFN2(n_jobs=1, forces=True).compute(molecules)
    two = GFN2(n_jobs=2, forces=True).compute(molecules)
    np.testing.assert_array_equal(one.energies, two.energies)
    np.testing.assert_array_equal(one.forces, two.forces)
    np.testing.assert_array_equal(one.dipoles, two.dipoles)


def test_cache_knows_method_and_settings(molecules, tmp_path, monkeypatch):
    few = molecules[:3]
    first = GFN2(n_jobs=1, cache=tmp_path, forces=True).compute(few)
    runs = []
    monkeypatch.setattr(
        "kernchem.baselines.programs.run_batch",
        lambda session, jobs, *rest: runs.append(len(jobs)) or run_batch(session, jobs, *rest),
    )
    again = GFN2(n_jobs=1, cache=tmp_path, forces=True).compute(few)
    np.testing.assert_array_equal(again.energies, first.energies)
    np.testing.assert_array_equal(again.forces, first.forces)
    np.testing.assert_array_equal(again.charges, first.charges)
    np.testing.assert_array_equal(again.dipoles, first.dipoles)
    bonds = GFN2(n_jobs=1, cache=tmp_path, bond_orders=True)
    once = bonds.compute(few).bond_orders
    for mine, kept in zip(once, bonds.compute(few).bond_orders, strict=True):
        np.testing.assert_array_equal(mine, kept)
    GFN1(n_jobs=1, cache=tmp_path).compute(few)
    GFN2(n_jobs=1, cache=tmp_path, electronic_temperature=500.0).compute(few)
    monkeypatch.setattr("tblite.library.get_version", lambda: (99, 0, 0))
    GFN2(n_jobs=1, cache=tmp_path).compute(few)
    assert runs == [0, 3, 0, 3, 3, 3]


@pytest.mark.parametrize(
    "settings", [{"accuracy": 0.0}, {"electronic_temperature": -1}, {"max_iterations": 0.5}]
)
def test_settings_are_checked(molecules, settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        GFN1(**settings).compute(molecules)


def test_hartree_is_that_of_ase(molecules):
    water = molecules[0]
    energy = tblite.Calculator("GFN2-xTB", water.numbers, water.positions / 0.52917721067)
    energy.set("verbosity", 0)
    expected = energy.singlepoint().get("energy") * Hartree * EV
    assert GFN2(n_jobs=1).energies([water.to_ase()])[0] == pytest.approx(expected, abs=1e-4)
