"""A status line on standard error during long preparations; no output unless that is a terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import Any

__all__ = ["PREPARING", "Waiting"]

PREPARING = "preparing: checking the data, compiling kernels"
"""The status before a training, which takes seconds where kernels are not in the cache."""


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
        self._stream: Any = sys.stderr  # None in a program without a console
        visible = not disable and getattr(self._stream, "isatty", bool)()
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
