"""Elements and energy units."""

import numpy as np
import pytest

from kernchem.elements import MAX_ATOMIC_NUMBER, atomic_number, covalent_radii, formula, symbol
from kernchem.errors import SettingError, UnknownElementError
from kernchem.units import ENERGY_UNITS, energy_factor


def test_symbols_and_numbers_are_inverse():
    for number in range(1, MAX_ATOMIC_NUMBER + 1):
        assert atomic_number(symbol(number)) == number
    assert [symbol(k) for k in (1, 6, 17, 118)] == ["H", "C", "Cl", "Og"]


@pytest.mark.parametrize("text", ["X", "", "Q", "CL", "water"])
def test_unknown_symbols_are_named(text):
    with pytest.raises(UnknownElementError, match="Cl"):
        atomic_number(text)


@pytest.mark.parametrize("number", [0, -1, 119, 500])
def test_unknown_numbers_are_named(number):
    with pytest.raises(UnknownElementError, match=str(number)):
        symbol(number)


def test_formulas_begin_with_carbon_and_hydrogen():
    assert formula([8, 1, 1]) == "H2O"
    assert formula([1, 8, 6, 1, 1, 6, 1, 1, 1]) == "C2H6O"  # carbon, hydrogen, then the rest
    assert formula([17, 11]) == "ClNa"
    assert formula([9, 1]) == "HF"


def test_covalent_radii_are_those_of_the_paper():
    # Cordero et al. (2008), table 2: H 0.31, C(sp3) 0.76, N 0.71, O 0.66, F 0.57, S 1.05,
    # Fr 2.60, Pa 2.00.
    radii = covalent_radii()
    np.testing.assert_allclose(
        radii[[1, 6, 7, 8, 9, 16, 87, 91]], [0.31, 0.76, 0.71, 0.66, 0.57, 1.05, 2.60, 2.00]
    )
    assert np.isnan(radii[[0, 97, 118]]).all()  # the table ends with curium, 96
    assert np.isfinite(radii[1:97]).all()
    assert not radii.flags.writeable


def test_energy_factors_agree_with_codata():
    # CODATA 2018: 1 Ha = 27.211386245988 eV = 627.5094740631 kcal/mol. ASE's constants are those
    # of CODATA 2014, which differ in the eighth figure.
    assert energy_factor("Ha", "eV") == pytest.approx(27.211386245988, rel=1e-7)
    assert energy_factor("Ha", "kcal/mol") == pytest.approx(627.5094740631, rel=1e-7)
    assert energy_factor("kcal/mol", "kJ/mol") == pytest.approx(4.184, rel=1e-12)
    assert energy_factor("eV", "meV") == pytest.approx(1000.0, rel=1e-12)


@pytest.mark.parametrize("source", ENERGY_UNITS)
@pytest.mark.parametrize("target", ENERGY_UNITS)
def test_energy_factors_are_inverse(source, target):
    product = energy_factor(source, target) * energy_factor(target, source)
    assert product == pytest.approx(1.0, rel=1e-14)
    assert energy_factor(source, source) == 1.0


@pytest.mark.parametrize("unit", ["kcal", "ev", "", None])
def test_unknown_units_list_the_known(unit):
    with pytest.raises(SettingError, match="kcal/mol"):
        energy_factor(unit, "eV")
    with pytest.raises(SettingError, match="kcal/mol"):
        energy_factor("eV", unit)
