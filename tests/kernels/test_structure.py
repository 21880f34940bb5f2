"""Kernels between structures against plain loops over their atoms."""

import pickle
import tracemalloc
from weakref import ref

import numpy as np
import pytest
from effort import size
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, RationalQuadratic, WhiteKernel

from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import SettingError, StructureError
from kernchem.kernels import (
    AtomSum,
    Average,
    BestMatch,
    Constant,
    Gaussian,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    REMatch,
    WhiteNoise,
    atom_tiles,
)
from kernchem.kernels.atom_groups import AtomGroup, on_shared_columns, row_panels

BASES = {
    "gaussian": Gaussian(0.8),
    "gaussian-widths": Gaussian([0.8, 1.5, 0.3, 2.0, 1.0]),
    "laplacian": Laplacian(2.0),
    "matern": Matern(1.3, nu=2.5),
    "linear": Linear(),
    "polynomial": Polynomial(3, 0.4),
    "scaled": Constant(2.0) * Gaussian(0.8),
    "sklearn": RBF(0.7) + DotProduct(0.5),
}
COUPLINGS = {
    "same": lambda a, b: float(a == b),
    "all": lambda *_: 1.0,
    "heavy": lambda a, b: float(a != 1 and b != 1),
    "named": lambda a, b: 1.0 if a == b else 0.3 * ({a, b} == {6, 8}),
}


def made(rng, sizes=(3, 1, 4, 2, 5)):
    """A batch with features of zero where an atom is hydrogen or oxygen."""
    n = sum(sizes)
    numbers = rng.choice([1, 6, 8], size=n)
    values = rng.normal(size=(n, 5))
    values[numbers == 1, 3:] = 0.0
    values[numbers == 8, 1] = 0.0
    return Environments(values, numbers, np.cumsum([0, *sizes]))


def in_blocks(batch):
    """The same features, kept in a block per element."""
    blocks = []
    for number, columns in ((1, [0, 1, 2]), (6, [0, 1, 2, 3, 4]), (8, [0, 2, 3, 4])):
        atoms = np.flatnonzero(batch.numbers == number)
        values = batch.values[np.ix_(atoms, columns)]
        blocks.append(FeatureBlock(atoms, np.array(columns), np.ascontiguousarray(values)))
    return Environments.from_blocks(blocks, batch.numbers, batch.offsets, 5)


def naive(base, coupling, X, Y):
    """The sum over pairs of atoms, one at a time."""
    K = np.zeros((len(X), len(Y)))
    for a, left in enumerate(X):
        for b, right in enumerate(Y):
            for p, z in zip(left.values, left.numbers, strict=True):
                for q, w in zip(right.values, right.numbers, strict=True):
                    K[a, b] += coupling(z, w) * float(base(p[None], q[None])[0, 0])
    return K


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_atom_sums_are_sums_over_pairs(rng, base, coupling):
    X, Y = made(rng), made(rng, (2, 3))
    setting = {"C-O": 0.3} if coupling == "named" else coupling
    kernel = AtomSum(BASES[base], coupling=setting)
    expected = naive(BASES[base], COUPLINGS[coupling], X, Y)
    assert_allclose(kernel(X, Y), expected, rtol=1e-12, atol=1e-14)
    assert_allclose(kernel(in_blocks(X), in_blocks(Y)), expected, rtol=1e-12, atol=1e-14)
    own = naive(BASES[base], COUPLINGS[coupling], X, X)
    K = kernel(X)
    assert_allclose(K, own, rtol=1e-12, atol=1e-14)
    assert_array_equal(K, K.T)
    assert_allclose(kernel.diag(X), np.diag(K), rtol=1e-12, atol=1e-14)
    mean = Average(BASES[base], coupling=setting)
    assert_allclose(mean(X, Y), expected / np.outer(X.sizes, Y.sizes), rtol=1e-12, atol=1e-14)
    assert_allclose(mean.diag(X), np.diag(mean(X)), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [AtomSum, Average])
def test_normalised_kernels_are_cosines(rng, kind):
    X, Y = made(rng), made(rng, (2, 3))
    plain, cosine = (
        kind(Gaussian(0.8), coupling="all"),
        kind(Gaussian(0.8), coupling="all", normalize=True),
    )
    scale = np.sqrt(np.outer(plain.diag(X), plain.diag(Y)))
    assert_allclose(cosine(X, Y), plain(X, Y) / scale, rtol=1e-12)
    K = cosine(X)
    assert_allclose(K, plain(X) / np.sqrt(np.outer(plain.diag(X), plain.diag(X))), rtol=1e-12)
    assert_array_equal(np.diag(K), np.ones(len(X)))
    assert_array_equal(cosine.diag(X), np.ones(len(X)))


def test_a_structure_that_is_compared_with_nothing_has_no_similarity():
    batch = Environments([[1.0], [2.0]], [1, 6], [0, 1, 2])
    K = AtomSum(Gaussian(), coupling="heavy", normalize=True)(batch)
    assert_array_equal(K, [[0.0, 0.0], [0.0, 1.0]])


def test_atoms_without_any_feature_are_alike():
    nothing = FeatureBlock(np.array([0, 1]), np.zeros(0, dtype=np.int64), np.zeros((2, 0)))
    other = FeatureBlock(np.array([2]), np.array([1]), np.array([[2.0]]))
    batch = Environments.from_blocks([nothing, other], np.array([1, 1, 1]), np.array([0, 1, 3]), 2)
    expected = naive(Gaussian(), COUPLINGS["same"], batch, batch)
    assert_allclose(AtomSum(Gaussian())(batch), expected, rtol=1e-14)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", [AtomSum, Average])
@pytest.mark.parametrize(
    "base",
    [
        Gaussian(0.8),
        Gaussian([0.8, 1.5, 0.3, 2.0, 1.0]),
        Matern(1.3),
        Polynomial(3, 0.4),
        Polynomial(1, 0.4),
        Constant(2.0) * Laplacian(2.0),
        RationalQuadratic(0.7, 1.2),
    ],
)
def test_gradients_are_finite_differences(rng, kind, base, normalize):
    X = made(rng)
    kernel = kind(base, normalize=normalize)
    K, gradient = kernel(X, eval_gradient=True)
    assert_allclose(K, kernel(X), rtol=1e-13, atol=1e-14)
    assert gradient.shape == (len(X), len(X), len(kernel.theta))
    step = 1e-5
    for k in range(len(kernel.theta)):
        shift = np.zeros(len(kernel.theta))
        shift[k] = step
        above = kernel.clone_with_theta(kernel.theta + shift)(X)
        below = kernel.clone_with_theta(kernel.theta - shift)(X)
        assert_allclose(gradient[:, :, k], (above - below) / (2 * step), rtol=2e-7, atol=1e-9)


def test_fixed_hyperparameters_have_no_gradient(rng):
    kernel = AtomSum(Gaussian(0.8, "fixed"))
    assert len(kernel.theta) == 0
    K, gradient = kernel(made(rng), eval_gradient=True)
    assert gradient.shape == (*K.shape, 0)


@pytest.mark.parametrize("kind", [AtomSum, Average, BestMatch, REMatch])
@pytest.mark.parametrize("base", ["gaussian", "polynomial", "laplacian"])
def test_diagonals_do_not_depend_on_their_batch_or_threads(rng, kind, base, monkeypatch):
    monkeypatch.setattr(atom_tiles, "_OWN_PAIRS", 12)
    X = made(rng, (3, 1, 4, 2, 5, 1))
    for batch in (X, in_blocks(X)):
        kernel = kind(BASES[base], coupling={"C-O": 0.3}, normalize=False, n_jobs=1)
        found = kernel.diag(batch)
        assert_allclose(found, [kernel(batch[k : k + 1])[0, 0] for k in range(6)], rtol=1e-9)
        kernel.n_jobs = 2
        assert_array_equal(kernel.diag(batch), found)
        assert_array_equal(kernel.diag(batch[:0]), [])


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit(rng):
    X = made(rng, tuple(rng.integers(1, 20, size=90)))
    for base in (Gaussian(0.8), Laplacian(2.0)):
        one, two = AtomSum(base, n_jobs=1), AtomSum(base, n_jobs=2)
        assert_array_equal(one(X), two(X))
        assert_array_equal(one(X, X[:50]), two(X, X[:50]))
    assert_allclose(one(X)[:5, :5], naive(base, COUPLINGS["same"], X[:5], X[:5]), rtol=1e-12)


def test_a_structure_of_many_atoms_is_one_panel(rng):
    X = made(rng, (size(700, 300), 3))
    expected = Gaussian(0.8)(X[0].values)[X[0].numbers[:, None] == X[0].numbers].sum()
    assert_allclose(AtomSum(Gaussian(0.8))(X)[0, 0], expected, rtol=1e-11)


def test_panels_never_divide_a_structure():
    owners = np.repeat([0, 1, 2, 5, 6], [2, 3, 7, 1, 2])
    group = AtomGroup(6, np.arange(15), owners, np.arange(1), np.ones((15, 1)), np.ones(15))
    assert row_panels(group, 4) == [(0, 2), (2, 5), (5, 12), (12, 15)]
    assert row_panels(group, 6) == [(0, 5), (5, 12), (12, 15)]
    assert row_panels(group, 15) == [(0, 15)]


def group_of(values, columns):
    """Atoms of carbon, each in a structure of its own."""
    atoms = np.arange(len(values))
    return AtomGroup(6, atoms, atoms, np.array(columns), values, (values**2).sum(axis=1))


@pytest.mark.parametrize(
    ("columns", "others"),
    [
        ([1, 3], [1, 3]),
        ([0, 2, 5], [1, 2, 3, 5, 6]),
        ([0, 39], [0, *range(2, 40)]),
        ([0, 4], [1, 2]),
        ([0, 1], [1, 2, 3]),
        ([2], [2]),
    ],
)
@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize("m", [3, 60])
def test_products_of_groups_are_those_of_all_columns(rng, n, m, columns, others):
    left, right = (
        group_of(rng.normal(size=(k, len(c))), c) for k, c in ((n, columns), (m, others))
    )
    dense = [np.zeros((len(group.atoms), 40)) for group in (left, right)]
    for array, group in zip(dense, (left, right), strict=True):
        array[:, group.columns] = group.values
    p, q = on_shared_columns(left, right)
    assert_allclose(p @ q.T, dense[0] @ dense[1].T, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("kind", [AtomSum, BestMatch])
def test_rows_that_follow_cost_no_copy_of_the_others(rng, kind):
    n = 2000
    numbers = np.tile([6, 8], n // 2)
    values = rng.normal(size=(n, 64))
    values[numbers == 8, :32] = 0.0
    many = Environments(values, numbers, np.arange(0, n + 1, 2))
    one = Environments(rng.normal(size=(2, 64)), [6, 8], [0, 2])
    kernel = kind(Gaussian(8.0), n_jobs=1, coupling="all")
    stored = len(pickle.dumps(many))
    first = kernel(one, many)
    tracemalloc.start()
    try:
        again = kernel(one, many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < values.nbytes / 4
    assert_array_equal(again, first)
    assert len(pickle.dumps(many)) == stored
    gone = ref(many)
    del many
    assert gone() is None


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_positive_semi_definite(rng, coupling):
    setting = {"C-O": 0.3} if coupling == "named" else coupling
    X = made(rng, tuple(rng.integers(1, 6, size=20)))
    values = np.linalg.eigvalsh(AtomSum(Gaussian(0.8), coupling=setting)(X))
    assert values[0] > -1e-12 * values[-1]


def test_gaussian_processes_of_scikit_learn_take_it(rng):
    X = made(rng, tuple(rng.integers(1, 6, size=12)))
    y = np.array([item.values.sum() for item in X])
    model = GaussianProcessRegressor(AtomSum(Gaussian(1.0)), alpha=1e-6).fit(X, y)
    assert_allclose(model.predict(X), y, atol=1e-2)
    assert model.kernel_.base.length_scale != 1.0
    mean, std = model.predict(X[:3], return_std=True)
    assert mean.shape == std.shape == (3,)


def test_clones_parameters_and_texts(rng):
    kernel = AtomSum(Gaussian(2.0), coupling="heavy", normalize=True, n_jobs=1)
    assert kernel.get_params()["base__length_scale"] == 2.0
    again = kernel.clone_with_theta(np.log([3.0]))
    assert again.base.length_scale == pytest.approx(3.0)
    assert kernel.base.length_scale == 2.0
    assert again.coupling == "heavy"
    assert repr(kernel) == "AtomSum(Gaussian(length_scale=2), coupling='heavy', normalize=True)"
    assert kernel == AtomSum(Gaussian(2.0), coupling="heavy", normalize=True, n_jobs=1)
    assert kernel != AtomSum(Gaussian(2.0))
    assert not kernel.is_stationary()
    assert kernel.hyperparameters[0].name == "base__length_scale"
    assert kernel.bounds.shape == (1, 2)


def test_typical_distances_are_medians_of_their_elements():
    batch = Environments([[0.0], [2.0], [5.0], [5.0]], [6, 6, 8, 8], [0, 4])
    assert AtomSum(Gaussian()).typical_distance(batch) == 4.0
    assert AtomSum(Laplacian()).typical_distance(batch) == 2.0
    assert AtomSum(Linear()).typical_distance(batch) == 1.0
    assert AtomSum(Gaussian()).typical_distance(batch[[0]][:1]) == 4.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coupling": "none"}, "use one of 'same'"),
        ({"coupling": 3}, "use one of 'same'"),
        ({"coupling": {"C": 1.0}}, "no pair of elements"),
        ({"coupling": {"C-Q": 1.0}}, "no pair of elements"),
        ({"coupling": {"C-N": "much"}}, "no number"),
        ({"coupling": {"C-N": 2.0}}, "not positive semi-definite"),
        ({"coupling": {"C-N": np.nan}}, "not positive semi-definite"),
        ({"normalize": 1}, "use True or False"),
        ({"base": "gaussian"}, "no kernel between rows"),
        ({"base": AtomSum(Gaussian())}, "no kernel between rows"),
    ],
)
def test_wrong_arguments_are_named(rng, arguments, message):
    kernel = AtomSum(**{"base": Gaussian(), **arguments})
    with pytest.raises(SettingError, match=message):
        kernel(made(rng))


@pytest.mark.parametrize("base", ["gaussian", Gaussian, None, AtomSum(Gaussian())])
@pytest.mark.parametrize("kind", [AtomSum, Average, BestMatch, REMatch])
def test_hyperparameters_of_what_is_no_kernel_are_refused(kind, base):
    kernel = kind(base)
    for name in ("theta", "bounds", "hyperparameters"):
        with pytest.raises(SettingError, match="no kernel between rows"):
            getattr(kernel, name)
    with pytest.raises(SettingError, match="no kernel between rows"):
        kernel.theta = [0.0]
    assert kernel.get_params()["base"] is base


@pytest.mark.parametrize(
    "base", [WhiteNoise(0.5), Gaussian() + WhiteKernel(0.5), Constant() * (RBF() + WhiteNoise())]
)
@pytest.mark.parametrize("kind", [AtomSum, Average, BestMatch, REMatch])
def test_noise_of_atoms_is_refused(rng, kind, base):
    X, cure = made(rng), rf"outside: {kind.__name__}\(...\) \+ WhiteNoise\(\)"
    for call in (kind(base), kind(base).diag):
        with pytest.raises(SettingError, match=cure):
            call(X)
    noisy = kind(Gaussian()) + WhiteNoise(0.5)
    assert_allclose(np.diag(noisy(X)), noisy.diag(X), rtol=1e-9)


def test_wrong_samples_are_named(rng):
    X = made(rng)
    with pytest.raises(SettingError, match="Y=None"):
        AtomSum(Gaussian())(X, X, eval_gradient=True)
    with pytest.raises(StructureError, match="features per atom"):
        AtomSum(Gaussian())("H2O")
    with pytest.raises(SettingError, match="5 features per atom and Y has 2"):
        AtomSum(Gaussian())(X, Environments([[0.0, 1.0]], [1], [0, 1]))


@pytest.mark.parametrize("kind", [AtomSum, Average, BestMatch, REMatch])
def test_a_structure_that_is_like_nothing_has_neither_variance_nor_slope(kind, rng):
    # Three atoms, two of hydrogen, two others.
    numbers = [6, 8, 1, 1, 1, 8, 6]
    batch = Environments(rng.normal(size=(7, 2)), numbers, [0, 3, 5, 7])
    kernel = kind(Gaussian(1.3), coupling="heavy", normalize=True)
    K, gradient = kernel(batch, eval_gradient=True)
    assert_array_equal(kernel.diag(batch), [1.0, 0.0, 1.0])
    assert_array_equal(np.diag(K), kernel.diag(batch))
    step = 1e-5 * np.ones(1)
    above, below = (kernel.clone_with_theta(kernel.theta + s)(batch) for s in (step, -step))
    assert_allclose(gradient[:, :, 0], (above - below) / 2e-5, atol=1e-8)
