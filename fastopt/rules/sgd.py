"""Stochastic gradient descent: a step against the gradient. With all data as a batch, plain descent.

Hyper-parameters:
    lr: η, the length of a step per unit of the gradient

Use it: as a baseline, for convex problems, and where memory for states is short.
Weaknesses: one learning rate for all parameters, slow along flat directions where others are
    steep; with noisy gradients it converges only if lr decreases.
References: Robbins and Monro, A stochastic approximation method, 1951, Annals of Mathematical
    Statistics 22.

>>> from fastopt import Optimizer
>>> p = np.array([1.0, 2.0])
>>> Optimizer(p, "sgd", backend="reference", lr=0.5).step(np.array([1.0, -1.0]))
>>> p
array([0.5, 2.5])
"""

from .rule import rule
from .vocabulary import fma


@rule
def sgd(p, g, *, lr=1e-2):
    """p −= η·g"""
    return fma(-lr, g, p)
