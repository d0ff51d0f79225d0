"""How the threads of one parallel region share the phases of many steps: a launch for each would cost 2 to 3 µs.

The items of a phase are dealt out in equal runs, one a thread; who has finished its own waits a moment for the others,
then takes what they have not begun. A phase begins when all items of the one before are done. Nothing waits for a
thread that has not come: one alone goes through all phases, in whatever order the region's threads are started.
"""

from __future__ import annotations

from typing import Any

from .decorators import inlined
from .memory import add_atomically, compare_and_swap, load_atomically, pause, yield_processor

__all__ = ["APART", "finish_item", "next_item"]

APART = 16
"""int64 numbers between two that different threads write: two cache lines, since those are fetched in pairs."""

PATIENCE = 50
"""Pauses before a thread takes another's items: the other has the data in its cache."""

YIELD_EVERY = 2000


@inlined
def _claim(sync: Any, slot: Any, phase: Any, first: Any, last: Any) -> Any:
    """Return an item of the slot that nobody has begun, or -1. The high half of the slot's counter is its phase."""
    while True:
        seen = load_atomically(sync, slot * APART)
        if (seen >> 32) > phase:
            return -1
        begun = seen & 0xFFFFFFFF if (seen >> 32) == phase else 0
        if first + begun >= last:
            return -1
        if compare_and_swap(sync, slot * APART, seen, (phase << 32) | (begun + 1)):
            return first + begun


@inlined
def next_item(sync: Any, thread: Any, threads: Any, phase: Any, items: Any, target: Any) -> Any:
    """Return the next item for this thread; -1 when `target` items, those of all phases up to this one, are done."""
    slot = thread
    waited = 0
    while True:
        first = (slot * items + threads - 1) // threads
        last = ((slot + 1) * items + threads - 1) // threads
        item = _claim(sync, slot, phase, first, last)
        if item >= 0:
            return item
        if slot != thread:
            slot = (slot + 1) % threads
            if slot != thread:
                continue
        while True:
            if load_atomically(sync, threads * APART) >= target:
                return -1
            pause()
            waited += 1
            if waited % YIELD_EVERY == 0:
                yield_processor()
            if waited % PATIENCE == 0:
                break
        slot = (thread + 1) % threads


@inlined
def finish_item(sync: Any, threads: Any) -> None:
    """Count an item as done."""
    add_atomically(sync, threads * APART, 1)
