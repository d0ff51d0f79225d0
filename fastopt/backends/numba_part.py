"""Compiled code that is called by its address, so that who calls it is not compiled again for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import cfunc, types

__all__ = ["part"]


def part(function: Callable[..., Any], *arguments: Any) -> Any:
    """Compile a function without a result, and keep it on disk where there is a place for it."""
    signature = types.void(*arguments)
    try:
        return cfunc(signature, nopython=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # no file to lie beside (a rule typed at a prompt), or no folder that can be written to
        return cfunc(signature, nopython=True, error_model="numpy")(function)
