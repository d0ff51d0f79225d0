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

from . import shim
from .exp import exponential_for
from .shim import cuda, from_dtype, types
from .words import strict_arithmetic

__all__ = ["BLOCK", "LABELLED", "loss_function", "loss_kernel", "loss_signature"]

BLOCK = 128
"""Threads of a block."""

LABELLED = "mean_squared_error of labels"
"""The mean squared error whose targets are labels, each of which stands for a row that is 1 there and 0 elsewhere."""

uint64, float64 = np.uint64, np.float64
Function = Callable[..., Any]


def loss_function(dtype: np.dtype[Any], loss: str) -> Function:
    """Return the kernel ``(z, d, targets, rows, position, batch, count, outputs, inverse, losses, right)``.

    It writes the losses of the `count` rows of the batch that `position` says, whether each is right, and d, the
    derivatives by the outputs z. `rows` are the numbers of all batches' rows, each of `batch`; `inverse` is one divided
    by what the loss is a mean over.
    """
    made: Function = {
        "softmax_cross_entropy": _softmax_cross_entropy,
        "binary_cross_entropy": _binary_cross_entropy,
        "mean_squared_error": _mean_squared_error,
        LABELLED: _mean_squared_error_of_labels,
    }[loss](dtype)
    return made


def loss_signature(dtype: np.dtype[Any], loss: str) -> tuple[Any, ...]:
    """Return the types of the kernel's arguments."""
    real, n = from_dtype(dtype), types.uint64
    values, integers = types.Array(real, 1, "C"), types.Array(types.int64, 1, "C")
    targets = integers if loss in ("softmax_cross_entropy", LABELLED) else values
    losses = types.Array(types.float64, 1, "C")
    return values, values, targets, integers, integers, n, n, n, types.float64, losses, integers


@cache
def loss_kernel(dtype: np.dtype[Any], loss: str) -> Any:
    """Return the kernel, compiled."""
    return shim.kernel(loss_function(dtype, loss), loss_signature(dtype, loss), (BLOCK,))


def _softmax_cross_entropy(dtype: np.dtype[Any]) -> Function:
    exponential, real = exponential_for(dtype), dtype.type

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


def _binary_cross_entropy(dtype: np.dtype[Any]) -> Function:
    exponential, real = exponential_for(dtype), dtype.type
    zero, half, one = map(real, (0.0, 0.5, 1.0))

    def binary_cross_entropy(z, d, targets, rows, position, batch, count, outputs, inverse, losses, right):  # type: ignore[no-untyped-def]
        strict_arithmetic()
        i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
        if i < count:
            first = i * outputs
            row = uint64(rows[uint64(position[0]) * batch + i]) * outputs
            part = real(inverse)
            total, all_right = float64(0), True
            for j in range(outputs):
                x, wanted = z[first + j], targets[row + j]
                e = exponential(-abs(x))
                above = x if x > zero else zero
                total += float64(above) - float64(wanted) * float64(x) + math.log1p(float64(e))
                all_right = all_right and (x >= zero) == (wanted >= half)
                s = (one if x >= zero else e) / (one + e)
                d[first + j] = (s - wanted) * part
            losses[i] = total / float64(outputs)
            right[i] = 1 if all_right else 0

    return binary_cross_entropy


def _mean_squared_error(dtype: np.dtype[Any]) -> Function:
    real, two = dtype.type, float64(2)

    def mean_squared_error(z, d, targets, rows, position, batch, count, outputs, inverse, losses, right):  # type: ignore[no-untyped-def]
        strict_arithmetic()
        i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
        if i < count:
            first = i * outputs
            row = uint64(rows[uint64(position[0]) * batch + i]) * outputs
            double = real(two * inverse)
            total = float64(0)
            for j in range(outputs):
                q = z[first + j] - targets[row + j]
                total += float64(q) * float64(q)
                d[first + j] = q * double
            losses[i] = total / float64(outputs)
            right[i] = 0

    return mean_squared_error


def _mean_squared_error_of_labels(dtype: np.dtype[Any]) -> Function:
    real, two = dtype.type, float64(2)
    zero, one = real(0), real(1)

    def mean_squared_error(z, d, targets, rows, position, batch, count, outputs, inverse, losses, right):  # type: ignore[no-untyped-def]
        strict_arithmetic()
        i = uint64(cuda.blockIdx.x) * uint64(cuda.blockDim.x) + uint64(cuda.threadIdx.x)
        if i < count:
            first = i * outputs
            label = uint64(targets[uint64(rows[uint64(position[0]) * batch + i])])
            double = real(two * inverse)
            top, at = z[first], uint64(0)
            total = float64(0)
            for j in range(outputs):
                x = z[first + j]
                above = x > top
                top = x if above else top
                at = j if above else at  # type: ignore[assignment]
                q = x - (one if j == label else zero)
                total += float64(q) * float64(q)
                d[first + j] = q * double
            losses[i] = total / float64(outputs)
            right[i] = 1 if at == label else 0

    return mean_squared_error
