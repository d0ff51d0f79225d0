"""LAMB: Adam's step with decay, scaled in each segment to the length η‖p‖.

m (`exp_avg`) and v (`exp_avg_sq`) are Adam's averages. As Algorithm 2 with the identity as φ; the
ratio of the norms is 1 where one is 0. DeepSpeed clamps the ratio, Apex omits it without decay.

Hyper-parameters:
    lr: η, the length of a step relative to the norm of the segment
    betas: β₁ and β₂, the shares of m and v that are kept at each step
    eps: ε, outside the root, after the bias correction
    weight_decay: λ, part of u, and so of the scaled step

Use it: for batches of thousands of samples and more, which it was designed for.
Weaknesses: little to gain with small batches; a segment with a tiny norm takes tiny steps, such as
    biases after their start at 0; two passes over the parameters.
References: You et al., Large batch optimization for deep learning: training BERT in 76 minutes,
    2020, arXiv:1904.00962.

>>> from fastopt import Optimizer  # the step has length η‖p‖ = 0.1 · 5
>>> p = np.array([3.0, 4.0])
>>> Optimizer(p, "lamb", backend="reference", lr=0.1).step(np.array([1.0, -5.0]))
>>> np.linalg.norm(p - [3.0, 4.0]).round(6).item()
0.5
"""

from math import sqrt

from .rule import rule
from .vocabulary import fma, where


def direction(p, exp_avg, exp_avg_sq, inv_correction1, inv_sqrt_correction2, eps, decay):
    adam = exp_avg * inv_correction1 / fma(sqrt(exp_avg_sq), inv_sqrt_correction2, eps)
    return fma(decay, p, adam)


@rule(decay=None, writes=("exp_avg", "exp_avg_sq"), sums=("parameter_squares", "direction_squares"))
def lamb(
    p, g, exp_avg, exp_avg_sq,
    *, one_minus_beta1, beta2, one_minus_beta2, inv_correction1, inv_sqrt_correction2, eps, decay,
):  # fmt: skip
    """m += (1−β₁)(g−m);  v = β₂v + (1−β₂)g²;  u = m/(1−β₁ᵗ) / (√v/√(1−β₂ᵗ) + ε) + λp;  p −= η·‖p‖/‖u‖·u, by segment"""
    exp_avg = fma(g - exp_avg, one_minus_beta1, exp_avg)
    exp_avg_sq = fma(beta2, exp_avg_sq, one_minus_beta2 * (g * g))
    u = direction(p, exp_avg, exp_avg_sq, inv_correction1, inv_sqrt_correction2, eps, decay)
    return exp_avg, exp_avg_sq, (p, p), (u, u)


@lamb.number
def step_size(lr, parameter_squares, direction_squares):
    ratio = sqrt(parameter_squares) / sqrt(direction_squares)
    return lr * where(parameter_squares == 0.0, 1.0, where(direction_squares == 0.0, 1.0, ratio))


@lamb.sweep(writes=("p",))
def apply(p, exp_avg, exp_avg_sq, *, inv_correction1, inv_sqrt_correction2, eps, decay, step_size):
    u = direction(p, exp_avg, exp_avg_sq, inv_correction1, inv_sqrt_correction2, eps, decay)
    return fma(-step_size, u, p)


@lamb.coefficients
def coefficients(t, *, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01):
    beta1, beta2 = betas
    return {
        "lr": lr,
        "one_minus_beta1": 1.0 - beta1,
        "beta2": beta2,
        "one_minus_beta2": 1.0 - beta2,
        "inv_correction1": 1.0 / (1.0 - beta1**t),
        "inv_sqrt_correction2": 1.0 / sqrt(1.0 - beta2**t),
        "eps": eps,
        "decay": weight_decay,
    }
