"""A search over length scales and regularisers against scikit-learn's, and against refits."""

import numpy as np
import pytest
from effort import size
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    cross_val_predict,
)
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernchem.datasets import load_qm_small
from kernchem.descriptors import FCHL19, BagOfBonds, CoulombMatrix
from kernchem.errors import CompositionError, LabelError, SettingError, SingularKernelError
from kernchem.kernels import AtomSum, Gaussian, Laplacian
from kernchem.models import GPR, KRR, DeltaLearner, LeaveOneOutSearch, Term

SCALES, ALPHAS = [0.3, 1.0, 3.0], [1e-6, 1e-3, 1.0]


@pytest.mark.slow
@parametrize_with_checks(
    [LeaveOneOutSearch(KRR(), length_scales=3, alphas=4, cv=3, n_best=2)],
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def arrays(rng):
    X = rng.normal(size=(45, 2))
    return X, np.sin(2.0 * X).sum(axis=1) + 0.05 * rng.normal(size=45)


def everything(estimator, **more):
    return LeaveOneOutSearch(estimator, length_scales=SCALES, alphas=ALPHAS, n_best=9, **more)


def test_folds_equal_grid_search_of_scikit_learn(arrays):
    search = everything(KRR("gaussian")).fit(*arrays)
    grid = {"gamma": 0.5 / np.square(SCALES), "alpha": ALPHAS}
    peer = GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=5, scoring="neg_mean_absolute_error")
    peer.fit(*arrays)
    found = search.cv_results_
    for params, score in zip(
        peer.cv_results_["params"], peer.cv_results_["mean_test_score"], strict=True
    ):
        same = np.isclose(0.5 / found["param_length_scale"] ** 2, params["gamma"])
        same &= found["param_alpha"] == params["alpha"]
        assert_allclose(found["mean_test_score"][same], score, rtol=1e-6)
    assert search.best_params_["alpha"] == peer.best_params_["alpha"]
    assert_allclose(
        0.5 / search.best_params_["kernel"].length_scale ** 2, peer.best_params_["gamma"]
    )
    assert_allclose(search.best_score_, peer.best_score_, rtol=1e-8)
    assert_allclose(search.predict(arrays[0][:5] + 0.1), peer.predict(arrays[0][:5] + 0.1))


@pytest.mark.parametrize("criterion", ["mae", "rmse"])
def test_first_stage_equals_refits_without_each_sample(arrays, criterion):
    X, y = arrays
    found = everything(KRR("laplacian"), criterion=criterion).fit(X, y).cv_results_
    for scale, alpha, error in zip(
        found["param_length_scale"], found["param_alpha"], found["loo_error"], strict=True
    ):
        peer = KernelRidge(kernel="laplacian", gamma=1.0 / scale, alpha=alpha)
        rest = y - cross_val_predict(peer, X, y, cv=LeaveOneOut())
        expected = np.abs(rest).mean() if criterion == "mae" else np.sqrt((rest**2).mean())
        assert_allclose(error, expected, rtol=1e-7)


def test_only_the_best_of_the_first_stage_go_on(arrays):
    search = LeaveOneOutSearch(KRR(), length_scales=SCALES, alphas=ALPHAS, n_best=4).fit(*arrays)
    found = search.cv_results_
    second = np.isfinite(found["cv_error"])
    assert second.sum() == 4
    assert found["loo_error"][second].max() <= found["loo_error"][~second].min()
    rank = found["rank_test_score"]
    assert sorted(rank) == list(range(1, 10))
    assert rank[search.best_index_] == 1
    assert found["cv_error"][search.best_index_] == np.nanmin(found["cv_error"])
    assert rank[second].max() == 4
    assert search.best_params_ == found["params"][search.best_index_]


def test_weights_count_in_fits_and_errors(arrays, rng):
    X, y = arrays
    weights = rng.integers(1, 4, size=len(y))
    # A sample of weight w equals the sample given w times, all copies of which leave together.
    kfold = KFold(5, shuffle=True, random_state=0)
    weighted = everything(KRR("gaussian"), cv=kfold).fit(X, y, sample_weight=weights)
    found = weighted.cv_results_
    model = KRR("gaussian", optimizer=None)
    for index in (0, 4, 8):
        model.set_params(**found["params"][index]).fit(X, y, sample_weight=weights)
        own = np.average(np.abs(model.loo_residuals_), weights=weights)
        assert_allclose(found["loo_error"][index], own, rtol=1e-8)
        folds = np.average(np.abs(model.leave_out_residuals(kfold)), weights=weights)
        assert_allclose(found["cv_error"][index], folds, rtol=1e-8)
    repeated = everything(KRR("gaussian")).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_allclose(repeated.cv_results_["loo_error"], found["loo_error"], rtol=1e-8)


def test_samples_of_weight_zero_are_not_there(arrays):
    X, y = arrays
    weights = np.ones(len(y))
    weights[::5] = 0.0
    spoilt = np.where(weights > 0, y, 1e6)
    left = weights > 0
    search = everything(KRR(), cv=None).fit(X, spoilt, sample_weight=weights)
    alone = everything(KRR(), cv=None).fit(X[left], y[left])
    assert_allclose(search.cv_results_["loo_error"], alone.cv_results_["loo_error"])
    assert_allclose(search.cv_results_["cv_error"], alone.cv_results_["loo_error"], rtol=1e-8)


def test_molecules_with_a_composition():
    data = load_qm_small()[: size(120, 40)]
    y = data["atomization_energy"]
    model = KRR(descriptor=BagOfBonds())
    search = LeaveOneOutSearch(model, length_scales=3, alphas=4, n_best=3).fit(data, y)
    best = search.best_estimator_
    assert best.composition_.shape == (len(best.elements_),)
    own = np.nanmean(np.abs(best.loo_residuals_))
    assert_allclose(search.cv_results_["loo_error"][search.best_index_], own, rtol=1e-6)
    folds = np.nanmean(np.abs(best.leave_out_residuals(5)))
    assert_allclose(-search.best_score_, folds, rtol=1e-8)
    assert search.predict(data[:3]).shape == (3,)


def test_kernel_between_structures_has_the_length_scale_of_its_atoms():
    data = load_qm_small()[: size(30, 16)]
    y = data["atomization_energy"]
    model = KRR(AtomSum(Gaussian()), descriptor=FCHL19(r_cut=3.0, a_cut=3.0))
    search = LeaveOneOutSearch(model, length_scales=[0.5, 4.0], alphas=[1e-8, 1e-4], n_best=2)
    search.fit(data, y)
    assert search.best_params_["kernel"].base.length_scale in {0.5, 4.0}
    automatic = LeaveOneOutSearch(model, length_scales=3, alphas=2, n_best=1).fit(data, y)
    assert len(set(automatic.cv_results_["param_length_scale"])) == 3


def test_sums_of_terms_and_kernel_matrices_keep_their_kernel(arrays):
    data = load_qm_small()[: size(40, 20)]
    terms = Term(CoulombMatrix(), "laplacian") + Term(BagOfBonds(), "laplacian")
    search = LeaveOneOutSearch(KRR(terms), alphas=5, n_best=2).fit(data, data["atomization_energy"])
    assert list(search.best_params_) == ["alpha"]
    assert np.isnan(search.cv_results_["param_length_scale"]).all()
    own = np.nanmean(np.abs(search.best_estimator_.loo_residuals_))
    assert_allclose(search.cv_results_["loo_error"][search.best_index_], own, rtol=1e-6)
    X, y = arrays
    K = Gaussian(1.0)(X)
    kept = LeaveOneOutSearch(KRR("precomputed"), alphas=ALPHAS).fit(K, y)
    same = LeaveOneOutSearch(KRR("gaussian"), length_scales=[1.0], alphas=ALPHAS).fit(X, y)
    assert_allclose(kept.cv_results_["cv_error"], same.cv_results_["cv_error"], rtol=1e-9)
    assert_allclose(kept.predict(K[:3]), same.predict(X[:3]))
    with pytest.raises(SettingError, match="not exactly one length scale"):
        LeaveOneOutSearch(KRR("precomputed"), length_scales=[1.0]).fit(K, y)


def test_gaussian_process_finds_the_same_and_knows_its_errors(arrays):
    X, y = arrays
    search = everything(GPR("gaussian")).fit(X, y)
    ridge = everything(KRR("gaussian")).fit(X, y)
    assert search.best_params_["alpha"] == ridge.best_params_["alpha"]
    assert_allclose(search.predict(X[:4]), ridge.predict(X[:4]))
    mean, std = search.predict(X[:4], return_std=True)
    assert mean.shape == std.shape == (4,)


def test_kernel_of_scikit_learn_with_an_amplitude(arrays):
    X, y = arrays
    search = everything(KRR(ConstantKernel(7.0) * RBF(2.0))).fit(X, y)
    plain = everything(KRR("gaussian")).fit(X, y)
    assert_allclose(search.cv_results_["cv_error"], plain.cv_results_["cv_error"], rtol=1e-7)
    automatic = LeaveOneOutSearch(KRR(RBF(2.0)), length_scales=3, alphas=3).fit(X, y)
    scales = np.unique(automatic.cv_results_["param_length_scale"])
    assert_allclose(scales, [0.125, 2.0, 32.0])


def test_several_targets_count_by_their_spread(arrays):
    X, y = arrays
    both = np.stack([y, 1e4 * y + 5.0], axis=1)
    found = everything(KRR("gaussian")).fit(X, both).cv_results_
    centred = everything(KRR("gaussian")).fit(X, y).cv_results_
    shifted = everything(KRR("gaussian")).fit(X, 1e4 * y + 5.0).cv_results_
    spread = np.abs(y - y.mean()).mean()
    expected = 0.5 * (centred["cv_error"] / spread + shifted["cv_error"] / (1e4 * spread))
    assert_allclose(found["cv_error"], expected, rtol=1e-9)


def test_groups_leave_together(arrays):
    X, y = arrays
    groups = np.arange(len(y)) % 7
    found = everything(KRR("gaussian"), cv=GroupKFold(3)).fit(X, y, groups=groups).cv_results_
    index = 4
    model = KernelRidge(alpha=found["param_alpha"][index], kernel="rbf", gamma=0.5)
    rest = y - cross_val_predict(model, X, y, cv=GroupKFold(3), groups=groups)
    assert found["param_length_scale"][index] == 1.0
    assert_allclose(found["cv_error"][index], np.abs(rest).mean(), rtol=1e-7)


def test_inside_a_delta_learner():
    data = load_qm_small()[: size(80, 30)]
    search = LeaveOneOutSearch(KRR(descriptor=BagOfBonds()), length_scales=3, alphas=3, n_best=2)
    model = DeltaLearner(search, baseline="gfn2_atomization_energy")
    model.fit(data, data["atomization_energy"])
    assert model.predict(data[:2]).shape == (2,)


def test_estimator_is_left_as_it_was(arrays):
    kernel = Laplacian(3.0)
    estimator = KRR(kernel, alpha=0.5)
    search = everything(estimator).fit(*arrays)
    assert estimator.kernel is kernel
    assert kernel.length_scale == 3.0
    assert not hasattr(estimator, "dual_coef_")
    assert clone(search).estimator.alpha == 0.5


def test_errors_name_the_cure(arrays):
    X, y = arrays
    for settings, match in (
        ({"length_scales": [-1.0]}, "positive numbers"),
        ({"length_scales": "wide"}, "positive numbers"),
        ({"length_scales": 0}, "positive numbers"),
        ({"alphas": []}, "positive numbers"),
        ({"alphas": [np.inf]}, "positive numbers"),
        ({"n_best": 0}, "whole number"),
        ({"criterion": "max"}, "criterion"),
        ({"cv": 1000}, "cannot split"),
    ):
        with pytest.raises(SettingError, match=match):
            LeaveOneOutSearch(KRR(), **settings).fit(X, y)
    with pytest.raises(SettingError, match="no KRR or GPR"):
        LeaveOneOutSearch(KernelRidge()).fit(X, y)
    with pytest.raises(SettingError, match="at least 2 distinct samples"):
        LeaveOneOutSearch(KRR(), cv=None).fit(np.ones((3, 2)), y[:3])
    with pytest.raises(LabelError):
        LeaveOneOutSearch(KRR()).fit(X, np.full(len(y), np.nan))


def test_nothing_to_choose_by(arrays):
    X, y = arrays
    K = Gaussian(1.0)(X) - 2.0 * np.eye(len(X))
    with pytest.raises(SingularKernelError, match="positive"):
        LeaveOneOutSearch(KRR("precomputed"), alphas=[1e-3]).fit(-K, y)
    data = load_qm_small()
    lonely = data[[0]]
    for k in range(1, len(data)):
        if set(data[k].numbers) != set(lonely[0].numbers):
            lonely = data[[0, k]]
            break
    with pytest.raises(CompositionError, match="left out"):
        LeaveOneOutSearch(KRR(descriptor=CoulombMatrix()), cv=None).fit(lonely, [1.0, 2.0])


def test_candidates_that_are_not_positive_definite_are_infinitely_bad(arrays):
    X, y = arrays
    K = Gaussian(1.0)(X) - 0.5 * np.eye(len(X))
    search = LeaveOneOutSearch(KRR("precomputed"), alphas=[1e-3, 2.0, 5.0]).fit(K, y)
    found = search.cv_results_
    assert found["loo_error"][0] == np.inf
    assert np.isnan(found["cv_error"][0])
    assert found["rank_test_score"][0] == 3
    assert search.best_params_["alpha"] > 1.0


@pytest.mark.parametrize("kernel", [Gaussian(1.3, "fixed"), 2.0 * RBF(1.3, "fixed")])
def test_a_length_scale_that_is_fixed_is_kept_unless_others_are_given(arrays, kernel):
    kept = LeaveOneOutSearch(KRR(kernel), alphas=ALPHAS).fit(*arrays)
    assert np.isnan(kept.cv_results_["param_length_scale"]).all()
    assert kept.best_estimator_.kernel_ == kernel
    given = LeaveOneOutSearch(KRR(kernel), alphas=ALPHAS, length_scales=SCALES).fit(*arrays)
    assert set(given.cv_results_["param_length_scale"]) == set(SCALES)
