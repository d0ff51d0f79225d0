"""Scalar functions of :mod:`fastopt.elements` on whole NumPy arrays, some thousand elements at a time.

Whatever a function needs in between has the size of a block: it stays in the cache, and a step allocates nothing that
grows with the batch.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.functions import substituted
from ..elements import exp, sigmoid, tanh
from ..rules import vocabulary

__all__ = ["exp_of", "on_arrays", "row_blocks", "sigmoid_of"]

BLOCK = 2048
"""Elements of a block."""

Array = NDArray[Any]

_LIMITS = {4: (-80.0, 88.37626), 8: (-700.0, 709.43)}
"""Bytes of a number to the limits of an exponent. The result of the lower one is nothing next to 1, and yet normal
when a mean divides it."""


def exp_of(x: Array) -> Array:
    """Return exp(x), limited to what neither overflows nor underflows."""
    result: Array = np.exp(np.clip(x, *_LIMITS[x.dtype.itemsize]))
    return result


def sigmoid_of(x: Array) -> Array:
    """Return 1/(1 + exp(−x)). Only exp of numbers ≤ 0 is taken, which cannot overflow."""
    e = exp_of(-abs(x))
    result: Array = np.where(x >= 0, 1, e) / (1 + e)
    return result


_ON_ARRAYS: dict[Any, Any] = {
    vocabulary.clip: np.clip,
    vocabulary.sign: np.sign,
    vocabulary.where: np.where,
    exp: exp_of,
    sigmoid: sigmoid_of,
    tanh: np.tanh,
    math.copysign: np.copysign,
    math.exp: exp_of,
    math.log1p: np.log1p,
    math.sqrt: np.sqrt,
    math.tanh: np.tanh,
    math: np,
}


def on_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function for arrays; of what it is given by name, it takes what its parameters name."""
    on_array, names = substituted(function, _ON_ARRAYS), tuple(inspect.signature(function).parameters)

    def call(**given: Any) -> Any:
        return on_array(*(given[name] for name in names))

    return call


def row_blocks(array: Array) -> Iterator[slice]:
    """Return slices of the array's rows, of about a block of elements each."""
    step = max(1, BLOCK // max(1, math.prod(array.shape[1:])))
    return (slice(first, min(first + step, len(array))) for first in range(0, len(array), step))
