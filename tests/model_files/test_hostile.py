"""Files that somebody forged: consistent digests around content that no model has."""

import copy
import io
import json
import tracemalloc

import numpy as np
import pytest
from forged import load_bytes, refused_or_usable
from model_writer import archive_of, described, model_file, npy

import kernchem
from kernchem.errors import ModelFileError


def changed(case, path, value):
    manifest = copy.deepcopy(case[0])
    node = manifest["model"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return model_file(manifest, case[1])


SETTINGS = ("state", "descriptor", "descriptor", "settings")
LAYOUT = ("state", "descriptor", "layout")
KERNEL = ("state", "kernel", "settings")
DIFFERENCE = ("state", "difference")
PROCESS = ("state", "process")
#: A descriptor of 300 features, as many as encoded bonds of two elements have.
COULOMB = {
    "descriptor": {
        "class": "kernchem.descriptors.CoulombMatrix",
        "settings": {
            "n_jobs": None,
            "permutation": "sorted",
            "random_state": None,
            "sigma": 1.0,
            "size": 24,
        },
    },
    "layout": {"elements": [1, 8], "size": 24, "noise_seed": None},
}
HUGE = 10**15


@pytest.mark.parametrize(
    ("case", "path", "value"),
    [
        (0, (*LAYOUT, "sizes"), [2, 1, 1, 2, HUGE]),
        (0, (*LAYOUT, "sizes"), [2, 1, 1, 2, 1]),
        (0, (*LAYOUT, "sizes"), [3, 0, 1, 2, 0]),
        (0, (*LAYOUT, "sizes"), [2, 1, 1, 3, -1]),
        (0, (*LAYOUT, "sizes"), [2, 1, 3]),
        (0, (*LAYOUT, "elements"), [8, 1]),
        (0, (*LAYOUT, "elements"), [1, 1]),
        (0, (*LAYOUT, "elements"), [1, 119]),
        (0, (*LAYOUT, "elements"), [0, 8]),
        (0, (*LAYOUT, "elements"), [1.0, 8]),
        (0, (*SETTINGS, "bags"), {"mapping": [["C", 6]]}),
        (0, (*SETTINGS, "bags"), {"mapping": [["H", 10**30], ["O", 1]]}),
        (0, (*SETTINGS, "n_jobs"), -4),
        (0, ("state", "descriptor", "descriptor", "class"), "kernchem.descriptors.CoulombMatrix"),
        (0, ("state", "descriptor", "descriptor", "class"), "kernchem.descriptors.Descriptor"),
        (0, ("state", "descriptor", "descriptor", "class"), "os.system"),
        (0, ("state", "descriptor", "descriptor", "class"), "kernchem.kernels.Gaussian"),
        (0, ("state", "descriptor", "descriptor"), {"class": "kernchem.KRR", "settings": {}}),
        (0, ("state", "kernel", "class"), "kernchem.KRR"),
        (0, ("state", "kernel", "class"), "builtins.eval"),
        (0, ("state", "kernel", "settings", "length_scale"), 0.0),
        (0, ("state", "kernel", "settings", "length_scale"), -1.0),
        (
            0,
            ("state", "kernel", "settings", "length_scale"),
            {"array": ["float64", [2], [1.0, 1.0]]},
        ),
        (0, ("state", "kernel", "settings", "length_scale"), {"array": ["float64", [-1], [1.0]]}),
        (0, ("state", "kernel", "settings", "length_scale"), "x"),
        (0, ("state", "kernel", "settings", "length_scale_bounds"), [2.0, 1.0]),
        (0, ("state", "kernel", "settings", "length_scale_bounds"), "free"),
        (0, ("state", "kernel", "settings", "n_jobs"), 0),
        (0, ("state", "kernel"), None),
        (0, ("state", "alpha"), 0.0),
        (0, ("state", "alpha"), -1.0),
        (0, ("state", "jitter"), {"float": "nan"}),
        (0, ("state", "condition"), -1.0),
        (0, ("state", "space"), None),
        (0, ("state", "space", "elements"), [1, 6, 8]),
        (0, ("state", "largest"), 0),
        (0, ("state", "target_shape"), [2]),
        (0, ("state", "target_shape"), [1, 1]),
        (0, ("state", "trials"), [[1, None, 1.0, 1.0]]),
        (0, ("state", "trials"), [[1]]),
        (0, ("state", "feature_names"), ["a"]),
        (0, ("model", "settings", "alpha"), -1.0),
        (0, ("model", "settings", "kernel"), "precomputed"),
        (0, ("model", "settings", "descriptor"), None),
        (0, ("model", "settings", "more"), None),
        (0, ("model", "class"), "sklearn.pipeline.Pipeline"),
        (0, ("model", "class"), "kernchem.CompositionBaseline"),
        (0, ("model", "class"), "kernchem.kernels.Gaussian"),
        (1, ("state", "kernel"), None),
        (1, ("state", "feature_names"), ["a"]),
        (1, ("state", "feature_names"), ["a", "b\x1b[2J"]),
        (1, ("state", "descriptor"), {}),
        (
            1,
            ("model", "settings", "cv"),
            {"class": "sklearn.model_selection.KFold", "settings": {}, "x": 1},
        ),
        (
            1,
            ("model", "settings", "cv"),
            {"class": "sklearn.model_selection.KFold", "settings": {"n_splits": 1}},
        ),
        (2, ("state", "target_shape"), [2]),
        (3, (*LAYOUT, "size"), HUGE),
        (3, (*LAYOUT, "size"), 0),
        (3, (*LAYOUT, "size"), 2),
        (3, (*LAYOUT, "noise_seed"), None),
        (3, (*LAYOUT, "noise_seed"), -1),
        (3, (*SETTINGS, "random_state"), -1),
        (3, (*SETTINGS, "random_state"), "x"),
        (3, (*SETTINGS, "permutation"), "sorted"),
        (3, (*SETTINGS, "permutation"), "eigenspectrum"),
        (3, (*SETTINGS, "sigma"), -1.0),
        (4, ("state", "space"), None),
        (4, ("model", "settings", "baseline"), []),
        (4, ("model", "settings", "baseline"), ["cheap", "cheap"]),
        (4, ("model", "settings", "slope"), 2),
        (4, (*DIFFERENCE, *SETTINGS, "grid"), {"tuple": [0.5, 2.0, HUGE]}),
        (4, (*DIFFERENCE, *SETTINGS, "grid"), {"tuple": [0.5, 2.0, 5]}),
        (4, (*DIFFERENCE, *SETTINGS, "grid"), [0.5, 2.0]),
        (4, (*DIFFERENCE, *SETTINGS, "sigma"), 0.0),
        (4, (*DIFFERENCE, *SETTINGS, "max_bonds"), -1),
        (4, (*DIFFERENCE, *SETTINGS, "elements"), ["H", "C"]),
        (4, (*DIFFERENCE, *SETTINGS, "radii"), {"mapping": [["H", {"float": "nan"}]]}),
        (5, ("state", "descriptor", "layout", "numbers"), [8, 1]),
        (5, ("state", "descriptor", "layout", "numbers"), [8, 1, 200]),
        (5, ("state", "descriptor", "layout", "numbers"), None),
        (5, ("model", "settings", "steps"), None),
        (5, ("model", "settings", "steps"), [{"tuple": ["a__b", None]}, {"tuple": ["c", None]}]),
        (5, ("model", "settings", "steps"), [{"tuple": ["a", None]}, {"tuple": ["a", None]}]),
        (5, ("model", "settings", "steps"), [{"tuple": ["a", None]}, {"tuple": ["memory", None]}]),
        (5, ("model", "settings", "steps"), [{"tuple": ["a", None]}, {"tuple": [1, None]}]),
        (5, ("model", "settings", "steps"), [{"tuple": ["a", None]}]),
        (5, ("state", "descriptor"), None),
        (5, ("model", "settings", "memory"), "/tmp/cache"),
        (6, (*LAYOUT, "size"), HUGE),
        (6, (*SETTINGS, "r_cut"), 2.0),
        (6, (*SETTINGS, "orbitals"), "sp"),
        (6, (*SETTINGS, "orbitals"), []),
        (8, (*LAYOUT, "size"), HUGE),
        (8, (*LAYOUT, "size"), 2),
        (8, (*LAYOUT, "elements"), [1, 6]),
        (8, (*LAYOUT, "types"), []),
        (8, LAYOUT, []),
        (8, (*SETTINGS, "r_cut"), None),
        (8, (*SETTINGS, "size"), HUGE),
        (8, ("state", "descriptor"), {"joint": []}),
        (8, ("state", "kernel"), {"class": "kernchem.kernels.Gaussian", "settings": {}}),
        (8, ("state", "kernel", "settings", "base"), None),
        (8, ("state", "kernel", "settings", "coupling"), "x"),
        (8, ("state", "kernel", "settings", "coupling"), {"mapping": [["H-O", "x"]]}),
        (8, ("state", "kernel", "settings", "coupling"), {"mapping": [["H-O", 2.0]]}),
        (8, ("state", "kernel", "settings", "normalize"), 1),
        (8, ("state", "kernel", "settings", "n_jobs"), 0),
        (8, ("state", "kernel", "settings", "base", "settings", "length_scale"), -1.0),
        (9, (*LAYOUT, "size"), 4),
        (10, ("state", "descriptor", "joint"), []),
        (10, ("state", "descriptor", "joint"), None),
        (10, ("state", "descriptor", "joint", 1), {"joint": []}),
        (10, ("state", "descriptor", "joint", 1, "layout", "size"), 7),
        (10, ("state", "kernel"), {"class": "kernchem.kernels.Gaussian", "settings": {}}),
        (10, (*KERNEL, "kernels"), []),
        (10, (*KERNEL, "kernels", 0), 1.0),
        (10, (*KERNEL, "parts"), [0]),
        (10, (*KERNEL, "parts"), [0, 2]),
        (10, (*KERNEL, "parts"), [0, -1]),
        (10, (*KERNEL, "parts"), [1, 0]),
        (10, (*KERNEL, "products"), [[0], [2]]),
        (10, (*KERNEL, "products"), [[0], [-1]]),
        (10, (*KERNEL, "products"), [[0], []]),
        (10, (*KERNEL, "products"), [[0]]),
        (10, (*KERNEL, "weights"), [1.0]),
        (10, (*KERNEL, "weights"), [1.0, 0.0]),
        (10, (*KERNEL, "weights"), [1.0, {"float": "nan"}]),
        (10, (*KERNEL, "weights"), [1.0, "x"]),
        (10, (*KERNEL, "scales"), [1.0, -1.0]),
        (10, (*KERNEL, "scales"), 1.0),
        (10, (*KERNEL, "fixed_weights"), None),
        (10, ("model", "settings", "kernel", "settings", "terms"), []),
        (10, ("model", "settings", "kernel", "settings", "terms"), [1]),
        (10, ("model", "settings", "kernel"), "gaussian"),
        (11, (*LAYOUT, "types"), []),
        (11, (*LAYOUT, "types"), None),
        (11, (*LAYOUT, "types", 0), [6]),
        (11, (*LAYOUT, "types", 0), [8]),
        (11, (*LAYOUT, "types", 0), []),
        (11, (*LAYOUT, "types", 0), [1, 8]),
        (11, (*LAYOUT, "types", 0), [8, 1]),
        (11, (*LAYOUT, "types", 0), [1] * 4),
        (11, (*LAYOUT, "types"), [[1]] * 10_000),
        (11, (*LAYOUT, "size"), 1),
        (11, (*SETTINGS, "step_r"), 1e-12),
        (11, (*SETTINGS, "step_theta"), 5e-324),
        (11, (*SETTINGS, "step_theta"), 0.0),
        (11, (*SETTINGS, "step_r"), -1.0),
        (11, (*SETTINGS, "sigma_r"), 5e-324),
        (11, (*SETTINGS, "sigma_r"), 1e300),
        (11, (*SETTINGS, "sigma_theta"), {"float": "nan"}),
        (11, (*SETTINGS, "r_cut"), 1e15),
        (11, (*SETTINGS, "r_cut"), "x"),
        (11, (*SETTINGS, "per_atom"), True),
        (11, (*SETTINGS, "elements"), ["H", "C", "O"]),
        (13, ("state", "process"), None),
        (13, ("state", "process"), {}),
        (13, ("state", "alpha"), 1e-3),
        (13, (*PROCESS, "diagonal"), 0.0),
        (13, (*PROCESS, "diagonal"), -1.0),
        (13, (*PROCESS, "diagonal"), {"float": "inf"}),
        (13, (*PROCESS, "diagonal"), 1),
        (13, (*PROCESS, "diagonal"), None),
        (13, (*PROCESS, "amplitude"), 0.0),
        (13, (*PROCESS, "amplitude"), {"float": "nan"}),
        (13, (*PROCESS, "amplitude"), "loo"),
        (13, (*PROCESS, "noise_groups"), ["a"]),
        (13, (*PROCESS, "noise_groups"), []),
        (13, (*PROCESS, "likeness"), None),
        (13, (*PROCESS, "likeness"), 1.0),
        (13, (*PROCESS, "likeness", "length_scale"), 0.0),
        (13, (*PROCESS, "likeness", "length_scale"), {"float": "inf"}),
        (13, (*PROCESS, "likeness", "descriptor", "descriptor", "class"), "kernchem.GPR"),
        (13, (*PROCESS, "likeness", "descriptor"), COULOMB),
        (13, ("model", "settings", "calibration"), None),
        (14, (*PROCESS, "likeness"), {"descriptor": None, "length_scale": 1.0}),
        (13, ("model", "settings", "alpha"), "loo"),
        (13, ("model", "settings", "amplitude"), -1.0),
        (13, ("model", "settings", "calibration"), "isotonic"),
        (13, ("model", "settings", "n_restarts"), -1),
        (13, ("model", "settings", "kernel"), "precomputed"),
        (13, ("model", "class"), "kernchem.KRR"),
        (13, ("state", "kernel"), None),
        (14, (*PROCESS, "amplitude"), None),
        (14, (*PROCESS, "noise_groups"), None),
        (14, (*PROCESS, "noise_groups"), "ab"),
        (14, (*PROCESS, "noise_groups"), ["old"]),
        (14, (*PROCESS, "noise_groups"), ["old", "old"]),
        (14, (*PROCESS, "noise_groups"), ["old", "new", "other"]),
        (14, (*PROCESS, "noise_groups"), ["old", None]),
        (14, (*PROCESS, "noise_groups"), ["old", ["new"]]),
        (14, (*PROCESS, "noise_groups"), ["old", "a\x1b[2J"]),
        (14, (*PROCESS, "noise_groups"), ["old", "x" * 20_000]),
        (14, (*PROCESS, "noise_groups"), ["old", {"float": "nan"}]),
        (14, ("state", "trials"), [[1, None, 1.0, -1.0]]),
        (14, ("state", "trials", 0, 3), {"float": "nan"}),
        (7, ("state", "space"), None),
        (7, ("state", "target_shape"), []),
        (7, ("state", "space", "n_structures"), 0),
    ],
)
def test_forged_models(cases, folder, case, path, value):
    tracemalloc.start()
    with pytest.raises(ModelFileError):
        load_bytes(changed(cases[case], path, value), folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize(
    "value",
    [
        None,
        ["Structure"],
        ["Cluster", [8], [[0.0, 0.0, 0.0]], None, None, None, None],
        ["Atoms", None, [[0.0, 0.0, 0.0]], None, None, None, None],
        ["Atoms", [8], [[0.0, 0.0]], None, None, None, None],
        ["Atoms", [1] * 20_000, [], None, None, None, None],
        ["Atoms", [300], [[0.0, 0.0, 0.0]], None, None, None, None],
        ["Atoms", [8], [[0.0, 0.0, 1e999]], None, None, None, None],
        ["Atoms", [8], "x", None, None, None, None],
        ["Atoms", [8], [[0.0, 0.0, 0.0]], None, [True] * 3, None, None],
        ["Atoms", [8], [[0.0, 0.0, 0.0]], [[0.0] * 3] * 3, [True] * 3, None, None],
        ["Atoms", [8], [[0.0, 0.0, 0.0]], None, None, "x", None],
        ["Atoms", [8, 1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1e300], [0.0, 1.0, 0.0]], *[None] * 4],
    ],
)
def test_forged_geometries(cases, folder, value):
    path = ("state", "descriptor", "descriptor", "settings", "equilibrium")
    with pytest.raises(ModelFileError):
        load_bytes(changed(cases[5], path, {"geometry": value}), folder)


@pytest.mark.parametrize(
    "value",
    [
        {"float": "1.0"},
        {"float": 1.0},
        {"tuple": 1},
        {"mapping": [["a"]]},
        {"mapping": [[1, 2]]},
        {"scalar": ["float64"]},
        {"scalar": ["object", 1]},
        {"scalar": ["int32", 1 << 40]},
        {"array": ["float64", [3], [1.0, 2.0]]},
        {"array": ["float64", [2], [1, 2.0]]},
        {"array": [[], [2], [1.0, 2.0]]},
        {"array": ["float64", 2, [1.0, 2.0]]},
        {"array": ["float64", [1] * 100, [1.0]]},
        {"array": ["float64", [1 << 31] * 8, []]},
        {"float": "nan", "tuple": []},
        {},
        1 << 64,
        10**4000,
        {"class": "kernchem.KRR", "settings": []},
        {"class": ["kernchem.KRR"], "settings": {}},
        {"class": "sklearn.gaussian_process.kernels.Sum", "settings": {"k1": 1, "k2": 2}},
        {"class": "sklearn.gaussian_process.kernels.Sum", "settings": {}},
        {
            "class": "sklearn.model_selection.PredefinedSplit",
            "settings": {"test_fold": {"class": "kernchem.KRR", "settings": {}}},
        },
    ],
    ids=lambda value: str(value)[:60],
)
def test_values_that_stand_for_nothing(cases, folder, value):
    with pytest.raises(ModelFileError):
        load_bytes(changed(cases[1], ("model", "settings", "cv"), value), folder)
    deep = value
    for _ in range(150):
        deep = [deep]
    with pytest.raises(ModelFileError, match="within one another"):
        load_bytes(changed(cases[1], ("model", "settings", "cv"), deep), folder)


def test_number_beyond_float64(cases, folder):
    manifest, members, _ = cases[1]
    text = json.dumps({**manifest, "members": [described(*item) for item in members.items()]})
    text = text.replace('"jitter": 0.0', '"jitter": 1e999')
    assert "1e999" in text
    with pytest.raises(ModelFileError, match="too large for float64"):
        load_bytes(archive_of(text, members), folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unit", "a\nb"),
        ("unit", 3),
        ("target", "x" * 100_000),
        ("elements", ["H"]),
        ("elements", {"tuple": [1]}),
        ("n_training", 0),
        ("n_training", 1.0),
        ("alpha", "1"),
        ("alpha", {"tuple": ["1"]}),
        ("loo_mae", 1.0),
        ("amplitude", 1.0),
        ("amplitude", {"tuple": [None]}),
        ("calibration", 1),
        ("calibration", "a\nb"),
        ("loo_coverage", {"tuple": ["1"]}),
        ("loo_mae", {"tuple": ["1"]}),
        ("citations", {"tuple": [None]}),
        ("more", None),
    ],
)
def test_forged_information(cases, folder, field, value):
    manifest, members, _ = cases[0]
    data = model_file({**manifest, "info": {**manifest["info"], field: value}}, members)
    with pytest.raises(ModelFileError):
        load_bytes(data, folder)
    with pytest.raises(ModelFileError):
        kernchem.model_files.read_info(folder / "model.kc")
    with pytest.raises(ModelFileError, match="the version of kernchem"):
        load_bytes(model_file({**manifest, "kernchem": 3}, members), folder)


def test_messages_name_what_is_wrong(cases, folder):
    setting = ("state", "kernel", "settings", "length_scale")
    for path, value, text in (
        (("model", "settings", "more"), 1, r"kernchem\.KRR has no setting 'more' here; update"),
        (("state", "kernel", "class"), "os.system", "str 'os.system' is none of the classes"),
        (setting, {"array": ["float64", [1 << 31] * 100_000, []]}, "an array of type"),
        (setting, {"float": "inf"}, "length_scale=inf is not a width"),
    ):
        with pytest.raises(ModelFileError, match=text):
            load_bytes(changed(cases[0], path, value), folder)
    manifest, members, _ = cases[0]
    for name, value in (("kept", 5), ("kept", -1), ("member", 5), ("first", 5)):
        data = {**members, f"{name}.npy": npy(np.array([0, 1, 2, 3, value]))}
        with pytest.raises(ModelFileError, match=f"{name} holds numbers of rows that do not exist"):
            load_bytes(model_file(manifest, data), folder)
    data = bytearray(model_file(manifest, members))
    data[100] ^= 1
    with pytest.raises(ModelFileError, match=r"model\.json does not match its digest"):
        load_bytes(bytes(data), folder)


def test_arrays_that_no_part_asks_for(cases, folder):
    manifest, members, _ = cases[0]
    with pytest.raises(ModelFileError, match=r"it holds more\.npy, which is no part of the model"):
        load_bytes(model_file(manifest, {**members, "more.npy": npy(np.ones(2))}), folder)
    rest = {name: data for name, data in members.items() if name != "dual.npy"}
    with pytest.raises(ModelFileError, match=r"the array dual\.npy is missing"):
        load_bytes(model_file(manifest, rest), folder)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("kept", np.array([0, 1, 2, 3, 5])),
        ("kept", np.array([0, 2, 1, 3, 4])),
        ("kept", np.array([-1, 0, 1, 2, 3])),
        ("member", np.array([0, 1, 2, 3, -1])),
        ("member", np.array([0, 1, 2, 3, 3])),
        ("first", np.array([0, 1, 2, 3, 3])),
        ("first", np.array([0, 1, 2, 3, 2**62])),
        ("weights", np.array([1.0, 1.0, 0.0, 1.0, 1.0])),
        ("weights", np.array([1.0, 1.0, np.inf, 1.0, 1.0])),
        ("features", np.full((5, 6), np.nan)),
        ("features", np.ones((4, 6))),
        ("features", np.ones((5, 7))),
        ("targets", np.ones((5, 2))),
        ("labels", np.ones((5, 2))),
        ("dual", np.ones((6, 1))),
        ("basis", np.ones((5, 2))),
        ("linear_coef", np.ones((2, 1))),
        ("composition", np.ones((1, 3))),
        ("loo_residuals", np.ones((4, 1))),
    ],
)
def test_forged_arrays(cases, folder, name, array):
    manifest, members, _ = cases[0]
    assert f"{name}.npy" in members
    with pytest.raises(ModelFileError):
        load_bytes(model_file(manifest, {**members, f"{name}.npy": npy(array)}), folder)


@pytest.mark.parametrize(
    ("case", "name", "array"),
    [
        (8, "values", np.full((15, 3), np.nan)),
        (8, "values", np.ones((14, 3))),
        (8, "values", np.ones((15, 4))),
        (8, "numbers", np.tile([8, 1, 119], 5)),
        (8, "numbers", np.tile([8, 1, -1], 5)),
        (8, "numbers", np.tile([8, 1, 6], 5)),
        (8, "numbers", np.tile([8, 1, 1], 6)),
        (8, "offsets", np.array([0, 3, 6, 9, 12, 16])),
        (8, "offsets", np.array([0, 3, 6, 9, 12, 14])),
        (8, "offsets", np.array([0, 3, 6, 6, 12, 15])),
        (8, "offsets", np.array([0, 3, 6, 2, 12, 15])),
        (8, "offsets", np.array([1, 3, 6, 9, 12, 15])),
        (8, "offsets", np.array([0, 3, 6, 9, 15])),
        (8, "offsets", np.array([0, 3, -(2**62), 2**62, 12, 15])),
        (9, "width", np.array([4])),
        (9, "width", np.array([2])),
        (9, "width", np.array([3, 3])),
        (9, "width", np.array([2**40])),
        (9, "sizes", np.array([[10, 3], [5, 2]])),
        (9, "sizes", np.array([[9, 3], [5, 3]])),
        (9, "sizes", np.array([[10, 3], [5, 3], [0, 3]])),
        (9, "sizes", np.array([[15, 3]])),
        (9, "sizes", np.array([[2**62, 3], [-(2**62), 3]])),
        (9, "sizes", np.array([[10, 2**62], [5, 3]])),
        (9, "atoms", np.zeros(15, int)),
        (9, "atoms", np.arange(1, 16)),
        (9, "atoms", np.arange(14)),
        (9, "columns", np.array([0, 1, 2, 0, 1, 3])),
        (9, "columns", np.array([0, 1, 2, 0, 1, -1])),
        (9, "columns", np.array([0, 1, 2, 0, 2, 1])),
        (9, "columns", np.array([0, 1, 1, 0, 1, 2])),
        (9, "values", np.full(45, np.inf)),
        (9, "values", np.ones(44)),
        (10, "part0", np.ones((5, 13))),
        (10, "part0", np.ones((4, 12))),
        (10, "part1.values", np.ones((15, 4))),
        (10, "part1.offsets", np.array([0, 3, 6, 9, 12, 14])),
    ],
)
def test_forged_features_of_atoms(cases, folder, case, name, array):
    manifest, members, _ = cases[case]
    name = f"features.{name}.npy"
    assert name in members
    with pytest.raises(ModelFileError):
        load_bytes(model_file(manifest, {**members, name: npy(array)}), folder)


def with_first(name, value, case=14):
    """An array of a process whose first number is another one."""

    def forge(members):
        array = np.load(io.BytesIO(members[f"{name}.npy"])).copy()
        array.flat[0] = value
        return array

    return pytest.param(case, name, forge, id=f"{case} {name} {value}")


@pytest.mark.parametrize(
    ("case", "name", "forge"),
    [
        *(
            with_first(name, value)
            for name, values in {
                "alphas": (0.0, -1.0, np.nan, np.inf),
                "amplitudes": (0.0, -1.0, np.nan, np.inf),
                "loo_std": (-1.0, -np.inf),
                "scores": (-1.0, np.nan),
                "noise_variances": (-1.0, np.nan, 1e301),
                "noise_groups": (-1, 2, 2**62),
                "scale_coef": (np.nan, np.inf),
                "scale_dual": (np.nan, -np.inf),
                "scale_range": (np.nan, np.inf, 1e300),
                "scale_strength": (0.0, -1.0, np.nan),
                "quantile_sizes": (0, -1, 1, 10**15, 2**62),
                "quantile_scores": (0.1, -1.0, np.nan),
                "quantile_levels": (0.1, np.nan),
            }.items()
            for value in values
        ),
        *(
            pytest.param(case, name, lambda _, array=array: array, id=f"{case} {name} shape")
            for case, name, array in [
                (13, "alphas", np.ones(2)),
                (14, "alphas", np.ones(3)),
                (14, "alphas", np.ones((2, 1))),
                (13, "amplitudes", np.ones(1)),
                (13, "amplitudes", np.ones(3)),
                (13, "loo_std", np.ones((5, 1))),
                (13, "loo_std", np.ones((4, 2))),
                (14, "scores", np.ones((6, 1))),
                (14, "noise_variances", np.ones(23)),
                (14, "noise_groups", np.zeros(25, int)),
                (14, "noise_groups", np.zeros(24)),
                (13, "scale_coef", np.ones((2, 2))),
                (13, "scale_coef", np.ones((1, 3))),
                (13, "scale_dual", np.ones((2, 4))),
                (13, "scale_range", np.zeros((2, 3))),
                (13, "likeness", np.ones((4, 300))),
                (13, "likeness", np.ones((5, 299))),
                (13, "likeness", np.full((5, 300), np.nan)),
                (13, "scale_strength", np.ones(3)),
                (14, "quantile_sizes", np.array([24])),
                (14, "quantile_scores", np.arange(3.0)),
                (14, "quantile_levels", np.linspace(0.0, 0.5, 3)),
            ]
        ),
        pytest.param(14, "quantile_levels", lambda m: 2.0 * numbers_of(m), id="levels above 1"),
        pytest.param(14, "quantile_levels", lambda m: 0.0 * numbers_of(m), id="levels all zero"),
        pytest.param(14, "quantile_levels", lambda m: numbers_of(m)[::-1], id="levels descend"),
    ],
)
def test_forged_processes(cases, folder, case, name, forge):
    manifest, members, _ = cases[case]
    name = f"{name}.npy"
    assert name in members
    with pytest.raises(ModelFileError):
        load_bytes(model_file(manifest, {**members, name: npy(forge(members))}), folder)


def numbers_of(members):
    return np.load(io.BytesIO(members["quantile_levels.npy"]))


def test_processes_of_which_a_part_is_missing(cases, folder):
    manifest, members, samples = cases[14]
    for name in (
        "alphas amplitudes loo_std noise_groups scale_coef scale_dual scale_range scale_strength "
        "quantile_sizes quantile_scores quantile_levels"
    ).split():
        rest = {key: data for key, data in members.items() if key != f"{name}.npy"}
        with pytest.raises(ModelFileError):
            load_bytes(model_file(manifest, rest), folder)
    # Without all of a kind it is another model.
    for beginning in ("scale_", "quantile_", "scores", "noise_variances"):
        rest = {key: data for key, data in members.items() if not key.startswith(beginning)}
        assert len(rest) < len(members)
        assert not refused_or_usable(model_file(manifest, rest), samples, folder)
    manifest, members, _ = cases[0]
    for name in ("noise_variances", "alphas"):
        data = {**members, f"{name}.npy": npy(np.ones(5))}
        with pytest.raises(ModelFileError, match="which is no part of the model"):
            load_bytes(model_file(manifest, data), folder)


def test_processes_of_names_that_are_numbers(cases, folder):
    for names in ([1, 2], [True, 2.5], ["1", 1]):
        data = changed(cases[14], (*PROCESS, "noise_groups"), names)
        model = load_bytes(data, folder)
        assert model.noise_groups_ == tuple(names)
        assert list(map(type, model.noise_groups_)) == list(map(type, names))


def test_kernel_matrix_that_is_not_square(cases, folder):
    manifest, members, _ = cases[2]
    assert np.load(io.BytesIO(members["features.npy"])).shape == (4, 4)
    data = {**members, "features.npy": npy(np.ones((4, 3)))}
    with pytest.raises(ModelFileError, match="is not square"):
        load_bytes(model_file(manifest, data), folder)


def test_forged_models_within_models(cases, folder):
    delta, pipeline = cases[4], cases[5]
    other = copy.deepcopy(cases[1][0]["model"])
    arrays = {f"difference.{name}": data for name, data in cases[1][1].items()}
    rest = {name: data for name, data in delta[1].items() if not name.startswith("difference.")}
    manifest = copy.deepcopy(delta[0])
    manifest["model"]["state"]["difference"] = other
    with pytest.raises(ModelFileError, match="takes no structures"):
        load_bytes(model_file(manifest, rest | arrays), folder)
    manifest["model"]["state"]["difference"] = copy.deepcopy(cases[7][0]["model"])
    arrays = {f"difference.{name}": data for name, data in cases[7][1].items()}
    with pytest.raises(ModelFileError, match="has other targets"):
        load_bytes(model_file(manifest, rest | arrays), folder)
    manifest = copy.deepcopy(pipeline[0])
    manifest["model"]["state"]["last"] = copy.deepcopy(cases[0][0]["model"])
    arrays = {f"last.{name}": data for name, data in cases[0][1].items()}
    with pytest.raises(ModelFileError, match="must be KRR or GPR on arrays"):
        load_bytes(model_file(manifest, arrays), folder)
    manifest = copy.deepcopy(pipeline[0])
    manifest["model"] = {
        "model": pipeline[0]["model"]["model"],
        "state": {"descriptor": None, "last": pipeline[0]["model"]},
    }
    arrays = {f"last.{name}": data for name, data in pipeline[1].items()}
    with pytest.raises(ModelFileError, match="a pipeline is the last step of another"):
        load_bytes(model_file(manifest, arrays), folder)
