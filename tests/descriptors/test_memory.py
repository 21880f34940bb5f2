"""The documented peak memory of descriptors of atoms."""

import tracemalloc

import numba
import numpy as np
import pytest

from kernchem.descriptors import ACSF, FCHL19, SLATM, SOAP, WACSF, AtomicCoulombMatrix
from kernchem.environments import Environments
from kernchem.structures import Structures

#: Python's own objects, in bytes: functions, tasks of threads, views.
SLACK = 60_000
#: Molecules; as plain Python, few are slow enough.
COPIES = 1 if numba.config.DISABLE_JIT else 20

PLAIN = {"r_cut": 3.0, "n_max": 3, "l_max": 2, "sigma": 0.4}
COARSE = {"r_cut": 3.1, "sigma_r": 0.4, "sigma_theta": 0.4, "step_r": 0.8, "step_theta": 0.8}
ANGULAR = {"g4": [(0.1, 1.0, 1.0), (0.2, 1.0, 1.0)], "g5": [(0.3, 1.0, 1.0)]}
#: Bytes per atom, and for each thread as a function of the atoms of the largest molecule, in which
#: all atoms are neighbours.
CEILINGS = {
    "SOAP": (SOAP(**PLAIN), 100, lambda n: 8 * 5 * 6 * 15 + 150 * n * n),
    "SOAP-mu2": (SOAP(**PLAIN, compression="mu2"), 100, lambda n: 8 * 90 * 2 + 150 * n * n),
    "SOAP-outer": (
        SOAP(**PLAIN, average="outer"),
        100,
        lambda n: 8 * 5 * 6 * 15 + 150 * n * n + 16 * 234,
    ),
    "ACSF": (ACSF(6.0, **ANGULAR), 50, lambda n: 8 * (8 + 2) * n * n + 20_000 * 4),
    "WACSF": (WACSF(), 50, lambda n: 8 * (8 + 3) * n * n + 20_000 * 5),
    "FCHL19": (FCHL19(), 100, lambda n: 16 * n * n + 8 * (20 + 16) * n),
    "SLATM": (SLATM(**COARSE), 50, lambda n: 40 * n),
    "SLATM-atoms": (SLATM(True, **COARSE), 50, lambda n: 40 * n),
    "AtomicCoulombMatrix": (AtomicCoulombMatrix(), 50, lambda n: 8 * n * (n + 11)),
}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", CEILINGS)
def test_peak_memory_is_the_documented_one(molecules, name, n_jobs):
    """As NumPy tells it; arrays of compiled code are seen only where it runs as plain Python."""
    descriptor, per_atom, of_thread = CEILINGS[name]
    batch = Structures.concatenate([molecules] * COPIES)
    descriptor.set_params(n_jobs=n_jobs).fit(batch).transform(batch)
    tracemalloc.start()
    try:
        features = descriptor.transform(batch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    output, index = np.asarray(features).nbytes if not descriptor.local else 0, 0
    if isinstance(features, Environments):
        blocks = features.nonzero_blocks()
        output = sum(block.values.nbytes for block in blocks)
        index = sum(8 * sum(block.values.shape) for block in blocks)
    scratch = n_jobs * of_thread(int(batch.sizes.max()))
    assert output <= peak <= output + index + per_atom * len(batch.numbers) + scratch + SLACK
