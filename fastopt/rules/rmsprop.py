"""RMSprop: each gradient is divided by the root of the average v (`square_avg`) of its square.

The centered rules subtract the square of the average gradient a (`grad_avg`); as rounding can make
v − a² negative, its absolute value is taken. b (`momentum_buffer`) sums the quotients, without η
(Keras: with η). ε is outside the root as in PyTorch; Keras and optax have it inside.

Hyper-parameters:
    lr: η, the length of a step under a steady gradient, without momentum or centering
    alpha: α, the share of v and a that is kept at each step
    eps: ε, prevents a division by zero
    momentum: μ, the share of b that is kept at each step

Use it: for recurrent networks and reinforcement learning, where the scale of gradients changes.
Weaknesses: v starts at 0 without a bias correction: the first step is η/√(1 − α), ten times η by
    default. Steps do not shrink with the gradient near a minimum, so lr has to.
References: Tieleman and Hinton, Lecture 6.5: RMSProp, Neural Networks for Machine Learning, 2012.
    Graves, Generating sequences with recurrent neural networks, 2013, arXiv:1308.0850.

>>> from fastopt import Optimizer  # the first step is ten times η for gradients of any scale
>>> p = np.zeros(2)
>>> Optimizer(p, "rmsprop", backend="reference", lr=0.01).step(np.array([1000.0, -0.001]))
>>> p.round(3)
array([-0.1,  0.1])
"""

from math import sqrt

from .rule import rule
from .vocabulary import fma


@rule
def rmsprop(p, g, square_avg, *, step_size, alpha, one_minus_alpha, eps):
    """v = αv + (1−α)g²;  p −= η·g/(√v + ε)"""
    square_avg = fma(alpha, square_avg, one_minus_alpha * (g * g))
    return fma(-step_size, g / (sqrt(square_avg) + eps), p), square_avg


@rule
def rmsprop_momentum(p, g, square_avg, momentum_buffer, *, step_size, alpha, one_minus_alpha, eps, momentum):
    """v = αv + (1−α)g²;  b = μb + g/(√v + ε);  p −= η·b"""
    square_avg = fma(alpha, square_avg, one_minus_alpha * (g * g))
    momentum_buffer = fma(momentum, momentum_buffer, g / (sqrt(square_avg) + eps))
    return fma(-step_size, momentum_buffer, p), square_avg, momentum_buffer


@rule
def rmsprop_centered(p, g, square_avg, grad_avg, *, step_size, alpha, one_minus_alpha, eps):
    """v = αv + (1−α)g²;  a += (1−α)(g−a);  p −= η·g/(√(v−a²) + ε)"""
    square_avg = fma(alpha, square_avg, one_minus_alpha * (g * g))
    grad_avg = fma(g - grad_avg, one_minus_alpha, grad_avg)
    variance = abs(fma(-grad_avg, grad_avg, square_avg))
    return fma(-step_size, g / (sqrt(variance) + eps), p), square_avg, grad_avg


@rule
def rmsprop_centered_momentum(
    p, g, square_avg, grad_avg, momentum_buffer, *, step_size, alpha, one_minus_alpha, eps, momentum
):
    """v = αv + (1−α)g²;  a += (1−α)(g−a);  b = μb + g/(√(v−a²) + ε);  p −= η·b"""
    square_avg = fma(alpha, square_avg, one_minus_alpha * (g * g))
    grad_avg = fma(g - grad_avg, one_minus_alpha, grad_avg)
    variance = abs(fma(-grad_avg, grad_avg, square_avg))
    momentum_buffer = fma(momentum, momentum_buffer, g / (sqrt(variance) + eps))
    return fma(-step_size, momentum_buffer, p), square_avg, grad_avg, momentum_buffer


@rmsprop_centered.coefficients
@rmsprop.coefficients
def coefficients(t, *, lr=1e-2, alpha=0.99, eps=1e-8):
    return {"step_size": lr, "alpha": alpha, "one_minus_alpha": 1.0 - alpha, "eps": eps}


@rmsprop_centered_momentum.coefficients
@rmsprop_momentum.coefficients
def coefficients_with_momentum(t, *, lr=1e-2, alpha=0.99, eps=1e-8, momentum=0.9):
    return {**coefficients(t, lr=lr, alpha=alpha, eps=eps), "momentum": momentum}
