"""Adan: Adam with Nesterov momentum, estimated from the differences of successive gradients.

m (`exp_avg`) averages the gradient, d (`exp_avg_diff`) its change Δ since g₋ (`previous_grad`), and
n (`exp_avg_sq`) the square of g + β₂Δ; Δ is 0 in the first step. The decay is that of Algorithm 1.
β are 1 minus the paper's, and the bias corrections are those of the authors' code.

Hyper-parameters:
    lr: η, the length of a step where the gradient is steady
    betas: β₁, β₂ and β₃, the shares of m, d and n that are kept at each step
    eps: ε, outside the root, prevents a division by zero
    weight_decay: λ, divides p by 1 + ηλ after the step

Use it: in the place of AdamW; the authors advise a learning rate 5 to 10 times as large.
Weaknesses: four states, twice AdamW's; Δ compares gradients of two batches, so small ones make it
    noisy.
References: Xie, Zhou, Li, Lin and Yan, Adan: adaptive Nesterov momentum algorithm for faster
    optimizing deep models, 2022, arXiv:2208.06677.

>>> from fastopt import Optimizer  # a steady gradient, and one that shrinks: Δ shortens its step
>>> optimizer = Optimizer(np.zeros(2), "adan", backend="reference", lr=0.1)
>>> optimizer.step(np.array([1.0, 1.0]))
>>> optimizer.step(np.array([1.0, 0.5]))
>>> optimizer.parameters.round(3)
array([-0.2  , -0.172])
"""

from math import sqrt

from .rule import rule
from .vocabulary import fma


@rule(decay=None)
def adan(
    p, g, exp_avg, exp_avg_diff, exp_avg_sq, previous_grad,
    *, beta1, beta2, beta3, one_minus_beta1, one_minus_beta2, one_minus_beta3,
    has_previous, step_size, step_size_diff, inv_sqrt_correction3, eps, shrink,
):  # fmt: skip
    """Δ = g − g₋;  m += (1−β₁)(g−m);  d += (1−β₂)(Δ−d);  n = β₃n + (1−β₃)(g + β₂Δ)²;
    p = (p − (η/(1−β₁ᵗ)·m + ηβ₂/(1−β₂ᵗ)·d) / (√n/√(1−β₃ᵗ) + ε)) / (1 + ηλ)"""
    difference = (g - previous_grad) * has_previous
    look_ahead = fma(beta2, difference, g)
    exp_avg = fma(beta1, exp_avg, one_minus_beta1 * g)
    exp_avg_diff = fma(beta2, exp_avg_diff, one_minus_beta2 * difference)
    exp_avg_sq = fma(beta3, exp_avg_sq, one_minus_beta3 * (look_ahead * look_ahead))
    direction = fma(step_size, exp_avg, step_size_diff * exp_avg_diff)
    p = (p - direction / fma(sqrt(exp_avg_sq), inv_sqrt_correction3, eps)) * shrink
    return p, exp_avg, exp_avg_diff, exp_avg_sq, g


@adan.coefficients
def coefficients(t, *, lr=1e-3, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=0.0):
    beta1, beta2, beta3 = betas
    return {
        "beta1": beta1,
        "beta2": beta2,
        "beta3": beta3,
        "one_minus_beta1": 1.0 - beta1,
        "one_minus_beta2": 1.0 - beta2,
        "one_minus_beta3": 1.0 - beta3,
        "has_previous": 0.0 if t == 1 else 1.0,
        "step_size": lr / (1.0 - beta1**t),
        "step_size_diff": lr * beta2 / (1.0 - beta2**t),
        "inv_sqrt_correction3": 1.0 / sqrt(1.0 - beta3**t),
        "eps": eps,
        "shrink": 1.0 / (1.0 + lr * weight_decay),
    }
