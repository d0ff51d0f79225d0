"""What stands for :mod:`.intrinsics` in the simulator, which calls kernels as Python functions.

Arithmetic is Python's: a multiply-add is rounded twice, and denormals are numbers. So the simulator shows that a kernel
reads and writes what it should, within rounding; the bits are a matter of the instructions that are compiled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...rules.vocabulary import fma
from .shim import kernel

__all__ = [
    "NUMBER_WORDS",
    "SCALAR_WORDS",
    "Products",
    "add_exponent",
    "fetch",
    "fetch_one",
    "fma",
    "same_dtype",
    "store",
    "store_one",
    "strict_arithmetic",
]

SCALAR_WORDS: dict[Any, Any] = {math.sqrt: np.sqrt}
"""What takes the place of functions that scalar functions call: a root of a negative number is NaN."""

NUMBER_WORDS = SCALAR_WORDS
"""The same for numbers."""


def fetch(buffer: Any, first: Any, registers: Any, count: int) -> None:
    """Load a vector of elements."""
    for k in range(count):
        registers[k] = fetch_one(buffer, int(first) + k)


def store(registers: Any, buffer: Any, first: Any, count: int) -> None:
    """Store a vector of elements."""
    for k in range(count):
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
    """Have this thread's divisions by zero and overflows give IEEE's results without a warning."""
    np.seterr(all="ignore")


def add_exponent(y: Any, t: Any) -> Any:
    """Return y · 2ⁿ, where n is what the lowest bits of t are."""
    unsigned, shift = (np.uint32, 23) if y.dtype == np.float32 else (np.uint64, 52)
    bits = 8 * y.dtype.itemsize
    total = int(y.view(unsigned)) + (int(t.view(unsigned)) << shift)
    return unsigned(total % 2**bits).view(y.dtype)


class Products:
    """What stands for :class:`.products.Products`: NumPy, launched as kernels are, so that a graph holds it too."""

    def __init__(self, dtype: Any, stream: Any) -> None:
        self._multiply = kernel(_multiply, (), ())
        self._stream = stream

    def use(self, stream: Any) -> None:
        """Launch on that stream from now on."""
        self._stream = stream

    def __call__(
        self,
        out: Any,
        a: Any,
        b: Any,
        sizes: tuple[int, int, int],
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> None:
        """Launch out = a · b; `sizes` are rows, columns and depth."""
        self._multiply[1, 1, self._stream](out, a, b, *sizes, transpose_a, transpose_b)


def _multiply(
    out: Any, a: Any, b: Any, rows: int, columns: int, depth: int, transpose_a: bool, transpose_b: bool
) -> None:
    out, a, b = (np.asarray(array._item._ary) for array in (out, a, b))
    left = a[: rows * depth].reshape((depth, rows) if transpose_a else (rows, depth))
    right = b[: depth * columns].reshape((columns, depth) if transpose_b else (depth, columns))
    with np.errstate(all="ignore"):  # a GPU says nothing of these
        product = (left.T if transpose_a else left) @ (right.T if transpose_b else right)
    out[: rows * columns] = product.reshape(-1)
