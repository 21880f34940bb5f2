"""Structures that programs compute for real."""

import pytest
from ase.build import molecule

from kernchem.structures import Structures


@pytest.fixture(scope="session")
def mixture():
    """Closed shells, a radical, a triplet, a cation, an anion and a radical cation."""

    def made(name, **info):
        atoms = molecule(name)
        atoms.rattle(0.05, seed=3)
        atoms.info.update(info)
        return atoms

    return Structures.from_ase(
        [
            made("CH3OH"),
            made("CH3"),
            made("O2", multiplicity=3),
            made("NH3", charge=1),
            made("OH", charge=-1),
            made("HCN"),
        ]
    )
