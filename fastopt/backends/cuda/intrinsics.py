"""Instructions that the compiler has no name for, and those that the rules' vocabulary stands for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ...rules import vocabulary
from . import shim
from .launch import VECTOR_BYTES
from .shim import TypingError, intrinsic, stands_for, types

__all__ = ["add_exponent", "fetch", "fma", "same_dtype", "store", "strict_arithmetic"]


@stands_for(vocabulary.fma)
@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a·b + c, rounded once."""
    _check_one_dtype("fma", a, b, c)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, b, c), emit


@stands_for(vocabulary.clip)
@intrinsic
def _clip(typing_context: Any, x: Any, low: Any, high: Any) -> Any:
    _check_one_dtype("clip", x, low, high)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, low, high = arguments
        raised = builder.select(builder.fcmp_ordered("<", x, low), low, x)
        return builder.select(builder.fcmp_ordered(">", x, high), high, raised)

    return x(x, low, high), emit


@stands_for(vocabulary.sign)
@intrinsic
def _sign(typing_context: Any, x: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero, one, minus_one = (ir.Constant(arguments[0].type, value) for value in (0.0, 1.0, -1.0))
        negative = builder.select(builder.fcmp_ordered("<", arguments[0], zero), minus_one, arguments[0])
        return builder.select(builder.fcmp_ordered(">", arguments[0], zero), one, negative)

    return x(x), emit


@stands_for(vocabulary.where)
@intrinsic
def _where(typing_context: Any, condition: Any, a: Any, b: Any) -> Any:
    _check_one_dtype("where", a, b)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return a(types.boolean, a, b), emit


def _check_one_dtype(name: str, *kinds: Any) -> None:
    """Refuse a mixture: it would promote in silence."""
    names = sorted({str(types.unliteral(kind)) for kind in kinds})
    if len(names) > 1:
        raise TypingError(f"{name} got {', '.join(names)}, expected one dtype")


@intrinsic
def same_dtype(typing_context: Any, result: Any, buffer: Any) -> Any:
    """Return the rule's result, or refuse to compile when it is not of its buffer's dtype."""
    if result != buffer:
        raise TypingError(f"it computes in {result} on {buffer} buffers")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return result(result, buffer), emit


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
def strict_arithmetic(typing_context: Any) -> Any:
    """Have the kernel compute as the CPU does; see :func:`.shim.use_strict_arithmetic`."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        shim.use_strict_arithmetic(context)
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def fetch(typing_context: Any, buffer: Any, first: Any, registers: Any) -> Any:
    """Load the vector of elements from `first` on; the address has to be a multiple of its size."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = builder.load(_vector(context, builder, buffer, arguments[0], arguments[1]), align=VECTOR_BYTES)
        for k, place in _places(context, builder, registers, arguments[2]):
            builder.store(builder.extract_element(vector, k), place)
        return context.get_dummy_value()

    return types.void(buffer, first, registers), emit


@intrinsic
def store(typing_context: Any, registers: Any, buffer: Any, first: Any) -> Any:
    """Store what :func:`fetch` has loaded, in one piece as well."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = _vector(context, builder, buffer, arguments[1], arguments[2])
        vector = ir.Constant(target.type.pointee, ir.Undefined)
        for k, place in _places(context, builder, registers, arguments[0]):
            vector = builder.insert_element(vector, builder.load(place), k)
        builder.store(vector, target, align=VECTOR_BYTES)
        return context.get_dummy_value()

    return types.void(registers, buffer, first), emit


def _vector(context: Any, builder: Any, kind: Any, buffer: Any, first: Any) -> Any:
    """Return the address of the vector that begins at that element."""
    real = context.get_value_type(kind.dtype)
    element = builder.gep(context.make_array(kind)(context, builder, buffer).data, [first])
    return builder.bitcast(element, ir.VectorType(real, VECTOR_BYTES * 8 // kind.dtype.bitwidth).as_pointer())


def _places(context: Any, builder: Any, kind: Any, registers: Any) -> Any:
    """Return number and address of each of the vector's elements in a thread's own array.

    All are constants, and so the compiler keeps the array in registers.
    """
    data, number = context.make_array(kind)(context, builder, registers).data, ir.IntType(32)
    count = VECTOR_BYTES * 8 // kind.dtype.bitwidth
    return [(number(k), builder.gep(data, [number(k)])) for k in range(count)]
