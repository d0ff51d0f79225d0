"""Kernels compiled by Numba: a pass with an address for each rule, cached on disk beside the rule's own file."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name
from numba.core.errors import TypingError

from ...rules import Rule
from ..network import NetworkSpec, Trainer
from ..protocol import Array, Kernel, Run
from ..threads import is_forked_child
from .arrays import address
from .decorators import cache_folder
from .launch import Pass, run_alone, run_together
from .reductions import sum_of_squares, sum_of_squares_chunks
from .rule import compiled_pass

__all__ = ["NumbaBackend"]

PARALLEL_FROM = 32_768
"""Parameters from which two threads are faster than one: a launch costs 2 to 3 µs."""


class NumbaBackend:
    """Compiles the rule's own function; the default."""

    name = "numba"

    def __init__(self) -> None:
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
            code = _compile(rule, dtype)
        threads = min(threads, parallel_threads())

        def bind(buffers: Sequence[Array], coefficients: Array) -> Run:
            p, g, *states = buffers
            table = np.array([0] * Pass.BUFFERS + [address(buffer) for buffer in (p, *states)], np.int64)
            table[Pass.CODE], table[Pass.SIZE], table[Pass.ITEM_SIZE] = code.address, p.size, p.itemsize
            table[Pass.GRADIENT], table[Pass.COEFFICIENTS] = address(g), address(coefficients)
            held = (code, *buffers, coefficients)  # for as long as their addresses are in the table
            shared = threads > 1 and p.size >= PARALLEL_FROM

            def run(zero_grad: bool, _held: tuple[Any, ...] = held) -> None:
                if shared and not is_forked_child():
                    run_together(table, zero_grad, threads)
                else:
                    run_alone(table, zero_grad)

            return run

        return bind

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


def _compile(rule: Rule, dtype: np.dtype[Any]) -> Any:
    try:
        return compiled_pass(rule, dtype)
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
