"""Selection by every strategy against plain algorithms, and what all of them promise."""

import numpy as np
import pytest
from effort import size
from scipy.spatial.distance import pdist
from scipy.stats import chi2
from selection_oracle import NOISE, dense, points

from kernchem import GPR, KRR, DeltaLearner, Structures, datasets
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import SettingError
from kernchem.kernels import Gaussian, Laplacian, Linear
from kernchem.sampling import BatchSelector, copies
from kernchem.sampling.covariance import Covariance, PivotedCholesky, RowKernel
from kernchem.sampling.strategies import STRATEGIES


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


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 21.0)])
def test_largest_clusters_are_those_of_the_targets(weights):
    X, T = points(60), points(20, seed=4)
    K = Gaussian()(np.concatenate([X, T]))
    D, rows, w = squared(K), [0, 1, 2, 3], np.ones(20) if weights is None else weights
    selector = BatchSelector("lcmd", kernel=Gaussian())
    for pick in selector.fit(X, rows, targets=T, weights=weights).select(15):
        nearest, own = D[:, rows].min(axis=1), D[:, rows].argmin(axis=1)
        sizes = np.bincount(own[60:], w * nearest[60:], len(rows))
        held = np.isin(np.arange(len(rows)), own[:60][nearest[:60] > 0])
        largest = np.argmax(np.where(held, sizes, -1.0))
        assert pick == np.argmax(np.where(own[:60] == largest, nearest[:60], -1.0))
        rows.append(int(pick))
    same = selector.fit(X, [0, 1], targets=X.copy()).select(15).tolist()
    assert same == selector.fit(X, [0, 1]).select(15).tolist()


def test_largest_clusters_are_equal_where_targets_are_known():
    X = points(60)
    selector = BatchSelector("lcmd", kernel=Gaussian()).fit(X, [0, 1, 2], targets=[0, 1])
    assert selector.select(10).tolist() == (
        BatchSelector("fps", kernel=Gaussian()).fit(X, [0, 1, 2]).select(10).tolist()
    )


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

    def test_turned_and_shifted_copies_are_not_chosen(self, strategy, rng):
        data = datasets.load_qm_small()[:8]
        turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in data]
        positions = [one.positions for one in data]
        moved = [x @ turn + 1.0 for x, turn in zip(positions, turns, strict=True)]
        pool = Structures.from_arrays([one.numbers for one in data] * 2, positions + moved)
        selector = BatchSelector(strategy, descriptor=CoulombMatrix())
        selector.fit(pool, range(3), excluded=[11])
        assert selector.n_left_ == 8
        assert set(selector.select(4) % 8) == {4, 5, 6, 7}
        assert selector.n_left_ == 0

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


@pytest.mark.parametrize("kernel", [Gaussian(1.0), Gaussian(0.05), Laplacian(50.0), Linear()])
def test_copies_to_rounding_are_those_of_all_pairs(kernel, monkeypatch):
    monkeypatch.setattr(copies, "_CHUNK", 7)
    monkeypatch.setattr(copies, "_PANEL", 11)
    X = points(60)
    X[30:45] = X[:15] + 1e-11 * points(15, seed=1)
    X[50:] = X[20] + 1e-9 * np.arange(20).reshape(10, 2)
    among, rows = np.arange(50) % 5 > 0, np.arange(9, 60, 2)
    K = kernel(X)
    same = squared(K)[rows].min(axis=0) <= 1e-12 * np.diag(K).max()
    found = copies.Copies(RowKernel(kernel, X), 50).find(rows, among)
    assert found.tolist() == np.flatnonzero(among & same[:50]).tolist()
    assert len(found) > len(set(rows[rows < 50]) & set(np.flatnonzero(among)))


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
