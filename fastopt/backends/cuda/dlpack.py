"""DLPack: arrays of libraries that export them as capsules, read without a copy.

The structures are those of DLPack's header ``dlpack.h``, with a version in front since 1.0 and without one before. Who
reads a capsule renames it, and owes the exporter a call of its `deleter` when the memory is no longer looked at.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._bfloat16 import BFLOAT16
from ..._device_memory import DeviceMemory
from .streams import is_of_torch

__all__ = ["CPU", "CUDA", "CUDA_MANAGED", "Export", "export", "read"]

CPU, CUDA, CUDA_MANAGED = 1, 2, 13
"""Kinds of devices, by DLPack's numbers."""

_VERSION = (1, 0)
_READ_ONLY = 1
_NO_SYNCHRONIZATION, _LEGACY_DEFAULT_STREAM = -1, 1
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}

_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("dimensions", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


# a capsule refers to its name without owning it, so that the names have to stay: here they do
_UNREAD: dict[bytes, Any] = {b"dltensor": _Managed, b"dltensor_versioned": _ManagedVersioned}
_READ = {name: b"used_" + name for name in _UNREAD}

_is_capsule = ctypes.pythonapi.PyCapsule_IsValid
_is_capsule.argtypes, _is_capsule.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
_rename = ctypes.pythonapi.PyCapsule_SetName
_rename.argtypes, _rename.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int


@dataclass(frozen=True)
class Export:
    """An array as a capsule describes it, and the device that it lies on."""

    memory: DeviceMemory
    device: tuple[int, int]


def export(array: Any, stream: int | None) -> Any:
    """Return the array's capsule; what is to come on that stream waits for what its library has begun on the array.

    `stream` is an address, or None for the legacy default stream. PyTorch's arrays are worked on in PyTorch's own
    stream, where there is nothing to wait for.
    """
    kind = array.__dlpack_device__()[0]
    waits = _NO_SYNCHRONIZATION if is_of_torch(array) else stream or _LEGACY_DEFAULT_STREAM
    on = None if kind == CPU else waits
    try:
        return array.__dlpack__(stream=on, max_version=_VERSION)
    except TypeError:  # an exporter from before versions takes no `max_version`
        return array.__dlpack__(stream=on)


def read(capsule: Any, owner: Any, wait: Callable[[], bool] | None = None) -> Export:
    """Return what the capsule holds, and mark it as read; its deleter is called when the result's `held` goes.

    `wait` is called before the deleter, for work that may still be under way in memory which the exporter would then
    use for something else. Where it returns False, the memory is kept until the next is given back.

    Raises
    ------
    TypeError
        It is no capsule of a DLPack version up to 1, or one that was read before, or its elements are of no NumPy dtype
        and no bfloat16. It stays as it is.
    """
    name = next((name for name in _UNREAD if _is_capsule(capsule, name)), None)
    if name is None:
        raise TypeError(f"DLPack: got {capsule!r}, expected a capsule that nobody has read")
    structure = _UNREAD[name]
    address = _pointer(capsule, name)
    managed = structure.from_address(address)
    if structure is _ManagedVersioned and managed.major > _VERSION[0]:
        raise TypeError(f"DLPack: got version {managed.major}.{managed.minor}, expected at most {_VERSION[0]}")
    tensor = managed.tensor
    dtype = _dtype(tensor.dtype)
    _rename(capsule, _READ[name])
    shape = tuple(tensor.shape[k] for k in range(tensor.dimensions))
    memory = DeviceMemory(
        owner,
        (tensor.data or 0) + tensor.byte_offset,
        shape,
        tuple(tensor.strides[k] * dtype.itemsize for k in range(len(shape))) if tensor.strides else None,
        dtype,
        read_only=structure is _ManagedVersioned and bool(managed.flags & _READ_ONLY),
        held=_Held(managed.deleter, address, wait),
    )
    return Export(memory, (tensor.device.kind, tensor.device.number))


class _Held:
    """The exporter's memory, for as long as this lives; at the end of the process nothing is given back."""

    def __init__(self, deleter: Any, managed: int, wait: Callable[[], bool] | None) -> None:
        if deleter:
            weakref.finalize(self, _give_back, deleter, managed, wait).atexit = False


_due: deque[tuple[Any, int, Callable[[], bool] | None]] = deque()


def _give_back(*memory: Any) -> None:
    """Give that memory back, and what could not be waited for before."""
    _due.append(memory)
    for _ in range(len(_due)):
        deleter, managed, wait = _due.popleft()
        over = True
        try:
            over = wait is None or wait()
        finally:  # where there is nothing left to wait for, as on a stream that is gone, it is given back as well
            if over:
                deleter(managed)
            else:
                _due.append((deleter, managed, wait))


def _dtype(described: _DataType) -> np.dtype[Any]:
    kind = _KINDS.get(described.code)
    if kind == "bfloat" and (described.bits, described.lanes) == (16, 1):
        bfloat16: np.dtype[Any] = BFLOAT16
        return bfloat16
    try:
        if kind is None or described.lanes != 1:
            raise TypeError
        return np.dtype(kind if kind == "bool" else f"{kind}{described.bits}")
    except TypeError:
        raise TypeError(
            f"DLPack: got elements of code {described.code}, {described.bits} bits and {described.lanes} lanes, "
            "expected float32, float64 or bfloat16"
        ) from None
