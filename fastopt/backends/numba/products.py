"""The products of a training step, a block at a time in registers, as explicit vector code.

Each sum is one chain of multiply-adds in a stated order, so a block's size is a matter of speed alone. LLVM would not
find these loops by itself: it neither keeps the sums in registers nor uses vectors of 512 bits unasked.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .vectors import Vectors, loop, vector_bytes

__all__ = [
    "copy_panel",
    "forward_block",
    "gradient_block",
    "lanes_of",
    "most_rows",
]

_INT64 = ir.IntType(64)


@cache
def _most_rows() -> int:
    """Return how many rows of two vectors of sums leave registers for the factors: of 32, or of 16."""
    return 8 if vector_bytes() == 64 or platform.machine().lower() in ("aarch64", "arm64") else 4


def _lanes(pointer: Any) -> int:
    return vector_bytes() // (pointer.dtype.bitwidth // 8)


@intrinsic
def lanes_of(typing_context: Any, pointer: Any) -> Any:
    """Return the lanes of one vector of the pointer's dtype."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_INT64, _lanes(pointer))

    return types.int64(pointer), emit


@intrinsic
def most_rows(typing_context: Any) -> Any:
    """Return the rows of the highest block."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(_INT64, _most_rows())

    return types.int64(), emit


def _literal(*values: Any) -> bool:
    return all(isinstance(value, types.Literal) for value in values)


@intrinsic(prefer_literal=True)
def forward_block(
    typing_context: Any,
    rows: Any,
    vectors: Any,
    masked: Any,
    a: Any,
    places: Any,
    w: Any,
    stride: Any,
    depth: Any,
    start: Any,
    start_stride: Any,
    out: Any,
    out_stride: Any,
    columns: Any,
) -> Any:
    """Write out[i, j] = start[i, j] + Σ a[places[i] + k] · w[k, j], summed by ascending k.

    `rows`, `vectors` and `masked` are literals: the block has that many rows, and that many vectors of columns, of
    which with `masked` only `columns` numbers are there.
    """
    if not _literal(rows, vectors, masked):
        return None
    n_rows, n_vectors, is_masked = rows.literal_value, vectors.literal_value, bool(masked.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a_, places_, w_, stride_, depth_, start_, start_stride_, out_, out_stride_, columns_ = arguments[3:]
        v = Vectors(builder, context.get_value_type(w.dtype), _lanes(w))
        masks = v.masks(n_vectors, is_masked, columns_)
        steps = [v.number(n * v.lanes) for n in range(n_vectors)]
        sums = []
        for row in range(n_rows):
            place = v.at(start_, builder.mul(start_stride_, v.number(row)))
            sums += [v.load(v.at(place, step), mask) for step, mask in zip(steps, masks, strict=True)]
        inputs = [v.at(a_, builder.load(v.at(places_, v.number(row)))) for row in range(n_rows)]

        def multiply(k: Any, carried: Sequence[Any]) -> Sequence[Any]:
            line, *sums = carried
            weights = [v.load(v.at(line, step), mask) for step, mask in zip(steps, masks, strict=True)]
            for row, source in enumerate(inputs):
                x = v.spread(builder.load(v.at(source, k)))
                for n, weight in enumerate(weights):
                    sums[row * n_vectors + n] = v.fma(x, weight, sums[row * n_vectors + n])
            return [v.at(line, stride_), *sums]

        _, *sums = loop(builder, depth_, [w_, *sums], multiply)
        for row in range(n_rows):
            place = v.at(out_, builder.mul(out_stride_, v.number(row)))
            for n, (step, mask) in enumerate(zip(steps, masks, strict=True)):
                v.store(sums[row * n_vectors + n], v.at(place, step), mask)
        return context.get_dummy_value()

    integer = types.int64
    outer = (rows, vectors, masked, a, places, w, integer, integer, start, integer, out, integer, integer)
    return types.void(*outer), emit


@intrinsic(prefer_literal=True)
def gradient_block(
    typing_context: Any,
    rows: Any,
    vectors: Any,
    masked: Any,
    a: Any,
    places: Any,
    d: Any,
    d_stride: Any,
    batch: Any,
    out: Any,
    out_stride: Any,
    columns: Any,
    onto: Any,
) -> Any:
    """Write out[q, j] = Σ a[places[i] + q] · d[i, j], summed by ascending i from +0, or `onto` what out holds.

    The literals are those of :func:`forward_block`; here the masked columns are not written, d is read beyond them.
    """
    if not _literal(rows, vectors, masked):
        return None
    n_rows, n_vectors, is_masked = rows.literal_value, vectors.literal_value, bool(masked.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a_, places_, d_, d_stride_, batch_, out_, out_stride_, columns_, onto_ = arguments[3:]
        v = Vectors(builder, context.get_value_type(d.dtype), _lanes(d))
        masks = v.masks(n_vectors, is_masked, columns_)
        steps = [v.number(n * v.lanes) for n in range(n_vectors)]

        def multiply(i: Any, carried: Sequence[Any]) -> Sequence[Any]:
            line, *sums = carried
            deltas = [v.load(v.at(line, step)) for step in steps]
            source = v.at(a_, builder.load(v.at(places_, i)))
            for row in range(n_rows):
                x = v.spread(builder.load(v.at(source, v.number(row))))
                for n, delta in enumerate(deltas):
                    sums[row * n_vectors + n] = v.fma(x, delta, sums[row * n_vectors + n])
            return [v.at(line, d_stride_), *sums]

        lines = [v.at(out_, builder.mul(out_stride_, v.number(row))) for row in range(n_rows)]
        places = [(v.at(line, step), mask) for line in lines for step, mask in zip(steps, masks, strict=True)]
        before = builder.block
        with builder.if_then(builder.icmp_signed("!=", onto_, v.number(0))):
            held = [v.load(place, mask) for place, mask in places]
            last = builder.block
        sums = [builder.phi(v.kind) for _ in places]
        for phi, value in zip(sums, held, strict=True):
            phi.add_incoming(v.zero, before)
            phi.add_incoming(value, last)
        _, *sums = loop(builder, batch_, [d_, *sums], multiply)
        for value, (place, mask) in zip(sums, places, strict=True):
            v.store(value, place, mask)
        return context.get_dummy_value()

    integer = types.int64
    outer = (rows, vectors, masked, a, places, d, integer, integer, out, integer, integer, integer)
    return types.void(*outer), emit


@intrinsic(prefer_literal=True)
def copy_panel(
    typing_context: Any, vectors: Any, masked: Any, w: Any, stride: Any, depth: Any, columns: Any, out: Any
) -> Any:
    """Copy w[k, :columns] of all k to rows that follow each other, filled up with zeros to whole vectors."""
    if not _literal(vectors, masked):
        return None
    n_vectors, is_masked = vectors.literal_value, bool(masked.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        w_, stride_, depth_, columns_, out_ = arguments[2:]
        v = Vectors(builder, context.get_value_type(w.dtype), _lanes(w))
        masks = v.masks(n_vectors, is_masked, columns_)
        steps = [v.number(n * v.lanes) for n in range(n_vectors)]

        def copy(k: Any, carried: Sequence[Any]) -> Sequence[Any]:
            line, place = carried
            for step, mask in zip(steps, masks, strict=True):
                v.store(v.load(v.at(line, step), mask), v.at(place, step))
            return [v.at(line, stride_), v.at(place, v.number(n_vectors * v.lanes))]

        loop(builder, depth_, [w_, out_], copy)
        return context.get_dummy_value()

    return types.void(vectors, masked, w, types.int64, types.int64, types.int64, out), emit
