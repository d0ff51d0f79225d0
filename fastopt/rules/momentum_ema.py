"""Momentum as an exponential moving average v (`exp_avg`) of the gradients, as in many textbooks.

v starts at 0, without a bias correction. The steps are those of `momentum` with lr·(1 − β).

Hyper-parameters:
    lr: η, the length of a step per unit of v
    beta: β, the share of v that is kept at each step

Use it: to change β without tuning lr again: for any β, steps under a steady gradient tend to ηg.
Weaknesses: the first 1/(1 − β) steps or so are too short; one learning rate for all parameters.
References: Polyak, Some methods of speeding up the convergence of iteration methods, 1964, for
    momentum; the averaged form is that of textbooks.

>>> from fastopt import Optimizer  # the first step is 1 − β of gradient descent's
>>> p = np.zeros(1)
>>> Optimizer(p, "momentum_ema", backend="reference", lr=1.0).step(np.ones(1))
>>> p.round(3)
array([-0.1])
"""

from .rule import rule
from .vocabulary import fma


@rule
def momentum_ema(p, g, exp_avg, *, step_size, beta, one_minus_beta):
    """v = βv + (1−β)g;  p −= η·v"""
    exp_avg = fma(beta, exp_avg, one_minus_beta * g)
    return fma(-step_size, exp_avg, p), exp_avg


@momentum_ema.coefficients
def coefficients(t, *, lr=1e-2, beta=0.9):
    return {"step_size": lr, "beta": beta, "one_minus_beta": 1.0 - beta}
