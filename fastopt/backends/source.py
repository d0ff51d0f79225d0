"""The loop around a rule, as Python source: what every compiled-from-Python backend has in common.

One element is prepared (`PASS_COEFFICIENTS`), handed to the rule, and stored. The loop runs over blocks that stay in
the first-level cache, so that what is done to a block behind the update costs no sweep over memory.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from types import FunctionType
from typing import Any

from ..rules import Rule
from .protocol import PASS_COEFFICIENTS

__all__ = ["positional", "serial_and_parallel_source"]

BLOCK = 2048
"""Elements a block; four float32 buffers of that size fit a 32 KiB first-level cache."""

_TEMPLATE = """\
def {name}_block({buffers}, coefficients):
    {unpack} = coefficients
    for i in range(p.size):
        gradient = fma(weight_decay, p[i], clip(g[i] * grad_scale, -clip_value, clip_value))
        {results} = rule({arguments})
{stores}


def {name}_serial({buffers}, coefficients, zero_grad):
    saved = begin_flush_to_zero()
    values = ({values})
    for start in range(0, p.size, {block}):
        block({blocks}, values)
        if zero_grad:
            g[start : start + {block}] = 0
    end_flush_to_zero(saved)


def {name}_parallel({buffers}, coefficients, zero_grad, threads):
    share = (p.size // threads + {block}) // {block} * {block}
    for thread in prange(threads):
        low = min(p.size, thread * share)
        high = min(p.size, low + share)
        serial({shares}, coefficients, zero_grad)
"""


def serial_and_parallel_source(rule: Rule, compiler: str) -> tuple[str, str]:
    """Return the name prefix of the three functions, and their source.

    The prefix carries a digest of the source, of the rule's own code, and of `compiler`, which stands for all else that
    the machine code comes from: a cache that watches the rule's file alone must also miss when one of these changes,
    and tell two rules of one name in one file apart.
    """
    buffers = ("p", "g", *rule.states)
    coefficients = tuple(f"coefficient_{name}" for name in rule.coefficient_names)
    updated = ("p", *rule.states)
    unpack = (*PASS_COEFFICIENTS, *coefficients)
    pieces = {
        "buffers": ", ".join(buffers),
        "unpack": ", ".join(unpack),
        "values": ", ".join(f"coefficients[{k}]" for k in range(len(unpack))),
        "results": ", ".join(f"new_{buffer}" for buffer in updated),
        "stores": "\n".join(f"        {buffer}[i] = same_dtype(new_{buffer}, {buffer}[i])" for buffer in updated),
        "arguments": ", ".join(("p[i] * decay_factor", "gradient", *(f"{s}[i]" for s in rule.states), *coefficients)),
        "blocks": ", ".join(f"{buffer}[start : start + {BLOCK}]" for buffer in buffers),
        "shares": ", ".join(f"{buffer}[low:high]" for buffer in buffers),
        "block": BLOCK,
    }
    digest = sha256((_TEMPLATE + repr((pieces, _identity(rule.update), compiler))).encode()).hexdigest()[:12]
    prefix = f"{rule.update.__name__}_{digest}"
    return prefix, _TEMPLATE.format(name=prefix, **pieces)


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
