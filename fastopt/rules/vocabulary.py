"""What a rule may call besides ``math.sqrt``, ``abs`` and arithmetic.

These are the meanings, on Python floats. A backend compiles its own instruction in the place of each.
"""

from __future__ import annotations

__all__ = ["clip", "fma", "sign", "where"]


def fma(a: float, b: float, c: float) -> float:
    """Return a·b + c. Compiled backends round it once (IEEE fusedMultiplyAdd), so that all give the same bits."""
    return a * b + c


def clip(x: float, low: float, high: float) -> float:
    """Return x limited to [low, high]. NaN stays NaN."""
    x = low if x < low else x  # one bound after the other: two instructions of a SIMD loop, where nested they are five
    return high if x > high else x


def sign(x: float) -> float:
    """Return 1 for positive x and −1 for negative x; zeros and NaN as they are."""
    return 1.0 if x > 0 else -1.0 if x < 0 else x


def where(condition: bool, a: float, b: float) -> float:
    """Return a where the condition holds, else b. Both are computed, so that a loop over it stays a SIMD loop."""
    return a if condition else b
