"""The kernel around a rule: a vector of each buffer a thread, in registers, from one load to one store.

Vectors are 16 bytes, four float32 or two float64 numbers, and lie at multiples of 16 bytes; `fastopt bench` measures
other numbers beside them. The elements before the first and behind the last of them are updated by a thread each. A
buffer may be a slice that begins anywhere, and so the number of elements before the first vector is an argument; where
buffers do not begin at the same distance from one, it is the number of all.

Parameters and gradients of bfloat16 have states of float32, and the rule computes in float32: they are converted where
they are loaded and stored. Their vectors have four elements too, and 8 bytes: with eight, 16 bytes, a rule with three
states would spill in the 64 registers that the launch bounds leave a thread. With four, a warp still moves whole lines
of 128 bytes; what it takes more of, instructions, is not what a pass over memory waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..._bfloat16 import state_dtype
from ...rules import Rule
from ...rules.vocabulary import clip
from ..protocol import coefficient_count
from ..source import buffer_names, element_source, positional, unique_name
from .buffer import array_type
from .launch import elements_a_thread, launch_bounds
from .shim import cuda, from_dtype, inlined, kernel, types
from .words import fetch, fetch_one, fma, same_dtype, store, store_one, strict_arithmetic

__all__ = ["ELEMENTS", "compiled_pass", "pass_function", "pass_signature"]

ELEMENTS = (1, 2, 4, 8)
"""How many a thread may have."""

_KERNEL = """\
def {name}({buffers}, coefficients, head, zero_grad):
    strict_arithmetic()
    values = ({values},)
    thread = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    vectors = (uint64(p.size) - head) // WIDTH
    if thread < vectors:
        first = head + thread * WIDTH
{fetches}
{elements}
{stores}
        if zero_grad:
{zeros}
            store(g_vector, g, first, {width})
    else:
        i = thread - vectors
        if i >= head:
            i += vectors * WIDTH
        if i < uint64(p.size):
{fetches_of_one}
            element({ones}, 0, values)
{stores_of_one}
            if zero_grad:
                store_one(ZERO, g, i)
"""


def compiled_pass(rule: Rule, dtype: np.dtype[Any], elements: int | None = None) -> tuple[Any, int, int]:
    """Return the kernel ``(p, g, *states, coefficients, head, zero_grad)``, threads a block and elements a thread."""
    elements = elements_a_thread(state_dtype(dtype)) if elements is None else elements
    allowed = [count for count in ELEMENTS if count * dtype.itemsize >= 4]  # words are the least that is moved
    if elements not in allowed:
        raise ValueError(f"elements: got {elements}, expected one of {allowed} of {dtype.name}")
    bounds = launch_bounds(dtype, state_dtype(dtype), elements)
    return _compiled(rule, dtype, elements, bounds), bounds[0], elements


@cache
def _compiled(rule: Rule, dtype: np.dtype[Any], elements: int, bounds: tuple[int, int]) -> Any:
    return kernel(pass_function(rule, dtype, elements), pass_signature(rule, dtype), bounds)


def pass_signature(rule: Rule, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    states_and_coefficients = [array_type(state_dtype(dtype))] * (len(rule.states) + 1)
    return (*[array_type(dtype)] * 2, *states_and_coefficients, types.uint64, types.boolean)


def pass_function(rule: Rule, dtype: np.dtype[Any], elements: int | None = None) -> Callable[..., None]:
    """Return the kernel as a Python function, of so many elements a thread: 1, 2, 4 or 8; the usual ones if None.

    Indices are unsigned, since a signed one might count from the end of an array.
    """
    real = state_dtype(dtype)
    name, width = unique_name(rule, _KERNEL), elements or elements_a_thread(real)
    space: dict[str, Any] = {
        "__name__": rule.update.__module__,
        "rule": inlined(positional(rule.update)),
        "clip": clip,
        "fma": fma,
        "same_dtype": same_dtype,
        "fetch": fetch,
        "fetch_one": fetch_one,
        "store": store,
        "store_one": store_one,
        "strict_arithmetic": strict_arithmetic,
        "cuda": cuda,
        "uint64": np.uint64,
        "WIDTH": np.uint64(width),
        "ZERO": real.type(0),
        "REAL": from_dtype(real),
    }
    exec(compile(_source(rule, name, width), rule.update.__code__.co_filename, "exec"), space)
    space["element"] = inlined(space[f"{name}_element"])
    function: Callable[..., None] = space[name]
    return function


def _source(rule: Rule, name: str, width: int) -> str:
    buffers, updated = buffer_names(rule), ("p", *rule.states)
    vectors = ", ".join(f"{buffer}_vector" for buffer in buffers)
    return element_source(rule, f"{name}_element") + _KERNEL.format(
        name=name,
        width=width,
        buffers=", ".join(buffers),
        values=", ".join(f"coefficients[{k}]" for k in range(coefficient_count(rule))),
        fetches="\n".join(
            f"        {buffer}_vector = cuda.local.array({width}, REAL)\n"
            f"        fetch({buffer}, first, {buffer}_vector, {width})"
            for buffer in buffers
        ),
        elements="\n".join(f"        element({vectors}, {k}, values)" for k in range(width)),
        stores="\n".join(f"        store({buffer}_vector, {buffer}, first, {width})" for buffer in updated),
        zeros="\n".join(f"            g_vector[{k}] = ZERO" for k in range(width)),
        fetches_of_one="\n".join(
            f"            {buffer}_one = cuda.local.array(1, REAL)\n"
            f"            {buffer}_one[0] = fetch_one({buffer}, i)"
            for buffer in buffers
        ),
        ones=", ".join(f"{buffer}_one" for buffer in buffers),
        stores_of_one="\n".join(f"            store_one({buffer}_one[0], {buffer}, i)" for buffer in updated),
    )
