"""Sums of squares in the order, and so with the bits, of the CPU's: see :mod:`fastopt.backends.numba.reductions`.

A block sums a chunk: each of its 64 threads is a lane, and lanes are added pairwise. The chunks are added in order, on
the GPU where the sum is wanted there (:mod:`.limits`), and else on the host, which waits for it anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import shim
from .buffer import DeviceBuffer, array_type
from .shim import cuda, kernel, types
from .words import fetch_one, fma

__all__ = ["CHUNK", "LANES", "SumOfSquares", "chunk_sums", "sum_function", "sum_kernel", "sum_signature"]

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
        x = float64(fetch_one(values, i))
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
    return array_type(dtype), types.Array(types.float64, 1, "C")


@cache
def sum_kernel(dtype: np.dtype[Any]) -> Any:
    """Return the kernel, compiled."""
    return kernel(sum_function, sum_signature(dtype), (LANES,))


def chunk_sums(values: DeviceBuffer, sums: Any) -> Callable[[], None]:
    """Return what writes the sum of squares of each chunk to `sums`, on the stream of the values' owner."""
    compiled, chunks = sum_kernel(values.dtype), sums.size

    def launch() -> None:
        if chunks:
            compiled[chunks, LANES, values.stream()](values.array, sums)

    return launch


class SumOfSquares:
    """Gives Σ x² of a buffer as it is when called, and waits for it."""

    def __init__(self, values: DeviceBuffer) -> None:
        self._values = values
        self._sums = shim.empty(-(-values.size // CHUNK), np.dtype(np.float64))
        self._launch = chunk_sums(values, self._sums)

    def __call__(self) -> float:
        if not self._sums.size:
            return 0.0
        self._launch()
        stream = self._values.stream()
        sums = self._sums.copy_to_host(stream=stream)
        stream.synchronize()
        return float(np.cumsum(sums)[-1])  # one after the other, where np.sum adds in pairs
