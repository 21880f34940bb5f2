"""Sizes of errors are compared by the kernel of the process and by encoded bonds."""

import warnings

import numpy as np
import pytest
from ase.build import molecule
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr

from kernchem import GPR, load, save
from kernchem.datasets import load_qm_small
from kernchem.descriptors import ACSF, CoulombMatrix, EncodedBonds
from kernchem.errors import KernchemWarning
from kernchem.kernels import AtomSum, Gaussian, Laplacian
from kernchem.models.error_likeness import ErrorLikeness
from kernchem.structures import Structures
from kernchem.uncertainty import ScaleModel

DATA = load_qm_small()
TRAIN, TEST = DATA[:160], DATA[160:200]
ALPHA = 1e-2


def short_bonds(structures):
    """Return how many C-O distances of each structure are those of a double bond."""
    counts = []
    for one in structures:
        carbon, oxygen = (one.positions[one.numbers == z] for z in (6, 8))
        counts.append(int((cdist(carbon, oxygen) < 1.27).sum()))
    return np.array(counts)


@pytest.fixture(scope="module")
def labels():
    """Labels whose noise is ten times as large where there is a carbonyl group."""
    rng = np.random.default_rng(3)
    noise = np.where(short_bonds(TRAIN) > 0, 10.0, 1.0) * rng.normal(size=len(TRAIN))
    return TRAIN.sizes + noise


def fitted(labels, **settings):
    model = GPR(Laplacian(500.0), descriptor=CoulombMatrix(), alpha=ALPHA, optimizer=None)
    return model.set_params(**settings).fit(TRAIN, labels)


def by_hand(structures, others):
    """Return encoded bonds of both, and the exponential of their distances."""
    descriptor = EncodedBonds().fit(others)
    own, known = descriptor.transform(structures), descriptor.transform(others)
    return np.exp(-cdist(own, known, "cityblock") / np.median(pdist(known, "cityblock")))


def test_error_bars_are_those_of_the_formula(labels):
    model = fitted(labels)
    descriptor = CoulombMatrix().fit(DATA)
    known, new = descriptor.transform(TRAIN), descriptor.transform(TEST)
    plain = fitted(labels, calibration=None)
    K, cross = Laplacian(500.0)(known), Laplacian(500.0)(new, known)
    # Element counts; the diagonal of the kernel is 1 everywhere.
    elements = sorted({int(z) for one in TRAIN for z in one.numbers})
    counts, more = (
        np.array([[np.sum(one.numbers == z) for z in elements] for one in part], float)
        for part in (TRAIN, TEST)
    )
    basis = model._training.basis
    turn = np.linalg.lstsq(counts, basis, rcond=None)[0]
    scale = ScaleModel().fit(
        K + by_hand(TRAIN, TRAIN), np.log(plain.loo_std_), plain.loo_residuals_, counts @ turn
    )
    assert np.isfinite(scale.strength_)
    std = plain.predict(TEST, return_std=True)[1]
    expected = scale.predict(cross + by_hand(TEST, TRAIN), np.log(std), more @ turn)
    assert_allclose(model.predict(TEST, return_std=True)[1], np.exp(expected), rtol=1e-6)


def test_bonds_that_a_coulomb_matrix_hides_widen_error_bars(labels):
    std = fitted(labels).predict(TEST, return_std=True)[1]
    carbonyl = short_bonds(TEST) > 0
    assert 5 < carbonyl.sum() < 35
    assert spearmanr(std, carbonyl)[0] > 0.6
    assert np.median(std[carbonyl]) > 2.0 * np.median(std[~carbonyl])


def test_growing_and_shrinking_equal_a_fit_of_all(labels):
    model = GPR(Laplacian(500.0), descriptor=CoulombMatrix(), alpha=ALPHA, optimizer=None)
    grown = model.fit(TRAIN[:120], labels[:120]).append(TRAIN[120:], labels[120:])
    whole = fitted(labels)
    assert_allclose(
        grown.predict(TEST, return_std=True)[1], whole.predict(TEST, return_std=True)[1], rtol=1e-9
    )
    grown.forget(np.arange(120, 160))
    small = GPR(Laplacian(500.0), descriptor=CoulombMatrix(), alpha=ALPHA, optimizer=None)
    small.fit(TRAIN[:120], labels[:120])
    assert_allclose(
        grown.predict(TEST, return_std=True)[1], small.predict(TEST, return_std=True)[1], rtol=1e-9
    )


def test_what_was_learnt_of_errors_stays_where_that_is_asked_for(labels):
    model = fitted(labels)
    width, before = model._likeness.length_scale, model.predict(TEST, return_std=True)[1]
    far = [molecule("C60")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        model.append(far, [60.0], calibrate=False)
    assert model._likeness.length_scale == width
    assert len(model._likeness.features) == len(TRAIN) + 1
    assert_allclose(model.predict(TEST, return_std=True)[1], before, rtol=0.1)


def test_files_keep_it_to_the_last_bit(labels, tmp_path):
    model = fitted(labels)
    save(model, tmp_path / "model.npz")
    twin = load(tmp_path / "model.npz")
    assert_array_equal(twin.predict(TEST, return_std=True), model.predict(TEST, return_std=True))
    left, right = (one.predict(TEST, return_cov=True)[1] for one in (model, twin))
    assert_array_equal(left, right)
    assert_allclose(np.sqrt(np.diag(left)), model.predict(TEST, return_std=True)[1], rtol=1e-8)


def test_no_samples_have_no_error_bars(labels):
    model, none = fitted(labels), TEST[:0]
    assert [found.shape for found in model.predict(none, return_std=True)] == [(0,), (0,)]
    model.fit(TRAIN, np.stack([labels, labels], axis=1))
    assert [found.shape for found in model.predict(none, return_std=True)] == [(0, 2), (0, 2)]


def test_other_models_have_none(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        for model in (
            GPR(AtomSum(Gaussian(1.0)), descriptor=ACSF(), alpha=ALPHA, optimizer=None),
            GPR(Laplacian(500.0), descriptor=CoulombMatrix(), calibration=None, optimizer=None),
        ):
            assert model.fit(TRAIN[:30], labels[:30])._likeness is None
    rows = CoulombMatrix().fit(TRAIN).transform(TRAIN)
    assert GPR(Laplacian(500.0), alpha=ALPHA, optimizer=None).fit(rows, labels)._likeness is None


def test_it_is_the_formula_for_new_samples():
    structures = Structures.from_ase([molecule(name) for name in ("CH4", "H2O", "C2H6", "CH4")])
    others = Structures.from_ase([molecule("CH3OH"), molecule("CO2")])
    likeness, K = ErrorLikeness.of(structures).settled(), np.arange(8.0).reshape(2, 4)
    every = Structures.from_ase([*structures.to_ase(), *others.to_ase()])
    features = EncodedBonds().fit(structures).transform(every)
    D = cdist(features, features, "cityblock")
    pairs = D[:4, :4][np.triu_indices(4, 1)]
    width = np.median(pairs[pairs > 0.0])
    expected = np.exp(-D[4:, :4] / width) + K / 2.5
    assert_allclose(likeness.cross(others, K, 2.5), expected, rtol=1e-12)
    grown = likeness.appended(others)
    assert_array_equal(grown.features, features)
    assert grown.length_scale == likeness.length_scale
    pairs = D[np.triu_indices(6, 1)]
    assert_allclose(grown.settled().length_scale, np.median(pairs[pairs > 0.0]))
    assert_array_equal(grown.without(np.array([0, 3])).features, features[[1, 2, 4, 5]])
