"""What stands for :mod:`.intrinsics` in the simulator, which calls kernels as Python functions.

Arithmetic is Python's: a multiply-add is rounded twice, and denormals are numbers. So the simulator shows that a kernel
reads and writes what it should, within rounding; the bits are a matter of the instructions that are compiled.
"""

from __future__ import annotations

from typing import Any

from ...rules.vocabulary import fma

__all__ = ["fetch", "fma", "same_dtype", "store", "strict_arithmetic"]


def fetch(buffer: Any, first: Any, registers: Any) -> None:
    """Load a vector of elements."""
    for k in range(len(registers)):
        registers[k] = buffer[int(first) + k]


def store(registers: Any, buffer: Any, first: Any) -> None:
    """Store a vector of elements."""
    for k in range(len(registers)):
        buffer[int(first) + k] = registers[k]


def same_dtype(result: Any, buffer: Any) -> Any:
    """Return the result."""
    return result


def strict_arithmetic() -> None:
    """Do nothing: Python's arithmetic has no options."""
