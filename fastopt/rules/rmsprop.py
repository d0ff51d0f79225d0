"""RMSprop: Tieleman and Hinton, 2012, and its centered form by Graves, 2013. PyTorch's form: ε stands outside the root.

The variance v − a² is zero when the gradient is constant, and rounding can make it less: its absolute value is taken.
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
