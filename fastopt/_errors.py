"""Messages that more than one module gives: what came, what was expected, what to do."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["unknown_name", "whole_number"]


def whole_number(name: str, value: object, least: int = 1) -> int:
    """Return `value` as an int of at least `least`.

    Raises
    ------
    TypeError
        It is no whole number.
    ValueError
        It is less.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{name}: got {value!r}, expected a whole number from {least}")
    if number < least:
        raise ValueError(f"{name}: got {number}, expected a whole number from {least}")
    return number


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not in a table, with the nearest names that are."""
    known = sorted(known)
    nearest = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return ValueError(f"unknown {kind} {name!r}: {hint}known are {', '.join(known)}")
