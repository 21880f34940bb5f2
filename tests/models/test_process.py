"""Gaussian processes that grow, shrink and stay as they were."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from ase.build import molecule
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, LeaveOneOut, PredefinedSplit

from kernchem import GPR
from kernchem.descriptors import ACSF, BagOfBonds, CoulombMatrix
from kernchem.errors import (
    KernchemError,
    KernchemWarning,
    LabelError,
    SettingError,
    SingularKernelError,
    UnknownElementError,
)
from kernchem.kernels import AtomSum, Constant, Gaussian, Laplacian
from kernchem.model_files import load, save
from kernchem.models import Term
from kernchem.models.training_set import fold_numbers
from kernchem.structures import Structures

FIXED = {"optimizer": None, "alpha": 1e-3}
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
    assert_array_equal(model.predict(queries, return_std=True), before)


def test_a_posterior_that_is_made_anew_has_the_same_bits():
    rng = np.random.default_rng(0)
    X, queries = rng.uniform(0, 6, (60, 2)), rng.uniform(0, 6, (9, 2))
    y = np.stack([np.sin(X[:, 0]), X[:, 1] ** 2], axis=1) + 0.1 * rng.normal(size=(60, 2))
    model = GPR(alpha=0.01).fit(X, y)
    twin = copy.deepcopy(model)
    del twin.__dict__["_posterior"]
    assert_array_equal(twin.predict(queries), model.predict(queries))
    assert twin.log_marginal_likelihood() == model.log_marginal_likelihood()
    assert "_posterior" not in vars(twin)
    for own, other in zip(answers(model, queries), answers(twin, queries), strict=True):
        assert_array_equal(other, own)
    del twin.__dict__["_posterior"]
    for one in (model, twin):
        one.append(queries, np.zeros((9, 2))).forget([3, 60])
    expected = answers(model, queries)
    for own, other in zip(expected, answers(twin, queries), strict=True):
        assert_array_equal(other, own)
    # The factor that grew and shrank differs in rounding from the one of the remaining labels.
    del twin.__dict__["_posterior"]
    for own, other in zip(expected, answers(twin, queries), strict=True):
        assert_allclose(other, own, rtol=1e-9, atol=1e-9)
    mean = twin.predict(queries)
    assert_array_equal(twin.predict(queries, return_std=True)[0], mean)


def test_jitter_is_added_again_to_the_last_bit():
    rng = np.random.default_rng(1)
    X, queries = rng.uniform(0, 1, (30, 2)), rng.uniform(0, 1, (4, 2))
    with pytest.warns(KernchemWarning, match="not positive definite"):
        model = GPR(Gaussian(30.0), alpha=1.5e-16, optimizer=None).fit(X, X.sum(axis=1))
    assert model.jitter_ > 0.0
    expected = model.predict(queries, return_std=True)
    del model.__dict__["_posterior"]
    assert_array_equal(model.predict(queries, return_std=True), expected)


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


def require_equal(model, other, new):
    for found, expected in zip(
        model.predict(new, return_std=True), other.predict(new, return_std=True), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-9)
    for name in ("loo_residuals_", "loo_std_", "dual_coef_", "amplitude_", "alpha_"):
        scale = np.abs(getattr(other, name)).max()
        assert_allclose(getattr(model, name), getattr(other, name), rtol=1e-7, atol=1e-8 * scale)
    for found, expected in zip(
        model.predict_interval(new), other.predict_interval(new), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("n_targets", [1, 2])
def test_append_and_forget_equal_refits(arrays, n_targets):
    X, y, new = arrays
    y = y if n_targets == 1 else np.column_stack([y, y**2])
    fixed = {"kernel": Gaussian(1.3), "alpha": 1e-2, "optimizer": None}
    model = GPR(**fixed).fit(X[:40], y[:40])
    model.append(X[40:45], y[40:45]).append(X[45:], y[45:])
    require_equal(model, GPR(**fixed).fit(X, y), new)
    gone = np.array([3, 44, 0, 17])
    model.forget(gone)
    left = np.delete(np.arange(50), gone)
    require_equal(model, GPR(**fixed).fit(X[left], y[left]), new)


@pytest.mark.parametrize("calibration", ["scale", None])
def test_appended_rows_settle_when_they_are_asked_for(arrays, calibration):
    X, y, new = arrays
    fixed = {"kernel": Gaussian(1.3), "alpha": 1e-2, "optimizer": None, "calibration": calibration}
    model = GPR(**fixed).fit(X[:40], y[:40])
    model.append(X[40:43], y[40:43], calibrate=False)
    model.append(X[43:45], y[43:45], calibrate=False)
    assert not {"loo_residuals_", "loo_std_", "amplitude_", "_posterior"} & set(vars(model))
    other = GPR(**fixed).fit(X[:45], y[:45])
    assert_allclose(model.predict(new), other.predict(new), rtol=1e-9)
    copy = pickle.loads(pickle.dumps(model))
    assert_allclose(copy.amplitude_, other.amplitude_, rtol=1e-9)
    assert_allclose(model.loo_residuals_, other.loo_residuals_, rtol=1e-7, atol=1e-9)
    if calibration is None:
        for found, expected in zip(
            model.predict(new, return_std=True), other.predict(new, return_std=True), strict=True
        ):
            assert_allclose(found, expected, rtol=1e-9)
    # More rows than stand apart.
    model.append(X[45:48], y[45:48], calibrate=False).append(X[48:], y[48:])
    require_equal(model, GPR(**fixed).fit(X, y), new)
    with pytest.raises(AttributeError, match="not fitted"):
        _ = GPR().loo_std_


@pytest.mark.parametrize(
    "descriptor",
    [BagOfBonds(), CoulombMatrix(), pytest.param(ACSF(), marks=pytest.mark.slow)],
)
def test_append_and_forget_structures(small, descriptor):
    y = small["atomization_energy"]
    kernel = AtomSum(Gaussian(3.0)) if isinstance(descriptor, ACSF) else Laplacian(5e3)
    fixed = {"kernel": kernel, "descriptor": descriptor, "optimizer": None}
    # Larger molecules come later, so that layouts have to grow.
    order = np.argsort(small.sizes, kind="stable")
    data, y = small[order], y[order]
    model = GPR(alpha=1e-3, **fixed).fit(data[:70], y[:70]).append(data[70:90], y[70:90])
    # Noise is relative to the mean diagonal, which has changed: alpha_ follows it.
    require_equal(model, GPR(alpha=model.alpha_, **fixed).fit(data[:90], y[:90]), data[90:])
    model.forget([5, 88])
    left = np.delete(np.arange(90), [5, 88])
    require_equal(model, GPR(alpha=model.alpha_, **fixed).fit(data[left], y[left]), data[90:])


@pytest.mark.slow
def test_appended_terms_stay_the_same_kernel(small):
    y = small["atomization_energy"]
    terms = Term(BagOfBonds(), Laplacian(5e3)) + 0.5 * Term(ACSF(), AtomSum(Gaussian(3.0)))
    model = GPR(terms, **FIXED).fit(small[:60], y[:60])
    features = model.descriptor_._described(small[:3])
    before = model.kernel_(features)
    model.append(small[60:90], y[60:90])
    assert_allclose(model.kernel_(model.descriptor_._described(small[:3])), before, rtol=1e-12)
    again = clone(terms)
    for term, weight in zip(again.terms, model.kernel_.weights, strict=True):
        term.weight = weight
    refit = GPR(again, alpha=model.alpha_, optimizer=None).fit(small[:90], y[:90])
    mean, std = model.predict(small[90:], return_std=True)
    expected, expected_std = refit.predict(small[90:], return_std=True)
    assert_allclose(mean, expected, rtol=1e-9)
    assert_allclose(std, expected_std, rtol=1e-8)


def test_error_bars_can_stay_as_they_were_learnt(arrays):
    X, y, new = arrays
    model = GPR(Gaussian(1.3), **FIXED).fit(X[:45], y[:45])
    scale = model._posterior.scales[0]
    model.append(X[45:], y[45:], calibrate=False)
    assert_array_equal(model._posterior.scales[0].coef_, scale.coef_)
    assert_allclose(model._posterior.scales[0].dual_, np.append(scale.dual_, np.zeros(5)))
    model.forget([0, 49], calibrate=False)
    assert_allclose(model._posterior.scales[0].dual_, np.append(scale.dual_[1:], np.zeros(4)))
    mean, std = model.predict(new, return_std=True)
    refit = GPR(Gaussian(1.3), **FIXED).fit(X[1:49], y[1:49])
    assert_allclose(mean, refit.predict(new), rtol=1e-9)
    assert (std > 0).all()
    assert model.loo_std_.shape == (48,)


def test_append_with_noise_and_groups(arrays):
    X, y, new = arrays
    noise, groups = np.linspace(0.1, 0.4, 50), np.array(["a", "b"])[np.arange(50) % 2]
    fixed = {"kernel": Gaussian(1.3), "alpha": 1e-2, "amplitude": 1.5, "optimizer": None}
    model = GPR(**fixed).fit(X[:40], y[:40], noise=noise[:40], noise_groups=groups[:40])
    with pytest.raises(LabelError, match="noise must be given for new labels"):
        model.append(X[40:], y[40:])
    with pytest.raises(LabelError, match=r"'c' is new; known are 'a', 'b'"):
        model.append(X[40:41], y[40:41], noise=0.1, noise_groups=["c"])
    model.append(X[40:], y[40:], noise=noise[40:], noise_groups=groups[40:])
    require_equal(model, GPR(**fixed).fit(X, y, noise=noise, noise_groups=groups), new)


def test_forgetting_copies(arrays):
    X, y, new = arrays
    twice = np.concatenate([X, X[:1]])
    model = GPR(Gaussian(1.3), **FIXED).fit(twice, np.append(y, y[0]))
    with pytest.raises(SettingError, match="samples 0, 50 are identical"):
        model.forget([50])
    model.forget([0, 50])
    require_equal(model, GPR(Gaussian(1.3), **FIXED).fit(X[1:], y[1:]), new)
    for wrong in ([], [-1], [99], np.arange(49)):
        with pytest.raises(SettingError):
            model.forget(wrong)


def test_samples_of_weight_zero_can_be_forgotten(arrays):
    X, y, new = arrays
    weights = np.ones(50)
    weights[7] = 0.0
    model = GPR(Gaussian(1.3), **FIXED).fit(X, y, weights)
    before = model.predict(new)
    assert_allclose(model.forget([7]).predict(new), before, rtol=1e-12)
    assert model.loo_residuals_.shape == (49,)


def test_compositions_that_are_not_determined(small):
    y = small["atomization_energy"]
    model = GPR(Laplacian(5e3), descriptor=BagOfBonds(), **FIXED)
    rare = [i for i, one in enumerate(small) if 9 in one.numbers]
    plain = np.setdiff1d(np.arange(100), rare)
    assert rare
    model.fit(small[plain], y[plain])
    with pytest.raises(UnknownElementError):
        model.append(small[rare[:1]], y[rare[:1]])
    model.fit(small, y)
    with pytest.raises(KernchemError, match="fit the model anew"):
        model.forget(rare)


def test_folds_of_groups_are_those_of_fit(arrays, tmp_path):
    X, y, new = arrays
    groups = np.random.default_rng(1).integers(0, 7, size=50)
    model = GPR(Gaussian(1.3), cv=GroupKFold(4), **FIXED).fit(X, y, groups=groups)
    folds = PredefinedSplit(fold_numbers(GroupKFold(4), groups, y[:, None]))
    plain = GPR(Gaussian(1.3), cv=folds, **FIXED).fit(X, y)
    expected = plain.predict_interval(new, method="cv+")
    assert_allclose(model.predict_interval(new, method="cv+"), expected, rtol=1e-12)
    save(model, tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    assert_array_equal(
        again.predict_interval(new, method="cv+"), model.predict_interval(new, method="cv+")
    )
    # Forgotten samples leave their folds, and new ones are in none.
    model.append(new[:2], [0.0, 0.0]).forget([0, 7])
    both, labels = np.concatenate([X, new[:2]]), np.append(y, [0.0, 0.0])
    kept = np.delete(np.arange(52), [0, 7])
    numbers = np.append(folds.test_fold, [-1, -1])[kept]
    other = GPR(Gaussian(1.3), **FIXED).fit(both[kept], labels[kept])
    other.cv = PredefinedSplit(numbers)
    expected = other.predict_interval(new, method="cv+")
    assert_allclose(model.predict_interval(new, method="cv+"), expected, rtol=1e-7)


def test_few_samples_are_folds_of_their_own(arrays):
    X, y, new = arrays
    model = GPR(Gaussian(1.3), **FIXED).fit(X[:7], y[:7])
    ends = model.predict_interval(new, 0.5, method="cv+")
    model.cv = LeaveOneOut()
    assert_allclose(ends, model.predict_interval(new, 0.5, method="cv+"), rtol=1e-12)


class Indefinite(Constant):
    """A kernel whose matrices have eigenvalues of -3e-9."""

    def _pattern(self, n, m):
        return np.ones((n, m)) if m else np.full((n, n), 1.0 + 3e-9) - 3e-9 * np.eye(n)


def test_the_likelihood_holds_what_was_added_to_the_diagonal():
    X, y = np.arange(3.0)[:, None], np.array([0.3, 0.2, -1.0])
    with pytest.warns(KernchemWarning, match="not positive definite"):
        model = GPR(Indefinite(), alpha=1e-12, amplitude=2.0, optimizer=None).fit(X, y)
    value, slopes = model.log_marginal_likelihood(eval_gradient=True)

    def density(theta):
        K = np.exp(theta) * (Indefinite()(X) + 1e-12 * np.eye(3)) + model.jitter_ * np.eye(3)
        return -0.5 * (y @ np.linalg.solve(2.0 * K, y) + np.linalg.slogdet(4.0 * np.pi * K)[1])

    assert_allclose(value, density(0.0), rtol=1e-6)
    assert_allclose(slopes, [(density(1e-3) - density(-1e-3)) / 2e-3], rtol=1e-3)
    model.jitter_ = 0.0
    value, slopes = model.log_marginal_likelihood(eval_gradient=True)
    assert (value, slopes.tolist()) == (-np.inf, [0.0])
    for theta in (0.0, [0.0, 1.0], "a", [np.nan], [[0.0]]):
        with pytest.raises(SettingError, match="give 1 finite numbers"):
            model.log_marginal_likelihood(theta)
