"""What a library says of an array that lies on a GPU, in whichever protocol it says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["DeviceMemory"]


@dataclass(frozen=True)
class DeviceMemory:
    """Where an array lies, and what in it.

    Parameters
    ----------
    owner
        The array; it keeps the memory, and knows the stream that its library works on.
    address
        Of the first element.
    shape
        Number of elements in each dimension.
    strides
        Bytes from one element to the next, by dimension; None where they are side by side.
    dtype
        A NumPy dtype, or :data:`fastopt._bfloat16.BFLOAT16`.
    read_only
        Whether the library allows no writing.
    masked
        Whether some of the elements do not count.
    held
        What keeps the memory besides `owner`.
    """

    owner: Any
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    read_only: bool = False
    masked: bool = False
    held: Any = None
