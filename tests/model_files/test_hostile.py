"""Files that somebody forged: consistent digests around content that no model has."""

import contextlib
import copy
import dataclasses
import io
import json
import random
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from ase.build import molecule
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from model_writer import archive_of, described, entry, model_file, npy, parts
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

import kernchem
from kernchem import GPR, KRR, CompositionBaseline, DeltaLearner
from kernchem.descriptors import (
    SLATM,
    BagOfBonds,
    CoulombMatrix,
    EncodedBonds,
    InverseDistances,
    OverlapEigenvalues,
    Torsions,
)
from kernchem.environments import Environments, FeatureBlock
from kernchem.errors import KernchemWarning, ModelFileError
from kernchem.kernels import AtomSum, Gaussian, Laplacian
from kernchem.models import Term
from kernchem.structures import Structures

FIXED = {"alpha": 1e-3, "optimizer": None}
WATER = molecule("H2O")
RNG = np.random.default_rng(2)
FRAMES = Structures.from_arrays(
    WATER.numbers,
    WATER.positions + 0.05 * RNG.normal(size=(5, 3, 3)),
    properties={"cheap": np.arange(5.0)},
)
Y = np.array([1.0, 0.5, 2.0, 1.5, 1.2])
TWO = np.stack([Y, -Y], axis=1)
K = np.eye(5) + 0.5
POINTS = RNG.uniform(size=(24, 2))
SINES = np.sin(3.0 * POINTS)
SOURCES = np.array(["old", "new"])[np.arange(24) % 2]


def models():
    yield KRR(Laplacian(300.0), descriptor=BagOfBonds(), **FIXED).fit(FRAMES, Y), FRAMES
    yield (
        KRR(
            ConstantKernel(2.0) * RBF([1.0, 2.0]) + WhiteKernel(0.1) + Gaussian(1.5),
            cv=KFold(2, shuffle=True, random_state=1),
            alpha=0.1,
        ).fit(K[:, :2], TWO),
        K[:, :2],
    )
    yield KRR("precomputed", alpha=0.1).fit(K, Y, [0, 1, 1, 1, 2]), K
    random = CoulombMatrix("random", random_state=3)
    yield (
        KRR(Laplacian(300.0), descriptor=random, composition=False, **FIXED).fit(FRAMES, Y),
        FRAMES,
    )
    bonds = EncodedBonds(2, grid=(0.5, 2.0, 4), radii={"H": 0.4})
    yield (
        DeltaLearner(KRR(Gaussian(2.0), descriptor=bonds, **FIXED), "cheap", slope=1).fit(
            FRAMES, Y
        ),
        FRAMES,
    )
    inverse = InverseDistances(WATER)
    yield make_pipeline(inverse, KRR(Gaussian(2.0), **FIXED)).fit(FRAMES, Y), FRAMES
    yield KRR(Gaussian(2.0), descriptor=OverlapEigenvalues("s"), **FIXED).fit(FRAMES, Y), FRAMES
    yield CompositionBaseline().fit(FRAMES, TWO), FRAMES
    atoms = OverlapEigenvalues("s", r_cut=3.0)
    yield KRR(AtomSum(Gaussian()), descriptor=atoms, **FIXED).fit(FRAMES, Y), FRAMES
    model = KRR(AtomSum(Gaussian()), descriptor=atoms, **FIXED).fit(FRAMES, Y)
    old = model._training.features
    new = Environments.from_blocks(
        [
            FeatureBlock(atoms, np.arange(3), old.values[atoms])
            for atoms in (np.flatnonzero(old.numbers == 1), np.flatnonzero(old.numbers == 8))
        ],
        old.numbers,
        old.offsets,
        3,
    )
    model._training = dataclasses.replace(model._training, features=new)
    yield model, FRAMES
    terms = Term(bonds, "gaussian", width=2.0) + 0.1 * Term(atoms, width=2.0)
    yield KRR(terms, **FIXED).fit(FRAMES, Y), FRAMES
    spectra = SLATM(r_cut=2.0, step_r=0.9, step_theta=2.0, sigma_r=0.5, sigma_theta=0.5)
    yield KRR(Gaussian(9.0), descriptor=spectra, **FIXED).fit(FRAMES, Y), FRAMES
    torsions = Torsions(grid=(0.8, 1.0, 2))
    yield KRR(Gaussian(9.0), descriptor=torsions, **FIXED).fit(FRAMES, Y), FRAMES
    yield GPR(Laplacian(300.0), descriptor=BagOfBonds(), **FIXED).fit(FRAMES, TWO), FRAMES
    process = GPR(cv=KFold(3)).fit(POINTS, SINES, noise=0.1, noise_groups=SOURCES)
    yield process.calibrate(POINTS[:6] + 0.1, SINES[:6]), POINTS[:4]


def saved_parts(model, folder):
    kernchem.save(model, folder / "model.kc", target="energy")
    manifest, members = parts((folder / "model.kc").read_bytes())
    # A search has dozens of trials, all alike.
    del manifest["model"]["state"].get("trials", [])[2:]
    return manifest, members


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Manifest, members and samples of each model."""
    folder = tmp_path_factory.mktemp("saved")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", KernchemWarning)
        return [(*saved_parts(model, folder), samples) for model, samples in models()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("forged")


def load_bytes(data, folder):
    (folder / "model.kc").write_bytes(data)
    return kernchem.load(folder / "model.kc")


def use(model, samples):
    """Whatever a model that was loaded is asked for, it answers or says what is wrong."""
    repr(model)
    model.get_params()
    last = model[-1] if hasattr(model, "steps") else getattr(model, "model_", model)
    repr(getattr(last, "trials_", None))
    calls = [lambda: model.predict(samples)]
    if hasattr(last, "leave_out_residuals"):
        calls += [last.leave_out_residuals, lambda: last.leave_out_residuals(2)]
    if isinstance(last, GPR):
        calls += [
            lambda: last.predict(samples, return_std=True),
            lambda: last.predict(samples, return_cov=True),
            lambda: last.sample_y(samples, 2),
            last.leave_out,
            lambda: last.log_marginal_likelihood(eval_gradient=True),
            *(
                lambda method=method: last.predict_interval(samples, 0.8, method)
                for method in ("conformal", "calibrated", "gaussian", "jackknife+", "cv+")
            ),
            lambda: last.append(samples[:1], last._labels[:1]),
            lambda: last.forget([0]),
        ]
    for call in calls:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            with contextlib.suppress(ValueError):
                call()


def refused_or_usable(data, samples, folder):
    """Whether a file is refused, by the one type of error; else its model is used."""
    try:
        model = load_bytes(data, folder)
    except ModelFileError:
        return True
    use(model, samples)
    return False


# -- random edits ---------------------------------------------------------------------------------

TEXTS = (
    "fixed precomputed gaussian loo nan random sorted eigenspectrum none sp float64 H C-H x"
).split()
TAGS = "float tuple mapping array scalar geometry class settings".split()
ODD = [None, True, False, -1, 0, 1, 2, 7, 0.0, -0.5, 1.5, 1e300, 5e-324]
LARGE = [2**31, 2**63, -(2**63), 10**18, 10**30, 10**400]


def odd_value(rng, depth=0):
    """Any JSON, mostly of a kind that stands somewhere in a file."""
    kind = rng.choice(
        ["odd", "odd", "large", "text", "list", "tagged", "array"][: 4 + 3 * (depth < 3)]
    )
    if kind == "list":
        return [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == "tagged":
        return {rng.choice(TAGS): odd_value(rng, depth + 1) for _ in range(rng.choice([1, 1, 2]))}
    if kind == "array":
        return {"array": [rng.choice(TEXTS), [2], [odd_value(rng, 3), odd_value(rng, 3)]]}
    return rng.choice({"odd": ODD, "large": LARGE, "text": TEXTS}[kind])


def value_like(value, rng):
    """Another value of the same type."""
    if isinstance(value, bool) or value is None:
        return rng.choice([True, False, None, 1, "loo"])
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, -value, 0, 2 * value, value << 40])
    if isinstance(value, float):
        return rng.choice([2 * value, 0.5 * value, -value, 0.0, value + 1, 1e300, 1e-300])
    if isinstance(value, str):
        return rng.choice(TEXTS)
    if isinstance(value, list):
        return rng.choice([value[:-1], value[::-1], value + value, [*value, *value[:1]]])
    return value


def places(node, path=()):
    """Paths to all values of a JSON document."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def at(node, path):
    for key in path:
        node = node[key]
    return node


def edited(manifest, rng):
    """A manifest with one to three values replaced, removed, copied or added."""
    manifest = json.loads(json.dumps(manifest))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        found = list(places({"model": manifest["model"]}))
        path = rng.choice(found)
        parent = at(manifest, path[:-1])
        how = rng.choice(["like", "like", "like", "odd", "other", "remove", "add"])
        if how == "remove" and len(path) > 1:
            del parent[path[-1]]
        elif how == "like":
            parent[path[-1]] = value_like(parent[path[-1]], rng)
        elif how == "other":
            parent[path[-1]] = copy.deepcopy(at(manifest, rng.choice(found)))
        elif how == "add" and isinstance(parent, list):
            parent.insert(path[-1], odd_value(rng))
        elif how == "add":
            parent["more"] = odd_value(rng)
        else:
            parent[path[-1]] = odd_value(rng)
    return manifest


@pytest.mark.slow
@settings(max_examples=examples(600), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_edited_manifests(cases, folder, seed):
    rng = random.Random(seed)
    manifest, members, samples = rng.choice(cases)
    refused_or_usable(model_file(edited(manifest, rng), members), samples, folder)


NUMBERS = st.one_of(
    st.integers(-3, 9).map(float),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e300, 5e-324, 2.0**62, -(2.0**62)]),
)


@pytest.mark.slow
@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_edited_arrays(cases, folder, data):
    manifest, members, samples = cases[data.draw(st.integers(0, len(cases) - 1), "model")]
    name = data.draw(st.sampled_from(sorted(members)), "name")
    array = np.load(io.BytesIO(members[name])).copy()
    how = data.draw(st.sampled_from("number shape cut twice type order swap".split()), "how")
    if how == "number":
        place = data.draw(st.integers(0, array.size - 1), "place")
        with np.errstate(invalid="ignore"):
            array.flat[place] = np.asarray(data.draw(NUMBERS, "number")).astype(array.dtype)
    elif how == "shape":
        array = array[None] if data.draw(st.booleans(), "deeper") else array.reshape(-1)
    elif how == "cut":
        array = array[: data.draw(st.integers(0, len(array) - 1), "rows")]
    elif how == "twice":
        array = np.concatenate([array, array], axis=array.ndim - 1)
    elif how == "type":
        with np.errstate(invalid="ignore"):
            array = array.astype(data.draw(st.sampled_from("f4 >f8 i8 i4 u8 c16 S8 U2 ?".split())))
    elif how == "order":
        array = array[::-1]
    else:
        array = np.load(io.BytesIO(members[data.draw(st.sampled_from(sorted(members)))]))
    data_of = {**members, name: npy(array)}
    refused_or_usable(model_file(manifest, data_of), samples, folder)


def test_content_as_it_was(cases, folder):
    for manifest, members, samples in cases:
        assert not refused_or_usable(model_file(manifest, members), samples, folder)


@pytest.mark.slow
def test_every_value_removed_or_replaced(cases, folder):
    """One after the other, each of the settings and numbers, in the smallest models."""
    for manifest, members, samples in (cases[0], cases[7], cases[13]):
        for path in places(manifest):
            for value in (None, -1, 1 << 40, "x", [], {}):
                changed = copy.deepcopy(manifest)
                parent = changed
                for key in path[:-1]:
                    parent = parent[key]
                parent[path[-1]] = value
                refused_or_usable(model_file(changed, members), samples, folder)


# -- archives -------------------------------------------------------------------------------------


def forged_archive(manifest, members, change):
    """An archive whose entries were changed after the digests had been made."""
    listed = [described(*item) for item in members.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        return archive_of(json.dumps({**manifest, "members": listed}), members, change)


def _with(name="features.npy", **fields):
    def change(info, data):
        if info.filename == name:
            for field, value in fields.items():
                setattr(info, field, value)
        yield info, data

    return change


def _and(extra):
    def change(info, data):
        yield info, data
        if info.filename == "features.npy":
            yield entry(extra), data

    return change


@pytest.mark.parametrize(
    "change",
    [
        _with(compress_type=zipfile.ZIP_DEFLATED),
        _with("model.json", compress_type=zipfile.ZIP_DEFLATED),
        _with(compress_type=zipfile.ZIP_BZIP2),
        _with(external_attr=0o120777 << 16),
        _with(external_attr=0o644 << 16),
        _with(date_time=(2020, 1, 1, 0, 0, 0)),
        _with(comment=b"hello"),
        _with(extra=struct.pack("<HH4s", 0xCAFE, 4, b"evil")),
        _with(filename="../features.npy"),
        _with(filename="/etc/features.npy"),
        _with(filename="C:\\features.npy"),
        _with(filename="features.npy/"),
        _and("features.npy"),
        _and("../../evil.npy"),
        _and("more.npy"),
        lambda info, data: [(info, data)] * (info.filename != "features.npy"),
    ],
)
def test_forged_archives(cases, folder, change):
    manifest, members, _ = cases[0]
    data = forged_archive(manifest, members, change)
    with pytest.raises(ModelFileError):
        load_bytes(data, folder)
    assert not (folder.parent / "features.npy").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../features.npy"),
        ("name", "/features.npy"),
        ("name", "a/features.npy"),
        ("name", "FEATURES.npy"),
        ("name", "features.npy\0"),
        ("name", "model.json"),
        ("name", "targets.npy"),
        ("name", "x" * 10_000 + ".npy"),
        ("name", 3),
        ("size", -1),
        ("size", 1 << 70),
        ("size", 1 << 59),
        ("size", 2**31),
        ("size", 1.0),
        ("size", True),
        ("crc32", -1),
        ("crc32", 1 << 32),
        ("crc32", 0),
        ("crc32", 1.5),
        ("sha256", "0" * 64),
        ("sha256", None),
        ("more", 1),
    ],
)
def test_forged_lists_of_members(cases, folder, field, value):
    manifest, members, _ = cases[0]

    def change(listed):
        listed[0][field] = value
        return listed

    with pytest.raises(ModelFileError):
        load_bytes(model_file(manifest, members, change), folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda listed: [*listed, listed[0]], "a member is listed twice"),
        (lambda listed: [listed[0]] * 1001, "members must be a list of at most 1000"),
        (lambda listed: listed[::-1], "are not its own"),
        (lambda listed: listed[1:], "bytes long and should be"),
        (lambda listed: listed and None, "members must be a list"),
        (lambda listed: listed and {}, "members must be a list"),
        (lambda listed: listed and [1], "a member is not described as it must be"),
        (
            lambda listed: [{**listed[0], "name": f"{k}.npy", "size": 1 << 59} for k in range(64)],
            "its members are larger than the file",
        ),
    ],
)
def test_lists_of_other_members(cases, folder, change, text):
    manifest, members, _ = cases[0]
    with pytest.raises(ModelFileError, match=text):
        load_bytes(model_file(manifest, members, change), folder)


def test_names_that_occur_twice(cases, folder):
    manifest, members, _ = cases[0]
    whole = json.dumps({**manifest, "members": [described(*item) for item in members.items()]})
    for once, twice in (
        ('"jitter": 0.0', '"jitter": 0.0, "jitter": 0.0'),
        ('"version": 1', '"version": 2, "version": 1'),
    ):
        assert once in whole
        with pytest.raises(ModelFileError, match="a name is given twice"):
            load_bytes(archive_of(whole.replace(once, twice), members), folder)


def npy_with(header, content=b"", version=b"\x01\x00"):
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + content


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (5, 6), }"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff",
        npy_with(HEADER, bytes(239)),
        npy_with(HEADER, bytes(241)),
        npy_with(HEADER, bytes(240), b"\x02\x00"),
        npy_with(HEADER.replace("5, 6", "5, 1000000000000")),
        npy_with(HEADER.replace("5, 6", "999999999999999, 999999999999999")),
        npy_with(HEADER.replace("5, 6", "0, 6")),
        npy_with(HEADER.replace("5, 6", "-5, -6"), bytes(240)),
        npy_with(HEADER.replace("5, 6", "30,"), bytes(240)),
        npy_with(HEADER.replace("(5, 6)", "()"), bytes(8)),
        npy_with(HEADER.replace("(5, 6)", "(5, 6, 1)"), bytes(240)),
        npy_with(HEADER.replace("(5, 6)", "(5, True)"), bytes(40)),
        npy_with(HEADER.replace("<f8", "|O"), bytes(240)),
        npy_with(HEADER.replace("<f8", ">f8"), bytes(240)),
        npy_with(HEADER.replace("<f8", "<i8"), bytes(240)),
        npy_with(HEADER.replace("<f8", "<f4"), bytes(120)),
        npy_with(HEADER.replace("'<f8'", "[('a', '|O')]"), bytes(240)),
        npy_with(HEADER.replace("False", "1"), bytes(240)),
        npy_with(HEADER.replace("False", "__import__('os')"), bytes(240)),
        npy_with("(" * 300, bytes(240)),
        npy_with(HEADER + " " * 5000, bytes(240)),
        npy_with(HEADER.replace("(5, 6)", "(" + "1, " * 150 + ")"), bytes(8)),
    ],
)
def test_forged_headers_of_arrays(cases, folder, data):
    manifest, members, _ = cases[0]
    assert np.load(io.BytesIO(members["features.npy"])).shape == (5, 6)
    tracemalloc.start()
    with pytest.raises(ModelFileError):
        load_bytes(model_file(manifest, {**members, "features.npy": data}), folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_forged_header_as_it_was(cases, folder):
    """The headers above are refused for what was changed in them."""
    manifest, members, samples = cases[0]
    content = members["features.npy"][-240:]
    data = npy_with(HEADER, content)
    assert not refused_or_usable(
        model_file(manifest, {**members, "features.npy": data}), samples, folder
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        "[]",
        "3",
        "null",
        "{}",
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000,
        "9" * 100_000,
        '{"format": "kernchem model", "version": ' + "9" * 5000 + "}",
        '{"format": "kernchem model", "version": 1, "version": 1}',
        '{"format": "kernchem model", "version": 1, "info": NaN}',
        '{"format": "kernchem model", "version": 1, "members": Infinity}',
        '{"format": "kernchem model", "version": 1, "members": []}',
        '{"format": "kernchem model", "version": 1, "members": [], "info": 1, "model": 2}',
        '{"format": "kernchem model", "version": 1}{}',
    ],
)
def test_forged_manifests(folder, text):
    with pytest.raises(ModelFileError):
        load_bytes(archive_of(text), folder)


def test_manifest_that_is_too_long(folder):
    data = archive_of("[" + "1," * (9 << 20) + "1]")
    with pytest.raises(ModelFileError, match="longer than the file has room for"):
        load_bytes(data, folder)
    data = bytearray(archive_of("{}"))
    data[18:22] = data[22:26] = struct.pack("<L", 1 << 31)
    with pytest.raises(ModelFileError, match="longer than the file has room for"):
        load_bytes(bytes(data), folder)


# -- what a forged model could do -----------------------------------------------------------------


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
