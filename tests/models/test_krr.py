"""KRR against explicit refits, scikit-learn's KernelRidge and the saddle-point system."""

import pickle
import warnings
from typing import ClassVar

import numpy as np
import pytest
from ase.build import molecule
from effort import size
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix, EncodedBonds, OverlapEigenvalues
from kernchem.environments import Environments
from kernchem.errors import (
    CompositionError,
    KernchemWarning,
    LabelError,
    SettingError,
    SingularKernelError,
    StructureError,
    UnknownElementError,
)
from kernchem.kernels import AtomSum, BestMatch, Constant, Gaussian, Laplacian, REMatch
from kernchem.kernels.declarations import indefinite_cause
from kernchem.models import KRR, tuning
from kernchem.models.joint import JointKernel


@pytest.mark.slow
@parametrize_with_checks([KRR(), KRR("laplacian", cv=3), KRR(alpha=1e-3, optimizer=None)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def arrays(rng):
    X = rng.normal(size=(60, 3))
    return X, np.sin(X).sum(axis=1) + 0.01 * rng.normal(size=60)


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[:120]


FIXED = {"optimizer": None, "alpha": 1e-6}


def test_equals_kernel_ridge_at_given_hyperparameters(arrays):
    X, y = arrays
    weights = np.linspace(0.5, 2.0, 60)
    model = KRR(Gaussian(1.5), alpha=1e-3, optimizer=None).fit(X, y, weights)
    peer = KernelRidge(alpha=1e-3, kernel="rbf", gamma=0.5 / 1.5**2).fit(X, y, weights)
    assert_allclose(model.predict(X[:7] + 0.1), peer.predict(X[:7] + 0.1), rtol=1e-8)
    assert_allclose(model.dual_coef_, peer.dual_coef_, rtol=1e-6)


def test_alpha_is_relative_to_the_mean_diagonal(arrays):
    X, y = arrays
    scaled = KRR(ConstantKernel(50.0) * Gaussian(1.5), alpha=1e-3, optimizer=None).fit(X, y)
    plain = KRR(Gaussian(1.5), alpha=1e-3, optimizer=None).fit(X, y)
    assert_allclose(scaled.predict(X), plain.predict(X), rtol=1e-9)


def test_precomputed_equals_the_kernel_it_was_computed_with(arrays):
    X, y = arrays
    kernel = Laplacian(2.0)
    direct = KRR(kernel, alpha=1e-4, optimizer=None).fit(X, y)
    given = KRR("precomputed", alpha=1e-4).fit(kernel(X), y)
    assert_allclose(given.predict(kernel(X[:5], X)), direct.predict(X[:5]), rtol=1e-12)
    assert_allclose(given.loo_residuals_, direct.loo_residuals_, rtol=1e-9)
    scores = cross_val_score(KRR("precomputed", alpha=1e-4), kernel(X), y, cv=4)
    expected = cross_val_score(KRR(kernel, alpha=1e-4, optimizer=None), X, y, cv=4)
    assert_allclose(scores, expected, rtol=1e-9)


def test_leave_one_out_equals_refits(arrays):
    X, y = arrays
    model = KRR(Laplacian(2.0), **FIXED).fit(X, y)
    predictions = cross_val_predict(clone(model), X, y, cv=LeaveOneOut())
    assert_allclose(model.loo_residuals_, y - predictions, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("composition", [True, False])
@pytest.mark.parametrize(
    ("descriptor", "kernel"),
    [
        (CoulombMatrix(size=23), Laplacian(1000.0)),
        (EncodedBonds(elements=["H", "C", "N", "O", "F"]), Gaussian(20.0)),
    ],
)
def test_closed_forms_on_molecules_equal_refits(small, descriptor, kernel, composition):
    y = small["atomization_energy"]
    model = KRR(kernel, descriptor=descriptor, composition=composition, **FIXED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        fitted = clone(model).fit(small, y)
    folds = KFold(5, shuffle=True, random_state=1)
    expected = y - cross_val_predict(model, small, y, cv=folds)
    assert_allclose(fitted.leave_out_residuals(folds), expected, rtol=1e-8, atol=1e-7)
    groups = np.asarray(small["heavy"])
    residuals = fitted.leave_out_residuals(GroupKFold(4), groups)
    expected = y - cross_val_predict(model, small, y, cv=GroupKFold(4), groups=groups)
    assert_allclose(residuals, expected, rtol=1e-8, atol=1e-7)
    for i in (0, 17, 119):
        kept = np.delete(np.arange(120), i)
        alone = clone(model).fit(small[kept], y[kept])
        expected = y[i] - alone.predict(small[[i]])[0]
        assert_allclose(fitted.loo_residuals_[i], expected, rtol=1e-8, atol=1e-7)


def test_weights_equal_repetitions(arrays):
    X, y = arrays
    weights = np.arange(60) % 3
    repeated = np.repeat(np.arange(60), weights)
    weighted = KRR().fit(X, y, weights)
    plain = KRR().fit(X[repeated], y[repeated])
    assert weighted.alpha_ == pytest.approx(plain.alpha_)
    assert_allclose(weighted.predict(X), plain.predict(X), rtol=1e-6)
    assert np.array_equal(np.isnan(weighted.loo_residuals_), weights == 0)


def test_copies_are_left_out_together(rng):
    X = rng.normal(size=(20, 2))
    y = rng.normal(size=20)
    twice = KRR(Gaussian(1.0), alpha=1e-4, optimizer=None).fit(np.vstack([X, X]), np.r_[y, y])
    once = KRR(Gaussian(1.0), alpha=1e-4, optimizer=None).fit(X, y, np.full(20, 2.0))
    assert_allclose(twice.loo_residuals_[:20], once.loo_residuals_, rtol=1e-9)
    assert np.array_equal(twice.loo_residuals_[:20], twice.loo_residuals_[20:])


def test_several_targets_equal_one_after_the_other(small):
    y = np.stack([small["atomization_energy"], small["gap"]], axis=1)
    model = KRR(Laplacian(500.0), descriptor=BagOfBonds(), **FIXED).fit(small, y)
    assert model.predict(small[:4]).shape == (4, 2)
    for t in range(2):
        single = KRR(Laplacian(500.0), descriptor=BagOfBonds(), **FIXED).fit(small, y[:, t])
        assert_allclose(model.predict(small[:4])[:, t], single.predict(small[:4]), rtol=1e-9)
        assert_allclose(model.loo_residuals_[:, t], single.loo_residuals_, rtol=1e-6)
        assert_allclose(model.composition_[:, t], single.composition_, rtol=1e-6)


def test_composition_is_fitted_jointly_with_the_kernel(small):
    y, train, test = small["atomization_energy"], small[:100], small[100:]
    model = KRR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-3, optimizer=None)
    model.fit(train, y[:100])
    bags = BagOfBonds().fit(small)
    K = np.exp(-np.abs(bags.transform(train)[:, None] - bags.transform(train)).sum(axis=2) / 500)
    cross = np.exp(-np.abs(bags.transform(test)[:, None] - bags.transform(train)).sum(axis=2) / 500)
    counts = np.array([[(s.numbers == z).sum() for z in train.elements] for s in small], float)
    H = counts[:100]
    p = H.shape[1]
    system = np.block([[K + 1e-3 * np.eye(100), H], [H.T, np.zeros((p, p))]])
    solution = np.linalg.solve(system, np.r_[y[:100], np.zeros(p)])
    expected = cross @ solution[:100] + counts[100:] @ solution[100:]
    assert_allclose(model.predict(test), expected, rtol=1e-8)
    assert_allclose(model.composition_, solution[100:], rtol=1e-6)


@pytest.mark.slow
def test_tuned_model_has_the_least_leave_out_error_of_its_neighbourhood(small):
    y = small["atomization_energy"]
    model = KRR(descriptor=BagOfBonds()).fit(small, y)
    best = np.nanmean(np.abs(model.loo_residuals_))
    assert isinstance(model.kernel_, Laplacian)
    assert min(trial.error for trial in model.trials_) <= best
    for factor in (0.25, 4.0):
        kernel = Laplacian(model.kernel_.length_scale * factor)
        other = KRR(kernel, descriptor=BagOfBonds(), alpha=model.alpha_, optimizer=None)
        other.fit(small, y)
        assert np.nanmean(np.abs(other.loo_residuals_)) > best


@pytest.mark.slow
def test_tuning_finds_the_noise_of_noisy_data(rng):
    X = rng.uniform(-3, 3, size=(300, 1))
    y = np.sin(2 * X[:, 0]) + rng.normal(scale=0.3, size=300)
    model = KRR(criterion="rmse").fit(X, y)
    grid = np.linspace(-2.8, 2.8, 100)[:, None]
    assert np.abs(model.predict(grid) - np.sin(2 * grid[:, 0])).mean() < 0.1
    assert 0.25 < np.sqrt(np.mean(model.loo_residuals_**2)) < 0.35


def test_fixed_bounds_and_fixed_alpha_are_respected(arrays):
    X, y = arrays
    model = KRR(Gaussian(0.7, "fixed")).fit(X, y)
    assert model.kernel_.length_scale == 0.7
    assert model.trials_
    model = KRR(Gaussian(0.7), alpha=0.01).fit(X, y)
    assert model.alpha_ == 0.01
    assert model.kernel_.length_scale != 0.7
    with pytest.warns(KernchemWarning, match="bounds"):
        inside = KRR(Gaussian(1.0, (0.5, 2.0))).fit(X, y).kernel_.length_scale
    assert inside == pytest.approx(2.0)


@pytest.mark.slow
def test_kernels_that_are_sums_are_tuned(arrays):
    X, y = arrays
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * Gaussian(1.0) + Laplacian(1.0)
    model = KRR(kernel).fit(X, y)
    start = KRR(kernel, alpha=model.alpha_, optimizer=None).fit(X, y)
    assert np.abs(model.loo_residuals_).mean() <= np.abs(start.loo_residuals_).mean()
    assert len(model.kernel_.theta) == 3


def test_folds_and_groups_drive_the_choice(arrays):
    X, y = arrays
    groups = np.repeat(np.arange(12), 5)
    model = KRR().fit(X, y, groups=groups)
    best = min(model.trials_, key=lambda trial: trial.error)
    refitted = KRR(best.kernel, alpha=best.alpha, optimizer=None)
    predictions = cross_val_predict(refitted, X, y, cv=GroupKFold(12), groups=groups)
    error = np.abs(y - predictions).mean() / np.abs(y - y.mean()).mean()
    assert best.error == pytest.approx(error, rel=1e-6)
    chosen = KRR(cv=KFold(4)).fit(X, y)
    best = min(chosen.trials_, key=lambda trial: trial.error)
    refitted = KRR(best.kernel, alpha=best.alpha, optimizer=None)
    error = np.abs(y - cross_val_predict(refitted, X, y, cv=KFold(4))).mean()
    assert best.error == pytest.approx(error / np.abs(y - y.mean()).mean(), rel=1e-6)


@pytest.mark.slow
def test_large_sets_are_searched_on_a_part_first(rng):
    X = rng.uniform(size=(700, 2))
    model = KRR().fit(X, np.sin(5 * X).sum(axis=1))
    assert {trial.n_rows for trial in model.trials_} == {500, 700}
    assert np.abs(model.predict(X[:50]) - np.sin(5 * X[:50]).sum(axis=1)).max() < 1e-2


def test_tiny_regulariser_is_not_changed(small):
    model = KRR(Laplacian(1000.0), descriptor=CoulombMatrix(), alpha=1e-12, optimizer=None)
    model.fit(small, small["atomization_energy"])
    assert model.alpha_ == 1e-12
    assert model.jitter_ == 0.0
    assert np.isfinite(model.condition_)
    # Without noise the model interpolates.
    assert_allclose(model.predict(small), small["atomization_energy"], atol=1e-6)


def test_jitter_is_reported_with_the_rows_that_need_it():
    X = np.array([[0.0], [1.0], [1.0 + 1e-14], [2.0]])
    model = KRR(Gaussian(1.0), alpha=1e-300, optimizer=None)
    with pytest.warns(KernchemWarning, match="1 and 2"):
        model.fit(X, [0.0, 1.0, 1.0, 2.0])
    assert model.jitter_ > 0


@pytest.mark.slow
def test_larger_molecules_are_predicted_by_widening(small):
    order = np.argsort(small.sizes)
    train, large = small[order[:90]], small[order[90:]]
    assert large.sizes.max() > train.sizes.max()
    y = train["atomization_energy"]
    for narrow, wide in (
        (CoulombMatrix(), CoulombMatrix(size=int(large.sizes.max()))),
        (BagOfBonds(), BagOfBonds(bags={"H": 20, "C": 10, "N": 6, "O": 6, "F": 6})),
    ):
        kernel = Laplacian(800.0)
        model = KRR(kernel, descriptor=narrow, **FIXED).fit(train, y)
        expected = KRR(kernel, descriptor=wide, **FIXED).fit(train, y).predict(large)
        assert_allclose(model.predict(large), expected, rtol=1e-9)


def test_lists_of_atoms_equal_structures(small):
    y = small["atomization_energy"]
    model = KRR(descriptor=BagOfBonds(), **FIXED)
    expected = clone(model).fit(small[:60], y[:60]).predict(small[60:])
    atoms = small.to_ase()
    assert_allclose(clone(model).fit(atoms[:60], y[:60]).predict(atoms[60:]), expected)


@pytest.mark.slow
def test_pipelines_grids_and_pickles(small):
    y = small["atomization_energy"]
    pipeline = make_pipeline(CoulombMatrix(size=23), KRR("laplacian", alpha=1e-8))
    search = GridSearchCV(pipeline, {"krr__alpha": [1e-8, 1e-2]}, cv=3).fit(small, y)
    assert search.best_params_ == {"krr__alpha": 1e-8}
    owned = KRR(descriptor=CoulombMatrix(), alpha=1e-8)
    search = GridSearchCV(owned, {"descriptor__permutation": ["sorted", "eigenspectrum"]}, cv=3)
    search.fit(small, y)
    assert search.best_params_ == {"descriptor__permutation": "sorted"}
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(copy.predict(small), search.best_estimator_.predict(small))


def test_only_carriers_of_an_element_are_named(small):
    batch = [*small[:20].to_ase(), molecule("SH2")]
    y = np.r_[small["atomization_energy"][:20], -180.0]
    with pytest.warns(KernchemWarning, match=r"20 \(H2S\)"):
        model = KRR(Laplacian(500.0), descriptor=CoulombMatrix(), **FIXED).fit(batch, y)
    assert np.isnan(model.loo_residuals_[20])
    assert np.isfinite(model.predict(batch)).all()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"alpha": np.inf}, "alpha=inf"),
        ({"alpha": np.nan}, "alpha=nan"),
        ({"alpha": True}, "alpha=True"),
        ({"alpha": "cv"}, "alpha='cv'"),
        ({"kernel": "rbf"}, "gaussian, laplacian, .*, precomputed"),
        ({"optimizer": "adam"}, "optimizer='adam'"),
        ({"criterion": "r2"}, "criterion='r2'"),
        ({"composition": "yes"}, "composition='yes'"),
        ({"composition": True}, "needs structures"),
        ({"kernel": "precomputed", "descriptor": CoulombMatrix()}, "leave out descriptor"),
    ],
)
def test_impossible_settings_are_refused(settings, match):
    with pytest.raises(SettingError, match=match):
        KRR(**settings).fit(np.eye(4), np.arange(4.0))


def test_bad_samples_are_named(small):
    y = small["atomization_energy"].copy()
    model = KRR(descriptor=CoulombMatrix(), **FIXED)
    y[7] = np.nan
    with pytest.raises(LabelError, match=r"NaN.*sample 7"):
        clone(model).fit(small, y)
    with pytest.raises(LabelError, match="119 labels for 120"):
        clone(model).fit(small, y[:-1])
    with pytest.raises(LabelError, match="weight of sample 2"):
        clone(model).fit(small, small["gap"], np.where(np.arange(120) == 2, -1.0, 1.0))
    with pytest.raises(StructureError, match="item 0"):
        clone(model).fit(["C", "O"], [1.0, 2.0])
    with pytest.raises(SettingError, match="square"):
        KRR("precomputed").fit(np.ones((3, 2)), np.ones(3))
    fitted = clone(model).fit(small, small["gap"])
    with pytest.raises(UnknownElementError, match=r"structure 1 .* S "):
        fitted.predict([molecule("CH4"), molecule("SH2")])


def test_undetermined_composition_is_refused():
    alkenes = [molecule("C2H4"), molecule("C3H6_Cs"), molecule("CH2_s1A1d")]
    model = KRR(Laplacian(100.0), descriptor=CoulombMatrix(), **FIXED)
    model.fit(alkenes, [-20.0, -30.0, -9.0])
    with pytest.raises(CompositionError, match="CH4"):
        model.predict([molecule("CH4")])


def test_one_sample_needs_given_hyperparameters():
    with pytest.raises(SettingError, match="n_samples = 1"):
        KRR().fit([[1.0]], [2.0])
    model = KRR(alpha=1e-12, optimizer=None).fit([[1.0]], [2.0])
    assert_allclose(model.predict([[1.0]]), [2.0])


# -- weights, copies and kernel matrices together -------------------------------------------------


def test_kernel_matrix_is_not_written_to(arrays):
    X, y = arrays
    K = Laplacian(2.0)(X)
    model = KRR("precomputed", alpha=1e-4).fit(K, y)
    assert_allclose(model.leave_out_residuals(), model.loo_residuals_, rtol=1e-9)
    assert np.array_equal(K, Laplacian(2.0)(X))


@pytest.mark.parametrize("precomputed", [False, True])
def test_weight_of_zero_equals_absence(arrays, precomputed):
    X, y = arrays
    kernel = Laplacian(2.0)
    kept = np.arange(60) % 4 != 1
    groups = np.random.default_rng(4).integers(0, 7, size=60)
    if precomputed:
        K = kernel(X)
        model, other = KRR("precomputed", alpha=1e-3), KRR("precomputed", alpha=1e-3)
        model.fit(K, y, kept.astype(float))
        other.fit(K[np.ix_(kept, kept)], y[kept])
        predictions, expected = model.predict(K), other.predict(K[:, kept])
    else:
        model, other = (KRR(kernel, alpha=1e-3, optimizer=None) for _ in range(2))
        model.fit(X, y, kept.astype(float))
        other.fit(X[kept], y[kept])
        predictions, expected = model.predict(X), other.predict(X)
    assert_allclose(predictions, expected, rtol=1e-9)
    assert_allclose(model.dual_coef_[kept], other.dual_coef_, rtol=1e-9)
    assert (model.dual_coef_[~kept] == 0.0).all()
    residuals = model.leave_out_residuals(groups=groups)
    assert_allclose(residuals[kept], other.leave_out_residuals(groups=groups[kept]), rtol=1e-8)
    assert np.isnan(residuals[~kept]).all()


def test_groups_of_samples_without_weight_do_not_matter(arrays):
    X, y = arrays
    kept = np.arange(60) % 4 != 1
    groups = np.random.default_rng(4).integers(0, 7, size=60)
    weighted = KRR().fit(X, y, kept.astype(float), groups)
    plain = KRR().fit(X[kept], y[kept], groups=groups[kept])
    for one, other in zip(weighted.trials_, plain.trials_, strict=True):
        assert (one.n_rows, one.alpha) == (other.n_rows, other.alpha)
        assert one.error == pytest.approx(other.error, rel=1e-6)


def test_copies_of_molecules_count_as_weight(small):
    y = small["atomization_energy"][:40]
    model = KRR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-3, optimizer=None)
    rows = np.r_[0, 0, np.arange(40), 7]
    twice = clone(model).fit(small[rows], y[rows])
    once = clone(model).fit(small[:40], y, np.bincount(rows))
    assert_allclose(twice.predict(small[40:]), once.predict(small[40:]), rtol=1e-9)
    assert_allclose(twice.loo_residuals_, once.loo_residuals_[rows], rtol=1e-8)
    assert_allclose(twice.composition_, once.composition_, rtol=1e-8)


def test_only_carriers_are_named_by_their_rows(small):
    # A copy and a molecule without weight stand before the one that alone carries sulfur.
    batch = [*small[[0, 1, 1]].to_ase(), *small[2:20].to_ase(), molecule("SH2"), molecule("CH4")]
    y = np.r_[small["atomization_energy"][[0, 1, 1]], small["atomization_energy"][2:20], -180, -418]
    weights = np.r_[0.0, np.ones(22)]
    with pytest.warns(KernchemWarning, match=r"1 molecules .*: 21 \(H2S\);"):
        KRR(Laplacian(500.0), descriptor=CoulombMatrix(), **FIXED).fit(batch, y, weights)


def test_long_predictions_equal_short_ones(arrays, rng):
    X, y = arrays
    model = KRR(Gaussian(1.5), alpha=1e-3, optimizer=None).fit(X, y)
    query = rng.normal(size=(size(5000, 500), 3))
    expected = np.concatenate([model.predict(part) for part in np.split(query, 10)])
    assert_allclose(model.predict(query), expected, rtol=1e-9, atol=1e-12)


def test_jitter_is_part_of_the_leave_out_residuals():
    X = np.array([[0.0], [1.0], [1.0 + 1e-14], [2.0]])
    model = KRR(Gaussian(1.0), alpha=1e-300, optimizer=None)
    with pytest.warns(KernchemWarning):
        model.fit(X, [0.0, 1.0, 1.0, 2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(model.leave_out_residuals(), model.loo_residuals_, rtol=1e-6)


# -- the search, from its trials ------------------------------------------------------------------


def relative_error(kernel, alpha, X, y, weights, power):
    """Leave-one-out error over the spread of the labels, by explicit refits."""
    model = KRR(kernel, alpha=alpha, optimizer=None)
    residuals = np.empty(len(y))
    for i in range(len(y)):
        rest = np.delete(np.arange(len(y)), i)
        # The regulariser is alpha over the weight, which is not relative to the other weights.
        residuals[i] = y[i] - model.fit(X[rest], y[rest], weights[rest]).predict(X[[i]])[0]
    error = np.average(np.abs(residuals) ** power, weights=weights)
    mean = np.average(y, weights=weights)
    spread = np.average(np.abs(y - mean) ** power, weights=weights)
    return (error / spread) ** (1.0 / power)


@pytest.mark.parametrize(("criterion", "power"), [("mae", 1), ("rmse", 2)])
def test_trials_carry_the_relative_weighted_error(rng, criterion, power):
    X = rng.normal(size=(15, 2))
    y = np.sin(X).sum(axis=1) + 3.0
    weights = np.linspace(0.2, 5.0, 15)
    model = KRR(criterion=criterion).fit(X, y, weights)
    for trial in (model.trials_[20], model.trials_[-1]):
        error = relative_error(trial.kernel, trial.alpha, X, y, weights, power)
        assert trial.error == pytest.approx(error, rel=1e-5)


@pytest.mark.slow
def test_constant_target_does_not_matter(arrays):
    X, y = arrays
    both = KRR().fit(X, np.stack([y, np.zeros(60)], axis=1))
    alone = KRR().fit(X, y)
    assert both.alpha_ == alone.alpha_
    assert both.kernel_ == alone.kernel_
    assert_allclose(both.predict(X)[:, 1], 0.0)


def test_grid_of_length_scales_starts_from_the_median_distance():
    # Squared distances between distinct samples 1, 4 and 9: the median length is 2.
    trials = KRR(Gaussian()).fit([[0.0], [1.0], [3.0]], [0.0, 1.0, 0.5]).trials_
    scales = {round(float(trial.kernel.length_scale), 6) for trial in trials[:35]}
    assert scales == {0.5, 2.0, 8.0, 32.0, 128.0}


def test_samples_at_no_distance_that_a_float_can_hold():
    X = np.array([[0.0], [1e-170], [2e-170]])  # the squares are zero
    assert np.isfinite(KRR(Gaussian()).fit(X, [0.0, 1.0, 2.0]).predict(X)).all()


def test_molecules_that_cannot_be_left_out_do_not_stop_the_search(small):
    batch = [*small[:30].to_ase(), molecule("SH2")]
    y = np.r_[small["atomization_energy"][:30], -180.0]
    model = KRR(Laplacian(500.0, "fixed"), descriptor=CoulombMatrix())
    with pytest.warns(KernchemWarning, match=r"30 \(H2S\)"):
        model.fit(batch, y)
    best = min(model.trials_, key=lambda trial: trial.error)
    with pytest.warns(KernchemWarning, match=r"30 \(H2S\)"):
        residuals = model.set_params(alpha=best.alpha).fit(batch, y).loo_residuals_
    known = np.isfinite(residuals)
    assert known.sum() >= 29
    spread = np.abs(y[known] - y[known].mean()).mean()
    assert best.error == pytest.approx(np.abs(residuals[known]).mean() / spread, rel=1e-8)


def test_of_equal_errors_the_grid_takes_the_largest_regulariser(rng):
    X = np.sort(rng.uniform(0, 100, size=(40, 1)), axis=0)
    y = np.sin(X[:, 0] / 5.0)
    kernel = Laplacian(10.0, "fixed")
    model = KRR(kernel).fit(X, y)
    errors = {
        alpha: np.abs(KRR(kernel, alpha=alpha).fit(X, y).loo_residuals_).mean()
        for alpha in (1e-12, 1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 10.0)
    }
    equal = [alpha for alpha, error in errors.items() if error <= 1.001 * min(errors.values())]
    assert len(equal) > 1
    assert model.alpha_ >= max(equal) * (1 - 1e-9)


@pytest.mark.parametrize("seed", [5, 8, 13])
def test_no_neighbour_of_the_chosen_point_is_better(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(50, 2))
    y = np.sin(2 * X).sum(axis=1) + 0.03 * rng.normal(size=50)
    model = KRR(Gaussian()).fit(X, y)
    best = np.abs(model.loo_residuals_).mean()
    for length_factor, alpha_factor in ((2**0.5, 1), (0.5**0.5, 1), (1, 10**0.5), (1, 0.1**0.5)):
        kernel = Gaussian(model.kernel_.length_scale * length_factor)
        other = KRR(kernel, alpha=model.alpha_ * alpha_factor, optimizer=None).fit(X, y)
        assert np.abs(other.loo_residuals_).mean() > best * (1 - 1.001e-3)


def test_nothing_is_tried_where_everything_is_given(arrays):
    assert KRR(Gaussian(0.7, "fixed"), alpha=0.01).fit(*arrays).trials_ == []


class Recording(Gaussian):
    """A kernel that keeps the samples whose distances were asked for."""

    seen: ClassVar[list[np.ndarray]] = []

    def distances(self, X, Y=None):
        self.seen.append(np.array(X))
        return super().distances(X, Y)


def test_folds_on_a_part_are_those_of_the_whole(rng, monkeypatch):
    monkeypatch.setattr(Recording, "seen", [])
    monkeypatch.setattr(tuning, "_COARSE_ROWS", 40)
    X = np.sort(rng.uniform(size=(60, 1)), axis=0)
    y = np.sin(9 * X[:, 0]) + 0.1 * rng.normal(size=60)
    groups = rng.permutation(np.repeat(np.arange(20), 3))
    weights = rng.uniform(0.5, 2.0, size=60)
    model = KRR(Recording()).fit(X, y, weights, groups)
    rows = np.searchsorted(X[:, 0], Recording.seen[0][:, 0])
    assert len(rows) == 40
    assert rows.max() > 50  # drawn from all of them
    trial = min(model.trials_[:35], key=lambda trial: trial.error)
    assert trial.n_rows == 40
    refitted = KRR(Gaussian(trial.kernel.length_scale), alpha=trial.alpha, optimizer=None)
    residuals = np.empty(40)
    for _, left_out in PredefinedSplit(groups[rows]).split():
        kept = np.setdiff1d(np.arange(40), left_out)
        refitted.fit(X[rows[kept]], y[rows[kept]], weights[rows[kept]])
        residuals[left_out] = y[rows[left_out]] - refitted.predict(X[rows[left_out]])
    w = weights[rows] / weights[rows].sum()
    spread = w @ np.abs(y[rows] - w @ y[rows])
    assert trial.error == pytest.approx(w @ np.abs(residuals) / spread, rel=1e-5)


def test_part_of_a_kernel_matrix_is_searched_as_its_features_are(rng, monkeypatch):
    monkeypatch.setattr(tuning, "_COARSE_ROWS", 40)
    X = rng.normal(size=(60, 2))
    y = np.sin(X).sum(axis=1)
    groups = np.arange(60) % 25  # some groups are not on the part
    kernel = Laplacian(3.0)
    given = KRR("precomputed").fit(kernel(X), y, groups=groups)
    direct = KRR(Laplacian(3.0, "fixed")).fit(X, y, groups=groups)
    assert {trial.n_rows for trial in given.trials_} == {40, 60}
    for one, other in zip(given.trials_, direct.trials_, strict=True):
        assert (one.n_rows, one.alpha) == (other.n_rows, other.alpha)
        assert one.error == pytest.approx(other.error, rel=1e-8)


def test_the_kernel_that_was_passed_may_change_afterwards(arrays):
    X, y = arrays
    kernel = Gaussian(0.7)
    model = KRR(kernel, alpha=1e-3, optimizer=None).fit(X, y)
    expected = model.predict(X)
    kernel.set_params(length_scale=9.0)
    assert np.array_equal(model.predict(X), expected)


def test_kernels_with_noise_of_their_own_equal_scikit_learn(rng):
    X = rng.normal(size=(40, 3))[np.r_[0:40, 0:20]]
    y = rng.normal(size=60)
    kernel = Gaussian(1.0) + WhiteKernel(0.5)
    model = KRR(kernel, alpha=1e-6, optimizer=None).fit(X, y)
    # alpha is relative to the mean diagonal, which is 1.5.
    peer = GaussianProcessRegressor(kernel, alpha=1.5e-6, optimizer=None).fit(X, y)
    assert_allclose(model.predict(X + 0.1), peer.predict(X + 0.1), atol=1e-8)


def test_constant_target_of_any_size_does_not_matter(arrays):
    X, y = arrays
    alone = KRR().fit(X, y)
    for constant in (1.0, -1e5, 1.0 / 3.0):
        both = KRR().fit(X, np.stack([y, np.full(60, constant)], axis=1))
        assert both.kernel_ == alone.kernel_
        assert both.alpha_ == alone.alpha_


def test_nothing_of_an_earlier_fit_survives(small, arrays):
    model = KRR(Laplacian(500.0), descriptor=BagOfBonds(), **FIXED)
    model.fit(small, small["gap"])
    model.set_params(composition=False).fit(small, small["gap"])
    assert not hasattr(model, "composition_")
    model.set_params(descriptor=None, composition="auto").fit(*arrays)
    assert not hasattr(model, "descriptor_")
    model.set_params(kernel="precomputed")
    with pytest.raises(SingularKernelError):
        model.fit(-np.eye(3), np.ones(3))
    with pytest.raises(NotFittedError):
        model.predict(np.eye(3))


def test_training_samples_are_copied(arrays):
    X, y = arrays[0].copy(), arrays[1]
    model = KRR(Gaussian(1.0), **FIXED).fit(X, y)
    expected = model.predict(arrays[0])
    X[:] = 0.0
    assert np.array_equal(model.predict(arrays[0]), expected)


def test_no_samples(small):
    model = KRR(Laplacian(500.0), descriptor=BagOfBonds(), **FIXED)
    with pytest.raises(LabelError, match="no samples"):
        model.fit([], [])
    assert model.fit(small, small["gap"]).predict([]).shape == (0,)
    assert model.predict(small[:0]).shape == (0,)


def test_nothing_to_choose_by_is_said(small, arrays):
    with pytest.raises(CompositionError, match="composition=False"):
        KRR(descriptor=BagOfBonds()).fit(small[:3], small["gap"][:3])
    with pytest.raises(SettingError, match="all distinct samples"):
        KRR().fit(*arrays, groups=np.zeros(60))
    with pytest.raises(SingularKernelError, match="positive definite"):
        KRR("precomputed").fit(-np.eye(4), np.arange(4.0))
    with pytest.raises(SettingError, match="scale the labels"):
        KRR(Gaussian(1.0, (1.0, 2.0)), alpha=1e-3).fit([[0.0], [1e-6]], [-1.7e308, 1.7e308])


class Indefinite(DotProduct):
    """A kernel that has negative eigenvalues and says so."""

    positive_semidefinite = False

    def __call__(self, X, Y=None, eval_gradient=False):
        return -super().__call__(X, Y)


def test_kernels_that_are_not_positive_are_named(arrays):
    kernel = Constant(2.0) * Indefinite()
    message = "smallest eigenvalue is -.* Indefinite is not positive semi-definite"
    with pytest.raises(SingularKernelError, match=message):
        KRR(kernel, alpha=1e-8, optimizer=None).fit(*arrays)
    with pytest.raises(SingularKernelError, match="Indefinite is not positive semi-definite"):
        KRR(kernel).fit(*arrays)
    assert indefinite_cause(BestMatch(Gaussian()) + REMatch(Gaussian())).startswith(
        "BestMatch and REMatch are not positive semi-definite"
    )
    joint = JointKernel([Gaussian(), REMatch(Gaussian())], [0, 1], [[0], [1]], [1.0, 1.0])
    assert indefinite_cause(joint).startswith("REMatch is not positive semi-definite")
    assert indefinite_cause(Gaussian()) == indefinite_cause(None) == ""


def test_matrices_of_matchings_are_refused_with_their_smallest_eigenvalue():
    values = [-1.34, 1.89, 1.15, -0.63, 0.59, -1.22, 0.58, 2.57, 0.01, 2.01]
    batch = Environments(np.reshape(values, (10, 1)), [6] * 10, np.arange(0, 11, 2))
    K = BestMatch(Gaussian())(batch)
    with pytest.raises(SingularKernelError, match=r"smallest eigenvalue is -0\.0765"):
        KRR("precomputed", alpha=1e-6).fit(K, np.arange(5.0))
    KRR("precomputed", alpha=0.1).fit(K, np.arange(5.0))


def test_stratified_folds_see_the_labels(rng):
    X, y = rng.normal(size=(40, 2)), np.repeat([0.0, 1.0], 20)
    model = KRR(Gaussian(1.0), **FIXED).fit(X, y)
    folds = StratifiedKFold(4)
    expected = y - cross_val_predict(clone(model), X, y, cv=folds)
    assert_allclose(model.leave_out_residuals(folds), expected, rtol=1e-8, atol=1e-8)


def test_search_that_ends_at_a_bound_warns(small):
    X = BagOfBonds().fit_transform(small) * 1e9
    with pytest.warns(KernchemWarning, match="bounds"):
        KRR("laplacian").fit(X, small["gap"])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"kernel": 3}, "no kernel"),
        ({"kernel": Gaussian}, "no kernel"),
        ({"descriptor": BagOfBonds}, "no descriptor"),
        ({"descriptor": StandardScaler()}, "pipeline"),
        ({"optimizer": np.ones(2)}, "optimizer="),
        ({"kernel": Gaussian(1.0, (5.0, 1.0))}, "length_scale_bounds"),
        ({"kernel": Gaussian(1.0, "fix")}, "length_scale_bounds"),
        ({"kernel": Gaussian(1.0, 3.0)}, "length_scale_bounds"),
    ],
)
def test_objects_of_the_wrong_kind_are_refused(settings, match):
    with pytest.raises(SettingError, match=match):
        KRR(**settings).fit(np.eye(4), np.arange(4.0))


def test_asymmetric_kernel_matrix_is_refused():
    K = np.eye(4)
    K[0, 1] = 0.5
    with pytest.raises(SettingError, match="transpose"):
        KRR("precomputed", alpha=1.0).fit(K, np.arange(4.0))


@pytest.mark.parametrize(
    ("y", "match"),
    [(np.ones((4, 0)), "shape"), (np.ones(4) * 1j, "complex"), (["a"] * 4, "numbers")],
)
def test_labels_that_are_no_numbers_are_refused(y, match):
    with pytest.raises(LabelError, match=match):
        KRR(**FIXED).fit(np.eye(4), y)
    with pytest.raises(LabelError, match="sample_weight"):
        KRR(**FIXED).fit(np.eye(4), np.ones(4), sample_weight=["a"] * 4)


def leave_one_out(K, alpha, counts, y):
    """Mean absolute leave-one-out error by the dense inverse, element counts refitted."""
    P = np.linalg.inv(K + alpha * np.mean(np.diag(K)) * np.eye(len(K)))
    Q = P - P @ counts @ np.linalg.solve(counts.T @ P @ counts, counts.T @ P)
    return np.abs(Q @ y / np.diag(Q)).mean()


def test_regulariser_of_a_kernel_between_structures_is_that_of_all_molecules(monkeypatch):
    monkeypatch.setattr(tuning, "_COARSE_ROWS", 15)
    monkeypatch.setattr(tuning, "_FINE_ROWS_STRUCTURES", 15)
    data = load_qm_small()
    data = data[
        [k for k, s in enumerate(data) if set(s.numbers) == {1, 6, 8} and len(s.numbers) < 12]
    ][:40]
    y = data["atomization_energy"]
    atoms = OverlapEigenvalues("s", r_cut=3.0)
    settings = {"descriptor": atoms, "optimizer": None}
    model = KRR(AtomSum(Gaussian(0.5)), **settings).fit(data, y)
    assert {trial.n_rows for trial in model.trials_} == {15, 40}
    counts = np.array([[(s.numbers == z).sum() for z in (1, 6, 8)] for s in data], dtype=float)
    K = AtomSum(Gaussian(0.5))(atoms.fit(data).transform(data))
    # The search ends where neither half a decade more nor less is better by a thousandth.
    here = leave_one_out(K, model.alpha_, counts, y)
    for factor in (10.0**0.5, 10.0**-0.5):
        assert here <= leave_one_out(K, factor * model.alpha_, counts, y) * (1.0 + 2e-3)
    monkeypatch.setattr(tuning, "_FINE_ROWS", 39)
    few = KRR(AtomSum(Gaussian(0.5)), **settings).fit(data, y)
    assert {trial.n_rows for trial in few.trials_} == {15}
