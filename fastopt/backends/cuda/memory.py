"""Arrays in a GPU's memory, whoever allocated them, and the stream that their owner works on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from ..._bfloat16 import BFLOAT16, is_bfloat16
from ..._device_memory import DeviceMemory
from . import dlpack, shim
from .buffer import DeviceBuffer, stored
from .coefficients import Coefficients
from .graph import capture
from .limits import NormLimits
from .shim import cuda, from_dtype, kernel, types
from .streams import is_of_torch, stream_pointer

__all__ = ["Device", "DeviceBuffer"]

_BLOCK = 256


class Device:
    """Memory of the current GPU."""

    def describe(self, name: str, array: Any) -> DeviceMemory:
        """Return what an array's library says of its memory, by the CUDA array interface or else by DLPack.

        Raises
        ------
        TypeError
            It does not lie on a GPU, or has neither; `name` is what the message calls it.
        ValueError
            It lies on another GPU than the current one.
        """
        if isinstance(array, np.ndarray):
            raise TypeError(
                f"{name}: got a NumPy array, which lies in the host's memory, expected an array on the GPU, since it "
                "is updated in place; move it there once, for example with cupy.asarray, and keep the result"
            )
        exports = hasattr(array, "__dlpack__")
        # the interface has no name for bfloat16: PyTorch raises where it is asked for it; and by DLPack alone JAX has
        # our stream wait for what it computes on streams of its own
        by_dlpack = exports and (is_bfloat16(array) or _is_immutable(array))
        interface = None if by_dlpack else getattr(array, "__cuda_array_interface__", None)
        if interface is not None:
            return _by_interface(array, interface)
        if not exports or array.__dlpack_device__()[0] not in shim.DLPACK_DEVICES:
            raise TypeError(
                f"{name}: got {type(array).__name__}, expected a 1-D array of float32, float64 or bfloat16 on the GPU "
                "that has a __cuda_array_interface__ or DLPack's methods, such as those of CuPy, PyTorch and Numba"
            )
        return _by_dlpack(name, array)

    def wrap(self, array: Any) -> DeviceBuffer:
        """Return the memory of another library's array, or what :meth:`describe` says of one, without a copy."""
        if isinstance(array, DeviceBuffer):
            return array
        memory = array if isinstance(array, DeviceMemory) else self.describe("array", array)
        if isinstance(memory.owner, DeviceBuffer):
            return memory.owner
        size = memory.shape[0]
        view = shim.array_view(memory.address, size, stored(memory.dtype), keep=(memory.owner, memory.held))
        return DeviceBuffer(view, memory.owner, memory.dtype)

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
            dtype = buffer.array.dtype
            _compiled_clear(dtype)[blocks, _BLOCK, buffer.stream()](buffer.array, dtype.type(0))

    def write(self, buffer: DeviceBuffer, values: Any) -> None:
        """Copy values, which may lie on the GPU or in the host's memory, into a buffer, and wait for it."""
        shim.synchronize()
        buffer.array.copy_to_device(values.array if isinstance(values, DeviceBuffer) else values)
        shim.synchronize()

    def read(self, buffer: DeviceBuffer, out: np.ndarray[Any, Any]) -> None:
        """Copy a buffer's values into a NumPy array, when all work on them is done."""
        shim.synchronize()
        buffer.array.copy_to_host(out)

    def coefficients(self, rows: int, columns: int, dtype: np.dtype[Any]) -> Coefficients:
        """Return rows of coefficients for the passes of one optimizer."""
        return Coefficients(rows, columns, dtype)

    def limits(
        self, sizes: Sequence[int], dtype: np.dtype[Any], coefficients: Coefficients
    ) -> Callable[[Sequence[DeviceBuffer]], Callable[[], None]]:
        """Return what makes of the spans of a gradient the launch that limits their norms."""
        return NormLimits(sizes, dtype, coefficients).bind

    def capture(self, function: Callable[[], object], gradients: DeviceBuffer) -> Callable[[], None]:
        """Return what launches all that the function does in one go, on the stream of the gradients' owner then."""
        graph = capture(function)
        return lambda: graph.replay(gradients.stream_pointer())


def _by_interface(array: Any, interface: dict[str, Any]) -> DeviceMemory:
    dtype, (address, read_only) = np.dtype(interface["typestr"]), interface["data"]
    bfloat16 = is_bfloat16(array) and dtype.itemsize == BFLOAT16.itemsize
    return DeviceMemory(
        array,
        address,
        tuple(interface["shape"]),
        interface.get("strides"),
        BFLOAT16 if bfloat16 else dtype,
        read_only=read_only or _is_immutable(array),
        masked=interface.get("mask") is not None,
    )


def _by_dlpack(name: str, array: Any) -> DeviceMemory:
    stream = stream_pointer(array)
    wait = None if is_of_torch(array) else partial(shim.wait_for, stream)
    try:
        exported = dlpack.read(dlpack.export(array, stream), array, wait)
    except (BufferError, TypeError) as error:
        raise TypeError(f"{name}: {type(array).__name__} cannot be shared by DLPack: {error}") from error
    number, current = exported.device[1], shim.device_number()
    if number != current:
        raise ValueError(
            f"{name}: got an array on GPU {number}, expected one on the current GPU, {current}; make the array's GPU "
            "the current one before the optimizer is made, for example with torch.cuda.set_device"
        )
    memory = exported.memory
    return replace(memory, read_only=True) if _is_immutable(array) else memory


def _is_immutable(array: Any) -> bool:
    """Return whether the array's library relies on it staying as it is: JAX's does, whose capsules do not say so."""
    return type(array).__module__.partition(".")[0] in ("jax", "jaxlib")


def _clear(values: Any, zero: Any) -> None:
    i = cuda.grid(1)
    if i < values.size:
        values[i] = zero


@cache
def _compiled_clear(dtype: np.dtype[Any]) -> Any:
    number = from_dtype(dtype)
    return kernel(_clear, (types.Array(number, 1, "C"), number), (_BLOCK,))
