"""exp, 1/(1 + exp(−x)) and tanh from arithmetic alone, for whichever compiler of Python functions asks.

It hands in its own multiply-add and what else has no name in Python. The operations and their order stand here once, so
that the bits are the same wherever a product of the network is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["make_exponential", "make_sigmoid", "make_tanh"]

Function = Callable[..., Any]


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


def make_exponential(dtype: Any, fma: Function, add_exponent: Function, inlined: Function) -> Function:
    """Return exp(x), limited to what has a normal result.

    Parameters
    ----------
    dtype
        ``np.float32`` or ``np.float64``.
    fma
        ``fma(a, b, c)`` is a·b + c, rounded once.
    add_exponent
        ``add_exponent(y, t)`` is y · 2ⁿ, where n is what the lowest bits of t are.
    inlined
        Makes a function part of those that call it.
    """
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

    def exponential(x: Any) -> Any:
        limited = low if x < low else high if x > high else x
        t = fma(limited, inverse, shift)
        n = t - shift
        r = fma(-n, ln2_high, limited)
        r = fma(-n, ln2_low, r)
        result = add_exponent(fma(evaluate(r), r * r, r) + one, t)
        return x if x != x else result

    return exponential


def make_sigmoid(dtype: Any, exponential: Function) -> Function:
    """Return 1/(1 + exp(−x))."""
    one = dtype(1)

    def sigmoid(x: Any) -> Any:
        return one / (one + exponential(-x))

    return sigmoid


def make_tanh(dtype: Any, fma: Function, exponential: Function, inlined: Function) -> Function:
    """Return the hyperbolic tangent: a polynomial near zero, and 1 − 2/(exp(2x) + 1) elsewhere."""
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
        p0, p1, p2 = map(np.float64, (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3))
        q0, q1, q2 = map(np.float64, (1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3))

        def near_zero(z: Any) -> Any:
            s = z * z
            above = fma(fma(p0, s, p1), s, p2)
            below = fma(fma(s + q0, s, q1), s, q2)
            return fma(z * s, above / below, z)

    small = inlined(near_zero)

    def tanh(x: Any) -> Any:
        u = abs(x)
        far = one - two / (exponential(u + u) + one)
        return small(x) if u < limit else -far if x < zero else far

    return tanh
