"""``fastopt rules``: what rules there are."""

from __future__ import annotations

import argparse
from typing import Any

from ..rules import RULES, Rule

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "rules",
        help="list the update rules",
        description="List the update rules: equation, state, bytes read and written for each parameter, defaults.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the rules, fewest states first."""
    print("p parameter, g gradient, η lr, λ weight_decay; bytes a parameter in float32\n")
    for rule in RULES.values():
        print(_describe(rule))
    return 0


def _describe(rule: Rule) -> str:
    hyper = ", ".join(f"{name}={value}" for name, value in rule.hyper.items())
    states = ", ".join(rule.states) or "none"
    lines = [rule.name, f"    {rule.equation}", f"    state: {states}; {4 * rule.words_per_parameter()} bytes"]
    return "\n".join([*lines, f"    {hyper}; {rule.decay} decay", ""])
