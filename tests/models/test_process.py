"""Gaussian processes that grow, shrink and stay as they were."""

import copy
import warnings

import numpy as np
import pytest
from ase.build import molecule

from kernchem import GPR
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import KernchemWarning, SettingError, SingularKernelError
from kernchem.kernels import Gaussian, Laplacian
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


def test_a_posterior_that_is_made_anew_has_the_same_bits():
    rng = np.random.default_rng(0)
    X, queries = rng.uniform(0, 6, (60, 2)), rng.uniform(0, 6, (9, 2))
    y = np.stack([np.sin(X[:, 0]), X[:, 1] ** 2], axis=1) + 0.1 * rng.normal(size=(60, 2))
    model = GPR(alpha=0.01).fit(X, y)
    twin = copy.deepcopy(model)
    del twin.__dict__["_posterior"]
    np.testing.assert_array_equal(twin.predict(queries), model.predict(queries))
    assert twin.log_marginal_likelihood() == model.log_marginal_likelihood()
    assert "_posterior" not in vars(twin)
    for own, other in zip(answers(model, queries), answers(twin, queries), strict=True):
        np.testing.assert_array_equal(other, own)
    del twin.__dict__["_posterior"]
    for one in (model, twin):
        one.append(queries, np.zeros((9, 2))).forget([3, 60])
    expected = answers(model, queries)
    for own, other in zip(expected, answers(twin, queries), strict=True):
        np.testing.assert_array_equal(other, own)
    # The factor that grew and shrank differs in rounding from the one of the remaining labels.
    del twin.__dict__["_posterior"]
    for own, other in zip(expected, answers(twin, queries), strict=True):
        np.testing.assert_allclose(other, own, rtol=1e-9, atol=1e-9)
    mean = twin.predict(queries)
    np.testing.assert_array_equal(twin.predict(queries, return_std=True)[0], mean)


def test_jitter_is_added_again_to_the_last_bit():
    rng = np.random.default_rng(1)
    X, queries = rng.uniform(0, 1, (30, 2)), rng.uniform(0, 1, (4, 2))
    with pytest.warns(KernchemWarning, match="not positive definite"):
        model = GPR(Gaussian(30.0), alpha=1.5e-16, optimizer=None).fit(X, X.sum(axis=1))
    assert model.jitter_ > 0.0
    expected = model.predict(queries, return_std=True)
    del model.__dict__["_posterior"]
    np.testing.assert_array_equal(model.predict(queries, return_std=True), expected)


@pytest.mark.parametrize("change", [lambda m, X: m.append(X, X[:, 0]), lambda m, _: m.forget([0])])
def test_errors_of_another_model_make_no_intervals(change):
    X = np.random.default_rng(2).uniform(0, 6, (30, 2))
    model = GPR(alpha=0.01).fit(X[:20], X[:20, 0]).calibrate(X[20:], X[20:, 0])
    model.predict_interval(X, method="conformal")
    change(model, X[20:])
    with pytest.raises(SettingError, match="call calibrate"):
        model.predict_interval(X, method="conformal")


def answers(model, queries):
    """Whatever the posterior gives."""
    found = [*model.predict(queries, return_std=True), model.predict(queries, return_cov=True)[1]]
    for method in ("calibrated", "gaussian", "jackknife+", "cv+"):
        found += model.predict_interval(queries, method=method)
    return [*found, *model.leave_out(), model.sample_y(queries, 2)]
