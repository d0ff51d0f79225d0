"""The exponential and the logistic function, from operations that every backend rounds in the same way.

exp(x) = 2ⁿ · exp(r), where n is the integer nearest to x/ln 2 and r = x − n·ln 2, with ln 2 in two parts so that n
times the first one is exact. Adding 1.5 · 2²³ (2⁵² in float64) to x/ln 2 rounds it, and leaves n in the lowest bits of
the sum.

- float32: ln 2 and the polynomial of exp(r) are those of ``expf`` in the Cephes library (S. Moshier, 1992).
- float64: ln 2 is that of ``e_exp.c`` in fdlibm (Sun Microsystems, 1993); exp(r) is the Taylor series up to r¹³/13!,
  whose remainder is less than 5e-18 for |r| ≤ ln 2 / 2.

Arguments are limited to those whose result is a normal number, so that nothing overflows or is a denormal. Between
these limits, the error of exp is at most 2 units in the last place and that of sigmoid at most 3, which
tests/test_numba_engine.py measures. NaN stays NaN.
"""

from __future__ import annotations

import math

from ..rules.vocabulary import clip, fma, where

__all__ = ["add_exponent", "exp", "exp_float32", "exp_float64", "sigmoid"]

INVERSE_LN2 = 1.44269504088896341


def exp(x):
    """Return eˣ. Compiled backends compute it by :func:`exp_float32` or :func:`exp_float64`."""
    return math.exp(x)


def sigmoid(x):
    """Return 1/(1 + e⁻ˣ)."""
    return 1.0 / (1.0 + exp(-x))


def add_exponent(y, t):
    """Return y · 2ⁿ, where n is the integer in the lowest bits of t. Backends have instructions in its place."""
    raise NotImplementedError("add_exponent works on the bits of float32 and float64 numbers, in compiled code only")


def exp_float32(x):
    """Return eˣ in float32."""
    limited = clip(x, -87.33654, 88.37626)
    shifted = fma(limited, INVERSE_LN2, 12582912.0)
    n = shifted - 12582912.0
    r = fma(-n, -2.12194440e-4, fma(-n, 0.693359375, limited))
    p = fma(1.9875691500e-4, r, 1.3981999507e-3)
    p = fma(p, r, 8.3334519073e-3)
    p = fma(p, r, 4.1665795894e-2)
    p = fma(p, r, 1.6666665459e-1)
    p = fma(p, r, 5.0000001201e-1)
    result = add_exponent(fma(p, r * r, r) + 1.0, shifted)
    return where(x != x, x, result)  # the exponent's sum would turn some NaNs into numbers


def exp_float64(x):
    """Return eˣ in float64."""
    limited = clip(x, -708.39, 709.43)
    shifted = fma(limited, INVERSE_LN2, 6755399441055744.0)
    n = shifted - 6755399441055744.0
    r = fma(-n, 1.90821492927058770002e-10, fma(-n, 6.93147180369123816490e-01, limited))
    p = fma(1 / 6227020800, r, 1 / 479001600)
    p = fma(p, r, 1 / 39916800)
    p = fma(p, r, 1 / 3628800)
    p = fma(p, r, 1 / 362880)
    p = fma(p, r, 1 / 40320)
    p = fma(p, r, 1 / 5040)
    p = fma(p, r, 1 / 720)
    p = fma(p, r, 1 / 120)
    p = fma(p, r, 1 / 24)
    p = fma(p, r, 1 / 6)
    p = fma(p, r, 0.5)
    result = add_exponent(fma(p, r * r, r) + 1.0, shifted)
    return where(x != x, x, result)  # the exponent's sum would turn some NaNs into numbers
