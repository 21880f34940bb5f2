"""Intervals against MAPIE, against refits, and against what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, LeaveOneOut

from kernchem import uncertainty as unc
from kernchem.errors import SettingError
from kernchem.solvers import CholeskyFactor
from kernchem.uncertainty import intervals

MODELS = [Ridge(alpha=0.1), KernelRidge(kernel="rbf", gamma=0.3, alpha=0.05)]


def data(seed, n=29, m=11):
    """Training and test samples of a smooth function with noise."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2.0, 2.0, size=(n + m, 2))
    y = np.sin(2.0 * X[:, 0]) + X[:, 1] + 0.2 * rng.standard_t(5, size=n + m)
    return X[:n], y[:n], X[n:], y[n:]


def refits(model, X, y, X_new, splits):
    """Return residuals, fold of each sample, and predictions (m, n_folds) by explicit refits."""
    residuals, folds, columns = np.empty(len(y)), np.empty(len(y), dtype=int), []
    for k, (kept, left_out) in enumerate(splits):
        model.fit(X[kept], y[kept])
        residuals[left_out] = y[left_out] - model.predict(X[left_out])
        folds[left_out] = k
        columns.append(model.predict(X_new))
    return residuals, folds, np.array(columns).T


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("splitter", [LeaveOneOut(), KFold(5, shuffle=True, random_state=3)])
def test_plus_intervals_equal_those_of_mapie(model, coverage, splitter):
    regression = pytest.importorskip("mapie.regression")
    X, y, X_new, _ = data(0)
    theirs = regression.CrossConformalRegressor(
        model, confidence_level=coverage, method="plus", cv=splitter
    )
    expected = theirs.fit_conformalize(X, y).predict_interval(X_new)[1][:, :, 0]
    residuals, folds, predictions = refits(model, X, y, X_new, splitter.split(X))
    lower, upper = unc.cv_plus(residuals, folds, predictions, coverage)
    assert_allclose(np.column_stack([lower, upper]), expected, rtol=1e-9)
    if isinstance(splitter, LeaveOneOut):
        lower, upper = unc.jackknife_plus(residuals, predictions, coverage)
        assert_allclose(np.column_stack([lower, upper]), expected, rtol=1e-9)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_split_conformal_equals_that_of_mapie(coverage):
    regression = pytest.importorskip("mapie.regression")
    X, y, X_new, _ = data(1, n=60)
    model = Ridge().fit(X[:30], y[:30])
    theirs = regression.SplitConformalRegressor(model, confidence_level=coverage, prefit=True)
    expected = theirs.conformalize(X[30:], y[30:]).predict_interval(X_new)[1][:, :, 0]
    scores = np.abs(y[30:] - model.predict(X[30:]))
    lower, upper = unc.split_conformal(model.predict(X_new), scores, coverage)
    assert_allclose(np.column_stack([lower, upper]), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 4, 9, 19, 99, 100])
@pytest.mark.parametrize("percent", [5, 50, 55, 80, 90, 95, 99])
def test_quantile_is_the_smallest_score_that_keeps_the_promise(n, percent):
    """The next of n + 1 exchangeable scores is equally likely to take every rank."""
    scores = np.random.default_rng(n).permutation(np.arange(1, n + 1)).astype(float)
    quantile = unc.conformal_quantile(scores, percent / 100)
    enough = [rank for rank in range(1, n + 1) if 100 * rank >= percent * (n + 1)]
    assert quantile == (enough[0] if enough else math.inf)


def plain_plus(residuals, predictions, coverage, own_std, std):
    """The definition of Barber et al., sample by sample; no rounding as it uses fractions."""
    n = len(residuals)
    out = []
    for j, row in enumerate(predictions):
        widths = [abs(residuals[i]) / own_std[i] * std[j] for i in range(n)]
        low = sorted(row[i] - widths[i] for i in range(n))
        high = sorted(row[i] + widths[i] for i in range(n))
        down = (100 - coverage) * (n + 1) // 100
        up = -(-coverage * (n + 1) // 100)
        out.append((low[down - 1] if down >= 1 else -np.inf, high[up - 1] if up <= n else np.inf))
    return np.array(out)


@pytest.mark.parametrize("percent", [50, 80, 90, 99])
def test_normalised_plus_intervals_equal_the_definition(percent, rng, monkeypatch):
    X, y, X_new, _ = data(2)
    residuals, folds, predictions = refits(MODELS[1], X, y, X_new, LeaveOneOut().split(X))
    own_std, std = rng.uniform(0.1, 2.0, size=len(y)), rng.uniform(0.1, 2.0, size=len(X_new))
    expected = plain_plus(residuals, predictions, percent, own_std, std)
    for panel in (1, 60, 10**6):
        monkeypatch.setattr(intervals, "_PANEL", panel)
        found = unc.jackknife_plus(residuals, predictions, percent / 100, loo_std=own_std, std=std)
        assert_allclose(np.column_stack(found), expected, rtol=1e-12)
        found = unc.cv_plus(residuals, folds, predictions, percent / 100, cv_std=own_std, std=std)
        assert_allclose(np.column_stack(found), expected, rtol=1e-12)


def test_panels_give_the_same_as_the_whole(rng):
    residuals, predictions, std = rng.normal(size=13), rng.normal(size=(31, 13)), np.ones(13)
    std_new = rng.uniform(1.0, 2.0, size=31)
    whole = unc.jackknife_plus(residuals, predictions, 0.8, loo_std=std, std=std_new)
    for cuts in ([1, 20], [], [7, 7, 30]):
        panels = (part for part in np.split(predictions, cuts))
        parts = unc.jackknife_plus(residuals, panels, 0.8, loo_std=std, std=std_new)
        assert_array_equal(parts, whole)
    assert_array_equal(
        unc.jackknife_plus(residuals, predictions.tolist(), 0.8),
        unc.jackknife_plus(residuals, [predictions[:4], predictions[4:]], 0.8),
    )
    assert [len(ends) for ends in unc.jackknife_plus(residuals, iter([]), 0.8)] == [0, 0]


def test_one_factorisation_gives_what_refits_give():
    """f_-i(x) = f(x) - (P k_x)_i e_i, the route of estimators."""
    X, y, X_new, _ = data(4)
    model = KernelRidge(kernel="rbf", gamma=0.3, alpha=0.05)
    residuals, _, predictions = refits(model, X, y, X_new, LeaveOneOut().split(X))
    kernel = np.exp(-0.3 * ((X[:, None] - X) ** 2).sum(axis=2))
    cross = np.exp(-0.3 * ((X_new[:, None] - X) ** 2).sum(axis=2))
    factor = CholeskyFactor(kernel, 0.05)
    loo = factor.solve(y) / factor.diag_inverse()
    panels = (row @ factor.solve(y) - factor.solve(row)[None] * loo for row in cross)
    assert_allclose(
        unc.jackknife_plus(loo, panels, 0.9),
        unc.jackknife_plus(residuals, predictions, 0.9),
        rtol=1e-9,
    )


@pytest.mark.parametrize(("n", "coverage"), [(9, 0.8), (20, 0.9), (37, 0.55)])
def test_split_conformal_keeps_its_promise(n, coverage):
    """Independent trials; the probability is exactly ceil((n + 1) coverage) / (n + 1)."""
    rng = np.random.default_rng([n, 5])
    trials = 4000
    exact = math.ceil(round((n + 1) * coverage, 9)) / (n + 1)
    low, high = unc.coverage_band(trials, exact)
    for scaled in (False, True):
        hits = 0
        for _ in range(trials):
            std = np.exp(rng.normal(size=n + 1))
            errors = std * rng.standard_cauchy(size=n + 1)
            scores = np.abs(errors[:n] / std[:n] if scaled else errors[:n])
            scale = std[n:] if scaled else None
            lower, upper = unc.split_conformal([3.0], scores, coverage, scale)
            hits += unc.coverage([3.0 + errors[n]], lower, upper) == 1.0
        assert low <= hits / trials <= high


@pytest.mark.parametrize("normalised", [False, True])
def test_jackknife_plus_keeps_its_promise(normalised):
    """Heteroscedastic, heavy-tailed noise and a wrong model, fitted anew in each trial."""
    rng = np.random.default_rng(6)
    n, trials, coverage, hits, widths = 19, 3000, 0.8, 0, []
    for _ in range(trials):
        x = rng.uniform(-1.0, 1.0, size=n + 1)
        std = 0.1 + np.abs(x)
        y = x**2 + std * rng.standard_t(3, size=n + 1)
        basis = np.column_stack([np.ones(n + 1), x])
        inverse = np.linalg.inv(basis[:n].T @ basis[:n] + 0.1 * np.eye(2))
        leverage = np.einsum("ij,jk,ik->i", basis[:n], inverse, basis[:n])
        coef = inverse @ basis[:n].T @ y[:n]
        residuals = (y[:n] - basis[:n] @ coef) / (1.0 - leverage)
        predictions = basis[n] @ coef - (basis[n] @ inverse @ basis[:n].T) * residuals
        stds = {"loo_std": std[:n], "std": std[n:]} if normalised else {}
        lower, upper = unc.jackknife_plus(residuals, predictions[None], coverage, **stds)
        hits += unc.coverage(y[n:], lower, upper) == 1.0
        widths.append(upper - lower)
    low, high = unc.coverage_band(trials, coverage)
    assert low <= hits / trials <= high
    assert np.min(widths) >= 0.0


def test_too_few_samples_give_infinite_intervals():
    ends = unc.split_conformal([1.0, 2.0], [0.1] * 8, 0.9, scale=[1.0, 2.0])
    assert_array_equal(ends, [[-np.inf, -np.inf], [np.inf, np.inf]])
    ends = unc.jackknife_plus(np.ones(8), np.zeros((2, 8)), 0.9)
    assert_array_equal(ends, [[-np.inf, -np.inf], [np.inf, np.inf]])
    assert np.isfinite(unc.jackknife_plus(np.ones(9), np.zeros((2, 9)), 0.9)).all()


def test_wrong_arrays_are_refused():
    e, f = np.ones(5), np.zeros((3, 5))
    for bad, message in [
        ((e, f[:, :4], 0.5), r"loo_predictions has shape \(3, 4\); expected \(any, 5\)"),
        ((e, f[0], 0.5), "loo_predictions has shape"),
        ((e, iter(f), 0.5), "loo_predictions has shape"),
        ((e, None, 0.5), "loo_predictions is NoneType"),
        ((e, f * np.nan, 0.5), r"loo_predictions\[0, 0\] is nan"),
        ((e * np.nan, f, 0.5), r"residuals\[0\] is nan"),
        ((e, f, 1.0), "coverage="),
    ]:
        with pytest.raises(SettingError, match=message):
            unc.jackknife_plus(*bad)
    with pytest.raises(SettingError, match="both loo_std and std"):
        unc.jackknife_plus(e, f, 0.5, std=np.ones(3))
    with pytest.raises(SettingError, match="both cv_std and std"):
        unc.cv_plus(e, e.astype(int), f, 0.5, cv_std=e)
    for wrong in (2, 4):
        with pytest.raises(SettingError, match=f"std has {wrong} numbers for 3 test samples"):
            unc.jackknife_plus(e, f, 0.5, loo_std=e, std=np.ones(wrong))
    with pytest.raises(SettingError, match=r"loo_std\[0\] is -1.* above zero"):
        unc.jackknife_plus(e, f, 0.5, loo_std=-e, std=np.ones(3))
    for fold in (-1, 5, 0.5):
        with pytest.raises(SettingError, match=r"folds\[0\] is .* from 0 to 4"):
            unc.cv_plus(e, np.array([fold, 0, 0, 0, 0]), f, 0.5)
    with pytest.raises(SettingError, match=r"scale has shape \(1,\); expected \(2,\)"):
        unc.split_conformal([1.0, 2.0], e, 0.5, scale=[1.0])
    with pytest.raises(SettingError, match=r"scores\[0\] is nan"):
        unc.conformal_quantile([np.nan, 1.0], 0.5)


HUGE = st.floats(-1e300, 1e300)


@given(st.lists(HUGE, min_size=1, max_size=8), st.floats(1e-300, 1e300), st.floats(0.01, 0.99))
def test_extreme_scales_give_no_nan(numbers, std, coverage):
    n = len(numbers)
    ends = unc.split_conformal(numbers, np.abs(numbers), coverage, scale=np.full(n, std))
    assert not np.isnan(ends).any()
    ends = unc.jackknife_plus(
        numbers, np.array(numbers) * np.ones((2, 1)), coverage, loo_std=[std] * n, std=[std, 1e300]
    )
    assert not np.isnan(ends).any()
