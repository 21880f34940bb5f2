"""Models of several levels of theory come out of files as they went in."""

import numpy as np
import pytest
from model_checks import same, saved_and_loaded

import kernchem
from kernchem import MultiFidelityGPR
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix, OverlapEigenvalues
from kernchem.kernels import AtomSum, Gaussian, Laplacian
from kernchem.models import Term

FIXED = {"optimizer": None, "alpha": 1e-4}
METHODS = ["recursive", "joint", "multitask"]
TERMS = Term(BagOfBonds(), Laplacian(), width=4.0) + 0.5 * Term(CoulombMatrix(), Laplacian())


@pytest.fixture(scope="module")
def molecules():
    data = load_qm_small()[:60]
    y = np.stack([data["gfn2_atomization_energy"], data["atomization_energy"]], axis=1)
    y[25:40, 1] = np.nan
    return data, y


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "settings",
    [
        {"kernel": "laplacian", "descriptor": CoulombMatrix()},
        {"kernel": "laplacian", "descriptor": BagOfBonds(), "composition": False},
        {"kernel": TERMS, **FIXED},
    ],
    ids=["coulomb", "no composition", "terms"],
)
def test_models_of_molecules(method, settings, molecules, tmp_path):
    data, y = molecules
    model = MultiFidelityGPR(method=method, **settings).fit(data[:40], y[:40])
    loaded = saved_and_loaded(model, tmp_path)
    check(model, loaded, data[40:])
    kernchem.save(loaded, tmp_path / "again.kc")
    assert (tmp_path / "again.kc").read_bytes() == (tmp_path / "model.kc").read_bytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_levels", [1, 3])
def test_models_on_arrays(method, n_levels, rng, tmp_path):
    X = rng.normal(size=(30, 2))
    X[29] = X[3]
    y = np.stack([np.sin(X[:, 0]), 2 * np.sin(X[:, 0]) + 0.1 * X[:, 1], X.sum(axis=1)], axis=1)
    y[20:, 1], y[12:, 2] = np.nan, np.nan
    given = y if n_levels == 3 else y[:, 0]
    model = MultiFidelityGPR("laplacian", method=method).fit(X, given)
    check(model, saved_and_loaded(model, tmp_path), rng.normal(size=(5, 2)))


def check(model, loaded, new):
    """State, predictions of every level, intervals, what is left out and advice."""
    assert same(model, loaded)
    assert repr(model) == repr(loaded)
    n_levels = len(model.levels_)
    for level in range(n_levels):
        for how in ({}, {"return_std": True}, {"return_cov": True}):
            found = [one.predict(new, level=level, **how) for one in (model, loaded)]
            assert same(*found)
        assert same(*[one.predict_interval(new, 0.8, level=level) for one in (model, loaded)])
    assert same(*[one.leave_out_residuals(3) for one in (model, loaded)])
    assert same(*[one.advise(new, np.ones(n_levels), 2) for one in (model, loaded)])


def test_kernels_between_structures_and_fixed_slopes(molecules, tmp_path):
    data, y = molecules
    atoms = OverlapEigenvalues("s", r_cut=3.0)
    model = MultiFidelityGPR(AtomSum(Gaussian(0.5), n_jobs=1), descriptor=atoms, rho=1.0, **FIXED)
    model.fit(data[:20], y[:20])
    check(model, saved_and_loaded(model, tmp_path), data[40:45])


def test_what_the_file_says(molecules, tmp_path):
    data, y = molecules
    model = MultiFidelityGPR("laplacian", descriptor=CoulombMatrix()).fit(data, y)
    info = saved_and_loaded(model, tmp_path, target="E", unit="kcal/mol").model_info_
    assert (info.model_class, info.n_training, info.n_targets) == (
        "kernchem.MultiFidelityGPR",
        60,
        1,
    )
    assert info.elements == ("H", "C", "N", "O", "F")
    top = model.loo_residuals_[:, 1]
    assert info.loo_mae == (pytest.approx(np.nanmean(np.abs(top))),)
    assert len(info.amplitude) == 2
    assert info.kernel.count("Laplacian") == 2
    assert 0.6 < info.loo_coverage[0] <= 1.0
    assert any("biomet/87.1.1" in one for one in info.citations)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_loaded_model_is_refitted(method, molecules, tmp_path):
    data, y = molecules
    model = MultiFidelityGPR("laplacian", descriptor=CoulombMatrix(), method=method, **FIXED)
    loaded = saved_and_loaded(model.fit(data[:40], y[:40]), tmp_path)
    loaded.fit(data[:40], y[:40])
    assert same(model, loaded)
