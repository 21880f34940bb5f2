"""Input of kernel models that is odd: what is taken as it is meant, and what is refused by name."""

import numpy as np
import pytest

from kernchem import GPR, KRR
from kernchem.errors import SingularKernelError
from kernchem.kernels import Polynomial

FIXED = {"alpha": 0.1, "optimizer": None}
SAMPLES = np.random.default_rng(0).normal(size=(25, 3))
LABELS = np.sin(SAMPLES).sum(axis=1)


@pytest.mark.parametrize("settings", [FIXED, {}, {"alpha": 0.1}])
@pytest.mark.parametrize("model", [KRR, GPR])
@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
def test_a_kernel_that_overflows_is_named(model, settings):
    with pytest.raises(SingularKernelError, match="holds NaN or infinity"):
        model(Polynomial(6), **settings).fit(1e60 * SAMPLES, LABELS)
