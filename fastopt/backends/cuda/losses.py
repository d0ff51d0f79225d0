"""The losses of a batch's rows, a thread a row, and the derivatives by its outputs.

The operations and their order are those of the CPU's backends: exponentials in the dtype of the outputs, sums over a
row and logarithms in float64. So the derivatives have the CPU's bits where the outputs have; a loss may differ in its
last ones, since its logarithm is the one of CUDA's library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...elements import IN_DTYPE, ElementLoss, Loss, exp
from ..elements import arguments, does_not_compile
from . import shim
from .elements import generated, scalar
from .shim import cuda, from_dtype, types
from .words import strict_arithmetic

__all__ = ["BLOCK", "loss_function", "loss_kernel", "loss_signature"]

BLOCK = 128
"""Threads of a block."""

uint64, float64 = np.uint64, np.float64
Function = Callable[..., Any]

_LOSS = """\
def lose(z, d, targets, rows, position, batch, count, outputs, inverse, losses, right):
    strict_arithmetic()
    i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
    if i < count:
        first = i * outputs
        row = uint64(rows[uint64(position[0]) * batch + i])
        part, total = real(inverse), float64(0)
        {begin}
        for j in range(outputs):
            x = z[first + j]
            y = {target}
            {shared}
            {look}
            total += value({value})
            d[first + j] = same_dtype(slope({slope}), x) * part
        losses[i] = total / float64(outputs)
        right[i] = {right}
"""
_LARGEST = """\
above = x > top
            top = x if above else top
            at = j if above else at"""
_OF_LABELS = {
    "begin": "label, top, at = uint64(targets[row]), z[first], uint64(0)",
    "target": "one if j == label else zero",
    "look": _LARGEST,
    "right": "1 if at == label else 0",
}
_OF_VALUES = {"begin": "pass", "target": "targets[row * outputs + j]", "look": "pass", "right": "0"}
_OF_PROBABILITIES = {
    "begin": "agrees = True",
    "target": "targets[row * outputs + j]",
    "look": "agrees = agrees and (x >= zero) == (y >= half)",
    "right": "1 if agrees else 0",
}


def loss_function(dtype: np.dtype[Any], loss: Loss, labels: bool) -> Function:
    """Return the kernel ``(z, d, targets, rows, position, batch, count, outputs, inverse, losses, right)``.

    It writes the losses of the `count` rows of the batch that `position` says, whether each is right, and d, the
    derivatives by the outputs z. `rows` are the numbers of all batches' rows, each of `batch`; `inverse` is one divided
    by what the loss is a mean over. With `labels`, targets are class indices, each of which stands for a row that is 1
    there and 0 elsewhere.
    """
    if not isinstance(loss, ElementLoss):
        return _softmax_cross_entropy(dtype)
    compiled, shared = scalar(dtype), loss.intermediate
    given = {"z": "x", "y": "y", **({shared.__name__: "shared_value"} if shared else {})}
    source = _LOSS.format(
        **(_OF_PROBABILITIES if loss.probabilities else _OF_LABELS if labels else _OF_VALUES),
        shared=f"shared_value = same_dtype(shared({arguments(shared, **given)}), x)" if shared else "pass",
        value=arguments(loss.value, **{name: f"float64({place})" for name, place in given.items()}),
        slope=arguments(loss.slope, **given),
    )
    zero, half, one = map(dtype.type, (0.0, 0.5, 1.0))
    function: Function = generated(
        loss,
        "lose",
        source,
        real=dtype.type,
        zero=zero,
        half=half,
        one=one,
        value=scalar(np.dtype(np.float64))(loss.value),
        slope=compiled(loss.slope),
        shared=compiled(shared) if shared else None,
    )
    return function


def loss_signature(dtype: np.dtype[Any], labels: bool) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    real, n = from_dtype(dtype), types.uint64
    values, integers = types.Array(real, 1, "C"), types.Array(types.int64, 1, "C")
    losses = types.Array(types.float64, 1, "C")
    return values, values, integers if labels else values, integers, integers, n, n, n, types.float64, losses, integers


@cache
def loss_kernel(dtype: np.dtype[Any], loss: Loss, labels: bool) -> Any:
    """Return the kernel, compiled. Raises TypeError if it cannot be."""
    try:
        return shim.kernel(loss_function(dtype, loss, labels), loss_signature(dtype, labels), (BLOCK,))
    except shim.TYPING_ERRORS as error:
        if not isinstance(loss, ElementLoss):
            raise
        raise does_not_compile(loss, dtype, error) from None


def _softmax_cross_entropy(dtype: np.dtype[Any]) -> Function:
    exponential, real = scalar(dtype)(IN_DTYPE[dtype.name][exp]), dtype.type

    def softmax_cross_entropy(z, d, targets, rows, position, batch, count, outputs, inverse, losses, right):  # type: ignore[no-untyped-def]
        strict_arithmetic()
        i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
        if i < count:
            first = i * outputs
            label = uint64(targets[uint64(rows[uint64(position[0]) * batch + i])])
            top, at = z[first], uint64(0)
            for j in range(uint64(1), outputs):
                above = z[first + j] > top
                top = z[first + j] if above else top
                at = j if above else at  # type: ignore[assignment]
            right[i] = 1 if at == label else 0
            total = float64(0)
            for j in range(outputs):
                e = exponential(z[first + j] - top)
                d[first + j] = e
                total += float64(e)
            losses[i] = math.log(total) + (float64(top) - float64(z[first + label]))
            scale = real(inverse / total)
            for j in range(outputs):
                d[first + j] = d[first + j] * scale
            d[first + label] = d[first + label] - real(inverse)

    return softmax_cross_entropy
