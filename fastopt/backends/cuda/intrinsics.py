"""Instructions that the compiler has no name for, and those that the rules' vocabulary stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llvmlite import ir

from ...rules import vocabulary
from . import bfloat16, shim
from .launch import VECTOR_BYTES
from .shim import TypingError, intrinsic, literal_intrinsic, stands_for, types

__all__ = [
    "NUMBER_WORDS",
    "SCALAR_WORDS",
    "add_exponent",
    "fetch",
    "fetch_one",
    "fma",
    "same_dtype",
    "store",
    "store_one",
    "strict_arithmetic",
]

SCALAR_WORDS: dict[Any, Any] = {}
"""What takes the place of functions that scalar functions call: nothing, where the compiler has words for them."""


def _rounded_twice(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


NUMBER_WORDS: dict[Any, Any] = {vocabulary.fma: shim.inlined(_rounded_twice)}
"""The same for numbers, which the host computes in Python: there a multiply-add is rounded twice."""


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


@literal_intrinsic
def fetch(typing_context: Any, buffer: Any, first: Any, registers: Any, count: Any) -> Any:
    """Load that many elements from `first` on; the address has to be a multiple of their size, or of 16 bytes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = bfloat16.widened if _halved(buffer) else ir.IRBuilder.extract_element
        places = _places(context, builder, registers, count, arguments[2])
        for address, alignment, own in _pieces(context, builder, buffer, arguments[:2], places):
            vector = builder.load(address, align=alignment)
            for k, place in enumerate(own):
                builder.store(element(builder, vector, ir.IntType(32)(k)), place)
        return context.get_dummy_value()

    return types.void(buffer, first, registers, count), emit


@literal_intrinsic
def store(typing_context: Any, registers: Any, buffer: Any, first: Any, count: Any) -> Any:
    """Store what :func:`fetch` has loaded, in as few pieces."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        places = _places(context, builder, registers, count, arguments[0])
        for address, alignment, own in _pieces(context, builder, buffer, arguments[1:3], places):
            values = [builder.load(place) for place in own]
            vector = ir.Constant(address.type.pointee, ir.Undefined)
            for k, part in enumerate(bfloat16.pairs(builder, values) if _halved(buffer) else values):
                vector = builder.insert_element(vector, part, ir.IntType(32)(k))
            builder.store(vector, address, align=alignment)
        return context.get_dummy_value()

    return types.void(registers, buffer, first, count), emit


@intrinsic
def fetch_one(typing_context: Any, buffer: Any, i: Any) -> Any:
    """Load an element: the float32 whose upper half it is, where it is bfloat16."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_element(context, builder, buffer, *arguments))
        return bfloat16.widened_one(builder, value) if _halved(buffer) else value

    return (types.float32 if _halved(buffer) else buffer.dtype)(buffer, i), emit


@intrinsic
def store_one(typing_context: Any, value: Any, buffer: Any, i: Any) -> Any:
    """Store an element, rounded to the nearest bfloat16 where the buffer is of those."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, *where = arguments
        stored = bfloat16.rounded_one(builder, value) if _halved(buffer) else value
        builder.store(stored, _element(context, builder, buffer, *where))
        return context.get_dummy_value()

    return types.void(value, buffer, i), emit


def _halved(buffer: Any) -> bool:
    """Return whether the buffer is of bfloat16, whose bits are all that the compiler knows of them."""
    return bool(buffer.dtype == types.uint16)


def _element(context: Any, builder: Any, kind: Any, buffer: Any, i: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, buffer).data, [i])


def _places(context: Any, builder: Any, kind: Any, count: Any, registers: Any) -> list[Any]:
    """Return the addresses of that many elements in a thread's own array.

    All are constants, and so the compiler keeps the array in registers.
    """
    data = context.make_array(kind)(context, builder, registers).data
    return [builder.gep(data, [ir.IntType(32)(k)]) for k in range(count.literal_value)]


def _pieces(context: Any, builder: Any, kind: Any, where: Any, places: list[Any]) -> Iterator[tuple[Any, int, Any]]:
    """Yield what an instruction each moves: address of a vector, what it is a multiple of, and its elements' places."""
    buffer, first = where
    part = ir.IntType(32) if _halved(kind) else context.get_value_type(kind.dtype)
    bits = kind.dtype.bitwidth
    count = min(len(places), VECTOR_BYTES * 8 // bits)
    parts = count * bits // (32 if _halved(kind) else bits)
    for begin in range(0, len(places), count):
        element = _element(context, builder, kind, buffer, builder.add(first, first.type(begin)))
        address = builder.bitcast(element, ir.VectorType(part, parts).as_pointer())
        yield address, count * bits // 8, places[begin : begin + count]
