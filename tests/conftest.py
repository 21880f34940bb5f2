"""Fixtures shared by the whole suite."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

import scipy_kernels
from effort import examples

# Examples of the tests that give no number of their own.
settings.register_profile("kernchem", max_examples=examples(settings().max_examples))
settings.load_profile("kernchem")


#: Tests, relative to this folder, of the loops that fill matrices of rows.
KERNELS = ("kernels", "test_fastmath.py", "test_testing.py")


@pytest.fixture(autouse=True, scope="module")
def kernels_by_scipy(request):
    """Where nothing is compiled, fill matrices of rows by SciPy in tests of everything else."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.path.relative_to(Path(__file__).parent).parts[0] not in KERNELS:
            scipy_kernels.use_where_plain(monkeypatch)
        yield


@pytest.fixture(scope="session")
def reference_data():
    """Folder of the reference data; tests that need it are skipped where it is absent."""
    folder = os.environ.get("KERNCHEM_REFERENCE_DATA")
    if not folder:
        pytest.skip("KERNCHEM_REFERENCE_DATA is not set")
    return Path(folder)


@pytest.fixture
def rng():
    """Random numbers with a fixed seed."""
    return np.random.default_rng(20261121)


@pytest.fixture(scope="session")
def molecules():
    """Sixteen small molecules of C, H, N, O from ASE's G2 collection."""
    from ase.build import molecule

    from kernchem.structures import Structures

    names = (
        "H2O NH3 CH4 HCN CO CO2 C2H2 C2H4 C2H6 CH3OH H2CO H3CNH2 CH3CN HCOOH CH3CHO CH3CH2OH"
    ).split()
    return Structures.from_ase([molecule(name) for name in names])
