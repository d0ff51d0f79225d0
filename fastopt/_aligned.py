"""Memory that begins at a cache line: an optimizer's buffers, and what compiled training works in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["aligned_zeros"]

_CACHE_LINE = 64  # bytes


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a 1-D array of zeros that begins at a cache line, so that no vector of it lies across two.

    Examples
    --------
    >>> aligned_zeros(3, np.dtype("float32"))
    array([0., 0., 0.], dtype=float32)
    """
    spare = _CACHE_LINE // dtype.itemsize
    memory = np.zeros(size + spare, dtype)
    skip = -memory.ctypes.data % _CACHE_LINE // dtype.itemsize
    return memory[skip : skip + size]
