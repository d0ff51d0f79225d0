"""Biases and activations behind a product, and the activations' derivatives, in place.

Each activation has kernels of its own, so that no thread chooses. The operations are those of the CPU's backends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import shim
from .exp import sigmoid_for, tanh_for
from .shim import cuda, from_dtype, inlined, types
from .words import fma, strict_arithmetic

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

LEAKY_SLOPE = 0.01

uint64 = np.uint64
Function = Callable[..., Any]


def activate_function(dtype: np.dtype[Any], activation: str) -> Function:
    """Return the kernel z[i, j] ← f(z[i, j] + bias[j]): a row of z for each x of the grid, its columns along y."""
    f = _activation(dtype, activation)

    def activate(z, bias, columns):  # type: ignore[no-untyped-def]
        strict_arithmetic()
        j = uint64(cuda.blockIdx.y) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
        if j < columns:
            i = uint64(cuda.blockIdx.x) * columns + j
            z[i] = f(z[i] + bias[j])

    return activate


def activate_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    array = types.Array(from_dtype(dtype), 1, "C")
    return array, array, types.uint64


def derive_function(dtype: np.dtype[Any], activation: str, kink: float) -> Function:
    """Return the kernel d[i] ← d[i] · f', where f' follows from the outputs a."""
    f = _derivative(dtype, activation, kink)

    def derive(d, a, size):  # type: ignore[no-untyped-def]
        strict_arithmetic()
        i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
        if i < size:
            d[i] = f(d[i], a[i])

    return derive


def derive_signature(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    return activate_signature(dtype)


@cache
def activate_kernel(dtype: np.dtype[Any], activation: str) -> Any:
    """Return the kernel, compiled."""
    return shim.kernel(activate_function(dtype, activation), activate_signature(dtype), (BLOCK,))


@cache
def derive_kernel(dtype: np.dtype[Any], activation: str, kink: float) -> Any:
    """Return the kernel, compiled."""
    return shim.kernel(derive_function(dtype, activation, kink), derive_signature(dtype), (BLOCK,))


def _activation(dtype: np.dtype[Any], name: str) -> Function:
    zero, slope = dtype.type(0), dtype.type(LEAKY_SLOPE)

    def identity(z: Any) -> Any:
        return z

    def relu(z: Any) -> Any:
        # A zero of either sign becomes +0 and a negative number -0, from which the derivative can tell them apart.
        return z if z > zero else -zero if z < zero else z + zero

    def leaky_relu(z: Any) -> Any:
        return z if z > zero else slope * z

    if name in ("sigmoid", "tanh"):
        return sigmoid_for(dtype) if name == "sigmoid" else tanh_for(dtype)
    return inlined({"identity": identity, "relu": relu, "leaky_relu": leaky_relu}[name])


def _derivative(dtype: np.dtype[Any], name: str, kink: float) -> Function:
    zero, one, slope, at_zero = map(dtype.type, (0.0, 1.0, LEAKY_SLOPE, kink))
    leaky_at_zero = dtype.type(LEAKY_SLOPE + kink * (1.0 - LEAKY_SLOPE))

    def relu(d: Any, a: Any) -> Any:
        return d * (one if a > zero else zero if math.copysign(one, a) < zero else at_zero)

    def leaky_relu(d: Any, a: Any) -> Any:
        return d * (one if a > zero else slope if a < zero else leaky_at_zero)

    def sigmoid(d: Any, a: Any) -> Any:
        return d * (a * (one - a))

    def tanh(d: Any, a: Any) -> Any:
        return d * fma(-a, a, one)

    return inlined({"relu": relu, "leaky_relu": leaky_relu, "sigmoid": sigmoid, "tanh": tanh}[name])
