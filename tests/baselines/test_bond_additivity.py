"""Sums of bond orders as columns, against loops over pairs of atoms."""

import numpy as np
import pytest
from ase.build import molecule
from fake_baseline import Fake, FakeBonds
from fake_program import FAILS, bond_orders_of, energy_of

from kernchem.baselines import ZBL, BondAdditivity
from kernchem.errors import SettingError, StructureError, UnknownElementError
from kernchem.structures import Structures


@pytest.fixture
def program(tmp_path):
    return FakeBonds(tmp_path / "calls")


@pytest.fixture
def few():
    return Structures.from_ase([molecule(name) for name in ("CH3OH", "H2O", "CH4", "C2H4")])


def sums(structure, names):
    """Return bond orders by name of the pair, each pair of atoms once."""
    symbols = structure.to_ase().get_chemical_symbols()
    orders, found = bond_orders_of(structure.positions), dict.fromkeys(names, 0.0)
    for i in range(len(symbols)):
        for j in range(i):
            found["-".join(sorted((symbols[i], symbols[j])))] += orders[i, j]
    return [found[name] for name in names]


def test_columns_are_energies_and_sums_over_pairs(few, program):
    fitted, columns = BondAdditivity(program).fit_columns(few)
    names = fitted.column_names()
    assert names == ["energy", "H-H", "C-H", "H-O", "C-C", "C-O", "O-O"]
    energies = [energy_of(s.numbers, s.positions) for s in few]
    np.testing.assert_allclose(columns[:, 0], energies, rtol=1e-12)
    np.testing.assert_allclose(columns[:, 1:], [sums(s, names[1:]) for s in few], atol=1e-12)
    np.testing.assert_array_equal(fitted.columns(few[::-1]), columns[::-1])
    # A molecule that lacks an element has the same columns.
    np.testing.assert_array_equal(fitted.columns(few[2:3]), columns[2:3])


def test_the_program_is_not_changed(few, program):
    made = BondAdditivity(program)
    made.fit_columns(few)
    assert program.bond_orders is False
    assert made.species is None
    np.testing.assert_allclose(made.energies(few), program.energies(few))


def test_species_may_be_given(few, program):
    made = BondAdditivity(program, species=["O", "C", "H", "N"])
    fitted, columns = made.fit_columns(few)
    assert columns.shape == (4, 11)
    assert fitted.column_names() == made.column_names()
    assert not columns[:, fitted.column_names().index("C-N")].any()


def test_slopes_of_bonds_are_believed_to_be_small(program):
    found = BondAdditivity(program, std=5.0).slope_std(4)
    np.testing.assert_array_equal(found, [np.inf, 5.0, 5.0, 5.0])


def test_what_cannot_be_is_named(few, program, tmp_path):
    with pytest.raises(UnknownElementError, match=r"structure 0 \(CH4O\): bonds of O"):
        BondAdditivity(program, species=["C", "H"]).columns(few)
    with pytest.raises(SettingError, match="species are those of the training set"):
        BondAdditivity(program).columns(few)
    with pytest.raises(SettingError, match="no list of elements"):
        BondAdditivity(program, species="CHO").columns(few)
    for baseline in (Fake(tmp_path / "more"), ZBL(), "gfn2", None):
        with pytest.raises(SettingError, match="has no bond orders; use GFN1"):
            BondAdditivity(baseline).fit_columns(few)
    for std in (0.0, -1.0, np.nan, "loo"):
        with pytest.raises(SettingError, match="std"):
            BondAdditivity(program, std=std).fit_columns(few)
    broken = Structures.from_ase([molecule("CH4"), molecule("H2O")])
    broken = Structures(
        np.where(broken.numbers == 8, FAILS, broken.numbers), broken.positions, broken.offsets
    )
    with pytest.raises(StructureError, match=r"structure 1 .*not converged"):
        BondAdditivity(program).fit_columns(broken)


def test_setting_is_checked(few, program):
    program.bond_orders = "yes"
    with pytest.raises(SettingError, match="bond_orders='yes'"):
        program.compute(few)
