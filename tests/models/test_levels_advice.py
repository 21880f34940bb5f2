"""Advice on the next labels against refits with every label that could be next."""

import numpy as np
import pytest
from levels_oracle import drawn, laplacian
from numpy.testing import assert_allclose

from kernchem import MultiFidelityGPR
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import SettingError
from kernchem.kernels import Laplacian
from kernchem.models.levels import LevelQueries, Levels
from kernchem.models.levels_joint import JointProcess
from kernchem.models.levels_recursive import RecursiveProcess

COSTS = np.array([1.0, 4.0, 15.0])


def table(rng, n_levels=3):
    X = rng.uniform(0, 8, size=(40, 2))
    y = drawn(rng, X, [laplacian(w) for w in (6.0, 4.0, 8.0)], [4.0, 0.5, 0.2], [1.4, 0.8])
    y[24:, 1], y[10:, 2] = np.nan, np.nan
    return X, y[:, :n_levels]


def refitted(model, X, y):
    """The process of other labels at the hyperparameters of a fitted model."""
    data = Levels.of(X, y, np.isfinite(y).astype(float), None)
    process = model._process
    if isinstance(process, JointProcess):
        return JointProcess(data, process.settings)
    return RecursiveProcess(data, process.steps)


def top_variance(process, new, X):
    """Mean variance of the top level, without its noise."""
    n = process.data.n_levels
    given = LevelQueries(new, X, [np.zeros((len(new), 0))] * n)
    _, covariance = process.mean_and_covariance(given, n - 1)
    # All molecules have the same noise, of which the fall does not depend.
    return np.mean(np.diag(covariance))


@pytest.mark.parametrize("method", ["recursive", "joint", "multitask"])
@pytest.mark.parametrize("far", [False, True])
def test_equals_brute_force(method, far, rng):
    X, y = table(rng)
    # Slopes are known: those that are fitted would change with labels that are made up.
    rho = "fit" if method == "multitask" else [1.4, 0.8]
    model = MultiFidelityGPR(Laplacian(5.0), method=method, rho=rho, optimizer=None, alpha=1e-4)
    model.fit(X, y)
    # Some candidates are there at some levels.
    candidates = np.concatenate([X[[2, 12, 30]], rng.uniform(0, 8, size=(4, 2))])
    targets = rng.uniform(6, 8, size=(6, 2)) if far else candidates
    known = np.zeros((7, 3), bool)
    known[:3] = np.isfinite(y[[2, 12, 30]])
    found = model.advise(candidates, COSTS, n=4, known=known, targets=targets if far else None)
    samples = np.concatenate([X, candidates[3:]])
    labels = np.concatenate([y, np.full((4, 3), np.nan)])
    place = np.array([2, 12, 30, *range(40, 44)])

    def with_label(labels, k, levels):
        more = labels.copy()
        more[place[k], list(levels)] = 0.0
        rows = np.isfinite(more).any(axis=1)
        return top_variance(refitted(model, samples[rows], more[rows]), targets, samples[rows])

    before = top_variance(model._process, targets, X)
    for choice in found:
        rates = {}
        for k in range(7):
            for t in range(3):
                if np.isnan(labels[place[k], t]):
                    missing = np.flatnonzero(np.isnan(labels[place[k], : t + 1]))
                    levels = tuple(missing) if method == "recursive" else (t,)
                    after = with_label(labels, k, levels)
                    rates[k, levels] = (before - after) / COSTS[list(levels)].sum()
        best = max(rates, key=rates.get)
        assert (choice.sample, choice.levels) == best
        assert_allclose(choice.gain, rates[best] * choice.cost, rtol=1e-6)
        assert choice.cost == COSTS[list(choice.levels)].sum()
        labels[place[choice.sample], list(choice.levels)] = 0.0
        rows = np.isfinite(labels).any(axis=1)
        before = top_variance(refitted(model, samples[rows], labels[rows]), targets, samples[rows])


def test_costs_decide(rng):
    X, y = table(rng, 2)
    model = MultiFidelityGPR(Laplacian(5.0), method="joint", optimizer=None, alpha=1e-4).fit(X, y)
    new = rng.uniform(0, 8, size=(10, 2))
    cheap = model.advise(new, [1.0, 1e6], n=8)
    assert {choice.levels for choice in cheap} == {(0,)}
    dear = model.advise(new, [1.0, 1.0], n=8)
    assert {choice.levels for choice in dear} == {(1,)}
    gains = [choice.gain for choice in dear]
    assert gains == sorted(gains, reverse=True)
    # One molecule is cheaper than the others.
    costs = np.full((10, 2), 100.0)
    costs[4] = 1.0
    assert model.advise(new, costs, n=1)[0].sample == 4
    # Everything is advised once, then nothing.
    everything = model.advise(new, [1.0, 5.0], n=99)
    assert len(everything) == 20
    assert len({(choice.sample, choice.levels) for choice in everything}) == 20


@pytest.mark.slow
def test_molecules(small):
    y = np.stack([small["gfn2_atomization_energy"], small["atomization_energy"]], axis=1)
    y[30:, 1] = np.nan
    for method in ("recursive", "joint"):
        model = MultiFidelityGPR("laplacian", descriptor=CoulombMatrix(), method=method)
        model.fit(small[:70], y[:70])
        chosen = model.advise(small[:80], [1.0, 50.0], 5, known=np.isfinite(y[:80]))
        assert len(chosen) == 5
        again = model.advise(small[:80], [1.0, 50.0], 5, targets=small[:80])
        assert all(choice.gain > 0.0 for choice in again)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"costs": [1.0]}, "costs has shape"),
        ({"costs": [1.0, 0.0, 1.0]}, "above zero"),
        ({"costs": "dear"}, "numbers"),
        ({"n": 0}, "n=0"),
        ({"known": np.zeros((2, 3), bool)}, "known has shape"),
        ({"known": np.zeros((5, 3))}, "known has shape"),
    ],
)
def test_settings_are_checked(changed, message, rng):
    X, y = table(rng)
    model = MultiFidelityGPR(Laplacian(5.0), optimizer=None, alpha=1e-4).fit(X, y)
    with pytest.raises(SettingError, match=message):
        model.advise(X[:5], **{"costs": COSTS, **changed})
