"""The polynomial exp against forty digits and against the limits of float64."""

import decimal
import math
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernchem._fastmath import WIDTH, add_differences, exp, sum_tile

SMALLEST_NORMAL = sys.float_info.min


def errors_in_last_place(points):
    """Error of each exp(x) in units of the last place of the true value."""
    with decimal.localcontext(prec=40):
        truths = [decimal.Decimal(x).exp() for x in points]
        return np.array(
            [
                float(abs(decimal.Decimal(exp(x)) - truth)) / math.ulp(float(truth))
                for x, truth in zip(points, truths, strict=True)
            ]
        )


@pytest.mark.parametrize(
    ("low", "high"), [(-0.35, 0.35), (-40.0, 0.0), (-708.39, 709.78), (-1e-8, 1e-8)]
)
def test_error_is_below_one_unit_in_the_last_place(rng, low, high):
    errors = errors_in_last_place(rng.uniform(low, high, 1500).tolist())
    # Without fused multiply-add the last steps round twice.
    assert errors.max() < 1.5
    assert errors.mean() < 0.35


def test_error_next_to_the_breaks_of_the_range_reduction():
    breaks = [(k + 0.5) * math.log(2.0) for k in range(-1020, 1020, 17)]
    points = [math.nextafter(x, side) for x in breaks for side in (-math.inf, math.inf)]
    assert errors_in_last_place(points).max() < 1.5


def test_exactly_one_at_zero():
    assert exp(0.0) == 1.0
    assert exp(-0.0) == 1.0
    assert exp(5e-324) == 1.0


def test_nan_stays_nan():
    assert math.isnan(exp(math.nan))


@pytest.mark.parametrize("x", [709.7827128933841, 710.0, 1e4, 1e300, math.inf])
def test_overflow_gives_infinity(x):
    assert exp(x) == math.inf


@pytest.mark.parametrize("x", [-708.3964185322642, -709.0, -745.0, -746.0, -1e300, -math.inf])
def test_numbers_below_the_smallest_normal_one_become_zero(x):
    assert exp(x) == 0.0


def test_the_ends_of_the_normal_range():
    assert exp(-708.3964185322641) == pytest.approx(SMALLEST_NORMAL, rel=1e-12)
    assert exp(-708.3964185322641) >= SMALLEST_NORMAL
    largest = 709.782712893384
    assert exp(largest) == pytest.approx(math.exp(largest), rel=1e-15)


@given(st.floats(-745.0, 709.7), st.floats(0.0, 1e-3))
def test_monotonic_up_to_rounding(x, step):
    assert exp(x + step) >= exp(x) * (1.0 - 2.0**-51)


@given(st.floats(-708.0, 0.0))
def test_relative_error_against_numpy(x):
    # NumPy's own exp is good to one unit in the last place.
    assert exp(x) == pytest.approx(float(np.exp(x)), rel=4.5e-16)


def test_plain_python_twin_gives_the_same_numbers():
    points = [-708.0, -33.3, -1.5, -1e-9, 0.0, 0.3, 700.0, -1e9, 1e9, math.inf, -math.inf]
    code = (
        "from math import inf; from kernchem._fastmath import exp; "
        f"print([exp(x) for x in {points}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    values = [float(word) for word in done.stdout.strip("[]\n").split(",")]
    np.testing.assert_allclose(values, [exp(x) for x in points], rtol=4.5e-16)


@numba.njit
def tile_of(left, right, row, count, k, q, add, out, place, stride, shrink):
    sum_tile(left, right, row, count, k, q, add, out, place, stride, shrink)


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize(("stride", "shrink"), [(4, 0), (11, 0), (9, 1)])
def test_tiles_are_products_of_columns(rng, add, count, stride, shrink):
    left, right = rng.normal(size=(8, 9)), rng.normal(size=(7, 6))
    out = rng.normal(size=50)
    expected, place = out.copy(), 3
    for t in range(4):
        for c in range(4):
            products = [left[2 + i, 5 + t] * right[2 + i, 1 + c] for i in range(count)]
            before = out[place + c] if add else 0.0
            expected[place + c] = before + math.fsum(products)
        place += stride - t * shrink
    tile_of(left, right, 2, count, 5, 1, add, out, 3, stride, shrink)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-14)


def test_a_tile_that_is_not_added_does_not_read():
    out = np.full(16, np.nan)
    tile_of(np.ones((1, 4)), np.ones((1, 4)), 0, 1, 0, 0, False, out, 0, 4, 0)
    assert (out == 1.0).all()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy takes any array")
def test_tiles_refuse_arrays_with_gaps():
    gaps = np.ones((4, 8))[:, ::2]
    with pytest.raises(numba.TypingError, match="C-contiguous"):
        tile_of(gaps, np.ones((4, 4)), 0, 1, 0, 0, False, np.ones(16), 0, 4, 0)


@numba.njit
def differences_of(rows, p, count, packed, q, known, k, more, squared, totals, t):
    add_differences(rows, p, count, packed, q, known, k, more, squared, totals, t)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_differences_are_added_to_what_is_known(rng, count, squared):
    rows, packed = rng.normal(size=20), rng.normal(size=(12, WIDTH))
    known, totals = rng.normal(size=(3, WIDTH)), rng.normal(size=3 * WIDTH)
    expected, power = totals.copy(), 2 if squared else 1
    for j in range(WIDTH):
        parts = [abs(rows[5 + f] - packed[4 + f, j]) ** power for f in range(count)]
        expected[40 + j] = math.fsum([totals[40 + j], known[1, j], 0.25, *parts])
    differences_of(rows, 5, count, packed, 4 * WIDTH, known, WIDTH, 0.25, squared, totals, 40)
    np.testing.assert_allclose(totals, expected, rtol=0, atol=1e-13)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy takes any array")
def test_differences_refuse_arrays_with_gaps():
    tile, gaps = np.ones(WIDTH), np.ones(2 * WIDTH)[::2]
    with pytest.raises(numba.TypingError, match="C-contiguous"):
        differences_of(tile, 0, 1, gaps, 0, tile, 0, 0.0, False, tile, 0)
