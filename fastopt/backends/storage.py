"""How the buffers of an optimizer lie in memory: the dtype of each, independent of that of the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._bfloat16 import bfloat16, state_dtype
from .._errors import unknown_name
from ..rules import Rule, Sweep
from .rounding import KEY_NUMBERS

__all__ = ["ROUNDINGS", "Storage", "plain", "storage_of"]

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
        return state_dtype(self.parameters)

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
        return len(KEY_NUMBERS) if self.is_random else 0

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


def plain(dtype: np.dtype[Any]) -> Storage:
    """Return the storage that a backend assumes where it is given only the dtype of the parameters."""
    return Storage(dtype, state_dtype(dtype))


def storage_of(parameters: np.dtype[Any], states: str | None, rounding: str) -> Storage:
    """Return the storage of an optimizer over parameters of a dtype.

    Raises
    ------
    ValueError
        An unknown rounding, or a dtype of states that does not go with the parameters.
    """
    if rounding not in ROUNDINGS:
        raise unknown_name("rounding", rounding, ROUNDINGS)
    arithmetic = state_dtype(parameters)
    allowed = [arithmetic.name] + (["bfloat16"] if arithmetic == np.float32 else [])
    if states is not None and states not in allowed:
        raise ValueError(
            f"states: got {states!r} for parameters of {parameters.name}, expected {' or '.join(map(repr, allowed))}"
        )
    return Storage(parameters, bfloat16() if states == "bfloat16" else arithmetic, rounding)
