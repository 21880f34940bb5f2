import warnings

import numpy as np
import pytest
from effort import size
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from kernchem.baselines import ZBL, DampedCoulomb, YukawaCore
from kernchem.datasets import load_qm_small
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import KernchemWarning, SettingError, StructureError
from kernchem.kernels import Laplacian
from kernchem.model_files import load, save
from kernchem.models import GPR, KRR, choose_parameters
from kernchem.models.baseline_objective import LeaveOneOutObjective
from kernchem.structures import Structures

BASELINES = [DampedCoulomb(width=0.8), YukawaCore(decay={"H": 0.2, "C": 0.25, "N": 0.2, "O": 0.15})]


@pytest.fixture(scope="module")
def molecules():
    """Molecules without fluorine: those of a rare element could not be left out."""
    data = load_qm_small()[: size(120, 25)]
    return data[[9 not in one.numbers for one in data]]


def krr(**settings):
    given = {"descriptor": CoulombMatrix(), "alpha": 1e-4, "optimizer": None, **settings}
    return KRR(Laplacian(300.0), **given)


def gpr(**settings):
    given = {"descriptor": CoulombMatrix(), "alpha": 1e-4, "optimizer": None, **settings}
    return GPR(Laplacian(300.0), **given)


def refits(model, energies, targets, *, fitted):
    """Residuals of every sample by a model without it, each from a linear system of its own.

    ``energies`` (n, b) are further columns of the linear part, or subtracted as they are.
    """
    training = model._training
    K = np.asarray(model.kernel_(training.features))
    noise = model._noise(K, training)
    linear = np.zeros((len(K), 0)) if training.basis is None else training.basis
    if fitted:
        linear = np.hstack([linear, energies / np.abs(energies).max(axis=0)])
    else:
        targets = targets - energies.sum(axis=1, keepdims=True)
    out = []
    for i in range(len(K)):
        rest = np.delete(np.arange(len(K)), i)
        H, p = linear[rest], linear.shape[1]
        system = np.block([
            [K[np.ix_(rest, rest)] + np.diag(noise[rest]), H],
            [H.T, np.zeros((p, p))],
        ])  # fmt: skip
        right = np.vstack([targets[rest], np.zeros((p, targets.shape[1]))])
        solution = np.linalg.solve(system, right)
        out.append(targets[i] - np.concatenate([K[i, rest], linear[i]]) @ solution)
    return np.array(out)


def energies_of(baselines, structures):
    return np.stack([one.energies(structures) for one in baselines], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("slope", ["fit", 1])
@pytest.mark.parametrize("make", [krr, gpr])
@pytest.mark.parametrize("criterion", ["mae", "rmse"])
def test_errors_before_and_after_are_those_of_refits(molecules, make, slope, criterion):
    y = molecules["atomization_energy"]
    model = make().fit(molecules, y)
    found = choose_parameters(
        BASELINES, molecules, y, model, slope=slope, criterion=criterion, n_starts=1
    )

    def error(residuals):
        return np.abs(residuals).mean() if criterion == "mae" else np.sqrt((residuals**2).mean())

    for baselines, reported in (
        (BASELINES, found.error_before),
        (found.baselines, found.error_after),
    ):
        energies = energies_of(baselines, molecules)
        residuals = refits(model, energies, y[:, None], fitted=slope == "fit")
        assert reported == pytest.approx(error(residuals), rel=1e-7)
    assert found.error_without == pytest.approx(error(model.loo_residuals_), rel=1e-8)
    assert found.error_after < found.error_before
    assert found.trials[0].error == found.error_before
    assert min(trial.error for trial in found.trials) == found.error_after


@pytest.mark.slow
def test_slopes_of_baselines_are_those_of_the_joint_fit(molecules):
    y = molecules["atomization_energy"]
    model = krr().fit(molecules, y)
    found = choose_parameters(BASELINES, molecules, y, model, n_starts=1)
    energies = energies_of(found.baselines, molecules)
    rest = y - energies @ found.slopes[:, 0]
    # At the best slopes the penalty of what is left does not change along the baselines.
    dual = krr().fit(molecules, rest).dual_coef_
    scale = np.abs(energies).T @ np.abs(dual)
    assert_allclose(energies.T @ dual / scale, 0.0, atol=1e-9)
    ones = choose_parameters(BASELINES, molecules, y, model, slope=1, n_starts=1)
    assert_array_equal(ones.slopes, 1.0)


def objective_of(model, molecules, targets, *, fit_slopes, criterion):
    basis = model._training.basis
    return LeaveOneOutObjective(
        BASELINES,
        molecules,
        targets,
        np.zeros((len(targets), 0)) if basis is None else basis,
        model._solution(),
        fit_slopes=fit_slopes,
        criterion=criterion,
    )


@pytest.mark.slow
@pytest.mark.parametrize("fit_slopes", [True, False])
@pytest.mark.parametrize("criterion", ["mae", "rmse"])
@pytest.mark.parametrize("composition", [True, False])
def test_slopes_of_the_loss(molecules, fit_slopes, criterion, composition):
    targets = np.stack([molecules["atomization_energy"], molecules["gfn2_atomization_energy"]], 1)
    model = krr(composition=composition).fit(molecules, targets)
    objective = objective_of(model, molecules, targets, fit_slopes=fit_slopes, criterion=criterion)
    theta = objective.start + 0.05
    value, slopes = objective(theta)
    ratio = objective.trials[-1].error / objective.trials[0].error
    if criterion == "rmse":
        assert value == pytest.approx(ratio**2, rel=1e-9)
    else:
        assert value == pytest.approx(ratio, rel=0.05)
    assert objective(objective.start)[0] == pytest.approx(1.0, rel=1e-12)
    step = 1e-3
    for k, unit in enumerate(np.eye(len(theta))):
        rough, fine = (
            (objective(theta + h * unit)[0] - objective(theta - h * unit)[0]) / (2 * h)
            for h in (step, step / 2)
        )
        assert slopes[k] == pytest.approx((4 * fine - rough) / 3, rel=1e-6, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("slope", ["fit", 1])
def test_planted_parameters_are_found_back(molecules, slope):
    truth = [DampedCoulomb(width=0.6), YukawaCore(decay=0.3)]
    factors = [1.0, 1.0] if slope == 1 else [1.7, -0.4]
    counts = np.add.reduceat(np.eye(10)[molecules.numbers], molecules.offsets[:-1])
    y = counts @ np.linspace(-100, 50, 10) + energies_of(truth, molecules) @ factors
    model = krr(alpha=1.0).fit(molecules, y)
    start = [DampedCoulomb(width=1.5), YukawaCore(decay=0.12)]
    found = choose_parameters(start, molecules, y, model, slope=slope, criterion="rmse")
    assert found.baselines[0].width == pytest.approx(0.6, rel=0.01)
    assert found.baselines[1].decay == pytest.approx(0.3, rel=0.01)
    assert_allclose(found.slopes[:, 0], factors, rtol=0.02)
    assert found.error_after < 0.01 * found.error_before


@pytest.mark.slow
def test_the_result_is_the_same_each_time_and_respects_bounds(molecules):
    y = molecules["atomization_energy"]
    model = krr().fit(molecules, y)
    narrow = DampedCoulomb(width=1.0, width_bounds=(0.9, 1.1))
    found = [choose_parameters(narrow, molecules, y, model, n_starts=3) for _ in range(2)]
    assert found[0].baselines[0].width == found[1].baselines[0].width
    assert 0.9 * (1 - 1e-12) <= found[0].baselines[0].width <= 1.1 * (1 + 1e-12)
    # The arguments stay as they were, and so does the model.
    assert narrow.width == 1.0
    assert_array_equal(model.predict(molecules), krr().fit(molecules, y).predict(molecules))


def test_nothing_to_vary(molecules):
    y = molecules["atomization_energy"]
    model = krr().fit(molecules, y)
    found = choose_parameters(ZBL(), molecules, y, model)
    assert found.error_after == found.error_before
    assert len(found.trials) == 1


@pytest.mark.parametrize("make", [krr, gpr])
def test_models_from_files_do_as_well(molecules, make, tmp_path):
    y = molecules["atomization_energy"]
    model = make().fit(molecules, y)
    save(model, tmp_path / "model.kc")
    errors = [
        choose_parameters(ZBL(), molecules, y, one).error_before
        for one in (model, load(tmp_path / "model.kc"))
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-10)


def test_merged_and_weightless_samples(molecules):
    """The model saw a molecule twice, and one with no weight; it learnt other labels than y."""
    rows = [*range(len(molecules)), 3, 4]
    many = molecules[rows]
    labels = many["atomization_energy"].copy()
    labels[-2] += 4.0
    weights = np.ones(len(many))
    weights[5], weights[-2] = 0.0, 3.0
    y = labels + 0.1 * many["gfn2_atomization_energy"]
    model = krr().fit(many, labels, sample_weight=weights)
    found = choose_parameters(BASELINES, many, y, model, n_starts=1)
    distinct = np.delete(np.arange(len(molecules)), 5)
    targets = y[distinct]
    targets[3] = (y[3] + 3 * y[-2]) / 4
    energies = energies_of(BASELINES, molecules[distinct])
    residuals = refits(model, energies, targets[:, None], fitted=True)
    assert found.error_before == pytest.approx(np.abs(residuals).mean(), rel=1e-7)


def test_molecules_that_cannot_be_left_out_do_not_count():
    data = load_qm_small()
    has = np.array([9 in one.numbers for one in data])
    rows = [*np.flatnonzero(~has)[:40], np.flatnonzero(has)[0]]
    few = data[rows]
    y = few["atomization_energy"]
    with pytest.warns(KernchemWarning, match="cannot be left out"):
        model = krr().fit(few, y)
    found = choose_parameters(ZBL(screening_bounds=(0.5, 2.0)), few, y, model, slope=1)
    assert found.error_without == pytest.approx(np.nanmean(np.abs(model.loo_residuals_)), rel=1e-8)
    assert np.isfinite(found.error_after)


def test_what_cannot_be_used_is_named(molecules):
    y = molecules["atomization_energy"]
    model, zbl = krr().fit(molecules, y), ZBL()

    def choose(baselines=zbl, X=molecules, y=y, model=model, **settings):
        return choose_parameters(baselines, X, y, model, **settings)

    for settings, text in (
        ({"baselines": [ZBL(), ZBL()]}, "not determined"),
        ({"baselines": []}, "give pair potentials"),
        ({"baselines": ["gfn2"]}, "give pair potentials"),
        ({"slope": 2}, "slope=2"),
        ({"criterion": "r2"}, "criterion"),
        ({"n_starts": 0}, "n_starts=0"),
        ({"X": molecules[:10], "y": y[:10]}, "the model was fitted to"),
        ({"model": KRR()}, "takes structures"),
        ({"model": "krr"}, "takes structures"),
    ):
        with pytest.raises(SettingError, match=text):
            choose(**settings)
    with pytest.raises(NotFittedError):
        choose(model=krr())
    with pytest.raises(StructureError, match="no decay of"):
        choose(baselines=YukawaCore(decay={"C": 0.2}))


def test_a_baseline_that_the_composition_explains_has_no_slope():
    # Bonds of one length between two elements: one energy per molecule, whatever it is.
    far = [[[0, 0, 0], [1.0, 0, 0]]] * 3 + [[[0, 0, 0], [1.0 + k / 10, 0, 0]] for k in range(3)]
    same = Structures.from_arrays([[7, 7]] * 6, far)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        model = krr().fit(same, np.arange(6.0))
    with pytest.raises(SettingError, match="not determined"):
        choose_parameters(DampedCoulomb(), same, np.arange(6.0), model)
    assert choose_parameters(DampedCoulomb(), same, np.arange(6.0), model, slope=1).error_after > 0
