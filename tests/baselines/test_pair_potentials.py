import math
import pickle

import mpmath
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from effort import examples, size
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import erf
from scipy.stats import special_ortho_group
from sklearn.base import clone

from kernchem.baselines import ZBL, DampedCoulomb, PairSum, YukawaCore
from kernchem.baselines.pair_potentials_jit import damped
from kernchem.datasets import load_qm_small
from kernchem.errors import PropertyError, SettingError, StructureError, UnknownElementError
from kernchem.structures import Structures

K = 332.063714
# Cordero et al. (2008), and Pauling's scale.
RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57, 16: 1.05, 17: 1.02}
CHI = {1: 2.20, 6: 2.55, 7: 3.04, 8: 3.44, 9: 3.98, 16: 2.58, 17: 3.16}
WIDTHS = {"H": 0.8, "C": 1.1, "N": 0.9, "O": 1.3}
DECAYS = {"H": 0.3, "C": 0.2, "N": 0.25, "O": 0.15}

POTENTIALS = [
    DampedCoulomb(),
    DampedCoulomb("charge_of_atom", width=0.7),
    DampedCoulomb(
        width=WIDTHS,
        transfer_bounds=(0.01, 1.0),
        electronegativities={"O": 3.5, "H": 2.1, "C": 2.5, "N": 3.1},
        electronegativities_bounds=(1.0, 5.0),
    ),
    YukawaCore(),
    YukawaCore(decay=DECAYS),
    ZBL(screening_bounds=(0.5, 2.0)),
    DampedCoulomb(width=WIDTHS) + YukawaCore() + ZBL(),
]
IDS = ["bonds", "given", "elements", "yukawa", "yukawa elements", "zbl", "sum"]


@pytest.fixture(scope="module")
def batch():
    """Distorted molecules, one of them charged, with charges of atoms that are given."""
    random = np.random.default_rng(5)
    names = "H2O CH3OH HCN HCOOH CH3CN".split()[: size(5, 3)]
    atoms = [molecule(name) for name in names]
    for one in atoms:
        one.positions += random.normal(scale=0.08, size=one.positions.shape)
        one.arrays["charge_of_atom"] = random.normal(size=len(one))
        one.info["charge"] = 0
    atoms[1].info["charge"] = 1
    return Structures.from_ase(atoms)


def pairs(numbers, positions):
    for i in range(len(numbers)):
        for j in range(i):
            yield i, j, math.dist(positions[i], positions[j])


def bonded_charges(numbers, positions, total=0.0, transfer=0.25, chi=CHI):
    charges = [total / len(numbers) for _ in numbers]
    for i, j, r in pairs(numbers, positions):
        length = 4 / 3 * (RADII[numbers[i]] + RADII[numbers[j]])
        bond = 0.5 * math.erfc(7.5 * (r / length - 1))
        moved = transfer * bond * (chi[numbers[j]] - chi[numbers[i]])
        charges[i] += moved
        charges[j] -= moved
    return charges


def coulomb_energy(numbers, positions, charges, width):
    energy = 0.0
    for i, j, r in pairs(numbers, positions):
        a, b = ((width(z) * RADII[z]) ** -2 for z in (numbers[i], numbers[j]))
        energy += charges[i] * charges[j] * erf(math.sqrt(a * b / (a + b)) * r) / r
    return K * energy


def yukawa_energy(numbers, positions, decay):
    energy = 0.0
    for i, j, r in pairs(numbers, positions):
        zi, zj = numbers[i], numbers[j]
        beta = 1 / (decay(zi) * RADII[zi] + decay(zj) * RADII[zj])
        energy += zi * zj * math.exp(-beta * r) / r
    return K * energy


def zbl_energy(numbers, positions):
    """With the rounded coefficients of the book, in eV and bohr, by ASE's constants."""
    energy = 0.0
    for i, j, r in pairs(numbers, positions):
        zi, zj = numbers[i], numbers[j]
        x = r / (0.8854 * units.Bohr / (zi**0.23 + zj**0.23))
        phi = 0.1818 * math.exp(-3.2 * x) + 0.5099 * math.exp(-0.9423 * x)
        phi += 0.2802 * math.exp(-0.4029 * x) + 0.02817 * math.exp(-0.2016 * x)
        energy += units.Hartree * units.Bohr * zi * zj / r * phi
    return energy / (units.kcal / units.mol)


def each(structures):
    for one in structures:
        yield [int(z) for z in one.numbers], one.positions.tolist()


def by_number(table):
    return lambda z: table[{1: "H", 6: "C", 7: "N", 8: "O"}[z]]


def moved(structures, positions):
    return Structures(
        structures.numbers,
        positions,
        structures.offsets,
        charge=structures.charge,
        atom_properties={"charge_of_atom": structures["charge_of_atom"]},
    )


# --- energies against loops written from the formulas ---------------------------------------------


def test_constant_is_that_of_ase():
    # ASE's default set of constants is of 2014.
    assert units.Hartree * units.Bohr / (units.kcal / units.mol) == pytest.approx(K, rel=1e-7)
    pair = Structures.from_arrays(
        [[1, 1]], [[[0, 0, 0], [50.0, 0, 0]]], atom_properties={"q": [[1, 1]]}
    )
    assert DampedCoulomb("q").energies(pair) == pytest.approx(K / 50, rel=1e-14)


@pytest.mark.parametrize("width", [1.0, WIDTHS], ids=["number", "elements"])
def test_coulomb_energy_of_given_charges(batch, width):
    function = by_number(width) if isinstance(width, dict) else lambda _: width
    q, ends = batch["charge_of_atom"], batch.offsets
    expected = [
        coulomb_energy(*one, q[ends[k] : ends[k + 1]].tolist(), function)
        for k, one in enumerate(each(batch))
    ]
    found = DampedCoulomb("charge_of_atom", width=width).compute(batch)
    assert_allclose(found.energies, expected, rtol=1e-12)
    assert_array_equal(found.charges, q)


def test_charges_of_bonds_and_their_energy(batch):
    charges = [
        bonded_charges(*one, total=total)
        for one, total in zip(each(batch), batch.charge, strict=True)
    ]
    found = DampedCoulomb().compute(batch)
    assert_allclose(found.charges, np.concatenate(charges), rtol=1e-12)
    expected = [
        coulomb_energy(*one, q, lambda _: 1.0) for one, q in zip(each(batch), charges, strict=True)
    ]
    assert_allclose(found.energies, expected, rtol=1e-12)


def test_charges_of_bonds_add_up_and_look_like_those_of_a_program():
    data = load_qm_small()[: size(300, 20)]
    charges = DampedCoulomb().compute(data).charges
    assert_allclose(np.add.reduceat(charges, data.offsets[:-1]), 0.0, atol=1e-12)
    assert np.corrcoef(charges, data["q_gfn2"])[0, 1] > 0.85


@pytest.mark.parametrize("decay", [0.2, DECAYS], ids=["number", "elements"])
def test_yukawa_energy(batch, decay):
    function = by_number(decay) if isinstance(decay, dict) else lambda _: decay
    expected = [yukawa_energy(*one, function) for one in each(batch)]
    assert_allclose(YukawaCore(decay=decay).energies(batch), expected, rtol=1e-12)


def test_zbl_is_the_published_one_up_to_the_rounding_of_its_coefficients(batch):
    expected = [zbl_energy(*one) for one in each(batch)]
    assert_allclose(ZBL().energies(batch), expected, rtol=5e-4)


def test_zbl_of_two_atoms_by_hand():
    # Z = 6 and 8 at 1 angstrom: a = 0.4685 / (6^0.23 + 8^0.23) angstrom.
    x = mpmath.mpf(1) / (mpmath.mpf("0.4685") / (mpmath.mpf(6) ** 0.23 + mpmath.mpf(8) ** 0.23))
    terms = [("0.18175", "3.1998"), ("0.50986", "0.94229"), ("0.28022", "0.4029")]
    terms.append(("0.02817", "0.20162"))
    phi = mpmath.fsum(mpmath.mpf(c) * mpmath.exp(-mpmath.mpf(d) * x) for c, d in terms)
    expected = float(mpmath.mpf("332.063714") * 48 * phi)
    pair = Atoms("CO", [(0, 0, 0), (0, 0, 1)])
    assert ZBL().energies([pair]) == pytest.approx(expected, rel=1e-12)
    # The nuclei are bare where they meet.
    near = Atoms("CO", [(0, 0, 0), (0, 0, 0.11)])
    assert 0.3 < ZBL().energies([near])[0] / (K * 48 / 0.11) < 1.0


def test_sum_is_the_sum(batch):
    terms = [DampedCoulomb("charge_of_atom"), YukawaCore(), ZBL()]
    total = terms[0] + terms[1] + terms[2]
    assert isinstance(total, PairSum)
    assert [type(term) for term in total.terms] == [DampedCoulomb, YukawaCore, ZBL]
    found, parts = total.compute(batch), [term.compute(batch) for term in terms]
    assert_allclose(found.energies, sum(part.energies for part in parts), rtol=1e-13)
    assert_allclose(found.forces, sum(part.forces for part in parts), rtol=1e-12, atol=1e-9)
    assert_array_equal(found.charges, batch["charge_of_atom"])
    assert (DampedCoulomb() + total).compute(batch).charges is None
    with pytest.raises(TypeError):
        terms[0] + 1.0


# --- limits ---------------------------------------------------------------------------------------


@given(st.floats(1e-3, 30.0), st.one_of(st.floats(0.0, 1.0), st.floats(0.0, 40.0)))
@settings(max_examples=examples(200))
def test_damped_function_and_its_slopes_against_many_digits(gamma, r):
    with mpmath.workdps(80):
        g, x = mpmath.mpf(gamma), mpmath.mpf(max(r, 1e-12))
        value = mpmath.erf(g * x) / x
        gauss = 2 / mpmath.sqrt(mpmath.pi) * g * mpmath.exp(-((g * x) ** 2))
        slope = (gauss / x - mpmath.erf(g * x) / x**2) / x
    found = damped(gamma, r)
    assert_allclose(found, [float(value), float(slope), float(gauss)], rtol=1e-12, atol=1e-300)


def test_narrow_charges_are_points_and_near_ones_stay_finite():
    q = {"atom_properties": {"q": [[0.5, -0.3]]}}
    far = Structures.from_arrays([[8, 1]], [[[0, 0, 0], [0.9, 0, 0]]], **q)
    assert DampedCoulomb("q", width=0.01).energies(far) == pytest.approx(-K * 0.15 / 0.9, rel=1e-14)
    near = Structures.from_arrays([[8, 1]], [[[0, 0, 0], [0.1, 0, 0]]], **q)
    found = DampedCoulomb("q", width=10.0).compute(near)
    gamma = 1 / math.hypot(10 * RADII[8], 10 * RADII[1])
    assert found.energies == pytest.approx(-K * 0.15 * 2 * gamma / math.sqrt(math.pi), rel=1e-4)
    assert np.abs(found.forces).max() < 0.1
    expected = np.array([4.0, -32.0 / 3.0, 4.0]) / math.sqrt(math.pi)
    assert_allclose(damped(2.0, 0.0), expected, rtol=1e-14)


def test_single_atoms_have_no_energy():
    for potential in (DampedCoulomb(), YukawaCore(), ZBL()):
        found = potential.compute([Atoms("O"), Atoms("H")])
        assert_array_equal(found.energies, 0.0)
        assert_array_equal(found.forces, np.zeros((2, 3)))


# --- derivatives ----------------------------------------------------------------------------------


def richardson(function, step):
    """Central difference at 0, the error falling with the fourth power of the step."""
    rough = (function(step) - function(-step)) / (2 * step)
    fine = (function(step / 2) - function(-step / 2)) / step
    return (4 * fine - rough) / 3


@pytest.mark.parametrize("potential", POTENTIALS, ids=IDS)
def test_forces_are_minus_the_gradient(batch, potential):
    forces = potential.compute(batch).forces
    random = np.random.default_rng(1)
    for _ in range(size(4, 2)):
        direction = random.normal(size=batch.positions.shape)
        ends = batch.offsets[:-1]
        expected = np.add.reduceat((forces * direction).sum(axis=1), ends)
        slope = richardson(
            lambda h, d=direction: potential.energies(moved(batch, batch.positions + h * d)), 1e-3
        )
        assert_allclose(-slope, expected, rtol=1e-8, atol=1e-8 * np.abs(forces).max())


@pytest.mark.parametrize("potential", POTENTIALS, ids=IDS)
def test_forces_and_torques_add_up_to_zero(batch, potential):
    forces = potential.compute(batch).forces
    scale = np.abs(forces).max()
    for values in (forces, np.cross(batch.positions, forces)):
        assert_allclose(np.add.reduceat(values, batch.offsets[:-1]), 0.0, atol=1e-11 * scale)


@pytest.mark.parametrize("potential", POTENTIALS, ids=IDS)
def test_slopes_along_theta(batch, potential):
    energies, slopes = potential.energies_and_slopes(batch)
    assert_array_equal(energies, potential.energies(batch))
    theta = potential.theta
    assert slopes.shape == (len(batch), len(theta))
    assert len(theta) > 0
    for k, unit in enumerate(np.eye(len(theta))):
        expected = richardson(
            lambda h, u=unit: potential.clone_with_theta(theta + h * u).energies(batch), 1e-3
        )
        assert_allclose(slopes[:, k], expected, rtol=1e-8, atol=1e-8 * np.abs(energies).max())


# --- invariances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("potential", POTENTIALS, ids=IDS)
def test_invariance(batch, potential):
    found = potential.compute(batch)
    rotation = special_ortho_group.rvs(3, random_state=3)
    for matrix in (rotation, -rotation):
        turned = potential.compute(moved(batch, batch.positions @ matrix.T + [1.0, -20.0, 3.0]))
        assert_allclose(turned.energies, found.energies, rtol=1e-10)
        scale = np.abs(found.forces).max()
        assert_allclose(turned.forces, found.forces @ matrix.T, atol=1e-10 * scale)
    for k, one in enumerate(batch):
        order = np.random.default_rng(k).permutation(len(one.numbers))
        atoms = one.to_ase()[order]
        atoms.info["charge"] = one.charge
        single = potential.compute([atoms])
        assert_allclose(single.energies, found.energies[k], rtol=1e-12)
        own = found.forces[batch.offsets[k] : batch.offsets[k + 1]]
        assert_allclose(single.forces, own[order], rtol=1e-9, atol=1e-9)


def test_far_fragments_do_not_see_each_other_but_by_charge():
    water = molecule("H2O")
    two = water + Atoms(water.numbers, water.positions + np.array([200.0, 0, 0]))
    for potential in (YukawaCore(), ZBL()):
        alone, both = potential.energies([water])[0], potential.energies([two])[0]
        assert both == pytest.approx(2 * alone, rel=1e-12)
    alone, both = DampedCoulomb().energies([water])[0], DampedCoulomb().energies([two])[0]
    # Dipoles interact with their product over the cube of the distance.
    assert abs(both - 2 * alone) < 1e-3


# --- the protocol of parameters -------------------------------------------------------------------


@pytest.mark.parametrize("potential", POTENTIALS, ids=IDS)
def test_theta_round_trip(potential):
    theta = potential.theta
    assert potential.bounds.shape == (len(theta), 2)
    assert ((potential.bounds[:, 0] <= theta) & (theta <= potential.bounds[:, 1])).all()
    other = potential.clone_with_theta(theta + 0.1)
    assert type(other) is type(potential)
    assert_allclose(other.theta, theta + 0.1, rtol=1e-12)
    assert_array_equal(potential.theta, theta)
    free = [h for h in potential.hyperparameters if not h.fixed]
    assert sum(h.n_elements for h in free) == len(theta)
    for copy in (clone(potential), pickle.loads(pickle.dumps(potential))):
        assert_array_equal(copy.theta, theta)
        assert repr(copy) == repr(potential)


def test_theta_holds_elements_by_atomic_number_and_leaves_out_what_is_fixed():
    potential = DampedCoulomb(width={"O": 1.3, "H": 0.8}, width_bounds=[(0.1, 1.0), (0.2, 2.0)])
    assert_allclose(np.exp(potential.theta), [0.8, 1.3])
    assert_allclose(np.exp(potential.bounds), [[0.1, 1.0], [0.2, 2.0]])
    assert potential.clone_with_theta(np.log([1.0, 2.0])).width == pytest.approx({"H": 1, "O": 2})
    fixed = DampedCoulomb(width_bounds="fixed")
    assert fixed.theta.shape == (0,)
    assert fixed.bounds.shape == (0, 2)
    assert fixed.energies_and_slopes([molecule("H2O")])[1].shape == (1, 0)
    both = DampedCoulomb(width=2.0) + YukawaCore(decay=0.3)
    assert_allclose(np.exp(both.theta), [2.0, 0.3])
    assert [h.name for h in both.hyperparameters if not h.fixed] == ["0__width", "1__decay"]


@pytest.mark.parametrize(
    "potential",
    [
        DampedCoulomb(width=0.0),
        DampedCoulomb(width=-1.0),
        DampedCoulomb(width="wide"),
        DampedCoulomb(width={}),
        DampedCoulomb(transfer={"H": 1.0}),
        DampedCoulomb(charges=None),
        YukawaCore(decay={"H": math.nan}),
        ZBL(screening={"H": 1.0}),
        PairSum([]),
        PairSum([ZBL(), 3]),
    ],
)
def test_bad_settings_are_named(potential):
    with pytest.raises(SettingError, match=r"=.*; give|charges is"):
        potential.compute([molecule("H2O")])


def test_other_bad_settings():
    with pytest.raises(SettingError, match="decay_bounds"):
        _ = YukawaCore(decay_bounds=(2.0, 1.0)).theta
    with pytest.raises(UnknownElementError, match="Xx"):
        _ = YukawaCore(decay={"Xx": 1.0}).theta
    for potential in (YukawaCore(), YukawaCore() + ZBL()):
        with pytest.raises(SettingError, match="theta"):
            potential.clone_with_theta([0.0, 0.0])
    with pytest.raises(SettingError, match="theta"):
        YukawaCore().clone_with_theta([np.nan])


# --- structures that cannot be described ----------------------------------------------------------


def test_a_missing_element_is_named_and_stops_no_other():
    batch = [molecule("CH4"), molecule("H2O"), molecule("CH3OH")]
    potential = YukawaCore(decay={"C": 0.2, "H": 0.3})
    found = potential.compute(batch)
    assert found.ok.tolist() == [True, False, False]
    assert found.reasons[0] == ""
    assert "no decay of O; add it to decay" in found.reasons[1]
    assert np.isfinite(found.forces[:5]).all()
    assert np.isnan(found.forces[5:]).all()
    assert found.energies[0] == potential.energies(batch[:1])[0]
    for call in (potential.energies, potential.energies_and_slopes, (potential + ZBL()).energies):
        with pytest.raises(StructureError, match=r"structure 1 \(H2O\).*decay of O"):
            call(batch)


def test_elements_without_electronegativity_or_radius():
    helium, einsteinium = Atoms("He2", [(0, 0, 0), (0, 0, 3)]), Atoms("Es2", [(0, 0, 0), (0, 0, 3)])
    found = DampedCoulomb().compute([helium, einsteinium])
    assert not found.ok.any()
    assert found.charges is None
    assert "electronegativity of He" in found.reasons[0]
    assert "of Es" in found.reasons[1]
    assert "covalent radius of Es" in YukawaCore().compute([einsteinium]).reasons[0]
    assert DampedCoulomb(electronegativities={"He": 5.0}).energies([helium]) == 0.0
    assert ZBL().compute([einsteinium]).ok.all()


def test_periodic_structures_have_a_reason():
    batch = [molecule("H2O"), bulk("NaCl", "rocksalt", a=5.64)]
    for potential in (DampedCoulomb(), YukawaCore(), ZBL(), ZBL() + YukawaCore()):
        found = potential.compute(batch)
        assert found.ok.tolist() == [True, False]
        assert "periodic" in found.reasons[1]
    charges = DampedCoulomb().compute(batch).charges
    assert np.isfinite(charges).tolist() == [True] * 3 + [False] * 2
    with pytest.raises(StructureError, match=r"structure 1 \(ClNa\).*periodic"):
        ZBL().energies(batch)


def test_given_charges_must_be_there():
    water = molecule("H2O")
    with pytest.raises(PropertyError, match="no property 'q'"):
        DampedCoulomb("q").compute([water])
    water.info["q"] = 0.3
    with pytest.raises(PropertyError, match="one number per atom"):
        DampedCoulomb("q").compute([water])
    water.info.pop("q")
    other = water.copy()
    water.arrays["q"], other.arrays["q"] = np.zeros(3), np.array([0.1, np.nan, 0.0])
    found = DampedCoulomb("q").compute([water, other])
    assert found.ok.tolist() == [True, False]
    assert "charge 'q' of atom 1" in found.reasons[1]
