"""Radial kernels against other packages, the definition and the protocol."""

import math

import naive
import numpy as np
import pytest
from effort import examples, size
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.metrics.pairwise import laplacian_kernel, rbf_kernel

from kernchem.errors import SettingError
from kernchem.kernels import Gaussian, Laplacian, features, vector

KERNELS = [Gaussian, Laplacian]
METRICS = {Gaussian: "sqeuclidean", Laplacian: "cityblock"}
NAIVE_DISTANCES = {Gaussian: naive.squared_euclidean, Laplacian: naive.manhattan}
NAIVE_KERNELS = {Gaussian: naive.gaussian_kernel, Laplacian: naive.laplacian_kernel}

kernels = pytest.mark.parametrize("kernel", KERNELS)


def peer(kernel, X, Y, length_scale):
    """Values of scikit-learn's function."""
    if kernel is Gaussian:
        return rbf_kernel(X, Y, gamma=0.5 / length_scale**2)
    return laplacian_kernel(X, Y, gamma=1.0 / length_scale)


@pytest.fixture
def X(rng):
    # 21 features and 140 samples: multiples neither of the tile nor of the unrolled loop.
    return rng.normal(size=(size(140, 37), 21))


@pytest.fixture
def Y(rng):
    return rng.normal(size=(size(33, 13), 21))


@kernels
def test_agrees_with_scikit_learn(kernel, X, Y):
    for length_scale in (0.3, 3.0, 200.0):
        k = kernel(length_scale)
        np.testing.assert_allclose(k(X, Y), peer(kernel, X, Y, length_scale), rtol=1e-11)
        np.testing.assert_allclose(k(Y, X), peer(kernel, Y, X, length_scale), rtol=1e-11)
        np.testing.assert_allclose(k(X), peer(kernel, X, X, length_scale), rtol=1e-11)


@kernels
def test_distances_agree_with_scipy(kernel, X, Y):
    metric = METRICS[kernel]
    np.testing.assert_allclose(kernel().distances(X, Y), cdist(X, Y, metric), rtol=1e-12)
    np.testing.assert_allclose(kernel(7.0).distances(X), cdist(X, X, metric), rtol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "key"),
    [
        (Gaussian(200.0), "kernel_cm_gaussian_sigma200"),
        (Laplacian(2000.0), "kernel_cm_laplacian_sigma2000"),
    ],
)
def test_agrees_with_qmllib(reference_data, kernel, key):
    with np.load(reference_data / "oracles" / "qmllib_cm_bob.npz") as oracle:
        X, expected = oracle["cm_rownorm"], oracle[key]
    np.testing.assert_allclose(kernel(X), expected, rtol=1e-10)
    np.testing.assert_allclose(kernel(X, X.copy()), expected, rtol=1e-10)


@kernels
def test_pair_is_the_definition(kernel, X, Y):
    k = kernel(2.5)
    K = k(X[:4], Y[:3])
    for i in range(4):
        for j in range(3):
            expected = NAIVE_KERNELS[kernel](X[i].tolist(), Y[j].tolist(), 2.5)
            assert k.pair(X[i], Y[j]) == pytest.approx(expected, rel=1e-13)
            assert K[i, j] == pytest.approx(expected, rel=1e-12)


@kernels
def test_the_symmetric_matrix(kernel, X):
    K = kernel(3.0)(X)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(np.diag(K), 1.0)
    np.testing.assert_array_equal(np.diag(kernel().distances(X)), 0.0)
    assert np.linalg.eigvalsh(K).min() > -1e-12
    np.testing.assert_allclose(K, kernel(3.0)(X, X.copy()), rtol=1e-12)
    np.testing.assert_array_equal(K, kernel(3.0)(X, X))


@pytest.fixture
def small_panels(monkeypatch):
    """Panels of a few rows, so that small arrays have many of them."""
    for module, name in (
        (features, "_PRODUCT_PANEL"),
        (features, "_MIRROR_PANEL"),
        (vector, "_DIRECT_PANEL"),
        (vector, "_ELEMENTS_PANEL"),
    ):
        monkeypatch.setattr(module, name, 11)


@kernels
def test_more_than_one_panel(kernel, small_panels, X, Y):
    K = kernel(3.0)(X)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_allclose(K, peer(kernel, X, X, 3.0), rtol=1e-11)
    np.testing.assert_allclose(kernel(3.0)(X, Y), peer(kernel, X, Y, 3.0), rtol=1e-11)
    np.testing.assert_array_equal(kernel(3.0).from_distances(kernel().distances(X)), K)


@kernels
def test_the_matrix_can_be_factored_in_place(kernel, X, Y):
    for K in (kernel()(X), kernel()(X, Y)):
        assert K.dtype == np.float64
        assert K.flags.c_contiguous
        assert K.flags.writeable
        assert K.flags.owndata


@kernels
def test_bits_do_not_depend_on_threads(kernel, small_panels, X, Y):
    one, many = kernel(2.0, n_jobs=1), kernel(2.0, n_jobs=3)
    np.testing.assert_array_equal(one(X), many(X))
    np.testing.assert_array_equal(one(X, Y), many(X, Y))
    np.testing.assert_array_equal(one(Y, X), many(Y, X))
    np.testing.assert_array_equal(one.distances(X), many.distances(X))
    D = one.distances(X)
    np.testing.assert_array_equal(one.from_distances(D), many.from_distances(D))


@kernels
def test_input_is_left_untouched(kernel, X, Y):
    X_before, Y_before = X.copy(), Y.copy()
    X.flags.writeable = Y.flags.writeable = False
    kernel()(X, Y)
    kernel()(X, eval_gradient=True)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(Y, Y_before)


@kernels
def test_any_number_type_and_memory_order(kernel, rng):
    counts = rng.integers(0, 9, size=(30, 5))
    expected = kernel(4.0)(counts.astype(np.float64))
    for dtype in (np.int64, np.int8, np.uint16, np.float32):
        np.testing.assert_array_equal(kernel(4.0)(counts.astype(dtype)), expected)
    np.testing.assert_array_equal(kernel(4.0)(np.asfortranarray(counts)), expected)
    np.testing.assert_array_equal(kernel(4.0)(counts.tolist()), expected)
    np.testing.assert_array_equal(kernel(4.0)(np.repeat(counts, 2, axis=1)[:, ::2]), expected)


# Distances known beforehand


@kernels
def test_from_distances_gives_the_same_bits(kernel, X, Y):
    k = kernel(3.0)
    for K, D in ((k(X), k.distances(X)), (k(X, Y), k.distances(X, Y))):
        np.testing.assert_array_equal(k.from_distances(D), K)
        assert k.from_distances(D, out=D) is D
        np.testing.assert_array_equal(D, K)


@kernels
def test_from_distances_of_any_shape(kernel):
    k = kernel(3.0)
    expected = {Gaussian: math.exp(-2.0 / 9.0), Laplacian: math.exp(-4.0 / 3.0)}[kernel]
    assert k.from_distances([4.0]) == pytest.approx([expected], rel=1e-15)
    assert k.from_distances(4.0).shape == ()
    assert k.from_distances(np.full((2, 3, 4), 4.0)).shape == (2, 3, 4)
    transposed = np.arange(6.0).reshape(2, 3).T
    np.testing.assert_array_equal(k.from_distances(transposed), k.from_distances(transposed.copy()))


@kernels
@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 2)),
        np.empty((2, 3), dtype=np.float32),
        np.empty((3, 2)).T,
        np.empty((2, 6))[:, ::2],
        np.broadcast_to(0.0, (2, 3)),
        np.frombuffer(bytes(48)).reshape(2, 3),
    ],
)
def test_from_distances_refuses_an_output_it_cannot_fill(kernel, out):
    with pytest.raises(SettingError, match=r"expected a writable C-contiguous .*\(2, 3\)"):
        kernel().from_distances(np.ones((2, 3)), out=out)


@kernels
def test_length_scale_from_a_typical_distance(kernel):
    # Features in other units: the length scale follows them.
    rng = np.random.default_rng(5)
    X = rng.normal(size=(20, 4))
    first, second = (
        kernel().length_scale_from(np.median(kernel().distances(factor * X)))
        for factor in (1.0, 1000.0)
    )
    assert second == pytest.approx(1000.0 * first, rel=1e-10)
    k = kernel(kernel().length_scale_from(6.25))
    exponent = {Gaussian: -0.5, Laplacian: -1.0}[kernel]
    assert k.from_distances([6.25])[0] == pytest.approx(math.exp(exponent), rel=1e-15)


# Hyperparameters


@kernels
def test_gradient_against_finite_differences(kernel, X):
    k = kernel(2.0)
    K, gradient = k(X, eval_gradient=True)
    np.testing.assert_array_equal(K, k(X))
    assert gradient.shape == (len(X), len(X), 1)
    step = 1e-3
    # Richardson: the error of the central difference falls from step^2 to step^4.
    wide, narrow = (
        (k.clone_with_theta(k.theta + h)(X) - k.clone_with_theta(k.theta - h)(X)) / (2.0 * h)
        for h in (2.0 * step, step)
    )
    np.testing.assert_allclose(gradient[:, :, 0], (4.0 * narrow - wide) / 3.0, atol=1e-9)


def test_gradient_equals_that_of_rbf(X):
    _, expected = RBF(2.0)(X, eval_gradient=True)
    _, gradient = Gaussian(2.0)(X, eval_gradient=True)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)


@kernels
def test_theta_round_trip(kernel):
    k = kernel(5.0, (1e-2, 1e3))
    np.testing.assert_allclose(k.theta, [math.log(5.0)])
    np.testing.assert_allclose(k.bounds, np.log([[1e-2, 1e3]]))
    other = k.clone_with_theta(np.log([7.0]))
    assert other.length_scale == pytest.approx(7.0, rel=1e-15)
    assert k.length_scale == 5.0
    assert other.n_dims == 1
    other.theta = k.theta
    assert other.length_scale == pytest.approx(k.length_scale, rel=1e-15)
    with pytest.raises(ValueError, match="theta"):
        k.theta = [1.0, 2.0]


@kernels
def test_a_fixed_width_leaves_theta(kernel, X):
    k = kernel(5.0, "fixed")
    assert k.theta.shape == (0,)
    assert k.n_dims == 0
    K, gradient = k(X, eval_gradient=True)
    assert gradient.shape == (len(X), len(X), 0)
    np.testing.assert_array_equal(K, kernel(5.0)(X))


@kernels
def test_clone_and_equality(kernel):
    k = kernel(2.0, (1e-3, 1e3), n_jobs=2)
    copy = clone(k)
    assert copy == k
    assert copy is not k
    assert copy.get_params() == {
        "length_scale": 2.0,
        "length_scale_bounds": (1e-3, 1e3),
        "n_jobs": 2,
    }
    assert k != kernel(3.0, (1e-3, 1e3), n_jobs=2)
    assert k != kernel(2.0, "fixed", n_jobs=2)
    assert Gaussian(2.0) != Laplacian(2.0)
    assert Gaussian(2.0) != RBF(2.0)
    assert k.set_params(length_scale=9.0).length_scale == 9.0


@kernels
def test_what_the_protocol_asks(kernel, X):
    k = kernel(2.0)
    assert repr(k) == f"{kernel.__name__}(length_scale=2)"
    assert k.is_stationary()
    assert k.requires_vector_input
    np.testing.assert_array_equal(k.diag(X), np.diag(k(X)))
    hyperparameter = k.hyperparameter_length_scale
    assert (hyperparameter.name, hyperparameter.fixed) == ("length_scale", False)


@kernels
def test_algebra_with_scikit_learn(kernel, X, Y):
    k = kernel(2.0)
    K, G = k(X, eval_gradient=True)
    composite = 3.0 * k + WhiteKernel(0.5)
    value, gradient = composite(X, eval_gradient=True)
    np.testing.assert_allclose(value, 3.0 * K + 0.5 * np.eye(len(X)), rtol=1e-14)
    # theta of a product comes in order: constant, length scale; then the white noise.
    expected = np.dstack([3.0 * K, 3.0 * G[:, :, 0], 0.5 * np.eye(len(X))])
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)
    np.testing.assert_allclose((k**2)(X, Y), k(X, Y) ** 2, rtol=1e-14)
    np.testing.assert_allclose((k * RBF(1.0))(X, Y), k(X, Y) * RBF(1.0)(X, Y), rtol=1e-14)
    np.testing.assert_allclose((k + RBF(1.0))(X, Y), k(X, Y) + RBF(1.0)(X, Y), rtol=1e-14)
    assert composite.theta.shape == (3,)
    assert clone(composite) == composite
    assert kernel.__name__ in repr(composite)


def test_gaussian_process_is_that_of_rbf(rng):
    X = rng.uniform(-2.0, 2.0, size=(40, 3))
    y = np.sin(X).sum(axis=1) + 0.05 * rng.normal(size=40)
    query = rng.uniform(-2.0, 2.0, size=(15, 3))
    ours, theirs = (
        GaussianProcessRegressor(ConstantKernel(1.0) * base + WhiteKernel(0.01)).fit(X, y)
        for base in (Gaussian(1.0, (1e-5, 1e5)), RBF(1.0, (1e-5, 1e5)))
    )
    assert ours.log_marginal_likelihood_value_ == pytest.approx(
        theirs.log_marginal_likelihood_value_, abs=1e-8
    )
    # At the same hyperparameters the predictions agree; the optimizer's stopping point is only as
    # sharp as its tolerance.
    fixed = [
        GaussianProcessRegressor(
            model.kernel_.clone_with_theta(theirs.kernel_.theta), optimizer=None
        )
        .fit(X, y)
        .predict(query, return_std=True)
        for model in (ours, theirs)
    ]
    np.testing.assert_allclose(fixed[0], fixed[1], atol=1e-8)
    np.testing.assert_allclose(ours.kernel_.theta, theirs.kernel_.theta, atol=1e-4)


# Edges


@kernels
@settings(max_examples=examples(60), deadline=None)
@given(
    n=st.integers(1, 10),
    m=st.integers(1, 10),
    d=st.integers(1, 18),
    scale=st.sampled_from([1e-100, 1e-8, 1.0, 1e8, 1e100]),
    offset=st.sampled_from([0.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_shapes_and_scales(kernel, n, m, d, scale, offset, seed):
    rng = np.random.default_rng(seed)
    # Sixteenths: the offset of a million is added without rounding.
    X = np.round(16.0 * rng.normal(size=(n, d))) / 16.0
    Y = np.round(16.0 * rng.normal(size=(m, d))) / 16.0
    Y[0] = X[0]
    X, Y = (X + offset) * scale, (Y + offset) * scale
    k = kernel(2.0 * scale, n_jobs=1)
    expected = np.array([[NAIVE_DISTANCES[kernel](x, y) for y in Y.tolist()] for x in X.tolist()])
    # With an offset, scaling rounds the features themselves at 1e-16 of a million.
    tolerance = 1e-11 if offset == 0.0 else 1e-8
    np.testing.assert_allclose(
        k.distances(X, Y), expected, rtol=tolerance, atol=tolerance * expected.max() * 1e-4
    )
    K = k(X, Y)
    np.testing.assert_allclose(
        K,
        [[NAIVE_KERNELS[kernel](x, y, 2.0 * scale) for y in Y.tolist()] for x in X.tolist()],
        rtol=1e-8 if offset else 1e-11,
    )
    assert K[0, 0] == 1.0
    symmetric = k(X)
    np.testing.assert_array_equal(symmetric, symmetric.T)
    np.testing.assert_array_equal(np.diag(symmetric), 1.0)
    np.testing.assert_allclose(symmetric, k(X, X.copy()), rtol=1e-11)


@kernels
def test_duplicates_are_exactly_alike(kernel, rng):
    X = rng.normal(size=(12, 30)) * 100.0
    X[7] = X[3]
    for K in (kernel(1.0)(X), kernel(1.0)(X, X.copy())):
        assert K[3, 7] == K[7, 3] == 1.0
        np.testing.assert_array_equal(K[3], K[7])


def test_near_duplicates_far_from_the_mean_keep_their_digits(rng):
    # Two tight clusters far apart: norms of inner products are 1e12 times the distances sought.
    X = np.vstack([rng.normal(size=(6, 8)), rng.normal(size=(6, 8)) + 1e6])
    expected = cdist(X, X, "sqeuclidean")
    np.testing.assert_allclose(Gaussian().distances(X), expected, rtol=1e-11)
    np.testing.assert_allclose(Gaussian().distances(X, X.copy()), expected, rtol=1e-11)
    np.testing.assert_allclose(Gaussian(2.0)(X), np.exp(-expected / 8.0), rtol=1e-11)


@kernels
def test_far_samples_have_kernel_zero(kernel):
    X = np.array([[0.0], [1e9]])
    np.testing.assert_array_equal(kernel(1e-3)(X), np.eye(2))
    with np.errstate(all="ignore"):  # plain Python's floats warn where compiled code does not
        np.testing.assert_array_equal(kernel(1e3)(np.array([[0.0], [1e200]])), np.eye(2))


@kernels
def test_no_samples(kernel):
    assert kernel()(np.empty((0, 3))).shape == (0, 0)
    assert kernel()(np.empty((0, 3)), np.ones((2, 3))).shape == (0, 2)
    assert kernel()(np.ones((2, 3)), np.empty((0, 3))).shape == (2, 0)
    assert kernel().distances(np.empty((0, 3))).shape == (0, 0)
    K, gradient = kernel()(np.empty((0, 3)), eval_gradient=True)
    assert (K.shape, gradient.shape) == ((0, 0), (0, 0, 1))


# What is refused


@kernels
@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1.0, 2.0], r"X has shape \(2,\)"),
        (np.ones((2, 2, 2)), r"X has shape \(2, 2, 2\)"),
        (5.0, r"X has shape \(\)"),
        (np.empty((3, 0)), r"at least one feature"),
        ([[1.0, np.nan]], r"nan at sample 0, feature 1"),
        ([[1.0, 0.0], [np.inf, 2.0]], r"inf at sample 1, feature 0"),
        ([["a", "b"]], r"not an array of numbers"),
        ([[1.0, 2.0], [3.0]], r"not an array of numbers"),
        ([[1.0 + 2.0j]], r"not an array of numbers"),
    ],
)
def test_features_that_are_none(kernel, X, message):
    with pytest.raises(SettingError, match=message):
        kernel()(X)
    with pytest.raises(SettingError):
        kernel().distances(np.ones((2, 2)), X)


@kernels
def test_features_that_do_not_match(kernel):
    with pytest.raises(SettingError, match="X has 3 features and Y has 4"):
        kernel()(np.ones((2, 3)), np.ones((2, 4)))


@kernels
def test_a_pair_is_one_sample_each(kernel, X):
    with pytest.raises(SettingError, match="one sample each"):
        kernel().pair(X, X)
    with pytest.raises(SettingError, match=r"\(2,\)"):
        kernel().pair([1.0], [1.0, 2.0])


@kernels
def test_a_gradient_needs_one_set_of_samples(kernel, X, Y):
    with pytest.raises(SettingError, match="Y=None"):
        kernel()(X, Y, eval_gradient=True)


@kernels
@pytest.mark.parametrize(
    "width",
    [
        0.0,
        -1.0,
        np.nan,
        np.inf,
        1e-200,
        [1.0, 2.0],
        [1.0, 0.0],
        [],
        "wide",
        None,
        "2",
        True,
        np.bool_(True),
        [True] * 21,
        [2.0] * 20 + [True],
        np.ones(21, bool),
        ["2"] * 21,
    ],
)
def test_a_width_that_is_none(kernel, width, X):
    with pytest.raises(
        SettingError, match=r"length_scale(=| has the shape \(2,\) and there are 21)"
    ):
        kernel(width)(X)


@kernels
def test_a_number_of_threads_that_is_none(kernel, X):
    with pytest.raises(SettingError, match="n_jobs=0"):
        kernel(n_jobs=0)(X)


@kernels
def test_a_width_is_checked_even_without_samples(kernel):
    with pytest.raises(SettingError, match="length_scale="):
        kernel(-1.0)(np.empty((0, 3)))


@kernels
def test_features_whose_sum_overflows_are_finite(kernel):
    X = np.array([[1e308, 1e308], [0.0, 0.0]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(kernel()(X), np.eye(2))


def test_near_samples_whose_norms_overflow():
    # Squared norms are infinite, and their difference is no number; the distances are finite.
    X = np.array([[-1e160], [1e160], [1e160 + 1e150]])
    squared = (X[2, 0] - X[1, 0]) ** 2
    for Y in (None, X.copy()):
        with np.errstate(all="ignore"):
            D, K = Gaussian().distances(X, Y), Gaussian(1e150)(X, Y)
        np.testing.assert_allclose(D[1:, 1:], [[0.0, squared], [squared, 0.0]], rtol=1e-12)
        assert K[2, 1] == K[1, 2] == pytest.approx(math.exp(-0.5 * squared / 1e300), rel=1e-12)
        np.testing.assert_array_equal(K[0], [1.0, 0.0, 0.0])


@pytest.mark.parametrize("bounds", ["fix", 3.0, (5.0, 1.0), (0.0, 1.0), None, ("1", "2")])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(SettingError, match="length_scale_bounds"):
        _ = Gaussian(1.0, bounds).bounds


@kernels
def test_the_diagonal_of_a_list(kernel):
    assert kernel().diag([[1.0, 2.0], [3.0, 4.0]]).tolist() == [1.0, 1.0]
    with pytest.raises(SettingError, match="expected \\(n_samples, n_features\\)"):
        kernel().diag([1.0, 2.0])
