"""The scale model against a known noise, refits, and its promise of calibrated z-scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from kernchem.errors import SettingError
from kernchem.uncertainty import ScaleModel, error_spearman, miscalibration_area, scale


def noise(n, m, amplitude, seed=0, slope=1.0):
    """Kernel matrices, logarithms of given and of true standard deviations, and errors.

    The given ones miss a part that depends on x, and a factor.
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2.0, 2.0, size=(n + m, 2))
    kernel = np.exp(-((x[:, None] - x[:n]) ** 2).sum(axis=2) / 2.0)
    given = 0.4 * rng.normal(size=n + m) - 3.0
    true = 1.5 + slope * given + amplitude * np.sin(2.0 * x[:, 0])
    return kernel[:n], kernel[n:], given, true, np.exp(true) * rng.normal(size=n + m)


def test_constants_are_those_of_the_normal_distribution():
    mean, _ = integrate.quad(lambda z: 2 * stats.norm.pdf(z) * np.log(z), 0, np.inf)
    assert_allclose(scale._MEAN_LOG, -mean, rtol=1e-8)
    assert_allclose(scale._MEDIAN, np.median(stats.halfnorm.ppf(0.5)))


def test_finds_a_known_scale():
    n = 600
    K, K_cross, given, true, errors = noise(n, 400, amplitude=1.0)
    model = ScaleModel().fit(K, given[:n], errors[:n])
    predicted = model.predict(K_cross, given[n:])
    assert len(model.dual_) == n
    assert np.isfinite(model.strength_)
    # A plain factor on the given ones leaves 0.7, the root mean square of the sine.
    assert np.std(predicted - true[n:]) < 0.3
    assert abs(np.mean(predicted - true[n:])) < 0.1
    zeros = np.zeros(400)
    assert miscalibration_area(errors[n:], zeros, np.exp(predicted)) < 0.03
    ranked = error_spearman(errors[n:], zeros, np.exp(predicted))
    assert ranked > error_spearman(errors[n:], zeros, np.exp(given[n:])) + 0.1


def test_finds_a_known_slope():
    n = 2000
    K, _, given, true, errors = noise(n, 0, amplitude=0.0, slope=2.0)
    model = ScaleModel(strengths=()).fit(K, given, errors)
    assert model.dual_.shape == (0,)
    assert model.strength_ == np.inf
    # Standard error: pi / sqrt(8) / (0.4 sqrt(n)) = 0.06.
    assert abs(model.coef_[1] - 2.0) < 0.2
    assert_allclose(model.predict(None, given), true, atol=0.25)


def test_leaves_good_error_bars_alone():
    for seed in range(20):
        K, _, given, _, errors = noise(60, 0, amplitude=0.0, seed=seed)
        model = ScaleModel(caution=3.0).fit(K, given, errors)
        assert model.coef_[1] == 1.0
        assert model.dual_.shape == (0,)


def refitted(K, given, errors, strength, free):
    """Return predictions of each logarithm by explicit refits of the saddle-point system."""
    n = len(K)
    z = np.log(np.abs(errors)) - given
    targets = given + np.maximum(z, np.median(z) + np.log(0.01)) + 0.5 * np.log(2) + 0.288607832
    ones = np.ones((n, 1))
    basis = np.column_stack([ones, given]) if free else ones
    values = targets if free else targets - given
    out = np.empty(n)
    p = basis.shape[1]
    for i in range(n):
        kept = np.delete(np.arange(n), i)
        system = np.zeros((n - 1 + p, n - 1 + p))
        system[: n - 1, : n - 1] = K[np.ix_(kept, kept)] + strength * np.eye(n - 1)
        system[: n - 1, n - 1 :] = basis[kept]
        system[n - 1 :, : n - 1] = basis[kept].T
        solution = np.linalg.solve(system, np.r_[values[kept], np.zeros(p)])
        out[i] = K[i, kept] @ solution[: n - 1] + basis[i] @ solution[n - 1 :]
        out[i] += 0.0 if free else given[i]
    return out


@pytest.mark.parametrize("slope", [1.0, 4.0])
@pytest.mark.parametrize("amplitude", [0.0, 2.0])
def test_leave_one_out_equals_refits(slope, amplitude):
    K, _, given, _, errors = noise(80, 0, amplitude, seed=4, slope=slope)
    errors[3], errors[7] = 1e-40, -1e-9
    strengths = (2.0,) if amplitude else ()
    model = ScaleModel(strengths, caution=0.5).fit(K, given, errors)
    assert model.strength_ == (2.0 if amplitude else np.inf)
    strength = model.strength_ if amplitude else 1e9
    free = model.coef_[1] != 1.0
    assert free == (slope == 4.0)
    expected = refitted(K, given, errors, strength, free) + model.shift_
    assert_allclose(model.loo_log_sd_, expected, rtol=1e-6, atol=1e-6)


def test_shift_makes_the_scores_right():
    K, _, given, _, errors = noise(151, 0, amplitude=1.0, seed=5)
    errors = np.where(np.arange(151) % 30 == 0, 30.0 * errors, errors)
    model = ScaleModel().fit(K, given, errors)
    assert_allclose(np.mean((errors / np.exp(model.loo_log_sd_)) ** 2), 1.0)
    robust = ScaleModel(shift="median").fit(K, given, errors)
    assert_allclose(np.median(np.abs(errors) / np.exp(robust.loo_log_sd_)), stats.halfnorm.median())
    assert robust.shift_ < model.shift_ - 0.5


def test_few_samples_get_a_common_factor():
    for n in (1, 2, 19):
        K, K_cross, given, _, errors = noise(n, 3, amplitude=2.0, seed=n)
        model = ScaleModel(caution=0.0).fit(K, given[:n], errors[:n])
        assert_array_equal(model.dual_, [])
        assert model.coef_[1] == 1.0
        predicted = model.predict(K_cross, given[n:])
        assert_allclose(predicted - given[n:], predicted[0] - given[n])
        assert_allclose(np.mean((errors[:n] / np.exp(model.loo_log_sd_)) ** 2), 1.0)


def test_state_in_plain_arrays_is_enough():
    K, K_cross, given, _, errors = noise(100, 20, amplitude=2.0, seed=7)
    model = ScaleModel().fit(K, given[:100], errors[:100])
    twin = ScaleModel.restored(model.coef_.copy(), model.dual_.copy(), model.shift_)
    assert len(model.dual_) == 100
    assert_array_equal(twin.predict(K_cross, given[100:]), model.predict(K_cross, given[100:]))


def test_strength_is_chosen_on_part_of_many_samples(monkeypatch):
    K, K_cross, given, true, errors = noise(500, 100, amplitude=1.5, seed=8)
    whole = ScaleModel().fit(K, given[:500], errors[:500])
    monkeypatch.setattr(scale, "_TUNING_ROWS", 300)
    before = K.copy()
    part = ScaleModel().fit(K, given[:500], errors[:500])
    assert_array_equal(K, before)
    assert part.dual_.shape == (500,)
    assert abs(np.log10(part.strength_ / whole.strength_)) <= 1.0
    assert np.std(part.predict(K_cross, given[500:]) - true[500:]) < 0.5


def test_negative_slopes_are_not_taken():
    K, _, given, _, errors = noise(400, 0, amplitude=0.0, seed=9, slope=-2.0)
    model = ScaleModel(strengths=()).fit(K, given, errors)
    assert model.coef_[1] == 1.0
    # The kernel still may say where errors are large.
    assert ScaleModel().fit(K, given, errors).coef_[1] >= 0.0


def test_a_slope_that_all_samples_refuse_is_given_up(monkeypatch):
    K, _, given, _, errors = noise(300, 0, amplitude=0.0, seed=10, slope=-8.0)
    rows = np.unique(np.linspace(0, 299, 100).astype(int))
    errors[rows] = noise(300, 0, amplitude=0.0, seed=10, slope=5.0)[4][rows]
    part = ScaleModel(strengths=()).fit(K[np.ix_(rows, rows)], given[rows], errors[rows])
    assert part.coef_[1] > 3.0
    monkeypatch.setattr(scale, "_TUNING_ROWS", 100)
    model = ScaleModel(strengths=()).fit(K, given, errors)
    assert model.coef_[1] == 1.0
    assert_allclose(np.mean((errors / np.exp(model.loo_log_sd_)) ** 2), 1.0)


def test_one_odd_standard_deviation_gives_no_slope():
    """The slope would rest on a single sample, and could not be left out."""
    K, K_cross, _, _, errors = noise(40, 5, amplitude=0.0, seed=11)
    given = np.zeros(40)
    given[4] = 3.0
    model = ScaleModel().fit(K, given, errors[:40])
    assert model.coef_[1] == 1.0
    assert np.isfinite(model.loo_log_sd_).all()
    assert np.isfinite(model.predict(K_cross, np.zeros(5))).all()


@pytest.mark.parametrize("n", [5, 30])
@pytest.mark.parametrize("shift", ["rms", "median"])
def test_zeros_do_no_harm(n, shift):
    K, K_cross, given, _, errors = noise(n, 4, amplitude=0.0, seed=12)
    for zeros in (1, n // 2 + 1, n - 1):
        mixed = errors[:n].copy()
        mixed[:zeros] = 0.0
        model = ScaleModel(shift=shift).fit(K, given[:n], mixed)
        assert np.isfinite(model.loo_log_sd_).all()
        assert np.isfinite(model.predict(K_cross, given[n:])).all()
    model = ScaleModel(shift=shift).fit(K, given[:n], np.zeros(n))
    assert_array_equal(model.predict(K_cross, given[n:]), given[n:])
    assert_array_equal(model.loo_log_sd_, given[:n])


def test_a_kernel_that_is_no_kernel_is_left_out():
    _, _, given, _, errors = noise(50, 0, amplitude=0.0, seed=13)
    K = np.ones((50, 50)) - 100.0 * np.eye(50)
    assert ScaleModel().fit(K, given, errors).strength_ == np.inf
    assert ScaleModel().fit(np.zeros((50, 50)), given, errors).strength_ == np.inf
    K = np.where(np.eye(50) > 0, 1.0, -1.0)
    model = ScaleModel(strengths=[0.1]).fit(K, given, errors)
    assert model.strength_ == np.inf


def test_wrong_arguments_are_refused():
    K, _, given, _, errors = noise(30, 0, amplitude=0.0)
    with pytest.raises(SettingError, match="strengths"):
        ScaleModel(strengths=[1.0, 0.0])
    with pytest.raises(SettingError, match="shift"):
        ScaleModel(shift="mean")
    with pytest.raises(SettingError, match="caution"):
        ScaleModel(caution=-1.0)
    with pytest.raises(SettingError, match=r"K has shape \(30, 29\); expected \(30, 30\)"):
        ScaleModel().fit(K[:, :29], given, errors)
    with pytest.raises(SettingError, match=r"log_sd_loo has shape"):
        ScaleModel().fit(K, given[:29], errors)
    with pytest.raises(SettingError, match=r"residuals\[2\] is nan.*Leave such samples out"):
        ScaleModel().fit(K, given, np.where(np.arange(30) == 2, np.nan, errors))
    model = ScaleModel.restored(np.array([0.0, 1.0]), np.ones(30), 0.0)
    for K_cross in (K[:2, :29], K[:3], None):
        with pytest.raises(SettingError, match="K_cross"):
            model.predict(K_cross, given[:2])


@given(
    errors=arrays(np.float64, 24, elements=st.floats(-1e308, 1e308)),
    given=arrays(np.float64, 24, elements=st.floats(-700.0, 700.0)),
    shift=st.sampled_from(["rms", "median"]),
)
def test_extreme_scales_give_no_nan(errors, given, shift):
    K = np.exp(-np.abs(np.subtract.outer(np.arange(24.0), np.arange(24.0))))
    model = ScaleModel(shift=shift).fit(K, given, errors)
    assert np.isfinite(model.loo_log_sd_).all()
    assert np.isfinite(model.predict(K, given)).all()
