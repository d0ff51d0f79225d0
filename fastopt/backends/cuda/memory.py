"""Arrays in a GPU's memory, whoever allocated them, and the stream that their owner works on."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from . import shim
from .shim import cuda

__all__ = ["Device", "DeviceBuffer", "stream_pointer"]

_BLOCK = 256


class DeviceBuffer:
    """A 1-D contiguous array on the GPU; other libraries take it by its ``__cuda_array_interface__``.

    Parameters
    ----------
    array
        The compiler's own view of the memory.
    owner
        Whose memory it is, and on whose current stream passes over it run. None for memory of fastopt.
    """

    def __init__(self, array: Any, owner: Any = None) -> None:
        self.array = array
        self.size: int = array.size
        self.shape = (self.size,)
        self.dtype: np.dtype[Any] = array.dtype
        self._owner = owner

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Address, size and dtype."""
        interface: dict[str, Any] = getattr(self.array, _INTERFACE)
        return interface

    def __getitem__(self, where: slice) -> DeviceBuffer:
        return DeviceBuffer(self.array[where], self._owner)

    @property
    def address(self) -> int:
        """Address of the first element."""
        address: int = getattr(self.array, _INTERFACE)["data"][0]
        return address

    def stream(self) -> Any:
        """Return the stream that the owner would launch on now: that of PyTorch, CuPy or whose interface names one."""
        return shim.stream(stream_pointer(self._owner))

    def copy_to_host(self) -> np.ndarray[Any, Any]:
        """Return the values as a NumPy array, when all work on them is done."""
        shim.synchronize()
        values: np.ndarray[Any, Any] = self.array.copy_to_host()
        return values


_INTERFACE = "__array_interface__" if shim.simulated else "__cuda_array_interface__"


def stream_pointer(owner: Any) -> int | None:
    """Return the address of the stream that the owner of an array launches on now; None for the default one."""
    if owner is None:
        return None
    if type(owner).__module__.partition(".")[0] == "torch":  # whose interface names no stream
        pointer: int = sys.modules["torch"].cuda.current_stream(owner.device).cuda_stream
        return pointer
    stream: int | None = owner.__cuda_array_interface__.get("stream")
    return stream


class Device:
    """Memory of the current GPU."""

    def wrap(self, array: Any) -> DeviceBuffer:
        """Return the memory of another library's array, without a copy."""
        return array if isinstance(array, DeviceBuffer) else DeviceBuffer(shim.array_view(array), array)

    def zeros(self, size: int, dtype: np.dtype[Any]) -> DeviceBuffer:
        """Return a new buffer of zeros, which may be used on any stream."""
        buffer = DeviceBuffer(shim.empty(size, dtype))
        self.clear(buffer)
        shim.synchronize()
        return buffer

    def clear(self, buffer: DeviceBuffer) -> None:
        """Set a buffer to zero on its owner's stream."""
        if buffer.size:
            blocks = -(-buffer.size // _BLOCK)
            _clear[blocks, _BLOCK, buffer.stream()](buffer.array, buffer.dtype.type(0))

    def write(self, buffer: DeviceBuffer, values: Any) -> None:
        """Copy values, which may lie on the GPU or in the host's memory, into a buffer, and wait for it."""
        shim.synchronize()
        buffer.array.copy_to_device(values.array if isinstance(values, DeviceBuffer) else values)
        shim.synchronize()

    def read(self, buffer: DeviceBuffer, out: np.ndarray[Any, Any]) -> None:
        """Copy a buffer's values into a NumPy array, when all work on them is done."""
        shim.synchronize()
        buffer.array.copy_to_host(out)


@cuda.jit
def _clear(values: Any, zero: Any) -> None:
    i = cuda.grid(1)
    if i < values.size:
        values[i] = zero
