"""Damaged and hostile files: structures or an error of kernchem's own, and never much memory."""

import bz2
import gzip
import io
import lzma
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from numpy.testing import assert_array_equal

from kernchem import _npz, _text
from kernchem.errors import (
    FileFormatError,
    PropertyError,
    StructureError,
)
from kernchem.io import iread, read
from kernchem.structures import Structures

#: UnknownElementError is a StructureError.
TYPED = (FileFormatError, StructureError, PropertyError)

fuzz = settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

GDB9 = (
    "3\n"
    "gdb 3\t799.58\t437.90\t282.94\t1.8511\t6.31\t-0.2928\t0.0687\t0.3615\t19.0002\t0.021375\t"
    "-76.404702\t-76.401867\t-76.400922\t-76.422349\t6.002\t\n"
    "O\t-0.0343604951\t 0.9775395708\t 7.6*^-3\t-0.589706\n"
    "H\t 0.0647664923\t 2.05721*^-2\t 1.5346E-3\t 0.294853\n"
    "H\t 0.8717903737\t 1.3007924048\t 6.9*^-4\t 0.294853\n"
    "1671.4222\t3803.6305\t3907.698\n"
    "O\tO\t\n"
    "InChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
)
EXTXYZ = (
    "2\n"
    'Properties=species:S:1:pos:R:3:forces:R:3:q:R:1 energy=-7.25 smiles="F" pbc="F F F" '
    'stress="1 0 0 0 1 0 0 0 1" d="0.1 0.2 0.3" label={a b}\n'
    "F 0.0 0.0 0.0 0.0 0.0 0.0 -0.4\n"
    "H 0.0 0.0 0.92 0.0 0.0 0.0 0.4\n"
    "3\n"
    "energy=-10.5 tag=T charge=1 multiplicity=2\n"
    "O 0.0 0.0 0.1192\n"
    "H 0.0 0.7632 -0.4770\n"
    "H 0.0 -0.7632 -0.4770\n"
    "1\n"
    'Lattice="3 0 0 0 3 0 0 0 3" energy=1e2\n'
    "Ar 0.5 0.5 0.5\n"
    "VEC1 4 0 0\n"
)
#: Words that parsers are known to stumble over.
WORDS = (
    "nan", "-inf", "1e400", "1e-400", "-0", "0", "00", "99999999999999999999", "2147483648", "0x1f",
    "1_0", "\u0663", "\u00bd", "*^", "1*^5", "1d5", "T", "=", "a=", "=b", '"', "'", "\\", "{",
    "[", "_JSON {",
    '_JSON="[[1],[2,3]]"', '"_JSON {}"', '"_JSON [null]"', "Properties=", "Properties=species:S:1",
    "Properties=pos:R:3:species:S:1", "Properties=species:S:1:pos:R:3:q:X:1",
    "Properties=Z:I:1:pos:R:3",
    "Properties=species:S:1:pos:R:3:move_mask:L:2", "Lattice=1", 'Lattice="0 0 0 0 0 0 0 0 0"',
    'Lattice="a b c"', "pbc=maybe", 'pbc="T T"', "charge=x", "charge=nan", "multiplicity=1.5",
    "energy=", "forces=1", "numbers=1", "positions=1", "stress=1", "name=1", "comment=2", "VEC1",
    "VEC9", "X", "Uuo", "h", "\x00", "\ufeff", "\u2028", "\r", "\x1c", "gdb", "#",
)  # fmt: skip


def assert_structures_or_typed_error(path, content, **options):
    """Read what was written; return the structures, or None after one of kernchem's errors."""
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            # ASE and NumPy tell of what they doubt; only exceptions count.
            warnings.simplefilter("ignore")
            batch = read(path, **options)
    except TYPED as error:
        assert path.name in str(error)  # noqa: PT017
        return None
    assert isinstance(batch, Structures)
    assert np.isfinite(batch.positions).all()
    assert len(batch) > 0
    return batch


@st.composite
def damaged(draw, original):
    """A text with words, lines or bytes changed, taken out, put in, repeated or cut off."""
    lines = original.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["word", "insert", "line", "drop", "repeat", "swap"]))
        words = lines[at].rstrip("\n").split(" ") or [""]
        where = draw(st.integers(0, len(words) - 1))
        if change in {"word", "insert"}:
            new = draw(st.sampled_from(WORDS) | st.text(max_size=6))
            words[where : where + (change == "word")] = [new]
            lines[at] = " ".join(words) + "\n"
        elif change == "line":
            lines.insert(at, draw(st.sampled_from(WORDS) | st.text(max_size=30)) + "\n")
        elif change == "drop" and len(lines) > 1:
            del lines[at]
        elif change == "repeat":
            lines.insert(at, lines[at])
        else:
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
    return flip_and_cut(draw, "".join(lines).encode())


def flip_and_cut(draw, content):
    """Flip bits, put bytes in, and cut the end off, each or none of them."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 2))):
        if content:
            at = draw(st.integers(0, len(content) - 1))
            content[at] ^= 1 << draw(st.integers(0, 7))
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(content)))
        content[at:at] = draw(st.binary(max_size=8))
    if draw(st.integers(0, 4)) == 0:
        del content[draw(st.integers(0, len(content))) :]
    return bytes(content)


# -- text ------------------------------------------------------------------------------------------


@fuzz
@given(damaged(EXTXYZ))
def test_extxyz(tmp_path, content):
    assert_structures_or_typed_error(tmp_path / "x.xyz", content)


@fuzz
@given(damaged(GDB9))
def test_gdb9(tmp_path, content):
    assert_structures_or_typed_error(tmp_path / "x.xyz", content, format="gdb9")


@fuzz
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
    st.sampled_from(["x.xyz", "x.npz", "x.xyz.gz", "x.xyz.xz", "x.xyz.bz2"]),
)
def test_any_bytes(tmp_path, content, name):
    assert_structures_or_typed_error(tmp_path / name, content)


PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@fuzz
@given(st.sampled_from(sorted(PACKED)), st.data())
def test_packed_text(tmp_path, suffix, data):
    text = data.draw(st.sampled_from([GDB9, EXTXYZ]))
    content = flip_and_cut(data.draw, PACKED[suffix](text.encode()))
    assert_structures_or_typed_error(tmp_path / f"x.xyz{suffix}", content)


# -- NumPy archives --------------------------------------------------------------------------------


def archive(compressed=False, **changed):
    """The bytes of an archive of two molecules; arrays can be changed, added, or None."""
    arrays = {
        "Z": np.array([[8, 1, 1], [1, 1, 0]]),
        "R": np.array(
            [[[0, 0, 0.1], [0, 0.8, -0.5], [0, -0.8, -0.5]], [[0, 0, 0], [0, 0, 0.7], [0, 0, 0]]]
        ),
        "energy": np.array([-10.0, -1.0]),
        "q": np.arange(6.0).reshape(2, 3),
    }
    arrays = {name: value for name, value in (arrays | changed).items() if value is not None}
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


@settings(fuzz, max_examples=examples(400))
@given(st.booleans(), st.data())
def test_npz(tmp_path, compressed, data):
    content = flip_and_cut(data.draw, archive(compressed))
    assert_structures_or_typed_error(tmp_path / "x.npz", content)


@fuzz
@given(
    st.sampled_from(["Z", "R", "energy", "q"]),
    st.sampled_from(["f8", "i8", "i2", "U3", "S2", "c16", "?", "M8[s]", ">f4"]),
    st.lists(st.integers(0, 4), max_size=4),
)
def test_npz_with_an_array_of_another_kind(tmp_path, name, dtype, shape):
    changed = {name: np.zeros(shape, dtype=dtype)}
    assert_structures_or_typed_error(tmp_path / "x.npz", archive(**changed))


def test_pickled_objects_are_refused(tmp_path):
    objects = np.array([{"a": 1}, {"b": 2}], dtype=object)
    assert assert_structures_or_typed_error(tmp_path / "x.npz", archive(Z=objects)) is None


def raw_archive(path, header, body=b"", name="R.npy", compression=zipfile.ZIP_STORED):
    """An archive whose array has a header of our own making."""
    stream = io.BytesIO()
    npy.write_array_header_2_0(stream, header)
    with zipfile.ZipFile(path, "w", compression) as zf:
        zf.writestr(name, stream.getvalue() + body)
        numbers = io.BytesIO()
        np.save(numbers, np.array([1, 1]))
        zf.writestr("Z.npy", numbers.getvalue())


def peak_memory(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(10**12, 2, 3), (10**6, 10**6, 3), (2**62, 2, 3), (-1, 2, 3)])
def test_a_header_that_claims_too_much(tmp_path, shape):
    path = tmp_path / "x.npz"
    raw_archive(path, {"descr": "<f8", "fortran_order": False, "shape": shape}, bytes(96))

    def attempt():
        with pytest.raises(FileFormatError, match=r"x\.npz"):
            read(path)

    assert peak_memory(attempt) < 10_000_000


def test_a_decompression_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(_npz, "_HARMLESS", 2**20)
    path, n = tmp_path / "x.npz", 100_000
    header = {"descr": "<f8", "fortran_order": False, "shape": (n, 2, 3)}
    raw_archive(path, header, bytes(48 * n), compression=zipfile.ZIP_DEFLATED)

    def attempt():
        with pytest.raises(FileFormatError, match=r"x\.npz: its arrays claim 48\d+ bytes"):
            read(path)

    assert peak_memory(attempt) < 1_000_000


packed = pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)],
)
BOMBS = {
    "atoms": b"1000000\n\n" + b"H 0 0 0\n" * 250_000,
    "frames": (b"9\n\n" + b"".join(b"H %d 0 0%999s\n" % (k, b"") for k in range(9))) * 300,
    "line": b"1\n" + b"a" * 15_000_000,
}


@packed
@pytest.mark.parametrize(
    ("name", "kind"), [("x.cif", "line"), *(("x.xyz", kind) for kind in BOMBS)]
)
def test_a_text_bomb(tmp_path, monkeypatch, name, kind, suffix, compress):
    monkeypatch.setattr(_text, "_HARMLESS", 2**17)
    monkeypatch.setattr(_text, "_LARGEST_RATIO", 2)
    path = tmp_path / (name + suffix)
    path.write_bytes(compress(BOMBS[kind]))

    def attempt():
        # One structure at a time; what came before the limit was read is no matter.
        with pytest.raises(FileFormatError, match=rf"{name}{suffix}: it unpacks to .* unpack it"):
            sum(len(batch) for batch in iread(path, batch=1))

    attempt()  # what is imported only once does not count
    # The decoder of xz alone takes 8 MB; what the bombs unpack to, 15 MB and more.
    assert peak_memory(attempt) < 11_000_000


def test_a_text_bomb_in_full_size(tmp_path):
    path = tmp_path / "x.xyz.gz"
    line = b"#" * 99_999 + b"\n"
    path.write_bytes(gzip.compress(b"1000000\n\n" + line * 1500, compresslevel=6))
    assert path.stat().st_size < 200_000
    with pytest.raises(FileFormatError, match=r"more than 67108864 bytes, over 200 times"):
        read(path)


@packed
def test_text_that_is_compressed_well_is_read(tmp_path, monkeypatch, suffix, compress):
    """Up to the ratio whatever the size, and up to the size whatever the ratio."""
    path, text = tmp_path / f"x.xyz{suffix}", b"1\n\nAr 0 0 0\n" * 500
    path.write_bytes(compress(text))
    ratio = len(text) // path.stat().st_size
    monkeypatch.setattr(_text, "_HARMLESS", len(text))
    monkeypatch.setattr(_text, "_LARGEST_RATIO", ratio)
    assert len(read(path)) == 500
    monkeypatch.setattr(_text, "_HARMLESS", len(text) - 1)
    with pytest.raises(FileFormatError, match="unpacks"):
        read(path)
    monkeypatch.setattr(_text, "_LARGEST_RATIO", ratio + 1)
    assert len(read(path)) == 500


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_line_without_an_end(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(_text, "_LONGEST_LINE", 10_000)
    path, text = tmp_path / f"x.xyz{suffix}", b"1\n%s\nAr 0 0 0\n"
    compress = gzip.compress if suffix else bytes
    path.write_bytes(compress(text % (b"c" * 9_999)))
    assert read(path)["comment"].item() == "c" * 9_999
    path.write_bytes(compress(text % (b"c" * 3_000_000)))

    def attempt():
        with pytest.raises(FileFormatError, match=r"line 2: the line is longer than 10000 bytes"):
            read(path)

    assert peak_memory(attempt) < 1_500_000


@packed
@pytest.mark.parametrize("name", ["x.cif", "x.xyz"])
def test_compressed_text_that_is_cut_short(tmp_path, name, suffix, compress):
    content = compress(b"data_x\n" + np.random.default_rng(0).bytes(2000).hex().encode())
    path = tmp_path / (name + suffix)
    for broken in (content[:-9], b"none" + content):
        path.write_bytes(broken)
        with pytest.raises(FileFormatError, match="damaged or cut short: copy"):
            read(path)


def test_members_outside_of_the_archive(tmp_path):
    """Nothing is unpacked to disk, whatever a member is called."""
    folder = tmp_path / "inner"
    folder.mkdir()
    header = {"descr": "<f8", "fortran_order": False, "shape": (1, 2, 3)}
    body = np.array([[[0, 0, 0], [0, 0, 0.7]]], dtype=float).tobytes()
    raw_archive(folder / "x.npz", header, body, name="../../R.npy")
    assert_structures_or_typed_error(folder / "y.npz", (folder / "x.npz").read_bytes())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inner", "x.npz", "y.npz"]


# -- batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.xyz", "x.xyz.gz", "x.npz"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_hold_what_the_whole_file_does(tmp_path, name, size):
    path = tmp_path / name
    if name == "x.npz":
        path.write_bytes(archive())
    else:
        text = b"".join(b"1\nenergy=%d\nAr 0 0 0.5\n" % k for k in range(6))
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    whole, batches = read(path), list(iread(path, batch=size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert sum(len(batch) for batch in batches) == len(whole)
    for key in ("numbers", "positions"):
        assert_array_equal(np.concatenate([getattr(b, key) for b in batches]), getattr(whole, key))
    assert_array_equal(np.concatenate([batch["energy"] for batch in batches]), whole["energy"])


def test_a_bad_frame_is_numbered_in_the_whole_file(tmp_path):
    frame = "2\nenergy=1\nH 0 0 0\nH 0 0 0.7\n"
    path = tmp_path / "x.xyz"
    path.write_text(frame * 7 + frame.replace("0.7", "oops") + frame)
    batches = iread(path, batch=3)
    assert [len(next(batches)), len(next(batches))] == [3, 3]
    with pytest.raises(FileFormatError, match=r"line 32 \(frame 7\)"):
        next(batches)


def test_a_long_file_is_read_in_little_memory(tmp_path):
    path = tmp_path / "long.xyz"
    path.write_text("2\nenergy=1\nH 0 0 0\nH 0 0 0.7\n" * 600)
    next(iread(path, batch=20))  # what is imported only once counts for neither
    whole = peak_memory(lambda: read(path))
    assert peak_memory(lambda: sum(len(batch) for batch in iread(path, batch=20))) < 0.4 * whole
