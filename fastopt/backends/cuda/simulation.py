"""What stands for :mod:`.intrinsics` in the simulator, which calls kernels as Python functions.

Arithmetic is Python's: a multiply-add is rounded twice, and denormals are numbers. So the simulator shows that a kernel
reads and writes what it should, within rounding; the bits are a matter of the instructions that are compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...rules.vocabulary import fma

__all__ = ["fetch", "fetch_one", "fma", "same_dtype", "store", "store_one", "strict_arithmetic"]


def fetch(buffer: Any, first: Any, registers: Any) -> None:
    """Load a vector of elements."""
    for k in range(len(registers)):
        registers[k] = fetch_one(buffer, int(first) + k)


def store(registers: Any, buffer: Any, first: Any) -> None:
    """Store a vector of elements."""
    for k in range(len(registers)):
        store_one(registers[k], buffer, int(first) + k)


def fetch_one(buffer: Any, i: Any) -> Any:
    """Load an element: the float32 whose upper half it is, where it is bfloat16."""
    value = buffer[i]
    return np.uint32(int(value) << 16).view(np.float32) if isinstance(value, np.uint16) else value


def store_one(value: Any, buffer: Any, i: Any) -> None:
    """Store an element, rounded to the nearest bfloat16 where the buffer is of those."""
    buffer[i] = _rounded(value) if buffer.dtype == np.uint16 else value


def _rounded(value: Any) -> np.uint16:
    bits = int(np.float32(value).view(np.uint32))
    if bits & 0x7FFFFFFF > 0x7F800000:
        return np.uint16(bits >> 16 | 0x40)
    return np.uint16(bits + 0x7FFF + (bits >> 16 & 1) >> 16)


def same_dtype(result: Any, buffer: Any) -> Any:
    """Return the result."""
    return result


def strict_arithmetic() -> None:
    """Do nothing: Python's arithmetic has no options."""
