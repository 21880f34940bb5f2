"""Recalibrated intervals against exact probabilities, and against the definition by counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from kernchem.errors import SettingError
from kernchem.uncertainty import (
    IsotonicCalibration,
    conformal_quantile,
    coverage_band,
    miscalibration_area,
)


def test_keeps_its_promise_on_heavy_tails():
    """With 19 scores these coverages fall on scores: the probability is exact."""
    rng = np.random.default_rng(1)
    trials, coverages = 1000, (0.5, 0.9, 0.95)
    hits = np.zeros(3)
    for _ in range(trials):
        std = np.exp(rng.normal(size=20))
        errors = std * rng.standard_cauchy(size=20)
        calibration = IsotonicCalibration().fit(errors[:19], std[:19])
        for k, coverage in enumerate(coverages):
            lower, upper = calibration.interval([0.0], std[19:], coverage)
            hits[k] += lower[0] <= errors[19] <= upper[0]
    for observed, coverage in zip(hits / trials, coverages, strict=True):
        low, high = coverage_band(trials, coverage)
        assert low <= observed <= high


def test_learns_the_quantiles_of_heavy_tails(rng):
    residuals = 2.0 * rng.standard_t(3, size=50_000)
    calibration = IsotonicCalibration().fit(residuals, np.full(50_000, 2.0))
    for coverage in (0.1, 0.5, 0.9, 0.99):
        exact = stats.t(3).ppf(0.5 + coverage / 2)
        assert_allclose(calibration.scale(coverage), exact, rtol=0.05)
        bound = stats.norm.ppf(0.5 + coverage / 2)
        kept = 1 - 2 * stats.t(3).sf(bound)
        assert_allclose(calibration.probability(coverage), kept, atol=0.01)
    lower, upper = calibration.interval([1.0, 2.0], [1.0, 3.0], 0.9)
    assert_allclose((upper - lower) / 2, calibration.scale(0.9) * np.array([1.0, 3.0]))
    assert_allclose((upper + lower) / 2, [1.0, 2.0])


def test_calibrates_what_a_factor_cannot(rng):
    errors = rng.standard_t(2, size=4000)
    rms = np.sqrt(np.mean(errors[:2000] ** 2)) * np.ones(2000)
    assert miscalibration_area(errors[2000:], np.zeros(2000), rms) > 0.1
    calibration = IsotonicCalibration().fit(errors[:2000], rms)
    levels = np.linspace(0.02, 0.98, 49)
    scales = np.array([calibration.scale(level) for level in levels])
    observed = np.mean(np.abs(errors[2000:]) / rms <= scales[:, None], axis=1)
    assert np.mean(np.abs(observed - levels)) < 0.02


@pytest.mark.parametrize("n", [3, 4, 20])
def test_equals_counting_at_the_scores(n, rng):
    residuals, std = rng.normal(size=n), rng.uniform(0.5, 2.0, size=n)
    scores = np.sort(np.abs(residuals) / std)
    calibration = IsotonicCalibration().fit(residuals, std)
    for k, score in enumerate(scores, start=1):
        assert_allclose(calibration.scale(k / (n + 1)), score)
        assert_allclose(calibration.scale(k / (n + 1)), conformal_quantile(scores, k / (n + 1)))
        assert_allclose(calibration.probability(2 * stats.norm.cdf(score) - 1), k / (n + 1))
    middle = calibration.scale(1.5 / (n + 1))
    assert_allclose(middle, (scores[0] + scores[1]) / 2)
    # Beyond the last score, the Gaussian that goes through it.
    ratio = stats.norm.ppf(0.9995) / stats.norm.ppf(0.5 + n / (n + 1) / 2)
    assert_allclose(calibration.scale(0.999), scores[-1] * ratio)


def test_equal_scores_cost_no_more_than_their_number(rng):
    scores = np.abs(np.round(rng.normal(size=200), 1))
    values, counts = np.unique(scores, return_counts=True)
    calibration = IsotonicCalibration().fit(scores, np.ones(200))
    assert_allclose(calibration.scores_, values)
    scales = [calibration.scale(coverage) for coverage in np.linspace(0.01, 0.99, 99)]
    assert (np.diff(scales) >= 0).all()
    for coverage, q in zip(np.linspace(0.01, 0.99, 99), scales, strict=True):
        assert abs(np.sum(scores <= q) - 201 * coverage) <= counts.max()


def test_state_in_plain_arrays_is_enough(rng):
    calibration = IsotonicCalibration().fit(rng.normal(size=30), np.ones(30))
    twin = IsotonicCalibration.restored(calibration.scores_.copy(), calibration.levels_.copy())
    for coverage in (0.1, 0.5, 0.97):
        assert twin.scale(coverage) == calibration.scale(coverage)
    assert calibration.scores_[0] == calibration.levels_[0] == 0.0
    assert (np.diff(calibration.scores_) > 0).all()
    assert (np.diff(calibration.levels_) > 0).all()


def test_zeros_and_single_scores():
    assert IsotonicCalibration().fit([0.0, 0.0], [1.0, 1.0]).scale(0.9) == 0.0
    one = IsotonicCalibration().fit([-2.0], [1.0])
    assert one.scale(0.5) == 2.0
    assert one.scale(0.25) == 1.0
    assert_array_equal(one.interval([1.0], [2.0], 0.5), [[-3.0], [5.0]])
    # A residual beyond all numbers counts, though it is at no place.
    far = IsotonicCalibration().fit([1.0, 1e300], [1.0, 1e-300])
    assert far.scale(1 / 3) == 1.0


def test_wrong_arguments_are_refused():
    fitted = IsotonicCalibration().fit([1.0, 2.0], [1.0, 1.0])
    for coverage in (0.0, 1.0, 95, np.nan):
        with pytest.raises(SettingError, match="coverage="):
            fitted.scale(coverage)
    with pytest.raises(SettingError, match="nominal="):
        fitted.probability(1.0)
    with pytest.raises(SettingError, match="std has shape"):
        fitted.interval([1.0, 2.0], [1.0], 0.5)
    with pytest.raises(SettingError, match="above zero"):
        IsotonicCalibration().fit([1.0], [0.0])
    with pytest.raises(SettingError, match="too large for their standard deviations"):
        IsotonicCalibration().fit([1e300], [1e-300])


@given(
    st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=12),
    st.floats(1e-5, 1e300),
    st.floats(0.001, 0.999),
)
def test_extreme_scales_give_no_nan(residuals, std, coverage):
    calibration = IsotonicCalibration().fit(residuals, np.full(len(residuals), std))
    assert calibration.scale(coverage) >= 0.0
    assert 0.0 <= calibration.probability(coverage) <= 1.0
    ends = calibration.interval(residuals, np.full(len(residuals), std), coverage)
    assert not np.isnan(ends).any()
