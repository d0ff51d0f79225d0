"""Sweeps with sums, added in the order, and so with the bits, of the CPU's: see :mod:`fastopt._constants`.

A block sweeps over a chunk: each of its 64 threads is a lane, and the lanes are added pairwise. A second kernel adds
the chunks in order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..._constants import CHUNK, LANES
from ...rules import Sweep
from ..functions import define_at
from ..source import element_source, number_count, unique_name
from .rule import buffer_types, namespace
from .shim import cuda, inlined, kernel, types

__all__ = [
    "TILE",
    "add_function",
    "add_kernel",
    "add_signature",
    "compiled_sums",
    "sums_function",
    "sums_signature",
]

TILE = 256
"""Sums of chunks that the threads of a block load at a time, for one of them to add in order."""

_TILE, _NONE, _ONE = np.uint64(TILE), np.uint64(0), np.uint64(1)
uint64 = np.uint64

_KERNEL = """\
def {name}({buffers}, coefficients, sums, zero_grad):
    strict_arithmetic()
    values = ({values},)
    lane, chunk = uint64(cuda.threadIdx.x), uint64(cuda.blockIdx.x)
    chunks, size = uint64(cuda.gridDim.x), uint64({first}.size)
    totals = cuda.local.array({terms}, float64_type)
{ones}
{clears}
    i = chunk * CHUNK
    stop = min(i + CHUNK, size)
    i += lane
    while i < stop:
{fetches}
        element({arguments}, 0, values, totals, 0)
{stores}
        i += LANES
    lanes = cuda.shared.array({places}, float64_type)
{spreads}
    width = LANES // TWO
    while width > NONE:
        cuda.syncthreads()
        if lane < width:
{adds}
        width //= TWO
    if lane == NONE:
{results}
"""


@cache
def compiled_sums(sweep: Sweep, dtype: np.dtype[Any]) -> Any:
    """Return the kernel ``(*buffers, numbers, sums, zero_grad)``, of a block of `LANES` threads for each chunk.

    For each of the sweep's sums, `sums` holds the sums of the chunks.
    """
    return kernel(sums_function(sweep, dtype), sums_signature(sweep, dtype), (LANES,))


def sums_signature(sweep: Sweep, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return (*buffer_types(sweep, dtype), types.Array(types.float64, 1, "C"), types.boolean)


def sums_function(sweep: Sweep, dtype: np.dtype[Any]) -> Callable[..., None]:
    """Return the kernel as a Python function."""
    sweep = sweep.numbered()
    name = unique_name(sweep, _KERNEL)
    space = namespace(sweep, dtype) | {
        "CHUNK": np.uint64(CHUNK),
        "LANES": np.uint64(LANES),
        "NONE": _NONE,
        "TWO": np.uint64(2),
        "float64_type": types.float64,
    }
    define_at(sweep.update, _source(sweep, name), space)
    space["element"] = inlined(space[f"{name}_element"])
    function: Callable[..., None] = space[name]
    return function


def _source(sweep: Sweep, name: str) -> str:
    terms = range(len(sweep.sums))
    stores = [f"        store_one({buffer}_one[0], {buffer}, i)" for buffer in sweep.writes]
    if "g" in sweep.buffers:
        stores += ["        if zero_grad:", "            store_one(ZERO, g, i)"]
    return element_source(sweep, f"{name}_element", lanes=1) + _KERNEL.format(
        name=name,
        first=sweep.buffers[0],
        buffers=", ".join(sweep.buffers),
        values=", ".join(f"coefficients[{k}]" for k in range(number_count(sweep))),
        terms=len(sweep.sums),
        places=len(sweep.sums) * LANES,
        ones="\n".join(f"    {buffer}_one = cuda.local.array(1, REAL)" for buffer in sweep.buffers),
        clears="\n".join(f"    totals[{k}] = 0.0" for k in terms),
        fetches="\n".join(f"        {buffer}_one[0] = fetch_one({buffer}, i)" for buffer in sweep.buffers),
        arguments=", ".join(f"{buffer}_one" for buffer in sweep.buffers),
        stores="\n".join(stores),
        spreads="\n".join(f"    lanes[uint64({k * LANES}) + lane] = totals[{k}]" for k in terms),
        adds="\n".join(
            f"            lanes[uint64({k * LANES}) + lane] += lanes[uint64({k * LANES}) + lane + width]" for k in terms
        ),
        results="\n".join(f"        sums[uint64({k}) * chunks + chunk] = lanes[uint64({k * LANES})]" for k in terms),
    )


def add_function(chunks, ends, values, places):  # type: ignore[no-untyped-def]
    """Block b writes the sum of the chunks from the b-th end to the next, added in order, to its place."""
    tile = cuda.shared.array(TILE, types.float64)
    thread, block = uint64(cuda.threadIdx.x), uint64(cuda.blockIdx.x)
    first, end = ends[block], ends[block + _ONE]
    total = 0.0
    while first < end:
        stop = min(first + _TILE, end)
        if first + thread < stop:
            tile[thread] = chunks[first + thread]
        cuda.syncthreads()
        if thread == _NONE:
            k = _NONE
            while k < stop - first:
                total += tile[k]
                k += _ONE
        cuda.syncthreads()
        first = stop
    if thread == _NONE:
        values[places[block]] = total


def add_signature() -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    numbers, integers = types.Array(types.float64, 1, "C"), types.Array(types.uint64, 1, "C")
    return numbers, integers, numbers, integers


@cache
def add_kernel() -> Any:
    """Return the kernel, compiled."""
    return kernel(add_function, add_signature(), (TILE,))
