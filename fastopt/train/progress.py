"""Progress on standard error: a status line for preparations, a bar for training; nothing unless it is a terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from .._output import say
from .position import EpochResult, Position
from .training import Training

__all__ = ["PREPARING", "ProgressBar", "Waiting"]

PREPARING = "preparing: checking the data, compiling kernels"
"""The status before a training: it takes seconds where kernels are not in the cache."""


class ProgressBar:
    """Shows how far a training has come; pass it to :meth:`Training.run` as `on_progress`.

    Parameters
    ----------
    training
        The training to show.
    delay
        Seconds before anything is shown.
    disable
        Show nothing at all.
    """

    def __init__(self, training: Training, *, delay: float = 0.0, disable: bool = False) -> None:
        from tqdm import tqdm

        self._rows = training.rows
        position = training.position
        bar = type("Bar", (tqdm,), {"monitor_interval": 0})  # otherwise a thread of tqdm's outlives the bar
        self._bar: Any = bar(
            total=training.epochs * self._rows,
            initial=position.epoch * self._rows + position.rows,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
            delay=delay,
            leave=False,
            disable=disable or not _is_terminal(sys.stderr),
        )

    def __call__(self, position: Position) -> None:
        """Show this position."""
        done = position.epoch * self._rows + position.rows
        if position.rows and done > self._bar.n:
            with self._going_on():
                self._bar.update(done - self._bar.n)

    def describe(self, result: EpochResult) -> None:
        """Show the figures of the last epoch next to the bar."""
        self._bar.set_postfix_str(f"epoch {result.epoch} loss {result.train_loss:.4f}", refresh=False)

    def write(self, line: str) -> None:
        """Print a line above the bar on standard output, without buffering."""
        with self._going_on(), self._bar.external_write_mode():
            say(line)

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Show nothing more once that fails, and let the training go on: its terminal may have been closed."""
        try:
            yield
        except (OSError, ValueError):
            self._bar.disable = True

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._going_on():
            self._bar.close()


class Waiting:
    """A context that shows a text and the elapsed seconds until it is left.

    Parameters
    ----------
    text
        One line.
    delay
        Seconds before anything is shown.
    disable
        Show nothing at all.
    """

    def __init__(self, text: str, *, delay: float = 1.0, disable: bool = False) -> None:
        self._text, self._delay = text, delay
        self._done = threading.Event()
        self._stream = sys.stderr
        visible = not disable and _is_terminal(self._stream)
        self._thread = threading.Thread(target=self._show, daemon=True) if visible else None

    def _show(self) -> None:
        start, wait = time.monotonic(), self._delay
        line = ""
        while not self._done.wait(wait):
            line = f"{self._text} ({time.monotonic() - start:.0f} s)"[: shutil.get_terminal_size().columns - 1]
            print(f"\r{line}", end="", file=self._stream, flush=True)
            wait = 0.5
        if line:
            print(f"\r{' ' * len(line)}\r", end="", file=self._stream, flush=True)

    def __enter__(self) -> Waiting:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()


def _is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; a program without a console has None for a stream."""
    return stream is not None and bool(stream.isatty())
