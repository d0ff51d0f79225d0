"""Schedule-free AdamW: an average of the iterates takes the place of a learning-rate schedule.

p holds y, where gradients are taken; z (`z`) takes the steps, and v (`exp_avg_sq`) averages g². The
average x = y + (1 − 1/β₁)(z − y) predicts best. η² in c is that of the largest η so far
(`largest_lr`), and Ση² the sum of these (`weight_sum`), as in the authors' code.

Hyper-parameters:
    lr: η, the length of a step of z; often larger than AdamW's
    betas: β₁, the share of x in y, and β₂, the share of v that is kept at each step
    eps: ε, outside the root, after the bias correction
    weight_decay: λ, a part of u, taken at y

Use it: where the length of training is not known in advance.
Weaknesses: evaluation wants x, not the parameters y; batch statistics have to be collected again at
    x; needs a warm-up, which is not part of the rule.
References: Defazio et al., The road less scheduled, 2024, arXiv:2405.15682.

>>> from fastopt import Optimizer  # z is back at 1, one step of 0.1 from 1.1; y averages
>>> optimizer = Optimizer(np.zeros(1), "schedule_free_adamw", backend="reference", lr=0.1)
>>> for t in range(100):
...     optimizer.step(np.sign(optimizer.parameters - 1.05))
>>> optimizer.parameters.round(3), optimizer.state["z"].round(3)
(array([1.047]), array([1.]))
"""

from math import sqrt

from .rule import rule
from .vocabulary import fma, where


@rule(decay=None, starts={"z": "p"})
def schedule_free_adamw(
    p, g, z, exp_avg_sq,
    *, beta2, one_minus_beta2, inv_sqrt_correction2, eps, decay, lr, average_weight, step_size,
):  # fmt: skip
    """v = β₂v + (1−β₂)g²;  u = g/(√v/√(1−β₂ᵗ) + ε) + λp;  p += c(z−p) − η(1 − β₁(1−c))u;  z −= ηu;  c = η²/Ση²"""
    exp_avg_sq = fma(beta2, exp_avg_sq, one_minus_beta2 * (g * g))
    u = fma(decay, p, g / fma(sqrt(exp_avg_sq), inv_sqrt_correction2, eps))
    p = fma(-step_size, u, fma(average_weight, z - p, p))
    return p, fma(-lr, u, z), exp_avg_sq


@schedule_free_adamw.memory(start=0.0)
def largest_lr(largest_lr, lr):
    return where(lr > largest_lr, lr, largest_lr)


@schedule_free_adamw.memory(start=0.0)
def weight_sum(weight_sum, largest_lr):
    return weight_sum + largest_lr * largest_lr


@schedule_free_adamw.number
def average_weight(largest_lr, weight_sum):
    return where(weight_sum > 0.0, largest_lr * largest_lr / weight_sum, 0.0)


@schedule_free_adamw.number
def step_size(lr, beta1, average_weight):
    return lr * (1.0 - beta1 * (1.0 - average_weight))


@schedule_free_adamw.coefficients
def coefficients(t, *, lr=2.5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    beta1, beta2 = betas
    return {
        "lr": lr,
        "beta1": beta1,
        "beta2": beta2,
        "one_minus_beta2": 1.0 - beta2,
        "inv_sqrt_correction2": 1.0 / sqrt(1.0 - beta2**t),
        "eps": eps,
        "decay": weight_decay,
    }
