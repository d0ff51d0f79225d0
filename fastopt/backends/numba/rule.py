"""The loop around a sweep: one function with an address for each sweep and dtype, whoever calls it.

It is generated, and run under the rule's own file and module: there Numba's cache finds it again.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.np.numpy_support import from_dtype

from ... import _constants
from ..._constants import CHUNK, LANES
from ...rules import Sweep, vocabulary
from ..functions import define_at
from ..source import element_source, number_count, scalar_functions, unique_name
from . import decorators, intrinsics, memory
from .decorators import inlined
from .digest import digest_of
from .intrinsics import begin_flush_to_zero, end_flush_to_zero, fma, prefetch, restrict, same_dtype
from .memory import fill_with_zeros, pointer_at, shifted
from .part import part

__all__ = ["GROUP", "compiled_pass"]

BLOCK = 2048
"""Elements that stay in a first-level cache: what is done to them after the update costs no sweep over memory."""

GROUP = LANES
"""Elements that are fetched, and updated, at a time: whole cache lines, and whole vectors."""

AHEAD = 2048
"""Bytes of each buffer between what is updated and what is fetched meanwhile.

A processor prefetches within a page only, and a square root and a division leave it no room to wait at the next one.
"""

LINE = 64
"""Bytes of a cache line; where they are longer, some are fetched twice."""

_LOOP = """\
def {name}_group({buffers}, size, numbers{lanes_too}):
    restrict()
    for i in range(size):
        element({buffers}, i, numbers{lanes_too})


def {name}(table, start, size, g, numbers, zero_grad, lanes):
    values = ({values},)
{pointers}
    saved = begin_flush_to_zero()
    for first in range(0, size, {group}):
        if first + {ahead} < size:
            for place in range(first + {ahead}, first + {ahead} + {group}, {line}):
{fetches}
{sums}
        group({groups}, min({group}, size - first), values{own_lanes})
        if zero_grad and first + {group} <= size and (first + {group}) % {block} == 0:
            fill_with_zeros(shifted(g, first + {group} - {block}), {block})
    if zero_grad:
        fill_with_zeros(shifted(g, size // {block} * {block}), size % {block})
{results}
    end_flush_to_zero(saved)
"""
_SUMS = """\
        own = shifted(lanes, (start + first) // {chunk} * {terms})
        if (start + first) % {chunk} == 0:
            fill_with_zeros(own, {terms})
"""
_RESULTS = """\
    for chunk in range(start // {chunk}, start // {chunk} + (size + {chunk} - 1) // {chunk}):
        for term in range({count}):
            add_lanes(shifted(lanes, chunk * {terms} + term * {lanes}))
"""


@inlined
def add_lanes(lanes):  # type: ignore[no-untyped-def]
    """Add the lanes pairwise, into the first."""
    width = LANES // 2
    while width:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2


@cache
def compiled_pass(sweep: Sweep, dtype: np.dtype[Any]) -> Any:
    """Return the pass ``(table, start, size, gradient, numbers, zero_grad, lanes)`` over `size` elements from `start`.

    `table` holds the addresses of the sweep's buffers but g, whose first element `gradient` points at. For a sweep with
    sums, `lanes` has `LANES` float64 numbers for each of them and each chunk, the first of which becomes the sum of the
    chunk; `start` is then a multiple of a chunk.
    """
    sources = [module.__name__ for module in (decorators, intrinsics, memory, vocabulary)]
    name = unique_name(
        sweep, _LOOP, _SUMS, _RESULTS, dtype.name, digest_of(*sources, _constants.__name__, part.__module__, __name__)
    )
    real, n = from_dtype(dtype), types.int64
    pointer = types.CPointer(real)
    space: dict[str, Any] = {
        "__name__": sweep.update.__module__,
        **scalar_functions(sweep, dtype.type, {}, inlined),
        "add_lanes": add_lanes,
        "fma": fma,
        "float64": np.float64,
        "begin_flush_to_zero": begin_flush_to_zero,
        "end_flush_to_zero": end_flush_to_zero,
        "prefetch": prefetch,
        "restrict": restrict,
        "same_dtype": same_dtype,
        "pointer_at": pointer_at,
        "shifted": shifted,
        "fill_with_zeros": fill_with_zeros,
    }
    define_at(sweep.update, _source(sweep, name, dtype), space)
    space["element"] = inlined(space[f"{name}_element"], forceinline=True)
    space["group"] = inlined(space[f"{name}_group"], forceinline=True)  # so that its size is a constant
    return part(space[name], types.CPointer(n), n, n, pointer, pointer, n, types.CPointer(types.float64))


def _source(sweep: Sweep, name: str, dtype: np.dtype[Any]) -> str:
    own = [buffer for buffer in sweep.buffers if buffer != "g"]
    terms = len(sweep.sums) * LANES
    return element_source(sweep, f"{name}_element") + _LOOP.format(
        name=name,
        buffers=", ".join(sweep.buffers),
        lanes_too=", lanes" if sweep.sums else "",
        own_lanes=", own" if sweep.sums else "",
        values=", ".join(f"numbers[{k}]" for k in range(number_count(sweep))),
        pointers="\n".join(
            f"    {buffer} = pointer_at(table[{place}] + start * {dtype.itemsize}, g)"
            for place, buffer in enumerate(own)
        ),
        fetches="\n".join(f"                prefetch({buffer}, place)" for buffer in sweep.buffers),
        groups=", ".join(f"shifted({buffer}, first)" for buffer in sweep.buffers),
        sums=_SUMS.format(chunk=CHUNK, terms=terms) if sweep.sums else "",
        results=_RESULTS.format(chunk=CHUNK, terms=terms, count=len(sweep.sums), lanes=LANES) if sweep.sums else "",
        block=BLOCK,
        group=GROUP,
        ahead=AHEAD // dtype.itemsize,
        line=LINE // dtype.itemsize,
    )
