"""What selectors refuse, and how they end when nothing tells more."""

import numpy as np
import pytest

from kernchem import GPR, KRR, DeltaLearner, datasets
from kernchem.descriptors import FCHL19, CoulombMatrix
from kernchem.errors import LabelError, SettingError
from kernchem.kernels import AtomSum, Gaussian, Laplacian
from kernchem.models import Term
from kernchem.models.joint import JointFeatures
from kernchem.sampling import BatchSelector, inputs
from kernchem.sampling.strategies import STRATEGIES

POINTS = np.random.default_rng(0).normal(size=(20, 2))


@pytest.mark.parametrize("strategy", ["ivr", "maxvar", "cur", "fps", "lcmd"])
@pytest.mark.parametrize("rank", [None, 10])
def test_nothing_more_to_learn(strategy, rank):
    # Without noise, two rows of a linear kernel of two features determine all others.
    selector = BatchSelector(strategy, kernel="linear", noise=0.0, rank=rank)
    if strategy in {"fps", "lcmd"}:
        pool = np.repeat(POINTS[:2], 10, axis=0) + 1e-9 * POINTS
    else:
        pool = POINTS
    selector.fit(pool)
    with pytest.raises(SettingError, match="only 2 of them tell anything new"):
        selector.select(5)
    assert len(selector.selected_) == len(selector.gain_) == 2


def test_a_large_group_without_noise():
    """More rows than a block of pivots; all are labelled."""
    X = np.random.default_rng(1).normal(size=(300, 3))
    groups = np.r_[np.zeros(200, dtype=int), 1 + np.arange(100)]
    selector = BatchSelector("maxvar", kernel=Gaussian(0.5), noise=0.0).fit(X, groups=groups)
    picks = selector.select(2)
    assert sorted(picks[:200]) == list(range(200))
    K = Gaussian(0.5)(X)
    V = K - K[:, :200] @ np.linalg.solve(K[:200, :200], K[:200])
    assert picks[200] == np.argmax(np.diag(V))
    assert selector.gain_[1] == pytest.approx(np.diag(V).max(), rel=1e-6)
    assert selector.residual_trace_[0] == pytest.approx(np.trace(V), rel=1e-6)


@pytest.mark.parametrize("strategy", ["ivr", "maxvar", "cur"])
def test_groups_of_rows_that_tell_the_same(strategy):
    selector = BatchSelector(strategy, kernel="linear", noise=0.0)
    groups = np.arange(20) // 5
    picks = selector.fit(POINTS, groups=groups).select(1)
    assert len(picks) == 5
    assert selector.residual_trace_[-1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("pool", "options", "message"),
    [
        (POINTS[:0], {}, "rows of features"),
        (POINTS[0], {}, "rows of features"),
        (np.full((3, 2), np.nan), {}, "finite"),
        (POINTS, {"targets": POINTS[:, :1]}, "do not fit"),
        (POINTS, {"labelled": np.full((1, 2), np.inf)}, "finite"),
        (POINTS, {"excluded": [20]}, "excluded names rows"),
    ],
)
def test_wrong_samples(pool, options, message):
    with pytest.raises(SettingError, match=message):
        BatchSelector(kernel=Gaussian()).fit(pool, **options)


def test_wrong_kernel_matrices_and_models():
    K = Gaussian()(POINTS)
    for pool, options in ((K[:5], {}), (K, {"targets": POINTS}), (K, {"labelled": POINTS})):
        with pytest.raises(SettingError, match="square kernel matrix"):
            BatchSelector(kernel="precomputed").fit(pool, **options)
    fitted = KRR(kernel="precomputed", alpha=1e-3).fit(K, POINTS[:, 0])
    with pytest.raises(SettingError, match="precomputed kernel, which knows no pool"):
        BatchSelector(kernel=fitted).fit(POINTS)
    with pytest.raises(SettingError, match="not fitted"):
        BatchSelector.from_model(GPR())
    with pytest.raises(SettingError, match="no fitted KRR"):
        BatchSelector.from_model("gaussian")
    for n in (0, 1.5):
        with pytest.raises(SettingError, match="whole number"):
            BatchSelector(kernel=Gaussian()).fit(POINTS).select(n)


@pytest.mark.parametrize("strategy", ["isd", "fps", "doptimal", "cur"])
@pytest.mark.parametrize("flaw", ["nan", "lopsided", "negative", "text", "empty"])
def test_flawed_kernel_matrices(flaw, strategy):
    K = Gaussian()(POINTS)
    if flaw == "nan":
        K[5, 7] = np.nan
    if flaw == "lopsided":
        K = np.triu(K)
    if flaw == "negative":
        K[3, 3] = -1.0
    K = {"text": "a", "empty": K[:0, :0]}.get(flaw, K)
    with pytest.raises(SettingError, match=r"kernel matrix|no array of numbers"):
        BatchSelector(strategy, kernel="precomputed").fit(K)


@pytest.mark.parametrize(
    ("pool", "options", "message"),
    [
        (["CO", "HF"], {}, "no array of numbers"),
        ([[1.0], [1.0, 2.0]], {}, "no array of numbers"),
        (POINTS, {"labelled": "ab"}, "no array of numbers"),
        (POINTS, {"targets": {1, 2}}, "no array of numbers"),
        (POINTS, {"targets": []}, "targets is empty"),
        (POINTS, {"targets": np.array([])}, "targets is empty"),
        (POINTS, {"targets": np.arange(20) < 3}, r"targets is a mask.* np.flatnonzero\(targets\)"),
        (POINTS, {"labelled": [True] * 20}, r"labelled is a mask.* np.flatnonzero\(labelled\)"),
        (POINTS, {"labelled": np.array([1.0, 2.0])}, r"labelled of shape \(2,\) .*\(m, 2\)"),
        (POINTS, {"excluded": np.arange(20) == 14}, "excluded names rows"),
        (POINTS, {"excluded": [1.5]}, "excluded names rows"),
        (POINTS, {"excluded": 3}, "excluded names rows"),
        (POINTS, {"costs": ["a"] * 20}, "costs must be 20"),
        (POINTS, {"groups": [None, *range(19)]}, "all numbers or all text"),
    ],
)
def test_samples_that_are_none(pool, options, message):
    with pytest.raises(SettingError, match=message):
        BatchSelector(kernel=Gaussian()).fit(pool, **options)


@pytest.mark.parametrize("settings", [
    {"random_state": -1}, {"random_state": "a"}, {"random_state": np.random.default_rng(0)},
    {"noise": np.ones(20)},
])  # fmt: skip
def test_wrong_seeds_and_noises(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        BatchSelector(kernel=Gaussian(), **settings).fit(POINTS)


def test_wrong_weights_are_not_those_of_samples():
    with pytest.raises(LabelError, match="weight has shape"):
        BatchSelector(kernel=Gaussian()).fit(POINTS, weights=np.ones(3))


def test_zero_features():
    with pytest.raises(SettingError, match="tell anything new"):
        BatchSelector("doptimal", kernel="linear").fit(np.zeros((5, 2))).select(1)


@pytest.mark.parametrize("descriptor", ["atoms", "terms"])
def test_copies_of_what_a_model_was_trained_on(descriptor):
    data = datasets.load_qm_small()[:30]
    local = FCHL19(r_cut=3.0, a_cut=3.0)
    if descriptor == "atoms":
        model = KRR(AtomSum(Gaussian(5.0)), descriptor=local, alpha=0.3, optimizer=None)
    else:
        terms = Term(local, AtomSum(Gaussian(5.0))) + Term(CoulombMatrix(), Laplacian(100.0))
        model = KRR(terms, alpha=0.3, optimizer=None)
    model.fit(data[:10], data["atomization_energy"][:10])
    selector = BatchSelector.from_model(model, "random").fit(data)
    assert selector.n_left_ == 20
    assert sorted(selector.select(20)) == list(range(10, 30))


def test_copies_agree_in_the_features_of_all_terms():
    first, second = np.array([[0.0], [0.0], [1.0], [0.0]]), np.array([[2.0], [3.0], [2.0], [2.0]])
    assert inputs._classes(JointFeatures([first, second])).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_targets_that_are_not_in_the_pool(strategy):
    targets = np.random.default_rng(1).normal(size=(15, 2))
    selector = BatchSelector(strategy, kernel=Laplacian(3.0)).fit(POINTS, targets=targets)
    assert len(set(selector.select(6))) == 6


def test_rounding_of_copies_in_groups_tells_nothing():
    X = np.random.default_rng(0).normal(size=(30, 2))
    pool, groups = np.concatenate([X, X]), np.tile(np.arange(30), 2)
    targets = np.random.default_rng(1).normal(size=(400, 2))
    selector = BatchSelector("ivr", kernel=Laplacian(3.0), noise=0.0)
    grouped = selector.fit(pool, groups=groups, targets=targets).select(20)[::2]
    gains = selector.gain_
    alone = selector.fit(X, targets=targets).select(20)
    assert grouped.tolist() == alone.tolist()
    np.testing.assert_allclose(gains, selector.gain_, rtol=1e-9)


def test_a_nested_delta_learner_lends_its_kernel():
    data = datasets.load_qm_small()[:30]
    inner = KRR(Laplacian(300.0), descriptor=CoulombMatrix(), alpha=1e-3)
    model, baseline = inner, {"baseline": "gfn2_atomization_energy", "slope": 1.0}
    for _ in range(2):
        model = DeltaLearner(model, **baseline)
    model.fit(data[:20], data["atomization_energy"][:20])
    picks = BatchSelector.from_model(model).fit(data).select(5)
    assert set(picks) <= set(range(20, 30))


def test_masks_beside_structures():
    data = datasets.load_qm_small()[:6]
    with pytest.raises(SettingError, match="labelled is a mask"):
        BatchSelector(descriptor=CoulombMatrix()).fit(data, np.arange(6) < 2)


@pytest.mark.parametrize("none", [np.array([]), [], POINTS[:0]])
def test_empty_arrays_are_no_labels(none):
    picks = BatchSelector(kernel=Gaussian()).fit(POINTS).select(4).tolist()
    assert BatchSelector(kernel=Gaussian()).fit(POINTS, none).select(4).tolist() == picks


def test_empty_pools_of_structures():
    data = datasets.load_qm_small()[:6]
    with pytest.raises(SettingError, match="the pool is empty"):
        BatchSelector(descriptor=CoulombMatrix()).fit(data[:0])


def test_labelled_samples_beside_a_model():
    """A model on arrays takes labelled samples in place of its own training set."""
    fitted = GPR(Laplacian(1.0), alpha=1e-3, optimizer=None).fit(POINTS[:8], POINTS[:8, 0])
    own = BatchSelector(kernel=fitted).fit(POINTS[8:]).select(4)
    given = BatchSelector(kernel=fitted, noise=1e-3).fit(POINTS[8:], POINTS[:8]).select(4)
    none = BatchSelector(kernel=fitted).fit(POINTS[8:], []).select(4)
    assert own.tolist() == given.tolist() != none.tolist()
    data = datasets.load_qm_small()[:40]
    model = KRR(Laplacian(300.0), descriptor=CoulombMatrix(), alpha=1e-3, optimizer=None)
    model.fit(data[:20], data["atomization_energy"][:20])
    rows = BatchSelector(kernel=model, noise=1e-3).fit(data, np.arange(20)).select(5)
    apart = BatchSelector(kernel=model, noise=1e-3)
    apart.fit(data[20:], data[:20], targets=data)
    assert (apart.select(5) + 20).tolist() == rows.tolist()


def test_kmeans_begins_at_random():
    firsts = {
        int(BatchSelector("kmeans++", kernel="linear", random_state=seed).fit(POINTS).select(3)[0])
        for seed in range(30)
    }
    assert len(firsts) > 10


def test_large_pools_are_sampled(monkeypatch):
    monkeypatch.setattr("kernchem.sampling.reduction.EXACT", 10)
    monkeypatch.setattr("kernchem.sampling.reduction.RANK", 7)
    large = BatchSelector(kernel=Gaussian(1.0)).fit(POINTS).select(5)
    named = BatchSelector(kernel=Gaussian(1.0), rank=7).fit(POINTS).select(5)
    assert large.tolist() == named.tolist()
    assert len(BatchSelector(kernel=Gaussian(1.0)).fit(POINTS)._state._engine.targets) == 7
