"""The rows of a batch, brought together by their numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from . import shim
from .shim import cuda, from_dtype, types

__all__ = ["BLOCK", "gather_function", "gather_kernel", "gather_signature"]

BLOCK = 256
"""The most threads of a block."""

uint64 = np.uint64


def gather_function(inputs, rows, position, batch, columns, out):  # type: ignore[no-untyped-def]
    """Copy the rows of the batch that `position` says: a row for each x of the grid, its columns along y."""
    j = uint64(cuda.blockIdx.y) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    if j < columns:
        i = uint64(cuda.blockIdx.x)
        row = uint64(rows[uint64(position[0]) * batch + i])
        out[i * columns + j] = inputs[row * columns + j]


def gather_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    values, integers = types.Array(from_dtype(dtype), 1, "C"), types.Array(types.int64, 1, "C")
    return values, integers, integers, types.uint64, types.uint64, values


@cache
def gather_kernel(dtype: np.dtype[Any]) -> Any:
    """Return the kernel, compiled."""
    return shim.kernel(gather_function, gather_signature(dtype), (BLOCK,))
