"""A rule's pass over whole buffers, on one thread or on all: the same machine code for every rule."""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Any

from numba import prange

from .decorators import inlined, kernel
from .intrinsics import begin_flush_to_zero, end_flush_to_zero
from .memory import call_part, data_address

__all__ = ["Pass", "run_alone", "run_together"]


class Pass(IntEnum):
    """Places in the table of a pass: addresses, and numbers of things. The buffers' addresses follow."""

    CODE = 0
    SIZE = auto()
    ITEM_SIZE = auto()
    GRADIENT = auto()
    COEFFICIENTS = auto()
    BUFFERS = auto()


_CODE, _SIZE, _ITEM_SIZE = Pass.CODE.value, Pass.SIZE.value, Pass.ITEM_SIZE.value
_GRADIENT, _COEFFICIENTS, _BUFFERS = Pass.GRADIENT.value, Pass.COEFFICIENTS.value, Pass.BUFFERS.value

SHARE = 2048
"""Threads' shares are multiples of so many elements."""


@inlined
def _run(table, low, high, zero_grad):  # type: ignore[no-untyped-def]
    gradient = table[_GRADIENT] + low * table[_ITEM_SIZE]
    buffers = data_address(table) + 8 * _BUFFERS
    saved = begin_flush_to_zero()
    call_part(table[_CODE], buffers, low, high - low, gradient, table[_COEFFICIENTS], zero_grad)
    end_flush_to_zero(saved)


@kernel
def run_alone(table: Any, zero_grad: Any) -> None:
    """Run the pass that the table describes."""
    _run(table, 0, table[_SIZE], zero_grad)


@kernel(parallel=True)
def run_together(table: Any, zero_grad: Any, threads: Any) -> None:
    """Run it on that many threads."""
    size = table[_SIZE]
    share = (size // threads + SHARE) // SHARE * SHARE
    for thread in prange(threads):
        _run(table, min(size, thread * share), min(size, (thread + 1) * share), zero_grad)
