"""Kernels compiled by Numba: a pass with an address for each rule, cached on disk beside the rule's own file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name
from numba.core.errors import TypingError

from ...rules import Rule
from ..network import NetworkSpec, Trainer
from ..protocol import Array, Kernel, Run
from ..source import does_not_compile
from .decorators import cache_folder
from .launch import bind, parallel_threads, threading_layer
from .reductions import CHUNK, LANES, compiled_sum, in_order
from .rule import GROUP, compiled_pass

__all__ = ["NumbaBackend"]


class NumbaBackend:
    """Compiles the rule's own function; the default."""

    name = "numba"
    device = None

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
        """Return the dtype of the coefficients: that of the buffers."""
        return dtype

    def kernel(self, rule: Rule, dtype: np.dtype[Any], threads: int) -> Kernel:
        """Return the compiled pass; compiling takes a second the first time, milliseconds from the cache."""
        with self._lock:
            code = _compile(rule, dtype)

        def on(buffers: Sequence[Array], coefficients: Array) -> Run:
            p, g, *states = buffers
            return bind(code, GROUP, threads, g, coefficients, (p, *states))

        return on

    def trainer(self, network: NetworkSpec, rule: Rule, dtype: np.dtype[Any], threads: int) -> Trainer | None:
        """Return the compiled training steps."""
        from .network import make_trainer  # compiles for seconds, once: not for optimizers alone

        return make_trainer(network, rule, dtype, threads)

    def sum_of_squares(self, values: Array, threads: int) -> Callable[[], float]:
        """Return what gives Σ x², in chunks of a fixed size that are added in order."""
        lanes = np.empty((-(-values.size // CHUNK), LANES))
        sum_chunks = bind(compiled_sum(values.dtype), CHUNK, threads, values, lanes)

        def run() -> float:
            sum_chunks(False)
            return float(in_order(lanes))

        return run


def _compile(rule: Rule, dtype: np.dtype[Any]) -> Any:
    try:
        return compiled_pass(rule, dtype)
    except TypingError as error:
        raise does_not_compile(rule, dtype, error) from error
