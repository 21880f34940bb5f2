"""MultiFidelityGPR against dense processes, GPR, refits, and its own promises to users."""

import pickle
import warnings

import numpy as np
import pytest
from effort import size
from levels_oracle import Dense, autoregressive, drawn, flat, gaussian, laplacian
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from kernchem import GPR, MultiFidelityGPR
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.errors import (
    KernchemWarning,
    LabelError,
    SettingError,
    UnknownElementError,
)
from kernchem.kernels import Gaussian, Laplacian
from kernchem.models import Term, levels_search
from kernchem.models.levels_recursive import RecursiveProcess

METHODS = ["recursive", "joint", "multitask"]
CHEAP, DEAR = "gfn2_atomization_energy", "atomization_energy"
#: Settings under which nothing is searched for but widths of levels and slopes.
EXACT = {"optimizer": None, "alpha": 1e-12}


@pytest.mark.slow
@parametrize_with_checks(
    [MultiFidelityGPR(alpha=1e-3, optimizer=None), MultiFidelityGPR("laplacian", method="joint")]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture
def nested(rng):
    """Samples and labels of three levels, each on a part of those of the level below."""
    X = rng.uniform(0, 8, size=(60, 2))
    kernels = [laplacian(w) for w in (6.0, 4.0, 8.0)]
    y = drawn(rng, X, kernels, [4.0, 0.5, 0.2], [1.4, 0.8])
    y[36:, 1], y[18:, 2] = np.nan, np.nan
    return X, y, rng.uniform(0, 8, size=(15, 2))


def two_levels(small, n_dear=30):
    y = np.stack([small[CHEAP], small[DEAR]], axis=1)
    y[n_dear:, 1] = np.nan
    return y


# -- the full joint posterior ---------------------------------------------------------------------


@pytest.mark.parametrize("rho", [[1.4, 0.8], 1.0])
def test_recursive_equals_the_joint_posterior(nested, rho):
    X, y, new = nested
    model = MultiFidelityGPR(Laplacian(5.0), rho=rho, **EXACT).fit(X, y)
    assert_allclose(model.rho_, np.broadcast_to(rho, 2))
    variances = [level.std**2 for level in model.levels_]
    covariance = autoregressive([laplacian(5.0)] * 3, variances, model.rho_)
    oracle = Dense(covariance, *flat(X, y), noise=np.zeros(np.isfinite(y).sum()))
    for level in range(3):
        mean, expected = oracle.predict(new, level)
        assert_allclose(model.predict(new, level=level), mean, rtol=1e-8, atol=1e-8)
        std = model.predict(new, return_std=True, level=level)[1]
        assert_allclose(std**2, np.diag(expected), rtol=1e-8)
        found = model.predict(new, return_cov=True, level=level)[1]
        assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_recursive_equals_the_joint_posterior_with_element_counts(small):
    y = two_levels(small[:70])
    train, new = small[:70], small[70:]
    model = MultiFidelityGPR("laplacian", descriptor=CoulombMatrix(), rho=1.1, alpha=1e-12)
    model = model.fit(train, y)
    widths = [level.kernel.length_scale for level in model.levels_]
    variances = [level.std**2 for level in model.levels_]
    covariance = autoregressive([laplacian(w) for w in widths], variances, [1.1])
    features = CoulombMatrix().fit(small).transform(small)
    counts = np.stack([(numbers_of(small) == z).sum(axis=1) for z in (1, 6, 7, 8, 9)], axis=1)
    counts = counts[:, counts[:30].any(axis=0)].astype(float)
    X, t, labels = flat(features[:70], y)
    H = flat(counts[:70], y)[0]
    # Each level has the slope times the offsets of the level below, and its own.
    linear = np.hstack([H * np.where(t == 1, 1.1, 1.0)[:, None], H * (t == 1)[:, None]])
    oracle = Dense(covariance, X, t, labels, np.zeros(len(t)), linear)
    known = [s for s in range(30) if not counts[70 + s].sum() < len(new[s].numbers)]
    h = counts[70:][known]
    mean, expected = oracle.predict(features[70:][known], 1, np.hstack([1.1 * h, h]))
    found = model.predict(new[known], return_cov=True)
    assert_allclose(found[0], mean, rtol=1e-8)
    assert_allclose(found[1], expected, rtol=1e-6, atol=1e-7)


def numbers_of(molecules):
    """Atomic numbers, zero-padded."""
    out = np.zeros((len(molecules), molecules.sizes.max()), dtype=int)
    for row, molecule in zip(out, molecules, strict=True):
        row[: len(molecule.numbers)] = molecule.numbers
    return out


def test_fitted_slopes_and_their_uncertainty(nested):
    """Le Gratiet's formulas, as integrals over the label of the level below."""
    X, y, new = nested
    model = MultiFidelityGPR(Laplacian(5.0), **EXACT).fit(X, y)
    means, variances = np.zeros(len(new)), np.zeros(len(new))
    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    weights = weights / weights.sum()
    for t in range(3):
        rows = np.flatnonzero(np.isfinite(y[:, t]))
        variance = model.levels_[t].std ** 2
        H = y[rows, t - 1 : t] if t else None
        covariance = autoregressive([laplacian(5.0)], [variance], [])
        level = Dense(covariance, X[rows], 0 * rows, y[rows, t], np.zeros(len(rows)), H)
        moments = []
        for node in nodes:
            below = means + node * np.sqrt(np.maximum(variances, 0.0))
            mean, own = level.predict(new, 0, below[:, None] if t else None)
            moments.append([mean, np.diag(own) + mean**2])
        first, second = np.einsum("k,kif->if", weights, np.array(moments))
        means, variances = first, second - first**2
        if t:
            assert_allclose(model.rho_[t - 1], level.beta[0], rtol=1e-8)
            assert_allclose(model.rho_std_[t - 1], np.sqrt(level.G[0, 0]), rtol=1e-7)
        mean, std = model.predict(new, return_std=True, level=t)
        assert_allclose(mean, means, rtol=1e-8)
        assert_allclose(std**2, variances, rtol=1e-6)
        assert_allclose(np.diag(model.predict(new, return_cov=True, level=t)[1]), std**2)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_slopes_are_learnt_back(method):
    rho, found = 1.7, []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.uniform(0, 10, size=(80, 1))
        y = drawn(rng, X, [gaussian(1.0), gaussian(2.0)], [1.0, 0.05], [rho])
        y[25:, 1] = np.nan
        if method != "recursive":
            # Some molecules have the dear label alone.
            y[:8, 0] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", KernchemWarning)
            model = MultiFidelityGPR(method=method, alpha=1e-8).fit(X, y)
        found.append(model.rho_[0])
        if method == "recursive":
            assert abs(found[-1] - rho) < 4.5 * model.rho_std_[0]
    assert abs(np.median(found) - rho) < 0.15
    assert np.std(found) < 0.35


# -- left out -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", ["fit", 1.0])
@pytest.mark.parametrize("folds", [None, 4])
def test_left_out_equals_refits(small, rho, folds):
    y = two_levels(small[:50])
    # The element that one molecule alone has cannot be left out.
    model = MultiFidelityGPR("laplacian", descriptor=CoulombMatrix(), rho=rho, alpha=1e-4)
    model.fit(small[:50], y)
    process = model._process
    if folds is None:
        found, std = model.loo_residuals_, model.loo_std_
        splits = [np.array([k]) for k in range(0, 50, size(3, 16))]
    else:
        found, std = model.leave_out_residuals(cv=KFold(folds)), None
        assert found.shape == y.shape
        splits = [test for _, test in KFold(folds).split(y)]
    data = process.data
    for rows in splits:
        kept = np.setdiff1d(np.arange(50), rows)
        refit = clone(model)
        refit._check_settings()
        samples, labels = refit._checked_input(small[:50][kept], y[kept])
        training = refit._training_set(
            samples, np.zeros((len(kept), 1)), np.ones(len(kept)), model._training.errors
        )
        part = refit._levels(training, labels, samples)
        refit._keep_levels(RecursiveProcess(part, process.steps), training, labels, (2,))
        for level in range(2):
            own = rows[np.isfinite(y[rows, level]) & np.isfinite(found[rows, level])]
            if len(own) == 0:
                continue
            mean, spread = refit.predict(small[:50][own], return_std=True, level=level)
            assert_allclose(found[own, level], y[own, level] - mean, rtol=1e-6, atol=1e-7)
            if std is not None:
                assert_allclose(std[own, level], spread, rtol=1e-6)
    assert np.isfinite(found[:30]).mean() > 0.8
    assert data.n_levels == 2


# -- one level ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("amplitude", ["loo", "lml"])
def test_one_level_is_gpr(arrays, method, amplitude):
    X, y, new = arrays
    model = MultiFidelityGPR(method=method, amplitude=amplitude).fit(X, y)
    other = GPR(calibration=None, amplitude=amplitude).fit(X, y)
    for a, b in zip(
        model.predict(new, return_cov=True), other.predict(new, return_cov=True), strict=True
    ):
        assert_allclose(a, b, rtol=1e-9)
    assert_allclose(model.loo_residuals_, other.loo_residuals_, rtol=1e-9)
    assert_allclose(model.loo_std_, other.loo_std_, rtol=1e-9)
    for a, b in zip(model.predict_interval(new), other.predict_interval(new), strict=True):
        assert_allclose(a, b, rtol=1e-9)
    assert model.score(X, y) == other.score(X, y)
    assert model.rho_.shape == (0,)


def test_one_level_is_scikit_learn(arrays):
    X, y, new = arrays
    kwargs = {"optimizer": None, "alpha": 1e-2, "amplitude": "lml"}
    model = MultiFidelityGPR(Gaussian(1.3), **kwargs).fit(X, y)
    variance = model.levels_[0].std ** 2
    kernel = ConstantKernel(variance) * RBF(1.3)
    other = GaussianProcessRegressor(kernel, alpha=1e-2 * variance, optimizer=None).fit(X, y)
    mean, covariance = model.predict(new, return_cov=True)
    expected, plain = other.predict(new, return_cov=True)
    assert_allclose(mean, expected, rtol=1e-8)
    assert_allclose(covariance, plain + 1e-2 * variance * np.eye(12), rtol=1e-8, atol=1e-10)


# -- molecules ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_lower_levels_help(method):
    data = load_qm_small()
    train, test = data[:240], data[300:420]
    y = two_levels(train, 50)
    model = MultiFidelityGPR("laplacian", descriptor=BagOfBonds(), method=method).fit(train, y)
    alone = GPR("laplacian", descriptor=BagOfBonds()).fit(train[:50], y[:50, 1])
    mean, std = model.predict(test, return_std=True)
    error = np.abs(mean - test[DEAR])
    assert error.mean() < 0.8 * np.abs(alone.predict(test) - test[DEAR]).mean()
    assert 0.5 < np.mean(error < std) < 0.85
    lower, upper = model.predict_interval(test, coverage=0.9)
    assert 0.8 < np.mean((lower <= test[DEAR]) & (test[DEAR] <= upper)) <= 1.0
    plain = model.predict_interval(test, coverage=0.9, method="gaussian")
    assert_allclose(plain[1] - plain[0], 2 * 1.6448536 * std, rtol=1e-6)
    # Where the cheap level is known of the molecules to predict, they go into fit.
    both = type(train).concatenate([train, test])
    labels = np.concatenate([y, np.stack([test[CHEAP], np.full(len(test), np.nan)], axis=1)])
    known = clone(model).fit(both, labels).predict(test)
    assert np.abs(known - test[DEAR]).mean() < 0.8 * error.mean()


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_terms(method, small):
    kernel = Term(BagOfBonds(), Laplacian()) + 0.5 * Term(CoulombMatrix(), Laplacian())
    model = MultiFidelityGPR(kernel, method=method).fit(small[:60], two_levels(small[:60]))
    mean, std = model.predict(small[60:90], return_std=True)
    assert np.abs(mean - small[60:90][DEAR]).mean() < 30.0
    assert (std > 0).all()


def test_wider_molecules_and_permutations(small):
    order = np.argsort(small.sizes, kind="stable")
    train, larger = small[order[:70]], small[order[70:]]
    y = two_levels(train, 40)
    model = MultiFidelityGPR("laplacian", descriptor=BagOfBonds(), method="joint")
    model.fit(train, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alone = [model.predict(larger[k : k + 1])[0] for k in range(3)]
    assert_allclose(model.predict(larger)[:3], alone, rtol=1e-10)


# -- promises to users ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_clone_pickle_and_levels(nested, method):
    X, y, new = nested
    model = MultiFidelityGPR("laplacian", method=method)
    assert clone(model).get_params() == model.get_params()
    model.fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    for level in (-3, -2, -1, 0, 1, 2):
        assert_array_equal(copy.predict(new, level=level), model.predict(new, level=level))
    assert_array_equal(model.predict(new, level=-1), model.predict(new, level=2))
    assert [level.n_labels for level in model.levels_] == [60, 36, 18]
    assert model.rho_.shape == (2,)
    again = clone(model).fit(X, y)
    assert_array_equal(again.predict(new), model.predict(new))
    for wrong in (3, -4, 1.0, "top"):
        with pytest.raises(SettingError, match="levels 0 to 2"):
            model.predict(new, level=wrong)
    with pytest.raises(SettingError, match="exclude each other"):
        model.predict(new, return_std=True, return_cov=True)


def test_grid_search_and_score(nested):
    X, y, _ = nested
    model = MultiFidelityGPR("laplacian", alpha=1e-6, optimizer=None)
    search = GridSearchCV(model, {"rho": [1.0, "fit"], "kernel": [Laplacian(1.0), Laplacian(6.0)]})
    folds = list(KFold(3, shuffle=True, random_state=0).split(X[:18]))
    search.cv = [(np.setdiff1d(np.arange(60), test), test) for _, test in folds]
    search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    # Labels of the top level alone, or of all levels.
    assert best.score(X[:18], y[:18, 2]) == best.score(X, y) > 0.99
    assert best.score(X, y, sample_weight=np.ones(60)) == best.score(X, y)
    with pytest.raises(LabelError, match="no sample has a label of the top level"):
        best.score(X[18:], y[18:])
    with pytest.raises(LabelError, match="59 labels for 60 samples"):
        best.score(X, y[:59])


def test_copies_of_samples_are_merged(nested):
    X, y, new = nested
    # The same labels, spread over copies; a copy with another label counts as the mean.
    extra = np.stack([np.full(5, np.nan), y[:5, 1], np.full(5, np.nan)], axis=1)
    model = MultiFidelityGPR("laplacian", alpha=1e-6, optimizer=None)
    one = clone(model).fit(X, y)
    two = clone(model).fit(np.concatenate([X, X[:5]]), np.concatenate([y, extra]))
    assert [level.n_labels for level in two.levels_] == [60, 36, 18]
    assert_allclose(one.predict(new), two.predict(new), rtol=1e-3)
    assert_array_equal(np.isnan(two.loo_residuals_[60:]), np.isnan(extra))


def test_errors_name_sample_level_and_cure(small, nested):
    X, y, new = nested
    model = MultiFidelityGPR("laplacian", alpha=1e-6, optimizer=None)
    gone = y.copy()
    gone[:, 1] = np.nan
    with pytest.raises(LabelError, match=r"level 1 of 3 has no labels.*leave the column out"):
        model.fit(X, gone)
    gone = y.copy()
    gone[[7, 50]] = np.nan
    with pytest.raises(LabelError, match=r"sample 7 has no label.*2 such.*isfinite"):
        model.fit(X, gone)
    gone = y.copy()
    gone[[3, 4], 1] = np.nan
    with pytest.raises(LabelError, match=r"sample 3 .*level 2 and none of level 1 \(2 of the 18"):
        model.fit(X, gone)
    clone(model).set_params(method="joint").fit(X, gone)
    gone[3, 2] = np.inf
    with pytest.raises(LabelError, match="sample 3 at level 2 is infinite"):
        model.fit(X, gone)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(X > 7, np.nan, X), y)
    with pytest.raises(LabelError, match="59 labels for 60 samples"):
        model.fit(X, y[:59])
    with pytest.raises(LabelError, match="NaN"):
        model.fit(X, y[:, 1])
    with pytest.raises(SettingError, match="rho has 3 slopes; 3 levels have 2"):
        clone(model).set_params(rho=[1.0, 1.0, 1.0]).fit(X, y)
    molecules = two_levels(small)
    molecules[2] = np.nan
    fitted = MultiFidelityGPR("laplacian", descriptor=CoulombMatrix())
    with pytest.raises(LabelError, match=r"sample 2 \(\w+\) has no label"):
        fitted.fit(small, molecules)
    with pytest.raises(SettingError, match="known has shape"):
        model.fit(X, y).advise(new, [1, 2, 3], known=np.ones((2, 2), bool))


def test_levels_know_their_elements(small):
    fluorine = np.array([9 in molecule.numbers for molecule in small])
    order = np.argsort(fluorine, kind="stable")
    train, y = small[order], two_levels(small[order], 40)
    model = MultiFidelityGPR("laplacian", descriptor=CoulombMatrix()).fit(train, y)
    unknown = train[len(train) - 1 :]
    assert np.isfinite(model.predict(unknown, level=0)).all()
    with pytest.raises(UnknownElementError, match="level 1 of 2"):
        model.predict(unknown)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "cokriging"}, "recursive"),
        ({"amplitude": 1.0}, "amplitude"),
        ({"optimizer": "rmse"}, "optimizer"),
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": "best"}, "alpha"),
        ({"rank": 0}, "rank"),
        ({"n_restarts": -1}, "n_restarts"),
        ({"rho": "free"}, "rho"),
        ({"rho": np.nan}, "rho"),
        ({"rho": "1.5"}, "rho"),
        ({"rho": True}, "rho"),
        ({"rho": 1.0, "method": "multitask"}, "no slopes"),
        ({"kernel": "precomputed"}, "precomputed"),
        ({"composition": True}, "structures"),
    ],
)
def test_settings_are_checked(nested, changed, message):
    X, y, _ = nested
    with pytest.raises(SettingError, match=message):
        MultiFidelityGPR(**changed).fit(X, y)


def test_too_few_labels_for_a_slope(nested):
    X, y, new = nested
    y = y[:, :2].copy()
    y[2:, 1] = np.nan
    model = MultiFidelityGPR("laplacian", alpha=1e-6, optimizer=None)
    with pytest.warns(KernchemWarning, match="2 labels of level 1 do not determine a slope"):
        model.fit(X, y)
    assert_array_equal(model.rho_, [1.0])
    same = clone(model).set_params(rho=1).fit(X, y)
    assert_allclose(model.predict(new), same.predict(new))
    joint = clone(model).set_params(method="joint")
    with pytest.warns(KernchemWarning, match="it is set to 1"):
        joint.fit(X, y)
    assert_allclose(joint.rho_, [1.0], rtol=1e-12)
    with pytest.raises(LabelError, match=r"2 labels of level 1 .* how it covaries"):
        clone(model).set_params(method="multitask").fit(X, y)


def test_masked_labels_are_missing(nested):
    X, y, new = nested
    missing = np.isnan(y)
    model = MultiFidelityGPR("laplacian", alpha=1e-6, optimizer=None)
    masked = np.ma.array(np.where(missing, 7.0, y), mask=missing)
    found = clone(model).fit(X, masked)
    assert_array_equal(found.predict(new), model.fit(X, y).predict(new))
    with pytest.raises(LabelError, match="masked"):
        clone(model).fit(X, masked[:, 1])
    with pytest.raises(LabelError, match="complex"):
        clone(model).fit(X, y + 0j)
    with pytest.raises(LabelError, match="numbers"):
        model.score(X, [["a", "b", "c"]] * len(X))
    with pytest.raises(LabelError, match="y is None"):
        model.score(X, None)


def test_a_search_on_some_labels_knows_every_level(rng, monkeypatch):
    monkeypatch.setattr(levels_search, "_ROWS", 60)
    X = np.sort(rng.uniform(0, 20, (120, 1)), axis=0)
    y = np.full((120, 3), np.nan)
    # No label of the lowest level is one of the others, of which there are more than enough.
    lowest, rest = np.arange(0, 120, 6), np.setdiff1d(np.arange(120), np.arange(0, 120, 6))
    wave = np.sin(X[:, 0])
    y[lowest, 0] = wave[lowest]
    y[rest, 1] = 1.5 * wave[rest]
    y[rest[::5], 2] = 3.0 * wave[rest[::5]]
    seen, some = [], levels_search._some

    def watched(data):
        seen.append([len(level.rows) for level in some(data).levels])
        return some(data)

    monkeypatch.setattr(levels_search, "_some", watched)
    model = MultiFidelityGPR(Gaussian(1.5), method="joint", optimizer=None, alpha=1e-6)
    assert_allclose(model.fit(X, y).rho_, [1.5, 2.0], rtol=0.02)
    assert min(seen[0]) >= 5
    assert sum(seen[0]) <= 60
