"""Features and samples in the order of their zeros, and direct sums that skip these."""

import numpy as np
import pytest
from effort import size
from scipy.spatial.distance import cdist

from kernchem.kernels import Laplacian, Matern, vector
from kernchem.kernels.direct_jit import SEGMENT, TILE, fill_direct
from kernchem.kernels.vector_jit import EXPONENTIAL
from kernchem.kernels.zeros import Layout

METRICS = {Laplacian: "cityblock", Matern: "euclidean"}
direct = pytest.mark.parametrize("kernel", METRICS)


def bags(rng, n_samples, sizes):
    """Features like bags of bonds, columns shuffled: each bag full up to some place, then zeros."""
    lengths = rng.integers(0, np.array(sizes) + 1, size=(n_samples, len(sizes)))
    filled = np.hstack(
        [
            np.arange(size) < length[:, np.newaxis]
            for size, length in zip(sizes, lengths.T, strict=True)
        ]
    )
    shuffled = rng.permutation(filled.shape[1])
    values = rng.uniform(1.0, 2.0, size=filled.shape) * filled
    return values[:, shuffled], np.repeat(np.arange(len(sizes)), sizes)[shuffled]


@pytest.fixture
def X(rng):
    return bags(rng, size(300, 70), [SEGMENT + 9, 11, 3])[0]


def test_features_that_are_zero_together_share_segments(rng):
    X, bag = bags(rng, 400, [2 * SEGMENT + 1, 20, 5])
    layout = Layout(X)
    np.testing.assert_array_equal(np.sort(layout.order), np.arange(X.shape[1]))
    assert np.diff(layout.bounds).max() <= SEGMENT
    assert len(layout.bounds) - 1 == 5
    samples, zeros = layout.sorted_samples(X)
    np.testing.assert_array_equal(np.sort(samples), np.arange(len(X)))
    for s, (begin, end) in enumerate(zip(layout.bounds, layout.bounds[1:], strict=False)):
        segment = layout.order[begin:end]
        assert len(set(bag[segment])) == 1
        filled = X[samples][:, segment] != 0.0
        # Behind the zeros that are counted there are none.
        np.testing.assert_array_equal(filled, np.arange(end - begin) >= zeros[:, [s]])


def test_without_zeros_features_and_samples_stay_in_order(rng):
    X = rng.uniform(1.0, 2.0, size=(40, 2 * SEGMENT))
    layout = Layout(X)
    np.testing.assert_array_equal(
        layout.order, np.r_[SEGMENT - 1 : -1 : -1, 2 * SEGMENT - 1 : SEGMENT - 1 : -1]
    )
    samples, zeros = layout.sorted_samples(X)
    np.testing.assert_array_equal(samples, np.arange(40))
    assert not zeros.any()


def test_more_patterns_than_chains(rng):
    X = rng.normal(size=(50, 70)) * (rng.uniform(size=(50, 70)) < 0.2)
    layout = Layout(X)
    np.testing.assert_array_equal(np.sort(layout.order), np.arange(70))
    _, zeros = layout.sorted_samples(X)
    assert zeros.max() > 0


def test_tiles_hold_the_sorted_samples(X):
    layout = Layout(X)
    samples, zeros = layout.sorted_samples(X)
    packed, tile_zeros = layout.packed(X, samples, zeros)
    d, n = X.shape[1], len(X)
    whole = packed.reshape(-1, d, TILE).transpose(0, 2, 1).reshape(-1, d)
    np.testing.assert_array_equal(whole[:n], X[samples][:, layout.order])
    assert not whole[n:].any()
    for tile, counted in enumerate(tile_zeros):
        own = zeros[tile * TILE : (tile + 1) * TILE]
        np.testing.assert_array_equal(counted, own.min(axis=0))


@pytest.mark.parametrize("squared", [False, True])
def test_zeros_of_a_tile_are_not_read(X, squared):
    """What a tile begins with is put to NaN: sums that touched it would show."""
    layout = Layout(X)
    samples, zeros = layout.sorted_samples(X)
    packed, tile_zeros = layout.packed(X, samples, zeros)
    d, skipped = X.shape[1], 0
    for tile, counted in enumerate(tile_zeros):
        for begin, number in zip(layout.bounds, counted, strict=False):
            packed[tile * d + begin : tile * d + begin + number] = np.nan
            skipped += int(number)
    assert skipped > 0.1 * len(packed)
    out = np.empty((len(X), len(X)))
    fill_direct(
        X, zeros, samples, layout.order, layout.bounds, packed, tile_zeros, squared, False,
        EXPONENTIAL, -1.0, samples, len(X), False, out,
    )  # fmt: skip
    expected = cdist(X, X, "euclidean" if squared else "cityblock")
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)


@direct
def test_distances_of_bags(kernel, X, monkeypatch):
    monkeypatch.setattr(vector, "_DIRECT_PANEL", 11)
    Y = X[::3] * 1.25
    k = kernel(n_jobs=1)
    for A, B in ((X, Y), (Y, X), (X, Y[:1]), (X[:1], X)):
        np.testing.assert_allclose(k.distances(A, B), cdist(A, B, METRICS[kernel]), rtol=1e-12)
    D = k.distances(X)
    np.testing.assert_allclose(D, cdist(X, X, METRICS[kernel]), rtol=1e-12, atol=0.0)
    np.testing.assert_array_equal(D, D.T)
    np.testing.assert_array_equal(np.diag(D), 0.0)
    np.testing.assert_array_equal(kernel(n_jobs=3).distances(X), D)


@direct
def test_zeros_of_one_operand_only(kernel, X, rng):
    full = rng.uniform(1.0, 2.0, size=(40, X.shape[1]))
    for A, B in ((X, full), (full, X), (np.zeros_like(full), X), (X, np.zeros_like(full))):
        np.testing.assert_allclose(
            kernel().distances(A, B), cdist(A, B, METRICS[kernel]), rtol=1e-12
        )


@direct
def test_bits_of_a_pair_depend_on_no_other_row(kernel, X, rng):
    """The order of a sum follows the zeros of the second operand, and nothing else."""
    k, n = kernel(2.0), len(X)
    whole = k.distances(X)
    some = rng.permutation(n)[: n // 2]
    np.testing.assert_array_equal(k.distances(X[some], X), whole[some])
    np.testing.assert_array_equal(k.distances(X[:1], X), whole[:1])
    np.testing.assert_array_equal(k.distances(X, X[::-1]), whole[:, ::-1])
    for columns in (some, some[:1]):
        np.testing.assert_allclose(
            k.distances(X, X[columns]), whole[:, columns], rtol=1e-14, atol=0.0
        )


@direct
@pytest.mark.parametrize("scale", [0.0, 1e-200, 1.0, 1e150])
def test_a_row_alone_has_the_bits_that_it_has_among_others(kernel, X, rng, scale):
    k = kernel(3.0)
    rows = np.concatenate([bags(rng, 3, [SEGMENT + 9, 11, 3])[0], X[5:6], np.zeros_like(X[:1])])
    for others in (X * scale, X[:1] * scale, rng.normal(size=(size(100, 40), X.shape[1])) * scale):
        D, K = k.distances(rows * scale, others), k(rows * scale, others)
        for i in range(len(rows)):
            np.testing.assert_array_equal(k.distances(rows[i : i + 1] * scale, others), D[[i]])
            np.testing.assert_array_equal(k(rows[i : i + 1] * scale, others), K[[i]])


@direct
def test_the_same_sample_is_at_distance_zero(kernel, X):
    twice = np.concatenate([X, X[::-1]])
    for D in (kernel().distances(twice), kernel().distances(twice, twice.copy())):
        np.testing.assert_array_equal(D[: len(X)], D[: len(X) - 1 : -1])
        np.testing.assert_array_equal(np.diag(D[: len(X), : len(X) - 1 : -1]), 0.0)
