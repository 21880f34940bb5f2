"""Input of kernel models that is odd: what is taken as it is meant, and what is refused by name."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GroupKFold

from kernchem import GPR, KRR, DeltaLearner, MultiFidelityGPR
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds
from kernchem.errors import LabelError, SettingError, SingularKernelError, StructureError
from kernchem.kernels import Gaussian, Polynomial
from kernchem.models import LeaveOneOutSearch, Term

FIXED = {"alpha": 0.1, "optimizer": None}
SAMPLES = np.random.default_rng(0).normal(size=(25, 3))
LABELS = np.sin(SAMPLES).sum(axis=1)


@pytest.mark.parametrize("settings", [FIXED, {}, {"alpha": 0.1}])
@pytest.mark.parametrize("model", [KRR, GPR])
@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
def test_a_kernel_that_overflows_is_named(model, settings):
    with pytest.raises(SingularKernelError, match="holds NaN or infinity"):
        model(Polynomial(6), **settings).fit(1e60 * SAMPLES, LABELS)


@pytest.mark.parametrize("noise", [True, "0.1", [True] * 25, 0.1j, np.ma.masked_less(LABELS, 0.0)])
def test_noise_that_is_no_number(noise):
    with pytest.raises(LabelError, match=r"noise must hold numbers \((they are|some are masked)"):
        GPR(**FIXED).fit(SAMPLES, LABELS, noise=noise)


@pytest.mark.parametrize(
    "samples",
    [[1.7], ["3"], None, "a", {1, 2}, [[1], [2, 3]], [True] * 3, [False] * 25, slice(0, 3)],
)
def test_samples_that_cannot_be_forgotten(samples):
    model = GPR(**FIXED).fit(SAMPLES, LABELS)
    with pytest.raises(SettingError, match="whole numbers from 0 to 24, or a mask of 25 booleans"):
        model.forget(samples)


def test_samples_can_be_forgotten_by_a_mask():
    gone = LABELS > 1.0
    model = GPR(**FIXED).fit(SAMPLES, LABELS).forget(gone)
    other = GPR(**FIXED).fit(SAMPLES[~gone], LABELS[~gone])
    assert_allclose(model.predict(SAMPLES), other.predict(SAMPLES), rtol=1e-9)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([None] + ["a"] * 24, "holds None for sample 0"),
        (["a"] * 24 + [None], "holds None for sample 24"),
        ([0.0, np.nan] + [1.0] * 23, "holds nan for sample 1"),
        (
            np.array([1, "a"] + [2] * 23, dtype=object),
            "int 1 for sample 0 and str 'a' for sample 1",
        ),
        ([[1, 2], [3]] + [1] * 23, "ragged"),
        ([(1, 2)] * 25, "shape"),
        (np.array([1j, 2, {}] + [0] * 22, dtype=object), "numbers or texts"),
    ],
)
@pytest.mark.parametrize("cv", [None, GroupKFold(2)])
def test_groups_that_are_none(groups, message, cv):
    with pytest.raises(SettingError, match=f"^groups .*{message}"):
        KRR(**FIXED, cv=cv).fit(SAMPLES, LABELS, groups=groups)
    with pytest.raises(LabelError, match=f"^noise_groups .*{message}"):
        GPR(**FIXED).fit(SAMPLES, LABELS, noise_groups=groups)


@pytest.mark.parametrize("cv", [[], [(np.arange(25), np.arange(0))]])
@pytest.mark.parametrize("model", [KRR, GPR])
def test_folds_that_leave_out_nothing(model, cv):
    with pytest.raises(SettingError, match="cv leaves out no sample"):
        model(cv=cv).fit(SAMPLES, LABELS)


@pytest.mark.parametrize("optimizer", ["loo", "lml"])
def test_a_target_of_zeros_does_not_rule_the_others(optimizer):
    both = np.stack([np.zeros(25), LABELS], axis=1)
    alone = GPR(optimizer=optimizer).fit(SAMPLES, LABELS)
    model = GPR(optimizer=optimizer).fit(SAMPLES, both)
    mean, std = model.predict(SAMPLES, return_std=True)
    assert_allclose(mean[:, 1], alone.predict(SAMPLES), rtol=1e-3)
    assert (mean[:, 0] == 0.0).all()
    assert np.isfinite(std).all()
    with pytest.raises(SettingError, match="all labels are zero"):
        GPR(optimizer=optimizer).fit(SAMPLES, 0.0 * both)


MOLECULES = load_qm_small()[:40]
ENERGIES = MOLECULES["atomization_energy"]


def squared_sizes(structures):
    return structures.sizes**2.0


@pytest.fixture(scope="module")
def process():
    model = GPR(Gaussian(100.0), descriptor=BagOfBonds(), **FIXED, calibration=None)
    return model.fit(MOLECULES[:30], ENERGIES[:30])


def test_structures_that_can_be_read_once(process):
    new = MOLECULES[30:]
    given = new.to_ase()
    expected = process.predict(new, return_cov=True)
    found = process.predict(iter(given), return_cov=True)
    for own, other in zip(found, expected, strict=True):
        assert_array_equal(own, other)
    assert_array_equal(process.sample_y(iter(given)), process.sample_y(new))
    larger = copy.deepcopy(process).append(iter(given), ENERGIES[30:])
    other = copy.deepcopy(process).append(new, ENERGIES[30:])
    assert_array_equal(larger.predict(new), other.predict(new))
    search = LeaveOneOutSearch(process, length_scales=[50.0], alphas=[0.1])
    best = search.fit(iter(MOLECULES[:30].to_ase()), ENERGIES[:30])
    assert_allclose(best.predict(new).shape, 10)


@pytest.mark.parametrize("method", ["calibrated", "gaussian", "jackknife+", "cv+", "conformal"])
def test_no_structures_have_no_intervals(process, method):
    model = copy.deepcopy(process).calibrate(MOLECULES[30:], ENERGIES[30:])
    lower, upper = model.predict_interval(MOLECULES[:0], method=method)
    assert lower.shape == upper.shape == (0,)


@pytest.mark.parametrize("seed", [-1, "x", 1.5])
def test_seeds_that_are_none(seed):
    with pytest.raises(SettingError, match=r"random_state=.*whole number"):
        GPR(random_state=seed).fit(SAMPLES, LABELS)
    with pytest.raises(SettingError, match=r"random_state=.*whole number"):
        GPR(**FIXED).fit(SAMPLES, LABELS).sample_y(SAMPLES, random_state=seed)
    with pytest.raises(SettingError, match=r"random_state=.*whole number"):
        MultiFidelityGPR(random_state=seed).fit(SAMPLES, LABELS)


@pytest.mark.parametrize(
    "model",
    [
        KRR(),
        GPR(),
        MultiFidelityGPR(),
        DeltaLearner(KRR(), "gfn2_atomization_energy", slope=1),
    ],
)
@pytest.mark.parametrize("n", [1, 5])
def test_structures_ask_for_a_descriptor(model, n):
    molecules, labels = MOLECULES[:n], ENERGIES[:n]
    atoms = molecules.to_ase()
    objects = np.empty(n, dtype=object)
    objects[:] = list(molecules)
    given = [molecules, list(molecules), tuple(atoms), atoms, [atoms[0]] * n, objects]
    name = type(getattr(model, "model", model)).__name__
    for X in given if n > 1 else [*given, atoms[0], molecules[0]]:
        with pytest.raises(StructureError, match=rf"give descriptor=, e\.g\. {name}\(descriptor="):
            model.fit(X, labels)


def test_structures_ask_a_fitted_model_for_a_descriptor():
    for model in (KRR(**FIXED), GPR(**FIXED), MultiFidelityGPR(optimizer=None)):
        model.fit(SAMPLES, LABELS)
        with pytest.raises(StructureError, match="give descriptor="):
            model.predict(MOLECULES.to_ase())


def boxed(number, molecules):
    """The molecules, of which one is in a periodic box."""
    atoms = molecules.to_ase()
    atoms[number].set_cell([9.0, 9.0, 9.0])
    atoms[number].pbc = True
    return atoms


@pytest.mark.parametrize(
    "model",
    [
        KRR(descriptor=BagOfBonds(), **FIXED),
        GPR(descriptor=BagOfBonds(), **FIXED),
        KRR(Term(BagOfBonds()), **FIXED),
        DeltaLearner(KRR(descriptor=BagOfBonds(), **FIXED), squared_sizes, slope=1),
        DeltaLearner(KRR(descriptor=BagOfBonds(), **FIXED), squared_sizes),
        LeaveOneOutSearch(KRR(descriptor=BagOfBonds())),
    ],
)
def test_a_molecule_is_named_by_its_own_number_beside_weights_of_zero(model, monkeypatch):
    monkeypatch.setattr("kernchem.models.delta_slopes._PILOT_ROWS", 29)
    weights = np.ones(40)
    weights[:10] = 0.0
    with pytest.raises(
        StructureError, match=f"^structure 39 .{MOLECULES[39].formula}. is periodic"
    ):
        model.fit(boxed(39, MOLECULES), ENERGIES, sample_weight=weights)
