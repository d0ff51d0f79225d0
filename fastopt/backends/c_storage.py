"""Passes in C over buffers of which some are bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._c import ffi, lib
from ..rules import Sweep
from .protocol import Array, Kernel, Run
from .rounding import salt_of
from .storage import Storage
from .threads import is_forked_child

__all__ = ["address", "kernel", "storage_given"]


def kernel(handle: Any, sweep: Sweep, storage: Storage, threads: int, level: int) -> Kernel:
    """Return the kernel of a sweep, whose name in the C library `handle` is, for a storage that is not plain."""

    def on(buffers: Sequence[Array], numbers: Array, sums: Array | None = None, position: int = 0) -> Run:
        named = {name: address(buffer) for name, buffer in zip(sweep.buffers, buffers, strict=True)}
        given, salts = storage_given(sweep, storage, position)
        p, g = named.get("p", ffi.NULL), named.get("g", ffi.NULL)
        states = ffi.new("void *[]", [named[name] for name in sweep.states])
        own, size = ffi.from_buffer("float[]", numbers), buffers[0].size
        room = np.empty(0 if sums is None else lib.fastopt_sums_size(handle, size))
        place = ffi.from_buffer("double[]", room)
        held = (salts, list(named.values()))

        def run(zero_grad: bool, _held: object = held) -> None:
            now = 1 if is_forked_child() else threads
            status = lib.fastopt_update_storage(handle, given, size, p, g, states, own, zero_grad, place, now, level)
            if status != lib.FASTOPT_OK:
                raise RuntimeError(f"the C library refused the pass with status {status}; see fastopt.h")
            if sums is not None:
                sums[:] = room[: len(sums)]

        return run

    return on


def storage_given(sweep: Sweep, storage: Storage, position: int) -> tuple[Any, Any]:
    """Return what the C library is given of a storage that is not plain, and what has to live as long."""
    salts = ffi.NULL
    if storage.is_random:
        salts = ffi.new("uint32_t[]", [salt_of(buffer) for buffer in ("p", *sweep.states)])
    return ffi.new("fastopt_storage *", [_kind(storage), salts, position]), salts


def _kind(storage: Storage) -> int:
    if storage.parameters == storage.states:
        return int(lib.FASTOPT_BFLOAT16)
    is_of_states = storage.parameters == storage.arithmetic
    return int(lib.FASTOPT_BFLOAT16_STATES if is_of_states else lib.FASTOPT_BFLOAT16_PARAMETERS)


def address(buffer: Array) -> Any:
    """Return where the array's elements lie, of whatever dtype they are."""
    return ffi.from_buffer(buffer.view(np.uint8))
