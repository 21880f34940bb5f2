import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn import metrics
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from kernchem import uncertainty
from kernchem.benchmark.candidates import DESCRIPTORS, list_candidates
from kernchem.benchmark.protocol import ERROR_BARS, Protocol, Task, error_metrics
from kernchem.datasets import load_qm_small
from kernchem.descriptors import BagOfBonds, CoulombMatrix
from kernchem.errors import SettingError
from kernchem.kernels import Average, Gaussian
from kernchem.models import GPR, KRR, DeltaLearner, Term
from kernchem.models.terms import TermProduct
from kernchem.structures import Structures

TARGET, GFN2 = "atomization_energy", "gfn2_atomization_energy"


@pytest.fixture(scope="module")
def small():
    return load_qm_small()[:40]


def counts(structures):
    return np.array([[(s.numbers == z).sum() for z in (1, 6, 7, 8, 9)] for s in structures])


def protocol(n, sizes=(10, 20), test_size=8, repeats=2, seed=3):
    return Protocol.checked(n, sizes, test_size, repeats, seed)


# -- splits ---------------------------------------------------------------------------------------


def test_training_sets_are_nested_and_the_test_set_is_apart():
    made = protocol(40, sizes=(5, 20, 32))
    for repeat in range(2):
        splits = [made.split(repeat, size) for size in made.sizes]
        for (small_train, _), (large_train, _) in itertools.pairwise(splits):
            assert_array_equal(small_train, large_train[: len(small_train)])
        for train, test in splits:
            assert_array_equal(test, splits[0][1])
            assert len(set(train) | set(test)) == len(train) + 8
    assert sorted(np.concatenate(made.split(0, 32))) == list(range(40))


def test_the_split_is_the_documented_permutation():
    order = np.random.default_rng([3, 1]).permutation(40)
    train, test = protocol(40).split(1, 10)
    assert_array_equal(train, order[:10])
    assert_array_equal(test, order[-8:])


def test_repeats_and_seeds_give_other_splits():
    first = protocol(40).split(0, 20)[0]
    assert not np.array_equal(first, protocol(40).split(1, 20)[0])
    assert not np.array_equal(first, protocol(40, seed=4).split(0, 20)[0])


def test_order_of_sizes_does_not_matter():
    assert protocol(40, sizes=[20, 10, 20]).sizes == (10, 20)


@pytest.mark.parametrize(
    ("n", "sizes", "test_size"),
    [
        (1280, (125, 250, 500, 1000), 280),
        (1250, (125, 250, 500, 1000), 250),
        (6101, (125, 250, 500, 1000), 1000),
        (100, (10, 20, 40, 80), 20),
        (3, (2,), 1),
    ],
)
def test_default_sizes(n, sizes, test_size):
    made = Protocol.checked(n, None, None, 1, 0)
    assert (made.sizes, made.test_size) == (sizes, test_size)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (10, 33)}, "33 molecules to train on and 8 .* 40 there are; use sizes up to 32"),
        ({"sizes": (10,), "test_size": 31}, "use sizes up to 9"),
        ({"sizes": ()}, "use sizes up to 32"),
        ({"sizes": (1,)}, "sizes: 1 is no whole number from 2 on"),
        ({"sizes": (10.5,)}, "sizes: 10.5"),
        ({"test_size": 0}, "test_size: 0"),
        ({"test_size": 40, "sizes": None}, "40 to test on"),
        ({"repeats": 0}, "repeats: 0"),
        ({"seed": -1}, "seed: -1"),
        ({"n": 2}, "at least 3 molecules"),
    ],
)
def test_numbers_that_do_not_fit(change, message):
    with pytest.raises(SettingError, match=message):
        protocol(**{"n": 40, **change})


# -- what is measured -----------------------------------------------------------------------------


def test_metrics_are_those_of_scikit_learn(rng):
    y, predicted = rng.normal(size=101), rng.normal(size=101)
    found = error_metrics(y, predicted)
    assert_allclose(found["mae"], metrics.mean_absolute_error(y, predicted))
    assert_allclose(found["rmse"], metrics.root_mean_squared_error(y, predicted))
    assert_allclose(found["max_error"], metrics.max_error(y, predicted))
    assert_allclose(found["r2"], metrics.r2_score(y, predicted))
    # Of 101 values the 96th is the 95th percentile, with nothing to interpolate.
    assert_allclose(found["p95"], np.sort(np.abs(y - predicted))[95])


def test_r2_of_equal_labels_is_undefined():
    assert error_metrics(np.ones(3), np.zeros(3))["r2"] is None


@pytest.mark.parametrize("mode", ["direct", "delta"])
def test_record_of_a_fit_equals_one_by_hand(small, mode):
    made = protocol(40)
    candidate = list_candidates("cm", "auto")[1]
    record = made.measure(Task(1, 30, mode, candidate), small, TARGET, GFN2)
    order = np.random.default_rng([3, 1]).permutation(40)
    train, test = small[order[:30]], small[order[-8:]]
    model = KRR("laplacian", descriptor=CoulombMatrix())
    if mode == "delta":
        model = DeltaLearner(model, GFN2)
    model.fit(train, train[TARGET])
    krr = getattr(model, "model_", model)
    assert_allclose(
        record["mae"], metrics.mean_absolute_error(test[TARGET], model.predict(test)), rtol=1e-6
    )
    assert_allclose(record["loo_mae"], np.nanmean(np.abs(krr.loo_residuals_)), rtol=1e-6)
    assert_allclose(record["length_scale"], krr.kernel_.length_scale)
    assert_allclose(record["alpha"], krr.alpha_)
    assert record["jitter"] == 0.0
    assert record["condition"] > 1
    assert min(record["fit_seconds"], record["predict_seconds"]) > 0
    assert (record["descriptor"], record["kernel"]) == ("cm", "laplacian")
    assert (record["n_train"], record["n_test"], record["repeat"]) == (30, 8, 1)
    assert record["failure"] is None


@pytest.mark.parametrize("mode", ["direct", "delta"])
def test_reference_is_least_squares_on_element_counts(small, mode):
    made = protocol(40, sizes=(30,))
    record = made.measure(Task(0, 30, mode, list_candidates("cm", "auto")[0]), small, TARGET, GFN2)
    train, test = made.split(0, 30)
    X = counts(small)
    if mode == "delta":
        X = np.column_stack([X, small[GFN2]])
    peer = LinearRegression(fit_intercept=False).fit(X[train], small[TARGET][train])
    error = metrics.mean_absolute_error(small[TARGET][test], peer.predict(X[test]))
    assert_allclose(record["mae"], error, rtol=1e-6)
    assert record["alpha"] is record["loo_mae"] is None


def test_error_bars_of_a_process_equal_those_by_hand(small):
    made, own = protocol(40), {"model": "gpr", "alpha": 1e-4}
    reference, candidate = list_candidates("cm", "gaussian")
    record = made.measure(Task(1, 30, "delta", candidate), small, TARGET, GFN2, own)
    train, test = (small[rows] for rows in made.split(1, 30))
    model = DeltaLearner(GPR("gaussian", alpha=1e-4, descriptor=CoulombMatrix()), GFN2)
    mean, std = model.fit(train, train[TARGET]).predict(test, return_std=True)
    y = test[TARGET]
    errors = np.abs(y - mean)
    assert_allclose(record["mae"], errors.mean(), rtol=1e-6)
    assert_allclose(record["loo_mae"], np.nanmean(np.abs(model.model_.loo_residuals_)), rtol=1e-6)
    assert record["coverage_90"] == np.mean(errors <= stats.norm.ppf(0.95) * std)
    assert_allclose(record["sharpness"], np.sqrt(np.mean(std**2)), rtol=1e-6)
    assert_allclose(record["nll"], -stats.norm.logpdf(y, mean, std).mean(), rtol=1e-6)
    assert_allclose(record["error_spearman"], stats.spearmanr(errors, std)[0], atol=1e-12)
    assert_allclose(record["crps"], uncertainty.crps(y, mean, std), rtol=1e-6)
    assert_allclose(record["ence"], uncertainty.ence(y, mean, std), rtol=1e-6)
    area = uncertainty.miscalibration_area(y, mean, std)
    assert_allclose(record["miscalibration_area"], area, rtol=1e-6)
    alone = made.measure(Task(1, 30, "delta", reference), small, TARGET, GFN2, own)
    assert list(alone) == list(record)
    assert {alone[name] for name in ERROR_BARS} == {None}


def test_fit_without_an_element_is_recorded_as_failed(small):
    made = protocol(40)
    train, test = made.split(0, 10)
    numbers = [np.array(s.numbers) for s in small]
    numbers[test[0]][numbers[test[0]] == 6] = 14
    foreign = Structures.from_arrays(
        numbers, [s.positions for s in small], properties={TARGET: small[TARGET]}
    )
    assert 14 in foreign[test].elements
    assert 14 not in foreign[train].elements
    candidate = list_candidates("cm", "auto")[1]
    record = made.measure(Task(0, 10, "direct", candidate), foreign, TARGET, None)
    assert "Si" in record["failure"]
    assert record["mae"] is None


def test_warnings_are_kept_in_the_record(small):
    reference = list_candidates("cm", "auto")[0]
    record = protocol(40).measure(Task(0, 10, "delta", reference), small, TARGET, GFN2)
    assert len(record["warnings"]) == 1
    assert "slope 1" in record["warnings"][0]


# -- what is compared -----------------------------------------------------------------------------


def test_all_descriptors_by_default():
    found = list_candidates(None, "auto")
    assert [candidate.descriptor for candidate in found] == [
        "composition", "cm", "cm-eigenspectrum", "bob", "encoded-bonds", "encoded-bonds-3",
    ]  # fmt: skip
    assert {candidate.kernel for candidate in found} == {"", "laplacian", "gaussian"}


def test_names_make_the_descriptors_they_promise():
    made = {name: make() for name, make in DESCRIPTORS.items()}
    assert made["cm"].permutation == "sorted"
    assert made["cm-eigenspectrum"].permutation == "eigenspectrum"
    assert made["encoded-bonds"].max_bonds is None
    assert made["encoded-bonds-3"].max_bonds == 3
    assert (made["overlap-s"].orbitals, made["overlap-sp"].orbitals) == ("s", "sp")


def test_every_descriptor_with_every_kernel_once():
    found = list_candidates(["cm", "bob", "cm"], ["auto", "gaussian", "laplacian"])
    labels = [(candidate.descriptor, candidate.kernel) for candidate in found[1:]]
    # The recommended kernel of both is the Laplacian one, which "auto" names already.
    assert labels == [
        ("cm", "laplacian"), ("cm", "gaussian"), ("bob", "laplacian"), ("bob", "gaussian"),
    ]  # fmt: skip


def test_objects_are_labelled_by_their_settings():
    descriptor, kernel = CoulombMatrix(size=23), Gaussian(7.0)
    found = list_candidates(descriptor, kernel)[1]
    assert found.descriptor == "CoulombMatrix(size=23)"
    assert "7" in found.kernel
    model = found.estimator(None)
    assert model.kernel == kernel
    assert model.descriptor.size == 23
    assert model.descriptor is not descriptor


BAGS = {(1, k): 5 for k in range(1, 101)}
OTHER_BAGS = {**BAGS, (1, 100): 6}


@pytest.mark.parametrize(
    ("descriptors", "kernels", "labels"),
    [
        ("bob", [Gaussian(10.0, "fixed"), Gaussian(10.0)], ["Gaussian(length_scale=10)"] * 2),
        ("bob", [Gaussian(10.0), Gaussian(10.04)], ["Gaussian(length_scale=10)"] * 2),
        ("fchl19", [Average(Gaussian(10.0)), Average(Gaussian(10.04))], None),
        ([BagOfBonds(bags=BAGS), BagOfBonds(bags=OTHER_BAGS)], "auto", None),
        ([Term(CoulombMatrix(), Gaussian(1.0, b)) for b in ("fixed", (0.1, 9.0))], "auto", None),
        ([Term(BagOfBonds(bags=bags)) for bags in (BAGS, OTHER_BAGS)], "auto", None),
        ([TermProduct([Term(BagOfBonds())], weight=w) for w in (0.1, 0.1 + 1e-9)], "auto", None),
    ],
)
def test_objects_that_look_alike_are_told_apart(descriptors, kernels, labels):
    def identities(descriptors, kernels):
        return [one.describe() for one in list_candidates(descriptors, kernels)[1:]]

    found = list_candidates(descriptors, kernels)[1:]
    assert len(found) == 2
    assert len({(one.descriptor, one.kernel) for one in found}) == 2
    if labels is not None:
        assert [one.kernel for one in found] == [labels[0], f"{labels[1]} (2)"]
    # Alone, neither can be taken for the other; twice, each is there once.
    several = isinstance(descriptors, list)
    pairs = [(one, kernels) if several else (descriptors, one) for one in
             (descriptors if several else kernels)]  # fmt: skip
    alone = [identities(*pair) for pair in pairs]
    assert [len(one) for one in alone] == [1, 1]
    assert alone[0] != alone[1]
    first, kernel = pairs[0]
    assert identities([first, clone(first)] if several else first, kernel) == alone[0]


def test_identities_that_older_runs_have_written_down():
    found = list_candidates(["bob", CoulombMatrix(size=9)], ["auto", "gaussian"])
    found += list_candidates("fchl19", "average-gaussian")[1:]
    assert [one.describe() for one in found] == [
        "composition None",
        "bob laplacian (BagOfBonds(), 'laplacian')",
        "bob gaussian (BagOfBonds(), 'gaussian')",
        "CoulombMatrix(size=9) laplacian (CoulombMatrix(size=9), 'laplacian')",
        "CoulombMatrix(size=9) gaussian (CoulombMatrix(size=9), 'gaussian')",
        "fchl19 average-gaussian (FCHL19(), Average(Gaussian(length_scale=1)))",
    ]


@pytest.mark.parametrize(
    ("descriptors", "kernels", "message"),
    [
        ("cmm", "auto", "no descriptor 'cmm'; use cm, cm-eigenspectrum, bob"),
        (["cm", 3], "auto", "no descriptor 3"),
        ("cm", "matern", "'matern' is unknown; use auto, gaussian, laplacian"),
        ("cm", 1.0, "float 1.0 is unknown"),
        ([], "auto", "nothing to compare"),
        ("cm", [], "nothing to compare"),
    ],
)
def test_unknown_names(descriptors, kernels, message):
    with pytest.raises(SettingError, match=message):
        list_candidates(descriptors, kernels)
