"""Instructions that Numba has no name for: fused multiply-add, and the flush-to-zero bits of the processor."""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload, register_jitable
from numba.np.numpy_support import as_dtype

from ...rules import vocabulary

__all__ = [
    "add_exponent",
    "begin_flush_to_zero",
    "copysign",
    "end_flush_to_zero",
    "fma",
    "prefetch",
    "restrict",
    "same_dtype",
]

_MACHINE = platform.machine().lower()
_X86_FLUSH = 0x8040  # MXCSR: flush-to-zero and denormals-are-zero
_ARM_FLUSH = 1 << 24  # FPCR: FZ


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a·b + c, rounded once. All three must have one dtype: a mixture would promote in silence."""
    if not (isinstance(a, types.Float) and a == b == c):
        return None

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(a)
        function = builder.module.declare_intrinsic("llvm.fma", [kind], ir.FunctionType(kind, [kind] * 3))
        return builder.call(function, arguments)

    return a(a, a, a), emit


@intrinsic
def add_exponent(typing_context: Any, y: Any, t: Any) -> Any:
    """Return y · 2ⁿ, where n is what the lowest bits of t are."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer, shift = (ir.IntType(32), 23) if y == types.float32 else (ir.IntType(64), 52)
        y_bits, t_bits = (builder.bitcast(argument, integer) for argument in arguments)
        total = builder.add(y_bits, builder.shl(t_bits, ir.Constant(integer, shift)))
        return builder.bitcast(total, context.get_value_type(y))

    return y(y, y), emit


@intrinsic
def copysign(typing_context: Any, size: Any, sign: Any) -> Any:
    """Return a number of that size and sign. Numba's own calls a library, for each number."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(sign)
        function = builder.module.declare_intrinsic("llvm.copysign", [kind], ir.FunctionType(kind, [kind] * 2))
        return builder.call(function, arguments)

    return sign(sign, sign), emit


@intrinsic
def same_dtype(typing_context: Any, result: Any, buffer: Any) -> Any:
    """Return the rule's result, or refuse to compile when it is not of its buffer's dtype."""
    if result != buffer:
        raise TypingError(f"it computes in {result} on {buffer} buffers")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return result(result, buffer), emit


@intrinsic
def restrict(typing_context: Any) -> Any:
    """Promise, as the word does in C, that the pointers which this function was given lead to different memory.

    Without the promise its loop compares all of them before each run of vectors.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def prefetch(typing_context: Any, buffer: Any, index: Any) -> Any:
    """Ask for the cache line of the element at a pointer, wherever it lies: no address is wrong."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), pointer)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        to_read, all_levels, data_cache = number(0), number(3), number(1)
        builder.call(function, [place, to_read, all_levels, data_cache])
        return context.get_dummy_value()

    return types.void(buffer, types.int64), emit


@overload(vocabulary.fma)
def _fma_in_rules(a: Any, b: Any, c: Any) -> Any:
    kinds = sorted({str(types.unliteral(kind)) for kind in (a, b, c)})
    if len(kinds) > 1:
        raise TypingError(f"fma got {', '.join(kinds)}, expected one dtype")

    def implementation(a: Any, b: Any, c: Any) -> Any:
        return fma(a, b, c)

    return implementation


@overload(vocabulary.sign)
def _sign_in_rules(x: Any) -> Any:
    dtype = as_dtype(x).type
    zero, one = dtype(0), dtype(1)  # a Python number would make the comparison a float64 one

    def implementation(x: Any) -> Any:
        return one if x > zero else -one if x < zero else x

    return implementation


register_jitable(vocabulary.clip)
register_jitable(vocabulary.where)


def _x86_control_word(builder: Any, value: Any = None) -> Any:
    word, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    slot = builder.alloca(word)
    name = "llvm.x86.sse.stmxcsr"
    if value is not None:
        builder.store(value, slot)
        name = "llvm.x86.sse.ldmxcsr"
    function = builder.module.declare_intrinsic(name, (), ir.FunctionType(ir.VoidType(), [pointer]))
    builder.call(function, [builder.bitcast(slot, pointer)])
    return builder.load(slot)


def _arm_control_word(builder: Any, value: Any = None) -> Any:
    word = ir.IntType(64)
    if value is None:
        function = builder.module.declare_intrinsic("llvm.aarch64.get.fpcr", (), ir.FunctionType(word, []))
        return builder.trunc(builder.call(function, []), ir.IntType(32))
    function = builder.module.declare_intrinsic("llvm.aarch64.set.fpcr", (), ir.FunctionType(ir.VoidType(), [word]))
    builder.call(function, [builder.zext(value, word)])
    return value


_CONTROL_WORDS = {
    "x86_64": (_x86_control_word, _X86_FLUSH),
    "amd64": (_x86_control_word, _X86_FLUSH),
    "aarch64": (_arm_control_word, _ARM_FLUSH),
    "arm64": (_arm_control_word, _ARM_FLUSH),
}


@intrinsic
def begin_flush_to_zero(typing_context: Any) -> Any:
    """Turn denormals into zeros from here on, on this thread; return what :func:`end_flush_to_zero` takes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        if _MACHINE not in _CONTROL_WORDS:
            return ir.Constant(word, 0)
        control_word, flush = _CONTROL_WORDS[_MACHINE]
        saved = control_word(builder)
        control_word(builder, builder.or_(saved, ir.Constant(word, flush)))
        return saved

    return types.uint32(), emit


@intrinsic
def end_flush_to_zero(typing_context: Any, saved: Any) -> Any:
    """Put the processor's floating-point mode back."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _MACHINE in _CONTROL_WORDS:
            _CONTROL_WORDS[_MACHINE][0](builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.uint32), emit
