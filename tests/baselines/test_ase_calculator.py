"""ASE's calculators as baselines."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from ase.units import kcal, mol
from sklearn.base import clone

from kernchem.baselines import GFN2, ASECalculator
from kernchem.baselines.cache import ResultCache, result_keys
from kernchem.baselines.records import Record
from kernchem.errors import SettingError
from kernchem.structures import as_structures

EV = mol / kcal


class Moody(Calculator):
    """Fails every other time; tells what it was given."""

    implemented_properties = ("energy", "charges", "dipole")
    made = 0

    def __init__(self):
        super().__init__()
        type(self).made += 1
        self.calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls == 2 or atoms.numbers[0] == 3:
            raise RuntimeError("moody")
        charge = atoms.get_initial_charges().sum()
        unpaired = atoms.get_initial_magnetic_moments().sum()
        self.results = {
            "energy": 100 * charge + unpaired,
            "charges": atoms.get_initial_charges(),
            "dipole": np.arange(3.0),
        }


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_energies_and_forces(n_jobs):
    crystal = Atoms("Ar", cell=3.8 * (1 - np.eye(3)), pbc=True)
    structures = [Atoms("Ar2", [[0, 0, 0], [0, 0, d]]) for d in (1.0, 1.2, 1.4)] + [crystal]
    program = ASECalculator(lambda: LennardJones(rc=6.0), forces=True, n_jobs=n_jobs)
    result = program.compute(structures)
    forces = []
    for k, atoms in enumerate(structures):
        atoms.calc = LennardJones(rc=6.0)
        assert result.energies[k] == pytest.approx(atoms.get_potential_energy() * EV)
        forces.append(atoms.get_forces() * EV)
    np.testing.assert_allclose(result.forces, np.concatenate(forces), atol=1e-10)
    assert result.charges is None


def test_a_second_attempt_has_a_new_calculator():
    Moody.made = 0
    result = ASECalculator(Moody, n_jobs=1).compute([Atoms("H"), Atoms("He"), Atoms("Li")])
    again = "computed in a second attempt with a new calculator"
    assert result.notes == ("", again, "")
    assert result.reasons == ("", "", "RuntimeError: moody")
    assert Moody.made == 3


@pytest.mark.parametrize("quantity", ["charges", "dipole", "forces"])
def test_arrays_of_another_shape_cost_their_molecule(tmp_path, quantity):
    class Odd(Calculator):
        implemented_properties = ("energy", "forces", "charges", "dipole")
        wrong = True

        def calculate(self, atoms=None, properties=("energy",), system_changes=()):
            super().calculate(atoms, properties, system_changes)
            n = len(atoms)
            self.results = {"energy": 1.0, "forces": np.zeros((n, 3)), "charges": np.zeros(n)}
            self.results["dipole"] = np.zeros(3)
            if self.wrong and n == 2:
                self.results[quantity] = np.zeros((n + 2, 3))

    two = [Atoms("H"), Atoms("H2", [[0, 0, 0], [0, 0, 1.0]])]
    given = {"name": "odd", "forces": True, "n_jobs": 1}
    result = ASECalculator(Odd, **given).compute(two)
    assert result.ok.tolist() == [True, False]
    assert f"the program returned {quantity} of shape (4, 3), not (" in result.reasons[1]
    # What an earlier version kept in a cache is computed anew.
    program, Odd.wrong = ASECalculator(Odd, **given, cache=tmp_path), False
    batch = as_structures(two)
    keys = result_keys(batch, np.zeros(2, int), np.array([2, 1]), program.identity())
    poisoned = Record(1.0, forces=np.zeros((3, 3)), charges=np.zeros(3))
    ResultCache(tmp_path).store(keys[1], poisoned)
    assert program.compute(two).ok.all()


def test_charge_and_multiplicity_are_passed():
    atoms = molecule("O2")
    atoms.info.update(charge=-1, multiplicity=4)
    result = ASECalculator(Moody, n_jobs=1).compute([atoms])
    assert result.energies[0] == pytest.approx((-100 + 3) * EV)
    np.testing.assert_allclose(result.charges, [-0.5, -0.5])
    np.testing.assert_array_equal(result.dipoles, [[0.0, 1.0, 2.0]])


def test_a_cache_needs_a_name(tmp_path):
    with pytest.raises(SettingError, match="cache needs name"):
        ASECalculator(LennardJones, cache=tmp_path).compute([Atoms("Ar")])
    structures = [Atoms("Ar2", [[0, 0, 0], [0, 0, 1.0]])]
    kept = ASECalculator(LennardJones, name="lj", cache=tmp_path, n_jobs=1).compute(structures)
    assert any(tmp_path.iterdir())
    other = ASECalculator(Moody, name="lj", cache=tmp_path, n_jobs=1).compute(structures)
    assert other.energies == kept.energies
    new = ASECalculator(Moody, name="moody", cache=tmp_path, n_jobs=1).compute(structures)
    assert new.energies != kept.energies


@pytest.mark.parametrize(
    ("factory", "name", "message"),
    [
        (LennardJones(), None, "factory="),
        (LennardJones, 3, "name=3"),
        (GFN2, None, r"baseline itself; use GFN2\(\)"),
    ],
)
def test_settings_are_checked(factory, name, message):
    with pytest.raises(SettingError, match=message):
        ASECalculator(factory, name=name).compute([Atoms("Ar")])


def test_clone():
    program = ASECalculator(LennardJones, name="x", forces=True)
    assert clone(program).get_params() == program.get_params()
