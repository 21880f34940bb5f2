"""Joint processes of several levels and their searches against dense ones written by hand."""

import numpy as np
import pytest
from levels_oracle import Dense, autoregressive, coregional, drawn, flat, gaussian, laplacian
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from kernchem import MultiFidelityGPR
from kernchem.kernels import Gaussian, Laplacian
from kernchem.models.levels import LevelQueries, Levels
from kernchem.models.levels_covariance import Autoregressive, Coregional, paths
from kernchem.models.levels_joint import JointProcess, JointSettings
from kernchem.models.levels_search import JointObjective


@pytest.fixture
def scattered(rng):
    """Three levels, of which each sample has any."""
    X = rng.uniform(0, 8, size=(30, 2))
    y = drawn(rng, X, [laplacian(w) for w in (6.0, 4.0, 8.0)], [4.0, 0.5, 0.2], [1.4, 0.8])
    there = rng.random(y.shape) < [0.8, 0.6, 0.4]
    there[~there.any(axis=1), 0] = True
    return X, np.where(there, y, np.nan), rng.uniform(0, 8, size=(9, 2))


def levels_of(X, y):
    return Levels.of(X, y, np.isfinite(y).astype(float), None)


def queries(new, known):
    return LevelQueries(new, known, [np.zeros((len(new), 0))] * 3)


CASES = {
    "autoregressive": (
        [Laplacian(w) for w in (6.0, 4.0, 8.0)],
        [v * np.outer(p, p) for v, p in zip([4.0, 0.5, 0.2], paths([1.4, 0.8]), strict=True)],
        autoregressive([laplacian(w) for w in (6.0, 4.0, 8.0)], [4.0, 0.5, 0.2], [1.4, 0.8]),
    ),
    "coregional": (
        [Gaussian(2.0)],
        [np.array([[2.0, 1.0, 0.3], [1.0, 1.5, -0.2], [0.3, -0.2, 0.6]])],
        coregional(gaussian(2.0), np.array([[2.0, 1.0, 0.3], [1.0, 1.5, -0.2], [0.3, -0.2, 0.6]])),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_process_equals_a_dense_one(scattered, case):
    X, y, new = scattered
    kernels, matrices, covariance = CASES[case]
    noises = np.array([1e-3, 2e-3, 3e-3])
    process = JointProcess(levels_of(X, y), JointSettings(kernels, matrices, noises))
    samples, t, labels = flat(X, y)
    oracle = Dense(covariance, samples, t, labels, noises[t])
    given = queries(new, X)
    joint, noise, top = process.unknowns(given)
    assert_allclose(noise, noises)
    assert_allclose(top, [0.0, 0.0, 1.0])
    for level in range(3):
        mean, expected = oracle.predict(new, level)
        assert_allclose(process.mean(given, level), mean, rtol=1e-8, atol=1e-10)
        found, own = process.mean_and_variance(given, level)
        assert_allclose(found, mean, rtol=1e-8, atol=1e-10)
        assert_allclose(own, np.diag(expected) + noises[level], rtol=1e-8)
        _, found = process.mean_and_covariance(given, level)
        assert_allclose(found, expected + noises[level] * np.eye(9), rtol=1e-8, atol=1e-10)
        assert_allclose(joint[:, level, :, level], expected, rtol=1e-8, atol=1e-10)
    # Labels of two levels at once: from the variance of their sum.
    cross = [covariance(new, np.full(9, u), samples, t) for u in (0, 2)]
    prior = covariance(new, np.zeros(9, int), new, np.full(9, 2))
    assert_allclose(joint[:, 0, :, 2], prior - cross[0] @ oracle.P @ cross[1].T, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_left_out_equals_refits(scattered, case):
    X, y, _ = scattered
    kernels, matrices, _ = CASES[case]
    settings = JointSettings(kernels, matrices, np.array([1e-3, 2e-3, 3e-3]))
    process = JointProcess(levels_of(X, y), settings)
    for folds in (None, [np.arange(0, 30, 2), np.arange(1, 30, 2)]):
        residuals, variances = process.left_out(folds)
        assert np.isnan(residuals[np.isnan(y)]).all()
        for fold in folds or np.arange(30)[:, None]:
            rest = np.setdiff1d(np.arange(30), fold)
            refit = JointProcess(levels_of(X[rest], y[rest]), settings)
            for level in range(3):
                own = fold[np.isfinite(y[fold, level])]
                if len(own):
                    mean, variance = refit.mean_and_variance(queries(X[own], X[rest]), level)
                    assert_allclose(residuals[own, level], y[own, level] - mean, rtol=1e-7)
                    assert_allclose(variances[own, level], variance, rtol=1e-7)


def test_independent_levels_are_scikit_learns(scattered):
    X, y, new = scattered
    B = np.diag([2.0, 0.7, 1.1])
    settings = JointSettings([Gaussian(2.0)], [B], np.full(3, 1e-2))
    process = JointProcess(levels_of(X, y), settings)
    for level in range(3):
        rows = np.isfinite(y[:, level])
        peer = GaussianProcessRegressor(B[level, level] * RBF(2.0), alpha=1e-2, optimizer=None).fit(
            X[rows], y[rows, level]
        )
        mean, std = peer.predict(new, return_std=True)
        found, variance = process.mean_and_variance(queries(new, X), level)
        assert_allclose(found, mean, rtol=1e-8)
        assert_allclose(variance, std**2 + 1e-2, rtol=1e-8)


# -- the search -----------------------------------------------------------------------------------

STRUCTURES = {
    "free": (Autoregressive([None, None]), [0.2, -0.7, 1.4, 0.8]),
    "one slope given": (Autoregressive([None, 0.8]), [0.2, -0.7, 1.4]),
    "rank 1": (Coregional(3, 1), [1.3, 0.8, -0.4, -1.0, -0.5, -2.0]),
    "rank 2": (Coregional(3, 2), [1.3, 0.8, -0.4, 0.3, 0.2, 0.9, -1.0, -0.5, -2.0]),
}


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("widths", [True, False])
@pytest.mark.parametrize("alpha", [None, 1e-2])
def test_score_and_slopes(scattered, name, widths, alpha):
    X, y, _ = scattered
    structure, inner = STRUCTURES[name]
    n = len(structure.matrices(np.array(inner)))
    lengths = (2.0, 3.0, 1.5)[:n]
    scales = np.array([1.0, 2.0, 0.5])
    objective = JointObjective(
        levels_of(X, y), scales, [Laplacian(w) for w in lengths], structure, alpha, widths=widths
    )
    point = objective.start(np.array(inner), np.array([1e-2, 2e-2, 5e-2]))
    assert len(point) == len(objective.bounds())
    value, slopes = objective(point)
    samples, t, labels = flat(X, y)
    if isinstance(structure, Autoregressive):
        variances = np.exp([0.0, *inner[:2]])
        covariance = autoregressive([laplacian(w) for w in lengths], variances, [1.4, 0.8])
        own = variances
    else:
        W = np.reshape(inner[:-3], (3, -1))
        B = W @ W.T + np.diag(np.exp(inner[-3:]))
        covariance, own = coregional(laplacian(2.0), B), np.diag(B)
    alphas = np.full(3, alpha) if alpha else np.array([1e-2, 2e-2, 5e-2])
    oracle = Dense(covariance, samples, t, labels / scales[t], (alphas * own)[t])
    assert_allclose(value, oracle.score(), rtol=1e-10)
    expected = approx_fprime(point, lambda p: objective(p, slopes=False)[0], 1e-7)
    assert_allclose(slopes, expected, atol=2e-5)


def test_score_with_element_counts(small):
    y = np.stack([small["gfn2_atomization_energy"], small["atomization_energy"]], axis=1)
    y[40:, 1], y[:10, 0] = np.nan, np.nan
    features = np.random.default_rng(0).normal(size=(100, 3))
    data = Levels.of(features, y, np.isfinite(y).astype(float), small)
    structure, scales = Autoregressive([None]), np.array([level.scale for level in data.levels])
    objective = JointObjective(data, scales, [Laplacian(2.0)] * 2, structure, None, widths=True)
    point = objective.start(np.array([-1.0, 0.9]), np.full(2, 1e-2))
    value, slopes = objective(point)
    samples, t, labels = flat(features, y)
    basis = [level.basis for level in data.levels]
    H = np.zeros((len(t), sum(b.shape[1] for b in basis)))
    H[t == 0, : basis[0].shape[1]], H[t == 1, basis[0].shape[1] :] = basis
    variances = np.exp([0.0, -1.0])
    covariance = autoregressive([laplacian(2.0)] * 2, variances, [0.9])
    oracle = Dense(covariance, samples, t, labels / scales[t], 1e-2 * variances[t], H)
    assert_allclose(value, oracle.score(), rtol=1e-9)
    expected = approx_fprime(point, lambda p: objective(p, slopes=False)[0], 1e-7)
    assert_allclose(slopes, expected, atol=2e-5)


@pytest.mark.parametrize("method", ["joint", "multitask"])
@pytest.mark.parametrize("optimizer", ["loo", "lml"])
def test_search_ends_where_slopes_vanish(scattered, method, optimizer):
    X, y, new = scattered
    settings = {"method": method, "optimizer": optimizer, "amplitude": "lml", "alpha": 1e-3}
    model = MultiFidelityGPR("laplacian", **settings).fit(X, y)
    scores = [trial.error for trial in model.trials_ if trial.n_rows == np.isfinite(y).sum()]
    samples, t, labels = flat(X, y)
    found = model._process.settings
    kernels = [laplacian(kernel.length_scale) for kernel in found.kernels]

    def covariance(A, t, B, u):
        parts = zip(found.matrices, kernels, strict=True)
        return sum(C[np.ix_(t, u)] * kernel(A, B) for C, kernel in parts)

    oracle = Dense(covariance, samples, t, labels, found.noises[t])
    assert_allclose(model.predict(new), oracle.predict(new, 2)[0], rtol=1e-7)
    # The best of all trials, in units of the scales of the levels.
    logs = sum(np.log(level.scale) * len(level.rows) for level in model._process.data.levels)
    assert_allclose(oracle.score() - 2 * logs / len(t), min(scores), atol=1e-6)
    # At the likelihood's best amplitude, which a common factor of all variances does not improve.
    assert_allclose(oracle.y @ oracle.P @ oracle.y / len(t), 1.0, rtol=1e-6)
    assert_allclose(np.diag(model.level_covariance_), sum(np.diag(C) for C in found.matrices))


def test_amplitude_by_molecules_left_out(scattered):
    X, y, _ = scattered
    model = MultiFidelityGPR("laplacian", method="joint", alpha=1e-3).fit(X, y)
    scores = model.loo_residuals_[:, 2] / model.loo_std_[:, 2]
    assert_allclose(np.nanmean(scores**2), 1.0)
