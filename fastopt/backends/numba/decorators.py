"""The decorators of every Numba kernel: a helper without flags of its own takes those of whoever calls it first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from numba import njit

__all__ = ["cache_folder", "inlined", "kernel"]

# A division by zero is an infinity: with Python's exception, no loop that divides is vectorised.
_compile: Any = partial(njit, error_model="numpy")


def inlined(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function that only kernels call."""
    return _compile(function, **options)


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a function that Python calls, and keep it on disk where there is a place for it."""
    if function is None:
        return partial(kernel, **options)
    try:
        return _compile(function, nogil=True, cache=True, **options)
    except RuntimeError:  # no file to lie beside (a rule typed at a prompt), or no folder that can be written to
        return _compile(function, nogil=True, **options)


def cache_folder(dispatcher: Any) -> str | None:
    """Return where a kernel is kept; None when it is compiled anew in each process."""
    path: str | None = dispatcher.stats.cache_path
    return path
