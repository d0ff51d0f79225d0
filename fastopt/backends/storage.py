"""How the buffers of an optimizer lie in memory: the dtype of each, independent of that of the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._bfloat16 import arithmetic_dtype, bfloat16
from .._constants import KEY_NUMBERS
from .._errors import unknown_name
from ..rules import Rule, Sweep

__all__ = ["ROUNDINGS", "Storage", "storage_of"]

ROUNDINGS = ("nearest", "stochastic")
"""How numbers are rounded to a dtype of less precision than the arithmetic's; see :mod:`.rounding`."""


@dataclass(frozen=True)
class Storage:
    """The dtypes of buffers, and how numbers are rounded to them.

    Attributes
    ----------
    parameters
        Of the parameters and the gradient.
    states
        Of each state.
    rounding
        One of :data:`ROUNDINGS`.

    Examples
    --------
    >>> from fastopt import RULES
    >>> storage_of(np.dtype("float32"), "bfloat16", "nearest").bytes_per_parameter(RULES["adam"])
    20
    """

    parameters: np.dtype[Any]
    states: np.dtype[Any]
    rounding: str = "nearest"

    @property
    def arithmetic(self) -> np.dtype[Any]:
        """The dtype that passes compute in."""
        return arithmetic_dtype(self.parameters)

    @property
    def is_plain(self) -> bool:
        """Whether all buffers have the dtype of the arithmetic, so that nothing is converted."""
        return self.parameters == self.states == self.arithmetic

    @property
    def is_random(self) -> bool:
        """Whether passes take a key for random numbers after their other numbers."""
        return self.rounding == "stochastic" and not self.is_plain

    @property
    def key_numbers(self) -> int:
        """How many numbers that key has."""
        return KEY_NUMBERS if self.is_random else 0

    def of(self, buffer: str) -> np.dtype[Any]:
        """Return the dtype of a buffer of a sweep."""
        return self.parameters if buffer in ("p", "g") else self.states

    def is_converted(self, buffer: str) -> bool:
        """Return whether a buffer's numbers are widened when they are loaded, and rounded when they are stored."""
        return self.of(buffer) != self.arithmetic

    def bytes_per_parameter(self, rule: Rule) -> int:
        """Return how many bytes the sweeps of a step read and write for each parameter."""
        moved = [
            buffer for stage in rule.stages if isinstance(stage, Sweep) for buffer in (*stage.buffers, *stage.writes)
        ]
        return sum(self.of(buffer).itemsize for buffer in moved)


def storage_of(parameters: np.dtype[Any], states: str | None, rounding: str) -> Storage:
    """Return the storage of an optimizer over parameters of a dtype.

    Raises
    ------
    ValueError
        An unknown rounding, or a dtype of states that does not go with the parameters.
    """
    if rounding not in ROUNDINGS:
        raise unknown_name("rounding", rounding, ROUNDINGS)
    arithmetic = arithmetic_dtype(parameters)
    allowed = [arithmetic.name] + (["bfloat16"] if arithmetic == np.float32 else [])
    if states is not None and states not in allowed:
        raise ValueError(
            f"states: got {states!r} for parameters of {parameters.name}, expected {' or '.join(map(repr, allowed))}"
        )
    storage = Storage(parameters, bfloat16() if states == "bfloat16" else arithmetic, rounding)
    if rounding != "nearest" and storage.is_plain:
        raise ValueError(
            f"rounding: got {rounding!r} with buffers of {arithmetic.name} alone, which are not rounded; "
            "expected states='bfloat16', or parameters of bfloat16"
        )
    return storage
