"""Adam: the average m of the gradient, divided by the root of the average v of its square.

m (`exp_avg`) and v (`exp_avg_sq`) start at 0, which 1−β₁ᵗ and 1−β₂ᵗ correct. ε is added after that,
as in Algorithm 1 and PyTorch; Keras adds it to √v. The form printed in some tutorials,
``p −= η·v̂`` as a second subtraction, is a slip. AdamW's decay is ηλ, as in PyTorch (paper: λ).

Hyper-parameters:
    lr: η, the length of a step where the gradient is steady
    betas: β₁ and β₂, the shares of m and v that are kept at each step
    eps: ε, prevents a division by zero; larger values damp the steps of small gradients

Use it: as a first choice where gradients differ in scale; `adamw` where weights are decayed.
Weaknesses: does not converge on some convex problems (Reddi et al.); L2 decay goes through m and v,
    so that parameters with large gradients decay less, which `adamw` corrects.
References: Kingma and Ba, Adam: a method for stochastic optimization, 2015, arXiv:1412.6980.
    Loshchilov and Hutter, Decoupled weight decay regularization, 2019, arXiv:1711.05101.
    Reddi, Kale and Kumar, On the convergence of Adam and beyond, 2018, arXiv:1904.09237.

>>> from fastopt import Optimizer  # the first step has length η for gradients of any scale
>>> p = np.zeros(2)
>>> Optimizer(p, "adam", backend="reference", lr=0.1).step(np.array([1000.0, -0.001]))
>>> p.round(3)
array([-0.1,  0.1])
"""

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
