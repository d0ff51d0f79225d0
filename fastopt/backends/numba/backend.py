"""Kernels compiled by Numba: a pass with an address for each rule, cached on disk beside the rule's own file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name
from numba.core.errors import NumbaError, TypingError

from ..._aligned import aligned_zeros
from ..._bfloat16 import arithmetic_dtype
from ..._constants import CHUNK, LANES, chunk_count
from ...rules import Sweep
from ..host import HostDevice
from ..network import NetworkSpec, Trainer
from ..protocol import Array, Kernel, MatMul, Run
from ..source import does_not_compile
from ..staged import StagedTrainer, StagedUpdate
from ..storage import Storage
from .decorators import cache_folder
from .launch import bind, in_order, parallel_threads, threading_layer
from .rule import GROUP, compiled_pass

__all__ = ["NumbaBackend"]


class NumbaBackend:
    """Compiles the rule's own function; the default."""

    name = "numba"
    device = HostDevice()

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def describe(self) -> str:
        """Return the processor that is compiled for, and the threading layer."""
        layer = threading_layer()
        threads = f"{layer}, {parallel_threads()} threads" if layer else "one thread: no OpenMP or TBB here"
        folder = cache_folder(in_order)
        cache = f"cache in {folder}" if folder else "no cache: no folder that can be written to; see NUMBA_CACHE_DIR"
        return f"Numba {numba.__version__}, compiled for {get_host_cpu_name()}; {threads}; {cache}"

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of the coefficients: that of the buffers, float32 for bfloat16."""
        return arithmetic_dtype(dtype)

    def kernel(self, sweep: Sweep, storage: Storage, threads: int) -> Kernel:
        """Return the compiled pass; compiling takes a second the first time, milliseconds from the cache."""
        with self._lock:
            code = _compile(sweep, storage)
        own = [place for place, name in enumerate(sweep.buffers) if name != "g"]
        g = sweep.buffers.index("g") if "g" in sweep.buffers else 0
        count = len(sweep.sums)

        def on(buffers: Sequence[Array], numbers: Array, sums: Array | None = None, position: int = 0) -> Run:
            others = [buffers[place] for place in own]
            if sums is None:
                return bind(code, GROUP, threads, buffers[g], numbers, others, position)
            lanes = aligned_zeros(chunk_count(buffers[0].size) * count * LANES, np.dtype(np.float64)).reshape(
                -1, count, LANES
            )
            return bind(code, CHUNK, threads, buffers[g], numbers, others, position, lanes, sums)

        return on

    def matmul(self, dtype: np.dtype[Any], threads: int) -> MatMul:
        """Return the compiled product of matrices."""
        from .matmul import make_matmul  # compiles for seconds, once: not for rules without matrices

        return make_matmul(dtype, threads)

    def trainer(self, network: NetworkSpec, sweep: Sweep | None, storage: Storage, threads: int) -> Trainer | None:
        """Return the compiled training steps."""
        from .network import make_trainer  # compiles for seconds, once: not for optimizers alone

        return make_trainer(network, sweep, storage, threads)

    def staged_trainer(
        self, network: NetworkSpec, update: StagedUpdate, storage: Storage, threads: int
    ) -> StagedTrainer | None:
        """Return the compiled training steps; None where a number of the rule does not compile."""
        from .staged import make_staged_trainer

        try:
            return make_staged_trainer(network, update, storage, threads)
        except NumbaError:  # the host can compute what it likes
            return None


def _compile(sweep: Sweep, storage: Storage) -> Any:
    try:
        return compiled_pass(sweep, storage)
    except TypingError as error:
        raise does_not_compile(sweep, storage.arithmetic, error) from error
