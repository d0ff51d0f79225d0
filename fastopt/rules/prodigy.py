"""Prodigy: Adam with a step size d that is estimated from how far the parameters have come.

d estimates the distance from the start p₀ (`initial`) to the solution, in the largest parameter.
m (`exp_avg`) and v (`exp_avg_sq`) average d·g and its square; r (`numerator`) and s
(`weighted_sum`) are kept divided by d0. Decay and bias corrections (part of η here) are Adam's, as
options of the authors' code.

Hyper-parameters:
    lr: η, a factor of the step; leave it at 1, except for a schedule
    betas: β₁ and β₂, the shares of m and v that are kept; √β₂ of r and s
    eps: ε, outside the root, in units of d
    d0: d before the first step; small, since d can only grow
    d_coef: a factor of the estimate r/‖s‖₁
    weight_decay: λ, multiplies p by 1 − ηdλ

Use it: where tuning the learning rate costs too much; with a schedule such as cosine.
Weaknesses: one d for all layers; d never decreases, so an overestimate stays (a warm-up can
    cause one); four states.
References: Mishchenko and Defazio, Prodigy: an expeditiously adaptive parameter-free learner, 2023,
    arXiv:2306.06101.

>>> from fastopt import Optimizer  # from 0 to (3, 30), with steps of 1e-6 at first
>>> p = np.zeros(2)
>>> optimizer = Optimizer(p, "prodigy", backend="reference")
>>> for t in range(200):
...     optimizer.step(p - [3.0, 30.0])
>>> p.round(1)
array([ 3., 30.])
"""

from math import sqrt

from .hyper import NOT_NEGATIVE, POSITIVE
from .rule import rule
from .vocabulary import fma, where


@rule(
    decay=None,
    writes=("exp_avg", "exp_avg_sq", "weighted_sum"),
    sums=("progress", "distance"),
    starts={"initial": "p"},
    ranges={"d0": POSITIVE, "d_coef": NOT_NEGATIVE},
)
def prodigy(
    p, g, exp_avg, exp_avg_sq, weighted_sum, initial,
    *, beta1, gradient_weight, beta2, square_weight, beta3, sum_weight,
):  # fmt: skip
    """m = β₁m + (1−β₁)dg;  v = β₂v + (1−β₂)d²g²;  s = √β₂s + ηd²g;  r = √β₂r + ηd²⟨g, p₀−p⟩;
    d₊ = max(d, r/‖s‖₁);  p −= ηd·(m/(√v + dε) + λp)"""
    exp_avg = fma(beta1, exp_avg, gradient_weight * g)
    exp_avg_sq = fma(beta2, exp_avg_sq, square_weight * (g * g))
    weighted_sum = fma(beta3, weighted_sum, sum_weight * g)
    return exp_avg, exp_avg_sq, weighted_sum, (g, initial - p), (abs(weighted_sum), 1.0)


@prodigy.number
def step_size(d, rate):
    return d * rate


@prodigy.number
def gradient_weight(d, one_minus_beta1):
    return d * one_minus_beta1


@prodigy.number
def square_weight(d, one_minus_beta2):
    return d * d * one_minus_beta2


@prodigy.number
def sum_weight(d, step_size, d0):
    return d / d0 * step_size


@prodigy.number
def scaled_eps(d, eps):
    return d * eps


@prodigy.number
def shrink(step_size, decay):
    return 1.0 - step_size * decay


@prodigy.memory(start=0.0)
def numerator(numerator, beta3, sum_weight, total_progress):
    return fma(beta3, numerator, sum_weight * total_progress)


@prodigy.memory(start="d0")
def d(d, d_coef, numerator, total_distance):
    estimate = d_coef * numerator / total_distance
    return where(estimate > d, estimate, d)


@prodigy.sweep(writes=("p",))
def apply(p, exp_avg, exp_avg_sq, *, step_size, scaled_eps, shrink):
    return fma(-step_size, exp_avg / (sqrt(exp_avg_sq) + scaled_eps), p * shrink)


@prodigy.coefficients
def coefficients(t, *, lr=1.0, betas=(0.9, 0.999), eps=1e-8, d0=1e-6, d_coef=1.0, weight_decay=0.0):
    beta1, beta2 = betas
    return {
        "beta1": beta1,
        "beta2": beta2,
        "beta3": sqrt(beta2),
        "one_minus_beta1": 1.0 - beta1,
        "one_minus_beta2": 1.0 - beta2,
        "rate": lr * sqrt(1.0 - beta2**t) / (1.0 - beta1**t),
        "eps": eps,
        "d0": d0,
        "d_coef": d_coef,
        "decay": weight_decay,
    }
