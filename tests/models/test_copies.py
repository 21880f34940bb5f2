"""Labels of one sample whose noise differs: rows of their own, which are left out together."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

import kernchem
from kernchem import GPR
from kernchem.kernels import Gaussian, Laplacian
from kernchem.models.gp_search import Settings, _Objective
from kernchem.models.label_errors import LabelErrors
from kernchem.models.training_set import TrainingSet
from kernchem.uncertainty import ScaleModel, cv_plus, jackknife_plus

SAMPLE = np.array([0, 1, 2, 1, 3, 4, 5, 1, 6, 4, 7, 8, 8, 0])
PRECISE = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0])
FIXED = {"alpha": 0.2, "amplitude": 1.3, "optimizer": None, "calibration": None}


@pytest.fixture
def problem(rng):
    """Nine points with one to three labels, and a weight of each."""
    points = rng.normal(size=(9, 2))
    y = np.sin(points)[SAMPLE].sum(axis=1) + 0.4 * rng.normal(size=len(SAMPLE))
    return points[SAMPLE], y, rng.uniform(0.5, 2.0, len(SAMPLE))


def fitted(kind, X, y, weights, rows):
    """Return a fit to some of the labels, and the variance of the noise of all labels."""
    model = GPR(Gaussian(), **FIXED)
    if kind == "known":
        sd = np.where(PRECISE, 0.1, 0.6)
        model.fit(X[rows], y[rows], sample_weight=weights[rows], noise=sd[rows])
        return model, 1.3 * 0.2 / weights + sd**2
    model.fit(X[rows], y[rows], sample_weight=weights[rows], noise_groups=PRECISE[rows])
    return model, 1.3 * 0.2 / weights


def without(kind, problem, samples):
    """Return a fit without all labels of some samples, which these are, and their variances."""
    X, y, weights = problem
    rows = np.isin(SAMPLE, samples)
    model, noise = fitted(kind, X, y, weights, ~rows)
    variances = np.diag(model.predict(X[rows], return_cov=True)[1]) - 1.3 * 0.2 + noise[rows]
    return model, np.flatnonzero(rows), variances


@pytest.mark.parametrize("kind", ["known", "groups"])
def test_the_process_is_that_of_all_labels(problem, kind):
    X, y, weights = problem
    model, noise = fitted(kind, X, y, weights, np.arange(14))
    covariance = 1.3 * Gaussian()(X) + np.diag(noise)
    density = multivariate_normal(cov=covariance).logpdf(y)
    assert_allclose(model.log_marginal_likelihood(), density, rtol=1e-10)
    new = X[:4] + 0.3
    mean = 1.3 * Gaussian()(new, X) @ np.linalg.solve(covariance, y)
    assert_allclose(model.predict(new), mean, rtol=1e-10)


@pytest.mark.parametrize("kind", ["known", "groups"])
def test_what_is_left_out_is_that_of_refits(problem, kind):
    X, y, weights = problem
    model, _ = fitted(kind, X, y, weights, np.arange(14))
    mean, std = model.leave_out()
    for sample in range(9):
        other, rows, variances = without(kind, problem, [sample])
        assert_allclose(mean[rows], other.predict(X[rows]), rtol=1e-8)
        assert_allclose(std[rows], np.sqrt(variances), rtol=1e-8)
        assert_allclose(model.loo_residuals_[rows], y[rows] - other.predict(X[rows]), rtol=1e-8)
        assert_allclose(model.loo_std_[rows], np.sqrt(variances), rtol=1e-8)
    # Folds in which a sample is split: all its labels leave with the first.
    folds = [(np.arange(5, 14), np.arange(5)), (np.arange(5), np.arange(5, 14))]
    mean, std = model.leave_out(cv=folds)
    other, rows, variances = without(kind, problem, [0, 1, 2, 3])
    assert_allclose(mean[rows], other.predict(X[rows]), rtol=1e-8)
    assert_allclose(std[rows], np.sqrt(variances), rtol=1e-8)


@pytest.mark.parametrize("kind", ["known", "groups"])
@pytest.mark.parametrize("method", ["jackknife+", "cv+"])
def test_intervals_are_those_of_refits(problem, kind, method, rng):
    X, y, weights = problem
    model, _ = fitted(kind, X, y, weights, np.arange(14))
    new = rng.normal(size=(5, 2))
    fold = SAMPLE if method == "jackknife+" else SAMPLE % 3
    if method == "cv+":
        model.cv = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)]
    groups = [np.unique(SAMPLE[fold == k]) for k in range(fold.max() + 1)]
    others = [without(kind, problem, group)[0] for group in groups]
    residuals = y - [others[fold[k]].predict(X[k : k + 1])[0] for k in range(14)]
    by_fold = np.stack([other.predict(new) for other in others], axis=1)
    if method == "cv+":
        ends = cv_plus(residuals, fold, by_fold, 0.7)
    else:
        ends = jackknife_plus(residuals, by_fold[:, fold], 0.7)
    assert_allclose(model.predict_interval(new, 0.7, method), ends, rtol=1e-7)


@pytest.mark.parametrize("optimizer", ["loo", "lml"])
def test_the_search_leaves_them_out_together(problem, optimizer):
    """Slopes by finite differences, with the rows of each sample as folds."""
    X, y, weights = problem
    errors = LabelErrors.of(None, PRECISE, 14)
    training = TrainingSet.distinct(X, y[:, None], weights, errors=errors)
    # Two labels of one sample share a group, and are one row.
    assert len(training) == 13
    folds = training.folds(None)
    settings = Settings(optimizer, varied=True, alpha=None, amplitude=None, folds=folds)
    objective = _Objective(training, Laplacian(), settings, [])
    point = np.array([0.2, -2.0, -1.0])
    _, slopes = objective.value_and_slopes(point)
    steps = 1e-5 * np.eye(3)
    found = [(objective.value(point + s) - objective.value(point - s)) / 2e-5 for s in steps]
    assert_allclose(slopes, found, rtol=1e-5, atol=1e-8)


def test_a_sample_is_not_predicted_from_its_copy():
    """Two sources label the same points: errors on others are those that were left out."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 25.0, 60)[:, None]
    f = np.linalg.cholesky(Gaussian()(x) + 1e-9 * np.eye(60)) @ rng.normal(size=60)
    both, source = np.r_[x[:25], x[:25]], np.repeat([0, 1], 25)
    y = np.r_[f[:25], f[:25]] + np.where(source, 0.2, 0.1) * rng.normal(size=50)
    model = GPR().fit(both, y, noise_groups=source)
    errors = np.abs(model.predict(x[25:]) - f[25:]).mean()
    assert 0.5 < np.abs(model.loo_residuals_).mean() / errors < 2.0


@pytest.mark.parametrize("kind", ["known", "groups"])
def test_append_forget_and_files(problem, kind, tmp_path):
    X, y, weights = problem
    weights[10:12] = 1.0
    model, _ = fitted(kind, X, y, weights, np.arange(10))
    # One of two labels of point 4, and the only one of point 2, leave; points 7 and 8 join.
    model.forget([5, 2])
    own = {"noise": np.where(PRECISE, 0.1, 0.6)} if kind == "known" else {"noise_groups": PRECISE}
    model.append(X[10:12], y[10:12], **{name: value[10:12] for name, value in own.items()})
    rows = np.array([0, 1, 3, 4, 6, 7, 8, 9, 10, 11])
    other, _ = fitted(kind, X, y, weights, rows)
    kernchem.save(model, tmp_path / "model.kc")
    for one in (model, kernchem.load(tmp_path / "model.kc")):
        assert_allclose(one.loo_residuals_, other.loo_residuals_, rtol=1e-7, atol=1e-10)
        assert_allclose(one.loo_std_, other.loo_std_, rtol=1e-7)
        assert_allclose(one.leave_out(), other.leave_out(), rtol=1e-7)
        found, expected = (m.predict_interval(X, 0.7, "jackknife+") for m in (one, other))
        assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("kind", ["loo", "lml"])
def test_targets_are_those_of_models_of_their_own(problem, kind):
    """Labels that one target repeats say nothing of its noise, whatever those of the other say."""
    X, y, weights = problem
    both = np.column_stack([np.cos(X).sum(axis=1), y])
    settings = {"alpha": 0.2, "amplitude": kind, "optimizer": None}
    model = GPR(Gaussian(), **settings).fit(X, both, sample_weight=weights)
    for t in range(2):
        one = GPR(Gaussian(), **settings).fit(X, both[:, t], sample_weight=weights)
        assert_allclose(model.amplitude_[t], one.amplitude_, rtol=1e-10)
        assert_allclose(model.loo_std_[:, t], one.loo_std_, rtol=1e-8)
        for method in ("calibrated", "jackknife+"):
            found = [ends[:, t] for ends in model.predict_interval(X, 0.7, method)]
            assert_allclose(found, one.predict_interval(X, 0.7, method), rtol=1e-8)


def test_errors_are_learnt_from_one_label_of_each_sample(problem, monkeypatch):
    """The correction of a sample is that of all its labels."""
    X, y, weights = problem
    seen = []
    fit = ScaleModel.fit
    monkeypatch.setattr(
        ScaleModel, "fit", lambda self, *given: seen.append(given[2]) or fit(self, *given)
    )
    model = GPR(Gaussian(), **{**FIXED, "calibration": "scale"})
    model.fit(X, y, sample_weight=weights, noise_groups=PRECISE)
    firsts = np.unique(SAMPLE, return_index=True)[1]
    assert_allclose(seen[0], model.loo_residuals_[firsts], rtol=1e-12)
    factors = model.loo_std_ / model.leave_out()[1]
    assert (np.abs(factors - 1.0) > 0.1).all()
    assert_allclose(factors, factors[firsts][SAMPLE], rtol=1e-10)
