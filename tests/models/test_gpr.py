"""GPR against scikit-learn's, explicit refits, exact arithmetic and its own promises."""

import json
import pickle
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
from effort import examples, size
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.gaussian_process.kernels import Matern as PeerMatern
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernchem import GPR, KRR
from kernchem.datasets import load_qm_small
from kernchem.descriptors import ACSF, BagOfBonds, CoulombMatrix
from kernchem.errors import KernchemError, LabelError, SettingError, UnknownElementError
from kernchem.kernels import AtomSum, Constant, Gaussian, Laplacian, Matern, WhiteNoise
from kernchem.models import Term, gp_search
from kernchem.uncertainty import coverage_band, jackknife_plus

FIXED = {"optimizer": None, "alpha": 1e-3}
PLAIN = {"amplitude": 1.0, "calibration": None}


@pytest.mark.slow
@parametrize_with_checks(
    [
        GPR(),
        GPR("laplacian", optimizer="lml", amplitude="lml", cv=3),
        GPR(alpha=1e-3, optimizer=None, calibration=None),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def arrays(rng):
    X = rng.normal(size=(50, 3))
    return X, np.sin(X).sum(axis=1) + 0.05 * rng.normal(size=50), rng.normal(size=(12, 3))


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[:100]


# -- scikit-learn's process -----------------------------------------------------------------------

PEERS = [
    (
        Constant(2.0) * Gaussian(1.3) + WhiteNoise(0.01),
        ConstantKernel(2.0) * RBF(1.3) + WhiteKernel(0.01),
    ),
    (
        Constant(0.7) * Matern([1.0, 2.0, 3.0], nu=2.5) + WhiteNoise(0.1),
        ConstantKernel(0.7) * PeerMatern([1.0, 2.0, 3.0], nu=2.5) + WhiteKernel(0.1),
    ),
]


@pytest.mark.parametrize(("kernel", "peer"), PEERS, ids=["gaussian", "matern"])
@pytest.mark.parametrize("n_targets", [1, 2])
def test_equals_scikit_learn(arrays, kernel, peer, n_targets):
    X, y, new = arrays
    y = y if n_targets == 1 else np.column_stack([y, y**2])
    # The peer has its alpha beside the noise of the kernel; ours is relative to the diagonal.
    diagonal = float(kernel.diag(X[:1])[0])
    model = GPR(kernel, alpha=1e-8 / diagonal, optimizer=None, **PLAIN).fit(X, y)
    other = GaussianProcessRegressor(peer, alpha=1e-8, optimizer=None).fit(X, y)
    mean, covariance = model.predict(new, return_cov=True)
    expected, expected_covariance = other.predict(new, return_cov=True)
    assert_allclose(mean, expected, rtol=1e-8, atol=1e-10)
    own = np.eye(12) if n_targets == 1 else np.eye(12)[:, :, None]
    assert_allclose(covariance, expected_covariance + 1e-8 * own, rtol=1e-8, atol=1e-10)
    std = model.predict(new, return_std=True)[1]
    assert_allclose(std**2, other.predict(new, return_std=True)[1] ** 2 + 1e-8, rtol=1e-8)
    value, gradient = model.log_marginal_likelihood(eval_gradient=True)
    expected, expected_gradient = other.log_marginal_likelihood(
        other.kernel_.theta, eval_gradient=True
    )
    assert_allclose(value, expected, rtol=1e-8)
    assert_allclose(model.log_marginal_likelihood(), value)
    assert_allclose(gradient, expected_gradient, rtol=1e-6, atol=1e-6)
    moved = other.kernel_.theta + 0.1
    assert_allclose(
        model.log_marginal_likelihood(moved), other.log_marginal_likelihood(moved), rtol=1e-6
    )


@pytest.mark.parametrize("case", range(8))
def test_equals_gpytorch(case):
    """Values that tools/make_gpytorch_values.py wrote."""
    path = Path(__file__).with_name("gpytorch_values.json")
    stored = json.loads(path.read_text(encoding="utf-8"))
    peer, widths = stored["cases"][case], stored["cases"][case]["widths"]
    width = widths[0] if len(widths) == 1 else widths
    kernel = Gaussian(width) if peer["nu"] is None else Matern(width, nu=peer["nu"])
    amplitude, noise = stored["amplitude"], stored["noise"]
    model = GPR(
        kernel, alpha=noise / amplitude, amplitude=amplitude, optimizer=None, calibration=None
    ).fit(stored["X"], stored["y"])
    mean, covariance = model.predict(stored["new"], return_cov=True)
    assert_allclose(mean, peer["mean"], rtol=1e-8)
    assert_allclose(covariance, peer["covariance"], rtol=1e-8, atol=1e-10)
    value, slopes = model.log_marginal_likelihood(eval_gradient=True)
    assert_allclose(value, peer["log_likelihood"], rtol=1e-8)
    assert_allclose(slopes, peer["slopes"], rtol=1e-6)


def test_finds_the_likelihood_that_scikit_learn_finds(arrays):
    X, y, _ = arrays
    model = GPR(optimizer="lml", amplitude="lml").fit(X, y)
    peer = ConstantKernel(1.0, (1e-3, 1e6)) * RBF(1.0) + WhiteKernel(1e-2, (1e-12, 1e2))
    other = GaussianProcessRegressor(peer, n_restarts_optimizer=3, random_state=0).fit(X, y)
    found = model.log_marginal_likelihood()
    assert found > other.log_marginal_likelihood_value_ - 0.02
    scale, noise = other.kernel_.k1, other.kernel_.k2
    assert_allclose(model.kernel_.length_scale, scale.k2.length_scale, rtol=0.05)
    assert_allclose(model.amplitude_, scale.k1.constant_value, rtol=0.2)
    assert_allclose(model.alpha_ * model.amplitude_, noise.noise_level, rtol=0.1)


def test_mean_is_that_of_kernel_ridge_regression(small):
    y = small["atomization_energy"]
    model = GPR(Laplacian(5e3), descriptor=BagOfBonds(), **FIXED).fit(small, y)
    krr = KRR(Laplacian(5e3), descriptor=BagOfBonds(), **FIXED).fit(small, y)
    assert_allclose(model.predict(small[:9]), krr.predict(small[:9]), rtol=1e-12)
    assert_allclose(model.loo_residuals_, krr.loo_residuals_, rtol=1e-7, atol=1e-7)
    assert_allclose(model.composition_, krr.composition_, rtol=1e-8)
    assert model.elements_ == krr.elements_


# -- choices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [Gaussian(), Gaussian([1.0, 1.0, 1.0]), Constant() * Matern()])
@pytest.mark.parametrize("optimizer", ["loo", "lml"])
@pytest.mark.parametrize("extra", ["", "noise", "groups", "folds"])
def test_slopes_of_the_search_are_those_of_finite_differences(arrays, kernel, optimizer, extra):
    X, y, _ = arrays
    seen = []

    class Spy(gp_search._Objective):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            seen.append(self)

    noise = np.linspace(0.02, 0.08, 50) if extra == "noise" else None
    groups = np.arange(50) % 3 if extra == "groups" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gp_search, "_Objective", Spy)
        model = GPR(kernel, optimizer=optimizer, cv=5 if extra == "folds" else None)
        model.fit(X, y, noise=noise, noise_groups=groups)
    objective = seen[-1]
    n = len(kernel.theta) + (3 if extra == "groups" else 2 if extra == "noise" else 1)
    point = np.concatenate([kernel.theta, np.full(n - len(kernel.theta), np.log(1e-2))])
    _, slopes = objective.value_and_slopes(point)
    assert slopes.shape == (n,)
    for k in range(n):
        step = np.eye(n)[k] * 1e-4
        up, down = objective.value(point + step), objective.value(point - step)
        assert_allclose(slopes[k], (up - down) / 2e-4, rtol=2e-5, atol=1e-7)


def test_slopes_with_terms(small):
    terms = Term(BagOfBonds(), "laplacian", width=1.0) + 0.3 * Term(
        ACSF(), AtomSum(Gaussian()), width=1.0
    ) * Term(CoulombMatrix(), "gaussian", width=2.0)
    seen = []

    class Spy(gp_search._Objective):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            seen.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gp_search, "_Objective", Spy)
        patch.setattr(gp_search, "_STEPS", 1)
        patch.setattr(gp_search, "_ALPHAS", np.array([1e-3]))
        model = GPR(terms).fit(small[:30], small["atomization_energy"][:30])
    objective = seen[-1]
    point = np.append(objective.kernel.theta, np.log(1e-3))
    _, slopes = objective.value_and_slopes(point)
    assert slopes.shape == (5,)
    for k in range(5):
        step = np.eye(5)[k] * 1e-4
        up, down = objective.value(point + step), objective.value(point - step)
        assert_allclose(slopes[k], (up - down) / 2e-4, rtol=1e-4, atol=1e-7)
    mean, std = model.predict(small[30:33], return_std=True)
    assert mean.shape == std.shape == (3,)
    assert (std > 0).all()


def test_settings_that_are_kept(arrays):
    X, y, _ = arrays
    model = GPR(Gaussian(1.7), alpha=1e-3, amplitude=2.5, optimizer=None).fit(X, y)
    assert (model.kernel_.length_scale, model.alpha_, model.amplitude_) == (1.7, 1e-3, 2.5)
    assert model.trials_ == []
    model = GPR(Gaussian(1.7), optimizer=None).fit(X, y)
    assert model.kernel_.length_scale == 1.7
    assert len({trial.alpha for trial in model.trials_}) > 3
    model = GPR(Gaussian(1.7, "fixed"), alpha=1e-3).fit(X, y)
    assert model.kernel_.length_scale == 1.7
    model = GPR(alpha=1e-2).fit(X, y)
    assert {trial.alpha for trial in model.trials_} == {1e-2}
    assert model.kernel_.length_scale != 1.0


def test_restarts_find_no_worse_place(arrays):
    X, y, _ = arrays
    once = GPR(Gaussian([1.0] * 3)).fit(X, y)
    often = GPR(Gaussian([1.0] * 3), n_restarts=3, random_state=1).fit(X, y)
    assert len(often.trials_) > len(once.trials_)
    best = [min(t.error for t in m.trials_ if t.n_rows == 50) for m in (once, often)]
    assert best[1] <= best[0] + 1e-9
    again = GPR(Gaussian([1.0] * 3), n_restarts=3, random_state=1).fit(X, y)
    assert_array_equal(again.kernel_.theta, often.kernel_.theta)


def test_known_noise_of_labels(arrays, rng):
    """A wide prior and known noise: the standard error of a weighted mean."""
    X, y, new = arrays
    noise = np.linspace(0.05, 0.5, 50)
    kernel = Constant(2.0) * Gaussian(1.3)
    model = GPR(kernel, alpha=1e-12, optimizer=None, **PLAIN).fit(X, y, noise=noise)
    peer = GaussianProcessRegressor(
        ConstantKernel(2.0) * RBF(1.3), alpha=noise**2 + 2e-12, optimizer=None
    ).fit(X, y)
    mean, std = model.predict(new, return_std=True)
    expected, expected_std = peer.predict(new, return_std=True)
    assert_allclose(mean, expected, rtol=1e-8)
    assert_allclose(std, expected_std, rtol=1e-8)
    found = GPR(Gaussian(1.3), optimizer=None, calibration=None).fit(X, y, noise=noise)
    assert 0.05 < found.amplitude_ < 50.0


@pytest.mark.slow
def test_noise_of_groups_is_learnt(rng):
    X = np.linspace(0, 10, 240)[:, None]
    group = np.arange(240) % 2
    y = np.sin(X[:, 0]) + np.where(group, 0.3, 0.03) * rng.normal(size=240)
    model = GPR(optimizer="lml").fit(X, y, noise_groups=np.array(["fine", "coarse"])[group])
    assert model.noise_groups_ == ("coarse", "fine")
    found = np.sqrt(model.alpha_ * model.amplitude_)
    assert_allclose(found, [0.3, 0.03], rtol=0.3)
    coarse = found[0] > 3 * found[1]
    assert coarse


def test_copies_of_other_noise_are_not_merged(arrays):
    X, y, _ = arrays
    twice, labels = np.concatenate([X, X]), np.concatenate([y, y + 0.3])
    group = np.repeat([0, 1], 50)
    model = GPR(Gaussian(1.3), **FIXED).fit(twice, labels, noise_groups=group)
    assert (model.dual_coef_ != 0.0).all()
    merged = GPR(Gaussian(1.3), **FIXED).fit(twice, labels, noise=0.1)
    assert (merged.dual_coef_[50:] == 0.0).all()
    assert_allclose(merged._training.errors.variances, 0.005)


# -- what one factorisation gives -----------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, KFold(4), "groups"])
def test_leave_out_equals_refits(small, cv):
    y = small["atomization_energy"]
    fixed = {"optimizer": None, "alpha": 1e-3, "amplitude": 900.0, "calibration": None}
    model = GPR(Laplacian(5e3), descriptor=BagOfBonds(), **fixed).fit(small, y)
    groups = np.arange(100) // 7 if cv == "groups" else None
    mean, std = model.leave_out(GroupKFold(5) if cv == "groups" else cv, groups)
    if cv is None:
        folds = [np.array([i]) for i in (0, 17, 99)]
        assert_allclose(y - mean, model.loo_residuals_, rtol=1e-9, atol=1e-9)
        assert_allclose(std, model.loo_std_, rtol=1e-9)
    else:
        splitter = GroupKFold(5) if cv == "groups" else cv
        folds = [test for _, test in splitter.split(y, y, groups)]
    for rows in folds:
        rest = np.delete(np.arange(100), rows)
        refit = GPR(Laplacian(5e3), descriptor=BagOfBonds(), **fixed).fit(small[rest], y[rest])
        expected, expected_std = refit.predict(small[rows], return_std=True)
        assert_allclose(mean[rows], expected, rtol=1e-8, atol=1e-7)
        assert_allclose(std[rows], expected_std, rtol=1e-7)


def test_jackknife_plus_equals_refits(small):
    y = small["atomization_energy"]
    fixed = {"kernel": Laplacian(5e3), "descriptor": BagOfBonds(), **FIXED}
    n = size(60, 25)
    train, labels, test = small[:n], y[:n], small[60:70]
    model = GPR(**fixed).fit(train, labels)
    residuals, left_out = np.empty(n), np.empty((10, n))
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        refit = KRR(**fixed).fit(train[rest], labels[rest])
        residuals[i] = labels[i] - refit.predict(train[[i]])[0]
        left_out[:, i] = refit.predict(test)
    for coverage in (0.6, 0.9):
        lower, upper = model.predict_interval(test, coverage, "jackknife+")
        expected = jackknife_plus(residuals, left_out, coverage)
        assert_allclose(lower, expected[0], rtol=1e-8, atol=1e-6)
        assert_allclose(upper, expected[1], rtol=1e-8, atol=1e-6)


def test_jackknife_and_cv_plus_equal_mapie(arrays):
    regression = pytest.importorskip("mapie.regression")
    X, y, new = arrays
    model = GPR(Gaussian(1.3), cv=KFold(5), **FIXED).fit(X, y)
    for method, cv in (("jackknife+", -1), ("cv+", KFold(5))):
        peer = regression.CrossConformalRegressor(
            KRR(Gaussian(1.3), **FIXED), confidence_level=0.9, method="plus", cv=cv
        )
        _, ends = peer.fit_conformalize(X, y).predict_interval(new)
        lower, upper = model.predict_interval(new, 0.9, method)
        assert_allclose(lower, ends[:, 0, 0], rtol=1e-7)
        assert_allclose(upper, ends[:, 1, 0], rtol=1e-7)


def test_conformal_intervals_need_samples_that_were_kept_back(arrays, rng):
    X, y, new = arrays
    model = GPR(Gaussian(1.3), **FIXED).fit(X, y)
    with pytest.raises(SettingError, match=r"calibrate\(X, y\)"):
        model.predict_interval(new, method="conformal")
    other = rng.normal(size=(40, 3))
    labels = np.sin(other).sum(axis=1)
    lower, upper = model.calibrate(other, labels).predict_interval(new, 0.8, "conformal")
    mean, std = model.predict(other, return_std=True)
    score = np.sort(np.abs(labels - mean) / std)[int(np.ceil(41 * 0.8)) - 1]
    mean, std = model.predict(new, return_std=True)
    assert_allclose(upper - mean, score * std)
    assert_allclose(mean - lower, score * std)
    with pytest.raises(LabelError, match="2 targets"):
        model.calibrate(other, np.column_stack([labels, labels]))


def test_gaussian_intervals(arrays):
    X, y, new = arrays
    model = GPR(Gaussian(1.3), **FIXED).fit(X, y)
    mean, std = model.predict(new, return_std=True)
    lower, upper = model.predict_interval(new, 0.95, "gaussian")
    assert_allclose(upper - mean, stats.norm.ppf(0.975) * std)
    assert_allclose(mean - lower, stats.norm.ppf(0.975) * std)


@pytest.mark.parametrize("method", ["calibrated", "gaussian", "jackknife+", "cv+"])
def test_several_targets_have_intervals_of_their_own(arrays, method):
    X, y, new = arrays
    both = np.column_stack([y, 10.0 * np.cos(X[:, 0])])
    model = GPR(Gaussian(1.3), **FIXED).fit(X, both)
    lower, upper = model.predict_interval(new, 0.8, method)
    for t in range(2):
        one = GPR(Gaussian(1.3), **FIXED).fit(X, both[:, t])
        expected = one.predict_interval(new, 0.8, method)
        assert_allclose(lower[:, t], expected[0], rtol=1e-8)
        assert_allclose(upper[:, t], expected[1], rtol=1e-8)


@pytest.mark.parametrize("calibration", [None, "scale"])
def test_draws_have_mean_and_covariance_of_the_posterior(arrays, calibration):
    X, y, new = arrays
    model = GPR(Gaussian(1.3), calibration=calibration, **FIXED).fit(X, y)
    n = size(20000, 4000)
    drawn = model.sample_y(new, n, random_state=3)
    mean, covariance = model.predict(new, return_cov=True)
    std = np.sqrt(np.diag(covariance))
    assert drawn.shape == (12, n)
    assert (np.abs(drawn.mean(axis=1) - mean) < 5.0 * std / np.sqrt(n)).all()
    error = np.abs(np.cov(drawn) - covariance) / np.outer(std, std)
    assert error.max() < 6.0 * np.sqrt(2.0 / n)
    assert_array_equal(model.sample_y(new, 2, random_state=4), model.sample_y(new, 2, 4))
    both = GPR(Gaussian(1.3), **FIXED).fit(X, np.column_stack([y, y]))
    assert both.sample_y(new, 5).shape == (12, 2, 5)


def test_draws_know_the_uncertainty_of_the_composition(small):
    y = small["atomization_energy"]
    model = GPR(Laplacian(5e3), descriptor=BagOfBonds(), **FIXED).fit(small[:40], y[:40])
    drawn = model.sample_y(small[40:44], 4000)
    mean, std = model.predict(small[40:44], return_std=True)
    assert_allclose(drawn.std(axis=1), std, rtol=0.08)
    assert (np.abs(drawn.mean(axis=1) - mean) < 5 * std / np.sqrt(4000)).all()


def test_standard_deviation_is_the_root_of_the_covariance(small):
    y = small["atomization_energy"]
    model = GPR(descriptor=BagOfBonds()).fit(small[:60], np.column_stack([y[:60], y[:60] ** 2]))
    mean, std = model.predict(small[60:70], return_std=True)
    again, covariance = model.predict(small[60:70], return_cov=True)
    assert covariance.shape == (10, 10, 2)
    assert_allclose(again, mean, rtol=1e-12)
    assert_allclose(np.sqrt(np.einsum("iit->it", covariance)), std, rtol=1e-9)
    with pytest.raises(SettingError, match="exclude each other"):
        model.predict(small[:2], return_std=True, return_cov=True)


# -- more and fewer labels ------------------------------------------------------------------------


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
    features = model.descriptor_.transform(small[:3])
    before = model.kernel_(features)
    model.append(small[60:90], y[60:90])
    assert_allclose(model.kernel_(model.descriptor_.transform(small[:3])), before, rtol=1e-12)
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


# -- error bars -----------------------------------------------------------------------------------


def test_labels_from_the_prior_lie_in_the_intervals():
    """Coverage of labels that are drawn from the process itself, inside a binomial band."""
    rng = np.random.default_rng(5)
    inside = dict.fromkeys(("gaussian", "calibrated", "jackknife+"), 0)
    n_draws, n, m = size(20, 3), 60, 25
    for _ in range(n_draws):
        X = rng.uniform(0, 8, size=(n + m, 2))
        K = 4.0 * Matern(2.0)(X) + 0.04 * np.eye(n + m)
        y = np.linalg.cholesky(K) @ rng.normal(size=n + m)
        for method in inside:
            plain = None if method == "gaussian" else "scale"
            model = GPR(
                Constant(4.0) * Matern(2.0),
                alpha=0.01,
                amplitude=1.0 if plain is None else "loo",
                optimizer=None,
                calibration=plain,
            ).fit(X[:n], y[:n])
            lower, upper = model.predict_interval(X[n:], 0.9, method)
            inside[method] += int(((y[n:] >= lower) & (y[n:] <= upper)).sum())
    total = n_draws * m
    # The process itself has exactly 90 %; test points of one draw depend on each other a little.
    low, high = coverage_band(total, 0.9, 0.999)
    assert low <= inside["gaussian"] / total <= high
    for method in ("calibrated", "jackknife+"):
        assert low - 0.03 <= inside[method] / total <= high + 0.03


@pytest.mark.slow
def test_error_bars_follow_the_errors(rng):
    """Noise that grows along x: a process of constant noise cannot know, its scale model does."""
    X = rng.uniform(0, 10, size=(400, 1))
    y = np.sin(X[:, 0]) + (0.02 + 0.05 * X[:, 0]) * rng.normal(size=400)
    model = GPR().fit(X, y)
    std = model.predict([[0.5], [9.5]], return_std=True)[1]
    assert_allclose(std, [0.045, 0.495], rtol=0.35)
    plain = GPR(calibration=None).fit(X, y).predict([[0.5], [9.5]], return_std=True)[1]
    assert plain[1] / plain[0] < 1.5
    inside = np.abs(model.loo_residuals_) <= 1.645 * model.loo_std_
    low, high = coverage_band(400, 0.9, 0.999)
    assert low <= inside.mean() <= high


def test_amplitudes(arrays):
    X, y, _ = arrays
    model = GPR(Gaussian(1.3), calibration=None, **FIXED).fit(X, y)
    # Leave-one-out z-scores have a mean square of one.
    assert_allclose(np.mean((model.loo_residuals_ / model.loo_std_) ** 2), 1.0, rtol=1e-9)
    lml = GPR(Gaussian(1.3), amplitude="lml", **FIXED).fit(X, y)
    K = Gaussian(1.3)(X) + 1e-3 * np.eye(50)
    assert_allclose(lml.amplitude_, y @ np.linalg.solve(K, y) / 50, rtol=1e-8)


def test_fifty_digits():
    """A nearly singular case against exact arithmetic."""
    mpmath.mp.dps = 50
    X = np.array([[0.0], [1e-3], [1.0], [2.0]])
    y = np.array([1.0, 1.002, -0.5, 0.25])
    new, alpha, amplitude = 0.4, 1e-9, 2.0

    def kernel(a, b):
        return mpmath.exp(-((mpmath.mpf(float(a)) - mpmath.mpf(float(b))) ** 2) / 2)

    K = mpmath.matrix(4, 4)
    for i in range(4):
        for j in range(4):
            K[i, j] = kernel(X[i, 0], X[j, 0]) + (mpmath.mpf(alpha) if i == j else 0)
    cross = mpmath.matrix([kernel(new, x) for x in X[:, 0]])
    P = K**-1
    labels = mpmath.matrix([mpmath.mpf(float(v)) for v in y])
    mean = (cross.T * P * labels)[0]
    variance = amplitude * (1 + mpmath.mpf(alpha) - (cross.T * P * cross)[0])
    model = GPR(
        Gaussian(1.0), alpha=alpha, amplitude=amplitude, optimizer=None, calibration=None
    ).fit(X, y)
    found, std = model.predict([[new]], return_std=True)
    assert_allclose(found[0], float(mean), rtol=1e-8)
    assert_allclose(std[0], float(mpmath.sqrt(variance)), rtol=1e-6)
    quadratic = (labels.T * P * labels)[0] / amplitude
    value = -(quadratic + mpmath.log(mpmath.det(K)) + 4 * mpmath.log(2 * mpmath.pi * amplitude)) / 2
    assert_allclose(model.log_marginal_likelihood(), float(value), rtol=1e-8)
    residuals = [float((P * labels)[i] / P[i, i]) for i in range(4)]
    assert_allclose(model.loo_residuals_, residuals, rtol=1e-7)


@pytest.mark.slow
@settings(max_examples=examples(1000), deadline=None)
@given(data=st.data())
def test_odd_input_gives_numbers_or_a_clear_error(data):
    n = data.draw(st.integers(1, 12))
    d = data.draw(st.integers(1, 3))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** data.draw(st.sampled_from([-8, -3, 0, 3, 8]))
    y = rng.normal(size=n) * 10.0 ** data.draw(st.sampled_from([-8, 0, 8]))
    for change in data.draw(st.sets(st.sampled_from(["copies", "column", "labels", "zero"]))):
        if change == "copies":
            X[: n // 2] = X[0]
        elif change == "column":
            X[:, 0] = 3.0
        elif change == "labels":
            y[:] = y[0]
        else:
            y[:] = 0.0
    kernel = data.draw(st.sampled_from([None, "laplacian", Matern(nu=2.5), Gaussian([1.0] * d)]))
    optimizer = data.draw(st.sampled_from(["loo", "lml", None]))
    model = GPR(kernel, optimizer=optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y)
        except KernchemError:
            return
        mean, std = model.predict(np.concatenate([X, X + 1.0, X * 1e3]), return_std=True)
        lower, upper = model.predict_interval(X, 0.5, "gaussian")
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert (std > 0).all()
    assert (lower <= upper).all()


# -- errors and habits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": "loo"}, "'fit'"),
        ({"amplitude": -1.0}, "amplitude=-1.0"),
        ({"amplitude": "mle"}, "'loo' or 'lml'"),
        ({"optimizer": "adam"}, "optimizer='adam'"),
        ({"calibration": True}, "calibration=True"),
        ({"n_restarts": -1}, "n_restarts=-1"),
        ({"kernel": "precomputed"}, "no variances of new samples"),
        ({"kernel": "gauss"}, "use a kernel or one of"),
    ],
)
def test_settings_that_make_no_sense(arrays, wrong, message):
    X, y, _ = arrays
    with pytest.raises(SettingError, match=message):
        GPR(**wrong).fit(X, y)


def test_noise_that_makes_no_sense(arrays):
    X, y, _ = arrays
    for noise, message in (
        (-np.ones(50), r"noise of sample 0 is -1.0"),
        (np.ones(3), r"noise has shape \(3,\)"),
        ("loud", "must hold numbers"),
    ):
        with pytest.raises(LabelError, match=message):
            GPR().fit(X, y, noise=noise)
    with pytest.raises(LabelError, match="noise_groups"):
        GPR().fit(X, y, noise_groups=[1, 2])


def test_intervals_that_make_no_sense(arrays):
    X, y, new = arrays
    model = GPR(Gaussian(1.3), **FIXED).fit(X, y)
    with pytest.raises(SettingError, match="method='bayes'"):
        model.predict_interval(new, method="bayes")
    with pytest.raises(SettingError, match="coverage"):
        model.predict_interval(new, 1.5)
    with pytest.raises(SettingError, match="n_samples=0"):
        model.sample_y(new, 0)
    with pytest.raises(LabelError, match="2 targets"):
        model.append(new, np.ones((12, 2)))
    lonely = GPR(Gaussian(1.3), **FIXED).fit(X[:1], y[:1])
    mean, std = lonely.predict(new, return_std=True)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


def test_pickle_and_clone(arrays):
    X, y, new = arrays
    model = GPR("laplacian", n_restarts=1).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    for found, expected in zip(
        again.predict(new, return_std=True), model.predict(new, return_std=True), strict=True
    ):
        assert_array_equal(found, expected)
    assert clone(model).get_params() == model.get_params()


def test_a_fit_that_fails_leaves_nothing_behind(arrays):
    X, y, _ = arrays
    model = GPR(Gaussian(1.3), **FIXED).fit(X, y)
    with pytest.raises(LabelError):
        model.fit(X, np.full(50, np.nan))
    assert set(vars(model)) == {*model.get_params(deep=False), "n_features_in_"}
