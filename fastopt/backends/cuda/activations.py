"""Biases and activations after a product, and the activations' derivatives.

Each activation has kernels of its own, so that no thread chooses. The operations are those of the CPU's backends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...elements import Activation
from ..elements import arguments, does_not_compile
from . import shim
from .elements import generated, scalar
from .shim import from_dtype, types

__all__ = [
    "BLOCK",
    "activate_function",
    "activate_kernel",
    "activate_signature",
    "derive_function",
    "derive_kernel",
    "derive_signature",
]

BLOCK = 256
"""The most threads of a block."""

Function = Callable[..., Any]

_ACTIVATE = """\
def activate(z, a, bias, columns):
    strict_arithmetic()
    j = uint64(cuda.blockIdx.y) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    if j < columns:
        i = uint64(cuda.blockIdx.x) * columns + j
        weighted = z[i] + bias[j]
        {keep}
        a[i] = same_dtype(value(weighted), z[i])
"""
_DERIVE = """\
def derive(d, z, a, size):
    strict_arithmetic()
    i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    if i < size:
        d[i] = d[i] * same_dtype(slope({arguments}), d[i])
"""


def activate_function(dtype: np.dtype[Any], activation: Activation) -> Function:
    """Return the kernel a[i, j] ← f(z[i, j] + bias[j]): a row of z for each x of the grid, its columns along y.

    a may be z, unless the activation keeps its input: then z[i, j] + bias[j] takes the place of z.
    """
    keep = "z[i] = weighted" if activation.keeps_input else "pass"
    value = scalar(dtype)(activation.value)
    function: Function = generated(activation, "activate", _ACTIVATE.format(keep=keep), value=value)
    return function


def activate_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return *[types.Array(from_dtype(dtype), 1, "C")] * 3, types.uint64


def derive_function(dtype: np.dtype[Any], activation: Activation, kink: float) -> Function:
    """Return the kernel d[i] ← d[i] · f′, from weighted sums z and outputs a."""
    source = _DERIVE.format(arguments=arguments(activation.slope, z="z[i]", a="a[i]"))
    at_zero, slope = dtype.type(activation.slope_at_zero(kink)), scalar(dtype)(activation.slope)
    function: Function = generated(activation, "derive", source, slope=slope, at_zero=at_zero)
    return function


def derive_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return activate_signature(dtype)


@cache
def activate_kernel(dtype: np.dtype[Any], activation: Activation) -> Any:
    """Return the kernel, compiled. Raises TypeError if it cannot be."""
    try:
        return shim.kernel(activate_function(dtype, activation), activate_signature(dtype), (BLOCK,))
    except shim.TYPING_ERRORS as error:
        raise does_not_compile(activation, dtype, error) from None


@cache
def derive_kernel(dtype: np.dtype[Any], activation: Activation, kink: float) -> Any:
    """Return the kernel, compiled. Raises TypeError if it cannot be."""
    try:
        return shim.kernel(derive_function(dtype, activation, kink), derive_signature(dtype), (BLOCK,))
    except shim.TYPING_ERRORS as error:
        raise does_not_compile(activation, dtype, error) from None
