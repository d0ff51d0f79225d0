"""Buffers of other dtypes than the arithmetic's, in compiled code: how an element is loaded, and how it is stored.

A storage is a pointer's type and two functions: one that gives the element at a place as a number of the arithmetic's
dtype, and one that rounds a number and writes it there. The sweep itself does not know which ones they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from ..._constants import MIX_FIRST, MIX_SECOND

__all__ = ["key_words", "load", "pointer_at", "pointer_type", "store_nearest", "store_stochastic"]

_HALF, _WORD, _REAL = ir.IntType(16), ir.IntType(32), ir.FloatType()
_UPPER = _WORD(16)
_HALVES = types.CPointer(types.uint16)


def pointer_type(dtype: np.dtype[Any]) -> Any:
    """Return the type of a pointer to elements of a dtype."""
    return _HALVES if dtype.name == "bfloat16" else types.CPointer(from_dtype(dtype))


def pointer_at(dtype: np.dtype[Any]) -> Any:
    """Return the function that makes such a pointer of an address."""
    kind = pointer_type(dtype)

    @intrinsic
    def pointer_from(typing_context: Any, address: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(kind))

        return kind(types.int64), emit

    return pointer_from


@intrinsic
def key_words(typing_context: Any, low: Any, high: Any, salt: Any) -> Any:
    """Return the words that a buffer's random bits are made with, from the key of the step and the buffer's salt."""
    words = types.UniTuple(types.uint32, 2)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        low, high = (builder.fptoui(number, _WORD) for number in arguments[:2])
        salt = builder.trunc(arguments[2], _WORD)
        first = _mixed(builder, builder.xor(low, salt))
        return context.make_tuple(builder, words, [first, _mixed(builder, builder.add(high, salt))])

    return words(types.float32, types.float32, types.int64), emit


@intrinsic
def load(typing_context: Any, source: Any, index: Any) -> Any:
    """Return the bfloat16 at a place as float32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        half = builder.load(builder.gep(arguments[0], [arguments[1]]))
        return builder.bitcast(builder.shl(builder.zext(half, _WORD), _UPPER), _REAL)

    return types.float32(_HALVES, types.int64), emit


@intrinsic
def store_nearest(typing_context: Any, target: Any, index: Any, value: Any) -> Any:
    """Write the nearest bfloat16 to a place."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, index, value = arguments
        last = builder.and_(builder.lshr(builder.bitcast(value, _WORD), _UPPER), _WORD(1))
        half = _cut(builder, value, builder.add(last, _WORD(0x7FFF)))
        builder.store(half, builder.gep(target, [index]))
        return context.get_dummy_value()

    return types.void(_HALVES, types.int64, types.float32), emit


@intrinsic
def store_stochastic(typing_context: Any, target: Any, index: Any, value: Any, position: Any, key: Any) -> Any:
    """Write one of the two neighbours; `position` in the flat buffer is that of the pointer's first element."""
    words = types.UniTuple(types.uint32, 2)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, index, value, position, key = arguments
        first, second = (builder.extract_value(key, k) for k in range(2))
        # Cut off before they are added: the sum is then made of 32 bits, a whole vector at a time.
        x = builder.xor(builder.add(builder.trunc(position, _WORD), builder.trunc(index, _WORD)), first)
        x = builder.mul(builder.xor(x, builder.lshr(x, _WORD(16))), _WORD(MIX_FIRST))
        x = builder.add(x, second)
        x = builder.mul(builder.xor(x, builder.lshr(x, _WORD(15))), _WORD(MIX_SECOND))
        builder.store(_cut(builder, value, builder.lshr(x, _WORD(16))), builder.gep(target, [index]))
        return context.get_dummy_value()

    return types.void(_HALVES, types.int64, types.float32, types.int64, words), emit


def _cut(builder: Any, value: Any, added: Any) -> Any:
    """Return the upper half of the sum, or of the value itself where that is NaN.

    A signaling NaN with nothing in its upper half would become Inf; what arithmetic gives is quiet.
    """
    bits = builder.bitcast(value, _WORD)
    added = builder.select(builder.fcmp_unordered("uno", value, value), _WORD(0), added)
    return builder.trunc(builder.lshr(builder.add(bits, added), _UPPER), _HALF)


def _mixed(builder: Any, x: Any) -> Any:
    x = builder.mul(builder.xor(x, builder.lshr(x, _WORD(16))), _WORD(MIX_FIRST))
    x = builder.mul(builder.xor(x, builder.lshr(x, _WORD(15))), _WORD(MIX_SECOND))
    return builder.xor(x, builder.lshr(x, _WORD(16)))
