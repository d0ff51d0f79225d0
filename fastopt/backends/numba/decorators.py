"""The decorators of every Numba kernel: a helper without flags of its own takes those of whoever calls it first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any

from numba import njit

__all__ = ["cache_folder", "inlined", "kernel", "renamed"]

# A division by zero is an infinity: with Python's exception, no loop that divides is vectorised.
_compile: Any = partial(njit, error_model="numpy")


def inlined(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a function that only kernels call: without the two wrappers through which Python and C would."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


def kernel(function: Callable[..., Any] | None = None, *, digest: str = "", **options: Any) -> Any:
    """Compile a function that Python calls, and keep it on disk where there is a place for it; see :func:`renamed`."""
    if function is None:
        return partial(kernel, digest=digest, **options)
    function = renamed(function, digest)
    try:
        return _compile(function, nogil=True, cache=True, **options)
    except RuntimeError:  # no file to lie beside (a rule typed at a prompt), or no folder that can be written to
        return _compile(function, nogil=True, **options)


def renamed(function: Callable[..., Any], digest: str) -> FunctionType:
    """Return the function with the digest in its name.

    Numba finds machine code again by the function's name and the date of its file. The digest stands for what the code
    comes from besides: functions and constants of other files.
    """
    name = f"{function.__name__}_{digest}" if digest else function.__name__
    code = function.__code__.replace(co_name=name, co_qualname=name)
    return FunctionType(code, function.__globals__, name, None, function.__closure__)


def cache_folder(dispatcher: Any) -> str | None:
    """Return where a kernel is kept; None when it is compiled anew in each process."""
    path: str | None = dispatcher.stats.cache_path
    return path
