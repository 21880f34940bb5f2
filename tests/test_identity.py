"""Texts by which objects are known again: other settings, other texts; the same in any process."""

import subprocess
import sys

import numpy as np
import pytest
from ase.build import molecule

from kernchem import GPR, Structures
from kernchem._identity import describe, digest
from kernchem.descriptors import BagOfBonds, InverseDistances
from kernchem.kernels import Gaussian


def moved(name):
    atoms = molecule(name)
    atoms.positions[0] += 0.01
    return atoms


PAIRS = [
    (Gaussian(10.0), Gaussian(10.04)),
    (Gaussian(10.0), Gaussian(10.0, "fixed")),
    (np.zeros(2000), np.r_[np.zeros(1000), 1.0, np.zeros(999)]),
    (np.zeros(2), np.zeros((2, 1))),
    (np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)),
    (GPR(random_state=np.arange(3)), GPR(random_state=np.arange(1, 4))),
    ({"a": 1}, {"a": 2}),
    ({1, 2}, {1, 3}),
    (BagOfBonds(bags={"H": 2}), BagOfBonds(bags={"H": 3})),
    (molecule("CH4"), moved("CH4")),
    (InverseDistances(molecule("CH4")), InverseDistances(moved("CH4"))),
    (InverseDistances(Structures.from_ase([molecule("CH4")])[0]),
     InverseDistances(Structures.from_ase([moved("CH4")])[0])),
    (Structures.from_ase([molecule("CH4")]), Structures.from_ase([moved("CH4")])),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_other_settings_have_another_text(first, second):
    assert describe(first) == describe(first)
    assert describe([first]) != describe([second])


def test_a_text_is_the_same_in_every_process():
    """Hashes of texts, by which sets are ordered, differ from process to process."""
    code = (
        "from kernchem._identity import describe; from kernchem.descriptors import SOAP\n"
        "import numpy as np; texts = np.array([f'a{k}' for k in range(5)], dtype=object)\n"
        "print(describe([{'a', 'b', 'c', 'd', 'e'}, SOAP(), print, object(), texts]))"
    )
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        for _ in range(3)
    }
    assert len(found) == 1
    told = found.pop()
    assert b"array(5,) object" in told
    assert b"0x" not in told


def test_a_checksum_sees_atoms_and_not_properties():
    both, labelled = [molecule("CH4"), molecule("H2O")], [molecule("CH4"), molecule("H2O")]
    for atoms in labelled:
        atoms.info["energy"] = 1.0
    both = Structures.from_ase(both)
    assert digest(both) == digest(Structures.from_ase(labelled))
    assert digest(both) != digest(both[::-1])
