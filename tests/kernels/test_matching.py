"""Best match and REMatch against searches over all matchings and plain Sinkhorn iterations."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct

from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import KernchemWarning, SettingError, StructureError
from kernchem.kernels import (
    Average,
    BestMatch,
    Constant,
    Gaussian,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    REMatch,
    matching,
)
from kernchem.kernels.atom_tiles import structure_runs
from kernchem.kernels.matching_jit import _newton, _plan, _sweep, assign, transport

COUPLINGS = {
    "same": lambda a, b: float(a == b),
    "all": lambda *_: 1.0,
    "heavy": lambda a, b: float(a != 1 and b != 1),
    "named": lambda a, b: 1.0 if a == b else 0.3 * ({a, b} == {6, 8}),
}
KINDS = [BestMatch, REMatch]


def made(rng, sizes=(3, 1, 4, 2)):
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


def counter_example():
    """Five structures of two atoms whose matrices are indefinite."""
    values = [-1.34, 1.89, 1.15, -0.63, 0.59, -1.22, 0.58, 2.57, 0.01, 2.01]
    return Environments(np.reshape(values, (10, 1)), [6] * 10, np.arange(0, 11, 2))


def similarities(base, coupling, left, right):
    """The matrix C of two structures, one pair of atoms at a time."""
    return np.array(
        [
            [
                coupling(z, w) * float(base(p[None], q[None])[0, 0])
                for q, w in zip(right.values, right.numbers, strict=True)
            ]
            for p, z in zip(left.values, left.numbers, strict=True)
        ]
    )


def naive_match(C, taken=()):
    """The largest sum over all one-to-one matchings, those with atoms left alone included."""
    if len(C) == 0:
        return 0.0
    free = [j for j in range(C.shape[1]) if j not in taken]
    with_partner = [C[0, j] + naive_match(C[1:], (*taken, j)) for j in free]
    return max([naive_match(C[1:], taken), *with_partner])


def naive_plan(C, gamma, sweeps=400):
    """The plan of plain Sinkhorn iterations on logarithms, from zero."""

    def logarithm_of_sum(A, axis):
        top = A.max(axis=axis, keepdims=True)
        return top + np.log(np.exp(A - top).sum(axis=axis, keepdims=True))

    n, m = C.shape
    u, v = np.zeros((n, 1)), np.zeros((1, m))
    M = C / gamma
    for _ in range(sweeps):
        u = -np.log(n) - logarithm_of_sum(M + v, axis=1)
        v = -np.log(m) - logarithm_of_sum(M + u, axis=0)
        P = np.exp(M + u + v)
        if np.abs(P.sum(axis=1) - 1 / n).max() < 1e-13:
            return P
    raise AssertionError("this gamma is too small for plain iterations")


def naive(kernel, coupling, X, Y):
    """The kernel before normalisation, pair by pair."""
    K = np.empty((len(X), len(Y)))
    for a, left in enumerate(X):
        for b, right in enumerate(Y):
            C = similarities(kernel.base, coupling, left, right)
            if isinstance(kernel, BestMatch):
                K[a, b] = naive_match(C) / np.sqrt(C.size)
            else:
                K[a, b] = (naive_plan(C, kernel.gamma) * C).sum()
    return K


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("base", "coupling", "gamma"),
    [
        (Gaussian(1.5), "same", 0.5),
        (Gaussian(1.5), "all", 0.5),
        (Gaussian(1.5), "named", 0.5),
        (Polynomial(2, 0.4), "heavy", 30.0),
        (Laplacian(2.0), "all", 0.5),
        (Linear(), "all", 5.0),
        (RBF(0.7) + DotProduct(0.5), "named", 5.0),
    ],
)
def test_kernels_are_their_definitions(rng, kind, base, coupling, gamma):
    X, Y = made(rng), made(rng, (2, 4))
    setting = {"C-O": 0.3} if coupling == "named" else coupling
    more = {"gamma": gamma} if kind is REMatch else {}
    kernel = kind(base, coupling=setting, normalize=False, **more)
    expected = naive(kernel, COUPLINGS[coupling], X, Y)
    assert_allclose(kernel(X, Y), expected, rtol=1e-8, atol=1e-9)
    assert_allclose(kernel(in_blocks(X), in_blocks(Y)), expected, rtol=1e-8, atol=1e-9)
    assert_allclose(kernel(Y, X), expected.T, rtol=1e-8, atol=1e-9)
    own = naive(kernel, COUPLINGS[coupling], X, X)
    K = kernel(X)
    assert_allclose(K, own, rtol=1e-8, atol=1e-9)
    assert_array_equal(K, K.T)
    assert_allclose(kernel.diag(X), np.diag(K), rtol=1e-9, atol=1e-10)
    cosine = kind(base, coupling=setting, normalize=True, **more)
    roots = np.sqrt(np.diag(own))
    scale = np.outer(roots, np.sqrt(np.diag(naive(kernel, COUPLINGS[coupling], Y, Y))))
    assert_allclose(cosine(X, Y) * scale, expected, rtol=1e-8, atol=1e-8)
    assert_allclose(cosine(X) * np.outer(roots, roots), own, rtol=1e-8, atol=1e-8)
    assert_array_equal(cosine.diag(X), np.ones(len(X)))


def test_assignments_are_those_of_scipy(rng):
    for trial in range(60):
        n = int(rng.integers(1, 6))
        m = int(rng.integers(n, 9))
        # Whole numbers have ties.
        gain = rng.normal(size=(n, m)) if trial % 2 else rng.integers(0, 3, size=(n, m)) * 1.0
        owner = np.empty(m, dtype=np.int64)
        assign(gain, owner)
        used = np.flatnonzero(owner >= 0)
        assert_array_equal(np.sort(owner[used]), np.arange(n))
        best = gain[linear_sum_assignment(gain, maximize=True)].sum()
        assert_allclose(gain[owner[used], used].sum(), best, rtol=1e-13, atol=1e-13)


def test_plans_are_the_ones_of_their_form_and_sums(rng):
    # There is one plan exp(C / gamma + u + v) with these sums.
    for n, m, gamma in ((3, 5, 0.1), (4, 4, 0.02), (5, 3, 1.0)):
        C = rng.uniform(size=(n, m))
        P, error, limit = transport(C, gamma, 1e-12, 500)
        assert error <= limit
        assert_allclose(P.sum(axis=0), 1 / m, atol=1e-12)
        assert_allclose(P.sum(axis=1), 1 / n, atol=1e-12)
        rest = np.log(P) - C / gamma
        assert_allclose(rest - rest[0] - rest[:, :1] + rest[0, 0], 0.0, atol=1e-11)
    assert_allclose(P, naive_plan(C, gamma), atol=1e-12)


@pytest.mark.parametrize("gamma", [1e-3, 1e-2, 1.0, 1e3])
def test_no_plan_holds_nan(rng, gamma):
    cases = [np.zeros((2, 3)), np.ones((3, 3)), np.eye(4), np.eye(4)[:, [0, 0, 0, 1]]]
    cases += [rng.integers(0, 2, size=(3, 4)) * 1.0, rng.uniform(size=(4, 4))]
    for C in cases:
        P, error, limit = transport(C, gamma, 1e-10, 1000)
        assert error <= limit
        assert_allclose(P.sum(axis=0), 1 / C.shape[1], rtol=1e-9)
        assert_allclose(P.sum(axis=1), 1 / C.shape[0], atol=2e-10)
    P, _, _ = transport(1e6 * rng.normal(size=(3, 4)), gamma, 1e-10, 20)
    assert np.isfinite(P).all()


def test_rows_that_underflow_come_back(rng):
    # Without sweeps at larger gamma (max_iter 1 goes on to the last one at once), the plan of u = 0
    # has rows that are zero in every digit.
    C = np.array([[0.0, 0.0, 0.1], [5.0, 5.0, 5.0]])
    for max_iter in (1, 2, 3, 400):
        P, error, limit = transport(C, 1e-3, 1e-10, max_iter)
        assert np.isfinite(P).all()
    assert error <= limit
    assert_allclose(P, np.array([[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]) @ np.eye(3) / 3, atol=0.2)
    assert_allclose(P.sum(axis=1), 0.5, atol=1e-9)


@pytest.mark.parametrize(
    "C",
    [
        [[0, 100, 100, 100], [0, 50, 50, 50], [50, 0, 100, 100], [50, 0, 0, 0]],
        [[0, 50, 100, 50], [50, 0, 50, 0], [100, 0, 100, 100], [0, 0, 0, 100]],
    ],
)
def test_plans_where_steps_of_newton_fail(C):
    """Sweeps go on then; the plan is near the best assignment, by the entropy at most."""
    C = np.array(C, dtype=float)
    P, error, limit = transport(C, 0.3, 1e-10, 400)
    assert error <= limit
    assert_allclose(P.sum(axis=0), 0.25, rtol=1e-9)
    best = C[linear_sum_assignment(C, maximize=True)].sum() / 4
    assert best - 0.3 * np.log(16) <= (C * P).sum() <= best + 1e-6


@pytest.mark.parametrize(
    ("left", "right", "gamma"),
    [
        ([2.6, 2.8, 2.4, 0.0], [2.6, 2.8, 2.4, 0.0], 1e-2),
        ([1.2, 2.2, 1.3, 3.8], [1.9, 3.8, 1.5, 0.8], 1e-2),
        ([3.7, 0.2, 3.3], [2.0, 3.3, 1.6], 1e-3),
        ([3.5, 0.5, 0.2, 1.4], [3.6, 2.3, 3.5, 2.7], 1e-3),
        ([0.1, 0.7, 0.8], [2.4, 2.8, 1.0], 1e-4),
    ],
)
def test_plans_of_groups_with_weak_links_converge(left, right, gamma):
    C = np.exp(-2.0 * np.subtract.outer(left, right) ** 2)
    P, error, limit = transport(C, gamma, 1e-10, 50)
    assert error <= limit
    assert_allclose(P.sum(axis=0), 1.0 / len(C), rtol=1e-9)
    assert_allclose(P.sum(axis=1), 1.0 / len(C), atol=2.0 * limit)
    best = C[linear_sum_assignment(C, maximize=True)].sum() / len(C)
    assert best - gamma * np.log(len(C)) <= (C * P).sum() <= best + 1e-9


def test_a_step_without_links_is_refused():
    P, M = np.array([[0.4, 0.0], [0.0, 0.6]]), np.zeros((2, 2))
    P[0, 1] = P[1, 0] = 1e-250
    sums, u, two = P.sum(axis=1), np.zeros(2), [np.empty(2) for _ in range(5)]
    step, trial, top, factor, new = two
    links, Q = np.empty((2, 2)), np.empty((2, 2))
    assert _newton(M, P, sums, u, 0.1, links, step, trial, Q, top, factor, new) == np.inf


def test_a_sweep_finds_rows_that_underflow():
    M, u = np.array([[0.0, 0.0], [-1e4, -1e4 + 1.0]]), np.zeros(2)
    P, top, factor, sums = np.empty((2, 2)), np.empty(2), np.empty(2), np.empty(2)
    _plan(M, u, P, top, factor, sums)
    v = np.log(factor) - top
    assert sums[1] == 0.0
    _sweep(M, u, top, factor, sums)
    assert_allclose(logsumexp(M + u[:, None] + v, axis=1), -np.log(2.0), atol=1e-11)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.1, 0.7), (1.0, 0.2)])
def test_rematch_is_that_of_dscribe(rng, alpha, gamma):
    reference = pytest.importorskip("dscribe.kernels").REMatchKernel
    features = [rng.normal(size=(n, 3)) for n in (2, 5, 3, 1)]
    theirs = reference(metric="rbf", gamma=gamma, alpha=alpha, threshold=1e-12).create(features)
    offsets = np.cumsum([0, *map(len, features)])
    batch = Environments(np.vstack(features), np.full(offsets[-1], 6), offsets)
    base = Gaussian(1.0 / np.sqrt(2.0 * gamma))
    ours = REMatch(base, gamma=alpha, coupling="all")(batch)
    assert_allclose(ours, theirs, rtol=1e-6)
    assert abs(ours - REMatch(base, gamma=2.0 * alpha, coupling="all")(batch)).max() > 1e-4


def test_rematch_lies_between_the_average_and_the_best_match(rng):
    X = made(rng, (4, 4, 4))
    average = Average(Gaussian(1.5), coupling="all")(X)
    loose = REMatch(Gaussian(1.5), gamma=1e7, coupling="all", normalize=False)(X)
    assert_allclose(loose, average, rtol=1e-6)
    best = BestMatch(Gaussian(1.5), coupling="all")(X)
    tight = REMatch(Gaussian(1.5), gamma=1e-4, coupling="all", normalize=False)(X)
    assert_allclose(tight, best, rtol=1e-3)
    assert (tight <= best + 1e-12).all()


@pytest.mark.parametrize(
    ("kernel", "smallest"),
    [(BestMatch(Gaussian()), -0.077), (REMatch(Gaussian(), gamma=0.1), -0.074)],
)
def test_neither_is_positive_semi_definite(kernel, smallest):
    assert not kernel.positive_semidefinite
    assert Average(Gaussian()).positive_semidefinite
    assert_allclose(np.linalg.eigvalsh(kernel(counter_example()))[0], smallest, atol=5e-4)


def test_a_structure_that_is_compared_with_nothing_has_no_similarity():
    batch = Environments([[1.0], [2.0]], [1, 6], [0, 1, 2])
    for kind in KINDS:
        K = kind(Gaussian(), coupling="heavy", normalize=True)(batch)
        assert_array_equal(K, [[0.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "base",
    [
        Gaussian(0.8),
        Gaussian([0.8, 1.5, 0.3, 2.0, 1.0]),
        Matern(1.3),
        Polynomial(2, 0.4),
        Constant(2.0) * Laplacian(2.0),
    ],
)
def test_gradients_are_finite_differences(rng, kind, base, normalize):
    X = made(rng)
    more = {"gamma": 0.2, "tol": 1e-13} if kind is REMatch else {}
    kernel = kind(base, coupling={"C-O": 0.5}, normalize=normalize, **more)
    K, gradient = kernel(X, eval_gradient=True)
    assert_allclose(K, kernel(X), rtol=1e-12, atol=1e-13)
    assert gradient.shape == (len(X), len(X), len(kernel.theta))
    step = 1e-4
    for k in range(len(kernel.theta)):
        shift = np.zeros(len(kernel.theta))
        shift[k] = step
        above, below, far_above, far_below = (
            kernel.clone_with_theta(kernel.theta + factor * shift)(X)
            for factor in (1.0, -1.0, 2.0, -2.0)
        )
        expected = (8 * (above - below) - (far_above - far_below)) / (12 * step)
        assert_allclose(gradient[:, :, k], expected, rtol=1e-7, atol=1e-9)


def test_gradients_of_a_small_gamma(rng):
    kernel = REMatch(Gaussian(1.5), gamma=5e-3, coupling="all", tol=1e-14)
    X, step = made(rng), 1e-5
    gradient = kernel(X, eval_gradient=True)[1][:, :, 0]
    above, below = (kernel.clone_with_theta(kernel.theta + h)(X) for h in (step, -step))
    assert_allclose(gradient, (above - below) / (2 * step), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.02, 1e-2, 1e-3, 1e-4, 1e-6])
def test_gradients_of_groups_that_are_not_linked(gamma):
    # Two atoms near each other form a plan of their own, with one number that has a closed form.
    batch = Environments([[0.0], [0.3], [5.0]], [6] * 3, [0, 3])
    kernel = REMatch(Gaussian(0.5), gamma=gamma, normalize=False, tol=1e-13)
    K, gradient = kernel(batch, eval_gradient=True)
    near, far = np.exp(-0.5 * 0.6**2), np.exp(-(1.0 - np.exp(-0.5 * 0.6**2)) / gamma)
    crossed = far / (1.0 + far)
    assert_allclose(K, 1.0 - 2.0 / 3.0 * crossed * (1.0 - near), rtol=1e-12)
    slope = 2.0 / 3.0 * crossed * (1.0 - (1.0 - crossed) * (1.0 - near) / gamma)
    tolerance = 1e-9 + 1e-14 / gamma
    assert_allclose(gradient, [[[slope * near * 0.6**2]]], rtol=1e-9, atol=tolerance)


def test_gradients_of_groups_with_weak_links():
    rng = np.random.default_rng(3)
    batch = Environments(rng.normal(size=(48, 2)), [6] * 48, np.arange(0, 49, 6))
    kernel = REMatch(Gaussian(0.5), gamma=0.01, normalize=False, tol=1e-13)
    gradient, step = kernel(batch, eval_gradient=True)[1][:, :, 0], 1e-4
    above, below = (kernel.clone_with_theta(kernel.theta + h)(batch) for h in (step, -step))
    assert_allclose(gradient, (above - below) / (2 * step), atol=1e-6)


@pytest.mark.parametrize("shares", [2, 32])
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_no_bit(rng, kind, shares, monkeypatch):
    monkeypatch.setattr(matching, "_PANEL", 4)
    monkeypatch.setattr(matching, "_WIDE_PANEL", 7)
    monkeypatch.setattr(matching, "_SHARES", shares)
    monkeypatch.setattr(matching, "_TILE", 6)
    monkeypatch.setattr(matching, "_NARROW_TILE", 5)
    X = made(rng, (3, 1, 2, 7, 2, 3))
    for base in (Gaussian(0.8), Laplacian(2.0)):
        one, two = kind(base, n_jobs=1), kind(base, n_jobs=2)
        assert_array_equal(one(X), two(X))
        assert_array_equal(one(X[:3], X), two(X[:3], X))
        assert_array_equal(one(X, eval_gradient=True)[1], two(X, eval_gradient=True)[1])
        assert_allclose(one(X, X[:2]), one(X)[:, :2], rtol=1e-8, atol=1e-9)


def test_runs_of_structures_have_few_atoms():
    offsets = np.array([0, 3, 6, 20, 21, 22, 23])
    assert structure_runs(offsets, 6) == [(0, 2), (2, 3), (3, 6)]
    assert structure_runs(offsets[:1], 6) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_structures_in_many_tiles(rng, kind):
    X = made(rng, tuple(rng.integers(1, 30, size=150)))
    kernel = kind(Gaussian(1.5), coupling="all")
    K = kernel(X)
    assert_array_equal(K, kind(Gaussian(1.5), coupling="all", n_jobs=1)(X))
    some = np.array([149, 3, 77])
    assert_allclose(K[np.ix_(some, some)], kernel(X[some]), rtol=1e-8)
    assert_allclose(K[some], kernel(X[some], X), rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_gaussian_processes_of_scikit_learn_take_it(rng, kind):
    X = made(rng, (2, 3, 1, 2, 3, 1, 2))
    y = np.array([item.values.mean() for item in X])
    model = GaussianProcessRegressor(kind(Gaussian(1.0)), alpha=1e-2).fit(X, y)
    assert model.kernel_.base.length_scale != 1.0
    mean, std = model.predict(X[:3], return_std=True)
    assert mean.shape == std.shape == (3,)
    assert np.corrcoef(model.predict(X), y)[0, 1] > 0.8


def test_plans_that_do_not_converge_are_reported(rng):
    X = made(rng, (3, 4))
    kernel = REMatch(Gaussian(1.5), gamma=1e-3, coupling="all", max_iter=2)
    with pytest.warns(KernchemWarning, match=r"pairs of structures .* max_iter=2") as record:
        kernel(X)
    assert record[0].filename == __file__
    with pytest.warns(KernchemWarning, match="1 pairs"):
        REMatch(Gaussian(), gamma=0.01, normalize=False, max_iter=1).diag(
            Environments([[0.0], [0.1], [0.3]], [6] * 3, [0, 3])
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        REMatch(Gaussian(1.5), gamma=1e-3, coupling="all")(X)


def test_no_structures():
    X = Environments([[1.0], [2.0]], [1, 6], [0, 1, 2])
    for kind in KINDS:
        assert kind(Gaussian())(X[:0]).shape == (0, 0)
        assert kind(Gaussian())(X[:0], X).shape == (0, 2)
        assert kind(Gaussian())(X, X[:0]).shape == (2, 0)


def test_clones_parameters_and_texts():
    kernel = REMatch(Gaussian(2.0), gamma=0.5, tol=1e-6, max_iter=7, coupling="all", n_jobs=1)
    assert kernel.get_params()["base__length_scale"] == 2.0
    again = kernel.clone_with_theta(np.log([3.0]))
    assert again.base.length_scale == pytest.approx(3.0)
    assert (again.gamma, again.tol, again.max_iter, again.normalize) == (0.5, 1e-6, 7, True)
    assert repr(kernel) == "REMatch(Gaussian(length_scale=2), coupling='all', gamma=0.5)"
    assert repr(REMatch(Gaussian(2.0), gamma="x", normalize=False)) == (
        "REMatch(Gaussian(length_scale=2), normalize=False, gamma='x')"
    )
    assert repr(BestMatch(Gaussian(2.0), normalize=True)) == (
        "BestMatch(Gaussian(length_scale=2), normalize=True)"
    )
    assert kernel != REMatch(Gaussian(2.0), gamma=0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 0.0}, "gamma=0.0"),
        ({"gamma": -1.0}, "gamma=-1.0"),
        ({"gamma": np.nan}, "gamma=nan"),
        ({"gamma": "small"}, "gamma='small'"),
        ({"tol": 0.0}, "tol=0.0"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"max_iter": 1.5}, "max_iter=1.5"),
        ({"coupling": "none"}, "use one of 'same'"),
        ({"normalize": 1}, "use True or False"),
        ({"base": BestMatch(Gaussian())}, "no kernel between rows"),
    ],
)
def test_wrong_arguments_are_named(rng, arguments, message):
    kernel = REMatch(**{"base": Gaussian(), **arguments})
    with pytest.raises(SettingError, match=message):
        kernel(made(rng))


def test_wrong_samples_are_named(rng):
    with pytest.raises(StructureError, match="features per atom"):
        BestMatch(Gaussian())("H2O")
