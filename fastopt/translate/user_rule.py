"""The C source of a library that holds the passes of one user-defined sweep.

It is ``csrc/user_rule.c``, whose includes were expanded when the package was built; so the file stands for everything
in ``csrc/`` that a pass depends on.
"""

from __future__ import annotations

from dataclasses import replace

from ..rules import Sweep
from .passes import passes_source, table_source

__all__ = ["COMPILE_ARGS", "FILLED_IN", "user_rule_source"]

COMPILE_ARGS = ["-O3", "-std=gnu99", "-fno-math-errno", "-ffp-contract=off"]
"""No contraction: the bits are those of the rule as it is written. No errno: ``sqrtf`` becomes an instruction."""

FILLED_IN = ("generated/functions.inc", "generated/passes.inc", "generated/rules.inc")
"""What stays included in the expanded text: a sweep's own functions, passes, and line in the table."""


def user_rule_source(template: str, sweep: Sweep, level: str) -> str:
    """Return the source of the library of a sweep, whose only function is ``fastopt_user_rule``.

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
    named = _with_names_for_c(sweep)
    for include, text in zip(FILLED_IN, (*passes_source([named]), table_source([named])), strict=True):
        template = template.replace(f'#include "{include}"\n', text)
    return f"#define USER_TARGET TARGET_{level}\n{template}"


def _with_names_for_c(sweep: Sweep) -> Sweep:
    """Return the sweep with names that mean nothing else in C: a state may be called `double`, or `i`."""
    names = {state: f"state_{k}" for k, state in enumerate(sweep.states)}
    return replace(
        sweep,
        name="user_rule",
        buffers=tuple(names.get(buffer, buffer) for buffer in sweep.buffers),
        writes=tuple(names.get(buffer, buffer) for buffer in sweep.writes),
        sums=tuple(f"sum_{k}" for k in range(len(sweep.sums))),
    )
