"""Many structures through a program that fails on demand: reasons, processes, kills, resumption."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from fake_baseline import Fake, Once
from fake_program import CRASHES, EXITS, FAILS, RAISES, RETURNS_NAN, calls, energy_of
from sklearn.base import clone

from kernchem.baselines.batch import run_batch
from kernchem.baselines.cache import ResultCache
from kernchem.baselines.records import Job, Record
from kernchem.errors import KernchemWarning, SettingError, StructureError
from kernchem.structures import Structures

TESTS = Path(__file__).parent.parent


def atoms(number, k=0, **info):
    made = Atoms(numbers=[number, 1], positions=[[0, 0, 0], [0, 0.1 * k, 2.0]])
    made.info.update(info)
    return made


def batch(n):
    return Structures.from_ase([atoms(1, k) for k in range(n)])


def expected(structures):
    return [energy_of(item.numbers, item.positions) for item in structures]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "calls.log"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results(log, n_jobs, capfd):
    molecules = batch(30)
    result = Fake(log, n_jobs=n_jobs, forces=True).compute(molecules)
    np.testing.assert_array_equal(result.energies, expected(molecules))
    np.testing.assert_array_equal(
        result.forces, -2 * molecules.numbers[:, None] * molecules.positions
    )
    assert result.charges.shape == (60,)
    assert result.dipoles is None
    assert result.reasons == result.notes == ("",) * 30
    pids = {line.split()[0] for line in log.read_text().splitlines()}
    assert (str(os.getpid()) in pids) == (n_jobs == 1)
    assert capfd.readouterr().out.count("noise") == (30 if n_jobs == 1 else 0)
    assert Fake(log).compute(molecules).forces is None


def test_no_structures(log):
    result = Fake(log, n_jobs=2).compute(batch(3)[:0])
    assert result.energies.shape == (0,)
    assert result.reasons == ()
    assert result.charges is None


def test_failures_cost_their_structure_only(log):
    numbers = [1, RAISES, 1, RETURNS_NAN, FAILS, 1]
    made = [atoms(number, k, multiplicity=1 + (number + 1) % 2) for k, number in enumerate(numbers)]
    result = Fake(log, forces=True).compute(made)
    assert result.ok.tolist() == [True, False, True, False, False, True]
    assert result.reasons[1] == "ArithmeticError: no electrons"
    assert result.reasons[3] == "the program returned the energy nan"
    assert result.reasons[4] == "not converged"
    np.testing.assert_array_equal(np.isnan(result.forces[:, 0]), np.repeat(~result.ok, 2))
    with pytest.raises(StructureError, match=r"structure 1 \(HHe\).*no electrons; drop the 3"):
        Fake(log).energies(made)


@pytest.mark.skipif(os.name == "nt", reason="no signals")
def test_a_crash_costs_its_structure_only(log):
    numbers = [CRASHES if k in (4, 5) else EXITS if k == 20 else 1 for k in range(24)]
    made = [atoms(number, k) for k, number in enumerate(numbers)]
    cache = log.parent / "cache"
    result = Fake(log, n_jobs=2, cache=cache).compute(made)
    bad = [4, 5, 20]
    assert np.flatnonzero(~result.ok).tolist() == bad
    assert [result.reasons[k] for k in bad] == [
        "its process died (SIGSEGV)",
        "its process died (SIGSEGV)",
        "its process died (exit status 3)",
    ]
    # Each gets a second attempt, as the first one of a new process.
    n = calls(log)
    assert n == 27
    # A crash may pass, so it is tried again; the rest is not.
    Fake(log, n_jobs=1, cache=cache).compute(made[:4])
    assert calls(log) == n
    again = Fake(log, n_jobs=2, cache=cache).compute(made)
    assert np.flatnonzero(~again.ok).tolist() == bad
    assert calls(log) == n + 6


@pytest.mark.skipif(os.name == "nt", reason="no signals")
@pytest.mark.parametrize("which", [0, 2])
def test_a_crash_that_passes_costs_nothing(log, which):
    made = [atoms(1, k, charge=2 * (k == which)) for k in range(4)]
    result = Once(log, n_jobs=2).compute(made)
    assert result.reasons == ("",) * 4
    assert calls(log) == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_full_disk_costs_the_cache_only(log, tmp_path, monkeypatch, n_jobs):
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(ResultCache, "_file", lambda _: full)
        with pytest.warns(KernchemWarning, match=r"cannot be written \(No space") as told:
            result = Fake(log, n_jobs=n_jobs, cache=tmp_path).compute(batch(5))
    assert len(told) == 1
    np.testing.assert_array_equal(result.energies, expected(batch(5)))


def test_an_error_of_the_caller_ends_the_workers(log, tmp_path, monkeypatch):
    def fail(self, key, record):
        raise ZeroDivisionError

    monkeypatch.setattr(ResultCache, "store", fail)
    start = time.perf_counter()
    with pytest.raises(ZeroDivisionError) as caught:
        Fake(log, delay=0.5, n_jobs=2, cache=tmp_path).compute(batch(40))
    # The traceback, and what it holds, is still there.
    assert caught.tb is not None
    assert time.perf_counter() - start < 8.0
    n = calls(log)
    time.sleep(1.2)
    assert calls(log) == n < 20


def test_what_is_refused_is_not_computed(log):
    made = [
        Atoms("H2", [[0, 0, 0], [0, 0, 0.4]]),
        atoms(1),
        atoms(1, charge=3),
        atoms(1, multiplicity=2),
        atoms(1, multiplicity=5),
        atoms(1, charge=0.5),
        Atoms("H2", [[0, 0, 0], [0, 0, 2.6]], cell=[3, 3, 3], pbc=[False, False, True]),
    ]
    result = Fake(log).compute(made)
    assert result.ok.tolist() == [False, True, False, False, False, False, False]
    near = "atoms 0 and 1 are nearer than 0.5 angstrom"
    assert result.reasons[0] == result.reasons[6] == near
    assert result.reasons[2].startswith("the charge +3 is impossible: it leaves -1 electrons")
    assert result.reasons[3].startswith("the multiplicity 2 is impossible with 2 electrons")
    assert result.reasons[4].startswith("the multiplicity 5 is impossible with 2 electrons")
    assert result.reasons[5] == "the charge 0.5 is not a whole number"
    assert calls(log) == 1


def test_states_that_are_absent_are_the_lowest(log):
    made = [Atoms("H"), Atoms("H", info={"charge": 1}), Atoms("C", info={"multiplicity": 3})]
    Fake(log).compute(made)
    assert [line.split()[1:] for line in log.read_text().splitlines()] == [
        ["0", "2"],
        ["1", "1"],
        ["0", "3"],
    ]


def test_cache(log, tmp_path):
    molecules = batch(12)
    first = Fake(log, cache=tmp_path / "a" / "b", forces=True).compute(molecules)
    assert calls(log) == 12
    again = Fake(log, cache=str(tmp_path / "a" / "b")).compute(molecules[::-1])
    assert calls(log) == 12
    np.testing.assert_array_equal(again.energies, first.energies[::-1])
    assert again.forces is None
    # Energies alone do not answer for forces.
    Fake(log, cache=tmp_path / "c").compute(molecules)
    Fake(log, cache=tmp_path / "c", forces=True).compute(molecules)
    assert calls(log) == 36


def test_failures_are_cached_unless_they_may_pass(log, tmp_path):
    made = [atoms(number, k) for k, number in enumerate([FAILS, RETURNS_NAN, RAISES])]
    for _ in range(2):
        result = Fake(log, cache=tmp_path / "c").compute(made)
        assert result.reasons[0] == "not converged"
    assert calls(log) == 4


def test_a_removed_cache_is_made_again(log, tmp_path):
    folder = tmp_path / "c"
    program = Fake(log, cache=folder)
    program.compute(batch(2))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    program.compute(batch(2))
    program.compute(batch(2))
    assert calls(log) == 4


SCRIPT = """
import signal
# What runs in the background of a shell ignores interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
import sys
sys.path[:0] = sys.argv[4:]
from fake_baseline import Fake
from test_batch import batch
Fake(sys.argv[1], delay=0.02, n_jobs=int(sys.argv[3]), cache=sys.argv[2]).compute(batch(60))
"""


def start(log, cache, n_jobs):
    """Start a script without a main guard, and wait until it has computed something."""
    paths = [str(Path(__file__).parent), str(TESTS), str(TESTS.parent)]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, log, cache, str(n_jobs), *paths],
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 60.0
    while calls(log) < 12 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    return process


def check_resumption(log, cache):
    """Nothing that is kept is computed twice."""
    # Workers notice that they are alone when they answer.
    time.sleep(0.3)
    before = calls(log)
    from kernchem.baselines.cache import ResultCache

    reader = ResultCache(cache)
    reader.lookup([])
    kept = len(reader._index)
    # What a worker had answered and the parent not yet read is lost: a part of a chunk each.
    assert 4 <= kept <= before < 60
    assert before - kept <= 14
    result = Fake(log, cache=cache).compute(batch(60))
    np.testing.assert_array_equal(result.energies, expected(batch(60)))
    assert calls(log) == before + 60 - kept


@pytest.mark.skipif(os.name == "nt", reason="no signals")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_killed_and_resumed(log, tmp_path, n_jobs):
    process = start(log, tmp_path / "c", n_jobs)
    process.kill()
    process.communicate()
    check_resumption(log, tmp_path / "c")


@pytest.mark.skipif(os.name == "nt", reason="no signals")
def test_interrupted_and_resumed(log, tmp_path):
    process = start(log, tmp_path / "c", 2)
    # As a terminal does, to every process of the group.
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode != 0
    assert error.count("Traceback") == 1
    assert "KeyboardInterrupt" in error
    check_resumption(log, tmp_path / "c")


def test_lambdas_go_to_workers():
    jobs = [Job(np.array([k]), np.zeros((1, 3))) for k in range(1, 5)]
    found = dict(run_batch(lambda: lambda job: Record(float(job.numbers[0])), jobs, 2))
    assert {k: value.energy for k, value in found.items()} == {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}


def test_workers_have_one_thread():
    def session():
        return lambda _: Record(float(os.environ["OMP_NUM_THREADS"]))

    jobs = [Job(np.array([1]), np.zeros((1, 3)))] * 2
    assert [value.energy for _, value in run_batch(session, jobs, 2)] == [1.0, 1.0]


def test_some_structures_stay_out_of_this_process():
    def session():
        return lambda _: Record(float(os.getpid()))

    jobs = [Job(np.array([k]), np.zeros((1, 3))) for k in (1, 2)]
    found = dict(run_batch(session, jobs, 1, lambda job: job.numbers[0] == 2))
    assert found[0].energy == os.getpid() != found[1].energy


def test_workers_that_cannot_start():
    def session():
        raise OSError("no licence")

    jobs = [Job(np.array([1]), np.zeros((1, 3)))] * 3
    with pytest.raises(SettingError, match=r"cannot start \(OSError: no licence\); set n_jobs=1"):
        list(run_batch(session, jobs, 2))


def test_sessions_that_cannot_be_sent(tmp_path):
    with (tmp_path / "file").open("w") as file:
        jobs = [Job(np.array([1]), np.zeros((1, 3)))] * 3
        with pytest.raises(SettingError, match=r"cannot be sent.*top level of a module"):
            list(run_batch(lambda: file, jobs, 2))


def test_one_consumer_that_stops_ends_the_workers(log):
    results = Fake(log, delay=0.01, n_jobs=2)
    jobs = [Job(np.array([1]), np.zeros((1, 3)))] * 200
    found = run_batch(results.session(), jobs, 2)
    next(found)
    found.close()
    n = calls(log)
    time.sleep(0.1)
    assert calls(log) == n < 200


def test_estimator(log):
    program = Fake(log, delay=0.0, n_jobs=2, cache="x")
    assert clone(program).get_params() == program.get_params()
    assert pickle.loads(pickle.dumps(program)).get_params() == program.get_params()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_jobs": 0}, "n_jobs=0"),
        ({"forces": "yes"}, "forces='yes'"),
        ({"progress": 1}, "progress=1"),
        ({"cache": 3}, "cache=3"),
    ],
)
def test_settings_are_checked_when_used(log, settings, message):
    program = Fake(log, **settings)
    with pytest.raises(SettingError, match=message):
        program.compute(batch(2))
