"""Gaussian processes come back from files with their error bars, to the last bit."""

import warnings

import numpy as np
import pytest
from model_checks import last, outcome, same, saved_and_loaded
from model_writer import parts
from scipy.stats import norm
from sklearn.base import clone
from sklearn.gaussian_process import kernels as sk
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline

import kernchem
from kernchem import GPR, DeltaLearner
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix, EncodedBonds, OverlapEigenvalues
from kernchem.errors import KernchemWarning, ModelFileError
from kernchem.kernels import AtomSum, Average, Gaussian, Laplacian
from kernchem.model_files import read_info
from kernchem.models import Term
from kernchem.solvers import CholeskyFactor

FIXED = {"optimizer": None, "alpha": 1e-3}
GFN2 = "gfn2_atomization_energy"
METHODS = ("calibrated", "gaussian", "jackknife+", "cv+", "conformal")
DATA = load_qm_small()
#: Without fluorine, and small ones: others are larger, and hold an element that was not learnt.
PLAIN = DATA[[k for k, m in enumerate(DATA) if 9 not in m.numbers and len(m.numbers) < 9]]
TRAIN = PLAIN[:16]
LARGER = DATA[[k for k, m in enumerate(DATA) if 9 not in m.numbers and len(m.numbers) == 11]][:2]
FLUORINE = DATA[[k for k, m in enumerate(DATA) if 9 in m.numbers]][:2]
Y = TRAIN["atomization_energy"]
TWO = np.stack([Y, TRAIN["gap"]], axis=1)
ATOMS = OverlapEigenvalues("s", r_cut=3.0)
TERMS = (
    Term(EncodedBonds(grid=(0.4, 3.0, 20)), "gaussian", width=4.0)
    + 0.1 * Term(ATOMS, AtomSum(Gaussian(0.5), n_jobs=1), width=2.0)
    + 0.5 * Term(ATOMS, Average(Gaussian(0.5))) * Term(CoulombMatrix(), Laplacian(500.0))
)
RNG = np.random.default_rng(5)
X = RNG.uniform(0.0, 4.0, (40, 3))
Z = np.sin(X).sum(axis=1) + 0.1 * RNG.normal(size=40)
SOURCES = np.where(np.arange(40) % 3 == 0, "old", "new")
NEW, NEW_Z = X[:4] + 0.3, Z[:4] + 0.1


def molecular(kernel, y=Y, descriptor=None, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        return GPR(kernel, descriptor=descriptor, **(settings or FIXED)).fit(TRAIN, y)


def on_arrays(kernel=None, y=Z, settings=None, **given):
    return GPR(kernel, **({"alpha": 0.01} if settings is None else settings)).fit(X, y, **given)


def around(model, y=Y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        return model.fit(TRAIN, y)


def grown(model):
    return model.append(NEW, NEW_Z).forget([1, 41])


MOLECULAR = {
    "bags": lambda: molecular("laplacian", descriptor=BagOfBonds(), alpha="fit"),
    "two targets": lambda: molecular(Laplacian(500.0), TWO, CoulombMatrix()),
    "one column": lambda: molecular(Laplacian(500.0), Y[:, None], CoulombMatrix()),
    "terms": lambda: molecular(TERMS),
    "terms, tuned": lambda: molecular(TERMS, alpha="fit"),
    "terms, more": lambda: molecular(TERMS).append(PLAIN[16:18], Y[:2]).forget([3]),
    "composite": lambda: molecular("composite"),
    "atoms": lambda: molecular("gaussian", descriptor=ATOMS),
    "no composition": lambda: molecular(
        Laplacian(500.0), descriptor=CoulombMatrix(), composition=False, **FIXED
    ),
    "wider": lambda: molecular(Laplacian(500.0), descriptor=CoulombMatrix()).append(
        LARGER[:1], [-1000.0]
    ),
    "difference": lambda: around(
        DeltaLearner(GPR(Laplacian(500.0), descriptor=CoulombMatrix(), **FIXED), GFN2), TWO
    ),
    "difference of a pipeline": lambda: around(
        DeltaLearner(make_pipeline(CoulombMatrix(size=11), GPR(Laplacian(500.0), **FIXED)), GFN2)
    ),
    "pipeline": lambda: around(make_pipeline(CoulombMatrix(), GPR(Laplacian(500.0), **FIXED))),
    "pipeline of one": lambda: around(
        Pipeline([("model", GPR(Laplacian(500.0), descriptor=CoulombMatrix(), **FIXED))])
    ),
}
ON_ARRAYS = {
    "tuned": lambda: on_arrays(settings={}),
    "likelihood": lambda: on_arrays(settings={"optimizer": "lml", "amplitude": "lml"}),
    "three targets": lambda: on_arrays(y=np.stack([Z, X[:, 0] + 0.1 * Z, Z**2], axis=1)),
    "sum": lambda: on_arrays(sk.ConstantKernel(2.0) * Gaussian(1.5) + sk.RBF(np.ones(3))),
    "amplitude": lambda: on_arrays(Gaussian(), settings={"amplitude": 2.0, **FIXED}),
    "not calibrated": lambda: on_arrays(settings={"calibration": None, "alpha": 0.01}),
    "calibrated": lambda: on_arrays().calibrate(NEW, NEW_Z),
    "groups of noise": lambda: on_arrays(settings={}, noise_groups=SOURCES),
    "numbers of groups": lambda: on_arrays(noise_groups=np.arange(40) % 3),
    "known noise": lambda: on_arrays(settings={}, noise=0.05 + 0.1 * (X[:, 0] > 2.0)),
    "both": lambda: on_arrays(settings={}, noise=0.1, noise_groups=SOURCES),
    "weights and copies": lambda: GPR(Gaussian(), **FIXED).fit(
        np.vstack([X, X[:3]]), np.append(Z, Z[:3] + 0.1), np.append(np.arange(40.0), np.ones(3))
    ),
    "few": lambda: GPR(Gaussian(), **FIXED).fit(X[:3], Z[:3]),
    "folds": lambda: on_arrays(settings={"cv": KFold(4, shuffle=True, random_state=3)}),
    "restarts": lambda: on_arrays(settings={"n_restarts": 1, "random_state": 7}),
    "more and fewer": lambda: grown(on_arrays()),
    "not learnt anew": lambda: on_arrays().append(NEW, NEW_Z, calibrate=False),
}
#: As plain Python these take half a minute.
SLOW = ("composite", "terms, tuned")
CHANGED = ("terms, more", "wider", "more and fewer", "not learnt anew")


def answers(model, samples):
    """Whatever a process, or what holds one, is asked for."""
    yield outcome(model.predict, samples)
    yield outcome(lambda: model.predict(samples, return_std=True))
    yield outcome(lambda: model.predict(samples, return_cov=True))
    if not isinstance(model, GPR):
        return
    for method in METHODS:
        yield outcome(model.predict_interval, samples, 0.8, method)
    yield outcome(model.sample_y, samples, 2)
    for cv in (None, KFold(3)):
        yield outcome(model.leave_out, cv)
        yield outcome(model.leave_out_residuals, cv)
    yield outcome(model.log_marginal_likelihood)


def assert_alike(one, other):
    """The same numbers but for rounding."""
    if isinstance(one, str):
        assert one == other
        return
    for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (one, other)), strict=True):
        size = np.max(np.abs(a), initial=0.0, where=np.isfinite(a))
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9 * size)


def assert_equal_processes(model, loaded, samples, *, changed=False):
    assert same(model, loaded)
    assert repr(model) == repr(loaded)
    assert "_posterior" not in vars(last(loaded))
    for batch in samples:
        for own, other in zip(answers(model, batch), answers(loaded, batch), strict=True):
            if changed:
                assert_alike(own, other)
            else:
                assert same(own, other)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in MOLECULAR],
)
def test_processes_of_molecules(name, tmp_path):
    model = MOLECULAR[name]()
    loaded = saved_and_loaded(model, tmp_path)
    kernchem.save(loaded, tmp_path / "again.kc")
    assert (tmp_path / "again.kc").read_bytes() == (tmp_path / "model.kc").read_bytes()
    samples = [PLAIN[16:19], LARGER, FLUORINE]
    assert_equal_processes(model, loaded, samples, changed=name in CHANGED)


@pytest.mark.parametrize("name", ON_ARRAYS)
def test_processes_on_arrays(name, tmp_path):
    model = ON_ARRAYS[name]()
    loaded = saved_and_loaded(model, tmp_path)
    assert_equal_processes(model, loaded, [NEW], changed=name in CHANGED)


@pytest.mark.parametrize("name", ["groups of noise", "known noise", "both"])
def test_noise_comes_back(name, tmp_path):
    loaded = saved_and_loaded(ON_ARRAYS[name](), tmp_path)
    errors = loaded._training.errors
    if name != "known noise":
        assert loaded.noise_groups_ == errors.names == ("new", "old")
        assert loaded.alpha_.shape == (2,)
        np.testing.assert_array_equal(errors.groups, SOURCES == "old")
    if name != "groups of noise":
        expected = 0.01 if name == "both" else (0.05 + 0.1 * (X[:, 0] > 2.0)) ** 2
        np.testing.assert_allclose(errors.variances, np.broadcast_to(expected, 40))


def test_further_labels_after_loading(tmp_path):
    for fit, new in (
        (lambda: on_arrays(noise=0.1, noise_groups=SOURCES), {"noise": 0.2}),
        (lambda: on_arrays(settings={"amplitude": 1.0, "alpha": 0.1}), {}),
    ):
        model = fit()
        loaded = saved_and_loaded(model, tmp_path)
        given = {**new, "noise_groups": ["old", "new"] * 2} if new else {}
        for one in (model, loaded):
            one.append(NEW, NEW_Z, **given).forget([0, 40], calibrate=False)
        assert same(model, loaded)
        for own, other in zip(answers(model, X[:3]), answers(loaded, X[:3]), strict=True):
            assert same(own, other)
    model = MOLECULAR["two targets"]()
    loaded = saved_and_loaded(model, tmp_path)
    for one in (model, loaded):
        one.append(LARGER, np.array([[-1000.0, 0.2], [-1100.0, 0.3]]))
    assert same(model, loaded)
    assert same(loaded, saved_and_loaded(loaded, tmp_path))


def test_loading_and_means_take_no_factor(tmp_path, monkeypatch):
    model = on_arrays()
    expected = model.predict(NEW, return_std=True)

    def refuse(*arguments, **settings):
        raise AssertionError("factorised")

    kernchem.save(model, tmp_path / "model.kc")
    _, members = parts((tmp_path / "model.kc").read_bytes())
    assert max(map(len, members.values())) < 8 * 40 * 40
    with monkeypatch.context() as patch:
        patch.setattr(CholeskyFactor, "__init__", refuse)
        patch.setattr(CholeskyFactor, "attempt", refuse)
        loaded = kernchem.load(tmp_path / "model.kc")
        assert same(loaded.predict(NEW), expected[0])
        kernchem.save(loaded, tmp_path / "model.kc")
        with pytest.raises(AssertionError, match="factorised"):
            loaded.predict(NEW, return_std=True)
    assert same(loaded.predict(NEW, return_std=True), expected)


def test_a_loaded_process_can_be_fitted_anew(tmp_path):
    model = ON_ARRAYS["calibrated"]()
    loaded = saved_and_loaded(model, tmp_path)
    loaded.predict(NEW, return_std=True)
    loaded.fit(X[:30], Z[:30])
    assert same(loaded, clone(model).fit(X[:30], Z[:30]))
    assert not hasattr(loaded, "_scores")


def test_what_is_said_of_processes(tmp_path):
    model = MOLECULAR["two targets"]()
    info = saved_and_loaded(model, tmp_path, unit="eV").model_info_
    assert read_info(tmp_path / "model.kc") == info
    assert info.model_class == "kernchem.GPR"
    assert info.amplitude == tuple(model.amplitude_)
    assert info.calibration == "scale"
    known = np.isfinite(model.loo_residuals_).all(axis=1)
    scores = np.abs(model.loo_residuals_ / model.loo_std_)[known]
    assert info.loo_coverage == tuple((scores < norm.ppf(0.95)).mean(axis=0))
    assert (info.alpha, info.n_training, info.n_targets) == (1e-3, 16, 2)
    assert info.citations[0].startswith("C. E. Rasmussen")
    info = saved_and_loaded(ON_ARRAYS["groups of noise"](), tmp_path).model_info_
    assert info.alpha == tuple(ON_ARRAYS["groups of noise"]().alpha_)
    info = saved_and_loaded(ON_ARRAYS["not calibrated"](), tmp_path).model_info_
    assert info.calibration is None
    assert info.alpha == 0.01
    info = saved_and_loaded(MOLECULAR["difference"](), tmp_path).model_info_
    assert len(info.amplitude) == 2
    assert info.baseline == (GFN2,)


@pytest.mark.parametrize("names", [["a\nb", "c"], [b"a", b"c"], ["x" * 20_000, "c"]])
def test_names_of_groups_that_cannot_be_kept(names, tmp_path):
    model = on_arrays(noise_groups=np.array(names)[np.arange(40) % 2])
    with pytest.raises(ModelFileError, match="group of noise"):
        kernchem.save(model, tmp_path / "model.kc")


def test_the_search_is_kept(tmp_path):
    model = ON_ARRAYS["tuned"]()
    loaded = saved_and_loaded(model, tmp_path)
    assert same(model.trials_, loaded.trials_)
    assert min(trial.error for trial in loaded.trials_) < 0.0
