"""The C source of libraries for what is not built in: a sweep, an activation or a loss, the numbers of a rule.

It is one of the files ``csrc/user_*.c``, whose includes were expanded when the package was built; so the file stands
for everything in ``csrc/`` that the library depends on. Each library has one function, ``fastopt_user``.
"""

from __future__ import annotations

from dataclasses import replace

from ..elements import Activation, ElementLoss
from ..rules import Rule, Sweep
from .elements import elements_source, elements_table
from .numbers import numbers_source
from .passes import passes_source, table_source

__all__ = ["COMPILE_ARGS", "TEMPLATES", "user_element_source", "user_numbers_source", "user_rule_source"]

COMPILE_ARGS = ["-O3", "-std=gnu99", "-fno-math-errno", "-ffp-contract=off"]
"""No contraction: the bits are those of the rule as it is written. No errno: ``sqrtf`` becomes an instruction."""

TEMPLATES = {
    "user_rule.c": ("generated/functions.inc", "generated/passes.inc", "generated/rules.inc"),
    "user_element.c": (
        "generated/elements_float32.inc",
        "generated/elements_float64.inc",
        "generated/elements.inc",
    ),
    "user_numbers.c": ("generated/numbers.inc",),
}
"""File to what stays included in its expanded text, and is filled in for each library."""


def user_rule_source(template: str, sweep: Sweep, level: str) -> str:
    """Return the source of the library of a sweep, with its ``fastopt_rule``.

    Parameters
    ----------
    template
        The expanded text of ``csrc/user_rule.c``.
    sweep
        The sweep, with names of any kind.
    level
        The vector width, as the C library calls it.

    Raises
    ------
    TranslationError
        Its function contains something that C cannot say.
    """
    named = replace(sweep.numbered(), name="user_rule")
    return _filled(template, "user_rule.c", (*passes_source([named]), table_source([named])), level)


def user_element_source(template: str, element: Activation | ElementLoss, level: str) -> str:
    """Return the source of the library of an activation or a loss, with its ``fastopt_activation`` or ``fastopt_loss``.

    Parameters and errors are those of :func:`user_rule_source`, of ``csrc/user_element.c``.
    """
    named = object.__new__(type(element))  # a copy would be the same one: elements are found again by their names
    named.__dict__.update(element.__dict__, name="user_element")  # its own name may be no word of C
    both = ([named], []) if isinstance(named, Activation) else ([], [named])
    texts = (*(elements_source(*both, dtype) for dtype in ("float32", "float64")), elements_table(*both))
    return _filled(template, "user_element.c", texts, level)


def user_numbers_source(template: str, rule: Rule) -> str:
    """Return the source of the library of a rule's numbers, with the address of the function that computes them.

    Parameters and errors are those of :func:`user_rule_source`, of ``csrc/user_numbers.c``.
    """
    return _filled(template, "user_numbers.c", (numbers_source({"user_numbers": rule}),), "portable")


def _filled(template: str, file: str, texts: tuple[str, ...], level: str) -> str:
    for include, text in zip(TEMPLATES[file], texts, strict=True):
        template = template.replace(f'#include "{include}"\n', text)
    return f"#define USER_TARGET TARGET_{level}\n{template}"
