"""Arrays in a GPU's memory, whoever allocated them, and the stream that their owner works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from ..._bfloat16 import BFLOAT16, is_bfloat16
from ..._device_memory import DeviceMemory
from ...buffers import check_device_buffer, check_device_disjoint
from ...rules import MatrixStage
from ..plan import Plan
from . import dlpack, shim
from .buffer import DeviceBuffer, array_type, stored
from .coefficients import Coefficients
from .graph import capture
from .numbers import CudaNumbers
from .shim import cuda, from_dtype, kernel, types
from .streams import is_of_torch, launches_on, stream_pointer
from .words import fetch_one, store_one

__all__ = ["CudaDevice", "DeviceBuffer"]

_BLOCK = 256


class CudaDevice:
    """Memory of the current GPU; see :class:`~fastopt.backends.protocol.Device`."""

    is_host = False
    check_disjoint = staticmethod(check_device_disjoint)

    def take(self, name: str, array: Any, **expected: Any) -> DeviceBuffer:
        """Return the user's array as a buffer; raises what :meth:`describe` and :func:`check_device_buffer` raise."""
        memory = self.describe(name, array)
        check_device_buffer(name, memory, **expected)
        return self.wrap(memory)

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
        _fill(buffer, 0)

    def write(self, buffer: DeviceBuffer, values: Any) -> None:
        """Copy values, which may lie on the GPU or in the host's memory, into a buffer, and wait for it."""
        shim.synchronize()
        if isinstance(values, DeviceBuffer) and values.dtype.name != buffer.dtype.name:
            _convert(buffer, values)
        elif isinstance(values, DeviceBuffer):
            buffer.array.copy_to_device(values.array)
        elif np.ndim(values):
            buffer.array.copy_to_device(values)
        else:
            _fill(buffer, values)
        shim.synchronize()

    def read(self, buffer: DeviceBuffer, out: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
        """Return a buffer's values as a NumPy array, when all work on them is done."""
        if out is None:
            return buffer.copy_to_host()
        shim.synchronize()
        buffer.array.copy_to_host(out)
        return out

    def coefficients(self, rows: int, columns: int, dtype: np.dtype[Any]) -> Coefficients:
        """Return rows of numbers for the passes of one optimizer."""
        return Coefficients(rows, columns, dtype)

    def numbers(self, plan: Plan, table: Coefficients, puts: object) -> CudaNumbers:
        """Return what computes the plan's numbers on the GPU, into the rows of the table."""
        return CudaNumbers(plan, table)

    def bind_matrices(
        self, stage: MatrixStage, buffer: DeviceBuffer, shape: tuple[int, ...], matmul: Any
    ) -> Callable[[Mapping[str, Any]], None]:
        """Return what launches a matrix stage on a buffer; what it needs is allocated here."""
        matrix = matmul.matrix(buffer, shape)

        def run(numbers: Mapping[str, Any]) -> None:
            if buffer.size:
                matrix[...] = stage.function(matrix, matmul, **numbers)

        with matmul.rehearsal():
            run(dict.fromkeys(stage.numbers, 1.0))
        return run

    def launching(self, gradients: DeviceBuffer) -> AbstractContextManager[object]:
        """Return a context in which everything is launched on the stream of the gradients' owner."""
        return launches_on(gradients.stream_pointer())

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


def _fill(buffer: DeviceBuffer, number: float) -> None:
    """Set all elements of a buffer to a number on its owner's stream; of bfloat16, to zero only."""
    dtype = buffer.array.dtype
    _launch(_compiled_fill(dtype), buffer, buffer.array, dtype.type(number))


def _convert(buffer: DeviceBuffer, values: DeviceBuffer) -> None:
    _launch(_compiled_conversion(buffer.dtype, values.dtype), buffer, buffer.array, values.array)


def _launch(compiled: Any, buffer: DeviceBuffer, *arguments: Any) -> None:
    if buffer.size:
        compiled[-(-buffer.size // _BLOCK), _BLOCK, buffer.stream()](*arguments)


def _fill_function(values: Any, number: Any) -> None:
    i = cuda.grid(1)
    if i < values.size:
        values[i] = number


def _conversion_function(values: Any, source: Any) -> None:
    i = np.uint64(cuda.grid(1))
    if i < np.uint64(values.size):
        store_one(fetch_one(source, i), values, i)


@cache
def _compiled_fill(dtype: np.dtype[Any]) -> Any:
    number = from_dtype(dtype)
    return kernel(_fill_function, (types.Array(number, 1, "C"), number), (_BLOCK,))


@cache
def _compiled_conversion(dtype: np.dtype[Any], source: np.dtype[Any]) -> Any:
    return kernel(_conversion_function, (array_type(dtype), array_type(source)), (_BLOCK,))
