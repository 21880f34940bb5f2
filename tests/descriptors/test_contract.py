"""What every descriptor promises, whatever it computes."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline

from kernchem import descriptors
from kernchem.descriptors import (
    ACSF,
    FCHL19,
    SLATM,
    SOAP,
    WACSF,
    AtomicCoulombMatrix,
    BagOfBonds,
    CoulombMatrix,
    Descriptor,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
    Torsions,
)
from kernchem.environments import Environments
from kernchem.errors import LayoutError, SettingError, StructureError, UnknownElementError
from kernchem.structures import Structures
from kernchem.testing import check_descriptor
from kernchem.testing.molecules import moved, random_rotation

#: Few and wide Gaussians for SLATM; no distance in steps of 0.5 ends at this cutoff.
COARSE = {"r_cut": 3.1, "sigma_r": 0.4, "sigma_theta": 0.4, "step_r": 0.8, "step_theta": 0.8}
VARIANTS = {
    "AtomicCoulombMatrix": AtomicCoulombMatrix(size=11),
    "AtomicCoulombMatrix-cut": AtomicCoulombMatrix(r_cut=3.0, decay=1.0),
    "AtomicCoulombMatrix-norm": AtomicCoulombMatrix("row-norm", pair_cut=2.1, pair_decay=0.5),
    "CoulombMatrix": CoulombMatrix(),
    "CoulombMatrix-size": CoulombMatrix(size=11),
    "CoulombMatrix-none": CoulombMatrix("none"),
    "CoulombMatrix-eigenspectrum": CoulombMatrix("eigenspectrum"),
    "CoulombMatrix-random": CoulombMatrix("random", sigma=5.0, random_state=0),
    "BagOfBonds": BagOfBonds(),
    "BagOfBonds-bags": BagOfBonds(bags={"C": 2, "H": 6, "N": 1, "O": 2, "CO": 3}),
    "EncodedBonds": EncodedBonds(),
    "EncodedBonds-bonds": EncodedBonds(3, elements="H C N O".split(), sigma=0.1),
    "FCHL19": FCHL19(r_cut=3.0, a_cut=2.5, n_radial=4, n_radial_3=3),
    "InverseDistances": InverseDistances(),
    "InverseDistances-equilibrium": InverseDistances(np.arange(27.0).reshape(9, 3)),
    "OverlapEigenvalues": OverlapEigenvalues(),
    "OverlapEigenvalues-s": OverlapEigenvalues("s", size=11),
    "OverlapEigenvalues-atoms": OverlapEigenvalues(r_cut=3.0),
    "SLATM": SLATM(**COARSE),
    "SLATM-atoms": SLATM(True, **COARSE),
    "SLATM-elements": SLATM(elements="H C N O".split(), **COARSE),
    "ACSF": ACSF(3.0, g2=[(1.0, 0.5)], g3=[1.0], g4=[(0.1, 1.0, 1.0)], g5=[(0.1, 2.0, -1.0)]),
    "ACSF-tanh": ACSF(
        4.0, g2=None, g4=[(0.1, 1.0, -1.0)], cutoff="tanh", species="H C N O".split()
    ),
    "SOAP": SOAP(3.0, 2, 2, species="H C N O".split()),
    "SOAP-cutoff": SOAP(3.0, 2, 1, 0.4, radial_basis="polynomial", cutoff=1.0, normalise=False),
    "SOAP-mu1nu1": SOAP(3.0, 2, 1, 0.4, compression="mu1nu1", weighting={"w0": 0.0}),
    "SOAP-inner": SOAP(3.0, 2, 1, 0.4, average="inner", compression="crossover"),
    "SOAP-outer": SOAP(3.0, 3, 2, 0.4, average="outer", compression="mu2", normalise=False),
    "Torsions": Torsions(),
    "Torsions-two": Torsions(grid=(0.8, 1.0, 2), sigma=0.1),
    "WACSF": WACSF(3.0, radial="centred", angular=[(0.1, 1.0, 1.0)]),
}
#: What they do not promise. The noise of "random" belongs to the coordinates as they are.
EXCEPTIONS = {
    "CoulombMatrix-none": {"permutable": False},
    "CoulombMatrix-random": {"movable": False, "permutable": False},
    "InverseDistances": {"permutable": False},
    "InverseDistances-equilibrium": {"permutable": False},
}
#: Those that describe frames of one molecule.
ONE_MOLECULE = {name for name in VARIANTS if name.startswith("InverseDistances")}
#: Those that see chains of atoms only, of which the smallest molecules have none.
OF_CHAINS = {name for name in VARIANTS if name.startswith("Torsions")}
#: Those that hold molecules of different sizes, up to the largest that they were fitted on.
WITH_SIZE = sorted(
    name
    for name in set(VARIANTS) - ONE_MOLECULE
    if not name.startswith(("EncodedBonds", "SLATM", "ACSF", "WACSF", "FCHL19", "SOAP", "Torsions"))
)
PER_ATOM = {name for name, variant in VARIANTS.items() if variant.local}
#: Those whose compiled lines run in the contract of another variant, or below.
SAME_LINES = {
    "ACSF-tanh", "EncodedBonds-bonds", "OverlapEigenvalues-atoms", "SLATM-atoms",
    "SLATM-elements", "SOAP-cutoff", "SOAP-outer",
}  # fmt: skip
#: Values for rounding errors, at any rate of features of order one.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture(scope="module")
def shaken(molecules):
    """The molecules without symmetry: equal norms would leave the order of rows open."""
    shift = np.random.default_rng(1).normal(0.0, 0.05, molecules.positions.shape)
    return Structures(molecules.numbers, molecules.positions + shift, molecules.offsets)


@pytest.fixture(scope="module")
def frames(shaken):
    """Ethanol, shaken eight times."""
    ethanol = shaken[15]
    shift = np.random.default_rng(2).normal(0.0, 0.05, (8, 9, 3))
    return Structures.from_arrays(ethanol.numbers, ethanol.positions + shift)


@pytest.fixture(params=sorted(VARIANTS))
def name(request):
    return request.param


@pytest.fixture
def descriptor(name):
    return clone(VARIANTS[name])


@pytest.fixture
def samples(name, shaken, frames):
    """Structures that the descriptor can describe."""
    return frames if name in ONE_MOLECULE | OF_CHAINS else shaken


def test_every_public_descriptor_is_tested():
    public = {getattr(descriptors, name) for name in descriptors.__all__} - {Descriptor}
    assert {type(variant) for variant in VARIANTS.values()} == public


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SAME_LINES else name
        for name in sorted(VARIANTS)
    ],
)
def test_contract(name, frames):
    structures = frames if name in ONE_MOLECULE | OF_CHAINS else None
    check_descriptor(VARIANTS[name], structures, **EXCEPTIONS.get(name, {}))


def test_says_where_it_comes_from(descriptor):
    assert "https://doi.org/10." in descriptor.citation


def test_elements_are_those_of_the_molecules(descriptor, samples):
    assert descriptor.fit(samples).elements_ == samples.elements


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - PER_ATOM))
def test_works_in_a_pipeline_of_scikit_learn(descriptor, samples):
    y = samples.sizes.astype(float) + np.arange(len(samples))
    model = make_pipeline(descriptor, KernelRidge(kernel="laplacian", gamma=1e-3, alpha=1e-10))
    np.testing.assert_allclose(model.fit(samples, y).predict(samples), y, atol=1e-5)


# -- errors: types are the contract's business, texts are ours ------------------------------------


@pytest.mark.parametrize("name", WITH_SIZE)
def test_overflow_names_the_molecule(name, shaken):
    descriptor = clone(VARIANTS[name]).fit(shaken)
    # Twelve atoms within 3 angstrom of one another.
    propane = Structures(
        np.concatenate([np.full(3, 6), np.full(9, 1)]),
        np.random.default_rng(0).uniform(0.0, 1.7, size=(12, 3)),
        [0, 12],
    )
    batch = Structures.concatenate([shaken[:2], propane])
    with pytest.raises(LayoutError, match=r"structure 2 \(C3H9\).*holds (6|9|11)\b"):
        descriptor.transform(batch)
    if name not in PER_ATOM:
        with pytest.raises(LayoutError, match=r"own the descriptor.*: KRR\(descriptor="):
            descriptor.transform(batch)


def test_unknown_element_names_the_molecule(descriptor, samples):
    descriptor.fit(samples)
    silane = Structures([14, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]], [0, 2])
    batch = Structures.concatenate([samples[:3], silane])
    for method in (descriptor.transform, descriptor.widened):
        with pytest.raises(UnknownElementError, match=r"structure 3 \(HSi\): element Si"):
            method(batch)


def test_periodic_structures_are_refused(descriptor, samples):
    from ase.build import bulk

    crystal = bulk("C")
    with pytest.raises(StructureError, match=r"structure 0 .*periodic.*pbc to False"):
        descriptor.fit([crystal])
    descriptor.fit(samples)
    with pytest.raises(StructureError, match=r"structure 1 .*periodic"):
        descriptor.transform([samples.to_ase()[0], crystal])


def test_must_be_fitted_and_on_something(descriptor, samples):
    with pytest.raises(NotFittedError):
        descriptor.transform(samples)
    with pytest.raises(StructureError, match="no structures"):
        descriptor.fit(samples[:0])
    with pytest.raises(StructureError, match="item 0"):
        descriptor.fit(np.ones((2, 3)))


def test_threads_are_checked_by_fit(descriptor, samples):
    with pytest.raises(SettingError, match="n_jobs=0"):
        descriptor.set_params(n_jobs=0).fit(samples)


# -- the layout is that of the last fit, or there is none -----------------------------------------


def test_a_fit_that_fails_changes_nothing(descriptor, samples, monkeypatch):
    cls, few = type(descriptor), samples[:1]
    learn, other = cls._learn, clone(descriptor)
    before = rows(descriptor.fit(samples).transform(samples))

    def fail(self, structures):
        learn(self, structures)
        raise SettingError("at the very end")

    monkeypatch.setattr(cls, "_learn", fail)
    for one in (descriptor, other):
        with pytest.raises(SettingError, match="at the very end"):
            one.fit(few)
    np.testing.assert_array_equal(rows(descriptor.transform(samples)), before)
    with pytest.raises(NotFittedError):
        other.transform(few)


def test_settings_changed_after_fit_are_refused(descriptor, samples):
    before = rows(descriptor.fit(samples).transform(samples))
    descriptor = pickle.loads(pickle.dumps(descriptor)).set_params(n_jobs=2)
    for name, value in descriptor.get_params(deep=False).items():
        if name == "n_jobs":
            continue
        descriptor.set_params(**{name: "another"})
        for use in (descriptor.transform, descriptor.widened, descriptor.get_feature_names_out):
            with pytest.raises(
                SettingError, match=f"(?s){name} of .* changed after fit.*fit again"
            ):
                use(samples)
        descriptor.set_params(**{name: value})
    np.testing.assert_array_equal(rows(descriptor.transform(samples)), before)


def test_settings_are_compared_by_value(frames):
    weights = {"function": "poly", "r0": 3.0, "c": 1.0, "m": 2.0}
    soap = SOAP(3.0, 2, 1, 0.4, average="inner", weighting=weights).fit(frames)
    before = soap.transform(frames)
    weights["m"] = 3.0
    with pytest.raises(SettingError, match="weighting of SOAP was changed"):
        soap.transform(frames)
    soap.set_params(weighting={**weights, "m": 2.0})
    np.testing.assert_array_equal(soap.transform(frames), before)
    relative = InverseDistances(frames[0].positions.copy()).fit(frames)
    relative.set_params(equilibrium=frames[0].positions.copy()).transform(frames)
    with pytest.raises(SettingError, match="equilibrium of InverseDistances was changed"):
        relative.set_params(equilibrium=frames[1].positions).transform(frames)
    noise = np.random.RandomState(0)
    descriptor = CoulombMatrix("random", random_state=noise).fit(frames)
    before = descriptor.transform(frames)
    copy = pickle.loads(pickle.dumps(descriptor))
    np.testing.assert_array_equal(copy.transform(frames), before)


def test_an_iterator_is_read_once(descriptor, samples):
    expected = rows(clone(descriptor).fit(samples).transform(samples))
    features = descriptor.fit_transform(molecule for molecule in samples)
    np.testing.assert_array_equal(rows(features), expected)


# -- any molecules --------------------------------------------------------------------------------


def rows(features):
    return features.values if isinstance(features, Environments) else features


def turned(structures):
    rotation = random_rotation(np.random.default_rng(0))
    return moved(structures, rotation, np.array([1.0, 2.0, 3.0]))


# Coordinates on a line, in a plane or in space, at least 0.5 angstrom apart, in steps that make
# equal distances likely.
points = arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 3)),
                elements=st.integers(-4, 4), fill=st.nothing())  # fmt: skip


@st.composite
def any_molecule(draw):
    steps = np.unique(draw(points), axis=0)
    positions = np.zeros((len(steps), 3))
    positions[:, : steps.shape[1]] = 0.5 * steps
    numbers = draw(st.lists(st.sampled_from([1, 6, 8]), min_size=len(steps), max_size=len(steps)))
    return Structures(numbers, positions, [0, len(steps)])


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - ONE_MOLECULE))
@settings(max_examples=12, deadline=None)
@given(a=any_molecule(), b=any_molecule())
def test_any_molecules(name, a, b):
    """One atom, one element, lines, planes and ties: moved together and fitted together."""
    descriptor = clone(VARIANTS[name])
    if name == "BagOfBonds-bags":
        descriptor.set_params(bags={"H": 7, "C": 7, "O": 7})
    both = Structures.concatenate([a, b])
    features = descriptor.fit_transform(both)
    assert np.isfinite(rows(features)).all()
    np.testing.assert_array_equal(rows(descriptor.transform(b)), rows(features[1:]))
    # A bond, or the surroundings of an atom, may end within rounding.
    cut = name in {"EncodedBonds-bonds", "OverlapEigenvalues-atoms", "AtomicCoulombMatrix-cut"}
    if EXCEPTIONS.get(name, {}).get("movable", True) and not cut:
        np.testing.assert_allclose(
            rows(descriptor.transform(turned(both))), rows(features), **CLOSE
        )
        turned_features = descriptor.transform(turned(both))
        np.testing.assert_allclose(rows(turned_features), rows(features), **CLOSE)
    if set(b.elements) <= set(a.elements) and name != "CoulombMatrix-random":
        narrow = clone(descriptor).fit(a)
        wider, columns = narrow.widened(b)
        wide, old = rows(wider.transform(both)), rows(narrow.transform(a))
        np.testing.assert_array_equal(wide[: len(old), columns], old)
        assert np.count_nonzero(wide[: len(old)]) == np.count_nonzero(old)
        np.testing.assert_array_equal(wide[len(old) :], rows(wider.transform(b)))


@settings(max_examples=12, deadline=None)
@given(molecule=any_molecule(), relative=st.booleans())
def test_any_molecule_by_itself(molecule, relative):
    descriptor = InverseDistances(molecule if relative else None)
    if len(molecule.numbers) == 1:
        with pytest.raises(StructureError, match="one atom"):
            descriptor.fit(molecule)
        return
    features = descriptor.fit_transform(molecule)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(descriptor.transform(turned(molecule)), features, **CLOSE)
