"""Explicit vector code for the bodies of intrinsics: loads, stores and multiply-adds of one shape, and loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

__all__ = ["Vectors", "loop", "vector_bytes"]

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


@cache
def vector_bytes() -> int:
    """Return the size of the widest vectors of this machine."""
    features: dict[str, bool] = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


class Vectors:
    """Writes vector instructions of one shape."""

    def __init__(self, builder: Any, element: Any, lanes: int) -> None:
        self.builder, self.element, self.lanes = builder, element, lanes
        self.kind = ir.VectorType(element, lanes)
        self.mask_kind = ir.VectorType(ir.IntType(1), lanes)
        self.bytes = 4 if isinstance(element, ir.FloatType) else 8
        self.suffix = f"v{lanes}f{8 * self.bytes}"
        self.zero = self.constant(0.0)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.kind, [ir.Constant(self.element, value)] * self.lanes)

    def at(self, pointer: Any, index: Any) -> Any:
        return self.builder.gep(pointer, [index])

    def number(self, value: int) -> Any:
        return ir.Constant(_INT64, value)

    def load(self, pointer: Any, mask: Any = None) -> Any:
        place = self.builder.bitcast(pointer, self.kind.as_pointer())
        if mask is None:
            value = self.builder.load(place)
            value.align = self.bytes
            return value
        kind = ir.FunctionType(self.kind, [place.type, _INT32, self.mask_kind, self.kind])
        function = self._declare(f"llvm.masked.load.{self.suffix}.p0", kind)
        return self.builder.call(function, [place, ir.Constant(_INT32, self.bytes), mask, self.zero])

    def store(self, value: Any, pointer: Any, mask: Any = None) -> None:
        place = self.builder.bitcast(pointer, self.kind.as_pointer())
        if mask is None:
            self.builder.store(value, place).align = self.bytes
            return
        kind = ir.FunctionType(ir.VoidType(), [self.kind, place.type, _INT32, self.mask_kind])
        function = self._declare(f"llvm.masked.store.{self.suffix}.p0", kind)
        self.builder.call(function, [value, place, ir.Constant(_INT32, self.bytes), mask])

    def _declare(self, name: str, kind: Any) -> Any:
        known = self.builder.module.globals.get(name)
        return known if known is not None else ir.Function(self.builder.module, kind, name)

    def spread(self, value: Any, kind: Any = None) -> Any:
        kind = kind or self.kind
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_INT32, 0))
        zeros = ir.Constant(ir.VectorType(_INT32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

    def first(self, count: Any) -> Any:
        """Return the mask of the first `count` lanes."""
        kind = ir.VectorType(_INT64, self.lanes)
        return self.builder.icmp_signed("<", ir.Constant(kind, list(range(self.lanes))), self.spread(count, kind))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        function = self._declare(f"llvm.fma.{self.suffix}", ir.FunctionType(self.kind, [self.kind] * 3))
        return self.builder.call(function, [a, b, c])

    def masks(self, vectors: int, masked: bool, columns: Any) -> list[Any]:
        """Return the mask of each vector of a row of `columns` numbers; None for each when the row is full."""
        if not masked:
            return [None] * vectors
        return [self.first(self.builder.sub(columns, self.number(v * self.lanes))) for v in range(vectors)]


def loop(
    builder: Any, count: Any, carried: Sequence[Any], body: Callable[[Any, Sequence[Any]], Sequence[Any]]
) -> list[Any]:
    """Run the body with index 0, 1, ... count - 1 (at least once); it maps the carried values to the next ones."""
    before = builder.block
    inside, behind = builder.append_basic_block(), builder.append_basic_block()
    builder.branch(inside)
    builder.position_at_end(inside)
    index = builder.phi(_INT64)
    index.add_incoming(ir.Constant(_INT64, 0), before)
    values = []
    for value in carried:
        values.append(builder.phi(value.type))
        values[-1].add_incoming(value, before)
    results = list(body(index, values))
    following = builder.add(index, ir.Constant(_INT64, 1))
    index.add_incoming(following, builder.block)
    for value, result in zip(values, results, strict=True):
        value.add_incoming(result, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), inside, behind)
    builder.position_at_end(behind)
    return results
