"""Archives, headers of arrays and manifests that somebody forged."""

import io
import json
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from forged import load_bytes, refused_or_usable
from model_writer import archive_of, described, entry, model_file

from kernchem.errors import ModelFileError


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
