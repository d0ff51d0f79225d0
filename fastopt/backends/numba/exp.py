"""exp, sigmoid and tanh from arithmetic alone: loops over them are vectorised, and give the same bits anywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .decorators import inlined
from .intrinsics import fma

__all__ = ["bits_of", "exponential", "sigmoid", "tanh"]

_OPTIONS: Any = {"error_model": "numpy"}


def _integer_like(kind: Any) -> Any:
    return types.int32 if kind == types.float32 else types.int64


@intrinsic
def bits_of(typing_context: Any, x: Any) -> Any:
    """Return the number's bits as a signed integer."""
    result = _integer_like(x)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(result))

    return result(x), emit


@intrinsic
def _add_exponent(typing_context: Any, y: Any, t: Any) -> Any:
    """Return y · 2ⁿ, where n is what the lowest bits of t are."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = context.get_value_type(_integer_like(y))
        shift = ir.Constant(integer, 23 if y == types.float32 else 52)
        y_bits, t_bits = (builder.bitcast(argument, integer) for argument in arguments)
        return builder.bitcast(builder.add(y_bits, builder.shl(t_bits, shift)), context.get_value_type(y))

    return y(y, y), emit


def exponential(x: Any) -> Any:
    """Return exp(x), limited to what has a normal result. Compiled code has its own operations for it, below."""
    return math.exp(x)


def sigmoid(x: Any) -> Any:
    """Return 1/(1 + exp(−x))."""
    return 1 / (1 + math.exp(-x))


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    return math.tanh(x)


def _constants(dtype: Any) -> Any:
    """Return (low, high, 1/ln 2, rounding shift, ln 2 in two parts, coefficients from the highest down to 1/2!)."""
    if dtype is np.float32:
        numbers: tuple[float, ...] = (-87.33654, 88.37626, 1.44269504088896341, 12582912.0, 0.693359375, -2.12194440e-4)
        series: tuple[float, ...] = (
            1.9875691500e-4,
            1.3981999507e-3,
            8.3334519073e-3,
            4.1665795894e-2,
            1.6666665459e-1,
            5.0000001201e-1,
        )
    else:
        numbers = (-708.39, 709.43, 1.4426950408889634, 6755399441055744.0)
        numbers = (*numbers, 6.93147180369123816490e-01, 1.90821492927058770002e-10)
        series = tuple(1 / math.factorial(k) for k in range(13, 1, -1))
    return tuple(map(dtype, numbers)), tuple(map(dtype, series))


@overload(exponential, jit_options=_OPTIONS)
def _exponential(x: Any) -> Any:
    dtype = np.float32 if x == types.float32 else np.float64
    (low, high, inverse, shift, ln2_high, ln2_low), series = _constants(dtype)
    one, first = dtype(1), series[0]
    if dtype is np.float32:
        _, c6, c5, c4, c3, c2 = series

        def polynomial(r: Any) -> Any:
            p = fma(first, r, c6)
            p = fma(p, r, c5)
            p = fma(p, r, c4)
            p = fma(p, r, c3)
            return fma(p, r, c2)
    else:
        _, d12, d11, d10, d9, d8, d7, d6, d5, d4, d3, d2 = series

        def polynomial(r: Any) -> Any:
            p = fma(first, r, d12)
            p = fma(p, r, d11)
            p = fma(p, r, d10)
            p = fma(p, r, d9)
            p = fma(p, r, d8)
            p = fma(p, r, d7)
            p = fma(p, r, d6)
            p = fma(p, r, d5)
            p = fma(p, r, d4)
            p = fma(p, r, d3)
            return fma(p, r, d2)

    evaluate = inlined(polynomial)

    def implementation(x: Any) -> Any:
        limited = low if x < low else high if x > high else x
        t = fma(limited, inverse, shift)
        n = t - shift
        r = fma(-n, ln2_high, limited)
        r = fma(-n, ln2_low, r)
        result = _add_exponent(fma(evaluate(r), r * r, r) + one, t)
        return x if x != x else result

    return implementation


@overload(sigmoid, jit_options=_OPTIONS)
def _sigmoid(x: Any) -> Any:
    one = np.float32(1) if x == types.float32 else np.float64(1)

    def implementation(x: Any) -> Any:
        return one / (one + exponential(-x))

    return implementation


@overload(tanh, jit_options=_OPTIONS)
def _tanh(x: Any) -> Any:
    dtype = np.float32 if x == types.float32 else np.float64
    zero, one, two, limit = dtype(0), dtype(1), dtype(2), dtype(0.625)
    if dtype is np.float32:
        numbers = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
        a4, a3, a2, a1, a0 = map(np.float32, numbers)

        def near_zero(z: Any) -> Any:
            s = z * z
            p = fma(a4, s, a3)
            p = fma(p, s, a2)
            p = fma(p, s, a1)
            p = fma(p, s, a0)
            return fma(p * s, z, z)
    else:
        p0, p1, p2 = -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3
        q0, q1, q2 = 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3

        def near_zero(z: Any) -> Any:
            s = z * z
            above = fma(fma(p0, s, p1), s, p2)
            below = fma(fma(s + q0, s, q1), s, q2)
            return fma(z * s, above / below, z)

    small = inlined(near_zero)

    def implementation(x: Any) -> Any:
        u = abs(x)
        far = one - two / (exponential(u + u) + one)
        return small(x) if u < limit else -far if x < zero else far

    return implementation
