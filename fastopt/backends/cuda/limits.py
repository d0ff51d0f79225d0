"""Limits of norms, computed where the gradient is: nobody waits for a sum to travel to the host and a factor back.

The operations are those of :mod:`fastopt.clipping`, in float64 and in the same order, and so are the bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from . import shim
from .buffer import DeviceBuffer, array_type
from .coefficients import Coefficients
from .reductions import CHUNK, chunk_sums, sum_kernel
from .shim import cuda, inlined, kernel, types
from .words import strict_arithmetic

__all__ = ["TILE", "NormLimits", "limit_function", "limit_signature"]

TILE = 256
"""Sums that the threads of the one block load at a time, for one of them to add in order."""

_TILE, _NONE, _ONE = np.uint64(TILE), np.uint64(0), np.uint64(1)
uint64 = np.uint64


@inlined
def clip_factor(norm, limit):  # type: ignore[no-untyped-def]
    """Return what :func:`fastopt.clipping.clip_factor` does; a limit of 0 is none."""
    factor = 1.0
    if limit > 0.0:
        factor = limit / (norm + 1e-6)
        if factor > 1.0:
            factor = 1.0
    return factor


def limit_function(sums, ends, factors, limits, coefficients, columns):  # type: ignore[no-untyped-def]
    """Add each span's sums, up to the one at its end, and write its factor on the gradient to its coefficients."""
    strict_arithmetic()
    tile = cuda.shared.array(TILE, types.float64)
    thread = uint64(cuda.threadIdx.x)
    grad_scale, max_norm, max_segment_norm = limits[0], limits[1], limits[2]
    first = _NONE
    squares = 0.0
    for span in range(ends.size):
        end = ends[span]
        total = 0.0
        while first < end:
            stop = min(first + _TILE, end)
            if first + thread < stop:
                tile[thread] = sums[first + thread]
            cuda.syncthreads()
            if thread == _NONE:
                k = _NONE
                while k < stop - first:
                    total += tile[k]
                    k += _ONE
            cuda.syncthreads()
            first = stop
        if thread == _NONE:
            norm = abs(grad_scale) * math.sqrt(total)
            factor = clip_factor(norm, max_segment_norm)
            limited = norm * factor
            squares += limited * limited
            factors[span] = factor
    if thread == _NONE:
        everything = clip_factor(math.sqrt(squares), max_norm)
        for span in range(ends.size):
            coefficients[uint64(span) * columns] = grad_scale * (factors[span] * everything)


def limit_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments, for coefficients of that dtype."""
    numbers = types.Array(types.float64, 1, "C")
    return numbers, types.Array(types.uint64, 1, "C"), numbers, numbers, array_type(dtype), types.uint64


@cache
def _compiled(dtype: np.dtype[Any]) -> Any:
    return kernel(limit_function, limit_signature(dtype), (TILE,))


class NormLimits:
    """Writes to the coefficients of spans of a gradient what limits their norms.

    Parameters
    ----------
    sizes
        Number of elements of each span.
    dtype
        Of the gradients.
    coefficients
        Of the spans; their first column is written to, by the limits that were sent with them.
    """

    def __init__(self, sizes: Sequence[int], dtype: np.dtype[Any], coefficients: Coefficients) -> None:
        sum_kernel(dtype)  # a first bind may come while a graph is captured, where nothing can be loaded
        ends = np.cumsum([0, *(-(-size // CHUNK) for size in sizes)])
        self._bounds = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
        self._sums = shim.empty(int(ends[-1]), np.dtype(np.float64))
        factors = shim.empty(len(sizes), np.dtype(np.float64))
        own = shim.copied(ends[1:].astype(np.uint64))
        table, limits = coefficients.table, coefficients.limits
        columns = np.uint64(table.size // max(1, len(sizes)))
        self._kernel = _compiled(table.dtype)
        self._arguments = (self._sums, own, factors, limits.array, table.array, columns)

    def bind(self, gradients: Sequence[DeviceBuffer]) -> Callable[[], None]:
        """Return what launches it for the spans of a gradient, on the stream of its owner."""
        sums = [
            chunk_sums(values, self._sums[start:stop])
            for values, (start, stop) in zip(gradients, self._bounds, strict=True)
        ]

        def launch() -> None:
            for add in sums:
                add()
            self._kernel[1, TILE, gradients[0].stream()](*self._arguments)

        return launch
