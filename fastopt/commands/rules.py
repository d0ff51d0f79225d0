"""``fastopt rules``: the list of update rules, and the documentation of one.

A rule's documentation is its module's docstring. Lines ``name: meaning`` in a section ``Hyper-parameters:`` become a
table with ranges and defaults; everything else is printed as it stands.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ..rules import RULES, MatrixStage, Rule
from ..runs.settings import find_rule
from .options import hyper_text

__all__ = ["add_parser", "run"]

_SYMBOLS = "p parameter, g gradient, t step (from 1), η lr, λ weight_decay; sizes are those of float32"

_DECAY = {
    "l2": "λ, L2 decay: g + λp takes the place of g",
    "decoupled": "λ, decoupled decay: p is multiplied by 1 − ηλ before the update",
}

_SECTION = re.compile(r"^Hyper-parameters:\n(?P<entries>(?: +\w+: .+\n?)+)", re.MULTILINE)
_ENTRY = re.compile(r"^ +(\w+): (.+)$", re.MULTILINE)

_WIDTH = 100


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
    print(f"{_SYMBOLS}\n'fastopt rules NAME' explains a rule\n")
    for rule in RULES.values():
        print(_describe(rule))
    return 0


def _describe(rule: Rule) -> str:
    hyper = ", ".join(f"{name}={value}" for name, value in rule.hyper.items())
    decay = f"; {rule.decay} decay" if rule.decay else ""
    state = f"state: {', '.join(rule.states) or 'none'}; {4 * rule.words_per_parameter()} bytes"
    return "\n".join([rule.name, f"    {rule.equation}", f"    {state}", f"    {hyper}{decay}", ""])


def _explain(spec: str) -> str:
    rule = find_rule(spec)
    before, meanings, after = _parts(rule.documentation)
    if rule.decay:
        meanings["weight_decay"] = _DECAY[rule.decay]
    equation = [f"    {line.strip()}" for line in rule.equation.split(";") if line]
    table = [f"Hyper-parameters (options: 'fastopt train --rule {spec} --help'):", *_hyper(rule, meanings)]
    blocks = [[rule.name], equation, [f"    {_SYMBOLS}", *_sizes(rule)], [before.strip()], table, [after.strip()]]
    return "\n\n".join(text for text in map("\n".join, blocks) if text)


def _parts(documentation: str) -> tuple[str, dict[str, str], str]:
    """Return what stands before the hyper-parameters, the meaning of each of them, and what stands after them."""
    section = _SECTION.search(documentation)
    if section is None:
        return documentation, {}, ""
    meanings = dict(_ENTRY.findall(section["entries"]))
    return documentation[: section.start()], meanings, documentation[section.end() :]


def _sizes(rule: Rule) -> Iterator[str]:
    """Yield what the rule keeps, and what a step reads and writes."""
    states = [name + _start(rule.starts.get(name, 0.0)) for name in rule.states]
    yield f"    state: {', '.join(states) or 'none'}; {4 * len(states)} bytes per parameter"
    memory = rule.memory_at_start(rule.hyper)
    if memory:
        yield f"    numbers kept from step to step: {', '.join(memory)}"
    products = ", and matrix products" if any(isinstance(stage, MatrixStage) for stage in rule.stages) else ""
    yield f"    a step reads and writes {4 * rule.words_per_parameter()} bytes per parameter{products}"
    if rule.vectors is not None:
        yield f"    segments that are not matrices: {rule.vectors.name}"


def _start(start: float | str) -> str:
    return f" (at first {start})" if start else ""


def _hyper(rule: Rule, meanings: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a table: name, range, default, and the meaning, which may take several lines."""
    cells = [(name, str(rule.ranges[name]), hyper_text(default)) for name, default in rule.hyper.items()]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        known = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        start = f"    {known}  "
        lines = textwrap.wrap(meanings.get(row[0], ""), _WIDTH - len(start)) or [""]
        yield f"{start}{lines[0]}".rstrip()
        yield from (" " * len(start) + line for line in lines[1:])
