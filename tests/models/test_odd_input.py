"""Input of kernel models that is odd: what is taken as it is meant, and what is refused by name."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from kernchem import GPR, KRR
from kernchem.errors import LabelError, SettingError, SingularKernelError
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


@pytest.mark.parametrize("noise", [True, "0.1", [True] * 25, 0.1j, np.ma.masked_less(LABELS, 0.0)])
def test_noise_that_is_no_number(noise):
    with pytest.raises(LabelError, match=r"noise must hold numbers \((they are|some are masked)"):
        GPR(**FIXED).fit(SAMPLES, LABELS, noise=noise)


@pytest.mark.parametrize(
    "samples",
    [[1.7], ["3"], None, "a", {1, 2}, [[1], [2, 3]], [True] * 3, [False] * 25, slice(0, 3)],
)
def test_samples_that_cannot_be_forgotten(samples):
    model = GPR(**FIXED).fit(SAMPLES, LABELS)
    with pytest.raises(SettingError, match="whole numbers from 0 to 24, or a mask of 25 booleans"):
        model.forget(samples)


def test_samples_can_be_forgotten_by_a_mask():
    gone = LABELS > 1.0
    model = GPR(**FIXED).fit(SAMPLES, LABELS).forget(gone)
    other = GPR(**FIXED).fit(SAMPLES[~gone], LABELS[~gone])
    assert_allclose(model.predict(SAMPLES), other.predict(SAMPLES), rtol=1e-9)
