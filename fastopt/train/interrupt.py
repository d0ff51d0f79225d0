"""Signals between two steps, not within one, where they would leave parameters and states of different steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .training import Training

__all__ = ["Interrupt", "stop_on_interrupt"]


@dataclass
class Interrupt:
    """The signal that came, if one did."""

    signal: int | None = None

    @property
    def happened(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    @property
    def status(self) -> int:
        """The exit status of a command that the signal ended: 128 and its number."""
        return 128 + (self.signal or 0)


@contextmanager
def stop_on_interrupt(training: Training, signals: Sequence[int] = (signal.SIGINT,)) -> Iterator[Interrupt]:
    """Make the first of each of the signals stop the training after its current step; a second acts as usual.

    This does nothing outside the main thread, the only one that receives signals, and nothing about those that are
    ignored, as SIGHUP under nohup.
    """
    interrupt = Interrupt()
    previous: dict[int, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, previous[number])
        interrupt.signal = number
        training.stop()

    if threading.current_thread() is threading.main_thread():
        for number in signals:
            handler = signal.getsignal(number)
            if handler is not signal.SIG_IGN:
                previous[number] = handler or signal.SIG_DFL  # None: one that was not set from Python
                signal.signal(number, stop)
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
