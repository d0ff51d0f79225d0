"""A pass over whole buffers, on one thread or on all: the same machine code for every rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, auto
from importlib import import_module
from typing import Any

import numba
import numpy as np
from numba import prange

from ..protocol import Array
from ..threads import is_forked_child
from . import decorators, memory
from .arrays import address
from .decorators import inlined, kernel
from .digest import digest_of
from .memory import call_part, data_address

__all__ = ["Pass", "bind", "parallel_threads", "threading_layer"]


class Pass(IntEnum):
    """Places in the table of a pass: addresses, and numbers of things. The buffers' addresses follow.

    Threads' shares are multiples of `UNIT` elements.
    """

    CODE = 0
    SIZE = auto()
    ITEM_SIZE = auto()
    UNIT = auto()
    GRADIENT = auto()
    COEFFICIENTS = auto()
    BUFFERS = auto()


_CODE, _SIZE, _ITEM_SIZE, _UNIT = Pass.CODE.value, Pass.SIZE.value, Pass.ITEM_SIZE.value, Pass.UNIT.value
_DIGEST = digest_of(decorators.__name__, memory.__name__)[:12]
_GRADIENT, _COEFFICIENTS, _BUFFERS = Pass.GRADIENT.value, Pass.COEFFICIENTS.value, Pass.BUFFERS.value


PARALLEL_FROM = 32_768
"""Parameters from which two threads are faster than one: a launch costs 2 to 3 µs."""


@inlined
def _run(table, low, high, zero_grad):  # type: ignore[no-untyped-def]
    gradient = table[_GRADIENT] + low * table[_ITEM_SIZE]
    buffers = data_address(table) + 8 * _BUFFERS
    call_part(table[_CODE], buffers, low, high - low, gradient, table[_COEFFICIENTS], zero_grad)


@kernel(digest=_DIGEST)
def _run_alone(table: Any, zero_grad: Any) -> None:
    """Run the pass that the table describes."""
    _run(table, 0, table[_SIZE], zero_grad)


@kernel(digest=_DIGEST, parallel=True)
def _run_together(table: Any, zero_grad: Any, threads: Any) -> None:
    """Run it on that many threads."""
    size, unit = table[_SIZE], table[_UNIT]
    share = (size // threads + unit) // unit * unit
    for thread in prange(threads):
        _run(table, min(size, thread * share), min(size, (thread + 1) * share), zero_grad)


def parallel_threads() -> int:
    """Return how many threads a parallel kernel may use here.

    Numba's own work queue aborts the process when two Python threads enter it at once, and takes 100 µs a launch: where
    it is the only threading layer, kernels are serial.
    """
    return int(numba.get_num_threads()) if threading_layer() else 1


def threading_layer() -> str | None:
    """Return the first layer of Numba's own order of preference that two threads may enter at once."""
    for module, name in (("tbbpool", "TBB"), ("omppool", "OpenMP")):
        try:
            import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        return name
    return None


def bind(
    code: Any, unit: int, threads: int, values: Array, out: Array, buffers: Sequence[Array] = ()
) -> Callable[[bool], None]:
    """Return what runs the code over the values, on threads where they are many.

    `out` is what lies in the coefficients' place; `buffers` are what the code finds in its table.
    """
    table = np.array([0] * Pass.BUFFERS + [address(buffer) for buffer in buffers], np.int64)
    table[Pass.CODE], table[Pass.SIZE], table[Pass.ITEM_SIZE] = code.address, values.size, values.itemsize
    table[Pass.UNIT], table[Pass.GRADIENT], table[Pass.COEFFICIENTS] = unit, address(values), address(out)
    threads = min(threads, parallel_threads()) if values.size >= PARALLEL_FROM else 1
    held = (code, values, out, buffers)  # for as long as their addresses are in the table

    def run(zero_grad: bool, _held: object = held) -> None:
        if threads > 1 and not is_forked_child():
            _run_together(table, zero_grad, threads)
        else:
            _run_alone(table, zero_grad)

    return run
