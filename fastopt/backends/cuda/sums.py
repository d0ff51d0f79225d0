"""Sums of a training step, added in an order that shapes alone give: a layer's bias gradients, and a batch's losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import shim
from .shim import cuda, from_dtype, types
from .words import strict_arithmetic

__all__ = [
    "COLUMNS",
    "COLUMN_BLOCK",
    "LANES",
    "close_function",
    "close_kernel",
    "close_signature",
    "column_function",
    "column_kernel",
    "column_signature",
]

COLUMNS = 32
"""Columns that a block sums: neighbours, so that a warp reads them in one piece."""

COLUMN_BLOCK = 256
"""Threads of that block: eight for each column, each of which sums every eighth row."""

LANES = 128
"""Threads of the block that sums a batch's losses, each every 128th."""

_COLUMNS, _HALF, _APART = np.uint64(COLUMNS), np.uint64(COLUMN_BLOCK // 2), np.uint64(COLUMN_BLOCK // COLUMNS)
_LANES, _HALF_LANES, _NONE, _ONE = np.uint64(LANES), np.uint64(LANES // 2), np.uint64(0), np.uint64(1)
uint64, float64, int64 = np.uint64, np.float64, np.int64


def column_function(dtype: np.dtype[Any]) -> Callable[..., Any]:
    """Return the kernel that writes Σᵢ d[i, j] for each column j."""
    real, zero = from_dtype(dtype), dtype.type(0)

    def column_sums(d, rows, columns, out):  # type: ignore[no-untyped-def]
        strict_arithmetic()
        parts = cuda.shared.array(COLUMN_BLOCK, real)
        thread = uint64(cuda.threadIdx.x)
        column = uint64(cuda.blockIdx.x) * _COLUMNS + thread % _COLUMNS
        total = zero
        if column < columns:
            i = thread // _COLUMNS
            while i < rows:
                total += d[i * columns + column]
                i += _APART
        parts[thread] = total
        width = _HALF
        while width >= _COLUMNS:
            cuda.syncthreads()
            if thread < width:
                parts[thread] += parts[thread + width]
            width >>= _ONE
        if thread < _COLUMNS and column < columns:
            out[column] = parts[thread]

    return column_sums


def column_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    array = types.Array(from_dtype(dtype), 1, "C")
    return array, types.uint64, types.uint64, array


@cache
def column_kernel(dtype: np.dtype[Any]) -> Any:
    """Return the kernel, compiled."""
    return shim.kernel(column_function(dtype), column_signature(dtype), (COLUMN_BLOCK,))


def close_function(losses, right, count, loss_sums, right_sums, table, coefficients, position):  # type: ignore[no-untyped-def]
    """Add up a batch's losses and what is right, lay out the coefficients of its update, and go on to the next batch.

    One block. What runs before it in a step reads `position`, what runs behind it reads `coefficients`: so a step asks
    nothing of the host.
    """
    loss_lanes = cuda.shared.array(LANES, types.float64)
    right_lanes = cuda.shared.array(LANES, types.int64)
    lane = uint64(cuda.threadIdx.x)
    step = uint64(position[0])
    total, hits = float64(0), int64(0)
    i = lane
    while i < count:
        total += losses[i]
        hits += right[i]
        i += _LANES
    loss_lanes[lane], right_lanes[lane] = total, hits
    size = uint64(coefficients.size)
    k = lane
    while k < size:
        coefficients[k] = table[step * size + k]
        k += _LANES
    width = _HALF_LANES
    while width > _NONE:
        cuda.syncthreads()
        if lane < width:
            loss_lanes[lane] += loss_lanes[lane + width]
            right_lanes[lane] += right_lanes[lane + width]
        width >>= _ONE
    if lane == _NONE:
        loss_sums[step], right_sums[step] = loss_lanes[_NONE], right_lanes[_NONE]
        position[0] = int64(step + _ONE)


def close_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    values = types.Array(from_dtype(dtype), 1, "C")
    losses, integers = types.Array(types.float64, 1, "C"), types.Array(types.int64, 1, "C")
    return losses, integers, types.uint64, losses, integers, values, values, integers


@cache
def close_kernel(dtype: np.dtype[Any]) -> Any:
    """Return the kernel, compiled."""
    return shim.kernel(close_function, close_signature(dtype), (LANES,))
