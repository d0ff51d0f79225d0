"""Momentum as in PyTorch: steps along a decaying sum b (`momentum_buffer`) of the gradients.

The first gradient is not dampened, b₁ = g. b does not contain η: a new learning rate scales the
whole step at once. `nesterov` looks ahead, and accepts a dampening, which PyTorch does not.

Hyper-parameters:
    lr: η, the length of a step per unit of b
    momentum: μ, the share of b that is kept at each step
    dampening: τ, lowers the weight of new gradients to 1 − τ

Use it: for image classifiers, and wherever lr can be tuned; `nesterov` usually overshoots less.
Weaknesses: one learning rate for all parameters; overshoots and oscillates with μ near 1; a larger
    μ needs a smaller η.
References: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    Nesterov, A method of solving a convex programming problem with convergence rate O(1/k²), 1983.
    Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

>>> from fastopt import Optimizer  # steps under a steady gradient grow, up to η/(1 − μ)
>>> optimizer = Optimizer(np.zeros(1), "momentum", backend="reference", lr=1.0)
>>> for t in range(3):
...     optimizer.step(np.ones(1))
>>> optimizer.parameters.round(3)  # −1 − 1.9 − 2.71
array([-5.61])
"""

from .rule import rule
from .vocabulary import fma


@rule
def momentum(p, g, momentum_buffer, *, step_size, momentum, one_minus_dampening):
    """b = μb + (1−τ)g, b₁ = g;  p −= η·b"""
    momentum_buffer = fma(momentum, momentum_buffer, one_minus_dampening * g)
    return fma(-step_size, momentum_buffer, p), momentum_buffer


@rule
def nesterov(p, g, momentum_buffer, *, step_size, momentum, one_minus_dampening):
    """b = μb + (1−τ)g, b₁ = g;  p −= η·(g + μb)"""
    momentum_buffer = fma(momentum, momentum_buffer, one_minus_dampening * g)
    return fma(-step_size, fma(momentum, momentum_buffer, g), p), momentum_buffer


@nesterov.coefficients
@momentum.coefficients
def coefficients(t, *, lr=1e-2, momentum=0.9, dampening=0.0):
    return {
        "step_size": lr,
        "momentum": momentum,
        "one_minus_dampening": 1.0 if t == 1 else 1.0 - dampening,
    }
