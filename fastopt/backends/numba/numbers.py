"""The numbers of a rule as one compiled function: generated, and run under the file and the module of the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from types import FunctionType
from typing import Any

import numpy as np
from numba import types

from ...rules import TOTAL, Number, Rule, vocabulary
from ...rules.frame import Frame, loops_of
from ..functions import define_at, identity_of, substituted, with_constants
from . import decorators, intrinsics, memory
from .decorators import inlined
from .digest import digest_of
from .memory import shifted
from .part import part

__all__ = ["compiled_numbers"]

_FUNCTION = """\
def {name}(moment, frames, size, spans):
{moments}
"""
_MOMENT = """\
    if moment == {moment}:
{loops}
"""
_TOTAL = """\
        {total} = 0.0
        for span in range(spans):
            {total} += frames[span * size + {place}]
"""
_LOOP = """\
        for span in range(spans):
            frame = shifted(frames, span * size)
{numbers}
"""


@inlined
def _rounded_twice(a: Any, b: Any, c: Any) -> Any:
    """Return a·b + c as the host computes it, where steps are taken one at a time."""
    return a * b + c


def compiled_numbers(rule: Rule, frame: Frame) -> Any:
    """Return the part ``(moment, frames, size, spans)`` that computes a moment's numbers for all spans.

    None where a rule has no numbers.
    """
    if not rule.numbers:
        return None
    source = _source(rule, frame)
    sources = [module.__name__ for module in (decorators, intrinsics, memory, vocabulary)]
    code = [identity_of(number.function) for number in rule.numbers]
    digest = sha256(repr((source, code, digest_of(*sources, part.__module__, __name__))).encode()).hexdigest()[:12]
    name, last = f"numbers_{digest}", rule.numbers[-1].function
    space: dict[str, Any] = {"__name__": last.__module__, "shifted": shifted}
    space |= {f"number_{k}": _scalar(number.function) for k, number in enumerate(rule.numbers)}
    define_at(last, source.format(name=name), space)
    n = types.int64
    return part(space[name], n, types.CPointer(types.float64), n, n)


def _scalar(function: Callable[..., float]) -> Any:
    def helper(inner: FunctionType) -> Any:
        return inlined(with_constants(inner, np.float64))

    return helper(substituted(function, {vocabulary.fma: _rounded_twice}, helper))


def _source(rule: Rule, frame: Frame) -> str:
    """Return the function, with its name left open."""
    moments = (
        _MOMENT.format(moment=moment, loops="\n".join(_loops(rule, frame, numbers)))
        for moment, numbers in enumerate(rule.schedule.after)
        if numbers
    )
    return _FUNCTION.format(name="{name}", moments="\n".join(moments))


def _loops(rule: Rule, frame: Frame, numbers: tuple[Number, ...]) -> Iterator[str]:
    line = partial(_line, rule, frame)
    for loop in loops_of(numbers):
        for total in loop.totals:
            yield _TOTAL.format(total=TOTAL + total, place=frame.places[total])
        yield _LOOP.format(numbers="\n".join(map(line, loop.numbers)))


def _line(rule: Rule, frame: Frame, number: Number) -> str:
    values = (name if name.startswith(TOTAL) else f"frame[{frame.places[name]}]" for name in number.parameters)
    place, function = frame.places[number.name], rule.numbers.index(number)
    return f"            frame[{place}] = number_{function}({', '.join(values)})"
