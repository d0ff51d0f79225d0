"""The stream that work on an array belongs to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["capturing", "is_of_torch", "launches_on", "pointer_of", "stream_pointer"]

_launches_on: ContextVar[int | None] = ContextVar("launches_on", default=None)
_capturing: ContextVar[bool] = ContextVar("capturing", default=False)


def stream_pointer(owner: Any) -> int | None:
    """Return the address of the stream that the owner of an array launches on now; None for the default one.

    In :func:`launches_on` it is that stream, whoever the owner is.
    """
    chosen = _launches_on.get()
    if chosen is not None or owner is None:
        return chosen
    if is_of_torch(owner):  # whose interface names no stream
        pointer: int = sys.modules["torch"].cuda.current_stream(owner.device).cuda_stream
        return pointer
    stream: int | None = getattr(owner, "__cuda_array_interface__", {}).get("stream")
    return stream


def is_of_torch(array: Any) -> bool:
    """Return whether it is PyTorch's, which works on its current stream, and reuses memory in that stream's order."""
    return type(array).__module__.partition(".")[0] == "torch"


def pointer_of(stream: Any) -> int:
    """Return the address of a stream of Numba, CuPy, PyTorch or `cuda.core`, or the number itself.

    Raises
    ------
    TypeError
        It is no stream.
    """
    if isinstance(stream, int):
        return stream
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("cuda_stream", "ptr"):  # PyTorch's, CuPy's
        if hasattr(stream, name):
            return int(getattr(stream, name))
    raise TypeError(
        f"stream: got {type(stream).__name__}, expected a stream of Numba, CuPy, PyTorch or cuda.core, or its address"
    )


@contextmanager
def launches_on(pointer: int, *, captured: bool = False) -> Iterator[None]:
    """Have this thread's launches go to one stream, perhaps to be captured there."""
    chosen, capturing_now = _launches_on.set(pointer), _capturing.set(captured or _capturing.get())
    try:
        yield
    finally:
        _launches_on.reset(chosen)
        _capturing.reset(capturing_now)


def capturing() -> bool:
    """Return whether this thread's launches are being captured by :func:`fastopt.backends.cuda.graph.capture`."""
    return _capturing.get()
