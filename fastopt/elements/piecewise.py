"""Activations of straight lines, and the exponential linear unit.

At exactly zero, relu and leaky_relu have no derivative but a set of subgradients, of which `at_zero` is the chosen one.
A zero of relu's output stands for z = 0 and for z < 0 alike, so the sign of that zero tells them apart: +0 is the kink,
−0 was negative.
"""

from __future__ import annotations

from math import copysign

from ..rules.vocabulary import where
from .activation import activation
from .hyperbolic import tanh

__all__ = ["elu", "identity", "leaky_relu", "relu"]

LEAKY_SLOPE = 0.01


@activation
def identity(z):
    """z"""
    return z


@identity.derivative
def identity_slope():
    return 1.0


@activation(sides=(0.0, 1.0))
def relu(z):
    """max(z, 0)"""
    return where(z > 0, z, where(z < 0, -0.0, z + 0.0))  # the sum makes +0 of −0, and keeps NaN


@relu.derivative
def relu_slope(a, at_zero):
    return where(a > 0, 1.0, where(copysign(1.0, a) < 0, 0.0, at_zero))


@activation(sides=(LEAKY_SLOPE, 1.0))
def leaky_relu(z):
    """max(z, 0.01·z)"""
    return where(z > 0, z, LEAKY_SLOPE * z)


@leaky_relu.derivative
def leaky_relu_slope(a, at_zero):
    return where(a > 0, 1.0, where(a < 0, LEAKY_SLOPE, at_zero))


@activation
def elu(z):
    """z for z > 0, else exp(z) − 1"""
    # exp(z) − 1 = 2t/(1 − t) for t = tanh(z/2): near zero the difference would have no correct digit.
    t = tanh(where(z > 0, 0.0, 0.5 * z))
    return where(z > 0, z, 2.0 * t / (1.0 - t))


@elu.derivative
def elu_slope(a):
    return where(a > 0, 1.0, a + 1.0)
