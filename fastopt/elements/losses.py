"""The built-in losses. The cross-entropies take logits: exponents are at most zero, so no finite output overflows."""

from __future__ import annotations

from math import log1p

from ..rules.vocabulary import clip, where
from .exponential import exp
from .loss import RowLoss, loss

__all__ = ["SOFTMAX_CROSS_ENTROPY", "binary_cross_entropy", "huber", "mean_squared_error"]

SOFTMAX_CROSS_ENTROPY = RowLoss("softmax_cross_entropy", "1/b · Σᵢ (log Σⱼ exp(zᵢⱼ) − zᵢ,yᵢ)")
"""By rows: their largest output, exponentials of the differences to it, their sum, and its logarithm in float64."""


@loss(probabilities=True)
def binary_cross_entropy(z, y, e):
    """max(z, 0) − y·z + log(1 + exp(−|z|))"""
    return where(z > 0, z, 0.0) - y * z + log1p(e)


@binary_cross_entropy.shared
def e(z):
    return exp(-abs(z))


@binary_cross_entropy.derivative
def binary_cross_entropy_slope(z, y, e):
    return where(z >= 0, 1.0, e) / (1.0 + e) - y


@loss
def mean_squared_error(difference):
    """(z − y)²"""
    return difference * difference


@mean_squared_error.shared
def difference(z, y):
    return z - y


@mean_squared_error.derivative
def mean_squared_error_slope(difference):
    return 2.0 * difference


@loss
def huber(z, y):
    """½e² for e = |z − y| up to 1, e − ½ from there on"""
    e = abs(z - y)
    return where(e < 1.0, 0.5 * e * e, e - 0.5)


@huber.derivative
def huber_slope(z, y):
    return clip(z - y, -1.0, 1.0)
