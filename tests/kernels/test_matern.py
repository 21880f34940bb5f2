"""Matern kernels, widths per feature and the skipping of zeros, against other packages."""

import mpmath
import numpy as np
import pytest
from effort import size
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF
from sklearn.gaussian_process.kernels import Matern as PeerMatern

from kernchem.errors import SettingError
from kernchem.kernels import Gaussian, Laplacian, Matern
from kernchem.kernels.direct_jit import SEGMENT, TILE

SMOOTHNESS = (0.5, 1.5, 2.5)
matern = pytest.mark.parametrize("nu", SMOOTHNESS)
RADIAL = {
    "Gaussian": Gaussian,
    "Laplacian": Laplacian,
    **{f"Matern-{nu}": lambda *args, nu=nu, **settings: Matern(*args, nu=nu, **settings)
       for nu in SMOOTHNESS},
}  # fmt: skip
radial = pytest.mark.parametrize("make", RADIAL.values(), ids=RADIAL)


@pytest.fixture
def X(rng):
    return rng.normal(size=(40, 21))


@pytest.fixture
def Y(rng):
    return rng.normal(size=(13, 21))


@matern
def test_matern_agrees_with_scikit_learn(nu, X, Y):
    for width in (0.3, 4.0, 200.0):
        ours, peer = Matern(width, nu=nu), PeerMatern(width, nu=nu)
        np.testing.assert_allclose(ours(X, Y), peer(X, Y), rtol=1e-11)
        np.testing.assert_allclose(ours(X), peer(X), rtol=1e-11)
        np.testing.assert_array_equal(ours(X), ours(X).T)
    np.testing.assert_allclose(Matern(nu=nu).distances(X, Y), cdist(X, Y), rtol=1e-13)


@matern
def test_matern_agrees_with_the_bessel_function(nu):
    """k = 2^(1-nu) / Gamma(nu) u^nu K_nu(u), u = sqrt(2 nu) r / l, in 40 digits."""
    r = np.array([1e-6, 1e-3, 0.1, 1.0, 7.0, 60.0])
    with mpmath.workdps(40):
        expected = []
        for value in r:
            u = mpmath.sqrt(2 * nu) * mpmath.mpf(float(value)) / 2
            k = 2 ** (1 - mpmath.mpf(nu)) / mpmath.gamma(nu) * u**nu * mpmath.besselk(nu, u)
            expected.append(float(k))
    kernel = Matern(2.0, nu=nu)
    np.testing.assert_allclose(kernel.from_distances(r), expected, rtol=1e-14)
    np.testing.assert_allclose([kernel.pair([0.0], [x]) for x in r], expected, rtol=1e-14)


@matern
def test_near_samples_keep_their_digits(nu):
    """A difference of squared norms would lose all digits of these distances."""
    X = np.full((2, 30), 1e6)
    X[1, 3] += 1e-3
    step = X[1, 3] - X[0, 3]
    assert Matern(nu=nu).distances(X, X.copy())[0, 1] == step
    assert Matern(nu=nu).distances(X)[1, 0] == step


@matern
def test_matern_of_far_samples_is_zero(nu):
    kernel = Matern(1e-3, nu=nu)
    np.testing.assert_array_equal(kernel(np.array([[0.0], [1e300]])), np.eye(2))
    _, gradient = kernel(np.array([[0.0], [1e300]]), eval_gradient=True)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("nu", [1.0, 3.5, "1.5", None, np.inf])
def test_other_smoothness_is_refused(nu, X):
    with pytest.raises(SettingError, match=r"nu=.*0\.5, 1\.5 or 2\.5"):
        Matern(nu=nu)(X)


def test_matern_is_told_by_its_repr_and_parameters():
    kernel = Matern(2.0, (1e-2, 1e2), nu=2.5, n_jobs=1)
    assert repr(kernel) == "Matern(nu=2.5, length_scale=2)"
    assert clone(kernel) == kernel
    assert kernel != Matern(2.0, (1e-2, 1e2), nu=1.5, n_jobs=1)


# Widths of each feature


@radial
def test_widths_per_feature_divide_the_features(make, X, Y):
    widths = np.linspace(0.5, 9.0, 21)
    kernel, plain = make(widths), make(1.0)
    np.testing.assert_allclose(kernel(X, Y), plain(X / widths, Y / widths), rtol=1e-14)
    np.testing.assert_allclose(kernel(X), plain(X / widths), rtol=1e-14)
    np.testing.assert_allclose(kernel.from_distances(kernel.distances(X)), kernel(X), rtol=1e-14)
    assert kernel.pair(X[0], Y[1]) == pytest.approx(kernel(X, Y)[0, 1], rel=1e-12)
    assert kernel.anisotropic
    assert not plain.anisotropic
    with pytest.raises(SettingError, match=r"shape \(21,\) and there are 20"):
        kernel(X[:, :20])


@pytest.mark.parametrize(
    ("make", "peer"),
    [(Gaussian, RBF), *((RADIAL[f"Matern-{nu}"], lambda w, nu=nu: PeerMatern(w, nu=nu)) for nu in
                        SMOOTHNESS)],
)  # fmt: skip
def test_widths_per_feature_agree_with_scikit_learn(make, peer, rng):
    X, widths = rng.normal(size=(15, 4)), [0.5, 1.0, 2.0, 7.0]
    expected, expected_gradient = peer(widths)(X, eval_gradient=True)
    K, gradient = make(widths)(X, eval_gradient=True)
    np.testing.assert_allclose(K, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-13)


@radial
def test_gradients_of_widths_against_finite_differences(make, rng):
    X = rng.normal(size=(12, 3))
    X[5] = X[2]
    kernel = make(np.array([0.7, 2.0, 5.0]))
    _, gradient = kernel(X, eval_gradient=True)
    assert gradient.shape == (12, 12, 3)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-3
        wide, narrow = (
            (kernel.clone_with_theta(kernel.theta + f * step)(X)
             - kernel.clone_with_theta(kernel.theta - f * step)(X)) / (2e-3 * f)
            for f in (2.0, 1.0)
        )  # fmt: skip
        np.testing.assert_allclose(gradient[:, :, k], (4.0 * narrow - wide) / 3.0, atol=1e-9)


@radial
def test_theta_of_widths(make):
    kernel = make([1.0, 2.0], [(1e-2, 1e2), (1e-3, 1e3)])
    np.testing.assert_allclose(kernel.theta, np.log([1.0, 2.0]))
    np.testing.assert_allclose(kernel.bounds, np.log([[1e-2, 1e2], [1e-3, 1e3]]))
    np.testing.assert_allclose(kernel.clone_with_theta(np.log([3.0, 4.0])).length_scale, [3.0, 4.0])
    assert "length_scale=[1.0, 2.0]" in repr(kernel)
    assert make([1.0, 2.0], "fixed").theta.shape == (0,)
    for bounds in ([(1.0, 2.0)] * 3, [(2.0, 1.0)] * 2, [1.0, 2.0, 3.0], ["a", "b"]):
        with pytest.raises(SettingError, match="length_scale_bounds"):
            _ = make([1.0, 2.0], bounds).bounds


# Zeros


@radial
@pytest.mark.parametrize("n_features", [1, 7, pytest.param(SEGMENT + 3, marks=pytest.mark.slow)])
def test_skipped_zeros_change_nothing(make, n_features, rng):
    """Samples with zeros in any places: what is skipped is known to the last bit."""
    n, m = size(TILE, 16) + 9, 17
    X, Y = rng.normal(size=(n, n_features)), rng.normal(size=(m, n_features))
    for features in (X, Y):
        for row in features:
            row[rng.integers(0, n_features + 1) :] = 0.0
            start, stop = np.sort(rng.integers(0, n_features + 1, size=2))
            row[start:stop] = 0.0
        features[::7] = 0.0
    kernel = make(3.0)
    metric = {Gaussian: "sqeuclidean", Laplacian: "cityblock"}.get(make, "euclidean")
    for D, expected in (
        (kernel.distances(X, Y), cdist(X, Y, metric)),
        (kernel.distances(Y, X), cdist(Y, X, metric)),
        (kernel.distances(X), cdist(X, X, metric)),
    ):
        np.testing.assert_allclose(D, expected, rtol=1e-11, atol=1e-13)
    K = kernel(X)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(np.diag(K), 1.0)
    np.testing.assert_allclose(kernel(X, X.copy()), K, rtol=1e-12)
    one, two = make(3.0, n_jobs=1), make(3.0, n_jobs=2)
    np.testing.assert_array_equal(one(X), two(X))
    np.testing.assert_array_equal(one(X, Y), two(X, Y))
