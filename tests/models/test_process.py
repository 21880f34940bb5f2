"""Gaussian processes that grow, shrink and stay as they were."""

import warnings

import numpy as np
import pytest
from ase.build import molecule

from kernchem import GPR
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import KernchemWarning, SingularKernelError
from kernchem.kernels import Laplacian
from kernchem.structures import Structures

NAMES = ("CH4", "C2H6", "C2H4", "C2H2", "CH3", "C4H4O", "H2O", "CH3OH")


def test_a_model_that_cannot_learn_labels_stays_as_it_was():
    molecules = [molecule(name) for name in NAMES]
    model = GPR(Laplacian(500.0), descriptor=CoulombMatrix(), alpha=1e-18, optimizer=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        model.fit(molecules, np.arange(8.0))
    queries = Structures.from_ase(molecules)
    before = model.predict(queries, return_std=True)
    # Larger than all others, so the descriptor grows; and there many times.
    copies = [molecule("isobutane")] * 9
    with pytest.raises(SingularKernelError, match="duplicates"):
        model.append(copies, np.arange(9.0))
    assert model.descriptor_.size_ == 9
    assert model._largest == 9
    assert model._space.n_structures == 8
    np.testing.assert_array_equal(model.predict(queries, return_std=True), before)
