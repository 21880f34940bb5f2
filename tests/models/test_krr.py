"""KRR against explicit refits, scikit-learn's KernelRidge and the saddle-point system."""

import pickle
import warnings

import numpy as np
import pytest
from ase.build import molecule
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix, EncodedBonds
from kernchem.errors import (
    CompositionError,
    KernchemWarning,
    LabelError,
    SettingError,
    StructureError,
    UnknownElementError,
)
from kernchem.kernels import Gaussian, Laplacian
from kernchem.models import KRR


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


@pytest.mark.parametrize("composition", [True, False])
@pytest.mark.parametrize(
    ("descriptor", "kernel"),
    [(CoulombMatrix(size=23), Laplacian(1000.0)), (EncodedBonds(elements=["H", "C", "N", "O", "F"]), Gaussian(20.0))],
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
    inside = KRR(Gaussian(1.0, (0.5, 2.0))).fit(X, y).kernel_.length_scale
    assert 0.5 <= inside <= 2.0


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
        ({"alpha": "cv"}, "alpha='cv'"),
        ({"kernel": "rbf"}, "gaussian, laplacian, precomputed"),
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
