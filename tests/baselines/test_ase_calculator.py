"""ASE's calculators as baselines."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from ase.units import kcal, mol
from sklearn.base import clone

from kernchem.baselines import ASECalculator
from kernchem.errors import SettingError

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
    [(LennardJones(), None, "factory="), (LennardJones, 3, "name=3")],
)
def test_settings_are_checked(factory, name, message):
    with pytest.raises(SettingError, match=message):
        ASECalculator(factory, name=name).compute([Atoms("Ar")])


def test_clone():
    program = ASECalculator(LennardJones, name="x", forces=True)
    assert clone(program).get_params() == program.get_params()
