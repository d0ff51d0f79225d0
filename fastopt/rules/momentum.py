"""Momentum as PyTorch has it: a sum of gradients, the first of them undampened. Sutskever et al., 2013."""

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
