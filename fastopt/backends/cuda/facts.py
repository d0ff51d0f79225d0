"""What is known of the current GPU and of a compiled pass."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from ...rules import Rule, Sweep
from . import shim
from .rule import compiled_pass
from .shim import cuda

__all__ = ["device_facts", "free_unused", "pass_facts"]

_SIMULATED = {"free_bytes": 1 << 20, "memory_bytes": 1 << 20, "l2_bytes": 1 << 8, "compute_capability": "none"}
"""Small, so that everything that depends on sizes is met with little to compute."""


def device_facts() -> dict[str, Any]:
    """Return name, memory, cache, multiprocessors and clocks of the current GPU; ``simulated`` where it is none."""
    if shim.simulated:
        return {"name": shim.device_name(), "simulated": True, **_SIMULATED}
    device = cuda.get_current_device()
    free, total = cuda.current_context().get_memory_info()
    return {
        "name": shim.device_name(),
        "simulated": False,
        "free_bytes": int(free),
        "memory_bytes": int(total),
        "l2_bytes": int(device.L2_CACHE_SIZE),
        "compute_capability": ".".join(map(str, device.compute_capability)),
        "multiprocessors": int(device.MULTIPROCESSOR_COUNT),
        "clock_mhz": int(device.CLOCK_RATE) // 1000,
        "memory_clock_mhz": int(device.MEMORY_CLOCK_RATE) // 1000,
    }


def pass_facts(rule: Rule, dtype: np.dtype[Any], elements: int | None = None) -> dict[str, Any] | None:
    """Return registers and bytes of local memory of a thread, and the share of threads that are resident at a time.

    Of the rule's first stage; None if that has sums, and in the simulator, which compiles nothing.
    """
    if shim.simulated:
        return None
    first = rule.stages[0]
    assert isinstance(first, Sweep)
    if first.sums:
        return None
    kernel, block, _ = compiled_pass(first, dtype, elements)
    function = next(iter(kernel.dispatcher.overloads.values()))._codelibrary.get_cufunc()
    blocks = cuda.current_context().get_active_blocks_per_multiprocessor(function, block, 0)
    most = cuda.get_current_device().MAX_THREADS_PER_MULTIPROCESSOR
    return {
        "registers": int(function.attrs.regs),
        "local_bytes": int(function.attrs.local),
        "occupancy": int(blocks) * block / int(most),
    }


def free_unused() -> None:
    """Give the memory of arrays that are gone back to the GPU; the compiler's package keeps it for a while."""
    gc.collect()
    if not shim.simulated:
        shim.free_due()
