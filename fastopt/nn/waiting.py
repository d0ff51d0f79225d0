"""A word to who waits for the compilers; nothing where nobody looks, since standard error is no terminal."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import Any

__all__ = ["GETTING_READY", "Waiting"]

GETTING_READY = "getting ready: looks at the data, compiles what is new here"
"""What comes before a training, for seconds where nothing was compiled before."""


class Waiting:
    """Says on standard error what is being waited for, and for how long already, until it is there.

    Parameters
    ----------
    what
        One line.
    delay
        Seconds before anything is shown.
    disable
        Show nothing at all.
    """

    def __init__(self, what: str, *, delay: float = 1.0, disable: bool = False) -> None:
        self._what, self._delay = what, delay
        self._done = threading.Event()
        self._stream: Any = sys.stderr
        self._thread = threading.Thread(target=self._show, daemon=True) if not disable and self._is_seen() else None

    def _is_seen(self) -> bool:
        """Return whether standard error is a terminal; a program with windows may have none at all."""
        return bool(getattr(self._stream, "isatty", bool)())

    def _show(self) -> None:
        start, wait = time.monotonic(), self._delay
        line = ""
        while not self._done.wait(wait):
            line = f"{self._what} ({time.monotonic() - start:.0f} s)"[: shutil.get_terminal_size().columns - 1]
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
