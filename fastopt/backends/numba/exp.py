"""exp, sigmoid and tanh of :mod:`fastopt.backends.polynomials` for Numba: loops over them are vectorised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from ..polynomials import make_exponential, make_sigmoid, make_tanh
from .decorators import inlined
from .intrinsics import fma

__all__ = ["bits_of", "exponential", "sigmoid", "tanh"]

_OPTIONS: Any = {"error_model": "numpy"}


def _integer_like(kind: Any) -> Any:
    return types.int32 if kind == types.float32 else types.int64


@intrinsic
def bits_of(typing_context: Any, x: Any) -> Any:
    """Return the number's bits as a signed integer."""
    result = _integer_like(x)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(result))

    return result(x), emit


@intrinsic
def _add_exponent(typing_context: Any, y: Any, t: Any) -> Any:
    """Return y · 2ⁿ, where n is what the lowest bits of t are."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        integer = context.get_value_type(_integer_like(y))
        shift = ir.Constant(integer, 23 if y == types.float32 else 52)
        y_bits, t_bits = (builder.bitcast(argument, integer) for argument in arguments)
        return builder.bitcast(builder.add(y_bits, builder.shl(t_bits, shift)), context.get_value_type(y))

    return y(y, y), emit


def exponential(x: Any) -> Any:
    """Return exp(x), limited to what has a normal result. Compiled code has its own operations for it, below."""
    return math.exp(x)


def sigmoid(x: Any) -> Any:
    """Return 1/(1 + exp(−x))."""
    return 1 / (1 + math.exp(-x))


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    return math.tanh(x)


def _dtype(kind: Any) -> Any:
    return np.float32 if kind == types.float32 else np.float64


@overload(exponential, jit_options=_OPTIONS)
def _exponential(x: Any) -> Any:
    return make_exponential(_dtype(x), fma, _add_exponent, inlined)


@overload(sigmoid, jit_options=_OPTIONS)
def _sigmoid(x: Any) -> Any:
    return make_sigmoid(_dtype(x), exponential)


@overload(tanh, jit_options=_OPTIONS)
def _tanh(x: Any) -> Any:
    return make_tanh(_dtype(x), fma, exponential, inlined)
