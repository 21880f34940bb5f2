"""Samples that several tests of models use; some have their own of the same name."""

import numpy as np
import pytest

from kernchem.datasets import load_qm_small


@pytest.fixture
def arrays(rng):
    X = rng.normal(size=(50, 3))
    return X, np.sin(X).sum(axis=1) + 0.05 * rng.normal(size=50), rng.normal(size=(12, 3))


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[:100]
