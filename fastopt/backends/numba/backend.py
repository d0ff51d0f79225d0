"""Kernels compiled by Numba: one serial and one parallel loop a rule, cached on disk beside the rule's own file."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name
from numba import prange, types
from numba.core.errors import TypingError
from numba.np.numpy_support import from_dtype

from ...rules import Rule
from ..network import NetworkSpec, Trainer
from ..protocol import Array, Kernel
from ..source import serial_and_parallel_source
from ..threads import is_forked_child
from .decorators import cache_folder, kernel
from .intrinsics import begin_flush_to_zero, end_flush_to_zero
from .reductions import sum_of_squares, sum_of_squares_chunks
from .rule import digest_of_helpers, run_source

__all__ = ["NumbaBackend"]

PARALLEL_FROM = 32_768
"""Parameters from which two threads are faster than one: a launch costs 2 to 3 µs."""


class NumbaBackend:
    """Compiles the rule's own function; the default."""

    name = "numba"

    def __init__(self) -> None:
        self._dispatchers: dict[Callable[..., Any], tuple[Any, Any]] = {}
        self._lock = threading.Lock()

    def describe(self) -> str:
        """Return the processor that is compiled for, and the threading layer."""
        layer = _threading_layer()
        threads = f"{layer}, {parallel_threads()} threads" if layer else "one thread: no OpenMP or TBB here"
        folder = cache_folder(sum_of_squares_chunks)
        cache = f"cache in {folder}" if folder else "no cache: no folder that can be written to; see NUMBA_CACHE_DIR"
        return f"Numba {numba.__version__}, compiled for {get_host_cpu_name()}; {threads}; {cache}"

    def compute_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the dtype of the coefficients: that of the buffers."""
        return dtype

    def kernel(self, rule: Rule, dtype: np.dtype[Any], threads: int) -> Kernel:
        """Return the compiled pass; compiling takes a second the first time, milliseconds from the cache."""
        with self._lock:
            if rule.update not in self._dispatchers:
                self._dispatchers[rule.update] = _dispatchers(rule)
            serial, parallel = self._dispatchers[rule.update]
            _compile(rule, serial, dtype)
        threads = min(threads, parallel_threads())

        def run(buffers: Sequence[Array], coefficients: Array, zero_grad: bool) -> None:
            if threads > 1 and buffers[0].size >= PARALLEL_FROM and not is_forked_child():
                parallel(*buffers, coefficients, zero_grad, threads)
            else:
                serial(*buffers, coefficients, zero_grad)

        return run

    def trainer(self, network: NetworkSpec, rule: Rule, dtype: np.dtype[Any], threads: int) -> Trainer | None:
        """Return the compiled training steps."""
        from .network import make_trainer  # compiles for seconds, once: not for optimizers alone

        return make_trainer(network, rule, dtype, threads)

    def sum_of_squares(self, values: Array, threads: int) -> float:
        """Return Σ x², in chunks of a fixed size that are added in order."""
        threads = 1 if values.size < PARALLEL_FROM or is_forked_child() else min(threads, parallel_threads())
        return float(sum_of_squares(values, threads))


def parallel_threads() -> int:
    """Return how many threads a parallel kernel may use here.

    Numba's own work queue aborts the process when two Python threads enter it at once, and takes 100 µs a launch: where
    it is the only threading layer, kernels are serial.
    """
    return int(numba.get_num_threads()) if _threading_layer() else 1


def _threading_layer() -> str | None:
    """Return the first layer of Numba's own order of preference that two threads may enter at once."""
    for module, name in (("tbbpool", "TBB"), ("omppool", "OpenMP")):
        try:
            import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        return name
    return None


def _dispatchers(rule: Rule) -> tuple[Any, Any]:
    prefix, source = serial_and_parallel_source(rule, digest_of_helpers())
    space = run_source(
        rule,
        prefix,
        source,
        begin_flush_to_zero=begin_flush_to_zero,
        end_flush_to_zero=end_flush_to_zero,
        prange=prange,
    )
    space["serial"] = kernel(space[f"{prefix}_serial"])
    return space["serial"], kernel(space[f"{prefix}_parallel"], parallel=True)


def _compile(rule: Rule, serial: Any, dtype: np.dtype[Any]) -> None:
    buffer = types.Array(from_dtype(dtype), 1, "C")
    try:
        serial.compile((*(buffer,) * (2 + len(rule.states)), buffer, types.boolean))
    except TypingError as error:
        raise TypeError(
            f"rule {rule.name} does not compile for {dtype.name}: {_reason(error)}. A rule has no number literals: "
            "make each a keyword-only coefficient, so that it comes in the dtype of the buffers; "
            "call math.sqrt, abs, fma, clip and where only"
        ) from error


def _reason(error: TypingError) -> str:
    """Return the one line of Numba's report that says what was wrong with the rule."""
    text = str(error)
    promoted = re.search(r"it computes in \w+ on \w+ buffers|fma got [\w, ]+, expected one dtype", text)
    if promoted:
        return promoted[0]
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in lines if line.startswith(("No implementation", "Invalid use", "Unknown"))), lines[0])
