"""The cache on disk: hits, misses, damage, and several writers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from kernchem.baselines import ASECalculator
from kernchem.baselines.cache import ResultCache, result_keys
from kernchem.baselines.records import BONDS, CHARGES, DIPOLE, FORCES, Record, decode, encode
from kernchem.baselines.states import States
from kernchem.errors import KernchemWarning, SettingError
from kernchem.structures import Structures

TESTS = Path(__file__).parent.parent


def keys_of(structures, identity="a"):
    states = States(structures)
    return result_keys(structures, states.charges, states.multiplicities, identity)


def record(k):
    return Record(
        float(k), note="n" * (k % 3), forces=np.full((k % 4 + 1, 3), k), dipole=np.arange(3.0)
    )


def key(k):
    return k.to_bytes(16, "little")


def assert_same(a, b):
    for name in ("energy", "reason", "note", "forces", "charges", "dipole", "bond_orders"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.fixture
def filled(tmp_path):
    """A folder with one file of fifty records."""
    cache = ResultCache(tmp_path / "cache")
    for k in range(50):
        cache.store(key(k), record(k))
    cache.close()
    (file,) = cache.folder.iterdir()
    return cache.folder, file


@pytest.mark.parametrize(
    "original",
    [
        Record(-1.5),
        Record(0.0, note="zweiter Versuch, größer"),
        Record.failure("a\n b"),
        Record(2.0, forces=np.ones((2, 3)), charges=np.array([1.0, -1.0]), dipole=np.arange(3.0)),
        Record(2.0, charges=np.array([1.0, -1.0])),
        Record(2.0, bond_orders=np.array([[0.0, 0.9, 0.1], [0.9, 0.0, 2.0], [0.1, 2.0, 0.0]])),
        Record(
            2.0,
            forces=np.ones((2, 3)),
            dipole=np.arange(3.0),
            bond_orders=np.array([[0.0, 3.0], [3.0, 0.0]]),
        ),
        Record(2.0, charges=np.ones(1), bond_orders=np.zeros((1, 1))),
    ],
)
def test_records_survive(original):
    assert_same(decode(encode(original)), original)


@pytest.mark.parametrize("data", [b"", b"x" * 10, encode(record(3)) + b"x", encode(record(3))[:-1]])
def test_other_bytes_are_no_record(data):
    with pytest.raises(ValueError, match="record"):
        decode(data)


def test_same_structure_same_key(molecules):
    keys = keys_of(molecules)
    assert len(set(keys)) == len(molecules)
    assert keys == keys_of(molecules[::-1])[::-1]
    moved = Structures(molecules.numbers, molecules.positions + 3e-8, molecules.offsets)
    changed = [a != b for a, b in zip(keys_of(moved), keys, strict=True)]
    # Rounding has a border: of so many coordinates a few lie next to it.
    assert sum(changed) < len(changed) / 2
    assert keys_of(molecules, "b")[0] != keys[0]


def test_everything_counts_in_a_key():
    numbers, positions, offsets = [8, 1, 1], np.eye(3), [0, 3]
    cell = 9.0 * np.eye(3)[None]

    def of(positions=positions, numbers=numbers, **more):
        return keys_of(Structures(numbers, positions, offsets, **more))[0]

    all_true = np.ones((1, 3), bool)
    two = np.array([[True, True, False]])
    wider = cell + np.diag([0.0, 0.0, 1.0])
    different = [
        of(),
        of(positions + 2e-6),
        of(numbers=[1, 8, 1]),
        of(charge=[2.0]),
        of(multiplicity=[3]),
        of(cells=cell, pbc=all_true),
        of(cells=wider, pbc=all_true),
        of(cells=cell, pbc=two),
    ]
    assert len(set(different)) == len(different)
    # What does not matter: a cell that is not periodic, what is said and what is assumed.
    assert of(cells=wider, pbc=two) == of(cells=cell, pbc=two)
    assert of(cells=cell) == of(charge=[0.0], multiplicity=[1]) == of(multiplicity=[0]) == of()


def test_hits_and_misses(filled):
    folder, _ = filled
    cache = ResultCache(folder)
    found = cache.lookup([key(7), key(70), key(0)])
    assert_same(found[0], record(7))
    assert_same(found[2], record(0))
    assert found[1] is None


def test_quantities_are_asked_for(tmp_path):
    cache = ResultCache(tmp_path)
    cache.store(key(1), Record(1.0, charges=np.ones(2)))
    assert cache.lookup([key(1)], CHARGES)[0].energy == 1.0
    assert cache.lookup([key(1)], FORCES) == [None]
    cache.store(key(1), Record(1.0, forces=np.ones((2, 3)), charges=np.ones(2)))
    cache.store(key(1), Record(1.0))
    # The fuller record stays, and a failure is one whatever was asked for.
    assert cache.lookup([key(1)], FORCES | CHARGES)[0].forces.shape == (2, 3)
    assert cache.lookup([key(1)], FORCES | DIPOLE) == [None]
    assert cache.lookup([key(1)], BONDS) == [None]
    cache.store(key(2), Record.failure("no"))
    assert cache.lookup([key(2)], FORCES | BONDS)[0].reason == "no"


def test_reads_what_others_add(filled):
    folder, _ = filled
    first, second = ResultCache(folder), ResultCache(folder)
    assert first.lookup([key(99)]) == [None]
    second.store(key(99), record(99))
    assert_same(first.lookup([key(99)])[0], record(99))
    second.store(key(98), record(98))
    assert_same(first.lookup([key(98)])[0], record(98))


@pytest.mark.parametrize("where", [0, 5, 9, 14, 30, 60, -1])
def test_a_flipped_byte_costs_one_record(filled, where):
    folder, file = filled
    data = bytearray(file.read_bytes())
    starts = [k for k in range(len(data)) if data[k : k + 4] == data[:4]]
    assert len(starts) == 50
    place = starts[20] + where if where >= 0 else len(data) - 1
    lost = 20 if where >= 0 else 49
    data[place] ^= 0xFF
    file.write_bytes(data)
    cache = ResultCache(folder)
    with pytest.warns(KernchemWarning, match="1 damaged record of the cache"):
        found = cache.lookup([key(k) for k in range(50)])
    assert [k for k, value in enumerate(found) if value is None] == [lost]
    cache.store(key(lost), record(lost))
    assert_same(cache.lookup([key(lost)])[0], record(lost))


def test_a_byte_flipped_after_the_index_was_read(filled):
    folder, file = filled
    cache = ResultCache(folder)
    cache.lookup([])
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.warns(KernchemWarning, match="damaged"):
        assert cache.lookup([key(49)]) == [None]


def test_every_cut_loses_only_what_is_cut(filled):
    """A kill at any time: the end of the file is missing, which is no damage to warn of."""
    folder, file = filled
    data = file.read_bytes()
    for length in range(0, len(data), 131):
        file.write_bytes(data[:length])
        found = ResultCache(folder).lookup([key(k) for k in range(50)])
        known = [value is not None for value in found]
        assert known == sorted(known, reverse=True)
        assert sum(known) == data[: length + 1].count(data[:4]) - 1 + (length == len(data)) or (
            length == 0 and not any(known)
        )


def test_a_writer_in_the_middle_of_a_record(filled):
    folder, file = filled
    data = file.read_bytes()
    file.write_bytes(data[:-5])
    cache = ResultCache(folder)
    assert cache.lookup([key(49)]) == [None]
    with file.open("ab") as end:
        end.write(data[-5:])
    assert_same(cache.lookup([key(49)])[0], record(49))


def test_rubbish_and_removed_files(filled):
    folder, file = filled
    (folder / "0.results").write_bytes(b"")
    (folder / "README").write_text("not ours")
    cache = ResultCache(folder)
    assert cache.lookup([key(1)])[0] is not None
    (folder / "1.results").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.warns(KernchemWarning, match=r"1\.results.*damaged"):
        assert cache.lookup([key(1)])[0] is not None
    (folder / "1.results").unlink()
    file.unlink()
    assert cache.lookup([key(1)]) == [None]


def test_a_file_that_was_removed_is_not_written_to(tmp_path):
    cache = ResultCache(tmp_path)
    cache.store(key(1), record(1))
    for path in tmp_path.iterdir():
        path.unlink()
    assert cache.lookup([key(1)]) == [None]
    cache.store(key(1), record(1))
    assert_same(ResultCache(tmp_path).lookup([key(1)])[0], record(1))


@pytest.mark.parametrize("name", ["a\0b", ""])
def test_names_that_no_folder_can_have(name):
    with pytest.raises(SettingError, match="cache="):
        ASECalculator(EMT, name="EMT", cache=name).compute([Atoms("H")])


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingError, match="cannot be made"):
        ResultCache(tmp_path / "file")


WRITER = """
import sys
sys.path[:0] = sys.argv[3:]
from test_cache import key, record
from kernchem.baselines.cache import ResultCache
cache = ResultCache(sys.argv[1])
for k in range(int(sys.argv[2]), int(sys.argv[2]) + 300):
    cache.store(key(k), record(k))
    if k % 50 == 0:
        cache.lookup([key(k)])
"""


def test_several_processes_write_one_folder(tmp_path):
    paths = [str(Path(__file__).parent), str(TESTS), str(TESTS.parent)]
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", WRITER, tmp_path, str(k), *paths])
        for k in (0, 100, 200)
    ]
    reader = ResultCache(tmp_path)
    while any(writer.poll() is None for writer in writers):
        for k, found in enumerate(reader.lookup([key(k) for k in range(500)])):
            if found is not None:
                assert_same(found, record(k))
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 3
    for k, found in enumerate(reader.lookup([key(k) for k in range(500)])):
        assert_same(found, record(k))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_process_writes_a_file_of_its_own(tmp_path):
    cache = ResultCache(tmp_path)
    cache.store(key(0), record(0))
    pid = os.fork()
    if pid == 0:
        cache.store(key(1), record(1))
        os._exit(0)
    os.waitpid(pid, 0)
    cache.store(key(2), record(2))
    assert len(list(tmp_path.iterdir())) == 2
    assert None not in cache.lookup([key(k) for k in range(3)])
    shutil.rmtree(tmp_path)
