"""What a GPU's memory moves at best: kernels that load vectors and store them, in float32.

They are launched as passes are, so that what a pass loses against them is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from .launch import BLOCK, VECTOR_BYTES
from .shim import cuda, kernel, types
from .words import fetch, fma, store

__all__ = ["MOVEMENTS", "WIDTH", "bind_movement", "copy_function", "movement_signature", "triad_function"]

MOVEMENTS = {"memcpy": 2, "copy": 2, "triad": 3}
"""Name to buffers: the driver's copy, a kernel's copy, a = b + s·c."""

WIDTH = VECTOR_BYTES // 4
"""Elements of a vector; sizes are multiples of it."""

_WIDTH, _TWO = np.uint64(WIDTH), np.float32(2)
uint64 = np.uint64


def copy_function(a, b):  # type: ignore[no-untyped-def]
    """a = b."""
    first = (uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)) * _WIDTH
    if first < uint64(a.size):
        vector = cuda.local.array(WIDTH, types.float32)
        fetch(b, first, vector, WIDTH)
        store(vector, a, first, WIDTH)


def triad_function(a, b, c):  # type: ignore[no-untyped-def]
    """a = b + 2c."""
    first = (uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)) * _WIDTH
    if first < uint64(a.size):
        b_vector = cuda.local.array(WIDTH, types.float32)
        c_vector = cuda.local.array(WIDTH, types.float32)
        fetch(b, first, b_vector, WIDTH)
        fetch(c, first, c_vector, WIDTH)
        for k in range(WIDTH):
            b_vector[k] = fma(_TWO, c_vector[k], b_vector[k])
        store(b_vector, a, first, WIDTH)


def movement_signature(buffers: int) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return (types.Array(types.float32, 1, "C"),) * buffers


@cache
def _compiled(name: str) -> Any:
    function = {"copy": copy_function, "triad": triad_function}[name]
    return kernel(function, movement_signature(MOVEMENTS[name]), (BLOCK,))


def bind_movement(name: str, buffers: tuple[Any, ...]) -> Callable[[], None]:
    """Return what moves the later buffers into the first, on the default stream."""
    arrays = tuple(buffer.array for buffer in buffers)
    stream = buffers[0].stream()
    if name == "memcpy":
        target, source = arrays
        return lambda: target.copy_to_device(source, stream=stream)
    compiled, blocks = _compiled(name), -(-buffers[0].size // (WIDTH * BLOCK))
    return lambda: compiled[blocks, BLOCK, stream](*arrays)
