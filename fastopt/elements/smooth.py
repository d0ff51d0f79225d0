"""Activations without a kink: the logistic function and the hyperbolic tangent, and z times a gate.

The slopes of the latter need z, so a layer with one of them keeps its weighted sums. Far from zero a gate is 0 or 1; z
is limited there, so that a huge one gives no product of zero and infinity.
"""

from __future__ import annotations

from ..rules.vocabulary import clip, fma, where
from .activation import activation
from .exponential import sigmoid
from .hyperbolic import tanh

__all__ = ["gelu", "logistic", "silu", "tangent"]

GELU_FIRST = 1.5957691216057308  # 2·√(2/π)
GELU_THIRD = 0.07135481627260025  # 0.044715 times that
GELU_END = 10.0  # beyond, the gate is within 1e-37 of 0 or 1
SILU_END = -80.0  # below, z·σ(z) is within 2e-33 of 0


@activation(name="sigmoid")
def logistic(z):
    """1/(1+exp(−z))"""
    return sigmoid(z)


@logistic.derivative
def logistic_slope(a):
    return a * (1.0 - a)


@activation(name="tanh")
def tangent(z):
    """tanh(z)"""
    return tanh(z)


@tangent.derivative
def tangent_slope(a):
    return fma(-a, a, 1.0)


@activation
def silu(z):
    """z·σ(z)"""
    x = where(z < SILU_END, SILU_END, z)
    return x * sigmoid(x)


@silu.derivative
def silu_slope(z, a):
    s = sigmoid(where(z < SILU_END, SILU_END, z))
    return fma(a, 1.0 - s, s)


@activation
def gelu(z):
    """z·σ(2√(2/π)·(z + 0.044715·z³)), which is z/2·(1 + tanh(√(2/π)·(z + 0.044715·z³)))"""
    x = clip(z, -GELU_END, GELU_END)
    return where(z > GELU_END, z, x * gelu_gate(x))


@gelu.derivative
def gelu_slope(z):
    x = clip(z, -GELU_END, GELU_END)
    s = gelu_gate(x)
    return fma(x * s * (1.0 - s), fma(3.0 * GELU_THIRD, x * x, GELU_FIRST), s)


def gelu_gate(x):
    return sigmoid(x * fma(GELU_THIRD, x * x, GELU_FIRST))
