"""Where a DeltaLearner may take its baseline from; oracles are least squares by scikit-learn."""

import functools
import pickle

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from delta_oracle import element_counts, kernel_slopes
from effort import size
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline

import kernchem
from kernchem.baselines import ZBL, Baseline, BaselineResult, DampedCoulomb, YukawaCore
from kernchem.datasets import load_qm_small
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import ModelFileError, PropertyError, SettingError, StructureError
from kernchem.kernels import Laplacian
from kernchem.models import GPR, KRR, CompositionBaseline, DeltaLearner
from kernchem.models.baseline_columns import sources_of

GFN2 = "gfn2_atomization_energy"
FIXED = {"alpha": 1e-6, "optimizer": None}


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[: size(120, 60)]


@pytest.fixture
def krr():
    return KRR(Laplacian(500.0), descriptor=CoulombMatrix(size=23), **FIXED)


def repulsion(structures):
    """Sum of Z Z' / r over the pairs of atoms."""
    out = np.zeros(len(structures))
    for k, s in enumerate(structures):
        i, j = np.triu_indices(len(s.numbers), 1)
        r = np.linalg.norm(s.positions[i] - s.positions[j], axis=1)
        out[k] = (s.numbers[i] * s.numbers[j] / r).sum()
    return out


class Repulsion(Baseline):
    def __init__(self, cache=None):
        self.cache = cache

    def compute(self, X):
        energies = repulsion(X)
        heavy = [9 in s.numbers for s in X]
        energies[heavy] = np.nan
        return BaselineResult(energies, tuple("fluorine" if bad else "" for bad in heavy))


class RepulsionCalculator(Calculator):
    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["energy"] = repulsion([atoms_like(atoms)])[0]


def make_calculator():
    return RepulsionCalculator()


def atoms_like(atoms):
    return kernchem.Structures.from_ase([atoms])[0]


def as_array(structures):
    return np.column_stack([structures[GFN2], repulsion(structures)])


@pytest.mark.parametrize(
    ("baseline", "columns"),
    [
        (repulsion, lambda X: repulsion(X)[:, None]),
        (as_array, as_array),
        ([GFN2, repulsion], as_array),
        ((GFN2, Repulsion()), as_array),
        ("dipole_gfn2", lambda X: X["dipole_gfn2"]),
    ],
    ids=["function", "two columns", "mixed", "object", "property of three columns"],
)
def test_columns_enter_least_squares(small, krr, baseline, columns):
    data = small[[9 not in s.numbers for s in small]]
    y, half = data["atomization_energy"], len(data) - 12
    train, test = data[:half], data[half:]
    model = DeltaLearner(krr, baseline).fit(train, y[:half])
    assert_allclose(
        model.slope_,
        kernel_slopes(train, columns(train), y[:half], CoulombMatrix(size=23)),
        rtol=1e-5,
    )
    rest = y - columns(data) @ model.slope_
    peer = LinearRegression(fit_intercept=False).fit(element_counts(train), rest[:half])
    rest -= peer.predict(element_counts(data))
    learnt = clone(krr).fit(train, rest[:half])
    assert_allclose(model.predict(test), (y - rest)[half:] + learnt.predict(test), rtol=1e-7)
    assert_allclose(model.loo_residuals_, model.model_.loo_residuals_)


def test_arrays_are_passed_to_fit_and_predict(small, krr):
    y, given = small["atomization_energy"], as_array(small)
    model = DeltaLearner(krr).fit(small[:40], y[:40], baseline=given[:40])
    named = DeltaLearner(krr, as_array).fit(small[:40], y[:40])
    assert_allclose(
        model.predict(small[40:], baseline=given[40:]), named.predict(small[40:]), rtol=1e-12
    )
    with pytest.raises(PropertyError, match="no baseline; pass one"):
        model.predict(small[40:])
    with pytest.raises(PropertyError, match="no baseline; pass one"):
        DeltaLearner(krr).fit(small, y)
    with pytest.raises(PropertyError, match="leave one out"):
        named.predict(small[40:], baseline=given[40:])
    with pytest.raises(PropertyError, match=r"has shape \(3, 2\)"):
        model.predict(small[:4], baseline=given[:3])
    with pytest.raises(PropertyError, match="1 columns; it had 2 in fit"):
        model.predict(small[:4], baseline=given[:4, 0])
    given[1, 1] = np.inf
    with pytest.raises(PropertyError, match=r"structure 1 \(.*is inf"):
        model.predict(small[:4], baseline=given[:4])


def test_calculators_are_made_by_a_factory(small, krr):
    y = small["atomization_energy"][:30]
    model = DeltaLearner(krr, RepulsionCalculator, slope=1).fit(small[:30], y)
    # ASE's electronvolts in kcal/mol.
    expected = DeltaLearner(krr, lambda X: 23.060547830619 * repulsion(X), slope=1)
    expected.fit(small[:30], y)
    assert_allclose(model.predict(small[:1]), expected.predict(small[:1]), rtol=1e-8)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (make_calculator, "ASECalculator"),
        (functools.partial(RepulsionCalculator, label="x"), "ASECalculator"),
        (repulsion, "repulsion"),
        (functools.partial(np.take, axis=0), "partial"),
    ],
)
def test_factories_and_functions_are_told_apart(function, kind):
    (source,) = sources_of(function)
    assert source.name == kind


def test_failures_of_a_baseline_are_named(small, krr):
    fluorine = next(k for k, s in enumerate(small) if 9 in s.numbers)
    with pytest.raises(StructureError, match=rf"structure {fluorine} \(.*F.*: fluorine"):
        DeltaLearner(krr, Repulsion()).fit(small, small["gap"])


# -- potentials -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("slope", ["fit", 1])
def test_parameters_of_potentials_are_chosen(small, krr, slope):
    # Labels that are one potential, at other parameters than those at which the search starts.
    factor = 1.0 if slope == 1 else 0.5
    y = factor * YukawaCore(decay=0.32).energies(small) + element_counts(small) @ np.arange(5.0)
    model = DeltaLearner(krr, YukawaCore(decay=0.2), slope=slope).fit(small[:40], y[:40])
    assert_allclose(model.baseline_[0].decay, 0.32, rtol=1e-3)
    assert_allclose(model.slope_, [factor], rtol=1e-3)
    fixed = YukawaCore(decay=0.2, decay_bounds="fixed")
    errors = [
        np.abs(one.predict(small[40:]) - y[40:]).mean()
        for one in (model, DeltaLearner(krr, fixed, slope=slope).fit(small[:40], y[:40]))
    ]
    assert errors[0] < 0.05 * errors[1]


@pytest.mark.slow
def test_potentials_stand_beside_other_columns(small, krr):
    y = 0.7 * small[GFN2] + 0.4 * ZBL(screening=1.5).energies(small) - 3.0 * small["gap"]
    potential = ZBL(screening_bounds=(0.5, 3.0))
    baseline = [lambda X: np.column_stack([X[GFN2], X["gap"]]), potential, GFN2]
    model = DeltaLearner(krr, baseline[:2]).fit(small, y)
    assert_allclose(model.slope_, [0.7, -3.0, 0.4], rtol=5e-2)
    assert_allclose(model.baseline_[1].screening, 1.5, rtol=3e-2)
    assert potential.screening == 1.0
    assert model.baseline_[0] is baseline[0]


def test_potentials_under_other_models_stay(small):
    model = DeltaLearner(CompositionBaseline(), YukawaCore(decay=0.25)).fit(small, small[GFN2])
    assert model.baseline_[0].decay == 0.25


@pytest.mark.slow
def test_chosen_parameters_go_through_files(small, krr, tmp_path):
    baseline = [GFN2, YukawaCore() + DampedCoulomb(width_bounds="fixed")]
    model = DeltaLearner(krr, baseline).fit(small[:40], small["atomization_energy"][:40])
    kernchem.save(model, tmp_path / "model.kc")
    loaded = kernchem.load(tmp_path / "model.kc")
    assert np.array_equal(loaded.predict(small), model.predict(small))
    assert np.array_equal(loaded.baseline_[1].theta, model.baseline_[1].theta)


# -- models as baselines --------------------------------------------------------------------------


def process(**settings):
    settings = {"alpha": 1e-6, "optimizer": None, "calibration": None, **settings}
    return GPR(Laplacian(500.0), descriptor=CoulombMatrix(size=23), **settings)


def test_model_as_baseline_gives_its_predictions(small, krr):
    low = clone(krr).fit(small[:30], small[GFN2][:30])
    y = small["atomization_energy"]
    model = DeltaLearner(krr, low).fit(small, y)
    expected = DeltaLearner(krr, low.predict).fit(small, y)
    assert_allclose(model.predict(small), expected.predict(small), rtol=1e-12)
    _, std = DeltaLearner(process(), low).fit(small, y).predict(small[:3], return_std=True)
    alone = DeltaLearner(process(), low.predict).fit(small, y)
    assert_allclose(std, alone.predict(small[:3], return_std=True)[1], rtol=1e-12)


def test_uncertainty_of_a_baseline_is_added(small):
    y, train, test = small["atomization_energy"], small[:40], small[40:50]
    low = process().fit(small[:30], small[GFN2][:30])
    model = DeltaLearner(process(), [low, "gap"]).fit(train, y[:40])
    alone = DeltaLearner(process(), [low.predict, "gap"]).fit(train, y[:40])
    slope = model.slope_[0]
    assert_allclose(slope, alone.slope_[0], rtol=1e-12)
    own, base = (m.predict(test, return_std=True)[1] for m in (alone, low))
    mean, std = model.predict(test, return_std=True)
    assert_allclose(mean, alone.predict(test), rtol=1e-12)
    assert_allclose(std**2, own**2 + slope**2 * base**2, rtol=1e-10)
    own, base = (m.predict(test, return_cov=True)[1] for m in (alone, low))
    assert_allclose(model.predict(test, return_cov=True)[1], own + slope**2 * base, rtol=1e-8)
    lower, upper = model.predict_interval(test, coverage=0.5, method="gaussian")
    assert_allclose(upper - mean, norm.ppf(0.75) * std, rtol=1e-9)
    assert_allclose(mean - lower, norm.ppf(0.75) * std, rtol=1e-9)


@pytest.mark.parametrize("kind", ["pipeline", "frozen", "nested"])
def test_uncertainty_of_what_is_inside_a_baseline(small, kind):
    y, train, test = small["atomization_energy"], small[:40], small[40:45]
    plain = GPR(Laplacian(500.0), optimizer=None, alpha=1e-3, calibration=None)
    low = {
        "pipeline": make_pipeline(CoulombMatrix(size=23), plain),
        "frozen": process(),
        "nested": DeltaLearner(process(), "gap"),
    }[kind].fit(small[:30], small[GFN2][:30])
    base = low.predict(test, return_std=True)[1]
    model = DeltaLearner(process(), FrozenEstimator(low) if kind == "frozen" else low)
    model = model.fit(train, y[:40])
    alone = DeltaLearner(process(), low.predict).fit(train, y[:40])
    own, std = (m.predict(test, return_std=True)[1] for m in (alone, model))
    assert_allclose(std**2, own**2 + model.slope_[0] ** 2 * base**2, rtol=1e-9)


def test_a_baseline_without_uncertainty_adds_none(small, krr):
    inner = DeltaLearner(krr, "gap").fit(small[:30], small[GFN2][:30])
    y, test = small["atomization_energy"], small[40:45]
    found = [
        DeltaLearner(process(), low).fit(small[:40], y[:40]).predict(test, return_std=True)
        for low in (inner, inner.predict)
    ]
    assert_allclose(found[0], found[1], rtol=1e-12)


@pytest.mark.parametrize("values", [["1.5"] * 40, np.ones(40) * 1j])
def test_numbers_that_are_none_are_refused(small, krr, values):
    with pytest.raises(PropertyError, match=r"they are (texts|complex)"):
        DeltaLearner(krr).fit(small[:40], small[GFN2][:40], baseline=values)


def test_uncertainty_for_several_targets(small):
    y = np.stack([small["atomization_energy"], small["gap"]], axis=1)
    low = process().fit(small[:30], small[GFN2][:30])
    model = DeltaLearner(process(), low).fit(small[:40], y[:40])
    alone = DeltaLearner(process(), low.predict).fit(small[:40], y[:40])
    base = low.predict(small[40:45], return_cov=True)[1]
    own = alone.predict(small[40:45], return_cov=True)[1]
    expected = own + base[..., None] * model.slope_[0] ** 2
    assert_allclose(model.predict(small[40:45], return_cov=True)[1], expected, rtol=1e-8)


def test_searches_need_frozen_models(small, krr):
    low = clone(krr).fit(small[:30], small[GFN2][:30])
    y = small["atomization_energy"]
    grid = {"slope": ["fit", 1]}
    search = GridSearchCV(DeltaLearner(krr, FrozenEstimator(low)), grid, cv=3).fit(small, y)
    fixed = GridSearchCV(DeltaLearner(krr, low.predict), grid, cv=3).fit(small, y)
    assert_allclose(search.best_score_, fixed.best_score_, rtol=1e-12)
    with pytest.raises(SettingError, match=r"KRR is not fitted.*FrozenEstimator"):
        DeltaLearner(krr, KRR(descriptor=CoulombMatrix())).fit(small, y)
    with pytest.raises(SettingError, match="FrozenEstimator"):
        cross_val_predict(DeltaLearner(krr, low), small, y, cv=2)


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
def test_fitted_baselines_go_through_files(small, tmp_path, several):
    y = small["atomization_energy"]
    low = process().fit(small[:30], small[GFN2][:30])
    # A model within a model within a model.
    middle = DeltaLearner(KRR(Laplacian(500.0), descriptor=CoulombMatrix(), **FIXED), low)
    middle.fit(small[:40], y[:40])
    baseline = [GFN2, FrozenEstimator(low)] if several else middle
    model = DeltaLearner(CompositionBaseline(), baseline).fit(small, y)
    kernchem.save(model, tmp_path / "model.kc")
    loaded = kernchem.load(tmp_path / "model.kc")
    assert np.array_equal(loaded.predict(small), model.predict(small))
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(small), model.predict(small))
    assert loaded.model_info_.baseline == ((GFN2,) if several else ())


def test_baseline_given_to_fit_goes_through_files(small, tmp_path):
    given = as_array(small)
    model = DeltaLearner(CompositionBaseline()).fit(small, small["gap"], baseline=given)
    kernchem.save(model, tmp_path / "model.kc")
    loaded = kernchem.load(tmp_path / "model.kc")
    assert np.array_equal(
        loaded.predict(small, baseline=given), model.predict(small, baseline=given)
    )


def test_functions_do_not_go_into_files(small, tmp_path):
    model = DeltaLearner(CompositionBaseline(), repulsion).fit(small, small["gap"])
    with pytest.raises(ModelFileError, match=r"baseline repulsion is a function.*property"):
        kernchem.save(model, tmp_path / "model.kc")
