"""CUDA C: the same pass written by hand, compiled by NVRTC and launched through the driver."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from fastopt import Optimizer, get_rule
from fastopt.backends import get_backend
from fastopt.bench.cases import GpuCase
from fastopt.bench.contenders.base import Array
from fastopt.bench.contenders.cuda import ArrayStepper, buffer_of

from ..twin import check, compile_twin, twin_name

__all__ = ["Stepper", "why_missing"]


def why_missing() -> str | None:
    """Return why the kernels cannot run here; None where they can."""
    from fastopt.backends.cuda.facts import device_facts

    return "the simulator runs Python, no CUDA C" if device_facts()["simulated"] else None


class Stepper(ArrayStepper):
    """A kernel of ``twin.cu``, with coefficients that the host computes and copies at each step, as fastopt's are."""

    def __init__(self, case: GpuCase, p: Array, g: Array) -> None:
        from cuda.bindings import driver

        from fastopt.backends.cuda.launch import BLOCK, VECTOR_BYTES

        rule, dtype = get_rule(case.rule), np.dtype(case.dtype)
        self._driver, self._dtype, self._block = driver, dtype, BLOCK
        self._p, self._g = buffer_of(case, p), buffer_of(case, g)
        device: Any = get_backend("cuda").device
        states = [device.zeros(case.size, dtype) for _ in rule.states]
        self._coefficients = Optimizer(np.zeros(1), rule, backend="reference", threads=1)
        own = device.zeros(self._next().size, dtype)
        self._held, self._own = (*states, own), own.address
        self._kernel = _kernel(case.rule, case.dtype)
        vectors, rest = divmod(case.size, VECTOR_BYTES // dtype.itemsize)
        self._grid = -(-(vectors + rest) // BLOCK)
        buffers = [buffer.address for buffer in (self._p, self._g, *states)]
        values = (case.size, *buffers, *[0] * (5 - len(buffers)), self._own, 0)
        kinds = (np.uint64,) * (len(values) - 1) + (np.int32,)
        self._values = [np.array([value], kind) for value, kind in zip(values, kinds, strict=True)]
        self._pointers = np.array([value.ctypes.data for value in self._values], np.uint64)

    def step(self) -> None:
        driver, coefficients = self._driver, self._next()
        self._coefficients.steps += 1
        check(driver.cuMemcpyHtoDAsync(self._own, coefficients.ctypes.data, coefficients.nbytes, 0))
        pointers = self._pointers.ctypes.data
        check(driver.cuLaunchKernel(self._kernel, self._grid, 1, 1, self._block, 1, 1, 0, 0, pointers, 0))

    def facts(self) -> dict[str, Any] | None:
        attribute, driver = self._driver.CUfunction_attribute, self._driver
        names = {
            "registers": attribute.CU_FUNC_ATTRIBUTE_NUM_REGS,
            "local_bytes": attribute.CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES,
        }
        found = {name: check(driver.cuFuncGetAttribute(which, self._kernel)) for name, which in names.items()}
        blocks = check(driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(self._kernel, self._block, 0))
        most = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR
        device = check(driver.cuCtxGetDevice())
        return {**found, "occupancy": blocks * self._block / check(driver.cuDeviceGetAttribute(most, device))}

    def _next(self) -> Array:
        """Return the coming step's coefficients: computed in float64 and rounded once, as fastopt's are."""
        optimizer, groups = self._coefficients, self._coefficients.parts.groups
        table = groups.table([groups.default], optimizer.steps + 1, [1.0], 1.0, np.inf, self._dtype)
        row: Array = table[0, 0]
        return row


@cache
def _kernel(rule: str, dtype: str) -> Any:
    from cuda.bindings import driver

    from fastopt.backends.cuda.facts import device_facts
    from fastopt.backends.cuda.launch import BLOCK, BLOCKS

    architecture = "sm_" + str(device_facts()["compute_capability"]).replace(".", "")
    code = compile_twin(get_rule(rule), dtype, architecture, block=BLOCK, blocks=BLOCKS[dtype])
    module = check(driver.cuModuleLoadData(code))
    return check(driver.cuModuleGetFunction(module, twin_name(get_rule(rule)).encode()))
