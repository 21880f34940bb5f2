"""Bond additivity corrections below a DeltaLearner, against ridge regression written out."""

import numpy as np
import pytest
from delta_oracle import element_counts
from effort import size
from fake_baseline import FakeBonds
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline

import kernchem
from kernchem.baselines import GFN2, BondAdditivity
from kernchem.datasets import load_qm_small
from kernchem.descriptors import CoulombMatrix
from kernchem.errors import KernchemWarning, SettingError, UnknownElementError
from kernchem.kernels import Laplacian
from kernchem.models import KRR, DeltaLearner

FIXED = {"alpha": 1e-6, "optimizer": None}


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[: size(120, 80)]


@pytest.fixture
def krr():
    return KRR(Laplacian(500.0), descriptor=CoulombMatrix(size=23), **FIXED)


@pytest.fixture
def program(tmp_path):
    return FakeBonds(tmp_path / "calls")


def ordinary(columns, basis, y, std):
    """Ridge regression beside a free basis, the variance found in turn with the slopes."""
    q = np.linalg.qr(basis)[0]
    rest, target = columns - q @ (q.T @ columns), y - q @ (q.T @ y)
    free = np.isinf(std)
    slopes = np.zeros(len(std))
    slopes[free] = np.linalg.solve(rest[:, free].T @ rest[:, free], rest[:, free].T @ target)
    for _ in range(3):
        variance = np.mean((target - rest @ slopes) ** 2)
        gram = rest.T @ rest + np.diag(variance / std**2)
        slopes = np.linalg.solve(gram, rest.T @ target)
    return slopes


def joint(columns, basis, y, std, K):
    """The same with the kernel on top, at the amplitude of its leave-one-out residuals."""
    P = np.linalg.inv(K)
    Q = P - P @ basis @ np.linalg.solve(basis.T @ P @ basis, basis.T @ P)
    dual = Q @ (y - columns @ ordinary(columns, basis, y, std))
    amplitude = np.mean(dual**2 / np.diag(Q))
    gram = columns.T @ Q @ columns + np.diag(amplitude / std**2)
    return np.linalg.solve(gram, columns.T @ Q @ y)


@pytest.mark.parametrize("std", [0.5, 24.0, 1e6])
def test_slopes_are_those_of_ridge_regression(small, krr, program, std):
    y = small["atomization_energy"]
    below = BondAdditivity(program, std=std)
    model = DeltaLearner(krr, below).fit(small, y)
    columns = model.baseline_[0].columns(small)
    stds = np.array([np.inf] + [std] * (columns.shape[1] - 1))
    features = CoulombMatrix(size=23).fit_transform(small)
    K = Laplacian(500.0)(features) + 1e-6 * np.eye(len(small))
    expected = joint(columns, element_counts(small), y, stds, K)
    assert_allclose(model.slope_, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
    # Under other models there is no kernel to fit them with.
    other = DeltaLearner(make_pipeline(CoulombMatrix(size=23), KRR(**FIXED)), below).fit(small, y)
    expected = ordinary(columns, element_counts(small), y, stds)
    assert_allclose(other.slope_, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


def test_little_is_believed_of_bonds_of_small_std(small, krr, program):
    y = small["atomization_energy"]
    tight = DeltaLearner(krr, BondAdditivity(program, std=1e-6)).fit(small, y)
    plain = DeltaLearner(krr, program).fit(small, y)
    assert_allclose(tight.slope_[0], plain.slope_[0], rtol=1e-6)
    assert_allclose(tight.predict(small[:5]), plain.predict(small[:5]), rtol=1e-6)


def test_learns_what_is_proportional_to_bonds(small, krr, program):
    """Energies that are sums over bonds are learnt but for what the penalty takes."""
    columns = BondAdditivity(program).fit_columns(small)[1]
    slopes = np.random.default_rng(1).normal(scale=20.0, size=columns.shape[1] - 1)
    y = 0.7 * columns[:, 0] + columns[:, 1:] @ slopes
    train, test = small[:-20], small[-20:]
    errors = [
        np.abs(DeltaLearner(krr, below).fit(train, y[:-20]).predict(test) - y[-20:]).mean()
        for below in (program, BondAdditivity(program))
    ]
    assert errors[1] < 0.1 * errors[0]


def test_bonds_that_no_label_knows_are_not_corrected(small, krr, program):
    with_oxygen = np.array([8 in s.numbers for s in small])
    with_nitrogen = np.array([7 in s.numbers for s in small])
    train = small[~(with_oxygen & with_nitrogen)]
    model = DeltaLearner(krr, BondAdditivity(program)).fit(train, train["atomization_energy"])
    names = model.baseline_[0].column_names()
    assert model.slope_[names.index("N-O")] == pytest.approx(0.0, abs=1e-12)
    assert np.isfinite(model.predict(small)).all()
    hydrocarbons = small[~(with_oxygen | with_nitrogen)]
    hydrocarbons = hydrocarbons[[set(s.numbers) <= {1, 6} for s in hydrocarbons]]
    few = DeltaLearner(krr, BondAdditivity(program, std=1.0), slope="fit")
    with pytest.warns(KernchemWarning, match="do not determine a slope"):
        few.fit(hydrocarbons[:8], hydrocarbons["atomization_energy"][:8])
    assert few.slope_.tolist() == [1.0, 0.0, 0.0, 0.0]
    with pytest.raises(UnknownElementError):
        few.predict(small[with_oxygen])


def test_works_in_searches(small, krr, program):
    y = small["atomization_energy"]
    model = DeltaLearner(krr, BondAdditivity(program))
    assert len(cross_val_predict(model, small[:60], y[:60], cv=3)) == 60
    grid = {"baseline__std": [1.0, 24.0]}
    found = GridSearchCV(model, grid, cv=3).fit(small[:60], y[:60])
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    twice = clone(model).fit(small, y).fit(small[:60], y[:60])
    assert_allclose(
        twice.predict(small), clone(model).fit(small[:60], y[:60]).predict(small), rtol=1e-12
    )


def test_one_slope_is_not_enough_for_bonds(small, krr, program):
    with pytest.raises(SettingError, match="slope=1 takes one column"):
        DeltaLearner(krr, BondAdditivity(program), slope=1).fit(small, small["atomization_energy"])


def test_goes_through_files_without_caches(small, krr, tmp_path):
    pytest.importorskip("tblite.interface")
    few, y = small[:60], small["atomization_energy"][:60]
    below = BondAdditivity(GFN2(n_jobs=1, cache=tmp_path / "cache"), std=10.0)
    model = DeltaLearner(krr, ["gfn2_atomization_energy", below]).fit(few, y)
    kernchem.save(model, tmp_path / "model.kc")
    loaded = kernchem.load(tmp_path / "model.kc")
    kept = loaded.baseline_[1]
    assert (kept.baseline.cache, kept.std, kept.species) == (None, 10.0, [1, 6, 7, 8, 9])
    assert_allclose(loaded.predict(few[:4]), model.predict(few[:4]), rtol=1e-9)
