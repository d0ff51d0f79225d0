"""The losses of a range of a batch's rows, what each row's outputs are to change by, and whether it is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .decorators import inlined
from .exp import exponential
from .memory import as_dtype_of, pointer_at, shifted, whole

__all__ = ["loss_range"]


@inlined
def _argmax(z: Any, outputs: Any) -> Any:
    top, at = z[0], 0
    for j in range(1, outputs):
        above = z[j] > top
        top = z[j] if above else top
        at = j if above else at
    return at, top


@inlined
def _softmax_cross_entropy(z, d, lead, outputs, count, labels, rows, inverse, losses, right):  # type: ignore[no-untyped-def]
    for i in range(count):
        line, delta = shifted(z, i * lead), shifted(d, i * lead)
        at, top = _argmax(line, outputs)
        label = labels[rows[i]]
        right[i] = at == label
        losses[i] = np.float64(top) - np.float64(line[label])
        for j in range(outputs):
            delta[j] = line[j] - top
        for j in range(outputs, lead):
            delta[j] = top - top
    for j in range(count * lead):
        d[j] = exponential(d[j])
    part = as_dtype_of(d, inverse)
    for i in range(count):
        delta = shifted(d, i * lead)
        total = 0.0
        for j in range(outputs):
            total += np.float64(delta[j])
        losses[i] = math.log(total) + losses[i]
        scale = as_dtype_of(d, inverse / total)
        for j in range(outputs):
            delta[j] = delta[j] * scale
        label = labels[rows[i]]
        delta[label] = delta[label] - part


@inlined
def _binary_cross_entropy(z, d, lead, outputs, count, targets, rows, inverse, losses, right):  # type: ignore[no-untyped-def]
    one, zero, half = as_dtype_of(d, 1.0), as_dtype_of(d, 0.0), as_dtype_of(d, 0.5)
    part = as_dtype_of(d, inverse)
    for j in range(count * lead):
        d[j] = exponential(-abs(z[j]))
    for i in range(count):
        line, delta, wanted = shifted(z, i * lead), shifted(d, i * lead), shifted(targets, rows[i] * outputs)
        total, all_right = 0.0, True
        for j in range(outputs):
            e = np.float64(delta[j])
            above = np.float64(line[j] if line[j] > zero else zero)
            total += above - np.float64(wanted[j]) * np.float64(line[j]) + math.log1p(e)
            all_right = all_right and (line[j] >= zero) == (wanted[j] >= half)
        losses[i] = total / outputs
        right[i] = all_right
        for j in range(outputs):
            e = delta[j]
            s = (one if line[j] >= zero else e) / (one + e)
            delta[j] = (s - wanted[j]) * part


@inlined
def _mean_squared_error(z, d, lead, outputs, count, has_labels, labels, targets, rows, inverse, losses, right):  # type: ignore[no-untyped-def]
    """Take `targets` unless there are labels: a label stands for a row that is 1 there and 0 elsewhere."""
    one, zero = as_dtype_of(d, 1.0), as_dtype_of(d, 0.0)
    double = as_dtype_of(d, 2.0 * inverse)
    for i in range(count):
        line, delta = shifted(z, i * lead), shifted(d, i * lead)
        if has_labels:
            label = labels[rows[i]]
            right[i] = _argmax(line, outputs)[0] == label
            for j in range(outputs):
                delta[j] = line[j] - (one if j == label else zero)
        else:
            wanted = shifted(targets, rows[i] * outputs)
            for j in range(outputs):
                delta[j] = line[j] - wanted[j]
        total = 0.0
        for j in range(outputs):
            q = np.float64(delta[j])
            total += q * q
        losses[i] = total / outputs
        for j in range(outputs):
            delta[j] = delta[j] * double


def loss_range(kind, has_labels, z, d, lead, outputs, count, targets, rows, batch, losses, right):  # type: ignore[no-untyped-def]
    """Write the losses of `count` rows of a batch of `batch`, whether each is right, and the derivatives by z.

    `targets` is the address of labels, or of values in the dtype of z. Of d, what lies between `outputs` and `lead` is
    written too.
    """
    labels, values = whole(targets), pointer_at(targets, z)
    if kind == 0:
        _softmax_cross_entropy(z, d, lead, outputs, count, labels, rows, 1.0 / batch, losses, right)
    elif kind == 1:
        inverse = 1.0 / (batch * outputs)
        _binary_cross_entropy(z, d, lead, outputs, count, values, rows, inverse, losses, right)
    else:
        inverse = 1.0 / (batch * outputs)
        _mean_squared_error(z, d, lead, outputs, count, has_labels, labels, values, rows, inverse, losses, right)
