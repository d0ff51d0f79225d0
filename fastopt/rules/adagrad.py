"""Adagrad: each step is divided by the root of the sum s (`sum`) of the squared gradients so far.

As in PyTorch, s starts at 0, and ε is outside the root; in Keras and optax s starts at 0.1,
``optimizer.state["sum"].fill(0.1)``, and ε is inside.

Hyper-parameters:
    lr: η, the length of the first step
    lr_decay: lowers η in addition, as in the equation
    eps: ε, prevents a division by zero

Use it: for sparse gradients; parameters that are rarely updated move further when they are.
Weaknesses: s never decreases, so steps only shrink, and long training of networks can stall.
References: Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic
    optimization, 2011, Journal of Machine Learning Research 12.

>>> from fastopt import Optimizer  # steps under a steady gradient: η, η/√2, η/√3
>>> optimizer = Optimizer(np.zeros(1), "adagrad", backend="reference", lr=1.0)
>>> for t in range(3):
...     optimizer.step(np.ones(1))
>>> optimizer.parameters.round(3)  # −1 − 0.707 − 0.577
array([-2.284])
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
