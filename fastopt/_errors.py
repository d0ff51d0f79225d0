"""Messages that more than one module gives: what came, what was expected, what to do."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["one_line", "quoted", "short", "unknown_name", "whole_number"]

_SHOWN = 8
_LONGEST_TEXT, _LONGEST_MESSAGE = 60, 1000


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


def short(text: str) -> str:
    """Return a text from outside in quotes, its middle left out where it is long.

    Examples
    --------
    >>> short("red"), short("r" * 1000)
    ("'red'", "'rrrrrrrrrrrrrrrrrrrrrrrrrrrrrr…rrrrrrrrrrrrrrrrrrrrrrrrrrrrrr'")
    """
    half = _LONGEST_TEXT // 2
    return repr(text if len(text) <= _LONGEST_TEXT else f"{text[:half]}…{text[-half:]}")


def quoted(names: Iterable[str]) -> str:
    """Return the first few names, each as :func:`short` has it."""
    names = list(names)
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join([short(name) for name in names[:_SHOWN]]) + more


def one_line(message: str) -> str:
    """Return a message as one line of a length that a person reads: its middle is left out where it is longer."""
    line, half = " ".join(message.split()), _LONGEST_MESSAGE // 2
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:half]} … {line[-half:]}"


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for a name that is not in a table, with the nearest names that are."""
    known = sorted(known)
    nearest = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return ValueError(f"unknown {kind} {name!r}: {hint}known are {', '.join(known)}")
