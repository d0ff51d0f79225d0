"""NumPy arrays as compiled code sees them: addresses."""

from __future__ import annotations

from ..protocol import Array

__all__ = ["address"]


def address(array: Array) -> int:
    """Return where the array's elements lie."""
    return int(array.__array_interface__["data"][0])
