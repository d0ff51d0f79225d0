"""exp, sigmoid and tanh of :mod:`fastopt.backends.polynomials` for kernels on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ..polynomials import make_exponential, make_sigmoid, make_tanh
from .shim import inlined
from .words import add_exponent, fma

__all__ = ["exponential_for", "sigmoid_for", "tanh_for"]

Function = Callable[..., Any]


@cache
def exponential_for(dtype: np.dtype[Any]) -> Function:
    """Return exp(x) for numbers of that dtype."""
    return inlined(make_exponential(dtype.type, fma, add_exponent, inlined))


@cache
def sigmoid_for(dtype: np.dtype[Any]) -> Function:
    """Return 1/(1 + exp(−x)) for numbers of that dtype."""
    return inlined(make_sigmoid(dtype.type, exponential_for(dtype)))


@cache
def tanh_for(dtype: np.dtype[Any]) -> Function:
    """Return the hyperbolic tangent for numbers of that dtype."""
    return inlined(make_tanh(dtype.type, fma, exponential_for(dtype), inlined))
