"""Damaged files end in molecules or in an error of kernchem's, never in another one."""

import bz2
import warnings

import numpy as np
import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published import (
    QM7B_NAMES,
    mat,
    npz,
    qm7_arrays,
    qm7b_arrays,
    qm9_archive,
    rmd17_archive,
    rmd17_arrays,
    tar_bz2,
    uncharacterized,
)

from kernchem.datasets import fetch_md17, fetch_qm7, fetch_qm7b, fetch_qm9, md17_split
from kernchem.errors import KernchemError
from kernchem.structures import Structures

QM9 = qm9_archive()
UNPACKED = bz2.decompress(QM9)
ETHANOL = npz(rmd17_arrays(n_frames=2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "uncharacterized.txt").write_bytes(uncharacterized([5]))
    return folder


@st.composite
def damaged(draw, content):
    """The bytes with some of them altered, or some taken out, put in or cut off at the end."""
    data = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    kind = draw(st.sampled_from(["flip", "cut", "remove", "insert", "words"]))
    place = draw(st.integers(0, len(data) - 1))
    if kind == "cut":
        del data[place:]
    elif kind == "remove":
        del data[place : place + draw(st.integers(1, 600))]
    elif kind == "insert":
        data[place:place] = draw(st.binary(min_size=1, max_size=20))
    elif kind == "words":
        word = draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"9" * 8]))
        data[place : place + len(word)] = word
    return bytes(data)


def check(path, content, load):
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            data = load(path)
        except KernchemError:
            return
    for batch in data if isinstance(data, tuple) else [data]:
        if isinstance(batch, Structures):
            assert np.isfinite(batch.positions).all()
        else:
            assert batch.dtype == np.int64


def fuzz(n_examples):
    return settings(
        max_examples=examples(n_examples),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@fuzz(100)
@given(content=damaged(QM9))
def test_packed_records(folder, content):
    check(folder / "dsgdb9nsd.xyz.tar.bz2", content, lambda path: fetch_qm9(path=path))


@fuzz(150)
@given(content=damaged(UNPACKED))
def test_headers_and_records(folder, content):
    """Damage that the checksums of the compression do not notice."""
    packed = bz2.compress(content, 1)
    check(folder / "dsgdb9nsd.xyz.tar.bz2", packed, lambda path: fetch_qm9(path=path))


@fuzz(100)
@given(content=damaged(uncharacterized([1, 2, 5])))
def test_lists_of_molecules(folder, content):
    own = folder / "own"
    own.mkdir(exist_ok=True)
    (own / "archive.tar.bz2").write_bytes(QM9)
    check(
        own / "uncharacterized.txt",
        content,
        lambda path: fetch_qm9(path=path.with_name("archive.tar.bz2")),
    )


@fuzz(150)
@given(data=st.data())
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("load", "arrays"),
    [(fetch_qm7, qm7_arrays(["CH4"] * 5)), (fetch_qm7b, qm7b_arrays(QM7B_NAMES[:2]))],
)
def test_matlab(folder, data, load, arrays, compressed):
    content = data.draw(damaged(mat(arrays, do_compression=compressed)))
    check(folder / "data.mat", content, lambda path: load(path=path))


@fuzz(150)
@given(content=damaged(ETHANOL))
def test_frames(folder, content):
    check(folder / "rmd17_ethanol.npz", content, lambda path: fetch_md17("ethanol", path=path))


@fuzz(60)
@given(content=damaged(rmd17_archive(molecules=["ethanol"])))
def test_archive_of_frames(folder, content):
    path = folder / "rmd17.tar.bz2"
    check(path, content, lambda path: fetch_md17("ethanol", path=path))


@fuzz(60)
@given(rows=damaged(b"17\n4\n99\n"))
def test_splits(folder, rows):
    members = [(f"rmd17/splits/index_{part}_01.csv", rows) for part in ("train", "test")]
    path = folder / "home" / "rmd17.tar.bz2"
    path.parent.mkdir(exist_ok=True)
    check(path, tar_bz2(members), lambda path: md17_split(1, path=path))
