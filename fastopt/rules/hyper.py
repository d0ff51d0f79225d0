"""Hyper-parameters: their ranges, and the one check that every value goes through, wherever it is set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from .._errors import unknown_name

__all__ = ["ANY", "FRACTION", "NOT_NEGATIVE", "POSITIVE", "Hyper", "Range", "checked", "range_of"]

Hyper = float | tuple[float, ...]
"""The value of a hyper-parameter: a number, or several such as ``betas``."""


@dataclass(frozen=True)
class Range:
    """An interval of finite numbers: from `low`, which belongs to it unless it is open, to `high`, which does not."""

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False

    def __contains__(self, number: Any) -> bool:
        above = number > self.low if self.is_open else number >= self.low
        return math.isfinite(number) and above and number < self.high

    @property
    def words(self) -> str:
        """What an error message calls a number in it."""
        if self.high == math.inf and self.low == 0:
            return "a positive number" if self.is_open else "a number that is not negative"
        return "a finite number" if self == ANY else f"a number in {self}"

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"{'(' if self.is_open else '['}{self.low:g}, {self.high:g})"
        if self.low == -math.inf:
            return "finite"
        return f"{'>' if self.is_open else '≥'} {self.low:g}"


ANY, NOT_NEGATIVE, POSITIVE, FRACTION = Range(), Range(0.0), Range(0.0, is_open=True), Range(0.0, 1.0)

_STANDARD = {
    "alpha": FRACTION,
    "beta": FRACTION,
    "betas": FRACTION,
    "dampening": ANY,
    "eps": NOT_NEGATIVE,
    "lr": NOT_NEGATIVE,
    "lr_decay": NOT_NEGATIVE,
    "momentum": FRACTION,
    "rho": FRACTION,
    "weight_decay": NOT_NEGATIVE,
}


def range_of(name: str, default: Hyper) -> Range:
    """Return the range that a name stands for in the field's usage, if the default lies in it; else any finite number.

    Examples
    --------
    >>> str(range_of("betas", (0.9, 0.999))), str(range_of("alpha", 5.0))
    ('[0, 1)', 'finite')
    """
    standard = _STANDARD.get(name, ANY)
    return standard if all(number in standard for number in _numbers(default)) else ANY


def checked(
    rule: str, defaults: Mapping[str, Hyper], ranges: Mapping[str, Range], given: Mapping[str, Any]
) -> dict[str, Hyper]:
    """Return a rule's hyper-parameters, those given in the place of the defaults.

    Raises
    ------
    ValueError
        The rule has no hyper-parameter of that name, or the value is not in its range.
    TypeError
        The value is no number, or another number of numbers than the default.
    """
    for name in given:
        if name not in defaults:
            raise unknown_name(f"hyper-parameter of {rule}", name, defaults)
    return {
        **defaults,
        **{name: _checked(rule, name, value, defaults[name], ranges[name]) for name, value in given.items()},
    }


def _checked(rule: str, name: str, value: Any, default: Hyper, allowed: Range) -> Hyper:
    several = isinstance(default, tuple)
    if isinstance(value, (tuple, list)) != several or len(_numbers(value)) != len(_numbers(default)):
        wanted = f"{len(_numbers(default))} numbers" if several else "one number"
        raise TypeError(f"{rule}: got {name}={value!r}, expected {wanted}, such as the default {default!r}")
    for number in _numbers(value):
        if not isinstance(number, Real):
            raise TypeError(f"{rule}: got {name}={value!r}, expected a number such as {default!r}")
        if number not in allowed:
            words = allowed.words if math.isfinite(number) else "a finite number"
            raise ValueError(f"{rule}: got {name}={value!r}, expected {words}")
    return tuple(map(float, value)) if several else float(value)


def _numbers(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
