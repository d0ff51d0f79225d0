"""The loop around a sweep: one function with an address for each sweep and storage, whoever calls it.

It is generated, and run under the rule's own file and module: there Numba's cache finds it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.np.numpy_support import from_dtype

from ... import _constants
from ..._constants import CHUNK, LANES
from ...rules import PRELUDE_NUMBERS, Sweep, vocabulary
from ..functions import define_at
from ..rounding import salt_of
from ..source import element_source, number_count, scalar_functions, unique_name
from ..storage import Storage
from . import decorators, intrinsics, memory
from . import storage as conversions
from .decorators import inlined
from .digest import digest_of
from .intrinsics import begin_flush_to_zero, end_flush_to_zero, fma, prefetch, restrict, same_dtype
from .memory import fill_with_zeros, shifted
from .part import part
from .storage import key_words, load, pointer_at, pointer_type, store_nearest, store_stochastic

__all__ = ["GROUP", "compiled_pass"]

BLOCK = 2048
"""Elements that stay in a first-level cache: what is done to them after the update costs no sweep over memory."""

GROUP = LANES
"""Elements that are fetched, and updated, at a time: whole cache lines, and whole vectors."""

ROWS = 4
"""Groups that are updated together where there are sums: each lane is loaded and stored once for all of them."""

AHEAD = 2048
"""Bytes of numbers of the arithmetic's dtype between what is updated and what is fetched meanwhile.

A processor prefetches within a page only, and a square root and a division leave it no room to wait at the next one.
"""

LINE = 64
"""Bytes of a cache line; where they are longer, some are fetched twice."""

_GROUP = """\
def {name}_group({buffers}, size, numbers{more}):
    restrict()
    for i in range(size):
        element({buffers}, i, numbers{more})
"""
_GROUP_WITH_SUMS = """\
def {name}_group({buffers}, size, numbers, lanes{more}):
    restrict()
    if size == {group}:
        for lane in range({lanes}):
{rows}
    else:
        for first in range(0, size, {lanes}):
            for lane in range(min({lanes}, size - first)):
                element({buffers}, first + lane, numbers, lanes, lane{more})
"""
_ROW = "            element({buffers}, lane + {skip}, numbers, lanes, lane{more})\n"
_LOOP = """\


def {name}(table, start, size, g, numbers, zero_grad, lanes):
    values = ({values},)
{pointers}
    saved = begin_flush_to_zero()
    whole = size // {group} * {group}
    for first in range(0, whole, {group}):
        if first + {ahead} < size:
{fetches}
{sums}
        group({groups}, int64({group}), values{given})
        if zero_grad and (first + {group}) % {block} == 0:
            fill_with_zeros(shifted(g, first + {group} - {block}), {block})
    if whole < size:
        first = whole
{sums}
        group({groups}, size - whole, values{given})
    if zero_grad:
        fill_with_zeros(shifted(g, size // {block} * {block}), size % {block})
{results}
    end_flush_to_zero(saved)
"""
_FETCHES = """\
            for place in range(first + {ahead}, first + {ahead} + {group}, {line}):
{fetches}
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
def compiled_pass(sweep: Sweep, storage: Storage) -> Any:
    """Return the pass ``(table, start, size, gradient, numbers, zero_grad, lanes)`` over `size` elements from `start`.

    `table` holds the addresses of the sweep's buffers but g, whose first element `gradient` points at, and then the
    position of element 0, which random bits depend on. For a sweep with sums, `lanes` has `LANES` float64 numbers for
    each of them and each chunk, the first of which becomes the sum of the chunk; `start` is then a multiple of a chunk.
    """
    dtype = storage.arithmetic
    sources = [module.__name__ for module in (decorators, intrinsics, memory, conversions, vocabulary)]
    digest = digest_of(*sources, _constants.__name__, part.__module__, __name__)
    salts = {buffer: salt_of(own) for buffer, own in zip(sweep.numbered().buffers, sweep.buffers, strict=True)}
    sweep = sweep.numbered()
    name = unique_name(sweep, _source(sweep, "", storage, salts), storage.parameters.name, storage.states.name, digest)
    n, gradient = types.int64, pointer_type(storage.of("g" if "g" in sweep.buffers else sweep.buffers[0]))
    space: dict[str, Any] = {
        "__name__": sweep.update.__module__,
        **scalar_functions(sweep, dtype.type, {}, inlined),
        "add_lanes": add_lanes,
        "fma": fma,
        "float64": np.float64,
        "int64": np.int64,  # of a size: a literal is a type of its own, for which a group is compiled once more
        "begin_flush_to_zero": begin_flush_to_zero,
        "end_flush_to_zero": end_flush_to_zero,
        "prefetch": prefetch,
        "restrict": restrict,
        "same_dtype": same_dtype,
        "key_words": key_words,
        "load_stored": load,
        "store_nearest": store_nearest,
        "store_stochastic": store_stochastic,
        **{f"{buffer}_at": pointer_at(storage.of(buffer)) for buffer in sweep.buffers},
        "shifted": shifted,
        "fill_with_zeros": fill_with_zeros,
    }
    define_at(sweep.update, _source(sweep, name, storage, salts), space)
    space["element"] = inlined(space[f"{name}_element"], forceinline=True)
    space["group"] = inlined(space[f"{name}_group"], forceinline=True)  # so that its size is a constant
    numbers, lanes = types.CPointer(from_dtype(dtype)), types.CPointer(types.float64)
    return part(space[name], types.CPointer(n), n, n, gradient, numbers, n, lanes)


def _source(sweep: Sweep, name: str, storage: Storage, salts: Mapping[str, int]) -> str:
    terms = len(sweep.sums) * LANES
    conversion = _Conversion(sweep, storage, salts)
    group = GROUP * ROWS if sweep.sums else GROUP
    more = "".join(f", {argument}" for argument in conversion.names)
    named = {"name": name, "buffers": ", ".join(sweep.buffers), "more": more}
    rows = "".join(_ROW.format(skip=LANES * row, **named) for row in range(ROWS))
    element = element_source(
        sweep, f"{name}_element", load=conversion.load, store=conversion.store, more=conversion.names
    )
    around = (_GROUP_WITH_SUMS if sweep.sums else _GROUP).format(rows=rows, lanes=LANES, group=group, **named)
    return "\n\n".join((element, around)) + _LOOP.format(
        name=name,
        given="".join(f", {argument}" for argument in (*(("own",) if sweep.sums else ()), *conversion.given)),
        values=", ".join(f"numbers[{k}]" for k in range(number_count(sweep))),
        pointers="\n".join(f"    {line}" for line in (*_pointers(sweep, storage), *conversion.lines)),
        fetches=_fetches(sweep, storage, group),
        groups=", ".join(f"shifted({buffer}, first)" for buffer in sweep.buffers),
        sums=_SUMS.format(chunk=CHUNK, terms=terms) if sweep.sums else "",
        results=_RESULTS.format(chunk=CHUNK, terms=terms, count=len(sweep.sums), lanes=LANES) if sweep.sums else "",
        block=BLOCK,
        group=group,
        ahead=AHEAD // storage.arithmetic.itemsize,
    )


class _Conversion:
    """How a sweep's source loads and stores elements.

    Attributes
    ----------
    names
        What loads and stores take besides: for random bits, the position of element 0 of a group, and a key for each
        buffer that is rounded.
    given
        What a group is given for them.
    lines
        What makes the keys, once in a pass.
    """

    def __init__(self, sweep: Sweep, storage: Storage, salts: Mapping[str, int]) -> None:
        self._storage = storage
        rounded = [buffer for buffer in sweep.writes if storage.is_converted(buffer)] if storage.is_random else []
        keys = [f"{buffer}_key" for buffer in rounded]
        self.names, self.given, self.lines = [], [], []
        if not rounded:
            return
        self.names, self.given = ["flat_position", *keys], ["flat_position + first", *keys]
        place = number_count(sweep)
        words = f"numbers[{place}], numbers[{place + 1}]"
        self.lines = [f"flat_position = table[{len(_own(sweep))}] + start"]
        self.lines += [f"{buffer}_key = key_words({words}, {salts[buffer]})" for buffer in rounded]

    def load(self, buffer: str) -> str:
        """Return the source of element i in the dtype of the arithmetic."""
        return f"load_stored({buffer}, i)" if self._storage.is_converted(buffer) else f"{buffer}[i]"

    def store(self, buffer: str) -> str:
        """Return the source that stores what the rule gave for element i."""
        if not self._storage.is_converted(buffer):
            return f"{buffer}[i] = same_dtype(new_{buffer}, {buffer}[i])"
        value = f"{buffer}, i, same_dtype(new_{buffer}, {PRELUDE_NUMBERS[0]})"
        return f"store_stochastic({value}, flat_position, {buffer}_key)" if self.names else f"store_nearest({value})"


def _own(sweep: Sweep) -> list[str]:
    """Return the buffers whose addresses a pass's table has, in order."""
    return [buffer for buffer in sweep.buffers if buffer != "g"]


def _pointers(sweep: Sweep, storage: Storage) -> list[str]:
    return [
        f"{buffer} = {buffer}_at(table[{place}] + start * {storage.of(buffer).itemsize})"
        for place, buffer in enumerate(_own(sweep))
    ]


def _fetches(sweep: Sweep, storage: Storage, group: int) -> str:
    """Return loops that fetch the lines of a later group, one for the buffers of each size of elements."""
    by_size: dict[int, list[str]] = {}
    for buffer in sweep.buffers:
        by_size.setdefault(storage.of(buffer).itemsize, []).append(f"                prefetch({buffer}, place)")
    ahead = AHEAD // storage.arithmetic.itemsize
    return "".join(
        _FETCHES.format(ahead=ahead, group=group, line=LINE // size, fetches="\n".join(lines))
        for size, lines in by_size.items()
    )
