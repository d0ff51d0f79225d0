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

__all__ = ["DTYPES", "Layout", "Segment", "aligned_zeros", "check_buffer", "check_disjoint"]

_CACHE_LINE = 64  # bytes

DTYPES = ("float32", "float64")


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


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a 1-D array of zeros that begins at a cache line, so that no vector of it lies across two.

    Examples
    --------
    >>> aligned_zeros(3, np.dtype("float32"))
    array([0., 0., 0.], dtype=float32)
    """
    spare = _CACHE_LINE // dtype.itemsize
    memory = np.zeros(size + spare, dtype)
    skip = -memory.ctypes.data % _CACHE_LINE // dtype.itemsize
    return memory[skip : skip + size]


def check_buffer(
    name: str,
    array: object,
    *,
    dtype: np.dtype[Any] | None = None,
    size: int | None = None,
) -> NDArray[Any]:
    """Return `array` if a kernel may update it in place; say what is wrong with it otherwise.

    Raises
    ------
    TypeError
        It is no NumPy array, or has another dtype.
    ValueError
        It is not 1-D, not contiguous, not aligned, read-only, or has another size.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: got {type(array).__name__}, expected a 1-D NumPy array of float32 or float64")
    expected = DTYPES if dtype is None else (dtype.name,)
    if array.dtype.name not in expected or not array.dtype.isnative:
        raise TypeError(
            f"{name}: got dtype {array.dtype.str if not array.dtype.isnative else array.dtype.name}, expected "
            f"{' or '.join(expected)}; convert it once with .astype({expected[0]!r}) and keep the result"
        )
    if array.ndim != 1:
        raise ValueError(
            f"{name}: got shape {array.shape}, expected one dimension; pass array.reshape(-1), "
            "a view of the same memory when the array is contiguous"
        )
    if size is not None and array.size != size:
        raise ValueError(f"{name}: got {array.size} elements, expected {size}, one for each parameter")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{name}: got a strided view (stride {array.strides[0]} bytes), expected contiguous memory; "
            "an update in place needs the buffer itself, not a copy of it"
        )
    if not array.flags.aligned:
        raise ValueError(f"{name}: got memory that is not aligned to {array.itemsize} bytes; allocate it with NumPy")
    if not array.flags.writeable:
        raise ValueError(f"{name}: got read-only memory, expected writable memory, since it is updated in place")
    return array


def check_disjoint(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError when two of the named buffers share memory."""
    for (first, a), (second, b) in combinations(arrays.items(), 2):
        if a.size and b.size and np.may_share_memory(a, b):
            raise ValueError(f"{first} and {second} overlap in memory; give each its own buffer")
