"""Sums whose bits depend on the values and their number alone, not on threads or vector widths.

The values are cut into chunks of a fixed size. In a chunk, element i belongs to lane i mod 64; each lane is summed in
order, then the lanes are added pairwise; then the chunks in order. ``csrc/reductions.inc`` does the same operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from .decorators import inlined, kernel
from .intrinsics import fma

__all__ = ["CHUNK", "LANES", "sum_of_squares", "sum_of_squares_chunks"]

CHUNK = 16_384
LANES = 64


@inlined
def _chunk(values: Any, lanes: Any) -> Any:
    lanes[:] = 0.0
    whole = values.size // LANES * LANES
    for start in range(0, whole, LANES):
        row = values[start : start + LANES]
        for lane in range(LANES):
            x = np.float64(row[lane])
            lanes[lane] = fma(x, x, lanes[lane])
    rest = values[whole:]
    for lane in range(rest.size):
        x = np.float64(rest[lane])
        lanes[lane] = fma(x, x, lanes[lane])
    width = LANES // 2
    while width:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2
    return lanes[0]


@kernel
def sum_of_squares_chunks(values: Any, partial: Any, first: Any, last: Any) -> None:
    lanes = np.empty(LANES, np.float64)
    for chunk in range(first, last):
        partial[chunk] = _chunk(values[chunk * CHUNK : (chunk + 1) * CHUNK], lanes)


@kernel
def _in_order(partial: Any) -> Any:
    total = 0.0
    for chunk in range(partial.size):
        total += partial[chunk]
    return total


@kernel(parallel=True)
def _parallel(values: Any, partial: Any, threads: Any) -> None:
    for thread in prange(threads):
        sum_of_squares_chunks(values, partial, thread * partial.size // threads, (thread + 1) * partial.size // threads)


def sum_of_squares(values: Any, threads: int) -> float:
    """Return Σ x² in float64."""
    partial = np.empty(-(-values.size // CHUNK))
    if threads > 1:
        _parallel(values, partial, threads)
    else:
        sum_of_squares_chunks(values, partial, 0, partial.size)
    return float(_in_order(partial))
