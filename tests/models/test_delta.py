import warnings

import numpy as np
import pytest
from ase.build import molecule
from delta_oracle import element_counts, kernel_slopes
from effort import size
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from kernchem import baselines
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.errors import KernchemWarning, LabelError, PropertyError, SettingError
from kernchem.kernels import Laplacian
from kernchem.models import (
    GPR,
    KRR,
    CompositionBaseline,
    DeltaLearner,
    LeaveOneOutSearch,
    MultiFidelityGPR,
    choose_parameters,
    delta_slopes,
)
from kernchem.sampling import BatchSelector
from kernchem.structures import Structures

GFN2 = "gfn2_atomization_energy"


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[: size(200, 60)]


@pytest.fixture
def krr():
    return KRR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-6, optimizer=None)


def test_offsets_and_slope_are_the_least_squares_solution(small):
    y = small["atomization_energy"]
    model = DeltaLearner(make_pipeline(BagOfBonds(), Ridge()), GFN2).fit(small, y)
    design = np.column_stack([element_counts(small), small[GFN2]])
    peer = LinearRegression(fit_intercept=False).fit(design, y)
    assert_allclose(model.slope_, peer.coef_[-1:], rtol=1e-8)
    assert_allclose(model.offset_, peer.coef_[:-1], rtol=1e-7)


def test_slopes_under_a_kernel_are_those_of_generalised_least_squares(small, krr):
    y = np.stack([small["atomization_energy"], small["gap"]], axis=1)
    model = DeltaLearner(krr, (GFN2, "homo")).fit(small, y)
    columns = np.column_stack([small[GFN2], small["homo"]])
    assert_allclose(model.slope_, kernel_slopes(small, columns, y, BagOfBonds()), rtol=1e-6)
    peer = LinearRegression(fit_intercept=False).fit(
        element_counts(small), y - columns @ model.slope_
    )
    assert_allclose(model.offset_, peer.coef_.T, rtol=1e-7)


def test_slopes_of_many_labels_come_from_some_of_them(small, krr, monkeypatch):
    monkeypatch.setattr(delta_slopes, "_PILOT_ROWS", 40)
    y, groups = small["atomization_energy"], np.arange(len(small)) // 2
    model = DeltaLearner(krr, GFN2).fit(small, y, groups=groups)
    rows = np.sort(np.random.default_rng(0).permutation(len(small))[:40])
    part = small[rows]
    expected = kernel_slopes(part, part[GFN2][:, None], y[rows], BagOfBonds())
    assert_allclose(model.slope_, expected, rtol=1e-6)
    assert len(model.model_.loo_residuals_) == len(small)


@pytest.mark.slow
def test_prediction_is_baseline_plus_offsets_plus_learnt_rest(small, krr):
    y, train, test = small["atomization_energy"], small[:150], small[150:]
    model = DeltaLearner(krr, GFN2).fit(train, y[:150])
    rest = y - model.slope_ * small[GFN2]
    linear = LinearRegression(fit_intercept=False).fit(element_counts(small)[:150], rest[:150])
    rest -= linear.predict(element_counts(small))
    learnt = clone(krr).fit(train, rest[:150])
    expected = (y - rest)[150:] + learnt.predict(test)
    assert_allclose(model.predict(test), expected, rtol=1e-9)


@pytest.mark.slow
def test_slope_of_one_subtracts_the_baseline(small, krr):
    y, train, test = small["atomization_energy"], small[:150], small[150:]
    model = DeltaLearner(krr, GFN2, slope=1).fit(train, y[:150])
    assert model.slope_.tolist() == [1.0]
    difference = clone(krr).fit(train, y[:150] - train[GFN2])
    assert_allclose(model.predict(test), difference.predict(test) + test[GFN2], rtol=1e-8)


def test_several_baselines_and_targets(small, krr):
    y = np.stack([small["atomization_energy"], small["gap"]], axis=1)
    baselines = (GFN2, "gfn2_energy")
    model = DeltaLearner(krr, baselines).fit(small, y)
    assert model.slope_.shape == (2, 2)
    assert model.predict(small[:3]).shape == (3, 2)
    # Total and atomisation energies differ by the element energies: the pair is not determined.
    assert np.isfinite(model.predict(small[:3])).all()


def test_exact_baseline_leaves_nothing_to_learn(small):
    y = 1.25 * small[GFN2] + element_counts(small) @ np.array([3.0, -2.0, 1.0, 0.5, 7.0])
    model = DeltaLearner(CompositionBaseline(), GFN2).fit(small[:50], y[:50])
    assert_allclose(model.predict(small[50:]), y[50:], rtol=1e-9)
    assert_allclose(model.slope_, [1.25], rtol=1e-9)


@pytest.mark.slow
def test_learns_better_than_without_a_baseline(small):
    y, train, test = small["atomization_energy"], small[:100], small[100:]
    direct = KRR(descriptor=BagOfBonds())
    delta = DeltaLearner(direct, GFN2).fit(train, y[:100])
    error = np.abs(delta.predict(test) - y[100:]).mean()
    assert error < 0.6 * np.abs(clone(direct).fit(train, y[:100]).predict(test) - y[100:]).mean()


def test_few_labels_fall_back_to_a_slope_of_one(small, krr):
    with pytest.warns(KernchemWarning, match="slope 1"):
        model = DeltaLearner(krr, GFN2).fit(small[:12], small["atomization_energy"][:12])
    assert model.slope_.tolist() == [1.0]
    with pytest.warns(KernchemWarning, match="2 slopes.*first column alone"):
        model = DeltaLearner(krr, (GFN2, "gap")).fit(small[:12], small["atomization_energy"][:12])
    assert model.slope_.tolist() == [1.0, 0.0]


def test_works_in_pipelines_and_grids(small):
    inner = make_pipeline(CoulombMatrix(size=23), Ridge())
    grid = {"slope": ["fit", 1], "model__ridge__alpha": [1.0, 1e3]}
    search = GridSearchCV(DeltaLearner(inner, GFN2), grid, cv=3)
    search.fit(small, small["atomization_energy"])
    assert search.best_score_ > 0.9


def test_keyword_arguments_reach_the_model(small):
    y = small["atomization_energy"]
    half = len(small) // 2
    weights = np.repeat([1.0, 0.0], half)
    krr = KRR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-3, optimizer=None)
    weighted = DeltaLearner(krr, GFN2, slope=1).fit(small, y, sample_weight=weights)
    assert np.isnan(weighted.model_.loo_residuals_[half:]).all()


class WithSpread(CompositionBaseline):
    def predict(self, X, return_std=False):
        mean = super().predict(X)
        return (mean, np.ones_like(mean)) if return_std else mean


def test_spread_of_the_model_is_passed_on(small):
    y = small["atomization_energy"]
    model = DeltaLearner(WithSpread(), GFN2).fit(small, y)
    mean, std = model.predict(small, return_std=True)
    assert_allclose(mean, model.predict(small))
    assert (std == 1.0).all()


class WithInterval(CompositionBaseline):
    def predict_interval(self, X, coverage=0.9, method="calibrated"):
        width = {"calibrated": 1.0, "gaussian": 2.0}[method] * coverage
        return np.full(len(X), -width), np.full(len(X), 3.0 * width)


def test_interval_of_the_model_is_shifted(small):
    y, train, test = small["atomization_energy"], small[:50], small[50:]
    model = DeltaLearner(WithInterval(), GFN2).fit(train, y[:50])
    design = np.column_stack([element_counts(small), small[GFN2]])
    peer = LinearRegression(fit_intercept=False).fit(design[:50], y[:50])
    linear = peer.predict(design[50:])
    for options, width in (({}, 0.9), ({"coverage": 0.5, "method": "gaussian"}, 1.0)):
        lower, upper = model.predict_interval(test, **options)
        assert_allclose(lower, linear - width, rtol=1e-9)
        assert_allclose(upper, linear + 3.0 * width, rtol=1e-9)


def test_interval_of_a_process_with_several_targets(small):
    y = np.stack([small["atomization_energy"], small["gap"]], axis=1)
    gpr = GPR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-6, optimizer=None)
    model = DeltaLearner(gpr, GFN2).fit(small[:40], y[:40])
    lower, upper = model.predict_interval(small[40:], method="gaussian", coverage=0.5)
    mean, std = model.predict(small[40:], return_std=True)
    assert lower.shape == (len(small) - 40, 2)
    # The quartile of a normal distribution.
    assert_allclose(lower, mean - 0.6744897501960817 * std, rtol=1e-9)
    assert_allclose(upper, mean + 0.6744897501960817 * std, rtol=1e-9)


def test_a_model_without_intervals_is_named(small, krr):
    model = DeltaLearner(krr, GFN2).fit(small, small["atomization_energy"])
    with pytest.raises(SettingError, match=r"model=KRR predicts no intervals.*GPR"):
        model.predict_interval(small)


def test_missing_baselines_are_named(small, krr):
    y = small["atomization_energy"]
    with pytest.raises(PropertyError, match=r"'pm7'.*gfn2_energy"):
        DeltaLearner(krr, "pm7").fit(small, y)
    with pytest.raises(PropertyError, match="one number per structure"):
        DeltaLearner(krr, "q_gfn2").fit(small, y)
    with pytest.raises(PropertyError, match="cannot be used"):
        DeltaLearner(krr, "smiles").fit(small, y)
    fitted = DeltaLearner(krr, GFN2).fit(small, y)
    with pytest.raises(PropertyError, match=GFN2):
        fitted.predict([molecule("CH4")])
    atoms = small[:2].to_ase()
    atoms[1].info[GFN2] = np.nan
    with pytest.raises(PropertyError, match="structure 1"):
        fitted.predict(Structures.from_ase(atoms))
    with pytest.raises(SettingError, match="slope='free'"):
        DeltaLearner(krr, GFN2, slope="free").fit(small, y)
    with pytest.raises(SettingError, match="one column"):
        DeltaLearner(krr, (GFN2, "gap"), slope=1).fit(small, y)


@pytest.mark.parametrize("enough", [True, False])
def test_a_slope_needs_four_labels_per_coefficient(krr, enough):
    # Of C and H alone: two offsets and one slope, so twelve labels.
    data = load_qm_small()[:200]
    hydrocarbons = data[[set(s.numbers) == {1, 6} for s in data]]
    train = hydrocarbons[: 12 if enough else 11]
    y = train["atomization_energy"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = DeltaLearner(krr, GFN2).fit(train, y)
    told = any("slope 1" in str(warning.message) for warning in caught)
    assert told is not enough
    expected = [1.0]
    if enough:
        expected = kernel_slopes(train, train[GFN2][:, None], y, BagOfBonds())
    assert_allclose(model.slope_, expected, rtol=1e-6)


def with_baseline(structures, values):
    return Structures(
        structures.numbers,
        structures.positions,
        structures.offsets,
        properties={"cheap": values},
    )


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1.0, 1e9])
def test_baseline_that_is_a_sum_over_elements_gets_no_slope(small, krr, scale):
    additive = scale * element_counts(small) @ np.array([0.5, 38.0, 54.6, 75.1, 99.7])
    batch = with_baseline(small, additive)
    with pytest.warns(KernchemWarning, match="slope 1"):
        model = DeltaLearner(krr, "cheap").fit(batch, small["atomization_energy"])
    assert model.slope_.tolist() == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-14, 1e14])
def test_slope_follows_the_unit_of_the_baseline(small, krr, unit):
    y = small["atomization_energy"]
    expected = DeltaLearner(krr, GFN2).fit(small, y)
    model = DeltaLearner(krr, "cheap").fit(with_baseline(small, unit * small[GFN2]), y)
    assert_allclose(unit * model.slope_, expected.slope_, rtol=1e-8)


def test_nothing_of_a_fit_survives_one_that_fails(small, krr):
    y = small["atomization_energy"]
    model = DeltaLearner(krr, GFN2).fit(small[:30], y[:30])
    with pytest.raises(SettingError, match="alpha"):
        model.set_params(model__alpha=-1.0).fit(small[30:60], y[30:60])
    with pytest.raises(NotFittedError):
        model.predict(small)
    assert not hasattr(model, "slope_")


def test_arguments_of_the_model_may_be_lists(small, monkeypatch):
    monkeypatch.setattr(delta_slopes, "_PILOT_ROWS", 20)
    y, groups = small["atomization_energy"], np.arange(len(small)) // 3
    process = GPR(Laplacian(500.0), descriptor=CoulombMatrix(), optimizer=None)
    found = [
        DeltaLearner(process, GFN2).fit(small, y, groups=given, noise=noise)
        for given, noise in (
            (groups, np.full(len(small), 0.1)),
            ([f"{k:03}" for k in groups], [0.1] * len(small)),
            (groups, np.array(0.1)),
        )
    ]
    for other in found[1:]:
        assert_allclose(other.predict(small), found[0].predict(small), rtol=1e-12)


def test_a_model_of_several_levels_learns_the_rest(small):
    levels = MultiFidelityGPR(Laplacian(500.0), descriptor=CoulombMatrix(), optimizer=None)
    y = small["atomization_energy"]
    model = DeltaLearner(levels, GFN2).fit(small[:40], y[:40])
    ordinary = LinearRegression(fit_intercept=False)
    ordinary.fit(np.column_stack([element_counts(small[:40]), small[GFN2][:40]]), y[:40])
    assert_allclose(model.slope_, ordinary.coef_[-1:], rtol=1e-6)
    with pytest.raises(SettingError, match="fitted KRR or GPR"):
        choose_parameters(
            baselines.DampedCoulomb(), small[:40], y[:40], levels.fit(small[:40], y[:40])
        )
    with pytest.raises(SettingError, match="no KRR or GPR"):
        LeaveOneOutSearch(levels).fit(small[:40], y[:40])
    with pytest.raises(SettingError, match="is no kernel"):
        BatchSelector(kernel=levels.fit(small[:40], y[:40])).fit(small)


def test_empty_batches(small, krr):
    y = small["atomization_energy"]
    for baseline in (GFN2, [GFN2, "dipole_gfn2"], lambda s: s[GFN2]):
        model = DeltaLearner(krr, baseline).fit(small[:50], y[:50])
        assert model.predict(small[:0]).shape == (0,)


def test_conformal_intervals(small):
    y = small["atomization_energy"]
    train, known, test = small[:30], small[30:50], small[50:60]
    process = GPR(Laplacian(500.0), descriptor=CoulombMatrix(), calibration=None)
    model = DeltaLearner(process, GFN2).fit(train, y[:30]).calibrate(known, y[30:50])
    mean, std = model.predict(known, return_std=True)
    # The k-th smallest of n scores, k = 0.8 (n + 1).
    bound = np.sort(np.abs(y[30:50] - mean) / std)[int(np.ceil(0.8 * 21)) - 1]
    lower, upper = model.predict_interval(test, coverage=0.8, method="conformal")
    mean, std = model.predict(test, return_std=True)
    assert_allclose(upper - mean, bound * std, rtol=1e-9)
    assert_allclose(mean - lower, bound * std, rtol=1e-9)
    # Errors that were seen hold those of a baseline that is a model.
    low = clone(process).fit(train, small[GFN2][:30])
    model = DeltaLearner(process, low).fit(train, y[:30]).calibrate(known, y[30:50])
    lower, upper = model.predict_interval(test, coverage=0.8, method="conformal")
    inner = model.model_.predict_interval(test, coverage=0.8, method="conformal")
    assert_allclose(upper - lower, inner[1] - inner[0], rtol=1e-9)
    with pytest.raises(LabelError, match="shape"):
        model.calibrate(known, np.ones((20, 2)))
    with pytest.raises(SettingError, match="keeps no errors"):
        DeltaLearner(CompositionBaseline(), GFN2).fit(train, y[:30]).calibrate(known, y[30:50])


def test_the_model_that_was_passed_is_not_fitted(small, krr):
    model = DeltaLearner(krr, GFN2).fit(small, small["atomization_energy"])
    assert model.model_ is not krr
    assert not hasattr(krr, "dual_coef_")


@pytest.mark.slow
def test_weights_hold_for_offsets_and_slope_too(small):
    y = small["atomization_energy"].copy()
    y[-1] = 1e6
    krr = KRR(Laplacian(500.0), descriptor=BagOfBonds(), alpha=1e-3, optimizer=None)
    weights = np.r_[np.ones(198), 2.0, 0.0]
    weighted = DeltaLearner(krr, GFN2).fit(small, y, sample_weight=weights)
    repeated = np.r_[0:199, 198]
    plain = DeltaLearner(krr, GFN2).fit(small[repeated], y[repeated])
    assert_allclose(weighted.slope_, plain.slope_, rtol=1e-9)
    assert_allclose(weighted.predict(small), plain.predict(small), rtol=1e-8)
    assert np.flatnonzero(np.isnan(weighted.model_.loo_residuals_)).tolist() == [199]


def test_weights_reach_the_last_step_of_a_pipeline(small):
    weights = np.ones(60)
    weights[::3] = 2.0
    rows = np.repeat(np.arange(60), weights.astype(int))
    learner = DeltaLearner(make_pipeline(BagOfBonds(), Ridge(1.0)), GFN2)
    y = small["atomization_energy"][:60]
    repeated = clone(learner).fit(small[rows], y[rows])
    weighted = clone(learner).fit(small[:60], y, sample_weight=weights)
    assert_allclose(weighted.predict(small[:60]), repeated.predict(small[:60]), rtol=1e-8)
    with config_context(enable_metadata_routing=True):
        routed = DeltaLearner(
            make_pipeline(BagOfBonds(), Ridge(1.0).set_fit_request(sample_weight=True)), GFN2
        ).fit(small[:60], y, sample_weight=weights)
    assert_allclose(routed.predict(small[:60]), repeated.predict(small[:60]), rtol=1e-8)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"baseline": []}, "baseline=list"),
        ({"baseline": 3.0}, "baseline=float 3.0"),
        ({"baseline": [GFN2, np.ones(3)]}, "array is passed to fit"),
        ({"slope": [1]}, "slope=\\[1\\]"),
        ({"slope": True}, "slope=True"),
        ({"slope": 2}, "slope=2"),
        ({"baseline": baselines.GFN2}, r"an object: GFN2\(\)"),
        ({"model": None}, "no regressor"),
    ],
)
def test_impossible_settings_are_refused(small, krr, settings, match):
    model = DeltaLearner(krr, GFN2).set_params(**settings)
    with pytest.raises(SettingError, match=match):
        model.fit(small, small["gap"])
