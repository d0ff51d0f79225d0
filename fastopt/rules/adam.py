"""Adam: Kingma and Ba, 2015, Algorithm 1. AdamW: Loshchilov and Hutter, 2019."""

from math import sqrt

from .rule import rule
from .vocabulary import fma


@rule
def adam(p, g, exp_avg, exp_avg_sq, *, one_minus_beta1, beta2, one_minus_beta2, step_size, inv_sqrt_correction2, eps):
    """m += (1−β₁)(g−m);  v = β₂v + (1−β₂)g²;  p −= η/(1−β₁ᵗ) · m/(√v/√(1−β₂ᵗ) + ε)"""
    exp_avg = fma(g - exp_avg, one_minus_beta1, exp_avg)
    exp_avg_sq = fma(beta2, exp_avg_sq, one_minus_beta2 * (g * g))
    p = fma(-step_size, exp_avg / fma(sqrt(exp_avg_sq), inv_sqrt_correction2, eps), p)
    return p, exp_avg, exp_avg_sq


@adam.coefficients
def coefficients(t, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    beta1, beta2 = betas
    return {
        "one_minus_beta1": 1.0 - beta1,
        "beta2": beta2,
        "one_minus_beta2": 1.0 - beta2,
        "step_size": lr / (1.0 - beta1**t),
        "inv_sqrt_correction2": 1.0 / sqrt(1.0 - beta2**t),
        "eps": eps,
    }


adamw = adam.variant("adamw", equation=f"p ·= 1 − ηλ;  {adam.equation}", decay="decoupled", weight_decay=1e-2)
