"""Sums whose bits depend on the values and their number alone, not on threads or vector widths.

The values are cut into chunks of a fixed size. In a chunk, element i belongs to lane i mod 64; each lane is summed in
order, then the lanes are added pairwise; then the chunks in order. ``csrc/reductions.inc`` does the same operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import from_dtype

from . import decorators, intrinsics, memory, vectors
from .decorators import inlined, kernel
from .digest import digest_of
from .intrinsics import fma
from .memory import shifted
from .part import part
from .vectors import Vectors, loop, vector_bytes

__all__ = ["CHUNK", "LANES", "compiled_sum", "in_order"]

CHUNK = 16_384
LANES = 64


@intrinsic
def _sum_rows(typing_context: Any, values: Any, rows: Any, lanes: Any) -> Any:
    """Write lanes[j] = Σ values[i, j]², summed by ascending i, for that many rows (one at least) of 64 values."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values_, rows_, lanes_ = arguments
        width = vector_bytes() // 8
        doubles = Vectors(builder, ir.DoubleType(), width)
        own = Vectors(builder, context.get_value_type(values.dtype), width)
        places = [own.number(n) for n in range(0, LANES, width)]

        def add(i: Any, sums: Sequence[Any]) -> Sequence[Any]:
            row = own.at(values_, builder.mul(i, own.number(LANES)))
            numbers = [own.load(own.at(row, place)) for place in places]
            if own.bytes == 4:
                numbers = [builder.fpext(number, doubles.kind) for number in numbers]
            return [doubles.fma(x, x, total) for x, total in zip(numbers, sums, strict=True)]

        for place, total in zip(places, loop(builder, rows_, [doubles.zero] * len(places), add), strict=True):
            doubles.store(total, doubles.at(lanes_, place))
        return context.get_dummy_value()

    return types.void(values, types.int64, types.CPointer(types.float64)), emit


@inlined
def _chunk(values, count, lanes):  # type: ignore[no-untyped-def]
    rows = count // LANES
    if rows:
        _sum_rows(values, rows, lanes)
    else:
        for lane in range(LANES):
            lanes[lane] = 0.0
    for i in range(rows * LANES, count):
        x = np.float64(values[i])
        lanes[i - rows * LANES] = fma(x, x, lanes[i - rows * LANES])
    width = LANES // 2
    while width:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2


def _sum(table, start, size, values, results, flag):  # type: ignore[no-untyped-def]
    for first in range(0, size, CHUNK):
        lanes = shifted(results, (start + first) // CHUNK * LANES)
        _chunk(shifted(values, first), min(CHUNK, size - first), lanes)


@cache
def compiled_sum(dtype: np.dtype[Any]) -> Any:
    """Return what sums chunks, each in 64 numbers of its own of which the first is the result.

    It is called as a rule's pass is, the results in the coefficients' place, and launched as one.
    """
    sources = [module.__name__ for module in (decorators, intrinsics, memory, vectors)]
    n, values, results = types.int64, types.CPointer(from_dtype(dtype)), types.CPointer(types.float64)
    return part(
        _sum, types.CPointer(n), n, n, values, results, n, digest=digest_of(*sources, part.__module__, __name__)[:12]
    )


@kernel
def in_order(lanes: Any) -> Any:
    """Return the sum of the chunks, added in order."""
    total = 0.0
    for chunk in range(lanes.shape[0]):
        total += lanes[chunk, 0]
    return total
