"""Schedules: the factor on the learning rate as a function of the share of the training that is done."""

from __future__ import annotations

import math
from collections.abc import Callable

from ._errors import unknown_name

__all__ = ["SCHEDULES", "Schedule", "get_schedule"]

Schedule = Callable[[float], float]

SCHEDULES: dict[str, Schedule] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
}
"""Name to a function of a number from 0, the first step, to 1, behind the last."""


def get_schedule(name: str) -> Schedule:
    """Return the schedule of that name.

    Raises
    ------
    ValueError
        There is none of that name; the message gives the nearest one.

    Examples
    --------
    >>> get_schedule("linear")(0.25)
    0.75
    """
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES)
    return SCHEDULES[name]
