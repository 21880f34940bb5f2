"""Reduction of variances and deviations against brute force, for exact sums and sampled targets."""

import numpy as np
import pytest
from effort import size
from selection_oracle import NOISE, OWN, brute_force, by_deviation, dense, points

from kernchem import KRR, datasets
from kernchem.descriptors import CoulombMatrix
from kernchem.kernels import Gaussian, Laplacian
from kernchem.models.composition import CompositionSpace
from kernchem.sampling import BatchSelector, weighted
from kernchem.sampling.covariance import Covariance


@pytest.mark.parametrize("rank", [None, 60])
@pytest.mark.parametrize("case", ["plain", "weights", "targets", "costs", "unlabelled"])
def test_ivr_is_brute_force(rank, case):
    X = points()
    K, rng = Gaussian()(X), np.random.default_rng(1)
    labelled = [] if case == "unlabelled" else [3, 17, 40]
    weights, costs, options = np.ones(60), None, {}
    if case == "weights":
        options["weights"] = weights = rng.uniform(0, 1, 60)
    if case == "targets":
        options["targets"] = np.arange(10, 30)
        weights = np.isin(np.arange(60), options["targets"]) * 1.0
    if case == "costs":
        options["costs"] = costs = rng.uniform(1, 3, 60)
    n = size(15, 5)
    picks, gains = brute_force(K, labelled, NOISE, weights, n, 60, costs=costs)
    selector = BatchSelector("ivr", kernel=Gaussian(), noise=NOISE, rank=rank).fit(
        X, labelled, **options
    )
    assert selector.select(n).tolist() == picks
    np.testing.assert_allclose(selector.gain_, np.array(gains) / weights.mean() *
                               (1 if case != "targets" else weights.mean()), rtol=1e-6)  # fmt: skip


@pytest.mark.parametrize("case", ["plain", "weights", "groups", "unlabelled"])
def test_isd_is_brute_force(case):
    X = points()
    K, rng = Gaussian()(X), np.random.default_rng(1)
    labelled, blocks, options = [] if case == "unlabelled" else [3, 17, 40], None, {}
    weights, n = np.ones(60), size(24, 10)
    if case == "weights":
        options["weights"] = weights = rng.uniform(0, 1, 60)
    if case == "groups":
        groups = options["groups"] = np.arange(60) % 23
        blocks, n = [np.flatnonzero(groups == g).tolist() for g in range(23)], 12
    picks, gains = by_deviation(K, labelled, weights, n, blocks=blocks)
    selector = BatchSelector("isd", kernel=Gaussian(), noise=NOISE)
    selector.fit(X, labelled, **options)
    halves = [selector.select(n // 2), selector.select(n - n // 2)]
    rows = picks if blocks is None else [row for g in picks for row in blocks[g]]
    assert np.concatenate(halves).tolist() == rows
    np.testing.assert_allclose(selector.gain_ * weights.mean(), gains, rtol=1e-6)
    left = np.diag(dense(K, labelled + rows, NOISE))
    expected = weights @ np.sqrt(left) / weights.mean()
    assert selector.residual_trace_[-1] == pytest.approx(expected, rel=1e-6)


def test_isd_leaves_smaller_deviations_than_ivr():
    # Of rows that are not in the pool, as those of the pool are distributed.
    X = points(900, 3)
    X[::10] *= 6.0
    K, left = Gaussian()(X), {}
    for strategy in ("isd", "ivr"):
        picks = BatchSelector(strategy, kernel=Gaussian(), noise=NOISE).fit(X[:300]).select(60)
        variances = np.diag(dense(K, picks, NOISE))[300:]
        left[strategy] = np.array([np.sqrt(variances).sum(), variances.sum()])
    # What outliers tell of themselves draws ivr away from the others.
    assert left["isd"][0] < 0.9 * left["ivr"][0]
    assert left["isd"][1] < 0.9 * left["ivr"][1]


def test_isd_with_composition_is_brute_force():
    data = datasets.load_qm_small()[:60]
    model = KRR(Laplacian(300.0), descriptor=CoulombMatrix(), alpha=NOISE, optimizer=None)
    labelled = list(range(0, 60, 4))
    model.fit(data[labelled], data["atomization_energy"][labelled])
    features = model.descriptor_.widened(data)[0].transform(data)
    K, H = model.kernel_(features), CompositionSpace(data).basis(data)
    n = size(12, 4)
    picks, gains = by_deviation(K, labelled, np.ones(60), n, H=H)
    fitted = BatchSelector.from_model(model, "isd").fit(data)
    assert fitted.select(n).tolist() == picks
    np.testing.assert_allclose(fitted.gain_, gains, rtol=1e-5)


@pytest.mark.parametrize("rank", [None, 70])
def test_ivr_for_separate_targets_is_brute_force(rank):
    X, T = points(), points(10, seed=5) + 1.0
    K = Gaussian()(np.concatenate([X, T]))
    weights = np.r_[np.zeros(60), np.ones(10)]
    picks, _ = brute_force(K, [0], NOISE, weights, 8, 60)
    selector = BatchSelector("ivr", kernel=Gaussian(), noise=NOISE, rank=rank).fit(
        X, [0], targets=T
    )
    assert selector.select(8).tolist() == picks


@pytest.mark.parametrize("rank", [None, 60])
def test_ivr_with_composition_is_brute_force(rank):
    data = datasets.load_qm_small()[:60]
    model = KRR(Laplacian(300.0), descriptor=CoulombMatrix(), alpha=1e-4, optimizer=None)
    labelled = list(range(0, 60, 4))
    model.fit(data[labelled], data["atomization_energy"][labelled])
    features = model.descriptor_.widened(data)[0].transform(data)
    K = model.kernel_(features)
    H = CompositionSpace(data).basis(data)
    noise = 1e-4 * np.mean(np.diag(K)[labelled])
    n = size(12, 4)
    picks, gains = brute_force(K, labelled, noise, np.ones(60), n, 60, H=H)
    for fitted in (
        BatchSelector.from_model(model, "ivr", rank=rank).fit(data),
        BatchSelector("ivr", kernel=model, rank=rank).fit(data, labelled),
        BatchSelector("ivr", kernel=model, rank=rank).fit(data, data[labelled]),
    ):
        assert fitted.select(n).tolist() == picks
        np.testing.assert_allclose(fitted.gain_, gains, rtol=1e-5)


@pytest.mark.parametrize("rank", [None, 60])
def test_groups_are_picked_whole(rank):
    X = points()
    groups = np.arange(60) % 17
    blocks = [np.flatnonzero(groups == g).tolist() for g in range(17)]
    picks, _ = brute_force(Gaussian()(X), [5], NOISE, np.ones(60), 6, 60, blocks=blocks)
    selector = BatchSelector("ivr", kernel=Gaussian(), noise=NOISE, rank=rank).fit(
        X, [5], groups=groups
    )
    assert selector.select(6).tolist() == [row for g in picks for row in blocks[g]]
    assert selector.gain_.shape == (6,)


@pytest.mark.parametrize("strategy", ["ivr", "isd"])
def test_groups_of_all_sizes_are_brute_force(small_blocks, strategy):
    sizes = [1, 14, 2, 2, 9, 1, 3, 2, 12, 2, 2, 2, 1, 3]
    groups = np.random.default_rng(2).permutation(np.repeat(np.arange(14), sizes))
    X = points(len(groups), 3)
    # Of a row and its copy in one group, the second tells little.
    first, second = np.flatnonzero(groups == 8)[:2]
    X[second] = X[first]
    blocks = [np.flatnonzero(groups == g).tolist() for g in range(14)]
    K, n = Gaussian()(X), len(groups)
    if strategy == "ivr":
        picks, gains = brute_force(K, [], NOISE, np.ones(n), 10, n, blocks=blocks)
    else:
        picks, gains = by_deviation(K, [], np.ones(n), 10, blocks=blocks)
    selector = BatchSelector(strategy, kernel=Gaussian(), noise=NOISE).fit(X, groups=groups)
    found = np.concatenate([selector.select(4), selector.select(6)])
    assert found.tolist() == [row for g in picks for row in blocks[g]]
    np.testing.assert_allclose(selector.gain_, gains, rtol=1e-6)


@pytest.mark.parametrize("strategy", ["ivr", "isd"])
def test_a_large_group_costs_products_of_matrices(strategy, monkeypatch):
    calls = {"block": 0, "step": 0}

    def count(owner, name):
        plain = getattr(owner, name)

        def counted(*arguments):
            calls[name] += 1
            return plain(*arguments)

        monkeypatch.setattr(owner, name, counted)

    count(Covariance, "block")
    count(weighted.TargetCovariance, "step")
    groups = np.arange(120) // 40
    BatchSelector(strategy, kernel=Gaussian()).fit(points(120), groups=groups).select(2)
    # The matrix, and all groups in one part of it; the labels of a group at once.
    assert calls == {"block": 2, "step": 2}


@pytest.mark.parametrize("strategy", ["ivr", "isd"])
@pytest.mark.parametrize(("n_labelled", "rank"), [(0, 200), (30, 200), (30, None)])
def test_looking_ahead_changes_nothing(n_labelled, rank, strategy):
    X = points(size(1500, 300), 6)
    labelled = np.arange(n_labelled)
    ahead = BatchSelector(strategy, rank=rank, noise=NOISE).fit(X, labelled)
    single = BatchSelector(strategy, rank=rank, noise=NOISE).fit(X, labelled)
    n = size(60, 15)
    assert ahead.select(n).tolist() == [int(single.select(1)[0]) for _ in range(n)]


@pytest.mark.parametrize("strategy", ["ivr", "isd"])
@pytest.mark.parametrize("case", ["plain", "weights", "targets", "costs", "groups", "unlabelled"])
def test_sampled_targets_are_brute_force(small_blocks, case, strategy):
    n_rows, labelled = size(110, 60), [] if case == "unlabelled" else [3, 17]
    X, rng = points(n_rows, 5), np.random.default_rng(1)
    weights, costs, options = np.ones(n_rows), None, {}
    units = [[k] for k in range(n_rows)]
    if case == "weights":
        options["weights"] = weights = rng.uniform(0, 1, n_rows)
    if case == "targets":
        options["targets"] = np.arange(10, 40)
        weights = np.isin(np.arange(n_rows), options["targets"]) * 1.0
    if case == "costs":
        options["costs"] = costs = rng.uniform(1, 3, n_rows)
    if case == "groups":
        options["groups"] = groups = np.arange(n_rows) % 37
        units = [np.flatnonzero(groups == g).tolist() for g in range(37)]
    selector = BatchSelector(strategy, kernel=Gaussian(), noise=NOISE, rank=20)
    selector.fit(X, labelled, **options)
    sample, n, mean = selector._state._engine.targets, size(30, 8), weights[weights > 0].mean()
    assert len(sample) == len(set(sample) & set(np.flatnonzero(weights))) == 20

    K, rows, due, picked, w = Gaussian()(X), list(labelled), 0, [], weights
    found = selector.select(n).tolist()
    for count in range(n):
        V, best = dense(K, rows, NOISE) if rows else K, (-np.inf, None)
        if strategy == "isd" and count == due:
            w, due = 0.5 * weights / np.sqrt(np.diag(V)), due + max(1, int(0.25 * count))
        for b, unit in enumerate(units):
            if b in picked or set(unit) & set(labelled):
                continue
            # What the sample tells of all other targets, and what the unit tells of itself.
            others = np.setdiff1d(sample, unit)
            scale = len(np.setdiff1d(np.flatnonzero(weights), unit)) / len(others)
            S = scale * V[np.ix_(unit, others)] @ (w[others, None] * V[np.ix_(others, unit)])
            own = V[np.ix_(unit, unit)]
            S += OWN[strategy] * own @ (w[unit][:, None] * own)
            gain = np.trace(np.linalg.solve(own + NOISE * np.eye(len(unit)), S))
            best = max(best, (gain / (1.0 if costs is None else costs[b]), b))
        assert best[0] == pytest.approx(selector.gain_[count] * mean, rel=1e-6)
        picked.append(best[1])
        rows += units[best[1]]
    assert found == rows[len(labelled) :]
    left = np.diag(dense(K, rows, NOISE))
    expected = weights @ (np.sqrt(left) if strategy == "isd" else left) / mean
    assert selector.residual_trace_[-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rank", [None, 20])
@pytest.mark.parametrize("precomputed", [False, True])
def test_a_glance_at_a_few_rows_sees_what_steps_find(rank, precomputed):
    data = datasets.load_qm_small()[:60]
    model = KRR(Laplacian(300.0), descriptor=CoulombMatrix(), alpha=1e-3, optimizer=None)
    selector = BatchSelector("isd", kernel=model, rank=rank).fit(data, [1, 50])
    if precomputed:
        K = Laplacian(300.0)(CoulombMatrix().fit_transform(data))
        selector = BatchSelector("isd", kernel="precomputed", rank=rank).fit(K, [1, 50])
    selector.select(12)
    engine, rows, ahead = selector._state._engine, np.array([4, 9, 20, 33, 41]), [3, 0, 2]
    glance = weighted.Glance(engine, rows)
    seen = [glance.step(k) for k in ahead]
    for k, (u, t, loss) in enumerate(zip(*engine.step(rows[ahead].tolist()), strict=True)):
        np.testing.assert_allclose(seen[k][0], u[rows], rtol=0, atol=1e-11 * np.abs(u).max())
        np.testing.assert_allclose(seen[k][1], t[rows], rtol=0, atol=1e-11 * np.abs(t).max())
        assert seen[k][2] == pytest.approx(loss, rel=1e-9)


def test_steps_that_rounding_makes_the_same_are_taken_one_by_one():
    X = points(12)
    X[1] = X[0]
    selector = BatchSelector("ivr", kernel=Gaussian(), noise=0.0).fit(X)
    engine = selector._state._engine
    u, t, losses = engine.step([0, 1])
    K = Gaussian()(X)
    assert engine.n == len(u) == len(t) == 1
    np.testing.assert_allclose(u[0], K[0], rtol=1e-12)
    np.testing.assert_allclose(t[0], K @ K[0], rtol=1e-12)
    assert losses[0] == pytest.approx(K[0] @ K[0], rel=1e-12)


def test_sampled_targets_promise_what_all_targets_promise_on_average():
    X, found = points(6), {}
    for seed in range(400):
        selector = BatchSelector("ivr", kernel=Gaussian(), noise=NOISE, rank=3, random_state=seed)
        state = selector.fit(X, [0])._state
        found[tuple(state._engine.targets)] = state._best()[2]
    assert len(found) == 20
    exact = BatchSelector("ivr", kernel=Gaussian(), noise=NOISE).fit(X, [0])._state._best()[2]
    np.testing.assert_allclose(np.mean([*found.values()], axis=0)[1:], exact[1:], rtol=1e-12)


@pytest.mark.parametrize("strategy", ["ivr", "isd"])
def test_rounding_does_not_choose_where_the_composition_is_open(strategy):
    data = datasets.load_qm_small()[:120]
    options = {"strategy": strategy, "descriptor": CoulombMatrix(), "kernel": "laplacian"}
    n = size(80, 20)
    whole = BatchSelector(**options).fit(data).select(n)
    assert BatchSelector(**options, rank=120).fit(data).select(n).tolist() == whole.tolist()
