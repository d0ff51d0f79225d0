"""Options of the command line, generated from the descriptions of settings and from a rule's hyper-parameters."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..rules import Rule
from ..runs.options import Choice, Each, Flag, Option

__all__ = ["add_hyper_options", "add_option", "hyper_text", "option_name", "read_hyper"]

_HYPER = "hyper."
"""Prefix of hyper-parameters in the parsed arguments: no hyper-parameter has the name of anything else there."""


def option_name(name: str, option: Option | None = None) -> str:
    """Return how a setting, or a hyper-parameter, is written on the command line.

    Examples
    --------
    >>> option_name("max_norm")
    '--max-norm'
    """
    negated = option is not None and isinstance(option.values, Flag) and option.default
    return f"--{'no-' if negated else ''}{name.replace('_', '-')}"


def add_option(group: Any, name: str, option: Option) -> None:
    """Add the option of a setting to a group of a parser."""
    text = _help(option)
    if isinstance(option.values, Flag):
        action = "store_false" if option.default else "store_true"
        group.add_argument(option_name(name, option), dest=name, action=action, help=text)
    else:
        group.add_argument(
            option_name(name),
            dest=name,
            type=_reader(option),
            nargs="*" if isinstance(option.values, Each) else None,
            metavar=option.values.metavar,
            help=text,
        )


def add_hyper_options(group: Any, rule: Rule, taken: Collection[str]) -> None:
    """Add an option for each hyper-parameter of the rule whose name is not `taken`, and ``--set`` for all of them."""
    for name, default in rule.hyper.items():
        if option_name(name) not in taken:
            group.add_argument(
                option_name(name),
                dest=_HYPER + name,
                type=float,
                nargs=len(default) if isinstance(default, tuple) else None,
                metavar="X",
                help=f"default: {hyper_text(default)}",
            )
    hidden = [name for name in rule.hyper if option_name(name) in taken]
    needed = f"; needed for {', '.join(hidden)}, since other options have these names" if hidden else ""
    group.add_argument(
        "--set",
        type=_read_assignment,
        action="append",
        metavar="NAME=X[,Y]",
        help=f"set any hyper-parameter of the rule by its name{needed}",
    )


def hyper_text(value: float | tuple[float, ...]) -> str:
    """Return a hyper-parameter as it is written on the command line.

    Examples
    --------
    >>> hyper_text((0.9, 0.999)), hyper_text(1e-8)
    ('0.9 0.999', '1e-08')
    """
    return " ".join(f"{number:g}" for number in (value if isinstance(value, tuple) else (value,)))


def read_hyper(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters among the parsed arguments."""
    own = {name.removeprefix(_HYPER): value for name, value in given.items() if name.startswith(_HYPER)}
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
    return {**own, **dict(given.get("set", []))}


def _read_assignment(text: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=X`` or ``NAME=X,Y``."""
    name, _, value = text.partition("=")
    try:
        numbers = tuple([float(number) for number in value.split(",")])
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=NUMBER, or NAME=NUMBER,NUMBER") from None
    return name, numbers if len(numbers) > 1 else numbers[0]


def _reader(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return option.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected {option.expected}") from None

    return read


def _help(option: Option) -> str:
    text = option.help
    if isinstance(option.values, Choice):
        text += f"; one of {option.values.expected}"
        text += ", or FILE.py:NAME for one of your own" if option.values.own else ""
    default = option.default_text or _default_text(option.default)
    return (text + (f" (default: {default})" if default else "")).replace("%", "%%")


def _default_text(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
