"""The roof: rules that move the bytes of a real one, and add one number to each stream on the way.

No kernel of this form that keeps k states can be faster than these on the same machine, threads and size; how near it
comes is its share of the roof. They are rules as a user would write them, compiled by Numba.
"""

from __future__ import annotations

from typing import Any

from .. import Rule, rule

__all__ = ["ROOFS", "roof_rule"]


@rule
def roof_0(p: Any, g: Any, *, lr: float = 1e-3) -> Any:
    """p += g"""
    return p + g


@rule
def roof_1(p: Any, g: Any, a: Any, *, lr: float = 1e-3) -> Any:
    """p += g;  a += g"""
    return p + g, a + g


@rule
def roof_2(p: Any, g: Any, a: Any, b: Any, *, lr: float = 1e-3) -> Any:
    """p += g;  a += g;  b += g"""
    return p + g, a + g, b + g


@rule
def roof_3(p: Any, g: Any, a: Any, b: Any, c: Any, *, lr: float = 1e-3) -> Any:
    """p += g;  a += g;  b += g;  c += g"""
    return p + g, a + g, b + g, c + g


@rule
def roof_4(p: Any, g: Any, a: Any, b: Any, c: Any, d: Any, *, lr: float = 1e-3) -> Any:
    """p += g;  a += g;  b += g;  c += g;  d += g"""
    return p + g, a + g, b + g, c + g, d + g


ROOFS = (roof_0, roof_1, roof_2, roof_3, roof_4)
"""The roof of a rule with k states stands at place k."""


def roof_rule(rule: Rule) -> Rule:
    """Return the rule that reads and writes as many streams as `rule`.

    Raises
    ------
    ValueError
        It has several sweeps, or keeps more states than any roof has.

    Examples
    --------
    >>> from fastopt import RULES
    >>> roof_rule(RULES["adam"]).name
    'roof_2'
    """
    states = len(rule.states)
    if not rule.is_local:
        raise ValueError(f"rule {rule.name} has several sweeps; the roofs are of one")
    if states >= len(ROOFS):
        raise ValueError(f"rule {rule.name} keeps {states} states; the roofs have up to {len(ROOFS) - 1}")
    return ROOFS[states]
