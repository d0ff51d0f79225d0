"""Lion: a step of fixed length along the sign of a mean of g and its average m (`exp_avg`).

Hyper-parameters:
    lr: η, the length of each step of each parameter: less than `adamw` takes
    betas: β₁, the share of m in the direction; β₂, the share of m that is kept at each step

Use it: with large batches, where one state instead of the two of `adamw` saves memory.
Weaknesses: steps do not shrink near a minimum, so lr has to decrease; noise decides small signs.
References: Chen et al., Symbolic discovery of optimization algorithms, 2023, arXiv:2302.06675.

>>> from fastopt import Optimizer
>>> p = np.array([1.0, 1.0])
>>> Optimizer(p, "lion", backend="reference", lr=0.25).step(np.array([3.0, -0.001]))
>>> p
array([0.75, 1.25])
"""

from .rule import rule
from .vocabulary import fma, sign


@rule(decay="decoupled")
def lion(p, g, exp_avg, *, lr, beta1, one_minus_beta1, beta2, one_minus_beta2):
    """p ·= 1 − ηλ;  p −= η·sign(β₁m + (1−β₁)g);  m = β₂m + (1−β₂)g"""
    p = fma(-lr, sign(fma(beta1, exp_avg, one_minus_beta1 * g)), p)
    return p, fma(beta2, exp_avg, one_minus_beta2 * g)


@lion.coefficients
def coefficients(t, *, lr=1e-4, betas=(0.9, 0.99)):
    beta1, beta2 = betas
    return {"lr": lr, "beta1": beta1, "beta2": beta2, "one_minus_beta1": 1.0 - beta1, "one_minus_beta2": 1.0 - beta2}
