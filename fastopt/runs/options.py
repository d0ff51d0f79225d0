"""How a setting is described: which values it may have, what it means, and how its command-line option is written.

A kind of values has ``read(text)``, which converts a word of the command line or raises ValueError;
``check(name, value)``, which returns the value in its final type or raises; and ``expected``, the text for both errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import MISSING, dataclass, field
from numbers import Real
from typing import Any, Protocol

from .._errors import unknown_name, whole_number
from .._user_file import is_in_file

__all__ = ["Choice", "Each", "Flag", "Number", "Option", "Text", "Values", "Whole", "setting"]


class Values(Protocol):
    """A kind of values."""

    @property
    def expected(self) -> str:
        """What a value has to be, in words."""

    @property
    def metavar(self) -> str:
        """What stands for a value in a usage line."""

    def read(self, text: str) -> Any:
        """Return the value that a word of the command line stands for."""

    def check(self, name: str, value: object) -> Any:
        """Return the value in its final type."""


@dataclass(frozen=True)
class Text:
    """Any text."""

    metavar: str
    expected: str = "a text"

    def read(self, text: str) -> str:
        return text

    def check(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{name}: got {value!r}, expected {self.expected}")
        return value


@dataclass(frozen=True)
class Number:
    """The numbers that `accepts` is true for."""

    expected: str
    accepts: Callable[[float], bool]
    metavar: str = "X"

    def read(self, text: str) -> float:
        return float(text)

    def check(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name}: got {value!r}, expected {self.expected}")
        if not self.accepts(float(value)):
            raise ValueError(f"{name}: got {float(value)}, expected {self.expected}")
        return float(value)


@dataclass(frozen=True)
class Whole:
    """The whole numbers from `least` to `most`."""

    least: int
    most: int | None = None
    metavar: str = "N"

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least}" + ("" if self.most is None else f" to {self.most}")

    def read(self, text: str) -> int:
        return int(text)

    def check(self, name: str, value: object) -> int:
        number = whole_number(name, value, self.least)
        if self.most is not None and number > self.most:
            raise ValueError(f"{name}: got {number}, expected {self.expected}")
        return number


@dataclass(frozen=True)
class Each:
    """Any number of values of one kind."""

    of: Values

    @property
    def expected(self) -> str:
        return self.of.expected

    @property
    def metavar(self) -> str:
        return self.of.metavar

    def read(self, text: str) -> Any:
        return self.of.read(text)

    def check(self, name: str, value: object) -> tuple[Any, ...]:
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{name}: got {value!r}, expected a list, each element {self.expected}")
        return tuple(self.of.check(f"{name}[{place}]", element) for place, element in enumerate(value))


@dataclass(frozen=True)
class Choice:
    """The names in a table, and ``FILE.py:NAME`` where `own` is set; `kind` is what error messages call them."""

    kind: str
    names: Collection[str]
    own: bool = False
    metavar: str = "NAME"

    @property
    def expected(self) -> str:
        return ", ".join(sorted(self.names))

    def read(self, text: str) -> str:
        return text

    def check(self, name: str, value: object) -> str:
        if isinstance(value, str) and (value in self.names or (self.own and is_in_file(value))):
            return value
        error = unknown_name(self.kind, value, self.names)
        raise error if name == self.kind else ValueError(f"{name}: {error}")


@dataclass(frozen=True)
class Flag:
    """True and False; on the command line ``--NAME``, or ``--no-NAME`` for a setting that is on by default."""

    expected: str = "True or False"
    metavar: str = ""

    def read(self, text: str) -> bool:
        raise ValueError(text)

    def check(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name}: got {value!r}, expected {self.expected}")
        return value


@dataclass(frozen=True)
class Option:
    """The description of one setting.

    Attributes
    ----------
    group
        The section of ``--help`` that its option is in.
    values
        What it may be.
    help
        What it does; of a flag that is on by default, what switching it off does.
    default
        What it is when it is not given.
    default_text
        The same in words, where the value does not say it.
    none
        The word of the command line for None, where None is a value that can be chosen.
    """

    group: str
    values: Values
    help: str
    default: Any
    default_text: str = ""
    none: str = ""

    def read(self, text: str) -> Any:
        """Return the value that a word of the command line stands for, or raise ValueError."""
        return None if self.none and text == self.none else self.values.read(text)

    @property
    def expected(self) -> str:
        """What a word of the command line has to be."""
        return self.values.expected + (f", or {self.none!r}" if self.none else "")

    def check(self, name: str, value: object) -> Any:
        """Return the value in its final type.

        Raises
        ------
        TypeError, ValueError
            It is not one of the values.
        """
        if value is None and (self.none or self.default is None):
            return None
        return self.values.check(name, value)


def setting(default: Any, group: str, values: Values, help: str, *, default_text: str = "", none: str = "") -> Any:  # noqa: A002
    """Return the dataclass field of a setting; its arguments are those of :class:`Option`."""
    assert default is not MISSING
    return field(default=default, metadata={"option": Option(group, values, help, default, default_text, none)})
