"""The kernel around a rule: a vector of each buffer a thread, in registers, from one load to one store.

Vectors are 16 bytes, four float32 or two float64 numbers, and lie at multiples of 16 bytes. The elements before the
first and behind the last of them are updated by a thread each. A buffer may be a slice that begins anywhere, and so the
number of elements before the first vector is an argument; where buffers do not begin at the same distance from one, it
is the number of all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...rules import Rule
from ...rules.vocabulary import clip
from ..protocol import coefficient_count
from ..source import buffer_names, element_source, positional, unique_name
from . import launch
from .launch import BLOCKS, VECTOR_BYTES
from .shim import cuda, from_dtype, inlined, kernel, types
from .words import fetch, fma, same_dtype, store, strict_arithmetic

__all__ = ["compiled_pass", "pass_function", "pass_signature"]

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
            store(g_vector, g, first)
    else:
        i = thread - vectors
        if i >= head:
            i += vectors * WIDTH
        if i < uint64(p.size):
            element({buffers}, i, values)
            if zero_grad:
                g[i] = ZERO
"""


def compiled_pass(rule: Rule, dtype: np.dtype[Any]) -> tuple[Any, int]:
    """Return the kernel ``(p, g, *states, coefficients, head, zero_grad)``, and the threads of its blocks."""
    return _compiled(rule, dtype, launch.BLOCK), launch.BLOCK


@cache
def _compiled(rule: Rule, dtype: np.dtype[Any], block: int) -> Any:
    return kernel(pass_function(rule, dtype), pass_signature(rule, dtype), (block, BLOCKS[dtype.name]))


def pass_signature(rule: Rule, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    array = types.Array(from_dtype(dtype), 1, "C")
    return (*[array] * (len(buffer_names(rule)) + 1), types.uint64, types.boolean)


def pass_function(rule: Rule, dtype: np.dtype[Any]) -> Callable[..., None]:
    """Return the kernel as a Python function.

    Indices are unsigned, since a signed one might count from the end of an array.
    """
    name, width = unique_name(rule, _KERNEL), VECTOR_BYTES // dtype.itemsize
    space: dict[str, Any] = {
        "__name__": rule.update.__module__,
        "rule": inlined(positional(rule.update)),
        "clip": clip,
        "fma": fma,
        "same_dtype": same_dtype,
        "fetch": fetch,
        "store": store,
        "strict_arithmetic": strict_arithmetic,
        "cuda": cuda,
        "uint64": np.uint64,
        "WIDTH": np.uint64(width),
        "ZERO": dtype.type(0),
        "REAL": from_dtype(dtype),
    }
    exec(compile(_source(rule, name, width), rule.update.__code__.co_filename, "exec"), space)
    space["element"] = inlined(space[f"{name}_element"])
    function: Callable[..., None] = space[name]
    return function


def _source(rule: Rule, name: str, width: int) -> str:
    buffers = buffer_names(rule)
    vectors = ", ".join(f"{buffer}_vector" for buffer in buffers)
    return element_source(rule, f"{name}_element") + _KERNEL.format(
        name=name,
        buffers=", ".join(buffers),
        values=", ".join(f"coefficients[{k}]" for k in range(coefficient_count(rule))),
        fetches="\n".join(
            f"        {buffer}_vector = cuda.local.array({width}, REAL)\n"
            f"        fetch({buffer}, first, {buffer}_vector)"
            for buffer in buffers
        ),
        elements="\n".join(f"        element({vectors}, {k}, values)" for k in range(width)),
        stores="\n".join(f"        store({buffer}_vector, {buffer}, first)" for buffer in ("p", *rule.states)),
        zeros="\n".join(f"            g_vector[{k}] = ZERO" for k in range(width)),
    )
