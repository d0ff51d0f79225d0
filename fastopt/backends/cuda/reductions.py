"""Sums of squares in the order, and so with the bits, of the CPU's: see :mod:`fastopt.backends.numba.reductions`.

A block sums a chunk: each of its 64 threads is a lane, and lanes are added pairwise. The chunks are added in order on
the host, which waits for the sum anyway.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from . import shim
from .memory import DeviceBuffer
from .shim import cuda, from_dtype, kernel, types
from .words import fma

__all__ = ["CHUNK", "LANES", "SumOfSquares", "sum_function", "sum_signature"]

CHUNK = 16_384
LANES = 64

_CHUNK, _LANES, _HALF, _NONE = np.uint64(CHUNK), np.uint64(LANES), np.uint64(LANES // 2), np.uint64(0)
uint64, float64 = np.uint64, np.float64


def sum_function(values, sums):  # type: ignore[no-untyped-def]
    """Write the sum of squares of each chunk."""
    lanes = cuda.shared.array(LANES, types.float64)
    lane = uint64(cuda.threadIdx.x)
    i = uint64(cuda.blockIdx.x) * _CHUNK
    stop = min(i + _CHUNK, uint64(values.size))
    i += lane
    total = float64(0)
    while i < stop:
        x = float64(values[i])
        total = fma(x, x, total)  # type: ignore[assignment]
        i += _LANES
    lanes[lane] = total
    width = _HALF
    while width > _NONE:
        cuda.syncthreads()
        if lane < width:
            lanes[lane] += lanes[lane + width]
        width >>= uint64(1)
    if lane == _NONE:
        sums[cuda.blockIdx.x] = lanes[_NONE]


def sum_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return types.Array(from_dtype(dtype), 1, "C"), types.Array(types.float64, 1, "C")


@cache
def _compiled(dtype: np.dtype[Any]) -> Any:
    return kernel(sum_function, sum_signature(dtype), (LANES,))


class SumOfSquares:
    """Gives Σ x² of a buffer as it is when called, and waits for it."""

    def __init__(self, values: DeviceBuffer) -> None:
        self._values = values
        self._chunks = -(-values.size // CHUNK)
        self._sums = shim.empty(self._chunks, np.dtype(np.float64))
        self._kernel = _compiled(values.dtype)

    def __call__(self) -> float:
        if not self._chunks:
            return 0.0
        stream = self._values.stream()
        self._kernel[self._chunks, LANES, stream](self._values.array, self._sums)
        sums = self._sums.copy_to_host(stream=stream)
        stream.synchronize()
        return float(np.cumsum(sums)[-1])  # one after the other, where np.sum adds in pairs
