"""The loop around a rule: one function with an address for each rule and dtype, whoever calls it.

It is generated, and run under the rule's own file and module: there Numba's cache finds it again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.np.numpy_support import from_dtype

from ...rules import Rule, vocabulary
from ...rules.vocabulary import clip
from ..protocol import coefficient_count
from ..source import buffer_names, element_source, positional, unique_name
from . import decorators, intrinsics, memory
from .decorators import inlined
from .digest import digest_of
from .intrinsics import begin_flush_to_zero, end_flush_to_zero, fma, prefetch, restrict, same_dtype
from .memory import fill_with_zeros, pointer_at, shifted
from .part import part

__all__ = ["GROUP", "compiled_pass"]

BLOCK = 2048
"""Elements that stay in a first-level cache: what is done to them behind the update costs no sweep over memory."""

GROUP = 64
"""Elements that are fetched, and updated, at a time: whole cache lines, and whole vectors."""

AHEAD = 2048
"""Bytes of each buffer between what is updated and what is fetched meanwhile.

A processor prefetches within a page only, and a square root and a division leave it no room to wait at the next one.
"""

LINE = 64
"""Bytes of a cache line; where they are longer, some are fetched twice."""

_LOOP = """\
def {name}_group({buffers}, size, coefficients):
    restrict()
    for i in range(size):
        element({buffers}, i, coefficients)


def {name}(table, start, size, g, coefficients, zero_grad):
    values = ({values},)
{pointers}
    saved = begin_flush_to_zero()
    for first in range(0, size, {group}):
        if first + {ahead} < size:
            for place in range(first + {ahead}, first + {ahead} + {group}, {line}):
{fetches}
        group({groups}, min({group}, size - first), values)
        if zero_grad and first + {group} <= size and (first + {group}) % {block} == 0:
            fill_with_zeros(shifted(g, first + {group} - {block}), {block})
    if zero_grad:
        fill_with_zeros(shifted(g, size // {block} * {block}), size % {block})
    end_flush_to_zero(saved)
"""


@cache
def compiled_pass(rule: Rule, dtype: np.dtype[Any]) -> Any:
    """Return the pass ``(table, start, size, gradient, coefficients, zero_grad)`` over `size` elements from `start` on.

    `table` holds the addresses of p and of the states; `gradient` points at the first element's own.
    """
    sources = [module.__name__ for module in (decorators, intrinsics, memory, vocabulary)]
    name = unique_name(rule, _LOOP, dtype.name, digest_of(*sources, part.__module__, __name__))
    real, n = from_dtype(dtype), types.int64
    pointer = types.CPointer(real)
    space: dict[str, Any] = {
        "__name__": rule.update.__module__,
        "rule": inlined(positional(rule.update)),
        "clip": inlined(clip),
        "fma": fma,
        "begin_flush_to_zero": begin_flush_to_zero,
        "end_flush_to_zero": end_flush_to_zero,
        "prefetch": prefetch,
        "restrict": restrict,
        "same_dtype": same_dtype,
        "pointer_at": pointer_at,
        "shifted": shifted,
        "fill_with_zeros": fill_with_zeros,
    }
    exec(compile(_source(rule, name, dtype), rule.update.__code__.co_filename, "exec"), space)
    space["element"] = inlined(space[f"{name}_element"], forceinline=True)
    space["group"] = inlined(space[f"{name}_group"], forceinline=True)  # so that its size is a constant
    return part(space[name], types.CPointer(n), n, n, pointer, pointer, n)


def _source(rule: Rule, name: str, dtype: np.dtype[Any]) -> str:
    buffers = buffer_names(rule)
    places = {buffer: place for place, buffer in enumerate(("p", *rule.states))}
    return element_source(rule, f"{name}_element") + _LOOP.format(
        name=name,
        buffers=", ".join(buffers),
        values=", ".join(f"coefficients[{k}]" for k in range(coefficient_count(rule))),
        pointers="\n".join(
            f"    {buffer} = pointer_at(table[{place}] + start * {dtype.itemsize}, g)"
            for buffer, place in places.items()
        ),
        fetches="\n".join(f"                prefetch({buffer}, place)" for buffer in buffers),
        groups=", ".join(f"shifted({buffer}, first)" for buffer in buffers),
        block=BLOCK,
        group=GROUP,
        ahead=AHEAD // dtype.itemsize,
        line=LINE // dtype.itemsize,
    )
