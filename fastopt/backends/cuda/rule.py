"""The kernel around a sweep: a vector of each buffer a thread, in registers, from one load to one store.

Vectors are 16 bytes, four float32 or two float64 numbers, and lie at multiples of 16 bytes; `fastopt bench` measures
other sizes as well. The elements before the first and after the last of them are updated by a thread each. A buffer may
be a slice that begins anywhere, and so the number of elements before the first vector is an argument; where buffers do
not begin at the same distance from one, it is the number of all.

Parameters and gradients of bfloat16 have states of float32, and the rule computes in float32: they are converted where
they are loaded and stored. Their vectors have four elements too, and 8 bytes: with eight, 16 bytes, a rule with three
states would spill in the 64 registers that the launch bounds leave a thread. With four, a warp still moves whole lines
of 128 bytes; what it takes more of, instructions, is not what a pass over memory waits for.

Sweeps with sums have another kernel: see :mod:`.reductions`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..._bfloat16 import arithmetic_dtype
from ...rules import Sweep
from ..functions import define_at
from ..source import element_source, number_count, scalar_functions, unique_name
from .buffer import array_type
from .launch import elements_a_thread, launch_bounds
from .shim import cuda, from_dtype, inlined, kernel, types
from .words import SCALAR_WORDS, fetch, fetch_one, fma, same_dtype, store, store_one, strict_arithmetic

__all__ = ["ELEMENTS", "buffer_types", "compiled_pass", "namespace", "pass_function", "pass_signature"]

ELEMENTS = (1, 2, 4, 8)
"""How many a thread may have."""

_KERNEL = """\
def {name}({buffers}, coefficients, head, zero_grad):
    strict_arithmetic()
    values = ({values},)
    size = uint64({first}.size)
    thread = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    vectors = (size - head) // WIDTH
    if thread < vectors:
        first = head + thread * WIDTH
{fetches}
{elements}
{stores}
{zero_vector}
    else:
        i = thread - vectors
        if i >= head:
            i += vectors * WIDTH
        if i < size:
{fetches_of_one}
            element({ones}, 0, values)
{stores_of_one}
{zero_one}
"""
_ZERO_VECTOR = """\
        if zero_grad:
{zeros}
            store(g_vector, g, first, {width})
"""
_ZERO_ONE = """\
            if zero_grad:
                store_one(ZERO, g, i)
"""


def compiled_pass(sweep: Sweep, dtype: np.dtype[Any], elements: int | None = None) -> tuple[Any, int, int]:
    """Return the kernel ``(*buffers, numbers, head, zero_grad)``, threads a block and elements a thread."""
    elements = elements_a_thread(arithmetic_dtype(dtype)) if elements is None else elements
    allowed = [count for count in ELEMENTS if count * dtype.itemsize >= 4]  # words are the least that is moved
    if elements not in allowed:
        raise ValueError(f"elements: got {elements}, expected one of {allowed} of {dtype.name}")
    bounds = launch_bounds(dtype, arithmetic_dtype(dtype), elements, len(sweep.buffers))
    return _compiled(sweep, dtype, elements, bounds), bounds[0], elements


@cache
def _compiled(sweep: Sweep, dtype: np.dtype[Any], elements: int, bounds: tuple[int, int]) -> Any:
    return kernel(pass_function(sweep, dtype, elements), pass_signature(sweep, dtype), bounds)


def buffer_types(sweep: Sweep, dtype: np.dtype[Any]) -> list[Any]:
    """Return the types of a sweep's buffers, and of its numbers: parameters and gradient are of that dtype."""
    own, real = array_type(dtype), array_type(arithmetic_dtype(dtype))
    return [*(own if name in ("p", "g") else real for name in sweep.buffers), real]


def pass_signature(sweep: Sweep, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return (*buffer_types(sweep, dtype), types.uint64, types.boolean)


def namespace(sweep: Sweep, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return what the generated source of a kernel calls."""
    real = arithmetic_dtype(dtype)
    return {
        "__name__": sweep.update.__module__,
        **scalar_functions(sweep, real.type, SCALAR_WORDS, inlined),
        "fma": fma,
        "same_dtype": same_dtype,
        "fetch": fetch,
        "fetch_one": fetch_one,
        "store": store,
        "store_one": store_one,
        "strict_arithmetic": strict_arithmetic,
        "cuda": cuda,
        "uint64": np.uint64,
        "float64": np.float64,
        "ZERO": real.type(0),
        "REAL": from_dtype(real),
    }


def pass_function(sweep: Sweep, dtype: np.dtype[Any], elements: int | None = None) -> Callable[..., None]:
    """Return the kernel as a Python function, of so many elements a thread: 1, 2, 4 or 8; the usual ones if None.

    Indices are unsigned, since a signed one might count from the end of an array.
    """
    sweep = sweep.numbered()
    name, width = unique_name(sweep, _KERNEL), elements or elements_a_thread(arithmetic_dtype(dtype))
    space = namespace(sweep, dtype) | {"WIDTH": np.uint64(width)}
    define_at(sweep.update, _source(sweep, name, width), space)
    space["element"] = inlined(space[f"{name}_element"])
    function: Callable[..., None] = space[name]
    return function


def _source(sweep: Sweep, name: str, width: int) -> str:
    buffers, clears = sweep.buffers, "g" in sweep.buffers
    vectors = ", ".join(f"{buffer}_vector" for buffer in buffers)
    zeros = "\n".join(f"            g_vector[{k}] = ZERO" for k in range(width))
    return element_source(sweep, f"{name}_element") + _KERNEL.format(
        name=name,
        first=buffers[0],
        buffers=", ".join(buffers),
        values=", ".join(f"coefficients[{k}]" for k in range(number_count(sweep))),
        fetches="\n".join(
            f"        {buffer}_vector = cuda.local.array({width}, REAL)\n"
            f"        fetch({buffer}, first, {buffer}_vector, {width})"
            for buffer in buffers
        ),
        elements="\n".join(f"        element({vectors}, {k}, values)" for k in range(width)),
        stores="\n".join(f"        store({buffer}_vector, {buffer}, first, {width})" for buffer in sweep.writes),
        zero_vector=_ZERO_VECTOR.format(zeros=zeros, width=width) if clears else "",
        fetches_of_one="\n".join(
            f"            {buffer}_one = cuda.local.array(1, REAL)\n"
            f"            {buffer}_one[0] = fetch_one({buffer}, i)"
            for buffer in buffers
        ),
        ones=", ".join(f"{buffer}_one" for buffer in buffers),
        stores_of_one="\n".join(f"            store_one({buffer}_one[0], {buffer}, i)" for buffer in sweep.writes),
        zero_one=_ZERO_ONE if clears else "",
    )
