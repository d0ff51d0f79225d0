"""Products of whole matrices: the forward pass of a layer without bias or activation, by rows on all threads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..._aligned import aligned_zeros
from ..protocol import Array, MatMul
from ..threads import is_forked_child
from .arrays import address
from .decorators import kernel
from .digest import digest_of
from .engine import parts
from .launch import parallel_threads
from .layers import PACKED_DEPTH, TRANSPOSED
from .memory import call_part
from .steps import Call
from .vectors import vector_bytes

__all__ = ["make_matmul"]

PARALLEL_FROM = 60_000
"""Multiply-adds from which two threads are faster than one."""

BLOCK = 8
"""Rows that a block of the product has; a thread's share is a multiple of it."""


@kernel(digest=digest_of(call_part.__module__)[:12], parallel=True)
def _multiply(code, a, places, w, depth, stride, kind, zeros, out, rows, columns, copies, copy, size, share):  # type: ignore[no-untyped-def]
    for thread in prange((rows + share - 1) // share):
        top = thread * share
        count = min(share, rows - top)
        target = out + size * columns * top
        own = copies + size * copy * thread
        part = places + 8 * top
        call_part(code, a, part, w, depth, stride, kind, zeros, target, columns, count, 0, columns, own)


def make_matmul(dtype: np.dtype[Any], threads: int) -> MatMul:
    """Return what multiplies matrices of that dtype.

    Each element is one chain of multiply-adds in the order of the depth, beginning with zero: so its bits do not depend
    on the number of threads, and are those of the C backend.
    """
    code = parts(dtype)[Call.RUN_FORWARD]
    panel = 2 * vector_bytes() // dtype.itemsize

    def matmul(a: Array, b: Array) -> Array:
        a = np.ascontiguousarray(a, dtype)
        transposed = not b.flags.c_contiguous and b.T.flags.c_contiguous
        w = b.T if transposed else np.ascontiguousarray(b, dtype)
        (rows, depth), columns = a.shape, b.shape[1]
        count = 1 if is_forked_child() or rows * depth * columns < PARALLEL_FROM else min(threads, parallel_threads())
        share = (rows + count * BLOCK - 1) // (count * BLOCK) * BLOCK
        places, zeros = np.arange(rows) * depth, aligned_zeros(max(columns, panel), dtype)
        room = PACKED_DEPTH * panel
        copies, out = aligned_zeros(count * room, dtype), np.empty((rows, columns), dtype)
        kind, stride = (TRANSPOSED, depth) if transposed else (0, columns)
        arrays = (address(array) for array in (a, places, w))
        _multiply(
            code.address, *arrays, depth, stride, kind, address(zeros), address(out), rows, columns,
            address(copies), room, dtype.itemsize, share,
        )  # fmt: skip
        return out

    return matmul
