"""Adagrad: Duchi, Hazan and Singer, 2011. PyTorch's form: the sum starts at 0, and ε stands outside the root.

Keras and optax start at 0.1: ``optimizer.state["sum"].fill(0.1)``.
"""

from math import sqrt

from .rule import rule
from .vocabulary import fma


@rule
def adagrad(p, g, sum, *, step_size, eps):
    """s += g²;  p −= η/(1 + (t−1)·lr_decay) · g/(√s + ε)"""
    sum = fma(g, g, sum)
    return fma(-step_size, g / (sqrt(sum) + eps), p), sum


@adagrad.coefficients
def coefficients(t, *, lr=1e-2, lr_decay=0.0, eps=1e-10):
    return {"step_size": lr / (1.0 + (t - 1) * lr_decay), "eps": eps}
