"""The hyperbolic tangent: a polynomial or a rational function near zero, and 1 − 2/(exp(2|x|) + 1) from |x| = 0.625 on.

Both are those of ``tanhf`` and ``tanh`` in the Cephes library (S. Moshier, 1992). The error is at most 3 units in the
last place, which tests/test_numba_engine.py measures. NaN stays NaN.
"""

from __future__ import annotations

import math

from ..rules.vocabulary import fma, where
from .exponential import exp

__all__ = ["tanh", "tanh_float32", "tanh_float64"]


def tanh(x):
    """Return the hyperbolic tangent. Compiled backends compute it by the functions below."""
    return math.tanh(x)


def tanh_float32(x):
    """Return tanh(x) in float32."""
    s = x * x
    p = fma(-5.70498872745e-3, s, 2.06390887954e-2)
    p = fma(p, s, -5.37397155531e-2)
    p = fma(p, s, 1.33314422036e-1)
    p = fma(p, s, -3.33332819422e-1)
    return _joined(x, fma(p * s, x, x))


def tanh_float64(x):
    """Return tanh(x) in float64."""
    s = x * x
    above = fma(fma(-9.64399179425052238628e-1, s, -9.92877231001918586564e1), s, -1.61468768441708447952e3)
    below = fma(fma(s + 1.12811678491632931402e2, s, 2.23548839060100448583e3), s, 4.84406305325125486048e3)
    return _joined(x, fma(x * s, above / below, x))


def _joined(x, near_zero):
    u = abs(x)
    far = 1.0 - 2.0 / (exp(u + u) + 1.0)
    return where(u < 0.625, near_zero, where(x < 0, -far, far))
