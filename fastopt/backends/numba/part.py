"""Compiled code that is called by its address, so that who calls it is not compiled again for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import cfunc, types

from .decorators import renamed

__all__ = ["part"]


def part(function: Callable[..., Any], *arguments: Any, digest: str = "") -> Any:
    """Compile a function without a result, and keep it on disk where there is a place for it; see :func:`renamed`."""
    function = renamed(function, digest)
    signature = types.void(*arguments)
    try:
        return cfunc(signature, nopython=True, cache=True, error_model="numpy")(function)
    except (RuntimeError, ImportError):
        # No file to lie beside (a rule typed at a prompt), no folder to write to, or a module that has no name.
        return cfunc(signature, nopython=True, error_model="numpy")(function)
