"""Structures: a sequence for scikit-learn, conversions, and errors that name the molecule."""

import itertools
import operator
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import GenericKernelMixin, Kernel, NormalizedKernelMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from kernchem.errors import KernchemError, PropertyError, StructureError, UnknownElementError
from kernchem.structure import structure_from_ase
from kernchem.structures import Structure, Structures, as_structures

WATER = ([8, 1, 1], [[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
METHANE_LIKE = ([6, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.1]])


def make_batch(**optional):
    return Structures.from_arrays(
        [WATER[0], METHANE_LIKE[0]], [WATER[1], METHANE_LIKE[1]], **optional
    )


def count_elements(X):
    batch = as_structures(X)
    return np.array([[np.sum(item.numbers == z) for z in (1, 6, 7, 8)] for item in batch])


class ElementCounts(TransformerMixin, BaseEstimator):
    """Transformer with one setting, for grid searches."""

    def __init__(self, power=1.0):
        self.power = power

    def fit(self, X, y=None):
        self.n_seen_ = len(as_structures(X))
        return self

    def transform(self, X):
        return count_elements(X) ** self.power


class CountKernel(NormalizedKernelMixin, GenericKernelMixin, Kernel):
    """exp(-|difference of element counts|^2 / 2), on structures."""

    def __init__(self):
        pass

    def __call__(self, X, Y=None, eval_gradient=False):
        a = count_elements(X)
        b = a if Y is None else count_elements(Y)
        K = np.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(axis=2))
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def is_stationary(self):
        return False


# -- a sequence of samples -----------------------------------------------------------------------


def test_length_shape_sizes_elements(molecules):
    assert len(molecules) == 16
    assert molecules.shape == (16,)
    assert_array_equal(molecules.sizes, [len(item.numbers) for item in molecules])
    assert molecules.elements == (1, 6, 7, 8)
    assert_array_equal(molecules.offsets, np.concatenate([[0], np.cumsum(molecules.sizes)]))


def formulas(batch):
    return [item.formula for item in batch]


@pytest.mark.parametrize(
    "key",
    [slice(None), slice(3, 9), slice(None, None, -2), slice(5, 5), [4, 0, 4, -1], (np.arange(3),)],
)
def test_batches_are_selected_as_a_list_would_be(molecules, key):
    key = key[0] if isinstance(key, tuple) else key
    everything = formulas(molecules)
    expected = everything[key] if isinstance(key, slice) else [everything[k] for k in key]
    assert formulas(molecules[key]) == expected
    assert formulas(molecules[key, ...]) == expected


def test_mask_and_empty_selection(molecules):
    mask = molecules.sizes > 5
    assert formulas(molecules[mask]) == [
        name for name, chosen in zip(formulas(molecules), mask, strict=True) if chosen
    ]
    assert len(molecules[[]]) == 0
    assert len(molecules[[]].numbers) == 0
    assert len(molecules[np.zeros(16, dtype=bool)]) == 0


@pytest.mark.parametrize("key", [3, -1, np.int64(3), (3, Ellipsis)])
def test_an_item_is_a_scalar_structure(molecules, key):
    item = molecules[key]
    assert isinstance(item, Structure)
    index = operator.index(key[0] if isinstance(key, tuple) else key)
    assert_array_equal(item.positions, list(molecules)[index].positions)
    assert not hasattr(item, "__len__")
    assert np.ndim(np.array([item, item], dtype=object)) == 1


@pytest.mark.parametrize(
    "key", [16, -17, [0, 16], [-17, 0], [[0, 1]], [0.5], np.ones(15, dtype=bool)]
)
def test_wrong_keys_raise_index_error(molecules, key):
    with pytest.raises(IndexError):
        molecules[key]


def test_index_error_names_the_wrong_index(molecules):
    with pytest.raises(IndexError, match="-17"):
        molecules[[-17, 0]]


def test_unknown_property_lists_those_there_are():
    batch = make_batch(properties={"energy": [1.0, 2.0]})
    assert_array_equal(batch["energy"], [1.0, 2.0])
    with pytest.raises(PropertyError, match="energy"):
        batch["enregy"]


def test_properties_follow_selection():
    batch = make_batch(
        properties={"energy": [1.0, 2.0]}, atom_properties={"q": [[1, 2, 3], [4, 5]]}
    )
    swapped = batch[[1, 0, 1]]
    assert_array_equal(swapped["energy"], [2.0, 1.0, 2.0])
    assert_array_equal(swapped["q"], [4, 5, 1, 2, 3, 4, 5])
    assert swapped[1].properties == {"energy": 1.0}
    assert_array_equal(swapped[1].atom_properties["q"], [1, 2, 3])


def test_asarray_gives_one_object_per_structure(molecules):
    array = np.asarray(molecules)
    assert array.shape == (16,)
    assert array.dtype == object
    assert formulas(as_structures(array)) == formulas(molecules)
    assert formulas(as_structures(array[[2, 1]])) == formulas(molecules[[2, 1]])
    with pytest.raises(StructureError, match="descriptor"):
        np.asarray(molecules, dtype=float)


def test_structures_compare_by_content(molecules):
    again = molecules[[0, 0, 1]]
    assert again[0] == again[1]
    assert again[0] != again[2]
    assert (again[0] == "H2O") is False
    assert len({again[0], again[1], again[2]}) == 2


def test_minus_zero_is_zero():
    plus, minus = (Structures([1], [[0.0, zero, 1.0]], [0, 1])[0] for zero in (0.0, -0.0))
    assert plus == minus
    assert hash(plus) == hash(minus)


def test_train_test_split_and_kfold(molecules):
    y = molecules.sizes.astype(float)
    train, test, y_train, _ = train_test_split(molecules, y, random_state=0)
    assert isinstance(train, Structures)
    assert_array_equal(train.sizes, y_train)
    assert sorted(formulas(train) + formulas(test)) == sorted(formulas(molecules))
    for fold, _ in KFold(4).split(molecules):
        assert_array_equal(molecules[fold].sizes, y[fold])


@pytest.mark.parametrize("first", [ElementCounts(), FunctionTransformer(count_elements)])
def test_cross_validation_of_a_pipeline(molecules, first):
    # The number of atoms is the sum of the element counts: a linear model is exact.
    y = molecules.sizes.astype(float)
    scores = cross_val_score(make_pipeline(first, Ridge(1e-8)), molecules, y, cv=4)
    np.testing.assert_allclose(scores, 1.0, atol=1e-6)


def test_grid_search_refits_the_best(molecules):
    y = molecules.sizes.astype(float)
    grid = {"elementcounts__power": [1.0, 3.0], "ridge__alpha": [1e-8]}
    search = GridSearchCV(make_pipeline(ElementCounts(), Ridge()), grid, cv=4).fit(molecules, y)
    assert search.best_params_["elementcounts__power"] == 1.0
    assert search.best_estimator_[0].n_seen_ == 16
    np.testing.assert_allclose(search.predict(molecules), y, atol=1e-5)


@pytest.mark.parametrize("convert", [lambda X: X, np.asarray, list])
def test_gaussian_process_of_scikit_learn_works_on_structures(molecules, convert):
    distinct = molecules[np.unique(count_elements(molecules), axis=0, return_index=True)[1]]
    y = np.sin(distinct.sizes)
    train = convert(distinct)
    model = GaussianProcessRegressor(CountKernel(), alpha=1e-10, optimizer=None)
    mean, std = model.fit(train, y).predict(train, return_std=True)
    np.testing.assert_allclose(mean, y, atol=1e-6)
    assert std.max() < 1e-3
    # One training molecule: the posterior has a closed form.
    one = GaussianProcessRegressor(CountKernel(), alpha=0.5, optimizer=None)
    one.fit(convert(distinct[:1]), y[:1])
    k = CountKernel()(distinct, distinct[:1])[:, 0]
    np.testing.assert_allclose(one.predict(train), k * y[0] / 1.5, atol=1e-12)


# -- copies and hashes ---------------------------------------------------------------------------


def assert_same(a, b):
    assert len(a) == len(b)
    assert list(a) == list(b)
    assert a.per_atom == b.per_atom
    assert set(a.properties) == set(b.properties)
    for name in a.properties:
        assert a[name].dtype == b[name].dtype
        assert_array_equal(a[name], b[name])


def test_pickle_and_joblib_keep_everything(tmp_path):
    batch = make_batch(
        properties={"energy": [1.0, 2.0], "smiles": ["O", "C"]},
        atom_properties={"q": [[1, 2, 3], [4, 5]]},
        charge=[0, 1],
        multiplicity=[1, 2],
        cells=[np.eye(3) * 9, np.eye(3) * 8],
        pbc=[[True, True, False], [False, False, False]],
    )
    joblib.dump(batch, tmp_path / "batch.joblib")
    for copy in (pickle.loads(pickle.dumps(batch)), joblib.load(tmp_path / "batch.joblib")):
        assert_same(copy, batch)
        assert not copy.positions.flags.writeable
        assert not copy["energy"].flags.writeable


def test_joblib_hash_depends_on_content_only(molecules):
    assert joblib.hash(molecules[:4]) == joblib.hash(molecules[[0, 1, 2, 3]])
    assert joblib.hash(molecules[:4]) != joblib.hash(molecules[:5])
    moved = Structures(molecules.numbers, molecules.positions + 0.1, molecules.offsets)
    assert joblib.hash(moved) != joblib.hash(molecules)


def test_joblib_hash_is_the_same_in_other_processes():
    # Python shuffles the order of sets of strings between processes.
    code = (
        "import joblib; from kernchem.structures import Structures;"
        "q = {c: [[1.0]] for c in 'abcdefgh'};"
        "print(joblib.hash(Structures.from_arrays([[1]], [[[0, 0, 0]]], atom_properties=q)))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_arrays_are_read_only_and_copied():
    positions = np.array(METHANE_LIKE[1])
    energy = np.array([1.0])
    batch = Structures(METHANE_LIKE[0], positions, [0, 2], properties={"energy": energy})
    positions[0] = 99.0
    energy[0] = 99.0
    assert_array_equal(batch.positions, METHANE_LIKE[1])
    assert_array_equal(batch["energy"], [1.0])
    for array in (batch.positions, batch.numbers, batch["energy"], batch[0].positions):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(TypeError):
        batch.properties["energy"] = energy


def test_arrays_of_objects_are_read_only_and_copied():
    first, second = molecule("CO"), molecule("N2")
    first.info, second.info = ({"spec": np.arange(n), "nested": [[n], [1, 2]]} for n in (3, 2))
    batch = Structures.from_ase([first, second])
    first.info["spec"][0] = 99
    first.info["nested"].append(99)
    for copy in (batch, batch[::-1][::-1], pickle.loads(pickle.dumps(batch))):
        assert [values.tolist() for values in copy["spec"]] == [[0, 1, 2], [0, 1]]
        assert copy["nested"].tolist() == [[[3], [1, 2]], [[2], [1, 2]]]
        with pytest.raises(ValueError, match="read-only"):
            copy["spec"][0][0] = 99


# -- conversions ---------------------------------------------------------------------------------


def test_ase_round_trip_keeps_info_arrays_cell_charge():
    slab = bulk("Cu", cubic=True)
    slab.pbc = [True, True, False]
    ion = molecule("OH")
    for k, atoms in enumerate((slab, ion)):
        atoms.info = {"energy_ref": float(k), "label": f"name {k}", "vector": np.arange(3.0) + k}
        atoms.info |= {"charge": -k, "multiplicity": 1 + k}
        atoms.set_array("q", np.linspace(0, 1, len(atoms)) + k)
    batch = Structures.from_ase([slab, ion])
    assert_array_equal(batch.charge, [0, -1])
    assert_array_equal(batch.multiplicity, [1, 2])
    assert batch["vector"].shape == (2, 3)
    for before, after in zip((slab, ion), batch.to_ase(), strict=True):
        assert before == after  # positions, numbers, cell and pbc
        assert set(before.info) == set(after.info)
        for key, value in before.info.items():
            assert_array_equal(after.info[key], value)
        assert_array_equal(after.arrays["q"], before.arrays["q"])
    assert_same(Structures.from_ase(batch.to_ase()), batch)


def test_calculator_results_become_properties():
    atoms = molecule("H2O")
    forces = np.arange(9.0).reshape(3, 3)
    atoms.calc = SinglePointCalculator(atoms, energy=-3.5, forces=forces, dipole=np.ones(3))
    batch = Structures.from_ase([atoms, atoms])
    assert_array_equal(batch["energy"], [-3.5, -3.5])
    assert_array_equal(batch["forces"], np.concatenate([forces, forces]))
    assert_array_equal(batch["dipole"], np.ones((2, 3)))
    assert batch.per_atom == {"forces"}


def test_results_of_a_shared_calculator_belong_to_one_geometry():
    calculator = EMT()
    frames = [Atoms("CO", [[0, 0, 0], [0, 0, length]]) for length in (1.0, 1.1, 1.3)]
    for atoms in frames:
        atoms.calc = calculator
        last = atoms.get_potential_energy()
    batch = Structures.from_ase(frames)
    assert_array_equal(batch["energy"], [np.nan, np.nan, last])
    for atoms in frames:
        atoms.calc = EMT()
        atoms.get_potential_energy()
    own = [EMT().get_potential_energy(atoms) for atoms in frames]
    assert_array_equal(Structures.from_ase(frames)["energy"], own)


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.positions.__setitem__((0, 2), 0.3),
        lambda atoms: atoms.numbers.__setitem__(0, 7),
        lambda atoms: atoms.__delitem__(1),
        lambda atoms: atoms.set_cell(np.eye(3) * 9),
    ],
)
def test_results_of_atoms_that_changed_are_left_out(change):
    atoms, other = molecule("H2O"), molecule("CH4")
    for item in (atoms, other):
        item.calc = SinglePointCalculator(item, energy=-3.5, forces=np.ones((len(item), 3)))
    change(atoms)
    # What ASE says of them.
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_potential_energy()
    batch = as_structures([atoms, other])
    assert_array_equal(batch["energy"], [np.nan, -3.5])
    assert_array_equal(np.isnan(batch["forces"][:, 0]), [True] * len(atoms) + [False] * 5)
    assert not as_structures(atoms).properties


def test_a_calculator_that_cannot_tell_is_believed():
    atoms = molecule("H2O")
    atoms.calc = SimpleNamespace(results={"energy": 2.5})
    assert_array_equal(Structures.from_ase(atoms)["energy"], [2.5])


@pytest.mark.parametrize(("name", "values"), [("numbers", [7]), ("positions", [[1.0, 2.0, 3.0]])])
def test_a_property_is_not_called_as_the_atoms_are(name, values):
    with pytest.raises(PropertyError, match=f"'{name}'.*rename"):
        Structures([1], [[0, 0, 0]], [0, 1], atom_properties={name: values})
    own = Structure(np.array([1]), np.zeros((1, 3)), atom_properties={name: np.array(values)})
    for convert in (as_structures, Structure.to_ase):
        with pytest.raises(PropertyError, match=f"'{name}'.*rename"):
            convert(own)


def test_missing_values_are_nan_or_empty():
    first, second = molecule("H2O"), molecule("CH4")
    first.info = {"energy": 1, "smiles": "O", "vector": [1.0, 2.0], "ragged": [1]}
    second.info = {"ragged": [1, 2]}
    first.set_array("q", np.ones(3))
    batch = Structures.from_ase([first, second])
    assert_array_equal(batch["energy"], [1.0, np.nan])
    assert_array_equal(batch["smiles"], ["O", ""])
    assert_array_equal(batch["vector"], [[1.0, 2.0], [np.nan, np.nan]])
    assert_array_equal(batch["q"], [1.0] * 3 + [np.nan] * 5)
    assert batch["ragged"].dtype == object


def test_concatenation_fills_what_is_missing():
    a = make_batch(properties={"energy": [1.0, 2.0]}, atom_properties={"q": [[1, 2, 3], [4, 5]]})
    b = make_batch(properties={"smiles": ["O", "C"]}, charge=[1, -1])
    both = Structures.concatenate([a, b])
    assert_array_equal(both["energy"], [1.0, 2.0, np.nan, np.nan])
    assert_array_equal(both["smiles"], ["", "", "O", "C"])
    assert_array_equal(both["q"], [1, 2, 3, 4, 5] + [np.nan] * 5)
    assert_array_equal(both.charge, [0, 0, 1, -1])
    assert_array_equal(both.positions, np.concatenate([a.positions, b.positions]))
    assert Structures.concatenate([a]) is a


def test_concatenation_keeps_ragged_columns():
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.arange(2.0), np.arange(3.0)]
    batch = make_batch(properties={"frequencies": ragged})
    both = Structures.concatenate([batch[:1], batch[:1]])
    assert both["frequencies"].dtype == object
    assert_array_equal(both["frequencies"][1], [0.0, 1.0])


def test_from_arrays_reads_padded_frames_and_lists_alike():
    as_lists = make_batch(atom_properties={"q": [[1.0, 2.0, 3.0], [4.0, 5.0]]})
    Z = np.array([[8, 1, 1, 0], [6, 1, 0, 0]])
    R = np.full((2, 4, 3), np.nan)
    R[0, :3], R[1, :2] = WATER[1], METHANE_LIKE[1]
    q = np.array([[1.0, 2.0, 3.0, 0.0], [4.0, 5.0, 0.0, 0.0]])
    assert_same(Structures.from_arrays(Z, R, atom_properties={"q": q}), as_lists)
    frames = Structures.from_arrays([8, 1, 1], np.array([WATER[1]] * 3))
    assert len(frames) == 3
    assert list(frames) == [as_lists[0]] * 3


def test_one_structure_is_a_batch_of_one(molecules):
    atoms = molecule("H2O")
    assert len(as_structures(atoms)) == len(Structures.from_ase(atoms)) == 1
    assert formulas(as_structures(molecules[3])) == [molecules[3].formula]
    assert as_structures(molecules) is molecules
    assert formulas(as_structures(item for item in molecules)) == formulas(molecules)


structures_strategy = st.lists(
    st.tuples(
        st.integers(1, 5).flatmap(lambda n: st.lists(st.integers(1, 118), min_size=n, max_size=n)),
        st.floats(-1e3, 1e3),
    ),
    min_size=1,
    max_size=5,
)


def spread(numbers, shift):
    return np.arange(len(numbers))[:, None] * [0.9, 0.3, -0.4] + shift


@settings(max_examples=examples(50), deadline=None)
@given(structures_strategy, st.data())
def test_any_batch_survives_every_conversion(content, data):
    n = len(content)
    batch = Structures.from_arrays(
        [numbers for numbers, _ in content],
        [spread(*item) for item in content],
        properties={
            "y": data.draw(hnp.arrays(float, n)),
            "label": data.draw(
                st.lists(
                    st.text(st.characters(codec="ascii", exclude_characters="\0")),
                    min_size=n,
                    max_size=n,
                )
            ),
        },
        atom_properties={"q": [np.arange(len(numbers)) * 1.5 for numbers, _ in content]},
    )
    assert_same(pickle.loads(pickle.dumps(batch)), batch)
    assert_same(Structures.from_ase(batch.to_ase()), batch)
    assert_same(Structures.concatenate([batch[k : k + 1] for k in range(n)]), batch)
    assert_same(as_structures(np.asarray(batch)), batch)
    order = data.draw(st.permutations(range(n)))
    assert_same(batch[order][np.argsort(order)], batch)


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_coordinates_must_be_finite(value):
    broken = np.array(METHANE_LIKE[1])
    broken[1, 2] = value
    with pytest.raises(StructureError, match=r"structure 1: atom 1 .*finite.*mend or drop"):
        Structures.from_arrays([WATER[0], METHANE_LIKE[0]], [WATER[1], broken])


@pytest.mark.parametrize("distance", [0.0, 0.05, 0.0999])
def test_atoms_must_not_coincide(distance):
    near = [[0.0, 0.0, 0.0], [0.0, 0.0, distance]]
    with pytest.raises(StructureError, match=r"structure 1: atoms 0 and 1 .*0\.1.*mend or drop"):
        Structures.from_arrays([WATER[0], [1, 1]], [WATER[1], near])


def test_atoms_may_come_as_near_as_the_limit():
    assert len(Structures.from_arrays([[1, 1]], [[[0, 0, 0], [0, 0, 0.1001]]])) == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_atoms_must_not_coincide_with_an_image(axis):
    cell = np.array([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [-1.0, 0.5, 7.0]])
    positions = np.zeros((2, 3))
    positions[1] = 0.99 * cell[axis]
    pbc = np.arange(3) == axis
    message = "structure 0: atoms 0 and 1"
    with pytest.raises(StructureError, match=message):
        Structures.from_arrays([[1, 1]], [positions], cells=[cell], pbc=[pbc])
    # The same atoms are apart where that axis is not periodic.
    assert len(Structures.from_arrays([[1, 1]], [positions], cells=[cell], pbc=[~pbc])) == 1


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.zeros((3, 3)), [True, False, False]),
        (np.diag([5.0, 5.0, 0.0]), [True, True, True]),
        ([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]], [True, True, True]),
        ([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]], [True, True, False]),
        (np.diag([5.0, 5.0, 0.01]), [True, True, True]),
        # Flat enough that rounding would take an atom 0.09 angstrom above another to a far image.
        ([[5.0, 0, 0], [0, 5.0, 0], [2.3, 1.7, 0.11]], [True, True, True]),
        (np.diag([1e308, 1e308, 1e308]), [True, True, True]),
    ],
)
def test_cells_must_span_their_periodic_axes(cell, pbc):
    with pytest.raises(StructureError, match=r"structure 1: the cell .*mend"):
        make_batch(cells=[np.eye(3) * 9, cell], pbc=[[True] * 3, pbc])


def test_axes_that_are_not_periodic_need_no_cell_vector():
    cells = [np.diag([9.0, 0.0, 0.0]), [[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5.0]]]
    assert len(make_batch(cells=cells, pbc=[[True, False, False], [True, False, True]])) == 2


@pytest.mark.parametrize("number", [0, 119, -1])
def test_unknown_elements(number):
    with pytest.raises(UnknownElementError, match=rf"structure 1: atom 1 .* {number},.*1 \(H\)"):
        Structures([8, 6, number], [[0, 0, 0], [3, 0, 0], [6, 0, 0]], [0, 1, 3])


@pytest.mark.parametrize("numbers", [[1.5], ["H"], [np.nan], [np.inf], [1e300]])
def test_atomic_numbers_are_whole(numbers):
    with pytest.raises(StructureError):
        Structures(numbers, [[0, 0, 0]], [0, 1])


def test_empty_molecule():
    message = r"structure 1 has no atoms; drop"
    with pytest.raises(StructureError, match=message):
        Structures.from_ase([molecule("H2O"), Atoms()])
    with pytest.raises(StructureError, match=message):
        Structures.from_arrays([[1], [0]], np.zeros((2, 1, 3)))


def test_property_of_wrong_length():
    with pytest.raises(PropertyError, match=r"'energy' has 3 rows for 2 structures"):
        make_batch(properties={"energy": [1, 2, 3]})
    with pytest.raises(PropertyError, match=r"'q' has 4 rows for 5 atoms"):
        Structures(*_flat(), atom_properties={"q": np.ones(4)})
    with pytest.raises(PropertyError, match="per structure and per atom"):
        make_batch(properties={"q": [1, 2]}, atom_properties={"q": [[1, 2, 3], [4, 5]]})


NO_TRUTH_VALUES = ("False", "F", np.nan, 0.5, 2, -1, None)


@pytest.mark.parametrize("pbc", [[[1, 0, 1]] * 2, [[1.0, 0.0, 1.0]] * 2, [[True, False, True]] * 2])
def test_zeros_and_ones_are_truth_values(pbc):
    batch = make_batch(cells=[np.eye(3) * 9] * 2, pbc=pbc)
    assert batch.pbc.tolist() == [[True, False, True]] * 2


def _flat():
    return WATER[0] + METHANE_LIKE[0], WATER[1] + METHANE_LIKE[1], [0, 3, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"numbers": [8, 1, 1]},
        {"positions": np.zeros((5, 2))},
        {"positions": np.zeros(15)},
        {"positions": [[0, 0, 0], [1, 1]]},
        {"positions": "water"},
        {"offsets": [1, 3, 5]},
        {"offsets": [0, 3, 6]},
        {"offsets": 5},
        {"offsets": []},
        {"offsets": [0, 5, 3]},
        {"cells": np.eye(3)},
        {"cells": 5.0},
        {"cells": np.full((2, 3, 3), np.nan)},
        {"cells": [np.eye(3)] * 2, "pbc": [True, True, True]},
        {"pbc": [[True] * 3] * 2},
        {"charge": [0]},
        {"charge": [0, np.nan]},
        {"multiplicity": [1, 1.5]},
        {"multiplicity": [1, 1, 1]},
        {"multiplicity": [1, -3]},
        {"multiplicity": [True, True]},
        {"numbers": ["8", "1", "1", "6", "1"]},
        {"positions": np.array(WATER[1] + METHANE_LIKE[1]).astype(str)},
        {"positions": np.array(WATER[1] + METHANE_LIKE[1]) + 1j},
        {"positions": [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, None]]},
        {"charge": ["1", "0"]},
        {"charge": [True, False]},
        {"charge": [[1], [0, 1]]},
        {"cells": np.array([np.eye(3) * 9] * 2).astype(str)},
        *({"cells": [np.eye(3) * 9] * 2, "pbc": [[value] * 3] * 2} for value in NO_TRUTH_VALUES),
        *({"pbc": [[value] * 3] * 2} for value in NO_TRUTH_VALUES),
    ],
)
def test_arrays_that_do_not_fit(wrong):
    fields = dict(zip(("numbers", "positions", "offsets"), _flat(), strict=True)) | wrong
    with pytest.raises(StructureError):
        Structures(**fields)


def test_from_arrays_names_what_does_not_fit():
    with pytest.raises(StructureError, match="2 structures and positions 1"):
        Structures.from_arrays([[1], [1]], [[[0, 0, 0]]])
    with pytest.raises(StructureError, match="structure 1: 'positions'"):
        Structures.from_arrays([WATER[0], [6]], [WATER[1], METHANE_LIKE[1]])
    with pytest.raises(PropertyError, match="'q' holds 1 structures"):
        make_batch(atom_properties={"q": [[1, 2, 3]]})
    with pytest.raises(StructureError, match="structure 1: 'q'"):
        make_batch(atom_properties={"q": [[1, 2, 3], [4]]})


@pytest.mark.parametrize(
    "X",
    ["molecules.xyz", b"molecules.xyz", 5, None, [[0.0, 1.0]], np.zeros((3, 4)), {"X": 1}, [None]],
)
def test_what_is_no_structure_says_how_to_make_one(X):
    with pytest.raises(StructureError, match=r"kernchem\.read\(path\)"):
        as_structures(X)


def test_an_array_around_a_structure_is_one(molecules):
    array = np.empty((), dtype=object)
    array[()] = molecules[3]
    assert list(as_structures(array)) == [molecules[3]]
    with pytest.raises(StructureError, match="got int 5"):
        as_structures(np.array(5))


def test_lists_are_joined_as_batches_are(molecules):
    atoms = molecules[:2].to_ase()
    for parts in ([atoms], [atoms, molecules[:0]], [molecules[:1], atoms[1:]], iter([atoms])):
        joined = Structures.concatenate(parts)
        assert isinstance(joined, Structures)
        assert list(joined) == list(molecules[:2])
    with pytest.raises(StructureError, match="int 5"):
        Structures.concatenate([5])


def test_lists_do_as_arrays_of_a_structure():
    own = Structure([1, 1], [[0, 0, 0], [0, 0, 1]], atom_properties={"q": [1, 2]})
    assert as_structures(own)["q"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("numbers", "positions", "more"),
    [
        ([[8, 1, 1]], [[[0, 0], [0, 0, 1], [0, 1, 0]]], {}),
        ([[8, [1], 1]], [WATER[1]], {}),
        ([[8, 1, 1], [8, [1], 1]], [WATER[1]] * 2, {}),
        ([WATER[0]], [WATER[1]], {"atom_properties": {"q": [[1, [2], 3]]}}),
        ([WATER[0]], [WATER[1]], {"atom_properties": {"q": 3}}),
    ],
)
def test_ragged_lists_are_told(numbers, positions, more):
    with pytest.raises((StructureError, PropertyError), match=r"rectangular|array"):
        Structures.from_arrays(numbers, positions, **more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"numbers": [8, [1]]},
        {"numbers": 1},
        {"numbers": [[1, 1]]},
        {"positions": [[0, 0], [0, 0, 1]]},
        {"atom_properties": {"q": [[1], [2, 3]]}},
        {"charge": [1, 2]},
    ],
)
def test_ragged_lists_of_an_item_are_told(molecules, wrong):
    own = Structure(**({"numbers": [1, 1], "positions": [[0, 0, 0], [0, 0, 1]]} | wrong))
    with pytest.raises(KernchemError):
        as_structures([molecules[0], own])


def test_item_that_is_no_structure_is_named(molecules):
    with pytest.raises(StructureError, match="item 2 is str 'CCO'"):
        as_structures([molecules[0], molecule("H2O"), "CCO"])
    with pytest.raises(StructureError, match="item 1 is int 7"):
        Structures.from_ase([molecule("H2O"), 7])


def test_items_whose_arrays_do_not_fit_are_named(molecules):
    short = Structure(np.array([1, 1]), np.zeros((1, 3)))
    with pytest.raises(StructureError, match="structure 1: positions"):
        as_structures([molecules[0], short])
    for wrong in (
        {"pbc": np.ones(3, dtype=bool)},
        {"pbc": True, "cell": np.eye(3)},
        {"pbc": ["F"] * 3, "cell": np.eye(3)},
        {"cell": np.ones(3)},
    ):
        own = Structure(np.array([1]), np.zeros((1, 3)), **wrong)
        with pytest.raises(StructureError, match=r"structure 1: (pbc|cell)|pbc must"):
            as_structures([molecules[0], own])
    loose = Structure(np.array([1]), np.zeros((1, 3)), atom_properties={"q": np.ones(2)})
    with pytest.raises(PropertyError, match="structure 1: property 'q'"):
        as_structures([molecules[0], loose])


def test_a_name_is_per_structure_or_per_atom():
    first, second = molecule("H2O"), molecule("H2O")
    first.info["q"] = 1.0
    second.set_array("q", np.ones(3))
    with pytest.raises(PropertyError, match="rename"):
        Structures.from_ase([first, second])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("charge", "plus"),
        ("charge", [1, 2]),
        ("charge", True),
        ("multiplicity", True),
        ("multiplicity", 1.5),
        ("multiplicity", "singlet"),
        ("multiplicity", np.inf),
        ("multiplicity", np.nan),
    ],
)
def test_charge_and_multiplicity_are_numbers(key, value):
    atoms = molecule("H2O")
    atoms.info[key] = value
    with pytest.raises(StructureError, match=f"structure 1: info.*{key}"):
        Structures.from_ase([molecule("H2O"), atoms])


@settings(max_examples=examples(200), deadline=None)
@given(
    hnp.arrays(np.int64, st.integers(0, 4), elements=st.integers(-1, 120)),
    hnp.arrays(float, st.tuples(st.integers(0, 4), st.just(3))),
    st.lists(st.integers(-1, 5), max_size=4),
)
def test_any_arrays_make_a_batch_or_a_typed_error(numbers, positions, offsets):
    try:
        batch = Structures(numbers, positions, offsets)
    except KernchemError:
        pass
    else:
        assert batch.offsets[-1] == len(batch.numbers) == len(batch.positions)
        assert np.isfinite(batch.positions).all()


def test_a_name_is_in_a_batch_if_it_is_a_property(molecules):
    batch = Structures.from_arrays([[1, 1]], [[[0, 0, 0], [0, 0, 1.0]]], properties={"gap": [1.0]})
    assert "gap" in batch
    assert "homo" not in batch
    assert molecules[3] in molecules


def test_two_indices_are_refused(molecules):
    with pytest.raises(IndexError, match="one axis"):
        molecules[1, 2]


def test_arrays_of_arrays_are_asked_for():
    with pytest.raises(StructureError, match="numbers is int"):
        Structures.from_arrays(1, [[0.0, 0.0, 0.0]])
    with pytest.raises(PropertyError, match=r"'a' is no rectangular array"):
        Structures([1, 1], np.eye(3)[:2], [0, 1, 2], properties={"a": [[1, 2], [3]]})


# -- what single fields do -----------------------------------------------------------------------


def test_every_field_counts_in_a_comparison():
    field = {"cell": np.eye(3), "pbc": np.ones(3, dtype=bool), "charge": 1.0, "multiplicity": 1}
    first = Structure(np.array([1]), np.zeros((1, 3)), **field)
    assert first == Structure(np.array([1]), np.zeros((1, 3)), **field)
    for name, value in (
        ("cell", 2 * np.eye(3)),
        ("pbc", np.zeros(3, dtype=bool)),
        ("charge", 0.0),
        ("multiplicity", 3),
    ):
        assert first != Structure(np.array([1]), np.zeros((1, 3)), **(field | {name: value}))
    assert first != Structure(np.array([2]), np.zeros((1, 3)), **field)
    assert first != Structure(np.array([1]), np.ones((1, 3)), **field)


def test_cells_without_periodicity_are_kept():
    atoms = molecule("H2O")
    atoms.cell = np.diag([4.0, 5.0, 6.0])
    batch = Structures.from_ase([atoms, molecule("CH4")])
    assert_array_equal(batch.cells, [np.diag([4.0, 5.0, 6.0]), np.zeros((3, 3))])
    assert not batch.pbc.any()
    assert not make_batch(cells=[np.eye(3)] * 2).pbc.any()
    assert Structures(*_flat(), pbc=np.zeros((2, 3))).pbc is None


def test_missing_charge_is_zero_and_missing_multiplicity_unknown():
    radical, plain = molecule("CH3"), molecule("CH4")
    radical.info |= {"charge": -1, "multiplicity": 2}
    batch = Structures.from_ase([plain, radical])
    assert batch.charge.tolist() == [0.0, -1.0]
    # Not 1: that would be wrong for the next radical.
    assert batch.multiplicity.tolist() == [0, 2]
    assert [item.multiplicity for item in batch] == [None, 2]
    assert "multiplicity" not in batch.to_ase()[0].info


def test_conversions_from_and_to_ase_copy():
    atoms = molecule("H2O")
    atoms.set_array("q", np.ones(3))
    before = atoms.positions.copy()
    item, batch = structure_from_ase(atoms), Structures.from_ase(atoms)
    atoms.positions += 1.0
    assert_array_equal(item.positions, before)
    again = batch.to_ase()[0]
    again.positions += 1.0
    again.arrays["q"][:] = 9.0
    assert_array_equal(batch.positions, before)
    assert_array_equal(batch["q"], 1.0)


def test_none_in_info_is_absence():
    first, second = molecule("H2O"), molecule("H2O")
    first.info = {"energy": None, "nothing": None}
    second.info = {"energy": 2.5}
    batch = Structures.from_ase([first, second])
    assert_array_equal(batch["energy"], [np.nan, 2.5])
    assert set(batch.properties) == {"energy"}


def test_result_that_does_not_have_a_row_per_atom_belongs_to_the_structure():
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results = {"magmoms": 0.0, "charges": np.ones(3)}
    batch = Structures.from_ase(atoms)
    assert batch["magmoms"].tolist() == [0.0]
    assert batch.per_atom == {"charges"}


def test_values_that_do_not_fit_together_are_kept_as_they_are():
    first, second = molecule("H2O"), molecule("H2")
    first.info = {"mixed": "a", "nested": [[1], [1, 2]]}
    second.info = {"mixed": 1.5, "nested": [[1], [2]]}
    first.set_array("label", np.array(["x", "y", "z"]))
    first.set_array("tag", np.array(["x", "y", "z"]))
    second.set_array("tag", np.array([1.0, 2.0]))
    batch = Structures.from_ase([first, second])
    assert batch["mixed"].tolist() == ["a", 1.5]
    assert batch["nested"].tolist() == [[[1], [1, 2]], [[1], [2]]]
    assert batch["label"][0].tolist() == ["x", "y", "z"]
    assert batch["label"][1] is None
    assert [values.tolist() for values in batch["tag"]] == [["x", "y", "z"], [1.0, 2.0]]
    empty = Structure(np.array([1]), np.zeros((1, 3)), properties={"nothing": None})
    assert as_structures([empty])["nothing"].tolist() == [None]


def test_one_number_is_the_property_of_one_structure():
    assert Structures([1], [[0, 0, 0]], [0, 1], properties={"energy": 2.0})["energy"].shape == (1,)
    with pytest.raises(PropertyError, match="'energy' has 1 rows for 2"):
        make_batch(properties={"energy": 2.0})


@pytest.mark.parametrize("atom", [0, 1, 2])
def test_errors_count_atoms_within_their_structure(atom):
    numbers = [8, 1, 1, 6, 1, 1]
    numbers[3 + atom] = 119
    positions = np.arange(6.0)[:, None] * [1.0, 0.0, 0.0]
    with pytest.raises(UnknownElementError, match=f"structure 1: atom {atom} "):
        Structures(numbers, positions, [0, 3, 6])
    positions[3 + atom, 1] = np.nan
    with pytest.raises(StructureError, match=f"structure 1: atom {atom} "):
        Structures([8, 1, 1, 6, 1, 1], positions, [0, 3, 6])


def test_only_zeros_are_padding():
    with pytest.raises(UnknownElementError, match=r"structure 0: atom 1 .* -1"):
        Structures.from_arrays([[8, -1, 0]], np.arange(9.0).reshape(1, 3, 3))


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 2), (0, 3)])
def test_any_two_atoms_may_coincide(pair):
    positions = np.arange(4.0)[:, None] * [1.0, 0.0, 0.0]
    positions[pair[1]] = positions[pair[0]] + [0.0, 0.01, 0.0]
    with pytest.raises(StructureError, match=f"structure 1: atoms {pair[0]} and {pair[1]} "):
        Structures.from_arrays([WATER[0], [1] * 4], [WATER[1], positions])


def test_atoms_at_the_limit_are_apart():
    assert len(Structures.from_arrays([[1, 1]], [[[0, 0, 0], [0, 0, 0.1]]])) == 1


def test_images_are_those_of_the_own_cell():
    positions = [[0.0, 0.0, 0.0], [6.99, 0.0, 0.0]]
    cells = [5.0 * np.eye(3), 7.0 * np.eye(3)]
    fields = {"numbers": [[1, 1]] * 2, "positions": [positions] * 2, "pbc": [[True] * 3] * 2}
    with pytest.raises(StructureError, match="structure 1: atoms 0 and 1 "):
        Structures.from_arrays(**fields, cells=cells)
    assert len(Structures.from_arrays(**fields, cells=[cells[0], cells[0]])) == 2


def test_images_in_a_sheared_cell():
    # The rows are the cell vectors: columns would bring the atoms 40 times nearer.
    cell = np.array([[10.0, 0.0, 0.0], [400.0, 10.0, 0.0], [0.0, 0.0, 10.0]])
    positions = np.array([[0.0, 0.0, 0.0], [0.2, 0.005, 0.0]])
    fields = {"cells": [cell], "pbc": [[True] * 3]}
    assert len(Structures.from_arrays([[1, 1]], [positions], **fields)) == 1
    with pytest.raises(StructureError, match="atoms 0 and 1"):
        Structures.from_arrays([[1, 1]], [positions / 4 + [[0, 0, 0], cell[1]]], **fields)


def test_contacts_in_flat_cells_are_those_of_all_images(rng):
    images = np.array(list(itertools.product([-2, -1, 0, 1, 2], repeat=3)), dtype=float)
    seen = {"near": 0, "apart": 0, "flat": 0}
    for _ in range(150):
        cell = np.diag([3.0, 3.0, rng.uniform(0.11, 0.3)])
        cell[1, 0], cell[2, 0], cell[2, 1] = rng.uniform(-1.5, 1.5, 3)
        fractions = rng.uniform(-1.0, 1.0, 3) * [0.01, 0.01, 0.9]
        positions = np.array([np.zeros(3), fractions @ cell])
        nearest = np.linalg.norm((fractions + images) @ cell, axis=1).min()
        message = ""
        try:
            Structures.from_arrays([[1, 1]], [positions], cells=[cell], pbc=[[True] * 3])
        except StructureError as error:
            message = str(error)
        expected = "near" if nearest < 0.1 else "apart"
        found = "flat" if "span" in message else "near" if "nearer" in message else "apart"
        assert found in {expected, "flat"}
        seen[found] += 1
    assert min(seen.values()) > 10


def test_whole_and_real_numbers_per_atom_go_into_one_array():
    first, second = molecule("H2O"), molecule("CH4")
    first.set_array("q", np.array([1, 2, 3]))
    second.set_array("q", np.arange(5) / 2)
    batch = Structures.from_ase([first, second])
    assert batch["q"].tolist() == [1, 2, 3, 0, 0.5, 1, 1.5, 2]
    assert "q" in batch.per_atom


def test_structures_show_what_they_are():
    batch = Structures.from_ase([molecule("H2O"), molecule("CH4")])
    assert repr(batch) == "Structures(2 structures, 8 atoms, elements H C O)"
    assert repr(batch[1]) == "Structure(CH4, 5 atoms)"
