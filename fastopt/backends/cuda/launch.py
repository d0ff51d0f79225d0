"""How a pass is spread over a GPU, and what is done once so that a step does little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._constants import LANES, chunk_count
from ..protocol import Run
from .buffer import DeviceBuffer

__all__ = [
    "BLOCK",
    "BLOCKS",
    "MOST_BUFFERS",
    "VECTOR_BYTES",
    "bind",
    "bind_sums",
    "elements_a_thread",
    "elements_before_vectors",
    "launch_bounds",
]

BLOCK = 256
"""Threads of a block: eight warps."""

BLOCKS = {"float32": 4, "bfloat16": 4, "float64": 3}
"""Blocks that a multiprocessor holds at a time at the least: of its 65,536 registers a thread then gets 64, or 80.

With 64, divisions and roots in float64 would spill.
"""

MOST_BUFFERS = 5
"""Buffers of a sweep up to which that many registers are enough; one with more gets those of a block fewer."""

VECTOR_BYTES = 16
"""The most that one instruction of a thread loads or stores."""


def elements_a_thread(real: np.dtype[Any]) -> int:
    """Return how many elements of a pass a thread has that computes in that dtype: one vector."""
    return VECTOR_BYTES // real.itemsize


def launch_bounds(dtype: np.dtype[Any], real: np.dtype[Any], elements: int, buffers: int) -> tuple[int, int]:
    """Return a block's threads, and how many blocks a multiprocessor holds at the least: fewer of more registers."""
    blocks = BLOCKS[dtype.name] - (buffers > MOST_BUFFERS)
    return BLOCK, max(1, blocks // max(1, elements // elements_a_thread(real)))


def bind(
    kernel: Any, block: int, elements: int, buffers: Sequence[DeviceBuffer], numbers: DeviceBuffer, owned: DeviceBuffer
) -> Run:
    """Return what launches a pass, of so many elements a thread, where the owner of a buffer works then."""
    head = elements_before_vectors(buffers, elements)
    vectors, rest = divmod(buffers[0].size - head, elements)
    blocks = -(-(head + vectors + rest) // block)
    arguments = (*(buffer.array for buffer in buffers), numbers.array, np.uint64(head))

    def run(zero_grad: bool) -> None:
        if blocks:
            kernel[blocks, block, owned.stream()](*arguments, zero_grad)

    return run


def bind_sums(
    kernel: Any, buffers: Sequence[DeviceBuffer], numbers: DeviceBuffer, sums: DeviceBuffer, owned: DeviceBuffer
) -> Run:
    """Return what launches a pass with sums, of a block for each chunk."""
    chunks = chunk_count(buffers[0].size)
    arguments = (*(buffer.array for buffer in buffers), numbers.array, sums.array)

    def run(zero_grad: bool) -> None:
        if chunks:
            kernel[chunks, LANES, owned.stream()](*arguments, zero_grad)

    return run


def elements_before_vectors(buffers: Sequence[DeviceBuffer], width: int) -> int:
    """Return how many elements lie before the first that is at a vector's boundary in all buffers; all, if none is."""
    size = buffers[0].size
    item_sizes = [buffer.dtype.itemsize for buffer in buffers]
    distances = {
        -buffer.address % min(VECTOR_BYTES, width * item_size) // item_size
        for buffer, item_size in zip(buffers, item_sizes, strict=True)
    }
    return min(size, distances.pop()) if len(distances) == 1 else size
