"""Matrices on the GPU, for stages that are functions of whole matrices: sums, products with numbers, and `matmul`.

Each operation is a launch. Numbers that a step computes stay where they lie, and so the host waits for none of them.
Results lie in memory that is used again as soon as nothing refers to them: all launches come on one stream, one after
the other. A function is rehearsed once, without launches, and allocates nothing from then on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from . import shim
from .buffer import DeviceBuffer, array_type
from .products import make_products
from .shim import cuda, types
from .streams import stream_pointer

__all__ = ["BLOCK", "DeviceMatrix", "Matrices", "functions", "matrix_kernels"]

BLOCK = 256
"""Threads of a block of the kernels for single elements."""

_FLOAT64 = np.dtype(np.float64)


class DeviceMatrix:
    """A matrix in memory of the GPU, or the transpose of what lies there row by row.

    Attributes
    ----------
    shape
        Rows and columns.
    """

    def __init__(self, matrices: Matrices, memory: Any, shape: tuple[int, int], *, transposed: bool = False) -> None:
        self.shape, self._matrices, self._memory, self._transposed = shape, matrices, memory, transposed

    @property
    def T(self) -> DeviceMatrix:  # noqa: N802 - NumPy's name
        """The transpose, in the same memory."""
        return DeviceMatrix(self._matrices, self._memory, self.shape[::-1], transposed=not self._transposed)

    def __rmul__(self, number: float | DeviceBuffer) -> DeviceMatrix:
        out = self._matrices.like(self)
        if isinstance(number, DeviceBuffer):
            self._matrices.launch("scale_by", out, out.array, self.array, number.array)
        else:
            self._matrices.launch("scale", out, out.array, self.array, float(number))
        return out

    __mul__ = __rmul__

    def __add__(self, other: DeviceMatrix) -> DeviceMatrix:
        out = self._matrices.like(self)
        self._matrices.launch("add", out, out.array, self.array, other.array, *self._order_of(other))
        return out

    def __setitem__(self, everything: Any, other: DeviceMatrix) -> None:
        if everything is not Ellipsis:
            raise TypeError(f"a matrix on the GPU: got the index {everything!r}, expected ..., which is all of it")
        self._matrices.launch("copy", self, self.array, other.array, *self._order_of(other))

    @property
    def array(self) -> Any:
        """The elements as kernels take them, in the order in which they lie."""
        return self._memory.array

    def operand(self) -> tuple[Any, bool]:
        """Return the elements, and whether they are those of the transpose."""
        return self.array, self._transposed

    def _order_of(self, other: DeviceMatrix) -> tuple[np.uint64, np.uint64, bool]:
        """Return rows and columns of what lies in memory, and whether the other matrix lies there transposed."""
        if other.shape != self.shape:
            raise ValueError(f"matrices: got shapes {self.shape} and {other.shape}, expected one")
        rows, columns = self.shape[::-1] if self._transposed else self.shape
        return np.uint64(rows), np.uint64(columns), self._transposed != other._transposed


class Matrices:
    """The matrices of one optimizer; called with two of them, it returns their product.

    Raises
    ------
    ImportError
        cuBLAS is not installed.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._multiply = make_products(dtype, 0)
        self._kernels = matrix_kernels(dtype)
        self._free: dict[int, list[Any]] = defaultdict(list)
        self._rehearsing = False

    def __call__(self, a: DeviceMatrix, b: DeviceMatrix) -> DeviceMatrix:
        """Return the product of two matrices."""
        (rows, depth), (inner, columns) = a.shape, b.shape
        if depth != inner:
            raise ValueError(f"matmul: got shapes {a.shape} and {b.shape}, expected as many columns as rows")
        out = DeviceMatrix(self, _Memory(self._free, rows * columns, self._dtype), (rows, columns))
        if not self._rehearsing:
            (left, transpose_a), (right, transpose_b) = a.operand(), b.operand()
            self._multiply.use(stream_pointer(None) or 0)
            sizes = (rows, columns, depth)
            self._multiply(out.array, left, right, sizes, transpose_a=transpose_a, transpose_b=transpose_b)
        return out

    def matrix(self, buffer: DeviceBuffer, shape: tuple[int, int]) -> DeviceMatrix:
        """Return a buffer as a matrix."""
        return DeviceMatrix(self, buffer, shape)

    def like(self, matrix: DeviceMatrix) -> DeviceMatrix:
        """Return a new matrix, with elements in the same order."""
        _, transposed = matrix.operand()
        memory = _Memory(self._free, matrix.array.size, self._dtype)
        return DeviceMatrix(self, memory, matrix.shape, transposed=transposed)

    def launch(self, name: str, out: DeviceMatrix, *arguments: Any) -> None:
        """Launch a kernel with a thread for each element."""
        if not self._rehearsing:
            blocks = -(-out.array.size // BLOCK)
            self._kernels[name][blocks, BLOCK, shim.stream(stream_pointer(None))](*arguments)

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Have memory allocated, and nothing launched."""
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False


class _Memory:
    """Elements of a result; when nothing refers to them any longer, the next result of their size gets them."""

    def __init__(self, free: dict[int, list[Any]], size: int, dtype: np.dtype[Any]) -> None:
        self._free = free[size]
        self.array = self._free.pop() if self._free else shim.empty(size, dtype)

    def __del__(self) -> None:
        if hasattr(self, "array"):
            self._free.append(self.array)


def functions(dtype: np.dtype[Any]) -> dict[str, tuple[Callable[..., None], tuple[Any, ...]]]:
    """Return the kernels as Python functions, each with the types of its arguments."""
    real, uint64 = dtype.type, np.uint64
    none = uint64(0)

    def element():  # type: ignore[no-untyped-def]
        return uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)

    element = shim.inlined(element)

    def there(i, rows, columns, transposed):  # type: ignore[no-untyped-def]
        """Return where element i of a matrix lies in another, of the same order or of the transposed one."""
        return (i % columns) * rows + i // columns if transposed else i

    there = shim.inlined(there)

    def scale(out, a, factor):  # type: ignore[no-untyped-def]
        i = element()
        if i < uint64(out.size):
            out[i] = real(factor) * a[i]

    def scale_by(out, a, factor):  # type: ignore[no-untyped-def]
        i = element()
        if i < uint64(out.size):
            out[i] = real(factor[none]) * a[i]

    def add(out, a, b, rows, columns, transposed):  # type: ignore[no-untyped-def]
        i = element()
        if i < uint64(out.size):
            out[i] = a[i] + b[there(i, rows, columns, transposed)]

    def copy(out, a, rows, columns, transposed):  # type: ignore[no-untyped-def]
        i = element()
        if i < uint64(out.size):
            out[i] = a[there(i, rows, columns, transposed)]

    values, order = array_type(dtype), (types.uint64, types.uint64, types.boolean)
    return {
        "scale": (scale, (values, values, types.float64)),
        "scale_by": (scale_by, (values, values, array_type(_FLOAT64))),
        "add": (add, (values, values, values, *order)),
        "copy": (copy, (values, values, *order)),
    }


@cache
def matrix_kernels(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the kernels by name, compiled."""
    return {name: shim.kernel(function, kinds, (BLOCK,)) for name, (function, kinds) in functions(dtype).items()}
