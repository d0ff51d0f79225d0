"""A pass over whole buffers, on one thread or on all: the same machine code for every rule."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, auto
from functools import cache
from importlib import import_module
from typing import Any

import numba
import numpy as np
from numba import prange

from ..protocol import Array, Run
from ..threads import is_forked_child
from . import decorators, memory
from .arrays import address
from .decorators import inlined, kernel
from .digest import digest_of
from .memory import call_part, data_address

__all__ = ["Pass", "bind", "in_order", "parallel_threads", "threading_layer"]


class Pass(IntEnum):
    """Places in the table of a pass: addresses, and numbers of things.

    The buffers' addresses follow, then the position of their first element. Threads' shares are multiples of `UNIT`
    elements.
    """

    CODE = 0
    SIZE = auto()
    ITEM_SIZE = auto()
    UNIT = auto()
    GRADIENT = auto()
    NUMBERS = auto()
    LANES = auto()
    BUFFERS = auto()


_CODE, _SIZE, _ITEM_SIZE, _UNIT = Pass.CODE.value, Pass.SIZE.value, Pass.ITEM_SIZE.value, Pass.UNIT.value
_DIGEST = digest_of(decorators.__name__, memory.__name__)[:12]
_GRADIENT, _NUMBERS = Pass.GRADIENT.value, Pass.NUMBERS.value
_LANES, _BUFFERS = Pass.LANES.value, Pass.BUFFERS.value


_NONE = np.empty(0)

PARALLEL_FROM = 32_768
"""Parameters from which two threads are faster than one: a launch costs 2 to 3 µs."""


@inlined
def _run(table, low, high, zero_grad):  # type: ignore[no-untyped-def]
    gradient = table[_GRADIENT] + low * table[_ITEM_SIZE]
    buffers = data_address(table) + 8 * _BUFFERS
    call_part(table[_CODE], buffers, low, high - low, gradient, table[_NUMBERS], zero_grad, table[_LANES])


@inlined
def _share(table, thread, threads):  # type: ignore[no-untyped-def]
    """Return where a thread's elements begin."""
    size, unit = table[_SIZE], table[_UNIT]
    return min(size, thread * ((size // threads + unit) // unit * unit))


@inlined
def _add_in_order(lanes, sums):  # type: ignore[no-untyped-def]
    for term in range(sums.size):
        total = 0.0
        for chunk in range(lanes.shape[0]):
            total += lanes[chunk, term, 0]
        sums[term] = total


@kernel(digest=_DIGEST)
def _run_alone(table: Any, zero_grad: Any) -> None:
    """Run the pass that the table describes."""
    _run(table, 0, table[_SIZE], zero_grad)


@kernel(digest=_DIGEST, parallel=True)
def _run_together(table: Any, zero_grad: Any, threads: Any) -> None:
    """Run it on that many threads."""
    for thread in prange(threads):
        _run(table, _share(table, thread, threads), _share(table, thread + 1, threads), zero_grad)


@kernel(digest=_DIGEST)
def _run_alone_and_add(table: Any, zero_grad: Any, lanes: Any, sums: Any) -> None:
    """Run it, and write its sums: one call instead of two, which a small buffer's step is quicker for."""
    _run(table, 0, table[_SIZE], zero_grad)
    _add_in_order(lanes, sums)


@kernel(digest=_DIGEST)
def in_order(lanes: Any, sums: Any) -> None:
    """Write the sums of the chunks, added in order."""
    _add_in_order(lanes, sums)


def parallel_threads() -> int:
    """Return how many threads a parallel kernel may use here.

    Numba's own work queue aborts the process when two Python threads enter it at once, and takes 100 µs a launch: where
    it is the only threading layer, kernels are serial.
    """
    return int(numba.get_num_threads()) if threading_layer() else 1


@cache
def threading_layer() -> str | None:
    """Return the first layer of Numba's own order of preference that two threads may enter at once.

    Asked once: Python looks for a layer that is missing for half a millisecond each time.
    """
    for module, name in (("tbbpool", "TBB"), ("omppool", "OpenMP")):
        try:
            import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        return name
    return None


def bind(
    code: Any,
    unit: int,
    threads: int,
    gradient: Array,
    numbers: Array,
    buffers: Sequence[Array],
    position: int,
    lanes: Array = _NONE,
    sums: Array | None = None,
) -> Run:
    """Return what runs the code of a pass over whole buffers, on threads where they are large.

    Parameters
    ----------
    code
        The pass, compiled.
    unit
        What a thread's share is a multiple of, in elements.
    threads
        How many there may be.
    gradient, numbers, buffers, position, lanes
        What :func:`.rule.compiled_pass` takes.
    sums
        Where the pass's sums are written; None for a pass without.
    """
    table = np.array([0] * Pass.BUFFERS + [address(buffer) for buffer in buffers] + [position], np.int64)
    table[Pass.CODE], table[Pass.SIZE], table[Pass.ITEM_SIZE] = code.address, gradient.size, gradient.itemsize
    table[Pass.UNIT], table[Pass.GRADIENT], table[Pass.NUMBERS] = unit, address(gradient), address(numbers)
    table[Pass.LANES] = address(lanes)
    threads = min(threads, parallel_threads()) if gradient.size >= PARALLEL_FROM else 1
    held = (code, gradient, numbers, buffers)  # for as long as their addresses are in the table

    def run(zero_grad: bool, _held: object = held) -> None:
        if threads > 1 and not is_forked_child():
            _run_together(table, zero_grad, threads)
        else:
            _run_alone(table, zero_grad)

    def run_and_add(zero_grad: bool, _held: object = held) -> None:
        if threads > 1 and not is_forked_child():
            _run_together(table, zero_grad, threads)
            in_order(lanes, sums)
        else:
            _run_alone_and_add(table, zero_grad, lanes, sums)

    return run if sums is None else run_and_add
