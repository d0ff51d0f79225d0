"""Raw memory in compiled code: pointers, calls by address, and the atomics that threads agree by.

What reads and writes through pointers is compiled once for each dtype, whatever the network or the rule.
"""

from __future__ import annotations

import operator
import os
import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

__all__ = [
    "add_atomically",
    "as_dtype_of",
    "call_part",
    "compare_and_swap",
    "data_address",
    "fill_with_zeros",
    "load_atomically",
    "pause",
    "pointer_at",
    "shifted",
    "whole",
    "yield_processor",
]

_MACHINE = platform.machine().lower()
_INT64 = ir.IntType(64)


@intrinsic
def pointer_at(typing_context: Any, address: Any, like: Any) -> Any:
    """Return the address as a pointer of the type of `like`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(like))

    return like(types.int64, like), emit


@intrinsic
def whole(typing_context: Any, address: Any) -> Any:
    """Return the address as a pointer to int64."""
    result = types.CPointer(types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(result))

    return result(types.int64), emit


@overload(operator.getitem)
def _named(pointer: Any, name: Any) -> Any:
    """Let a table be read by the names of its places."""
    if isinstance(pointer, types.CPointer) and isinstance(name, types.IntEnumMember):

        def implementation(pointer: Any, name: Any) -> Any:
            return pointer[name.value]

        return implementation
    return None


@intrinsic
def shifted(typing_context: Any, pointer: Any, elements: Any) -> Any:
    """Return the pointer, that many elements on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.int64), emit


@intrinsic
def fill_with_zeros(typing_context: Any, pointer: Any, elements: Any) -> Any:
    """Set that many elements to zero."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cgutils.memset(builder, arguments[0], builder.mul(arguments[1], _INT64(pointer.dtype.bitwidth // 8)), 0)
        return context.get_dummy_value()

    return types.void(pointer, types.int64), emit


@intrinsic
def data_address(typing_context: Any, array: Any) -> Any:
    """Return where the array's elements lie."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(context.make_array(array)(context, builder, arguments[0]).data, _INT64)

    return types.int64(array), emit


@intrinsic
def as_dtype_of(typing_context: Any, pointer: Any, value: Any) -> Any:
    """Return the number in the dtype that the pointer points to."""
    result = pointer.dtype

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[1], value, result)

    return result(pointer, value), emit


@intrinsic
def call_part(typing_context: Any, address: Any, *numbers: Any) -> Any:
    """Call the machine code at that address with integers, of which its pointers are made."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = [builder.extract_value(arguments[1], k) for k in range(len(numbers))]
        kind = ir.FunctionType(ir.VoidType(), [_INT64] * len(values))
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, types.StarArgTuple.from_types([types.int64] * len(numbers))), emit


@intrinsic
def load_atomically(typing_context: Any, pointer: Any, index: Any) -> Any:
    """Return pointer[index], and see what was written before it was."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.gep(arguments[0], [arguments[1]]), "acquire", 8)

    return types.int64(pointer, types.int64), emit


@intrinsic
def add_atomically(typing_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Add to pointer[index]; return what was there."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(arguments[0], [arguments[1]])
        return builder.atomic_rmw("add", place, arguments[2], "acq_rel")

    return types.int64(pointer, types.int64, types.int64), emit


@intrinsic
def compare_and_swap(typing_context: Any, pointer: Any, index: Any, expected: Any, value: Any) -> Any:
    """Put the value into pointer[index] if the expected one is there; return whether it was."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(arguments[0], [arguments[1]])
        pair = builder.cmpxchg(place, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(pointer, types.int64, types.int64, types.int64), emit


@intrinsic
def pause(typing_context: Any) -> Any:
    """Tell the processor that this thread waits in a loop."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.VoidType()
        if _MACHINE in ("x86_64", "amd64"):
            function = builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(nothing, []))
            builder.call(function, [])
        elif _MACHINE in ("aarch64", "arm64"):
            number = ir.IntType(32)
            function = builder.module.declare_intrinsic("llvm.aarch64.hint", (), ir.FunctionType(nothing, [number]))
            builder.call(function, [number(1)])
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def yield_processor(typing_context: Any) -> Any:
    """Let another thread have the processor: the one that is waited for may have none."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if os.name == "posix":
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), emit
