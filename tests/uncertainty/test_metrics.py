"""Figures of merit against uncertainty_toolbox, SciPy, numerical integrals and plain loops."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from kernchem import uncertainty as unc
from kernchem.errors import SettingError
from kernchem.uncertainty.metrics import root_mean_square

OF_STD = [
    unc.negative_log_likelihood,
    unc.crps,
    unc.miscalibration_area,
    unc.calibration_curve,
    unc.ence,
    unc.error_spearman,
    unc.error_retention_curve,
    unc.error_retention_area,
    unc.uncertainty_report,
]


@pytest.fixture(params=[1, 2, 7, 100, 333])
def predictions(request):
    """Labels, predictions and error bars that are calibrated only roughly."""
    rng = np.random.default_rng(request.param)
    std = np.exp(rng.normal(size=request.param))
    mean = 10.0 * rng.normal(size=request.param)
    return mean + 1.3 * std * rng.standard_t(4, size=request.param), mean, std


def test_scores_equal_those_of_uncertainty_toolbox(predictions):
    metrics = pytest.importorskip("uncertainty_toolbox.metrics")
    y, mean, std = predictions
    assert_allclose(unc.negative_log_likelihood(y, mean, std), metrics.nll_gaussian(mean, std, y))
    assert_allclose(unc.crps(y, mean, std), metrics.crps_gaussian(mean, std, y))
    assert_allclose(unc.sharpness(std), metrics.sharpness(std))
    area = metrics.miscalibration_area(mean, std, y)
    assert_allclose(unc.miscalibration_area(y, mean, std), area, rtol=1e-12)
    expected, observed = unc.calibration_curve(y, mean, std, n_levels=37)
    calibration = pytest.importorskip("uncertainty_toolbox.metrics_calibration")
    theirs = calibration.get_proportion_lists_vectorized(mean, std, y, num_bins=37)
    assert_allclose(expected, theirs[0])
    assert_allclose(observed, theirs[1])


def test_exact_predictions_lie_in_every_interval():
    _, observed = unc.calibration_curve([1.0, 2.0], [1.0, 1.0], [1.0, 1.0], n_levels=3)
    assert_array_equal(observed, [0.5, 0.5, 1.0])
    assert_allclose(unc.miscalibration_area([1.0], [1.0], [1.0]), 0.5)


def test_area_of_curves_that_cross_the_diagonal():
    """Over- and underconfident halves: the curve crosses, and a trapezium would be too small."""
    metrics = pytest.importorskip("uncertainty_toolbox.metrics")
    for seed in range(20):
        errors = np.random.default_rng(seed).normal(size=12)
        zeros, ones = np.zeros(12), np.ones(12)
        area = metrics.miscalibration_area(zeros, ones, errors)
        assert_allclose(unc.miscalibration_area(errors, zeros, ones), area, rtol=1e-12)


@pytest.mark.parametrize("error", [0.0, 1e-3, 0.7, -2.0, 6.0])
@pytest.mark.parametrize("std", [0.1, 1.0, 3.0])
def test_crps_equals_the_integral(error, std):
    below, _ = integrate.quad(lambda t: stats.norm.cdf(t / std) ** 2, -40 * std, error)
    above, _ = integrate.quad(lambda t: stats.norm.sf(t / std) ** 2, error, 40 * std)
    assert_allclose(unc.crps([5.0 + error], [5.0], [std]), below + above, rtol=1e-6)


def test_ence_equals_a_loop(rng):
    std = np.exp(rng.normal(size=53))
    errors = std * rng.normal(size=53)
    order = sorted(range(53), key=lambda i: std[i])
    sizes = [6, 6, 6, 5, 5, 5, 5, 5, 5, 5]  # as equal as 53 allows
    total, start = 0.0, 0
    for size in sizes:
        rows = order[start : start + size]
        start += size
        rmv = sum(std[i] ** 2 for i in rows) ** 0.5
        rmse = sum(errors[i] ** 2 for i in rows) ** 0.5
        total += abs(rmv - rmse) / rmv / len(sizes)
    assert_allclose(unc.ence(errors, np.zeros(53), std), total)
    one = abs(1 - (errors**2).mean() ** 0.5 / unc.sharpness(std))
    assert_allclose(unc.ence(errors, np.zeros(53), std, n_bins=1), one)


def test_interval_score_equals_the_pinball_losses_of_its_ends(rng):
    """Gneiting and Raftery's identity: 4 / alpha times the mean of the two quantile losses."""
    y, lower = rng.normal(size=(2, 60))
    upper = lower + rng.exponential(size=60)
    alpha = 0.2

    def pinball(level, quantile):
        return np.mean(np.maximum(level * (y - quantile), (level - 1) * (y - quantile)))

    expected = 2 / alpha * (pinball(alpha / 2, lower) + pinball(1 - alpha / 2, upper))
    assert_allclose(unc.interval_score(y, lower, upper, 1 - alpha), expected)
    assert unc.interval_score([1.0], [-np.inf], [3.0], 0.9) == np.inf


def test_interval_score_equals_that_of_uncertainty_toolbox(predictions):
    theirs = pytest.importorskip("uncertainty_toolbox.metrics_scoring_rule").interval_score
    y, mean, std = predictions
    lower, upper = stats.norm.interval(0.8, mean, std)
    score = theirs(mean, std, y, start_p=0.8, end_p=0.8, resolution=1)
    assert_allclose(unc.interval_score(y, lower, upper, 0.8), score)


def test_coverage_counts_both_ends():
    y = [0.0, 1.0, 2.0, 3.0]
    assert unc.coverage(y, [0.0, 0.0, 2.5, -np.inf], [1.0, 1.0, 3.0, np.inf]) == 0.75


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (20, 0.9), (1000, 0.95)])
def test_coverage_band_holds_what_it_says(n, p):
    low, high = unc.coverage_band(n, p, confidence=0.99)
    inside = stats.binom.cdf(round(high * n), n, p) - stats.binom.cdf(round(low * n) - 1, n, p)
    assert inside >= 0.99
    # One step less on either side leaves too much outside.
    assert stats.binom.sf(round(high * n) - 1, n, p) > 0.005
    assert stats.binom.cdf(round(low * n), n, p) > 0.005
    assert unc.coverage_band(n, p)[0] <= low <= high <= unc.coverage_band(n, p)[1]


def test_error_spearman_equals_that_of_scipy(predictions):
    y, mean, std = predictions
    if len(y) > 1:
        expected = stats.spearmanr(np.abs(y - mean), std).statistic
        assert_allclose(unc.error_spearman(y, mean, std), expected, atol=1e-12)
        rounded = np.round(std) + 1.0
        if len(set(rounded)) > 1:
            expected = stats.spearmanr(np.abs(y - mean), rounded).statistic
            assert_allclose(unc.error_spearman(y, mean, rounded), expected, atol=1e-12)
    assert unc.error_spearman(y, mean, np.ones(len(y))) == 0.0
    assert unc.error_spearman(y, y, std) == 0.0


def test_retention_curve_equals_a_loop(predictions):
    y, mean, std = predictions
    order = np.argsort(std)
    kept, mae = unc.error_retention_curve(y, mean, std)
    assert_allclose(kept, np.arange(1, len(y) + 1) / len(y))
    for k in range(len(y)):
        assert_allclose(mae[k], np.mean(np.abs(y - mean)[order[: k + 1]]))
    area = sum(mae) / len(y) / mae[-1]
    assert_allclose(unc.error_retention_area(y, mean, std), area)


def test_retention_among_equal_error_bars_is_the_mean_over_orders(rng):
    errors = np.array([1.0, 2.0, 6.0, 10.0])
    std = np.array([1.0, 2.0, 2.0, 2.0])
    _, mae = unc.error_retention_curve(errors, np.zeros(4), std)
    curves = []
    for _ in range(2000):
        order = np.r_[0, 1 + rng.permutation(3)]
        curves.append(np.cumsum(errors[order]) / np.arange(1, 5))
    assert_allclose(mae, np.mean(curves, axis=0), rtol=0.05)
    assert_allclose(unc.error_retention_area(errors, np.zeros(4), np.ones(4)), 1.0)
    assert unc.error_retention_area(errors, errors, std) == 1.0


def test_report_holds_every_figure(predictions):
    y, mean, std = predictions
    report = unc.uncertainty_report(y, mean, std, coverage=0.8)
    lower, upper = stats.norm.interval(0.8, mean, std)
    low, high = unc.coverage_band(len(y), 0.8)
    expected = {
        "n": len(y),
        "mae": np.mean(np.abs(y - mean)),
        "rmse": np.mean((y - mean) ** 2) ** 0.5,
        "max_error": np.max(np.abs(y - mean)),
        "nll": -np.mean(stats.norm.logpdf(y, mean, std)),
        "crps": unc.crps(y, mean, std),
        "sharpness": unc.sharpness(std),
        "miscalibration_area": unc.miscalibration_area(y, mean, std),
        "ence": unc.ence(y, mean, std),
        "error_spearman": unc.error_spearman(y, mean, std),
        "retention_area": unc.error_retention_area(y, mean, std),
        "coverage_wanted": 0.8,
        "coverage": np.mean((lower <= y) & (y <= upper)),
        "coverage_low": low,
        "coverage_high": high,
        "interval_score": unc.interval_score(y, lower, upper, 0.8),
    }
    assert {field.name for field in dataclasses.fields(report)} == set(expected)
    assert report.to_dict() == pytest.approx(expected)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.mae = 0.0


def test_means_of_squares_neither_overflow_nor_vanish():
    assert root_mean_square(np.full(3, 1e300)) == pytest.approx(1e300)
    assert root_mean_square(np.array([3e-300, -4e-300])) == pytest.approx(12.5**0.5 * 1e-300)


@pytest.mark.parametrize("function", OF_STD)
def test_wrong_arrays_are_refused(function):
    y, mean, std = np.arange(3.0), np.zeros(3), np.ones(3)
    function(y, mean, std)
    function(y.tolist(), mean.astype(int), std.astype(np.float32))
    for bad, message in [
        ((y, mean, np.array([1.0, 0.0, 1.0])), r"std\[1\] is 0.0; .* above zero"),
        ((y, mean, -std), "above zero"),
        ((y, mean, std * np.nan), r"std\[0\] is nan"),
        ((y, np.array([0.0, 0.0, np.inf]), std), r"mean\[2\] is inf"),
        ((y * np.nan, mean, std), r"y\[0\] is nan"),
        ((y[:2], mean, std), r"mean has shape \(3,\); expected \(2,\)"),
        ((y, mean, std[:2]), r"std has shape \(2,\)"),
        ((y[:, None], mean, std), r"y has shape \(3, 1\)"),
        (([], [], []), r"y has shape \(0,\)"),
        ((y, mean, 1.0), r"std has shape \(\)"),
        ((y, ["a", "b", "c"], std), "mean must be an array of real numbers"),
        ((y, [[1.0], [1.0, 2.0], []], std), "mean must be an array of real numbers"),
        ((y + 1j, mean, std), "y must be an array of real numbers"),
    ]:
        with pytest.raises(SettingError, match=message):
            function(*bad)


def test_wrong_settings_are_refused():
    one = np.ones(2)
    for coverage in (0, 1, 0.0, 1.0, 90, -0.1, np.nan, "0.9", None, True):
        with pytest.raises(SettingError, match="coverage="):
            unc.coverage_band(10, coverage)
        with pytest.raises(SettingError, match="coverage="):
            unc.interval_score(one, one, one, coverage)
        with pytest.raises(SettingError, match="coverage="):
            unc.uncertainty_report(one, one, one, coverage)
    with pytest.raises(SettingError, match=r"use 0\.9 for 90"):
        unc.coverage_band(10, 90)
    with pytest.raises(SettingError, match="confidence="):
        unc.coverage_band(10, 0.9, 1.0)
    with pytest.raises(SettingError, match="n="):
        unc.coverage_band(0, 0.9)
    with pytest.raises(SettingError, match="n_levels"):
        unc.calibration_curve(one, one, one, n_levels=1)
    with pytest.raises(SettingError, match="n_bins"):
        unc.ence(one, one, one, n_bins=0)
    with pytest.raises(SettingError, match=r"interval 1 runs from 2\.0 to 1\.0"):
        unc.interval_score(one, [0.0, 2.0], [0.0, 1.0], 0.9)
    with pytest.raises(SettingError, match="upper"):
        unc.interval_score(one, one * np.inf, one * np.inf, 0.9)
    with pytest.raises(SettingError, match=r"lower\[0\] is nan; every number must be a number"):
        unc.coverage(one, one * np.nan, one)
    with pytest.raises(SettingError, match="upper has shape"):
        unc.coverage(one, one, 1.0)


ANY = st.floats(allow_nan=False, allow_infinity=False)


@given(
    numbers=st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            arrays(np.float64, n, elements=ANY),
            arrays(np.float64, n, elements=ANY),
            arrays(np.float64, n, elements=ANY.map(abs).filter(bool)),
        )
    )
)
def test_nothing_is_ever_nan(numbers):
    report = unc.uncertainty_report(*numbers).to_dict()
    assert {name: value for name, value in report.items() if np.isnan(value)} == {}
    assert 0.0 <= report["miscalibration_area"] <= 0.5
    assert -1.0 <= report["error_spearman"] <= 1.0
    assert report["crps"] >= 0.0
    assert not np.isnan(unc.error_retention_curve(*numbers)[1]).any()


def test_units_and_order_do_not_matter(predictions, rng):
    y, mean, std = predictions
    order = rng.permutation(len(y))
    report = unc.uncertainty_report(y, mean, std).to_dict()
    for factor in (1e-200, 1e200):
        scaled = unc.uncertainty_report(factor * y, factor * mean, factor * std).to_dict()
        for name in ("ence", "error_spearman", "retention_area", "miscalibration_area"):
            assert_allclose(scaled[name], report[name], rtol=1e-9)
        for name in ("mae", "rmse", "crps", "sharpness", "interval_score"):
            assert_allclose(scaled[name], factor * report[name], rtol=1e-9)
        assert_allclose(scaled["nll"], report["nll"] + np.log(factor), rtol=1e-9)
    shuffled = unc.uncertainty_report(y[order], mean[order], std[order]).to_dict()
    assert_allclose(list(shuffled.values()), list(report.values()))
    inputs = y.copy(), mean.copy(), std.copy()
    unc.uncertainty_report(*inputs)
    for before, after in zip((y, mean, std), inputs, strict=True):
        assert_array_equal(before, after)
