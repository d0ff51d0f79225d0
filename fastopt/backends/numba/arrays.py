"""NumPy arrays as compiled code sees them: addresses, and memory that begins at a cache line."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..protocol import Array

__all__ = ["address", "aligned"]

LINE = 64
"""Bytes of a cache line."""


def address(array: Array) -> int:
    """Return where the array's elements lie."""
    return int(array.__array_interface__["data"][0])


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Return zeros that begin at a cache line."""
    spare = LINE // dtype.itemsize
    memory = np.zeros(size + spare, dtype)
    skip = -address(memory) % LINE // dtype.itemsize
    return memory[skip : skip + size]
