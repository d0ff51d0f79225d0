"""Output that no one may be there to take: a closed stream, a reader that has gone, a full disk."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = ["discard", "open_standard_streams", "say", "warn"]

_ERRORS = (OSError, ValueError)  # ValueError: the stream is closed


def say(line: str) -> None:
    """Print a line on standard output; where that takes nothing any more, go on without."""
    _write(sys.stdout, line)


def warn(line: str) -> None:
    """Print a line on standard error in the same way."""
    _write(sys.stderr, line)


def open_standard_streams() -> None:
    """Open the null device in the place of standard streams that are closed.

    The next file that is opened, a model say, would get such a stream's number, and what libraries print would be
    written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number that is free


def _write(stream: TextIO | None, line: str) -> None:
    if stream is None:  # closed when the process began
        return
    try:
        print(line, file=stream, flush=True)
    except _ERRORS:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Connect a stream to the null device: what is buffered would be an error again when the process ends."""
    with suppress(*_ERRORS):
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
