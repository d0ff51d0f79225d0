"""How a pass is spread over a GPU, and what is done once so that a step does little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..protocol import Array, Run
from . import shim
from .memory import DeviceBuffer

__all__ = ["BLOCK", "BLOCKS", "VECTOR_BYTES", "bind", "elements_before_vectors"]

BLOCK = 256
"""Threads of a block: eight warps."""

BLOCKS = {"float32": 4, "float64": 3}
"""Blocks that a multiprocessor holds at a time at the least: of its 65,536 registers a thread then gets 64, or 80.

With 64, divisions and roots in float64 would spill.
"""

VECTOR_BYTES = 16
"""The most that one instruction of a thread loads or stores."""


def bind(kernel: Any, block: int, buffers: Sequence[DeviceBuffer], coefficients: Array) -> Run:
    """Return what launches the pass on the stream that the gradient's owner works on then.

    Coefficients are copied to the GPU before each launch, in the same stream. Their own memory is pageable, which CUDA
    copies before it returns: the next step may write its coefficients while this one's pass has not begun.
    """
    p, g, *_ = buffers
    head = elements_before_vectors(buffers)
    width = VECTOR_BYTES // p.dtype.itemsize
    vectors, rest = divmod(p.size - head, width)
    blocks = -(-(head + vectors + rest) // block)
    own = shim.empty(coefficients.size, coefficients.dtype)
    arguments = (*(buffer.array for buffer in buffers), own, np.uint64(head))

    def run(zero_grad: bool) -> None:
        if blocks:
            stream = g.stream()
            own.copy_to_device(coefficients, stream=stream)
            kernel[blocks, block, stream](*arguments, zero_grad)

    return run


def elements_before_vectors(buffers: Sequence[DeviceBuffer]) -> int:
    """Return how many elements lie before the first that is at a vector's boundary in all buffers; all, if none is."""
    size, item_size = buffers[0].size, buffers[0].dtype.itemsize
    distances = {-buffer.address % VECTOR_BYTES // item_size for buffer in buffers}
    return min(size, distances.pop()) if len(distances) == 1 else size
