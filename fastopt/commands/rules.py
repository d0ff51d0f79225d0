"""``fastopt rules``: the list of update rules, and the documentation of one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ..rules import RULES, Rule
from ..runs.settings import find_rule
from .options import hyper_text

__all__ = ["add_parser", "run"]

_SYMBOLS = "p parameter, g gradient, η lr, λ weight_decay; bytes per parameter in float32"

_DECAY = {
    "l2": "g + λp replaces g",
    "decoupled": "p is multiplied by 1 − ηλ before the update",
    None: "as in the equation, or none",
}


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "rules",
        help="list the update rules, or explain one",
        description="List the update rules: equation, state, bytes read and written per parameter, defaults. With a "
        "name: explain that rule.",
    )
    parser.add_argument("rule", nargs="?", metavar="NAME", help="a rule, or FILE.py:NAME for a rule of your own")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the rules, those with the fewest states first; or one rule with everything that is known of it."""
    if arguments.rule is not None:
        print(_explain(arguments.rule))
        return 0
    print(f"{_SYMBOLS}; 'fastopt rules NAME' explains a rule\n")
    for rule in RULES.values():
        print(_describe(rule))
    return 0


def _describe(rule: Rule) -> str:
    hyper = ", ".join(f"{name}={value}" for name, value in rule.hyper.items())
    lines = [rule.name, f"    {rule.equation}", f"    {_state(rule)}"]
    decay = f"; {rule.decay} decay" if rule.decay else ""
    return "\n".join([*lines, f"    {hyper}{decay}", ""])


def _state(rule: Rule) -> str:
    return f"state: {', '.join(rule.states) or 'none'}; {4 * rule.words_per_parameter()} bytes"


def _explain(spec: str) -> str:
    rule = find_rule(spec)
    return "\n".join(
        [
            rule.name,
            "",
            f"    {rule.equation}",
            f"    {_state(rule)}",
            f"    weight decay: {_DECAY[rule.decay]}",
            "",
            f"hyper-parameters ('fastopt train --rule {spec} --help' shows their options)",
            *_hyper(rule),
            "",
            rule.documentation,
            "",
            _SYMBOLS,
        ]
    )


def _hyper(rule: Rule) -> Iterator[str]:
    width = max(map(len, rule.hyper))
    for name, default in rule.hyper.items():
        yield f"    {name:<{width}}  {rule.ranges[name]!s:<7} default {hyper_text(default)}"
