"""Kernels for the current GPU: the rule's own functions, compiled by numba-cuda, over arrays that lie there already."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from ..._bfloat16 import arithmetic_dtype
from ...rules import Sweep
from ..network import NetworkSpec, Trainer
from ..protocol import Kernel, Run
from ..source import does_not_compile
from ..staged import StagedTrainer, StagedUpdate
from ..storage import Storage
from . import shim
from .launch import bind, bind_sums
from .matrices import Matrices
from .memory import CudaDevice, DeviceBuffer
from .reductions import compiled_sums
from .rule import compiled_pass

__all__ = ["CudaBackend"]


class CudaBackend:
    """Updates device arrays of CuPy, PyTorch, Numba, or any library with a CUDA array interface or DLPack.

    Parameters and gradients are float32, float64 or bfloat16. With bfloat16 the states are float32, the rule computes
    in float32, and what it gives is rounded to the nearest bfloat16 when it is stored.

    The kernels consist of the operations of the compiled CPU backends, in the same order: each multiply-add fused where
    the rule says so and nowhere else, divisions and roots rounded correctly. In float32, denormal numbers count as
    zeros in both; in float64 a GPU computes with them, where the CPU's kernels have zeros.

    It works on the current GPU, and compiles its kernels in each process.

    Parameters
    ----------
    elements : {1, 2, 4, 8}, optional
        Elements that a thread updates, by default 4 and of float64 2; of bfloat16 at least 2. For benchmarks: no bit
        depends on it. Networks are trained with the default.

    Raises
    ------
    ImportError
        There is no GPU.
    """

    name = "cuda"

    def __init__(self, elements: int | None = None) -> None:
        shim.check_gpu()
        self._elements = elements
        self.device = CudaDevice()
        self._lock = threading.Lock()

    def describe(self) -> str:
        """Return the GPU and the compiler's version."""
        return f"{shim.device_name()}, numba-cuda {version('numba-cuda')}"

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of the coefficients and of the states: that of the parameters, float32 for bfloat16."""
        return arithmetic_dtype(dtype)

    def kernel(self, sweep: Sweep, storage: Storage, threads: int) -> Kernel:
        """Return the pass, compiled; a GPU has threads of its own, and `threads` says nothing to it."""
        dtype = storage.parameters
        with self._lock:
            try:
                if sweep.sums:
                    with_sums = compiled_sums(sweep, dtype)
                else:
                    plain = compiled_pass(sweep, dtype, self._elements)
            except shim.TYPING_ERRORS as error:
                raise does_not_compile(sweep, dtype, error) from error

        owned = sweep.buffers.index("g") if "g" in sweep.buffers else 0

        def on(
            buffers: Sequence[DeviceBuffer],
            numbers: DeviceBuffer,
            sums: DeviceBuffer | None = None,
            position: int = 0,
        ) -> Run:
            if sums is None:
                return bind(*plain, buffers, numbers, buffers[owned])
            return bind_sums(with_sums, buffers, numbers, sums, buffers[owned])

        return on

    def matmul(self, dtype: np.dtype[Any], threads: int) -> Matrices:
        """Return cuBLAS's product of matrices of one optimizer.

        Raises
        ------
        ImportError
            cuBLAS is not installed.
        """
        return Matrices(dtype)

    def trainer(self, network: NetworkSpec, sweep: Sweep | None, storage: Storage, threads: int) -> Trainer | None:
        """Return what trains that network on the current GPU, over buffers that lie there.

        Raises
        ------
        ImportError
            cuBLAS is not installed.
        """
        from .network import CudaTrainer

        try:
            return CudaTrainer(network, sweep, storage.parameters)
        except shim.TYPING_ERRORS as error:
            assert sweep is not None
            raise does_not_compile(sweep, storage.parameters, error) from error

    def staged_trainer(
        self, network: NetworkSpec, update: StagedUpdate, storage: Storage, threads: int
    ) -> StagedTrainer | None:
        """Return None: the optimizer's step follows each gradient, and computes the numbers between stages."""
        return None
