"""Compiled code that is called by its address, so that who calls it is not compiled again for it."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import cfunc, types

__all__ = ["part"]


def part(function: Callable[..., Any], *arguments: Any, digest: str = "") -> Any:
    """Compile a function without a result, and keep it on disk where there is a place for it.

    Numba finds it again by its name and the date of its file. `digest` goes into the name, and stands for what the
    machine code comes from besides.
    """
    name = f"{function.__name__}_{digest}" if digest else function.__name__
    code = function.__code__.replace(co_name=name, co_qualname=name)
    function = FunctionType(code, function.__globals__, name, None, function.__closure__)
    signature = types.void(*arguments)
    try:
        return cfunc(signature, nopython=True, cache=True, error_model="numpy")(function)
    except (RuntimeError, ImportError):
        # No file to lie beside (a rule typed at a prompt), no folder to write to, or a module that has no name.
        return cfunc(signature, nopython=True, error_model="numpy")(function)
