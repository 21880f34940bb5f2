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
from kernchem.descriptors import BagOfBonds
from kernchem.errors import KernchemError, LabelError, SettingError
from kernchem.kernels import Constant, Gaussian, Laplacian, Matern, WhiteNoise
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


# -- what one factorisation gives -----------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, KFold(4), "groups"])
def test_leave_out_equals_refits(small, cv):
    y = small["atomization_energy"]
    fixed = {"optimizer": None, "alpha": 1e-3, "amplitude": 900.0, "calibration": None}
    model = GPR(Laplacian(5e3), descriptor=BagOfBonds(), **fixed).fit(small, y)
    groups = np.arange(100) // 7 if cv == "groups" else None
    splitter = GroupKFold(5) if cv == "groups" else cv
    mean, std = model.leave_out(splitter, groups)
    assert_allclose(model.leave_out_residuals(splitter, groups), y - mean, atol=1e-9)
    if cv is None:
        folds = [np.array([i]) for i in (0, 17, 99)]
        assert_allclose(y - mean, model.loo_residuals_, rtol=1e-9, atol=1e-9)
        assert_allclose(std, model.loo_std_, rtol=1e-9)
    else:
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
