"""What losses do with whole rows: the softmax cross-entropy, and whether a row is predicted right."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from ...elements import exp
from .decorators import inlined
from .memory import as_dtype_of, shifted, whole

__all__ = ["agrees_everywhere", "largest", "softmax_cross_entropy"]


@inlined
def largest(z: Any, outputs: Any) -> Any:
    """Return the place of the first of the largest outputs, and that output."""
    top, at = z[0], 0
    for j in range(1, outputs):
        above = z[j] > top
        top = z[j] if above else top
        at = j if above else at
    return at, top


@inlined
def agrees_everywhere(z: Any, y: Any, outputs: Any) -> Any:
    """Return whether every logit and its target are on the same side of probability 1/2."""
    zero, half = as_dtype_of(z, 0.0), as_dtype_of(z, 0.5)
    agrees = True
    for j in range(outputs):
        agrees = agrees and (z[j] >= zero) == (y[j] >= half)
    return agrees


def softmax_cross_entropy(has_labels, z, d, lead, outputs, count, targets, rows, batch, losses, right):  # type: ignore[no-untyped-def]
    """Do what :func:`.elements.compiled_loss` says, once exp is one of the dtype."""
    labels, inverse = whole(targets), 1.0 / batch
    for i in range(count):
        line, delta = shifted(z, i * lead), shifted(d, i * lead)
        at, top = largest(line, outputs)
        label = labels[rows[i]]
        right[i] = at == label
        losses[i] = np.float64(top) - np.float64(line[label])
        for j in range(outputs):
            delta[j] = line[j] - top
        for j in range(outputs, lead):
            delta[j] = top - top
    for j in range(count * lead):
        d[j] = exp(d[j])
    part = as_dtype_of(d, inverse)
    for i in range(count):
        delta = shifted(d, i * lead)
        total = 0.0
        for j in range(outputs):
            total += np.float64(delta[j])
        losses[i] = log(total) + losses[i]
        scale = as_dtype_of(d, inverse / total)
        for j in range(outputs):
            delta[j] = delta[j] * scale
        label = labels[rows[i]]
        delta[label] = delta[label] - part
