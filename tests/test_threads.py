"""The thread pool over panels."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from kernchem._threads import effective_n_jobs, run_panels, single_threaded_blas
from kernchem.errors import SettingError


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("n_jobs", [1, 2, 7, None])
@pytest.mark.parametrize(("n_rows", "panel"), [(0, 4), (1, 4), (4, 4), (13, 4), (64, 1), (5, 100)])
def test_every_row_is_filled_once(n_jobs, n_rows, panel):
    counts = np.zeros(n_rows, dtype=int)

    def fill(start, stop):
        assert 0 < stop - start <= panel
        counts[start:stop] += 1

    run_panels(fill, n_rows, panel, n_jobs)
    assert (counts == 1).all()


def test_the_panels_do_not_depend_on_the_number_of_threads():
    def panels(n_jobs):
        seen = set()
        run_panels(lambda start, stop: seen.add((start, stop)), 1003, 64, n_jobs)
        return seen

    assert panels(1) == panels(2) == panels(5)


def test_threads_run_at_the_same_time():
    # Each of two panels waits for the other: one thread alone would break the barrier.
    barrier = threading.Barrier(2, timeout=20.0)
    run_panels(lambda *_: barrier.wait(), 2, 1, 2)


def test_the_result_does_not_depend_on_the_order_of_panels():
    source = np.random.default_rng(0).normal(size=(257, 31))

    def squares(n_jobs):
        out = np.empty_like(source)

        def fill(start, stop):
            np.multiply(source[start:stop], source[start:stop], out=out[start:stop])

        run_panels(fill, len(source), 16, n_jobs)
        return out

    np.testing.assert_array_equal(squares(1), source**2)
    np.testing.assert_array_equal(squares(3), squares(1))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_exception_of_a_panel_reaches_the_caller(n_jobs):
    def fill(start, stop):
        if start == 30:
            raise FloatingPointError(f"row {start}")

    with pytest.raises(FloatingPointError, match="row 30"):
        run_panels(fill, 100, 10, n_jobs)


@pytest.mark.parametrize("n_jobs", [1, 2, 5])
def test_of_several_errors_the_first_panel_has_its_own(n_jobs):
    def fill(start, stop):
        if start == 30:
            time.sleep(0.05)
        if start >= 30:
            raise FloatingPointError(f"row {start}")

    with pytest.raises(FloatingPointError, match="row 30"):
        run_panels(fill, 100, 10, n_jobs)


def fail():
    raise FloatingPointError


def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    ("end", "error"),
    [
        (fail, FloatingPointError),
        pytest.param(
            interrupt,
            KeyboardInterrupt,
            marks=pytest.mark.skipif(
                not hasattr(signal, "pthread_kill"), reason="no signals to threads"
            ),
        ),
    ],
)
def test_no_panel_begins_after_an_error_or_an_interrupt(n_jobs, end, error, request):
    # A process in the background of a shell ignores interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    begun = []

    def fill(start, stop):
        begun.append(start)
        if start == 3:
            end()
        time.sleep(0.02)

    with pytest.raises(error):
        run_panels(fill, 200, 1, n_jobs)
    assert 4 <= len(begun) < 50
    n_begun = len(begun)
    time.sleep(0.1)
    assert len(begun) == n_begun


def test_arrays_are_no_number_of_threads():
    for n_jobs in (np.array([1.0, 2.0]), np.array([-1, -1]), [-1], -1.0):
        with pytest.raises(SettingError, match="n_jobs="):
            effective_n_jobs(n_jobs)


@pytest.mark.parametrize("n_jobs", [0, -2, -7])
def test_a_number_of_threads_that_makes_no_sense_is_refused(n_jobs):
    with pytest.raises(SettingError, match=f"n_jobs={n_jobs}"):
        effective_n_jobs(n_jobs)
    with pytest.raises(SettingError, match=f"n_jobs={n_jobs}"):
        run_panels(lambda *_: None, 10, 5, n_jobs)


def test_all_cores_are_those_this_process_may_use():
    expected = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert effective_n_jobs(None) == effective_n_jobs(-1) == expected
    assert effective_n_jobs(3) == 3


def test_blas_has_one_thread_inside_and_its_own_number_again_behind():
    if not blas_threads():
        pytest.skip("threadpoolctl knows no BLAS here")
    before = blas_threads()
    with single_threaded_blas():
        assert set(blas_threads()) == {1}
    assert blas_threads() == before

    inside = []
    run_panels(lambda *_: inside.extend(blas_threads()), 4, 1, 2)
    assert set(inside) == {1}
    with pytest.raises(ZeroDivisionError):
        run_panels(lambda *_: 1 // 0, 4, 1, 2)
    assert blas_threads() == before


def test_limits_that_overlap_leave_blas_as_it_was():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        first, second = single_threaded_blas(), single_threaded_blas()
        first.__enter__()
        second.__enter__()
        # Left in the order of entering, as threads may do.
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def child_says(question):
    """What a forked process answers, a number of one digit."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, str(question()).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(read, 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_the_limits_of_its_own_thread_only():
    def inside():
        with single_threaded_blas():
            pass
        return max(blas_threads(), default=0)

    with threadpool_limits(2, user_api="blas"):
        before = max(blas_threads(), default=0)
        entered, done = threading.Event(), threading.Event()

        def computes():
            with single_threaded_blas():
                entered.set()
                done.wait(30.0)

        other = threading.Thread(target=computes)
        other.start()
        entered.wait(30.0)
        assert child_says(inside) == before
        with single_threaded_blas():
            # The thread that forks is inside, and so is what it becomes.
            assert child_says(inside) == min(before, 1)
        done.set()
        other.join()
        assert max(blas_threads(), default=0) == before


def test_a_thread_may_leave_what_another_has_entered_first():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        entered, leave, left, end = (threading.Event() for _ in range(4))

        def computes():
            with single_threaded_blas():
                entered.set()
                leave.wait(30.0)
            left.set()
            end.wait(30.0)

        other = threading.Thread(target=computes)
        other.start()
        entered.wait(30.0)
        assert set(blas_threads()) <= {1}
        with single_threaded_blas():
            leave.set()
            left.wait(30.0)
            assert set(blas_threads()) <= {1}
        assert blas_threads() == before
        end.set()
        other.join()
