"""The container: written as documented, atomically, and intact to the last byte or refused."""

import io
import json
import math
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from model_writer import described, model_file, npy, parts

import kernchem
from kernchem import KRR, CompositionBaseline
from kernchem.descriptors import BagOfBonds
from kernchem.errors import ModelFileError
from kernchem.kernels import Gaussian, Laplacian
from kernchem.model_files import archive, read_info

MOLECULES = [molecule(name) for name in ("CH4", "C2H6", "C2H4", "H2O", "CH3OH")]
ENERGIES = [-17.0, -29.0, -23.0, -10.0, -21.0]


@pytest.fixture(scope="module")
def written():
    """Bytes of a small file."""
    model = KRR(
        Laplacian(300.0), descriptor=BagOfBonds(), alpha=1e-3, optimizer=None, composition=False
    )
    return saved(model.fit(MOLECULES, ENERGIES))


def saved(model):
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"kernchem-test-{os.getpid()}.kc"
    try:
        kernchem.save(model, path, target="energy", unit="eV")
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def load_bytes(data, folder):
    path = folder / "model.kc"
    path.write_bytes(data)
    return kernchem.load(path)


# -- files that nothing of kernchem wrote ---------------------------------------------------------

INFO = {
    "model_class": "kernchem.KRR",
    "model": "KRR(kernel=Gaussian(length_scale=2.0))",
    "target": "height",
    "unit": None,
    "elements": {"tuple": []},
    "n_training": 2,
    "largest": None,
    "n_targets": 1,
    "baseline": {"tuple": []},
    "descriptor": None,
    "kernel": "Gaussian(length_scale=2.0)",
    "alpha": 0.5,
    "loo_mae": {"tuple": [1.0]},
    "loo_rmse": {"tuple": [{"float": "nan"}]},
    "citations": {"tuple": ["Somebody, somewhere (2012)"]},
}


def golden_krr():
    """Two points of one feature, x = 0 and 1, labels 1 and 3, by the closed form for 2 x 2."""
    off = math.exp(-1.0 / 8.0)
    determinant = 1.5 * 1.5 - off * off
    dual = [(1.5 * 1.0 - off * 3.0) / determinant, (1.5 * 3.0 - off * 1.0) / determinant]
    kernel = {"class": "kernchem.kernels.Gaussian", "settings": {"length_scale": 2.0}}
    manifest = {
        "format": "kernchem model",
        "version": 1,
        "kernchem": "0.1.0",
        "info": INFO,
        "model": {
            "model": {
                "class": "kernchem.KRR",
                "settings": {"kernel": kernel, "alpha": 0.5, "optimizer": None},
            },
            "state": {
                "kernel": kernel,
                "alpha": 0.5,
                "condition": {"float": "inf"},
                "jitter": 0.0,
                "trials": [],
                "descriptor": None,
                "space": None,
                "largest": None,
                "feature_names": None,
                "target_shape": [],
            },
        },
    }
    arrays = {
        "features": np.array([[0.0], [1.0]]),
        "targets": np.array([[1.0], [3.0]]),
        "weights": np.ones(2),
        "first": np.arange(2),
        "member": np.arange(2),
        "kept": np.arange(2),
        "labels": np.array([[1.0], [3.0]]),
        "dual": np.array(dual)[:, None],
        "loo_residuals": np.array([[0.1], [np.nan]]),
    }
    return manifest, {f"{name}.npy": npy(array) for name, array in arrays.items()}, dual


def test_file_of_another_writer(tmp_path):
    manifest, members, dual = golden_krr()
    model = load_bytes(model_file(manifest, members), tmp_path)
    expected = [
        dual[0] * math.exp(-((x - 0.0) ** 2) / 8) + dual[1] * math.exp(-((x - 1.0) ** 2) / 8)
        for x in (0.3, -2.0)
    ]
    assert model.predict([[0.3], [-2.0]]).tolist() == pytest.approx(expected, rel=1e-14)
    residuals = np.array(dual) / (1.5 / (1.5 * 1.5 - math.exp(-0.25)))
    assert model.leave_out_residuals().tolist() == pytest.approx(residuals, rel=1e-12)
    assert model.kernel_ == Gaussian(2.0)
    assert (model.alpha, model.alpha_, model.condition_) == (0.5, 0.5, math.inf)
    assert model.model_info_.target == "height"
    assert math.isnan(model.model_info_.loo_rmse[0])
    assert read_info(tmp_path / "model.kc").citations == ("Somebody, somewhere (2012)",)
    # The same numbers in another order of the file.
    shuffled = dict(reversed(members.items()))
    again = load_bytes(model_file(dict(reversed(manifest.items())), shuffled), tmp_path)
    assert again.predict([[0.3]]) == model.predict([[0.3]])


def test_baseline_of_another_writer(tmp_path):
    space = {"elements": [1, 6], "n_structures": 7, "largest": 8}
    manifest = {
        "format": "kernchem model",
        "version": 1,
        "kernchem": "0.1.0",
        "info": {**INFO, "unit": "eV"},
        "model": {
            "model": {"class": "kernchem.CompositionBaseline", "settings": {}},
            "state": {"space": space, "target_shape": []},
        },
    }
    members = {
        "composition.npy": npy(np.eye(2)),
        "coef.npy": npy(np.array([[-2.5], [-7.0]])),
    }
    model = load_bytes(model_file(manifest, members), tmp_path)
    assert isinstance(model, CompositionBaseline)
    assert model.predict([molecule("C3H8")]).tolist() == [-41.0]


def test_files_are_what_the_documents_say(written):
    """The independent writer makes the same bytes out of the same content."""
    manifest, members = parts(written)
    assert set(manifest) == {"format", "version", "kernchem", "info", "model"}
    listed = [described(*item) for item in members.items()]
    text = json.dumps({**manifest, "members": listed}, sort_keys=True, separators=(",", ":"))
    rebuilt = model_file(manifest, members)
    assert zipfile.ZipFile(io.BytesIO(written)).read("model.json") == text.encode()
    assert zipfile.ZipFile(io.BytesIO(rebuilt)).namelist() == ["model.json", *members]
    # But for the spaces and the order in model.json, which are free.
    assert written.partition(b"features.npy")[0] != rebuilt.partition(b"features.npy")[0]
    for name, data in members.items():
        assert npy(np.load(io.BytesIO(data), allow_pickle=False)) == data, name


def test_equal_models_make_equal_files():
    models = [KRR(Gaussian(3.0), alpha=0.1, optimizer=None).fit(np.eye(3), [1, 2, 3]) for _ in "ab"]
    assert saved(models[0]) == saved(models[1])


def test_large_files(monkeypatch, tmp_path):
    """The fields of zip64, at sizes that are a little smaller than 4 GiB."""
    X = np.random.default_rng(3).normal(size=(60, 100))
    model = KRR(Gaussian(3.0), alpha=0.1, optimizer=None).fit(X, X[:, 0])
    plain = saved(model)
    monkeypatch.setattr(archive, "_LARGE_FROM", 20_000)
    large = saved(model)
    assert len(large) > len(plain) + 76
    with zipfile.ZipFile(io.BytesIO(large)) as file:
        assert file.testzip() is None
        assert file.getinfo("features.npy").file_size == 60 * 100 * 8 + 128
        # As Python's own writer marks them: by the version that is needed.
        assert file.getinfo("features.npy").extract_version == 45
        assert file.getinfo("model.json").extract_version == 20
    assert parts(large) == parts(plain)
    assert (load_bytes(large, tmp_path).predict(X) == model.predict(X)).all()
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="cut or altered"):
        load_bytes(large, tmp_path)


# -- writing --------------------------------------------------------------------------------------


def test_overwrites_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "model.of.any.suffix"
    path.write_text("old")
    model = KRR(Gaussian(3.0), alpha=0.1, optimizer=None).fit(np.eye(3), [1, 2, 3])
    kernchem.save(model, str(path))
    assert kernchem.load(str(path)).predict([[0, 0, 1]]) == model.predict([[0, 0, 1]])
    assert list(tmp_path.iterdir()) == [path]


def test_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.kc"
    path.write_text("old")
    model = KRR(Gaussian(3.0), alpha=0.1, optimizer=None).fit(np.eye(3), [1, 2, 3])

    def fail(descriptor):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        kernchem.save(model, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_writes_through_a_link(tmp_path):
    path, link = tmp_path / "model.kc", tmp_path / "link.kc"
    link.symlink_to(path)
    kernchem.save(KRR(Gaussian(), alpha=0.1, optimizer=None).fit(np.eye(3), [1, 2, 3]), link)
    assert link.is_symlink()
    assert kernchem.load(path).alpha == 0.1


def test_places_that_cannot_be_written(tmp_path):
    model = KRR(Gaussian(), alpha=0.1, optimizer=None).fit(np.eye(3), [1, 2, 3])
    with pytest.raises(ModelFileError, match="is a folder; give the name of a file"):
        kernchem.save(model, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent; make it first"):
        kernchem.save(model, tmp_path / "absent" / "model.kc")


# -- what is no model file ------------------------------------------------------------------------


@pytest.mark.parametrize("read", [kernchem.load, read_info])
def test_what_is_no_model_file(read, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read(tmp_path / "absent.kc")
    with pytest.raises(ModelFileError, match="is no file"):
        read(tmp_path)
    path = tmp_path / "file"
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    for content, text in (
        (b"", "it is empty, so it is no model file"),
        (b"3\n\nC 0 0 0\n", "it is no zip archive, so it is no model file"),
        (b"PK\x03\x04", "not one that kernchem.save wrote"),
        ((tmp_path / "arrays.npz").read_bytes(), "not one that kernchem.save wrote"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=text):
            read(path)


def test_newer_version(written, tmp_path):
    manifest, members = parts(written)
    newer = model_file({**manifest, "version": 7, "kernchem": "9.3"}, members)
    expected = (
        r"version 7 of the format, written by kernchem str '9.3'; this is kernchem "
        rf"{kernchem.__version__}, which reads versions up to 1: update it"
    )
    with pytest.raises(ModelFileError, match=expected):
        load_bytes(newer, tmp_path)
    for version in (0, -1, True, 1.0, "1", None):
        with pytest.raises(ModelFileError, match="is no version of the format"):
            load_bytes(model_file({**manifest, "version": version}, members), tmp_path)
    with pytest.raises(ModelFileError, match="does not describe a model"):
        load_bytes(model_file({**manifest, "format": "something else"}, members), tmp_path)


# -- every byte counts ----------------------------------------------------------------------------


@pytest.mark.slow
def test_every_altered_byte_is_found(written, tmp_path):
    path = tmp_path / "model.kc"
    path.write_bytes(written)
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(written):
            file.seek(place)
            file.write(bytes([byte ^ 1 << place % 8]))
            with pytest.raises(ModelFileError):
                kernchem.load(path)
            file.seek(place)
            file.write(bytes([byte]))
    kernchem.load(path)


def test_every_cut_is_found(written, tmp_path):
    path = tmp_path / "model.kc"
    path.write_bytes(written)
    for length in range(len(written) - 1, -1, -1):
        os.truncate(path, length)
        with pytest.raises(ModelFileError):
            kernchem.load(path)
        if length % 16 == 0:
            with pytest.raises(ModelFileError):
                read_info(path)


@settings(max_examples=examples(300), deadline=None)
@given(data=st.data())
def test_insertions_and_swaps_are_found(written, tmp_path_factory, data):
    place = data.draw(st.integers(0, len(written)), "place")
    other = data.draw(st.integers(0, len(written)), "other")
    inserted = data.draw(st.binary(min_size=1, max_size=30), "inserted")
    first, second = sorted((place, other))
    moved = written[:first] + written[second:] + written[first:second]
    for changed in (written[:place] + inserted + written[place:], moved, inserted + moved):
        if changed != written:
            with pytest.raises(ModelFileError):
                load_bytes(changed, tmp_path_factory.getbasetemp())


@settings(max_examples=examples(300), deadline=None)
@given(content=st.binary(max_size=300), start=st.sampled_from([0, 4, 40, 400, 4000]))
def test_random_bytes_are_refused(written, tmp_path_factory, content, start):
    with pytest.raises(ModelFileError):
        load_bytes(written[:start] + content, tmp_path_factory.getbasetemp())


def test_comment_of_another_length(written, tmp_path):
    """The end record's length of the comment, and what stands behind it."""
    for tail in (b"\0", b"PK\x05\x06" + bytes(18), written):
        with pytest.raises(ModelFileError):
            load_bytes(written + tail, tmp_path)
    (length,) = struct.unpack("<H", written[-66:-64])
    assert length == 64
