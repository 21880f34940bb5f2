"""Models on structures do not depend on the containers that scikit-learn puts features into."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.utils._set_output import ADAPTERS_MANAGER

import kernchem
from kernchem import GPR, KRR, DeltaLearner
from kernchem.datasets import load_qm_small
from kernchem.descriptors import FCHL19, BagOfBonds, CoulombMatrix
from kernchem.environments import Environments
from kernchem.kernels import Laplacian
from kernchem.models import Term
from kernchem.sampling import BatchSelector
from kernchem.structures import Structures
from kernchem.testing import check_descriptor

FIXED = {"alpha": 1e-6, "optimizer": None}
TARGET = "atomization_energy"


class Frame:
    """A container that is no array, as a data frame is none."""

    def __init__(self, values, columns):
        self.values, self.columns, self.shape = values, list(columns()), values.shape

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


class Adapter:
    """What scikit-learn asks for a container of its users."""

    container_lib = "frame"

    def create_container(self, X_output, X_original, columns, inplace=True):
        return Frame(np.asarray(X_output), columns)


@pytest.fixture(scope="module", autouse=True)
def frame():
    ADAPTERS_MANAGER.register(Adapter())
    yield
    del ADAPTERS_MANAGER.adapters["frame"]
    ADAPTERS_MANAGER.supported_outputs.discard("frame")


@pytest.fixture(scope="module")
def data():
    """30 molecules, and five of them with their atoms in reverse order."""
    some = load_qm_small()[:30]
    turned = [np.arange(a, b)[::-1] for a, b in zip(some.offsets, some.offsets[1:], strict=False)]
    rows = np.concatenate(turned[:5])
    copies = Structures(some.numbers[rows], some.positions[rows], some.offsets[:6])
    bare = Structures(some.numbers, some.positions, some.offsets)
    labels = np.concatenate([some[TARGET], some[TARGET][:5] + 1.0])
    return Structures.concatenate([bare, copies]), labels


MODELS = {
    "copies": lambda: KRR(Laplacian(300.0), descriptor=CoulombMatrix(), **FIXED),
    "atoms": lambda: KRR(descriptor=FCHL19(n_radial=4, n_radial_3=3), **FIXED),
    "terms": lambda: KRR(Term(BagOfBonds()) + Term(CoulombMatrix()), **FIXED),
    "process": lambda: GPR(descriptor=BagOfBonds(), **FIXED),
    "delta": lambda: DeltaLearner(
        KRR(descriptor=BagOfBonds(), **FIXED), lambda s: s.sizes * 1.0, slope=1
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_in_any_output_mode(data, name, tmp_path):
    structures, labels = data
    expected = MODELS[name]().fit(structures, labels)
    with config_context(transform_output="frame"):
        found = MODELS[name]().fit(structures, labels)
        assert_array_equal(found.loo_residuals_, expected.loo_residuals_)
        assert_array_equal(found.predict(structures), expected.predict(structures))
        if name != "delta":
            kernchem.save(found, tmp_path / "model")
            loaded = kernchem.load(tmp_path / "model")
            assert_array_equal(loaded.predict(structures), expected.predict(structures))


def test_a_descriptor_with_an_output_mode_of_its_own(data):
    structures, labels = data
    expected = MODELS["copies"]().fit(structures, labels)
    descriptor = CoulombMatrix().set_output(transform="frame")
    found = KRR(Laplacian(300.0), descriptor=descriptor, **FIXED).fit(structures, labels)
    assert_array_equal(found.loo_residuals_, expected.loo_residuals_)
    assert_array_equal(found.predict(structures), expected.predict(structures))


@pytest.mark.parametrize("descriptor", [CoulombMatrix(), FCHL19(n_radial=4, n_radial_3=3)])
def test_batches_in_any_output_mode(data, descriptor):
    structures = data[0]
    expected = BatchSelector(descriptor=descriptor).fit(structures).select(5)
    with config_context(transform_output="frame"):
        found = BatchSelector(descriptor=descriptor).fit(structures).select(5)
    assert_array_equal(found, expected)


def test_features_of_structures_have_the_container(data):
    structures = data[0]
    expected = BagOfBonds().fit(structures)
    descriptor = BagOfBonds().set_output(transform="frame")
    for found in (descriptor.fit_transform(structures), descriptor.transform(structures)):
        assert isinstance(found, Frame)
        assert_array_equal(found.values, expected.transform(structures))
        assert found.columns == list(expected.get_feature_names_out())


def test_features_of_atoms_keep_theirs(data):
    structures = data[0][:3]
    descriptor = FCHL19(n_radial=4, n_radial_3=3).set_output(transform="frame")
    for found in (descriptor.fit_transform(structures), descriptor.transform(structures)):
        assert isinstance(found, Environments)
        assert_array_equal(found.offsets, structures.offsets)


def test_a_pipeline_of_a_descriptor_in_any_output_mode(data):
    structures, labels = data
    expected = make_pipeline(BagOfBonds(), KRR(**FIXED)).fit(structures, labels)
    with config_context(transform_output="frame"):
        found = make_pipeline(BagOfBonds(), KRR(**FIXED)).fit(structures, labels)
        assert_array_equal(found.predict(structures), expected.predict(structures))


@pytest.mark.slow
def test_the_contract_in_any_output_mode():
    with config_context(transform_output="frame"):
        check_descriptor(BagOfBonds())
    check_descriptor(BagOfBonds().set_output(transform="frame"))
