"""The registry of built-in rules: every :class:`Rule` in a module of this package, by name.

Adding a rule is adding a file here; nothing else lists them.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from .._errors import unknown_name
from .hyper import Hyper, Range
from .limits import GRADIENT_FACTOR, GRADIENT_NORM, is_limited, with_limits
from .numbers import TOTAL, Number
from .prelude import PRELUDE_NUMBERS
from .rule import Rule, rule
from .stages import MatrixStage, Stage, Sweep
from .vocabulary import clip, fma, sign, where

__all__ = [
    "GRADIENT_FACTOR",
    "GRADIENT_NORM",
    "PRELUDE_NUMBERS",
    "RULES",
    "TOTAL",
    "Hyper",
    "MatrixStage",
    "Number",
    "Range",
    "Rule",
    "Stage",
    "Sweep",
    "clip",
    "fma",
    "get_rule",
    "is_limited",
    "rule",
    "sign",
    "where",
    "with_limits",
]


def _built_in() -> dict[str, Rule]:
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    found = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Rule)}
    return dict(sorted(found.items(), key=lambda item: (len(item[1].states), item[0])))


RULES: dict[str, Rule] = _built_in()
"""Name to rule, fewest states first."""


def get_rule(name: str | Rule) -> Rule:
    """Return the built-in rule of that name; a rule is returned as it is.

    Raises
    ------
    ValueError
        There is no rule of that name; the message gives the nearest one.

    Examples
    --------
    >>> get_rule("adam").states
    ('exp_avg', 'exp_avg_sq')
    """
    if isinstance(name, Rule):
        return name
    if name not in RULES:
        raise unknown_name("rule", name, RULES)
    return RULES[name]
