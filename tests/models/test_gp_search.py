"""Choices of Gaussian processes: slopes of scores, settings that are kept, noise that is learnt."""

import numpy as np
import pytest
from effort import size
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from kernchem import GPR
from kernchem.descriptors import ACSF, BagOfBonds, CoulombMatrix
from kernchem.kernels import AtomSum, Constant, Gaussian, Laplacian, Matern
from kernchem.models import Term, gp_search
from kernchem.models.training_set import TrainingSet

FIXED = {"optimizer": None, "alpha": 1e-3}
PLAIN = {"amplitude": 1.0, "calibration": None}


@pytest.mark.parametrize(
    "kernel",
    [
        Gaussian(),
        pytest.param(Gaussian([1.0, 1.0, 1.0]), marks=pytest.mark.slow),
        Constant() * Matern(),
    ],
)
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


def test_slopes_of_several_widths_between_structures(small):
    n = size(20, 8)
    features = ACSF(4.0, g2=[(0.5, 0.0)], g4=None).fit_transform(small[:n])
    kernel = AtomSum(Gaussian(np.linspace(1.0, 2.0, features.n_features)))
    y = small["atomization_energy"][:n, None]
    objective = gp_search._Objective(
        TrainingSet.all(features, y, np.ones(n)),
        kernel,
        gp_search.Settings("lml", varied=True, alpha=None, amplitude=None, folds=None),
        [],
    )
    point = np.append(kernel.theta, np.log(1e-2))
    _, slopes = objective.value_and_slopes(point)
    for k in (0, len(point) - 2, len(point) - 1):
        step = np.eye(len(point))[k] * 1e-4
        numeric = (objective.value(point + step) - objective.value(point - step)) / 2e-4
        assert_allclose(slopes[k], numeric, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_noise_found_on_some_rows_suffices_for_all(monkeypatch):
    """Labels without noise and a smooth kernel want none; rounding does, the more rows the more."""
    monkeypatch.setattr(gp_search, "_FINE_ROWS", 60)
    X = np.linspace(0, 1, 400)[:, None]
    model = GPR(Gaussian(0.5, "fixed"), calibration=None).fit(X, np.sin(3 * X[:, 0]))
    assert model.jitter_ == 0.0
    assert model.alpha_ >= 400 * np.finfo(float).eps


@pytest.mark.parametrize("kernel", [Gaussian(), Gaussian([1.0, 2.0, 3.0]), Laplacian()])
def test_slopes_are_right_where_the_noise_follows_the_width(arrays, kernel, monkeypatch):
    """What the minimiser is given, in its own coordinates."""
    seen = []

    def spy(function, start, **_):
        _, slopes = function(start)
        for k in range(len(start)):
            step = np.eye(len(start))[k] * 1e-4
            numeric = (function(start + step)[0] - function(start - step)[0]) / 2e-4
            assert_allclose(slopes[k], numeric, rtol=2e-5, atol=1e-7)
        seen.append(start)

    monkeypatch.setattr(gp_search, "minimize", spy)
    X, y, _ = arrays
    GPR(kernel, n_restarts=2).fit(X, y, noise_groups=np.arange(50) % 2)
    assert len(seen) == 3
    assert all(len(start) == len(kernel.theta) + 2 for start in seen)


def test_the_search_follows_the_valley_of_wide_kernels():
    """A wide kernel with as much less noise is nearly the same: little happens along it."""
    X = np.linspace(0, 1, 30)[:, None]
    for kernel, power in ((Gaussian(), 2.0), (Laplacian(), 1.0), (Matern(), 1.0)):
        shear = gp_search._Objective(
            TrainingSet.all(X, X, np.ones(30)),
            kernel,
            gp_search.Settings("loo", varied=True, alpha=None, amplitude=None, folds=None),
            [],
        ).shear()
        assert_allclose(shear, [-power])


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
        n = size(30, 12)
        model = GPR(terms).fit(small[:n], small["atomization_energy"][:n])
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


@pytest.mark.slow
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


@pytest.mark.parametrize("optimizer", ["loo", "lml"])
def test_predictions_are_not_made_of_rounding(optimizer):
    # A wide kernel with next to no noise explains these labels best, by terms that cancel.
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 6, (40, 2))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=40) + X[:, 1]
    chosen = np.random.default_rng(1).integers(0, 4, 40) > 0
    X, y, new = X[chosen], y[chosen], rng.uniform(0, 6, (50, 2))
    model = GPR(optimizer=optimizer).fit(X, y)
    # The same model, its sums in another order.
    order = np.random.default_rng(3).permutation(len(y))
    other = GPR(model.kernel_, alpha=model.alpha_, optimizer=None).fit(X[order], y[order])
    rounding = np.abs(model.predict(new) - other.predict(new)).max()
    assert rounding < 0.05 * np.abs(model.loo_residuals_).mean()
