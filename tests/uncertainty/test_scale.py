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


def test_constant_is_that_of_the_normal_distribution():
    mean, _ = integrate.quad(lambda z: 2 * stats.norm.pdf(z) * np.log(z), 0, np.inf)
    assert_allclose(scale._MEAN_LOG, -mean, rtol=1e-8)


def test_finds_a_known_scale():
    n = 600
    K, K_cross, given, true, errors = noise(n, 400, amplitude=1.0)
    model = ScaleModel().fit(K, given[:n], errors[:n])
    predicted = model.predict(K_cross, given[n:])
    assert np.isfinite(model.strength_)
    # A plain factor on the given ones leaves 0.7, the root mean square of the sine.
    assert np.std(predicted - true[n:]) < 0.3
    assert abs(np.mean(predicted - true[n:])) < 0.1
    zeros = np.zeros(400)
    assert miscalibration_area(errors[n:], zeros, np.exp(predicted)) < 0.03
    ranked = error_spearman(errors[n:], zeros, np.exp(predicted))
    assert ranked > error_spearman(errors[n:], zeros, np.exp(given[n:])) + 0.1


@pytest.mark.slow
def test_finds_a_known_slope():
    n = 1500
    K, _, given, true, errors = noise(n, 0, amplitude=0.0, slope=2.0)
    model = ScaleModel().fit(K, given, errors)
    # Standard error: pi / sqrt(8) / (0.4 sqrt(n)) = 0.07.
    assert abs(model.coef_[1] - 2.0) < 0.25
    assert_allclose(model.predict(K, given), true, atol=0.35)


def test_a_linear_part_is_found():
    K, _, given, _, _ = noise(400, 0, amplitude=0.0)
    rng = np.random.default_rng(3)
    h = rng.integers(0, 5, size=(400, 2)).astype(float)
    errors = np.exp(given + 0.5 * h[:, 0]) * rng.normal(size=400)
    # The third column is the sum of the others: nothing may depend on how it is shared out.
    model = ScaleModel().fit(K, given, errors, np.column_stack([h, h.sum(axis=1)]))
    assert abs(model.coef_[2] + model.coef_[4] - 0.5) < 0.15
    assert abs(model.coef_[3] + model.coef_[4]) < 0.15
    assert_allclose(
        model.predict(K, given, np.column_stack([h, h.sum(axis=1)])),
        given + 0.5 * h[:, 0],
        atol=0.6,
    )


def test_error_bars_that_shrink_where_errors_grow_keep_their_slope():
    K, _, given, _, _ = noise(300, 0, amplitude=0.0)
    rng = np.random.default_rng(4)
    h = rng.integers(0, 5, size=(300, 2)).astype(float)
    errors = np.exp(-2.0 * given + 0.5 * h[:, 0]) * rng.normal(size=300)
    model = ScaleModel().fit(K, given, errors, h)
    assert model.coef_[1] == 1.0
    # New samples are corrected as the training samples were, not to an end of the range.
    correction = model.predict(K, given, h) - given
    assert np.abs(correction - (model.loo_log_std_ - given)).mean() < 0.2


def refitted(K, given, targets, noise, plain):
    """Return predictions of each target by explicit refits of the saddle-point system."""
    n = len(K)
    basis = np.ones((n, 1)) if plain else np.column_stack([np.ones(n), given])
    values = targets - given if plain else targets
    out, p = np.empty(n), basis.shape[1]
    for i in range(n):
        kept = np.delete(np.arange(n), i)
        system = np.zeros((n - 1 + p, n - 1 + p))
        system[: n - 1, : n - 1] = K[np.ix_(kept, kept)] + noise * np.eye(n - 1)
        system[: n - 1, n - 1 :] = basis[kept]
        system[n - 1 :, : n - 1] = basis[kept].T
        solution = np.linalg.solve(system, np.r_[values[kept], np.zeros(p)])
        out[i] = K[i, kept] @ solution[: n - 1] + basis[i] @ solution[n - 1 :]
    return out + given if plain else out


def best_strength(K, given, values, strengths):
    squares = {
        strength: np.mean((refitted(K, given, values, strength, False) - values) ** 2)
        for strength in strengths
    }
    return min(squares, key=squares.get)


@pytest.mark.parametrize("slope", [1.5, -3.0])
def test_leave_one_out_equals_refits(slope, monkeypatch):
    monkeypatch.setattr(scale, "_CAUTION", -np.inf)
    K, _, given, _, errors = noise(60, 0, amplitude=1.0, seed=4, slope=slope)
    errors[3], errors[7] = 1e-40, 0.0
    model = ScaleModel().fit(K, given, errors)
    plain = slope < 0.0
    assert (model.coef_[1] == 1.0) == plain
    sizes = np.abs(errors)
    sizes = np.maximum(sizes, 1e-3 * np.median(sizes[sizes > 0]))
    values = np.log(sizes) + scale._MEAN_LOG
    first = best_strength(K, given, values, 10.0 ** np.arange(-2.0, 4.5, 0.5))
    seen = refitted(K, given, values, first, plain)
    ratios = sizes / np.exp(seen)
    working = seen + ratios / ratios.mean() - 1.0
    assert_allclose(model.strength_, best_strength(K, given, working, 10.0 ** np.arange(-2.0, 5.0)))
    difference = model.loo_log_std_ - refitted(K, given, working, model.strength_, plain)
    assert_allclose(difference, difference[0], atol=1e-8)
    # The shift: logarithms of quantiles are those of a normal distribution on average.
    levels = np.linspace(0.5, 0.95, 10)
    seen = np.quantile(np.log(sizes) - model.loo_log_std_, levels)
    assert_allclose(np.mean(seen - np.log(stats.halfnorm.ppf(levels))), 0.0, atol=1e-12)


def test_leaves_good_error_bars_alone():
    kept = 0
    for seed in range(20):
        K, _, given, _, errors = noise(60, 0, amplitude=0.0, seed=seed)
        model = ScaleModel().fit(K, given, errors)
        kept += model.strength_ == np.inf
        if model.strength_ == np.inf:
            corrections = model.loo_log_std_ - given
            assert_allclose(corrections, corrections[0])
    # One and a half standard errors are passed by chance once in fifteen times.
    assert kept >= 16


@pytest.mark.slow
def test_sizes_say_more_than_their_logarithms(monkeypatch):
    # Of errors with the density of Laplace, against a fit to the logarithms of their sizes.
    monkeypatch.setattr(scale, "_CAUTION", -np.inf)
    steps, fits = [], []
    for seed in range(4):
        K, _, given, true, _ = noise(160, 0, amplitude=1.0, seed=seed)
        errors = np.exp(true) * np.random.default_rng(seed).laplace(size=160)
        steps.append(np.std(ScaleModel().fit(K, given, errors).loo_log_std_ - true))
        fits.append(np.std(refitted(K, given, np.log(np.abs(errors)), 1.0, False) - true))
    assert np.mean(steps) < 0.93 * np.mean(fits)


@pytest.mark.parametrize("n", [1, 2, 19])
def test_few_samples_get_a_common_factor(n):
    K, K_cross, given, _, errors = noise(n, 3, amplitude=2.0, seed=n)
    model = ScaleModel().fit(K, given[:n], errors[:n])
    assert not model.dual_.any()
    assert model.coef_[1] == 1.0
    predicted = model.predict(K_cross, given[n:])
    assert_allclose(predicted - given[n:], predicted[0] - given[n])


def test_state_in_plain_arrays_is_enough():
    K, K_cross, given, _, errors = noise(100, 20, amplitude=2.0, seed=7)
    model = ScaleModel().fit(K, given[:100], errors[:100])
    twin = ScaleModel.restored(model.coef_, model.dual_, model.range_, model.strength_)
    assert_array_equal(twin.predict(K_cross, given[100:]), model.predict(K_cross, given[100:]))


def test_corrections_stay_in_the_range_that_was_seen():
    K, K_cross, given, _, errors = noise(100, 20, amplitude=2.0, seed=7, slope=3.0)
    model = ScaleModel().fit(K, given[:100], errors[:100])
    assert model.coef_[1] > 1.5
    far = np.array([-700.0, 0.0, 700.0])
    corrections = model.predict(K_cross[:3], far) - far
    assert_allclose(corrections[[0, 2]], model.range_, rtol=1e-9)
    seen = model.loo_log_std_ - given[:100]
    assert_array_equal(model.range_, [seen.min(), seen.max()])


def test_few_samples_have_no_linear_part():
    K, K_cross, given, _, errors = noise(30, 3, amplitude=0.0, seed=14)
    h = np.random.default_rng(0).normal(size=(33, 4))
    model = ScaleModel().fit(K, given[:30], errors[:30], h[:30])
    assert_array_equal(model.coef_[2:], 0.0)
    other = ScaleModel().fit(K, given[:30], errors[:30])
    assert_allclose(
        model.predict(K_cross, given[30:], h[30:]), other.predict(K_cross, given[30:]), rtol=1e-9
    )


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


def test_a_kernel_that_is_no_kernel_is_left_out():
    _, _, given, _, errors = noise(50, 0, amplitude=0.0, seed=13)
    for K in (np.ones((50, 50)) - 1e9 * np.eye(50), np.zeros((50, 50))):
        model = ScaleModel().fit(K, given, errors)
        assert model.strength_ == np.inf
        assert not model.dual_.any()


@pytest.mark.parametrize("n", [5, 30])
def test_zeros_do_no_harm(n):
    K, K_cross, given, _, errors = noise(n, 4, amplitude=0.0, seed=12)
    for zeros in (1, n // 2 + 1, n - 1):
        mixed = errors[:n].copy()
        mixed[:zeros] = 0.0
        model = ScaleModel().fit(K, given[:n], mixed)
        assert np.isfinite(model.loo_log_std_).all()
        assert np.isfinite(model.predict(K_cross, given[n:])).all()
    model = ScaleModel().fit(K, given[:n], np.zeros(n))
    assert_array_equal(model.predict(K_cross, given[n:]), given[n:])
    assert_array_equal(model.loo_log_std_, given[:n])


def test_wrong_arguments_are_refused():
    K, _, given, _, errors = noise(30, 0, amplitude=0.0)
    with pytest.raises(SettingError, match="K has shape"):
        ScaleModel().fit(K[:, :29], given, errors)
    with pytest.raises(SettingError, match="log_std has shape"):
        ScaleModel().fit(K, given[:29], errors)
    with pytest.raises(SettingError, match=r"residuals\[2\] is nan"):
        ScaleModel().fit(K, given, np.where(np.arange(30) == 2, np.nan, errors))


@given(
    errors=arrays(np.float64, 24, elements=st.floats(-1e308, 1e308)),
    given=arrays(np.float64, 24, elements=st.floats(-700.0, 700.0)),
)
def test_extreme_scales_give_no_nan(errors, given):
    K = np.exp(-np.abs(np.subtract.outer(np.arange(24.0), np.arange(24.0))))
    model = ScaleModel().fit(K, given, errors)
    assert np.isfinite(model.loo_log_std_).all()
    assert np.isfinite(model.predict(K, given)).all()
