"""A buffer in a GPU's memory, and what its numbers are to the compiler."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._bfloat16 import BFLOAT16
from . import shim
from .shim import from_dtype, types
from .streams import stream_pointer

__all__ = ["DeviceBuffer", "array_type", "stored"]


def stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that numbers lie in memory as: that of their bits for bfloat16, which compilers do not know."""
    return np.dtype(np.uint16) if dtype is BFLOAT16 else dtype


def array_type(dtype: np.dtype[Any]) -> Any:
    """Return the compiler's type of a buffer of those numbers."""
    return types.Array(from_dtype(stored(dtype)), 1, "C")


class DeviceBuffer:
    """A 1-D contiguous array on the GPU; other libraries take it by its ``__cuda_array_interface__``.

    Parameters
    ----------
    array
        The compiler's own view of the memory.
    owner
        Whose memory it is, and on whose current stream passes over it run. None for memory of fastopt.
    dtype
        What the numbers are; the view's dtype unless that is of their bits.
    """

    def __init__(self, array: Any, owner: Any = None, dtype: np.dtype[Any] | None = None) -> None:
        self.array = array
        self.size: int = array.size
        self.shape = (self.size,)
        self.dtype: np.dtype[Any] = array.dtype if dtype is None else dtype
        self._owner = owner

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Address, size and dtype."""
        interface: dict[str, Any] = getattr(self.array, _INTERFACE)
        return interface

    def __getitem__(self, where: slice) -> DeviceBuffer:
        return DeviceBuffer(self.array[where], self._owner, self.dtype)

    @property
    def address(self) -> int:
        """Address of the first element."""
        address: int = getattr(self.array, _INTERFACE)["data"][0]
        return address

    def stream(self) -> Any:
        """Return the stream that the owner would launch on now: that of PyTorch, CuPy or whose interface names one."""
        return shim.stream(stream_pointer(self._owner))

    def stream_pointer(self) -> int:
        """Return the address of :meth:`stream`, which is 0 for the default one."""
        return stream_pointer(self._owner) or 0

    def copy_to_host(self) -> np.ndarray[Any, Any]:
        """Return the values as a NumPy array, when all work on them is done."""
        shim.synchronize()
        values: np.ndarray[Any, Any] = self.array.copy_to_host()
        return values


_INTERFACE = "__array_interface__" if shim.simulated else "__cuda_array_interface__"
