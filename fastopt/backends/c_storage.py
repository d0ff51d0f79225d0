"""Arrays as the C library takes them, whatever their elements are."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._c import ffi, lib
from ..rules import Sweep
from .protocol import Array
from .rounding import salt_of
from .storage import Storage

__all__ = ["C_TYPES", "address", "salts_of", "storage_code"]

C_TYPES = {"float32": ("float", "f32"), "float64": ("double", "f64")}
"""C's name of a dtype of arithmetic, and the ending of the functions that compute in it."""


def address(array: Array) -> Any:
    """Return where the array's elements lie; keeps the array."""
    return ffi.from_buffer(array.view(np.uint8))


def storage_code(storage: Storage) -> int:
    """Return the library's constant for a storage."""
    if storage.is_plain:
        return int(lib.FASTOPT_FLOAT64 if storage.states == np.float64 else lib.FASTOPT_FLOAT32)
    if storage.parameters == storage.states:
        return int(lib.FASTOPT_BFLOAT16)
    of_states = storage.parameters == storage.arithmetic
    return int(lib.FASTOPT_BFLOAT16_STATES if of_states else lib.FASTOPT_BFLOAT16_PARAMETERS)


def salts_of(sweep: Sweep, storage: Storage) -> Any:
    """Return the salts of p and of the sweep's states; NULL where nothing is rounded at random."""
    if not storage.is_random:
        return ffi.NULL
    return ffi.new("uint32_t[]", [salt_of(buffer) for buffer in ("p", *sweep.states)])
