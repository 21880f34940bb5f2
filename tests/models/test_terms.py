"""Terms: sums and products of kernels over descriptors, and KRR with them."""

import operator
import re

import numpy as np
import pytest
from ase.build import molecule
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.model_selection import GridSearchCV, cross_val_score

from kernchem import KRR, DeltaLearner, Structures
from kernchem.datasets import load_qm_small
from kernchem.descriptors import (
    BagOfBonds,
    CoulombMatrix,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
)
from kernchem.errors import KernchemWarning, SettingError
from kernchem.kernels import AtomSum, Constant, Gaussian, Laplacian, Linear
from kernchem.models import Term, TermProduct, TermSum
from kernchem.models.terms import joined, kernel_for

ATOMS = OverlapEigenvalues("s", r_cut=3.0)
LABEL = "atomization_energy"


@pytest.fixture(scope="module")
def data():
    """Molecules in an order in which the larger ones come last."""
    data = load_qm_small()[:90]
    return data[np.argsort(data.sizes, kind="stable")]


def bonds(**settings):
    return Term(EncodedBonds(3), Gaussian(30.0, "fixed"), **settings)


def bags(**settings):
    return Term(BagOfBonds(), Laplacian(500.0, "fixed"), **settings)


def atoms(**settings):
    return Term(ATOMS, AtomSum(Gaussian(0.5, "fixed")), **settings)


def matrices(X):
    """The three kernels by hand."""
    return (
        Gaussian(30.0)(EncodedBonds(3).fit_transform(X)),
        Laplacian(500.0)(BagOfBonds().fit_transform(X)),
        AtomSum(Gaussian(0.5))(ATOMS.fit_transform(X)),
    )


def test_terms_add_multiply_and_scale(data):
    X = data[:12]
    E, B, A = matrices(X)
    assert_allclose(bonds()(X), E, rtol=1e-13)
    assert_allclose((bonds() + 0.5 * bags() + atoms())(X), E + 0.5 * B + A, rtol=1e-13)
    assert_allclose((bonds() * bags() * 3.0)(X), 3.0 * E * B, rtol=1e-13)
    assert_allclose((2.0 * (bonds() + bags()) * atoms())(X), 2.0 * (E + B) * A, rtol=1e-13)
    assert_allclose(((bonds() * bags()) * (2.0 * atoms()))(X), 2.0 * E * B * A, rtol=1e-13)


def test_kernels_between_sets_of_structures(data):
    terms = bonds() + bags() * atoms()
    whole = terms(data[:20])
    # The second set holds larger molecules.
    assert_allclose(terms(data[:12], data[12:20]), whole[:12, 12:], rtol=1e-12)


def test_a_descriptor_that_occurs_twice_is_computed_once(data, monkeypatch):
    calls = []
    compute = OverlapEigenvalues._compute
    monkeypatch.setattr(
        OverlapEigenvalues, "_compute", lambda self, X: calls.append(1) or compute(self, X)
    )
    (atoms() + Term(ATOMS, AtomSum(Linear())))(data[:5])
    assert len(calls) == 1


def test_descriptors_that_look_alike_are_two():
    """A structure among the settings, whose text does not tell its positions."""
    first, second = molecule("CH4"), molecule("CH4")
    second.positions *= 1.1
    parts = [Term(InverseDistances(one), Linear()) for one in (first, second)]
    expected = sum(part([first, second]) for part in parts)
    assert_allclose((parts[0] + parts[1])([first, second]), expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("composition", [True, False])
def test_krr_divides_each_term_by_its_mean_diagonal(data, composition):
    train, test = data[:40], data[40:]
    y = train[LABEL]
    model = KRR(
        bonds() + 0.5 * atoms() * bags(), alpha=1e-4, optimizer=None, composition=composition
    ).fit(train, y)
    E, B, A = matrices(data)
    product = A * B
    K = E + 0.5 * product / np.diag(product)[:40].mean()
    noise = 1e-4 * np.diag(K)[:40].mean() * np.eye(40)
    if composition:
        elements = train.elements
        H = np.array([[(m.numbers == e).sum() for e in elements] for m in data], dtype=float)
        P = np.linalg.inv(K[:40, :40] + noise)
        beta = np.linalg.lstsq(H[:40].T @ P @ H[:40], H[:40].T @ P @ y, rcond=1e-12)[0]
        expected = H[40:] @ beta + K[40:, :40] @ P @ (y - H[:40] @ beta)
    else:
        expected = K[40:, :40] @ np.linalg.solve(K[:40, :40] + noise, y)
    assert_allclose(model.predict(test), expected, rtol=1e-7)
    assert_allclose(model.kernel_.diag(model._training.features).mean(), 1.5, rtol=1e-12)


def test_leave_one_out_residuals_are_those_of_refits(data):
    train, y = data[:25], data[:25][LABEL]
    settings = {"alpha": 1e-3, "optimizer": None, "composition": False}
    model = KRR(bonds() + atoms(), **settings).fit(train, y)
    K = model.kernel_(model._training.features)
    for k in range(3):
        rest = np.delete(np.arange(25), k)
        noise = 1e-3 * np.diag(K).mean() * np.eye(24)
        a = np.linalg.solve(K[np.ix_(rest, rest)] + noise, y[rest])
        assert model.loo_residuals_[k] == pytest.approx(y[k] - K[k, rest] @ a, rel=1e-7)


@pytest.mark.slow
def test_weights_and_widths_are_chosen_by_leave_one_out_errors(data):
    train, test = data[:60], data[60:]
    terms = Term(EncodedBonds(3), Gaussian(), width=1.0) + 1e-3 * Term(
        ATOMS, AtomSum(Gaussian()), width=1.0
    )
    model = KRR(terms).fit(train, train[LABEL])
    start, end = model.trials_[0], min(model.trials_, key=lambda trial: trial.error)
    assert end.error < start.error
    assert model.kernel_.weights[0] == 1.0
    assert model.kernel_.weights[1] != 1e-3
    fixed = KRR(TermSum(terms.terms, fixed_weights=True)).fit(train, train[LABEL])
    assert fixed.kernel_.weights == [1.0, 1e-3]
    assert np.isfinite(model.predict(test)).all()


def test_relative_widths_follow_the_median_distance(data):
    train = data[:30]
    features = EncodedBonds(3).fit_transform(train)
    D = np.linalg.norm(features[:, None] - features, axis=-1)
    width = 2.0 * np.median(D[D > 0])
    term = Term(EncodedBonds(3), Gaussian(1.0, "fixed"), width=2.0)
    model = KRR(term, alpha=1e-3).fit(train, train[LABEL])
    assert model.kernel_.kernels[0].length_scale == pytest.approx(width)


def test_terms_go_through_the_tools_of_scikit_learn(data):
    model = KRR(bonds() + atoms(), alpha=1e-4, optimizer=None)
    copy = clone(model)
    assert copy.kernel.terms[1].weight == 1.0
    assert copy.get_params()["kernel"] is not model.kernel
    scores = cross_val_score(model, data[:30], data[:30][LABEL], cv=3)
    assert scores.shape == (3,)
    search = GridSearchCV(model, {"alpha": [1e-4, 1e-2]}, cv=2)
    assert search.fit(data[:30], data[:30][LABEL]).best_params_["alpha"] in {1e-4, 1e-2}


def test_delta_learning_with_terms(data):
    model = KRR(bonds() + bags(), alpha=1e-4, optimizer=None)
    delta = DeltaLearner(model, "gfn2_atomization_energy").fit(data[:60], data[:60][LABEL])
    errors = abs(delta.predict(data[60:]) - data[60:][LABEL])
    assert (
        errors.mean()
        < 0.5
        * abs(model.fit(data[:60], data[:60][LABEL]).predict(data[60:]) - data[60:][LABEL]).mean()
    )


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [None, "laplacian", AtomSum(Gaussian(0.5))])
def test_features_of_atoms_in_krr(data, kernel):
    train, test = data[:40], data[40:]
    model = KRR(kernel, descriptor=ATOMS, alpha=1e-6).fit(train, train[LABEL])
    assert isinstance(model.kernel_, AtomSum)
    # Larger molecules than those of the training set have larger surroundings.
    prediction = model.predict(test)
    features = OverlapEigenvalues("s", r_cut=3.0).fit(data).transform(data)
    K = model.kernel_(features)
    kept = slice(0, 40)
    h = model._space.basis(test) @ model._linear_coef
    assert_allclose(prediction, (K[40:, kept] @ model._dual + h)[:, 0], rtol=1e-9)


def test_identical_structures_are_merged(data):
    train = data[[*range(20), 3]]
    model = KRR(AtomSum(Gaussian(0.5)), descriptor=ATOMS, alpha=1e-4, optimizer=None)
    model.fit(train, train[LABEL])
    weights = np.ones(20)
    weights[3] = 2.0
    once = clone(model).fit(data[:20], data[:20][LABEL], sample_weight=weights)
    assert_allclose(model.predict(data[20:25]), once.predict(data[20:25]), rtol=1e-10)


@pytest.mark.slow
def test_repeated_fits_give_the_same_bits(data):
    train = data[:30]
    model = KRR(bonds() + atoms(), alpha=1e-4)
    one = model.fit(train, train[LABEL]).predict(data[30:])
    assert_array_equal(one, clone(model).fit(train, train[LABEL]).predict(data[30:]))


@pytest.mark.parametrize(
    ("kernel", "descriptor", "message"),
    [
        (Term(BagOfBonds()), BagOfBonds(), "brings its own descriptors"),
        (Gaussian(), ATOMS, r"AtomSum\(Gaussian"),
        (AtomSum(Gaussian()), BagOfBonds(), "compares atoms"),
        (Term("bob"), None, "no descriptor object"),
        (Term(BagOfBonds(), "fancy"), None, "no kernel"),
        (Term(BagOfBonds(), weight=0.0), None, "weight=0.0"),
        (Term(BagOfBonds(), width=-1.0), None, "width=-1.0"),
        (Term(BagOfBonds(), Linear(), width=1.0), None, "one length scale"),
        (Term(ATOMS, AtomSum(Linear()), width=1.0), None, "one length scale"),
        *(
            (TermProduct([Term(BagOfBonds())], weight=weight), None, "weight=.* of a product")
            for weight in ("x", "3", [1.0], -1.0, 0.0, np.nan, np.inf, True, None)
        ),
        (TermProduct([]), None, "must be a list of terms"),
        (TermSum([]), None, "must be a list of terms"),
        (TermSum([BagOfBonds()]), None, "no Term"),
        (TermProduct([Constant()]), None, "no Term"),
    ],
)
def test_wrong_terms_are_named(data, kernel, descriptor, message):
    with pytest.raises(SettingError, match=message):
        KRR(kernel, descriptor=descriptor).fit(data[:10], data[:10][LABEL])


def test_wrong_factors_are_named():
    for factor in (0.0, -1.0, np.inf, "two"):
        with pytest.raises(SettingError, match="cannot be multiplied"):
            factor * bonds()
    for weight in ("x", [1.0], -1.0, True):
        product = TermProduct([bonds()], weight=weight)
        for multiplied in (lambda p: 2.0 * p, lambda p: p * bonds(), lambda p: bonds() * p):
            with pytest.raises(SettingError, match="of a product of terms must be"):
                multiplied(product)
    with pytest.raises(TypeError):
        bonds() + 1.0


def test_texts_tell_weights_and_kernels(data):
    model = KRR(bonds() + 0.5 * bags() * atoms(), alpha=1e-4, optimizer=None)
    text = repr(model.fit(data[:10], data[:10][LABEL]).kernel_)
    assert text.startswith("1 * Gaussian(length_scale=30) + 0.5 * Laplacian(length_scale=500) * At")


def test_one_molecule_and_one_term():
    water = Structures.from_arrays([[8, 1, 1]], [[[0, 0, 0.0], [0, 0, 1.0], [0, 1.0, 0]]])
    model = KRR(Term(CoulombMatrix(), Laplacian(10.0)), alpha=1e-6, optimizer=None)
    with pytest.warns(KernchemWarning, match="cannot be left out"):
        model.fit(water, [-1.0])
    assert model.predict(water)[0] == pytest.approx(-1.0)
    assert np.isnan(model.loo_residuals_).all()


def test_fixed_weights_stay_fixed_in_sums_and_products():
    fixed, free = TermSum([bonds(), bags()], fixed_weights=True), bonds() + bags()
    one = TermSum([bags()], fixed_weights=True)
    for kept in (2.0 * fixed, fixed * 0.5, fixed + atoms(), atoms() + fixed, one * atoms()):
        assert kept.fixed_weights is True
        assert joined(kept)[1].n_weights == 0
    assert joined(free * atoms())[1].n_weights == 1
    assert (fixed * atoms()).fixed_weights
    for join in (operator.add, operator.mul):
        with pytest.raises(SettingError, match=r"make one TermSum\(\[...\], fixed_weights=...\)"):
            join(fixed, free)
    with pytest.raises(SettingError, match="fixed_weights='no'"):
        KRR(TermSum([bonds(), bags()], fixed_weights="no")).fit([], [])


@pytest.mark.parametrize(
    ("kernel", "descriptor", "cure"),
    [
        (Linear(), ATOMS, "AtomSum(Linear())"),
        (
            Gaussian() + Constant(),
            ATOMS,
            "AtomSum(Gaussian(length_scale=1) + Constant(variance=1))",
        ),
        (Constant() * Gaussian() ** 2, ATOMS, "AtomSum(Constant(variance=1) * Gaussian("),
        (AtomSum(Linear()) + Gaussian(), ATOMS, "structures: AtomSum(Gaussian(length_scale=1))"),
        (AtomSum(Linear()) + Gaussian(), BagOfBonds(), "use Linear()"),
        (Gaussian() * AtomSum(Laplacian()), BagOfBonds(), "use Laplacian(length_scale=1)"),
    ],
)
def test_a_part_of_a_kernel_that_does_not_suit_the_features_is_named(kernel, descriptor, cure):
    with pytest.raises(SettingError, match=re.escape(cure)):
        KRR(kernel, descriptor=descriptor).fit([], [])


def test_kernels_of_anything_go_beside_those_between_structures():
    kernel = Constant(2.0) * AtomSum(Linear()) + ConstantKernel(3.0)
    assert kernel_for(ATOMS, kernel) == kernel
