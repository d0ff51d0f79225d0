"""A sweep's work on one element as Python source: what every backend that compiles Python has in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from types import FunctionType
from typing import Any

import numpy as np

from .._constants import LANES
from ..rules import PRELUDE_NUMBERS, Sweep, prelude
from .functions import identity_of, positional, substituted, with_constants

__all__ = ["does_not_compile", "element_source", "number_count", "scalar_functions", "unique_name"]

_ELEMENT = """\
def {name}({arguments}):
    {unpack} = numbers
{prelude}
    {results} = rule({inputs})
{stores}
"""
_SCALED = "    gradient = scaled({g}, grad_scale, clip_value)\n"
_DECAYED = "    parameter, gradient = decayed({p}, {gradient}, weight_decay, decay_factor)\n"


def number_count(sweep: Sweep) -> int:
    """Return how many numbers a sweep's kernel takes."""
    return len(PRELUDE_NUMBERS) + len(sweep.numbers)


def element_source(
    sweep: Sweep,
    name: str,
    lanes: int = LANES,
    *,
    load: Callable[[str], str] = "{}[i]".format,
    store: Callable[[str], str] = "{0}[i] = same_dtype(new_{0}, {0}[i])".format,
    more: Sequence[str] = (),
) -> str:
    """Return a function that does what :mod:`~fastopt.rules.prelude` says, calls the rule, and stores its results.

    It calls `scaled`, `decayed`, `rule`, `same_dtype`, `fma` and `float64` of the namespace that it is run in. With
    sums it takes `lanes`, with that many places for each of them, and `lane`, the place that element i adds to.

    Parameters
    ----------
    load, store
        Give the source that loads element i of a buffer of that name, and that stores what the rule gave for it.
    more
        Names of further arguments, which these use.
    """
    own = tuple(f"number_{name}" for name in sweep.numbers)
    has_g, has_p = (sweep.has_prelude and buffer in sweep.buffers for buffer in ("g", "p"))
    values = {buffer: load(buffer) for buffer in sweep.buffers}
    values |= {"p": "parameter", "g": "gradient"} if sweep.has_prelude else {}
    stores = [f"    {store(buffer)}" for buffer in sweep.writes]
    for k, total in enumerate(sweep.sums):
        place = f"lanes[{k * lanes} + lane]"
        stores.append(f"    {place} = fma(float64(sum_{total}[0]), float64(sum_{total}[1]), {place})")
    return _ELEMENT.format(
        name=name,
        arguments=", ".join((*sweep.buffers, "i", "numbers", *(("lanes", "lane") if sweep.sums else ()), *more)),
        unpack=", ".join((*PRELUDE_NUMBERS, *own)),
        prelude=(_SCALED.format(g=load("g")) if has_g else "")
        + (_DECAYED.format(p=load("p"), gradient="gradient" if has_g else load("p")) if has_p else ""),
        results=", ".join((*(f"new_{buffer}" for buffer in sweep.writes), *(f"sum_{total}" for total in sweep.sums))),
        inputs=", ".join((*(values[buffer] for buffer in sweep.buffers), *own)),
        stores="\n".join(stores),
    )


def scalar_functions(
    sweep: Sweep, dtype: Callable[[float], Any], words: dict[Any, Any], inlined: Callable[..., Any]
) -> dict[str, Any]:
    """Return the functions that the element's source calls, compiled by `inlined`, with number literals in `dtype`."""

    def prepared(function: Callable[..., Any]) -> Any:
        return inlined(with_constants(substituted(function, words, helper), dtype))

    def helper(function: FunctionType) -> Any:
        return inlined(with_constants(function, dtype))

    functions: dict[str, Callable[..., Any]] = {
        "rule": sweep.update,
        "scaled": prelude.scaled,
        "decayed": prelude.decayed,
    }
    return {name: prepared(positional(function)) for name, function in functions.items()}


def unique_name(sweep: Sweep, *comes_from: str) -> str:
    """Return a name with a digest of the function's own code, and of all else that the machine code comes from.

    A cache that watches the rule's file only must also miss when one of these changes, and tell two functions of one
    name in one file apart.
    """
    sources = (identity_of(sweep.update), identity_of(prelude.scaled), identity_of(prelude.decayed))
    digest = sha256(repr((sources, element_source(sweep, ""), comes_from)).encode()).hexdigest()[:12]
    return re.sub(r"\W", "_", sweep.name) + f"_{digest}"


def does_not_compile(sweep: Sweep, dtype: np.dtype[Any], error: Exception) -> TypeError:
    """Return what is said of a function that a compiler could not type."""
    return TypeError(
        f"rule {sweep.name} does not compile for {dtype.name}: {_reason(error)}. "
        "A rule is arithmetic on its arguments: call math.sqrt, abs, fma, clip, sign, where and such functions only"
    )


def _reason(error: Exception) -> str:
    """Return the one line of the compiler's report that says what was wrong with the rule."""
    text = str(error)
    promoted = re.search(r"it computes in \w+ on \w+ buffers|fma got [\w, ]+, expected one dtype", text)
    if promoted:
        return promoted[0]
    lines = [line.strip() for line in text.splitlines()]
    return next((line for line in lines if line.startswith(("No implementation", "Invalid use", "Unknown"))), lines[0])
