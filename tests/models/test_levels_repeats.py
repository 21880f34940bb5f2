"""Samples with several labels of one level, against dense processes of every single label."""

import numpy as np
import pytest
from levels_oracle import Dense, coregional, gaussian
from numpy.testing import assert_allclose, assert_array_equal

from kernchem import MultiFidelityGPR
from kernchem.kernels import Gaussian
from kernchem.uncertainty import IsotonicCalibration

METHODS = ["recursive", "joint", "multitask"]


@pytest.fixture
def repeated(rng):
    """Distinct samples, the sample of each row, and labels of two levels.

    Samples 0 to 3 have more labels of the lower level, 2 to 4 more of the upper level; sample 1 has
    the same label twice and another one.
    """
    X = rng.uniform(0.0, 6.0, (12, 1))
    member = np.concatenate([np.arange(12), [0, 1, 1, 2, 3, 3, 2, 4, 4]])
    truth = np.sin(X[member, 0])
    y = np.stack([truth, 1.4 * truth + 0.1 * X[member, 0]], axis=1)
    y += 0.1 * rng.normal(size=y.shape)
    y[9:18, 1] = np.nan
    y[18:, 0] = np.nan
    y[15, 1] = truth[15]
    y[14] = y[1, 0], np.nan
    return X, member, y


def one_by_one(covariance, noises, X, rows, y):
    """Mean and variance of a label of each level, given the labels of some rows."""
    t, rows = np.repeat([0, 1], len(rows)), np.tile(rows, 2)
    known = np.isfinite(y[rows, t])
    t, rows = t[known], rows[known]
    dense = Dense(covariance, X[rows], t, y[rows, t], noises[t])

    def predict(x, level):
        mean, variance = dense.predict(x, level)
        return mean[0], variance[0, 0] + noises[level]

    return predict


def level_by_level(steps, X, member, rows, y):
    """Mean and variance of a label of each level, each fitted to means of the one below."""
    found = []
    for t, step in enumerate(steps):
        own = rows[np.isfinite(y[rows, t])]
        noise = step.amplitude * step.alpha
        H = None
        if t:
            H = np.array([[np.nanmean(y[rows][member[rows] == member[i], 0])] for i in own])
        covariance = coregional(gaussian(1.0), np.full((2, 2), step.amplitude))
        levels = np.full(len(own), t)
        found.append(
            (Dense(covariance, X[own], levels, y[own, t], np.full(len(own), noise), H), noise)
        )

    def predict(x, level):
        (lower, noise), (upper, more) = found
        mean, variance = lower.predict(x, 0)
        variance = variance[0, 0] + noise
        if level == 0:
            return mean[0], variance
        factor = upper.beta[0] ** 2 + upper.G[0, 0]
        mean, own = upper.predict(x, 1, mean[:, None])
        return mean[0], own[0, 0] + more + factor * variance

    return predict


@pytest.mark.parametrize("method", METHODS)
def test_left_out_are_single_labels(repeated, method):
    X, member, y = repeated
    model = MultiFidelityGPR(Gaussian(1.0), method=method, alpha=0.05, optimizer=None)
    model.fit(X[member], y)
    noises = np.array([level.noise**2 for level in model.levels_])
    for i in range(12):
        rest = np.flatnonzero(member != i)
        if method == "recursive":
            refit = level_by_level(model._process.steps, X[member], member, rest, y)
        else:
            covariance = coregional(gaussian(1.0), sum(model._process.settings.matrices))
            refit = one_by_one(covariance, noises, X[member], rest, y)
        for row, level in zip(*np.nonzero(np.isfinite(y) & (member == i)[:, None]), strict=True):
            mean, variance = refit(X[[i]], level)
            assert_allclose(model.loo_residuals_[row, level], y[row, level] - mean, atol=1e-8)
            # A label that was given twice is one label of weight two.
            weight = np.sum((member == i) & (y[:, level] == y[row, level]))
            expected = np.sqrt(variance - noises[level] * (1.0 - 1.0 / weight))
            assert_allclose(model.loo_std_[row, level], expected, rtol=1e-7)
    assert_array_equal(np.isnan(model.loo_std_), np.isnan(y))


@pytest.mark.parametrize("method", METHODS)
def test_intervals_are_those_of_single_labels(repeated, method):
    X, member, y = repeated
    model = MultiFidelityGPR(Gaussian(1.0), method=method, alpha=0.05, optimizer=None)
    model.fit(X[member], y)
    for level in range(2):
        first = [np.flatnonzero((member == i) & np.isfinite(y[:, level]))[:1] for i in range(12)]
        first = np.concatenate(first)
        errors, std = model.loo_residuals_[first, level], model.loo_std_[first, level]
        expected = IsotonicCalibration().fit(errors, std)
        new = model.predict(X + 0.1, return_std=True, level=level)
        found = model.predict_interval(X + 0.1, 0.8, level=level)
        assert_allclose(found, expected.interval(*new, 0.8))
