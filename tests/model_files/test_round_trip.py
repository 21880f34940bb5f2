"""A loaded model is the saved one: state, predictions and errors, to the last bit."""

import dataclasses
import inspect
import warnings

import numpy as np
import pytest
from ase.build import molecule
from model_checks import last, outcome, same, saved_and_loaded
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import kernels as sk
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import kernchem
from kernchem import GPR, KRR, CompositionBaseline, DeltaLearner, kernels
from kernchem.datasets import load_qm_small
from kernchem.descriptors import (
    SLATM,
    BagOfBonds,
    CoulombMatrix,
    Descriptor,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
    Torsions,
)
from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import (
    CompositionError,
    KernchemWarning,
    LayoutError,
    ModelFileError,
    UnknownElementError,
)
from kernchem.kernels import AtomSum, Average, Gaussian, Laplacian, StructureKernel
from kernchem.model_files import ModelInfo, read_info
from kernchem.model_files.archive import Archive, write_archive
from kernchem.model_files.arrays import Input, Output
from kernchem.model_files.features import features_from, put_features
from kernchem.models import Term
from kernchem.structures import Structures

GFN2 = "gfn2_atomization_energy"
FIXED = {"optimizer": None, "alpha": 1e-6}

DATA = load_qm_small()
#: Without fluorine, and small ones: others are larger, and hold an element that was not learnt.
PLAIN = DATA[[k for k, m in enumerate(DATA) if 9 not in m.numbers and len(m.numbers) < 9]]
TRAIN = PLAIN[:16]
LARGER = DATA[[k for k, m in enumerate(DATA) if 9 not in m.numbers and len(m.numbers) == 11]][:2]
FLUORINE = DATA[[k for k, m in enumerate(DATA) if 9 in m.numbers]][:2]
Y = TRAIN["atomization_energy"]
TWO = np.stack([Y, TRAIN["gap"]], axis=1)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(24, 3))
Z = np.sin(X).sum(axis=1)
WATER = molecule("H2O")
FRAMES = Structures.from_arrays(WATER.numbers, WATER.positions + 0.05 * RNG.normal(size=(5, 3, 3)))


def molecular(descriptor, kernel=None, y=Y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        return KRR(kernel, descriptor=descriptor, **(settings or FIXED)).fit(TRAIN, y)


def refitted(descriptor, **settings):
    model = make_pipeline(descriptor, KRR(Laplacian(500.0), **FIXED)).fit(TRAIN, Y)
    model[0].set_params(**settings)
    return model.fit(TRAIN, Y)


def on_arrays(kernel, **settings):
    return KRR(kernel, **{**FIXED, "alpha": 1e-3, **settings}).fit(X, Z)


def difference(model, y=Y, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        return DeltaLearner(model, GFN2, **settings).fit(TRAIN, y)


def in_blocks(features):
    """The same features of atoms without most of their zeros: a block for each number of them."""
    counts = [np.flatnonzero(row).max(initial=-1) + 1 for row in features.values]
    blocks = []
    for count in set(counts):
        atoms = np.flatnonzero(np.equal(counts, count))
        blocks.append(FeatureBlock(atoms, np.arange(count), features.values[atoms, :count].copy()))
    return Environments.from_blocks(blocks, features.numbers, features.offsets, features.n_features)


def with_blocks(model):
    """The model with the training features as another descriptor might return them."""
    features = in_blocks(model._training.features)
    model._training = dataclasses.replace(model._training, features=features)
    return model


COARSE = {"r_cut": 3.0, "step_r": 0.3, "step_theta": 0.5, "sigma_r": 0.3, "sigma_theta": 0.5}
ATOMS = OverlapEigenvalues("s", r_cut=3.0)
PAIRS = AtomSum(Gaussian(0.5), n_jobs=1)
TERMS = (
    Term(EncodedBonds(grid=(0.4, 3.0, 20)), "gaussian", width=4.0)
    + 0.1 * Term(ATOMS, PAIRS, width=2.0)
    + 0.5 * Term(ATOMS, Average(Gaussian(0.5))) * Term(CoulombMatrix(), Laplacian(500.0))
)
COULOMB = KRR(Laplacian(500.0), descriptor=CoulombMatrix(), **FIXED)
COMPOSITION = CompositionBaseline()
BAGS = {"H": 8, "C": 6, "N": 3, "O": 3, "C-H": 20}
MOLECULAR = {
    "tuned": lambda: molecular(BagOfBonds(), "laplacian", alpha="loo"),
    "bags": lambda: molecular(BagOfBonds(bags=BAGS), Laplacian(500.0)),
    "coulomb": lambda: molecular(CoulombMatrix(n_jobs=1), Laplacian(500.0)),
    "coulomb size": lambda: molecular(CoulombMatrix("none", size=11), Laplacian(500.0)),
    "spectrum": lambda: molecular(CoulombMatrix("eigenspectrum"), Laplacian(500.0)),
    "random": lambda: molecular(CoulombMatrix("random", random_state=7), Laplacian(500.0)),
    "random, no seed": lambda: molecular(CoulombMatrix("random"), Laplacian(500.0)),
    "bonds": lambda: molecular(EncodedBonds(grid=(0.4, 3.0, 20)), Gaussian(20.0)),
    "bonds apart": lambda: molecular(
        EncodedBonds(
            3,
            elements=["C", "H", 8, "N", "S"],
            grid=[0.4, 3.0, 20],
            radii={"H": 0.4},
            bond_factor=np.float64(1.25),
        ),
        Gaussian(20.0),
    ),
    "overlap": lambda: molecular(OverlapEigenvalues("s"), Laplacian(5.0)),
    "atoms": lambda: molecular(ATOMS, PAIRS),
    "atoms, tuned": lambda: molecular(ATOMS, AtomSum(Gaussian(0.5)), alpha="loo"),
    "atoms, coupled": lambda: molecular(
        ATOMS, Average(sk.RBF(0.5), coupling={"C-N": 0.5}, normalize=True), TWO
    ),
    "atoms, no cutoff": lambda: molecular(OverlapEigenvalues("s", r_cut=10**6), PAIRS),
    "atoms in blocks": lambda: with_blocks(molecular(ATOMS, PAIRS)),
    "spectra": lambda: molecular(SLATM(**COARSE), Laplacian(50.0)),
    "spectra of elements": lambda: molecular(
        SLATM(elements=["H", "C", "N", "O"], **COARSE), Laplacian(50.0)
    ),
    "spectra of atoms": lambda: molecular(SLATM(per_atom=True, **COARSE), AtomSum(Gaussian(50.0))),
    "torsions": lambda: molecular(Torsions(), Gaussian(50.0)),
    "no torsions": lambda: molecular(Torsions(bond_range=(0.1, 0.2)), Gaussian(50.0)),
    "terms": lambda: molecular(None, TERMS),
    "terms, tuned": lambda: molecular(None, TERMS, alpha="loo"),
    "one term": lambda: molecular(None, Term(CoulombMatrix("random"), Laplacian(500.0))),
    "difference by terms": lambda: difference(KRR(TERMS, **FIXED)),
    "no composition": lambda: molecular(
        CoulombMatrix(), Laplacian(500.0), composition=False, alpha=1e-5, optimizer=None
    ),
    "two targets": lambda: molecular(CoulombMatrix(), Laplacian(500.0), TWO),
    "one column": lambda: molecular(CoulombMatrix(), Laplacian(500.0), Y[:, None]),
    "difference": lambda: difference(COULOMB),
    "difference of two": lambda: difference(COULOMB, TWO),
    "difference as it is": lambda: difference(CompositionBaseline(), slope=1),
    "difference of a pipeline": lambda: difference(
        make_pipeline(CoulombMatrix(size=11), KRR(Laplacian(500.0), **FIXED))
    ),
    "baseline": lambda: CompositionBaseline().fit(TRAIN, Y),
    "baselines": lambda: CompositionBaseline().fit(TRAIN, TWO),
    "pipeline": lambda: make_pipeline(CoulombMatrix(), KRR(Laplacian(500.0), **FIXED)).fit(
        TRAIN, Y
    ),
    "pipeline, fitted again": lambda: refitted(CoulombMatrix("random"), permutation="sorted"),
    "pipeline of one": lambda: Pipeline(
        [("model", KRR(Laplacian(500.0), descriptor=CoulombMatrix(), **FIXED))], verbose=False
    ).fit(TRAIN, Y),
}
ON_ARRAYS = {
    "tuned": lambda: on_arrays(None, optimizer="loo", alpha="loo"),
    "rmse": lambda: on_arrays("laplacian", optimizer="loo", criterion="rmse", cv=3),
    "sum": lambda: on_arrays(sk.ConstantKernel(2.0) * Gaussian(1.5) + sk.WhiteKernel(0.1)),
    "power": lambda: on_arrays(sk.Exponentiation(sk.DotProduct(0.7), 2), alpha=0.1),
    "widths": lambda: on_arrays(sk.RBF([0.5, 1.0, 2.0], [(1e-3, 1e3)] * 3)),
    "widths tuned": lambda: on_arrays(
        sk.RBF(np.ones(3), (1e-2, 1e2)),
        optimizer="loo",
    ),
    "matern": lambda: on_arrays(sk.Matern(1.3, nu=np.inf)),
    "rational": lambda: on_arrays(sk.RationalQuadratic(1.3, alpha=np.float64(0.7))),
    "periodic": lambda: on_arrays(sk.ExpSineSquared(1.0, 3.0), alpha=10.0),
    "numpy settings": lambda: on_arrays(
        Gaussian(np.float64(1.2), n_jobs=np.int64(1)), alpha=np.float32(0.1)
    ),
    "folds": lambda: on_arrays(
        Gaussian(), optimizer="loo", cv=KFold(4, shuffle=True, random_state=3)
    ),
    "one out": lambda: on_arrays(Gaussian(), optimizer="loo", cv=LeaveOneOut()),
    "groups": lambda: KRR(Gaussian(), alpha=0.1, cv=GroupKFold(3)).fit(
        X, Z, groups=np.arange(24) % 5
    ),
    "a group out": lambda: KRR(Gaussian(), alpha=0.1, cv=LeaveOneGroupOut()).fit(
        X, Z, groups=np.arange(24) % 5
    ),
    "given folds": lambda: on_arrays(
        Gaussian(), optimizer="loo", cv=PredefinedSplit(np.arange(24) % 4)
    ),
    "splits": lambda: on_arrays(Gaussian(), optimizer="loo", cv=list(KFold(3).split(X))),
    "weights and copies": lambda: KRR(Gaussian(), **FIXED).fit(
        np.vstack([X, X[:3]]), np.append(Z, Z[:3] + 0.1), np.append(np.arange(24.0), np.ones(3))
    ),
    "order of Fortran": lambda: KRR(sk.DotProduct(), **{**FIXED, "alpha": 0.1}).fit(
        np.asfortranarray(X), np.asfortranarray(np.stack([Z, 2 * Z, Z**2], axis=1))
    ),
}
NOW = [
    name
    for name in kernels.__all__
    if inspect.isclass(getattr(kernels, name)) and not inspect.isabstract(getattr(kernels, name))
]
BETWEEN_STRUCTURES = [name for name in NOW if issubclass(getattr(kernels, name), StructureKernel)]


def assert_equal_models(model, loaded, samples):
    assert same(model, loaded)
    assert repr(model) == repr(loaded)
    assert model.get_params().keys() == loaded.get_params().keys()
    for batch in samples:
        assert same(outcome(model.predict, batch), outcome(loaded.predict, batch))
    if isinstance(last(model), KRR):
        for cv in (None, KFold(3)):
            expected = outcome(last(model).leave_out_residuals, cv)
            assert same(expected, outcome(last(loaded).leave_out_residuals, cv))


@pytest.mark.parametrize("name", MOLECULAR)
def test_models_of_molecules(name, tmp_path):
    model = MOLECULAR[name]()
    loaded = saved_and_loaded(model, tmp_path)
    assert_equal_models(model, loaded, [TRAIN, LARGER, PLAIN[16:20], FLUORINE])
    kernchem.save(loaded, tmp_path / "again.kc")
    assert (tmp_path / "again.kc").read_bytes() == (tmp_path / "model.kc").read_bytes()


@pytest.mark.parametrize("name", ON_ARRAYS)
def test_models_on_arrays(name, tmp_path):
    model = ON_ARRAYS[name]()
    loaded = saved_and_loaded(model, tmp_path)
    assert_equal_models(model, loaded, [X, X[:5] + 0.3])


@pytest.mark.parametrize("name", BETWEEN_STRUCTURES)
def test_every_kernel_between_structures(name, tmp_path):
    model = molecular(ATOMS, getattr(kernels, name)(Gaussian(0.5)))
    loaded = saved_and_loaded(model, tmp_path)
    assert_equal_models(model, loaded, [PLAIN[16:18]])


@pytest.mark.parametrize("name", [name for name in NOW if name not in BETWEEN_STRUCTURES])
def test_every_kernel_of_kernchem(name, tmp_path):
    model = on_arrays(getattr(kernels, name)() + Gaussian(), alpha=0.1)
    assert_equal_models(model, saved_and_loaded(model, tmp_path), [X])


def test_every_descriptor_can_be_saved(tmp_path):
    named = [getattr(kernchem.descriptors, name) for name in kernchem.descriptors.__all__]
    classes = [cls for cls in named if issubclass(cls, Descriptor) and not inspect.isabstract(cls)]
    # The smallest molecule of which every descriptor has something to say.
    peroxide = molecule("H2O2")
    shift = np.random.default_rng(1).normal(0.0, 0.05, (5, 4, 3))
    frames = Structures.from_arrays(peroxide.numbers, peroxide.positions + shift)
    for cls in classes:
        model = KRR(descriptor=cls(), **FIXED).fit(frames, np.arange(5.0))
        assert_equal_models(model, saved_and_loaded(model, tmp_path), [frames])


@pytest.mark.parametrize(
    "equilibrium",
    [
        WATER,
        WATER.positions,
        WATER.positions.tolist(),
        Structures.from_ase([WATER]),
        Structures.from_ase([WATER])[0],
        Structures(WATER.numbers, WATER.positions, [0, 3], charge=[1], multiplicity=[2]),
        Structures(WATER.numbers, WATER.positions, [0, 3], cells=[np.eye(3)])[0],
    ],
    ids=["ase", "array", "list", "batch", "structure", "ion", "cell"],
)
def test_equilibrium_geometry(equilibrium, tmp_path):
    descriptor = InverseDistances(equilibrium)
    model = KRR(Gaussian(2.0), descriptor=descriptor, **FIXED).fit(FRAMES, np.arange(5.0))
    loaded = saved_and_loaded(model, tmp_path)
    assert same(model.predict(FRAMES), loaded.predict(FRAMES))
    assert type(loaded.descriptor.equilibrium) is type(equilibrium)
    if not isinstance(equilibrium, Structures | np.ndarray):
        assert loaded.descriptor.equilibrium == equilibrium


def test_blocks_take_no_room_for_zeros(tmp_path):
    model = MOLECULAR["atoms in blocks"]()
    features = model._training.features
    loaded = saved_and_loaded(model, tmp_path)._training.features
    assert [block.values.shape for block in loaded.blocks] == [
        block.values.shape for block in features.blocks
    ]
    np.testing.assert_array_equal(loaded.values, features.values)
    assert not loaded.numbers.flags.writeable


def test_atoms_without_features(tmp_path):
    block = FeatureBlock(np.arange(2), np.arange(0), np.zeros((2, 0)))
    features = Environments.from_blocks([block], np.array([1, 8]), np.array([0, 1, 2]), 5)
    arrays = {}
    put_features(features, Output(arrays))
    write_archive(tmp_path / "features.kc", {}, arrays)
    with (tmp_path / "features.kc").open("rb") as file:
        loaded = features_from(Input(Archive(file)), 2, None)
    assert same(features, loaded)


@pytest.mark.parametrize("descriptor", [CoulombMatrix(), BagOfBonds(), OverlapEigenvalues("s")])
def test_refuses_and_widens_as_before(descriptor, tmp_path):
    model = molecular(descriptor, Laplacian(500.0))
    loaded = saved_and_loaded(model, tmp_path)
    for one in (model, loaded):
        with pytest.raises(UnknownElementError, match="element F is none of those"):
            one.predict(FLUORINE)
    columns = loaded.descriptor_.n_features_out_
    assert loaded.descriptor_.widened(LARGER)[0].n_features_out_ > columns
    assert same(model.predict(LARGER), loaded.predict(LARGER))
    assert loaded.descriptor_.n_features_out_ == columns
    alone = KRR(Laplacian(500.0), descriptor=descriptor, **FIXED).fit(FRAMES, np.arange(5.0))
    with pytest.raises(CompositionError, match="never varied"):
        saved_and_loaded(alone, tmp_path).predict(molecule("H2O2"))
    pipeline = make_pipeline(descriptor, KRR(Laplacian(500.0), **FIXED)).fit(TRAIN, Y)
    with pytest.raises(LayoutError, match="which then widens it"):
        saved_and_loaded(pipeline, tmp_path).predict(LARGER)


def test_precomputed(tmp_path):
    K = Laplacian(2.0)(X)
    model = KRR("precomputed", alpha=1e-4).fit(K, Z, np.append(np.zeros(2), np.ones(22)))
    loaded = saved_and_loaded(model, tmp_path)
    assert_equal_models(model, loaded, [K[:5]])
    assert read_info(tmp_path / "model.kc").kernel is None
    wide = np.zeros((48, 48))
    wide[::2, ::2] = K
    model = KRR("precomputed", alpha=1e-4).fit(wide[::2, ::2], Z)
    assert_equal_models(model, saved_and_loaded(model, tmp_path), [K[:5]])


def test_model_with_jitter(tmp_path):
    with pytest.warns(KernchemWarning, match="not positive definite"):
        model = KRR(Gaussian(1e3), alpha=1e-18, optimizer=None).fit(X, Z)
    assert model.jitter_ > 0
    assert same(model, saved_and_loaded(model, tmp_path))


def test_names_of_features(tmp_path):
    model = on_arrays(Gaussian())
    model.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    assert same(model, saved_and_loaded(model, tmp_path))


def test_loaded_model_can_be_cloned_and_refitted(tmp_path):
    model = molecular(CoulombMatrix(), Laplacian(500.0))
    loaded = saved_and_loaded(model, tmp_path, target="E")
    assert not hasattr(clone(loaded), "model_info_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        again = clone(loaded).fit(TRAIN, Y)
        loaded.fit(TRAIN, Y)
    assert same(model, again)
    assert same(model, loaded)


def test_what_the_file_says(tmp_path):
    model = difference(KRR(Laplacian(1234.5678901), descriptor=CoulombMatrix(size=40), **FIXED))
    loaded = saved_and_loaded(model, tmp_path, target="atomization_energy", unit="kcal/mol")
    info = read_info(tmp_path / "model.kc")
    assert info == loaded.model_info_
    residuals = np.abs(last(model).loo_residuals_)
    known = np.isfinite(residuals)
    assert info.loo_mae == (pytest.approx(residuals[known].mean()),)
    assert info.loo_rmse == (pytest.approx(np.sqrt((residuals[known] ** 2).mean())),)
    assert info.format_version == 1
    assert info.kernchem_version == kernchem.__version__
    assert info.model_class == "kernchem.DeltaLearner"
    assert info.model == (
        "DeltaLearner(baseline='gfn2_atomization_energy', model=KRR(alpha=1e-06, "
        "descriptor=CoulombMatrix(size=40), kernel=Laplacian(length_scale=1234.5678901), "
        "optimizer=None))"
    )
    assert (info.target, info.unit) == ("atomization_energy", "kcal/mol")
    assert info.elements == ("H", "C", "N", "O")
    assert (info.n_training, info.largest, info.n_targets) == (16, int(TRAIN.sizes.max()), 1)
    assert info.baseline == (GFN2,)
    assert info.descriptor == "CoulombMatrix(size=40)"
    assert info.kernel == "Laplacian(length_scale=1234.5678901)"
    assert info.alpha == 1e-6
    dois = [text.rpartition("https://doi.org/")[2] for text in info.citations]
    assert dois == ["10.1021/acs.jctc.5b00099", "10.1103/PhysRevLett.108.058301"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.target = "gap"


def test_what_is_said_of_other_models(tmp_path):
    info = saved_and_loaded(CompositionBaseline().fit(TRAIN, TWO), tmp_path).model_info_
    assert (info.n_training, info.n_targets, info.loo_mae) == (16, 2, ())
    assert (info.target, info.unit, info.alpha, info.descriptor) == (None, None, None, None)
    info = saved_and_loaded(on_arrays(Gaussian()), tmp_path).model_info_
    assert (info.elements, info.largest, info.n_training) == ((), None, 24)
    info = saved_and_loaded(MOLECULAR["pipeline"](), tmp_path).model_info_
    assert (info.model_class, info.elements) == ("sklearn.pipeline.Pipeline", ("H", "C", "N", "O"))
    assert (info.largest, info.descriptor) == (None, "CoulombMatrix()")
    info = saved_and_loaded(on_arrays(sk.RBF(np.ones(3)) + Gaussian(2.0)), tmp_path).model_info_
    assert (
        info.kernel
        == "Sum(k1=RBF(length_scale=array([1., 1., 1.])), k2=Gaussian(length_scale=2.0))"
    )
    alone = KRR(Laplacian(500.0), descriptor=BagOfBonds(), **FIXED)
    with pytest.warns(KernchemWarning, match="cannot be left out"):
        alone.fit([molecule("CH4"), molecule("H2O")], [1.0, 2.0])
    info = saved_and_loaded(alone, tmp_path).model_info_
    assert (info.loo_mae, info.loo_rmse, info.elements) == ((), (), ("H", "C", "O"))


def test_what_is_said_of_terms(tmp_path):
    info = saved_and_loaded(MOLECULAR["terms"](), tmp_path).model_info_
    assert (info.elements, info.n_training) == (("H", "C", "N", "O"), 16)
    assert info.descriptor == (
        "EncodedBonds(grid=(0.4, 3.0, 20)), OverlapEigenvalues(orbitals='s', r_cut=3.0), "
        "CoulombMatrix()"
    )
    first, second, third = info.kernel.split(" + ")
    assert first.startswith("1.0 * Gaussian(length_scale=")
    assert second.startswith("0.1 * AtomSum(base=Gaussian(length_scale=")
    assert third == (
        "0.5 * Average(base=Gaussian(length_scale=0.5)) * Laplacian(length_scale=500.0)"
    )
    assert info.model.startswith("KRR(alpha=1e-06, kernel=TermSum(terms=[Term(descriptor=Encoded")
    dois = [text.rpartition("https://doi.org/")[2] for text in info.citations]
    assert dois == [
        "10.1103/PhysRevLett.108.058301",
        "10.1063/1.5020441",
        "10.1063/1.4828704",
    ]


def test_target_and_unit_stay_unless_given(tmp_path):
    loaded = saved_and_loaded(on_arrays(Gaussian()), tmp_path, target="sine", unit="none at all")
    again = saved_and_loaded(loaded, tmp_path, unit="1")
    assert (again.model_info_.target, again.model_info_.unit) == ("sine", "1")
    with pytest.raises(ModelFileError, match="unit is str 'a"):
        kernchem.save(loaded, tmp_path / "model.kc", unit="a\x1b[2J")
    with pytest.raises(ModelFileError, match="target is int 3"):
        kernchem.save(loaded, tmp_path / "model.kc", target=3)


def test_training_set_stays_private(tmp_path):
    data = TRAIN[:10]
    secret = data.properties["smiles"][0].encode()
    model = KRR(Gaussian(20.0), descriptor=EncodedBonds(), composition=False, **FIXED)
    kernchem.save(model.fit(data, data[GFN2]), tmp_path / "model.kc")
    written = (tmp_path / "model.kc").read_bytes()
    assert data.positions[:2].tobytes() not in written
    assert len(secret) < 3 or secret not in written


@pytest.mark.parametrize(
    "model",
    [
        KRR(),
        KRR(descriptor=CoulombMatrix()),
        DeltaLearner(KRR(descriptor=CoulombMatrix()), GFN2),
        CompositionBaseline(),
        make_pipeline(CoulombMatrix(), KRR()),
        GPR(),
    ],
    ids=repr,
)
def test_model_that_was_not_fitted(model, tmp_path):
    with pytest.raises(NotFittedError):
        kernchem.save(model, tmp_path / "model.kc")
    assert list(tmp_path.iterdir()) == []


class MyCoulomb(CoulombMatrix):
    """A descriptor of somebody else."""


class MyKernel(Gaussian):
    """A kernel of somebody else."""


def refused():
    searched = GridSearchCV(KRR(Gaussian(), **FIXED), {"alpha": [0.1, 1.0]}, cv=2).fit(X, Z)
    yield searched, r"GridSearchCV is no model that can be saved \(its best_estimator_ can\)"
    yield Ridge().fit(X, Z), "Ridge is no model"
    yield "KRR", "str is no model"
    yield (
        make_pipeline(StandardScaler(), KRR(Gaussian(), **FIXED)).fit(X, Z),
        ("StandardScaler -> KRR cannot be saved: KRR or GPR"),
    )
    yield molecular(MyCoulomb(), Laplacian(500.0)), "descriptor of KRR: MyCoulomb MyCoulomb"
    yield on_arrays(MyKernel()), "kernel of KRR: MyKernel .* cannot be kept in a model file. What"
    yield on_arrays(sk.PairwiseKernel(metric="rbf")), "PairwiseKernel"
    yield (
        molecular(CoulombMatrix("random", random_state=np.random.RandomState(3)), Laplacian(500.0)),
        "descriptor of KRR: random_state of CoulombMatrix: RandomState",
    )
    yield molecular(EncodedBonds(elements={"H", "C", "N", "O"}), Gaussian(20.0)), "elements of"
    cached = MOLECULAR["pipeline"]().set_params(memory="cache")
    yield cached, "memory of Pipeline: a model file names no cache"
    nested = COMPOSITION
    for _ in range(20):
        nested = difference(nested, slope=1)
    yield nested, "a member cannot be as it is described: dict {'name': 'difference"
    cleverer = on_arrays(Gaussian())
    cleverer.cv = np.array([object()])
    yield cleverer, "cv of KRR: ndarray"
    deep = on_arrays(Gaussian())
    for _ in range(120):
        deep.cv = [deep.cv]
    yield deep, "cv of KRR: settings lie within one another more than 100 deep"


@pytest.mark.parametrize(("model", "text"), [pytest.param(*item, id=item[1]) for item in refused()])
def test_what_cannot_be_saved(model, text, tmp_path):
    path = tmp_path / "model.kc"
    path.write_text("old")
    with pytest.raises(ModelFileError, match=text):
        kernchem.save(model, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_settings_that_take_too_much_room(tmp_path):
    model = on_arrays(Gaussian())
    model.cv = "x" * (17 << 20)
    with pytest.raises(ModelFileError, match="the settings of the model take 178"):
        kernchem.save(model, tmp_path / "model.kc")


def test_lazy_names():
    assert kernchem.load is kernchem.model_files.load
    assert ModelInfo.__module__.startswith("kernchem.model_files")
