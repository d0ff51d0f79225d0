"""Momentum as an exponential moving average of the gradients, as many textbooks have it."""

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
