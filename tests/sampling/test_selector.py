"""Selection against brute force, and what every strategy promises."""

import numpy as np
import pytest
from effort import size
from scipy.spatial.distance import pdist
from scipy.stats import chi2

from kernchem import GPR, KRR, DeltaLearner, datasets
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import SettingError
from kernchem.kernels import Gaussian, Laplacian
from kernchem.models.composition import CompositionSpace
from kernchem.sampling import BatchSelector, covariance, reduction, weighted
from kernchem.sampling.covariance import Covariance, PivotedCholesky, RowKernel
from kernchem.sampling.strategies import STRATEGIES

NOISE = 1e-3


def points(n=60, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def dense(K, rows, noise, H=None):
    """Posterior covariance of all rows, of generalised least squares with H."""
    P = np.linalg.inv(K[np.ix_(rows, rows)] + noise * np.eye(len(rows)))
    V = K - K[:, rows] @ P @ K[rows]
    if H is not None:
        r = H - K[:, rows] @ P @ H[rows]
        V = V + r @ np.linalg.inv(H[rows].T @ P @ H[rows]) @ r.T
    return V


def brute_force(K, labelled, noise, weights, n, n_pool, H=None, blocks=None, costs=None):
    """Choose by the weighted trace of the covariance, computed anew for every candidate."""
    rows, picks, gains = list(labelled), [], []
    blocks = [[k] for k in range(n_pool)] if blocks is None else blocks
    for _ in range(n):
        before = weights @ np.diag(dense(K, rows, noise, H)) if rows else weights @ np.diag(K)
        best = (-np.inf, None)
        for b, block in enumerate(blocks):
            if b in picks or set(block) & set(labelled):
                continue
            after = weights @ np.diag(dense(K, rows + list(block), noise, H))
            gain = (before - after) / (1.0 if costs is None else costs[b])
            best = max(best, (gain, b))
        picks.append(best[1])
        gains.append(best[0])
        rows += list(blocks[best[1]])
    return picks, gains


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


#: How much of what a row tells of itself counts.
OWN = {"ivr": 1.0, "isd": 1e-3}


def by_deviation(K, labelled, weights, n, H=None, blocks=None):
    """Choose by the fall of other deviations to first order, as they were at some picks."""
    rows, picks, gains, due = list(labelled), [], [], 0
    blocks = [[k] for k in range(len(K))] if blocks is None else blocks
    for count in range(n):
        V = dense(K, rows, NOISE, H) if rows else K
        if count == due:
            w = 0.5 * weights / np.sqrt(np.diag(V))
            due += max(1, int(0.25 * count))
        gain = np.full(len(blocks), -np.inf)
        for b, block in enumerate(blocks):
            if b not in picks and not set(block) & set(labelled):
                own, others = V[np.ix_(block, block)], np.delete(np.arange(len(K)), block)
                S = V[np.ix_(block, others)] @ (w[others, None] * V[np.ix_(others, block)])
                S += OWN["isd"] * own @ (w[block][:, None] * own)
                gain[b] = np.trace(np.linalg.solve(own + NOISE * np.eye(len(block)), S))
        picks.append(int(np.argmax(gain)))
        gains.append(gain[picks[-1]])
        rows += list(blocks[picks[-1]])
    return picks, gains


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


@pytest.mark.parametrize("labelled", [[], [3, 9]])
def test_maxvar_has_dense_posterior_variances(labelled):
    X = points(200, 3)
    K = Gaussian()(X)
    selector = BatchSelector("maxvar", kernel=Gaussian(), noise=NOISE).fit(X, labelled)
    rows = list(labelled)
    for pick, gain in zip(selector.select(40), selector.gain_, strict=True):
        variance = np.diag(dense(K, rows, NOISE) if rows else K).copy()
        variance[rows] = -1.0
        assert pick == np.argmax(variance.round(12))
        assert gain == pytest.approx(variance[pick], rel=1e-8)
        rows.append(int(pick))
    assert selector.residual_trace_[-1] == pytest.approx(np.trace(dense(K, rows, NOISE)), rel=1e-8)


def test_maxvar_maximises_the_determinant_step_by_step():
    X = points(40, 2, seed=3)
    K = Gaussian()(X) + NOISE * np.eye(40)
    picks = BatchSelector("maxvar", kernel=Gaussian(), noise=NOISE).fit(X, [0]).select(10)
    rows = [0]
    for pick in picks:
        volumes = [
            -np.inf if k in rows else np.linalg.slogdet(K[np.ix_([*rows, k], [*rows, k])])[1]
            for k in range(40)
        ]
        assert pick == np.argmax(volumes)
        rows.append(int(pick))


def squared(K):
    return np.diag(K)[:, None] + np.diag(K) - 2 * K


def test_farthest_point_and_largest_cluster_are_the_plain_algorithms():
    X = points(80)
    D = squared(Gaussian()(X))
    rows = [4, 60]
    for pick in BatchSelector("fps", kernel=Gaussian()).fit(X, rows).select(20):
        assert pick == np.argmax(D[:, rows].min(axis=1))
        rows.append(int(pick))
    rows = [4, 60]
    for pick in BatchSelector("lcmd", kernel=Gaussian()).fit(X, rows).select(20):
        nearest, own = D[:, rows].min(axis=1), D[:, rows].argmin(axis=1)
        sizes = [nearest[own == c].sum() for c in range(len(rows))]
        assert pick == np.argmax(np.where(own == np.argmax(sizes), nearest, -1.0))
        rows.append(int(pick))


def test_kmeans_draws_in_proportion_to_squared_distances():
    X = np.array([[0.0], [1.0], [1.5], [3.0], [-2.0]])
    D = (X - X.T) ** 2
    n = size(1500, 400)
    counts = np.zeros((5, 5))
    for seed in range(n):
        selector = BatchSelector("kmeans++", kernel="linear", random_state=seed).fit(X, [0])
        counts[tuple(selector.select(2))] += 1
    expected = np.zeros((5, 5))
    for first in range(1, 5):
        after = np.minimum(D[0], D[first])
        expected[first] = D[0, first] / D[0].sum() * after / after.sum()
    assert (counts[expected == 0] == 0).all()
    found, there = counts[expected > 0], n * expected[expected > 0]
    # The 99.9 % quantile of chi squared with as many degrees of freedom.
    assert ((found - there) ** 2 / there).sum() < chi2.ppf(0.999, len(there) - 1)


def test_doptimal_maximises_the_determinant_of_the_information():
    X = points(50)
    values, vectors = np.linalg.eigh(Gaussian()(X))
    x = vectors[:, -8:]
    picks = BatchSelector("doptimal", kernel=Gaussian(), rank=50).fit(X).select(5)
    assert len(set(picks)) == 5
    picks = BatchSelector("doptimal", kernel="linear").fit(x * np.sqrt(values[-8:])).select(12)
    A = 1e-6 * 8 / 50 * np.eye(8)
    done = []
    for pick in picks:
        volumes = [-np.inf if k in done else np.linalg.slogdet(A + np.outer(x[k], x[k]))[1]
                   for k in range(50)]  # fmt: skip
        assert volumes[pick] == pytest.approx(max(volumes), abs=1e-6)
        A += np.outer(x[pick], x[pick])
        done.append(pick)


@pytest.mark.parametrize("d", [5, 60])
def test_cur_is_deflation(d):
    X = points(8 * d, d)
    picks = BatchSelector("cur", kernel="linear").fit(X).select(d - 1)
    rest = X.copy()
    for pick in picks:
        direction = np.linalg.svd(rest, full_matrices=False)[2][0]
        assert pick == np.argmax((rest @ direction) ** 2)
        q = rest[pick] / np.linalg.norm(rest[pick])
        rest = rest - np.outer(rest @ q, q)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
class TestContract:
    def test_order_and_repetition(self, strategy):
        X = points()
        first = BatchSelector(strategy, random_state=3).fit(X, [7])
        all_at_once = BatchSelector(strategy, random_state=3).fit(X, [7]).select(12)
        pieces = np.concatenate([first.select(5), first.select(7)])
        assert pieces.tolist() == all_at_once.tolist() == first.selected_.tolist()
        assert len(first.gain_) == len(first.residual_trace_) == 12
        assert 7 not in pieces
        assert len(set(pieces.tolist())) == 12

    def test_precomputed_is_the_same(self, strategy):
        X = points()
        options = {"noise": NOISE, "random_state": 1}
        a = BatchSelector(strategy, kernel=Gaussian(), **options).fit(X, [1])
        b = BatchSelector(strategy, kernel="precomputed", **options).fit(Gaussian()(X), [1])
        assert a.select(8).tolist() == b.select(8).tolist()

    def test_copies_are_not_chosen(self, strategy):
        X = points(12, 12)
        pool = np.concatenate([X, X, X])
        selector = BatchSelector(strategy).fit(pool, [0])
        picks = selector.select(11)
        assert sorted(picks % 12) == list(range(1, 12))
        with pytest.raises(SettingError, match="n=1"):
            selector.select(1)

    def test_groups_and_costs(self, strategy):
        groups = np.arange(60) // 3
        selector = BatchSelector(strategy).fit(
            points(), [0], groups=groups, costs=np.linspace(1, 2, 60)
        )
        picks = selector.select(6).reshape(6, 3)
        assert (picks // 3 == picks[:, :1] // 3).all()
        assert not (picks < 3).any()

    def test_excluded_rows_and_their_copies_stay(self, strategy):
        X = np.random.default_rng(3).normal(size=(12, 2))
        X[7] = X[2]
        selector = BatchSelector(strategy, kernel=Gaussian(1.0), noise=1e-3)
        selector.fit(X, [0], excluded=[2, 5])
        assert selector.n_left_ == 8
        assert set(selector.select(8)) == set(range(12)) - {0, 2, 5, 7}
        grouped = selector.fit(X, excluded=[2], groups=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
        assert grouped.n_left_ == 5

    def test_too_many(self, strategy):
        with pytest.raises(SettingError, match="n=60"):
            BatchSelector(strategy).fit(points(), [0]).select(60)


@pytest.mark.parametrize("strategy", ["ivr", "isd"])
@pytest.mark.parametrize(("n_labelled", "rank"), [(0, 200), (30, 200), (30, None)])
def test_looking_ahead_changes_nothing(n_labelled, rank, strategy):
    X = points(size(1500, 300), 6)
    labelled = np.arange(n_labelled)
    ahead = BatchSelector(strategy, rank=rank, noise=NOISE).fit(X, labelled)
    single = BatchSelector(strategy, rank=rank, noise=NOISE).fit(X, labelled)
    n = size(60, 15)
    assert ahead.select(n).tolist() == [int(single.select(1)[0]) for _ in range(n)]


@pytest.fixture
def small_blocks(monkeypatch):
    """Every panel and block several times in small pools."""
    monkeypatch.setattr(covariance, "_PANEL", 23)
    monkeypatch.setattr(covariance, "_BLOCK", 7)
    monkeypatch.setattr(covariance, "_CANDIDATES", 19)
    monkeypatch.setattr(weighted, "_PANEL", 23)
    monkeypatch.setattr(weighted, "_BLOCK", 31)
    monkeypatch.setattr(weighted, "_LAG", 6)
    monkeypatch.setattr(reduction, "_CANDIDATES", 20)


def test_pivoted_cholesky_is_the_plain_algorithm(small_blocks):
    X = points(150, 4)
    rest = Gaussian()(X)
    V = Covariance(RowKernel(Gaussian(), X), 150, np.zeros(0, dtype=np.int64), NOISE, None)
    cholesky = PivotedCholesky(V, capacity=10)
    factor = cholesky.run(60)
    for k, pivot in enumerate(cholesky.pivots):
        assert pivot == np.argmax(np.diag(rest))
        column = rest[:, pivot] / np.sqrt(rest[pivot, pivot])
        np.testing.assert_allclose(factor[:, k], column, rtol=0, atol=1e-11)
        rest = rest - np.outer(column, column)
    np.testing.assert_allclose(cholesky.residual, np.diag(rest), rtol=0, atol=1e-11)


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


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"strategy": "best"}, {}),
        ({"noise": -1.0}, {}),
        ({"rank": 0}, {}),
        ({"kernel": KRR(Gaussian()), "rank": -1}, {}),
        ({}, {"labelled": [60]}),
        ({}, {"groups": [0]}),
        ({}, {"costs": np.zeros(60)}),
    ],
)
def test_errors(settings, options):
    with pytest.raises(SettingError):
        BatchSelector(**settings).fit(points(), **options)


@pytest.mark.parametrize("strategy", ["ivr", "isd"])
def test_rounding_does_not_choose_where_the_composition_is_open(monkeypatch, strategy):
    data = datasets.load_qm_small()[:120]
    options = {"strategy": strategy, "descriptor": CoulombMatrix(), "kernel": "laplacian"}
    n = size(80, 20)
    whole = BatchSelector(**options).fit(data).select(n)
    assert BatchSelector(**options, rank=120).fit(data).select(n).tolist() == whole.tolist()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_model_before_its_labels(wrapped):
    data = datasets.load_qm_small()[:40]

    def picks(kernel, **options):
        return BatchSelector("ivr", kernel=kernel, **options).fit(data).select(10).tolist()

    def model(kernel, **options):
        made = GPR(kernel, descriptor=CoulombMatrix(), **options)
        return DeltaLearner(made, "gfn2_atomization_energy") if wrapped else made

    by_name = picks("laplacian", descriptor=CoulombMatrix())
    fixed = picks(Laplacian(1e-3), descriptor=CoulombMatrix())
    assert by_name != fixed
    assert picks(model("laplacian")) == picks(model(Laplacian(1e-3))) == by_name
    assert picks(model(Laplacian(1e-3), optimizer=None)) == fixed
    assert picks(model(Laplacian(1e-3, "fixed"))) == fixed


@pytest.mark.parametrize(
    ("name", "made", "metric", "factor"),
    [
        ("gaussian", Gaussian, "sqeuclidean", 1.0),
        ("laplacian", Laplacian, "cityblock", 4.0),
    ],
)
def test_widths_without_labels(name, made, metric, factor):
    X = points(90, 5)
    median = np.median(pdist(X, metric))
    width = factor * made().length_scale_from(median)
    by_name = BatchSelector("ivr", kernel=name).fit(X)
    given = BatchSelector("ivr", kernel=made(width)).fit(X)
    assert by_name.select(10).tolist() == given.select(10).tolist()
    np.testing.assert_allclose(by_name.gain_, given.gain_, rtol=0.05)
    other = BatchSelector("ivr", kernel=made(1.5 * width)).fit(X)
    other.select(10)
    assert np.abs(other.gain_ / given.gain_ - 1.0).max() > 0.1
