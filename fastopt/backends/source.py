"""A rule's update of one element as Python source: what every backend that compiles Python has in common."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from types import FunctionType
from typing import Any

import numpy as np

from ..rules import Rule
from .protocol import PASS_COEFFICIENTS

__all__ = ["buffer_names", "does_not_compile", "element_source", "positional", "unique_name"]

_ELEMENT = """\
def {name}({buffers}, i, coefficients):
    {unpack} = coefficients
    gradient = fma(weight_decay, p[i], clip(g[i] * grad_scale, -clip_value, clip_value))
    {results} = rule({arguments})
{stores}
"""


def buffer_names(rule: Rule) -> tuple[str, ...]:
    """Return what a pass over the rule's buffers calls them."""
    return ("p", "g", *rule.states)


def element_source(rule: Rule, name: str) -> str:
    """Return a function that prepares element i as `PASS_COEFFICIENTS` says, hands it to the rule, and stores it.

    It calls `fma`, `clip`, `rule` and `same_dtype` of the namespace that it is run in.
    """
    coefficients = tuple(f"coefficient_{own}" for own in rule.coefficient_names)
    updated = ("p", *rule.states)
    return _ELEMENT.format(
        name=name,
        buffers=", ".join(buffer_names(rule)),
        unpack=", ".join((*PASS_COEFFICIENTS, *coefficients)),
        results=", ".join(f"new_{buffer}" for buffer in updated),
        arguments=", ".join(("p[i] * decay_factor", "gradient", *(f"{s}[i]" for s in rule.states), *coefficients)),
        stores="\n".join(f"    {buffer}[i] = same_dtype(new_{buffer}, {buffer}[i])" for buffer in updated),
    )


def unique_name(rule: Rule, *comes_from: str) -> str:
    """Return a name with a digest of the rule's own code, and of all else that the machine code comes from.

    A cache that watches the rule's file alone must also miss when one of these changes, and tell two rules of one name
    in one file apart.
    """
    digest = sha256(repr((_identity(rule.update), element_source(rule, ""), comes_from)).encode()).hexdigest()[:12]
    return f"{rule.update.__name__}_{digest}"


def _identity(update: Callable[..., Any]) -> tuple[object, ...]:
    """Return what makes the function another one: its instructions, and the variables of the one that made it."""
    code = update.__code__
    enclosed = [cell.cell_contents for cell in update.__closure__ or ()]
    return code.co_code, code.co_consts, code.co_names, enclosed


def positional(update: Callable[..., Any]) -> FunctionType:
    """Return the rule's function with its coefficients positional: compilers for Python take no keyword-only ones.

    Their values lie behind the positional ones in the same order, so that counting them as positional is all it takes.
    """
    code = update.__code__
    code = code.replace(co_argcount=code.co_argcount + code.co_kwonlyargcount, co_kwonlyargcount=0)
    return FunctionType(code, update.__globals__, update.__name__, None, update.__closure__)


def does_not_compile(rule: Rule, dtype: np.dtype[Any], error: Exception) -> TypeError:
    """Return what is said of a rule that a compiler could not type."""
    return TypeError(
        f"rule {rule.name} does not compile for {dtype.name}: {_reason(error)}. A rule has no number literals: "
        "make each a keyword-only coefficient, so that it comes in the dtype of the buffers; "
        "call math.sqrt, abs, fma, clip and where only"
    )


def _reason(error: Exception) -> str:
    """Return the one line of the compiler's report that says what was wrong with the rule."""
    text = str(error)
    promoted = re.search(r"it computes in \w+ on \w+ buffers|fma got [\w, ]+, expected one dtype", text)
    if promoted:
        return promoted[0]
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in lines if line.startswith(("No implementation", "Invalid use", "Unknown"))), lines[0])
