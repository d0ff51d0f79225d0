"""Ctrl-C between two steps, not within one, where it would leave parameters and states of different steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from .training import Training

__all__ = ["Interrupt", "stop_on_interrupt"]


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed."""

    happened: bool = False


@contextmanager
def stop_on_interrupt(training: Training) -> Iterator[Interrupt]:
    """Make the first Ctrl-C stop the training after its current step; the second interrupts as usual.

    This does nothing outside the main thread, the only one that receives signals, and nothing where Ctrl-C is ignored,
    as under nohup.
    """
    interrupt = Interrupt()
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def stop(number: int, frame: FrameType | None) -> None:
        interrupt.happened = True
        training.stop()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, stop) or signal.SIG_DFL  # None: a handler that was not set from Python
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
