"""Flat buffers: one contiguous 1-D array for every parameter, cut into named segments.

A gradient buffer and every state buffer have the same layout as the parameters, so that one sweep serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._aligned import aligned_zeros
from ._bfloat16 import is_bfloat16
from ._device_memory import DeviceMemory

__all__ = [
    "DTYPES",
    "Layout",
    "Segment",
    "aligned_zeros",
    "check_buffer",
    "check_device_buffer",
    "check_device_disjoint",
    "check_disjoint",
]

DTYPES = ("float32", "float64")

_UPDATED = (*DTYPES, "bfloat16")
_INTERFACE = "__cuda_array_interface__"


@dataclass(frozen=True)
class Segment:
    """One named slice of a flat buffer.

    Parameters
    ----------
    name
        What the slice holds, for example ``"layers.0.weight"``.
    offset
        Index of its first element.
    shape
        Shape of the view that the slice is reshaped to.
    group
        Name of the group whose hyper-parameters apply to it.
    """

    name: str
    offset: int
    shape: tuple[int, ...]
    group: str = "default"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def stop(self) -> int:
        """Index behind its last element."""
        return self.offset + self.size

    def view(self, buffer: NDArray[Any]) -> NDArray[Any]:
        """Return the segment of `buffer`, reshaped, without a copy."""
        return buffer[self.offset : self.stop].reshape(self.shape)


class Layout:
    """The segments of a flat buffer, side by side without gaps.

    Parameters
    ----------
    shapes
        Name to shape, in the order of the buffer.
    groups
        Name to group, for the segments that are not in the group ``"default"``.

    Examples
    --------
    >>> layout = Layout({"weight": (3, 2), "bias": (2,)}, groups={"bias": "bias"})
    >>> layout.size
    8
    >>> layout.views(np.arange(8.0))["bias"]
    array([6., 7.])
    """

    def __init__(self, shapes: Mapping[str, Iterable[int]], groups: Mapping[str, str] | None = None) -> None:
        groups = groups or {}
        segments: list[Segment] = []
        offset = 0
        for name, shape in shapes.items():
            segments.append(Segment(name, offset, tuple(shape), groups.get(name, "default")))
            offset = segments[-1].stop
        self.segments = tuple(segments)
        self.size = offset

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __len__(self) -> int:
        return len(self.segments)

    def views(self, buffer: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return each segment of `buffer` as a named, reshaped view."""
        return {segment.name: segment.view(buffer) for segment in self.segments}


def check_buffer(
    name: str,
    array: object,
    *,
    dtype: np.dtype[Any] | None = None,
    size: int | None = None,
    writable: bool = True,
) -> NDArray[Any]:
    """Return `array` if a kernel may work on it where it lies; say what is wrong with it otherwise.

    Raises
    ------
    TypeError
        It is no NumPy array, or has another dtype.
    ValueError
        It is not 1-D, not contiguous, not aligned, read-only where it has to be writable, or has another size.
    """
    if is_bfloat16(array) and not isinstance(array, np.ndarray):
        raise TypeError(
            f"{name}: got {type(array).__name__} of bfloat16, expected a 1-D NumPy array of float32, float64 or "
            "ml_dtypes.bfloat16: view its memory as one; or choose backend='cuda' if it lies on a GPU"
        )
    if not isinstance(array, np.ndarray):
        on_device = "; it lies on a GPU: choose backend='cuda'" if hasattr(array, _INTERFACE) else ""
        raise TypeError(
            f"{name}: got {type(array).__name__}, expected a 1-D NumPy array of float32, float64 or bfloat16{on_device}"
        )
    _check_kind(name, array.dtype, array.shape, dtype, size, _UPDATED)
    _check_memory(name, array.itemsize, array.strides[0], array.flags.c_contiguous, array.flags.aligned)
    if writable and not array.flags.writeable:
        raise ValueError(f"{name}: got read-only memory, expected writable memory, since it is updated in place")
    return array


def check_device_buffer(
    name: str,
    memory: DeviceMemory,
    *,
    dtype: np.dtype[Any] | None = None,
    size: int | None = None,
    writable: bool = True,
) -> None:
    """Say what is wrong with an array on a GPU unless a kernel may work on it where it lies.

    Raises
    ------
    TypeError
        It has another dtype.
    ValueError
        It is not 1-D, not contiguous, not aligned, masked, read-only where it has to be writable, or has another size.
    """
    own, shape = memory.dtype, memory.shape
    _check_kind(name, own, shape, dtype, size, _UPDATED)
    (stride,) = memory.strides or (own.itemsize,)
    contiguous = stride == own.itemsize or shape[0] < 2
    _check_memory(name, own.itemsize, stride, contiguous, memory.address % own.itemsize == 0)
    if writable and memory.read_only:
        raise ValueError(
            f"{name}: got read-only memory, expected writable memory, since it is updated in place; arrays of JAX are "
            "read-only, since JAX relies on their staying as they are: copy the values once into an array of CuPy or "
            "PyTorch, and keep that"
        )
    if memory.masked:
        raise ValueError(f"{name}: got a masked array, expected one without a mask")


def _check_kind(
    name: str,
    got: np.dtype[Any],
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | None,
    size: int | None,
    dtypes: tuple[str, ...],
) -> None:
    expected = dtypes if dtype is None else (dtype.name,)
    if got.name not in expected or not got.isnative:
        raise TypeError(
            f"{name}: got dtype {got.str if not got.isnative else got.name}, expected "
            f"{' or '.join(expected)}; convert it once with .astype({expected[0]!r}) and keep the result"
        )
    if len(shape) != 1:
        raise ValueError(
            f"{name}: got shape {shape}, expected one dimension; pass array.reshape(-1), "
            "a view of the same memory when the array is contiguous"
        )
    if size is not None and shape[0] != size:
        raise ValueError(f"{name}: got {shape[0]} elements, expected {size}, one for each parameter")


def _check_memory(name: str, item_size: int, stride: int, contiguous: bool, aligned: bool) -> None:
    if not contiguous:
        raise ValueError(
            f"{name}: got a strided view (stride {stride} bytes), expected contiguous memory; "
            "an update in place needs the buffer itself, not a copy of it"
        )
    if not aligned:
        raise ValueError(f"{name}: got memory that is not aligned to {item_size} bytes; allocate it with NumPy")


def check_disjoint(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError when two of the named buffers share memory."""
    for (first, a), (second, b) in combinations(arrays.items(), 2):
        if a.size and b.size and np.may_share_memory(a, b):
            raise _overlap(first, second)


def check_device_disjoint(arrays: Mapping[str, Any]) -> None:
    """Raise ValueError when two of the named buffers on the GPU share memory."""
    for (first, a), (second, b) in combinations(arrays.items(), 2):
        (start, stop), (other_start, other_stop) = _extent(a), _extent(b)
        if max(start, other_start) < min(stop, other_stop):
            raise _overlap(first, second)


def _extent(array: Any) -> tuple[int, int]:
    """Return the addresses of a contiguous array's first byte, and of the one behind its last."""
    interface = getattr(array, _INTERFACE)
    address = interface["data"][0]
    return address, address + math.prod(interface["shape"]) * np.dtype(interface["typestr"]).itemsize


def _overlap(first: str, second: str) -> ValueError:
    return ValueError(f"{first} and {second} overlap in memory; give each its own buffer")
