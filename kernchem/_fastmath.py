"""Elementary functions that the compiler can turn into vector instructions.

Numba calls the C library once per element for ``math.exp``; the polynomial below is inlined into
the calling loop instead, which then runs on whole vector registers. The fast-math flags of a
calling function do not reach in here: the rounding steps must stay as they are written.
"""

import math
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, errors, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from kernchem._numba import jit

__all__ = ["WIDTH", "add_differences", "exp", "multiply_add", "sum_tile"]

_LOG2_E = 1.4426950408889634
# ln 2 in two pieces. The first has 32 significant bits: its product with the exponent (at most
# 11 bits) is exact whether or not the machine has fused multiply-add.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
# 1.5 * 2^52: adding it rounds a small number to an integer, which the lowest bits then hold.
_ROUND = 6755399441055744.0
# exp(x) = 1 + x + x^2 q(x), with q of degree 9 fitted at Chebyshev nodes of +-1.0001 ln(2)/2 by
# mpmath.chebyfit in 60 digits; constant term last.
_Q = (
    2.510038549551032e-08,
    2.7620088445409746e-07,
    2.7557268459997064e-06,
    2.4801521295954376e-05,
    0.00019841269863053618,
    0.0013888888917213717,
    0.008333333333330062,
    0.04166666666662413,
    0.16666666666666669,
    0.5,
)
# Between these, exp(x) is finite and not smaller than the smallest normal number 2^-1022.
_MIN = -708.3964185322641
_MAX = 709.782712893384


#: Numbers that ``add_differences`` sums at a time: eight registers of four.
WIDTH = 32
_LANES = 8


def _multiply_add_codegen(
    typing_context: Any, a: Any, b: Any, c: Any
) -> tuple[Any, Callable[..., Any]]:
    """Generate ``a b + c``, with one rounding where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double = ir.DoubleType()
        function = builder.module.declare_intrinsic(
            "llvm.fmuladd", [double], ir.FunctionType(double, [double] * 3)
        )
        return builder.call(function, arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


def _times_power_codegen(
    typing_context: Any, value: Any, rounded: Any
) -> tuple[Any, Callable[..., Any]]:
    """Generate ``value * 2^k`` by adding the lowest bits of ``rounded``, k, to the exponent."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = ir.IntType(64)
        exponent = builder.shl(builder.bitcast(arguments[1], bits), ir.Constant(bits, 52))
        total = builder.add(builder.bitcast(arguments[0], bits), exponent)
        return builder.bitcast(total, ir.DoubleType())

    return types.float64(types.float64, types.float64), generate


# Numba asks for the arguments of an intrinsic by name.
def _sum_tile_codegen(
    typing_context: Any,
    left: Any,
    right: Any,
    row: Any,
    count: Any,
    k: Any,
    q: Any,
    add: Any,
    out: Any,
    place: Any,
    stride: Any,
    shrink: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Generate the sums of a tile, in four registers of four numbers each."""
    arrays = left, right, out
    if any(array.layout != "C" or array.dtype != types.float64 for array in arrays):
        raise errors.TypingError("tiles are sums over C-contiguous arrays of float64")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, whole = ir.VectorType(ir.DoubleType(), 4), ir.IntType(64)
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fmuladd.v4f64"
        )
        left, right, out = (
            make_array(signature.args[k])(context, builder, value=arguments[k]) for k in (0, 1, 7)
        )
        row, count, k, q, add = arguments[2:7]
        place, stride, shrink = arguments[8:]

        def at(array: Any, index: Any) -> Any:
            return builder.bitcast(builder.gep(array.data, [index]), vector.as_pointer())

        def load(array: Any, index: Any) -> Any:
            return builder.load(at(array, index), align=8)

        def spread(number: Any) -> Any:
            first = ir.Constant(ir.IntType(32), 0)
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), number, first)
            return builder.shuffle_vector(single, single, lanes)

        zeros = ir.Constant(vector, [0.0] * 4)
        widths = [cgutils.unpack_tuple(builder, array.shape)[-1] for array in (left, right)]
        places = []
        for _ in range(4):
            places.append(place)
            place, stride = builder.add(place, stride), builder.sub(stride, shrink)
        sums = [cgutils.alloca_once_value(builder, zeros) for _ in places]
        with builder.if_then(add):
            for total, here in zip(sums, places, strict=True):
                builder.store(load(out, here), total)
        with cgutils.for_range(builder, count) as loop:
            here = builder.add(row, loop.index)
            first = builder.add(builder.mul(here, widths[0]), k)
            columns = load(right, builder.add(builder.mul(here, widths[1]), q))
            for t, total in enumerate(sums):
                index = builder.add(first, ir.Constant(whole, t))
                value = spread(builder.load(builder.gep(left.data, [index])))
                builder.store(builder.call(fused, [value, columns, builder.load(total)]), total)
        for total, here in zip(sums, places, strict=True):
            builder.store(builder.load(total), at(out, here), align=8)
        return context.get_dummy_value()

    whole = types.int64
    signature = types.void(left, right, *[whole] * 4, types.boolean, out, *[whole] * 3)
    return signature, generate


def _add_differences_codegen(
    typing_context: Any,
    rows: Any,
    p: Any,
    count: Any,
    packed: Any,
    q: Any,
    known: Any,
    k: Any,
    more: Any,
    squared: Any,
    totals: Any,
    t: Any,
) -> tuple[Any, Callable[..., Any]]:
    """Generate the sums of differences, in registers."""
    arrays = rows, packed, known, totals
    if any(array.layout != "C" or array.dtype != types.float64 for array in arrays):
        raise errors.TypingError("differences are of C-contiguous arrays of float64")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, whole = ir.VectorType(ir.DoubleType(), _LANES), ir.IntType(64)
        rows, packed, known, totals = (
            make_array(signature.args[k])(context, builder, value=arguments[k]).data
            for k in (0, 3, 5, 9)
        )
        p, count, q, k, more, squared, t = (arguments[k] for k in (1, 2, 4, 6, 7, 8, 10))

        def declare(name: str, count: int) -> Any:
            return cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * count), f"{name}.v{_LANES}f64"
            )

        fused, absolute = declare("llvm.fmuladd", 3), declare("llvm.fabs", 1)

        def at(data: Any, index: Any, v: int) -> Any:
            place = builder.add(index, ir.Constant(whole, v * _LANES))
            return builder.bitcast(builder.gep(data, [place]), vector.as_pointer())

        def spread(number: Any) -> Any:
            first = ir.Constant(ir.IntType(32), 0)
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), number, first)
            return builder.shuffle_vector(single, single, lanes)

        vectors = range(WIDTH // _LANES)
        sums = [cgutils.alloca_once(builder, vector) for _ in vectors]
        start = spread(more)
        for v in vectors:
            builder.store(builder.fadd(builder.load(at(known, k, v), align=8), start), sums[v])

        def add(square: bool) -> None:
            with cgutils.for_range(builder, count) as loop:
                x = spread(builder.load(builder.gep(rows, [builder.add(p, loop.index)])))
                here = builder.add(q, builder.mul(loop.index, ir.Constant(whole, WIDTH)))
                for v in vectors:
                    y, total = builder.load(at(packed, here, v), align=8), builder.load(sums[v])
                    d = builder.fsub(x, y)
                    if square:
                        total = builder.call(fused, [d, d, total])
                    else:
                        total = builder.fadd(total, builder.call(absolute, [d]))
                    builder.store(total, sums[v])

        with builder.if_else(squared) as (then, otherwise):
            with then:
                add(True)
            with otherwise:
                add(False)
        for v in vectors:
            place = at(totals, t, v)
            total = builder.fadd(builder.load(place, align=8), builder.load(sums[v]))
            builder.store(total, place, align=8)
        return context.get_dummy_value()

    whole, number = types.int64, types.float64
    signature = types.void(
        rows, whole, whole, packed, whole, known, whole, number, types.boolean, totals, whole
    )
    return signature, generate


def _sum_tile_python(
    left: Any,
    right: Any,
    row: int,
    count: int,
    k: int,
    q: int,
    add: bool,
    out: Any,
    place: int,
    stride: int,
    shrink: int,
) -> None:
    rows = slice(row, row + count)
    for sums in left[rows, k : k + 4].T @ right[rows, q : q + 4]:
        out[place : place + 4] = sums + (out[place : place + 4] if add else 0.0)
        place, stride = place + stride, stride - shrink


def _add_differences_python(
    rows: Any,
    p: int,
    count: int,
    packed: Any,
    q: int,
    known: Any,
    k: int,
    more: float,
    squared: bool,
    totals: Any,
    t: int,
) -> None:
    known, packed = known.reshape(-1), packed.reshape(-1)
    total = known[k : k + WIDTH] + more
    for f in range(count):
        difference = rows[p + f] - packed[q + f * WIDTH : q + (f + 1) * WIDTH]
        total += difference**2 if squared else abs(difference)
    totals[t : t + WIDTH] += total


def _multiply_add_python(a: float, b: float, c: float) -> float:
    return a * b + c


def _times_power_python(value: float, rounded: float) -> float:
    exponent = rounded - _ROUND
    # Beyond these powers the caller takes another value, as the bits would be nonsense.
    return value * 2.0 ** (exponent - 1.0) * 2.0 if abs(exponent) < 1025.0 else math.nan


# Numba can cache a function that calls an intrinsic only if a name of the module holds it.
# ``multiply_add(a, b, c)`` is a b + c.
#
# ``sum_tile(left, right, row, count, k, q, add, out, place, stride, shrink)`` multiplies columns k
# to k + 3 of ``left`` with columns q to q + 3 of ``right``, sums over ``count`` rows from ``row``
# on, and writes the 4 x 4 sums to ``out``, or adds them to what is there: the first four from
# ``place`` on, the next ``stride`` behind them, and each ``shrink`` less behind the last (rows of a
# triangle). The arrays are C-contiguous, ``out`` is flat, and no index is checked. Numba vectorises
# long loops only: a tile takes a quarter of the time of the same sums written out.
#
# ``add_differences(rows, p, count, packed, q, known, k, more, squared, totals, t)`` adds to WIDTH
# numbers of ``totals`` from t on: those of ``known`` from k on, plus the number ``more``, plus what
# ``count`` features add in turn: the differences between ``rows[p]`` and WIDTH numbers of
# ``packed`` from q on, those between the next of each, and so forth, squared or absolute. All
# arrays are C-contiguous and taken as flat, and no index is checked. The sums stay in registers
# over all features; a loop in Numba would load and store them for each few.
if numba.config.DISABLE_JIT:
    multiply_add, _times_power = _multiply_add_python, _times_power_python
    sum_tile, add_differences = _sum_tile_python, _add_differences_python
else:
    sum_tile = intrinsic(_sum_tile_codegen)
    add_differences = intrinsic(_add_differences_codegen)
    multiply_add = intrinsic(_multiply_add_codegen)
    _times_power = intrinsic(_times_power_codegen)


@jit
def exp(x: float) -> float:
    """Return exp(x) with an error below one unit in the last place.

    Parameters
    ----------
    x : float
        Any number; NaN gives NaN.

    Returns
    -------
    float
        exp(x); 0 where it would be smaller than 2^-1022 (about 2.2e-308), infinity where it would
        exceed the largest number, and exactly 1 at 0.
    """
    rounded = multiply_add(x, _LOG2_E, _ROUND)
    k = rounded - _ROUND
    r = multiply_add(k, -_LN2_LOW, multiply_add(k, -_LN2_HIGH, x))
    q = _Q[0]
    q = multiply_add(q, r, _Q[1])
    q = multiply_add(q, r, _Q[2])
    q = multiply_add(q, r, _Q[3])
    q = multiply_add(q, r, _Q[4])
    q = multiply_add(q, r, _Q[5])
    q = multiply_add(q, r, _Q[6])
    q = multiply_add(q, r, _Q[7])
    q = multiply_add(q, r, _Q[8])
    q = multiply_add(q, r, _Q[9])
    q = multiply_add(q, r, 1.0)
    value = _times_power(multiply_add(q, r, 1.0), rounded)
    value = value if x >= _MIN else 0.0
    return value if x <= _MAX else x + math.inf
