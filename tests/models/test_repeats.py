"""Labels that were repeated: against densities of all labels, and refits without a sample."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal, norm

import kernchem
from kernchem import GPR
from kernchem.kernels import Gaussian, Laplacian
from kernchem.models.gp_search import Settings, _Objective
from kernchem.models.label_errors import LabelErrors
from kernchem.models.training_set import TrainingSet
from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares, Repeats, predictive
from kernchem.uncertainty import cv_plus, jackknife_plus

MEMBER = np.array([0, 1, 2, 1, 3, 4, 5, 1, 6, 4, 7, 8, 8, 0])
ALPHA = 0.2
FIXED = {"alpha": ALPHA, "optimizer": None}


@pytest.fixture
def problem(rng):
    """Nine points with one to three labels of two targets, and weights of labels."""
    points = rng.normal(size=(9, 2))
    y = np.sin(points)[MEMBER] + 0.4 * rng.normal(size=(len(MEMBER), 2))
    return points[MEMBER], y, rng.uniform(0.5, 2.0, len(MEMBER))


@pytest.fixture(params=[False, True], ids=["plain", "weighted"])
def weights(request, problem):
    return problem[2] if request.param else np.ones(len(MEMBER))


def without(sample, X, y, weights):
    """Return a fit without all labels of a sample, and which labels these are."""
    rows = np.isin(MEMBER, sample)
    model = GPR(Gaussian(), amplitude=1.0, calibration=None, **FIXED)
    return model.fit(X[~rows], y[~rows], sample_weight=weights[~rows]), np.flatnonzero(rows)


def process_variance(model, X):
    """Return the posterior variance of the process itself, without the noise of a label."""
    return np.diag(model.predict(X, return_cov=True)[1][..., 0]) - ALPHA


@pytest.mark.parametrize("noise", [None, 0.3])
def test_the_likelihood_is_that_of_all_labels(problem, weights, noise):
    X, y, _ = problem
    # Known noise of a mean is that of labels of equal weight.
    weights = weights if noise is None else np.ones(len(y))
    model = GPR(Gaussian(), amplitude=1.3, calibration=None, **FIXED)
    model.fit(X, y, sample_weight=weights, noise=noise)
    levels = ALPHA / weights + (0.0 if noise is None else noise**2 / 1.3)

    def density(theta):
        covariance = 1.3 * (Gaussian(np.exp(theta))(X) + np.diag(levels))
        return sum(multivariate_normal(cov=covariance).logpdf(one) for one in y.T)

    value, slopes = model.log_marginal_likelihood(eval_gradient=True)
    assert_allclose(value, density(0.0), rtol=1e-10)
    assert_allclose(slopes, (density(1e-5) - density(-1e-5)) / 2e-5, rtol=1e-7)


@pytest.mark.parametrize("kind", ["loo", "lml"])
def test_the_amplitude_is_that_of_all_labels(problem, weights, kind):
    X, y, _ = problem
    model = GPR(Gaussian(), amplitude=kind, calibration=None, **FIXED)
    model.fit(X, y, sample_weight=weights)
    if kind == "lml":
        K = Gaussian()(X) + np.diag(ALPHA / weights)
        expected = np.einsum("it,it->t", y, np.linalg.solve(K, y)) / len(y)
    else:
        # The labels of a sample that was left out, in units of their joint covariance.
        expected = np.zeros(2)
        for sample in range(9):
            other, rows = without(sample, X, y, weights)
            covariance = process_variance(other, X[rows[:1]])[0] + np.diag(ALPHA / weights[rows])
            errors = y[rows] - other.predict(X[rows[:1]])
            expected += np.einsum("it,it->t", errors, np.linalg.solve(covariance, errors))
        expected /= len(y)
    assert_allclose(model.amplitude_, expected, rtol=1e-8)


def test_what_is_left_out_is_that_of_refits(problem, weights):
    X, y, _ = problem
    model = GPR(Gaussian(), amplitude=1.0, calibration=None, **FIXED)
    model.fit(X, y, sample_weight=weights)
    mean, std = model.leave_out()
    for sample in range(9):
        other, rows = without(sample, X, y, weights)
        assert_allclose(mean[rows], other.predict(X[rows]), rtol=1e-8, atol=1e-10)
        variances = process_variance(other, X[rows]) + ALPHA / weights[rows]
        assert_allclose(std[rows], np.sqrt(variances)[:, None] * np.ones(2), rtol=1e-8)
        assert_allclose(model.loo_std_[rows], std[rows], rtol=1e-12)
        assert_allclose(model.loo_residuals_[rows], y[rows] - mean[rows], rtol=1e-8, atol=1e-10)
    folds = [(np.flatnonzero(k != MEMBER % 3), np.flatnonzero(k == MEMBER % 3)) for k in range(3)]
    mean, std = model.leave_out(cv=folds)
    other, rows = without([1, 4, 7], X, y, weights)
    assert_allclose(mean[rows], other.predict(X[rows]), rtol=1e-8, atol=1e-10)
    variances = process_variance(other, X[rows]) + ALPHA / weights[rows]
    assert_allclose(std[rows, 0], np.sqrt(variances), rtol=1e-8)


def test_intervals_are_those_of_refits(problem, rng):
    """The residuals of all labels count, not those of their means, which are smaller."""
    X, y, _ = problem
    new, ones = rng.normal(size=(5, 2)), np.ones(len(y))
    model = GPR(Gaussian(), amplitude=1.0, calibration=None, **FIXED).fit(X, y, groups=MEMBER % 3)
    others = [without(sample, X, y, ones)[0] for sample in range(9)]
    left_out = np.stack([other.predict(new) for other in others])[MEMBER]
    own = np.stack([others[MEMBER[k]].predict(X[k : k + 1])[0] for k in range(len(y))])
    lower, upper = model.predict_interval(new, 0.7, "jackknife+")
    for t in range(2):
        ends = jackknife_plus((y - own)[:, t], left_out[:, :, t].T, 0.7)
        assert_allclose((lower[:, t], upper[:, t]), ends, rtol=1e-8)
    others = [without(np.arange(fold, 9, 3), X, y, ones)[0] for fold in range(3)]
    own = np.stack([others[MEMBER[k] % 3].predict(X[k : k + 1])[0] for k in range(len(y))])
    by_fold = np.stack([other.predict(new) for other in others])
    lower, upper = model.predict_interval(new, 0.7, "cv+")
    for t in range(2):
        ends = cv_plus((y - own)[:, t], MEMBER % 3, by_fold[:, :, t].T, 0.7)
        assert_allclose((lower[:, t], upper[:, t]), ends, rtol=1e-8)


@pytest.mark.parametrize("optimizer", ["loo", "lml"])
def test_an_equal_label_is_a_weight(problem, optimizer):
    """It tells nothing of the noise, as it would if it were one more measurement."""
    X, y, weights = problem
    settings = {"kernel": Laplacian(), "optimizer": optimizer, "amplitude": optimizer}
    more = [0, 1, 1, 5]
    twice = GPR(**settings).fit(
        X[[*range(14), *more]], y[[*range(14), *more]], sample_weight=weights[[*range(14), *more]]
    )
    weights = weights * (1 + np.bincount(more, minlength=14))
    once = GPR(**settings).fit(X, y, sample_weight=weights)
    assert_allclose(twice.alpha_, once.alpha_, rtol=1e-6)
    assert_allclose(twice.amplitude_, once.amplitude_, rtol=1e-6)
    assert_allclose(twice.log_marginal_likelihood(), once.log_marginal_likelihood(), rtol=1e-8)
    assert_allclose(twice.loo_std_[:14], once.loo_std_, rtol=1e-6)
    assert_allclose(twice.loo_std_[14:], once.loo_std_[more], rtol=1e-6)
    for method in ("calibrated", "jackknife+"):
        found, expected = (m.predict_interval(X, 0.8, method) for m in (twice, once))
        assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("folds", [None, [np.array([0, 1, 2]), np.array([3, 4, 5, 6, 7, 8])]])
def test_the_score_has_the_density_of_the_scatter(problem, weights, folds):
    X, y, _ = problem
    points = np.stack([X[k == MEMBER][0] for k in range(9)])
    totals = np.bincount(MEMBER, weights)
    means = np.stack([np.bincount(MEMBER, weights * one) for one in y.T], axis=1) / totals[:, None]
    repeats, noise = Repeats.of(y, weights, MEMBER), 0.3 / totals

    def score(**given):
        factor = CholeskyFactor(Gaussian()(points), noise)
        solution = GeneralisedLeastSquares(factor, means)
        return predictive(factor, solution, 1.6, folds, slopes=False, **given).value

    more = 0.0
    for k in range(9):
        for one, mean in zip(y[k == MEMBER].T, means[k], strict=True):
            own = np.diag(1.6 * 0.3 / weights[k == MEMBER])
            all_labels = multivariate_normal(np.zeros(len(one)), own + 1.0).logpdf(one)
            spread = np.sqrt(1.0 + 1.6 * 0.3 / totals[k])
            more -= 2.0 * (all_labels - norm(0.0, spread).logpdf(mean)) / 2
    found = score(noise=noise, repeats=repeats)
    assert_allclose(found * len(y), score() * 9 + more, rtol=1e-10)


@pytest.mark.parametrize("optimizer", ["loo", "lml"])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("amplitude", [None, 1.4])
def test_slopes_of_the_search_are_those_of_finite_differences(problem, optimizer, known, amplitude):
    X, y, weights = problem
    errors = LabelErrors.of(np.full(len(y), 0.2) if known else None, MEMBER % 2, len(y))
    weights = np.ones(len(y)) if known else weights
    training = TrainingSet.distinct(X, y, weights, errors=errors)
    assert len(training) == 9
    settings = Settings(optimizer, varied=True, alpha=None, amplitude=amplitude, folds=None)
    objective = _Objective(training, Laplacian(), settings, [])
    point = np.array([0.2, -2.0, -1.0, *([0.3] if known and amplitude is None else [])])
    _, slopes = objective.value_and_slopes(point)
    steps = 1e-5 * np.eye(len(point))
    found = [(objective.value(point + s) - objective.value(point - s)) / 2e-5 for s in steps]
    assert_allclose(slopes, found, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["loo", "lml"])
def test_append_and_forget(problem, kind):
    X, y, weights = problem
    settings = {**FIXED, "amplitude": kind, "kernel": Gaussian()}
    weights[10] = 1.0
    rows = np.array([0, 1, 2, 3, 5, 7, 8, 9, 13])
    model = GPR(**settings).fit(X[rows], y[rows], sample_weight=weights[rows])
    # Point 2 leaves, and point 7 joins.
    model.forget([2]).append(X[10:11], y[10:11])
    rows = np.array([0, 1, 3, 5, 7, 8, 9, 13, 10])
    other = GPR(**settings).fit(X[rows], y[rows], sample_weight=weights[rows])
    assert_allclose(model.amplitude_, other.amplitude_, rtol=1e-8)
    assert_allclose(model.loo_std_, other.loo_std_, rtol=1e-7)
    assert_allclose(model.log_marginal_likelihood(), other.log_marginal_likelihood(), rtol=1e-8)
    for method in ("calibrated", "jackknife+", "cv+"):
        found, expected = (m.predict_interval(X, 0.7, method) for m in (model, other))
        assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("old", [False, True])
def test_files_keep_them(problem, tmp_path, old):
    X, y, weights = problem
    weights = np.ones(len(y)) if old else weights
    model = GPR(Gaussian(), amplitude="lml", **FIXED).fit(X, y, sample_weight=weights)
    whole = model._training
    if old:  # Files held no weights of labels once; those of labels without weights are known.
        model._training = replace(whole, label_weights=None)
    kernchem.save(model, tmp_path / "model.kernchem")
    model._training = whole
    loaded = kernchem.load(tmp_path / "model.kernchem")
    assert_allclose(loaded.log_marginal_likelihood(), model.log_marginal_likelihood(), rtol=1e-12)
    assert_allclose(loaded.leave_out()[1], model.leave_out()[1], rtol=1e-10)
    new = X + 0.1
    for one in (model, loaded):
        one.append(new[:2], y[:2])
    assert_allclose(loaded.amplitude_, model.amplitude_, rtol=1e-10)
    assert_allclose(loaded.predict_interval(new), model.predict_interval(new), rtol=1e-8)
    assert_allclose(
        loaded.predict_interval(new, method="jackknife+"),
        model.predict_interval(new, method="jackknife+"),
        rtol=1e-8,
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["loo", "lml"])
def test_intervals_hold_as_many_labels_as_they_say(optimizer):
    """Forty points, some of which tell of each other, with four measurements each."""
    rng = np.random.default_rng(5)
    held, number = 0, 0
    for spacing in (0.5, 1.0, 3.0, 3.0):
        x = spacing * np.arange(40.0)[:, None]
        f = np.linalg.cholesky(Gaussian()(x) + 1e-9 * np.eye(40)) @ rng.normal(size=40)
        y = np.repeat(f, 4) + rng.normal(size=160)
        model = GPR(Gaussian(), optimizer=optimizer, amplitude=optimizer)
        lower, upper = model.fit(np.repeat(x, 4, axis=0), y).predict_interval(x, 0.9)
        new = f + rng.normal(size=40)
        held, number = held + int(((lower <= new) & (new <= upper)).sum()), number + 40
    # Two standard deviations of the share of 160 labels.
    assert abs(held / number - 0.9) < 2 * np.sqrt(0.09 / number) + 0.01
