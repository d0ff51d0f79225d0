"""Where an optimizer's buffers live: in the host's memory, or on the device of its backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .backends import Backend, Coefficients, Device
from .buffers import aligned_zeros, check_buffer, check_device_buffer, check_device_disjoint, check_disjoint

__all__ = ["Memory", "memory_of"]

Array = NDArray[Any]


class Memory(Protocol):
    """What an optimizer does with buffers besides passes."""

    @property
    def device(self) -> Device | None:
        """Where the buffers lie; None for the host's memory."""

    def take(
        self,
        name: str,
        array: Any,
        *,
        dtype: np.dtype[Any] | None = None,
        size: int | None = None,
        writable: bool = True,
    ) -> Array:
        """Return the user's array as passes take it, without a copy, or say why they cannot work on it."""

    def zeros(self, size: int, dtype: np.dtype[Any]) -> Array:
        """Return a new buffer."""

    def check_disjoint(self, buffers: Mapping[str, Array]) -> None:
        """Raise ValueError when two of the named buffers share memory."""

    def clear(self, buffer: Array) -> None:
        """Set a buffer to zero."""

    def write(self, buffer: Array, values: Array) -> None:
        """Copy values into a buffer."""

    def read(self, buffer: Array, out: Array) -> None:
        """Copy a buffer's values into a NumPy array."""

    def coefficients(self, rows: int, columns: int, dtype: np.dtype[Any]) -> Coefficients:
        """Return rows of coefficients for the passes."""


def memory_of(backend: Backend) -> Memory:
    """Return the memory that the backend's passes work in."""
    return _Host() if backend.device is None else _OnDevice(backend.device)


class _Host:
    """NumPy arrays."""

    device = None
    take = staticmethod(check_buffer)
    zeros = staticmethod(aligned_zeros)
    check_disjoint = staticmethod(check_disjoint)

    def clear(self, buffer: Array) -> None:
        buffer.fill(0)

    def write(self, buffer: Array, values: Array) -> None:
        buffer[:] = values

    def read(self, buffer: Array, out: Array) -> None:
        out[:] = buffer

    def coefficients(self, rows: int, columns: int, dtype: np.dtype[Any]) -> Coefficients:
        return _HostCoefficients([np.empty(columns, dtype) for _ in range(rows)])


class _HostCoefficients:
    """Rows that passes read where they are written."""

    def __init__(self, rows: list[Array]) -> None:
        self.rows, self.read = rows, rows

    def send(self, gradients: Array) -> None:
        pass


class _OnDevice:
    """Whatever has a CUDA array interface, or exports itself by DLPack."""

    check_disjoint = staticmethod(check_device_disjoint)

    def __init__(self, device: Device) -> None:
        self.device = device
        self.zeros, self.clear, self.write, self.read = device.zeros, device.clear, device.write, device.read
        self.coefficients = device.coefficients

    def take(self, name: str, array: Any, **expected: Any) -> Array:
        memory = self.device.describe(name, array)
        check_device_buffer(name, memory, **expected)
        buffer: Array = self.device.wrap(memory)
        return buffer
