"""Momentum as Keras and scikit-learn have it: the velocity contains the learning rate."""

from .rule import rule
from .vocabulary import fma


@rule
def momentum_velocity(p, g, velocity, *, lr=1e-2, momentum=0.9):
    """v = μv − ηg;  p += v"""
    velocity = fma(momentum, velocity, -lr * g)
    return p + velocity, velocity


@rule
def nesterov_velocity(p, g, velocity, *, lr=1e-2, momentum=0.9):
    """v = μv − ηg;  p += μv − ηg"""
    step = -lr * g
    velocity = fma(momentum, velocity, step)
    return p + fma(momentum, velocity, step), velocity
