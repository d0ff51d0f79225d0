"""Times by the GPU's own clock: events before and behind work that it was told all of before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import shim
from .shim import cuda, kernel, types

__all__ = ["Clock", "pause_function", "pause_signature"]

_SHORTEST, _LONGEST = 50, 50_000
"""Microseconds of a pause."""

_NAP = np.uint32(1000)
"""Nanoseconds."""


class Clock:
    """Takes the time of work on the default stream.

    A GPU that waits for the host between two kernels shows the host's time. So it first gets a pause, during which it
    is told everything. Where it had begun before the host was done, the pause is doubled and the work done once more.

    Attributes
    ----------
    behind
        Whether some work was waited for whatever the pause: its time has the host's in it.
    """

    def __init__(self) -> None:
        self.behind = False
        self._pause = _SHORTEST
        self._first, self._last = _event(), _event()

    def seconds(self, tell: Callable[[], None]) -> float:
        """Return how long the GPU takes for what `tell` has it do."""
        while not self._told_in_time(tell) and not self.behind:
            self._pause *= 2
            self.behind = self._pause > _LONGEST
        return float(self._first.elapsed_time(self._last)) / 1e3

    def _told_in_time(self, tell: Callable[[], None]) -> bool:
        shim.synchronize()
        if not self.behind:
            _wait(self._pause)
        self._first.record()
        tell()
        ahead = not self._first.query()
        self._last.record()
        self._last.synchronize()
        return ahead


class _HostEvent:
    """An event of the simulator, which has no clock and does at once what it is told."""

    def record(self) -> None:
        self._at = time.perf_counter()

    def query(self) -> bool:
        return False

    def synchronize(self) -> None:
        return

    def elapsed_time(self, other: _HostEvent) -> float:
        return 1e3 * (other._at - self._at)


def _event() -> Any:
    return _HostEvent() if shim.simulated else cuda.event(timing=True)


def pause_function(naps):  # type: ignore[no-untyped-def]
    """Let one thread sleep so often."""
    for _ in range(naps):
        cuda.nanosleep(_NAP)


def pause_signature() -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return (types.uint32,)


@cache
def _compiled() -> Any:
    return kernel(pause_function, pause_signature(), (1,))


def _wait(microseconds: int) -> None:
    if not shim.simulated:
        _compiled()[1, 1](np.uint32(microseconds * 1000 // int(_NAP)))
