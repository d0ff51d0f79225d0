"""From bfloat16 and back, as instructions on integers: every architecture has them, and they round as they say.

A bfloat16 is the upper half of a float32, and so widening it is exact. What a float32 is rounded to is the nearest, of
two as near the one whose last bit is zero; NaN stays NaN and keeps its sign. Both have the same range of exponents: a
number that is not denormal never becomes so, and one beyond the largest bfloat16 by half of its last place is Inf.
Denormals pass both ways as they are; it is the rule's arithmetic, flushing its operands and results, that makes them
zeros.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

__all__ = ["pairs", "rounded_one", "widened", "widened_one"]

_HALF, _WORD, _REAL = ir.IntType(16), ir.IntType(32), ir.FloatType()
_UPPER, _LOWER = _WORD(0xFFFF0000), _WORD(16)
_MAGNITUDE, _INFINITY, _QUIET = _WORD(0x7FFFFFFF), _WORD(0x7F800000), _WORD(0x00400000)


def widened(builder: Any, words: Any, k: Any) -> Any:
    """Return element `k` of a vector of words, which hold two elements each, as float32."""
    word = builder.extract_element(words, _WORD(k.constant // 2))
    bits = builder.and_(word, _UPPER) if k.constant % 2 else builder.shl(word, _LOWER)
    return builder.bitcast(bits, _REAL)


def widened_one(builder: Any, half: Any) -> Any:
    """Return a bfloat16 as float32."""
    return builder.bitcast(builder.shl(builder.zext(half, _WORD), _LOWER), _REAL)


def pairs(builder: Any, values: list[Any]) -> list[Any]:
    """Return words that hold two rounded elements each."""
    bits = [_rounded(builder, value) for value in values]
    return [
        builder.or_(builder.lshr(low, _LOWER), builder.and_(high, _UPPER))
        for low, high in zip(bits[::2], bits[1::2], strict=True)
    ]


def rounded_one(builder: Any, value: Any) -> Any:
    """Return a float32 rounded to bfloat16."""
    return builder.trunc(builder.lshr(_rounded(builder, value), _LOWER), _HALF)


def _rounded(builder: Any, value: Any) -> Any:
    """Return bits whose upper half is the rounded number, over a lower half that does not count."""
    bits = builder.bitcast(value, _WORD)
    last = builder.and_(builder.lshr(bits, _LOWER), _WORD(1))
    nearest = builder.add(builder.add(bits, _WORD(0x7FFF)), last)
    is_nan = builder.icmp_unsigned(">", builder.and_(bits, _MAGNITUDE), _INFINITY)
    return builder.select(is_nan, builder.or_(bits, _QUIET), nearest)
