"""Scores of hyperparameters: densities by their definition, slopes by finite differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import laplace, multivariate_normal

from kernchem.solvers import CholeskyFactor, GeneralisedLeastSquares, likelihood, predictive

FOLDS = [np.array([0, 3, 7]), np.array([1, 2]), np.array([4, 5, 6, 8, 9, 10])]


@pytest.fixture
def problem(rng):
    n = 12
    X = rng.normal(size=(n, 2))
    d2 = ((X[:, None] - X) ** 2).sum(axis=2)
    return X, np.exp(-d2 / 2.0), rng.normal(size=(n, 2))


def bases(X):
    return {"none": None, "two": np.c_[np.ones(len(X)), X[:, 0]]}


def solved(K, noise, y, basis):
    factor = CholeskyFactor(np.array(K), noise)
    return factor, GeneralisedLeastSquares(factor, y, basis)


def score(kind, K, noise, y, basis, amplitude, folds=None, slopes=False):
    factor, solution = solved(K, noise, y, basis)
    if kind == "likelihood":
        return likelihood(factor, solution, y, amplitude, slopes=slopes)
    return predictive(factor, solution, amplitude, folds, slopes=slopes)


def test_likelihood_is_the_density_of_the_labels(problem):
    _, K, y = problem
    noise = np.linspace(0.1, 0.3, len(y))
    found = score("likelihood", K, noise, y[:, :1], None, 1.7).value
    density = multivariate_normal(np.zeros(len(y)), 1.7 * (K + np.diag(noise)))
    assert_allclose(found, -2.0 * density.logpdf(y[:, 0]) / len(y), rtol=1e-12)


def test_likelihood_with_a_linear_part_is_that_of_contrasts(problem):
    """The restricted likelihood is the density of labels projected off the linear part."""
    X, K, y = problem
    basis = bases(X)["two"]
    found = score("likelihood", K, 0.2, y[:, :1], basis, 0.6).value * len(y)
    q = np.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :]
    covariance = 0.6 * q.T @ (K + 0.2 * np.eye(len(y))) @ q
    density = multivariate_normal(np.zeros(q.shape[1]), covariance).logpdf(q.T @ y[:, 0])
    # log |H'PH| counts the basis as it is.
    volume = np.linalg.slogdet(basis.T @ basis)[1]
    assert_allclose(found, -2.0 * density + volume, rtol=1e-12)


@pytest.mark.parametrize("folds", [None, FOLDS])
def test_predictive_score_is_the_density_of_labels_left_out(problem, folds):
    X, K, y = problem
    basis = bases(X)["two"]
    found = score("predictive", K, 0.2, y, basis, 0.9, folds).value
    logs = []
    for rows in [np.array([i]) for i in range(len(y))] if folds is None else folds:
        rest = np.setdiff1d(np.arange(len(y)), rows)
        P = np.linalg.inv(K[np.ix_(rest, rest)] + 0.2 * np.eye(len(rest)))
        H, h = basis[rest], basis[rows]
        G = np.linalg.inv(H.T @ P @ H)
        beta = G @ H.T @ P @ y[rest]
        cross = K[np.ix_(rows, rest)]
        mean = h @ beta + cross @ P @ (y[rest] - H @ beta)
        r = h.T - H.T @ P @ cross.T
        variance = (
            1.2 - np.einsum("ij,jk,ik->i", cross, P, cross) + np.einsum("pi,pq,qi->i", r, G, r)
        )
        scale = np.sqrt(0.9 * variance / 2.0)[:, None]
        logs.append(laplace(mean, scale).logpdf(y[rows]))
    assert_allclose(found, -2.0 * np.concatenate(logs).mean(), rtol=1e-10)


@pytest.mark.parametrize("kind", ["likelihood", "predictive", "folds"])
def test_best_amplitude_has_the_least_score(problem, kind):
    X, K, y = problem
    folds = FOLDS if kind == "folds" else None
    arguments = kind.replace("folds", "predictive"), K, 0.2, y[:, :1], bases(X)["two"]
    best = score(*arguments, None, folds).value
    around = [score(*arguments, s, folds).value for s in np.geomspace(0.01, 100.0, 2001)]
    assert_allclose(best, min(around), atol=1e-4)
    assert best <= min(around)


@pytest.mark.parametrize("amplitude", [None, 0.7])
@pytest.mark.parametrize("basis", ["none", "two"])
@pytest.mark.parametrize("kind", ["likelihood", "predictive", "folds"])
def test_slopes_are_those_of_finite_differences(problem, rng, kind, basis, amplitude):
    X, K, y = problem
    folds = FOLDS if kind == "folds" else None
    name, linear = kind.replace("folds", "predictive"), bases(X)[basis]
    direction = rng.normal(size=K.shape)
    direction = direction + direction.T
    found = score(name, K, 0.2, y, linear, amplitude, folds, slopes=True)

    def moved(step):
        return score(name, K + step * direction, 0.2, y, linear, amplitude, folds).value

    numeric = (8 * (moved(1e-5) - moved(-1e-5)) - (moved(2e-5) - moved(-2e-5))) / 12e-5
    assert_allclose(np.vdot(found.adjoint, direction), numeric, rtol=1e-7)
    assert_allclose(found.adjoint, found.adjoint.T, rtol=1e-12, atol=1e-14)
    if amplitude is not None:
        step = 1e-5
        up = score(name, K, 0.2, y, linear, amplitude * np.exp(step), folds).value
        down = score(name, K, 0.2, y, linear, amplitude * np.exp(-step), folds).value
        assert_allclose(found.amplitude_slope, (up - down) / (2 * step), rtol=1e-6, atol=1e-9)


def test_nothing_to_leave_out_is_an_infinite_score(problem):
    X, K, y = problem
    # The linear part explains these labels alone.
    linear = bases(X)["two"]
    assert score("likelihood", K, 0.2, np.zeros_like(y), linear, None).value == np.inf
    assert score("predictive", K, 0.2, np.zeros_like(y), None, None).value == np.inf
    everything = [np.arange(len(y))]
    assert score("predictive", K, 0.2, y, linear, None, everything).value == np.inf


@pytest.mark.parametrize("folds", [None, FOLDS[1:]])
def test_a_label_that_cannot_be_left_out_does_not_count(problem, folds):
    _, K, y = problem
    lonely, all_folds = np.eye(len(y))[:, :1], folds
    if folds is not None:
        # The first one is in a fold with another, and takes it along.
        all_folds, folds = [np.array([0, 3]), *folds], [rows - 1 for rows in folds]
    found = score("predictive", K, 0.2, y, lonely, None, all_folds, slopes=True)
    rest = score("predictive", K[1:, 1:], 0.2, y[1:], None, None, folds, slopes=True)
    assert_allclose(found.value, rest.value, rtol=1e-12)
    assert_allclose(found.adjoint[1:, 1:], rest.adjoint, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["likelihood", "predictive", "folds"])
def test_a_target_without_residuals_does_not_count(problem, kind):
    X, K, y = problem
    arguments = K, 0.2, y[:, :1], bases(X)["two"], None, FOLDS if kind == "folds" else None
    name = kind.replace("folds", "predictive")
    alone = score(name, *arguments, slopes=True)
    both = np.stack([np.zeros(len(y)), y[:, 0]], axis=1)
    found = score(name, *arguments[:2], both, *arguments[3:], slopes=True)
    assert_allclose(found.value, alone.value, rtol=1e-12)
    assert_allclose(found.adjoint, alone.adjoint, rtol=1e-9, atol=1e-12)
