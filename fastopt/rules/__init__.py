"""The registry of built-in rules: every :class:`Rule` in a module of this package, by name.

Adding a rule is adding a file here; nothing else lists them.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from .._errors import unknown_name
from .rule import Hyper, Rule, check_hyper, rule
from .vocabulary import clip, fma, sign, where

__all__ = ["RULES", "Hyper", "Rule", "check_hyper", "clip", "fma", "get_rule", "rule", "sign", "where"]


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
