"""Momentum as in Keras and scikit-learn: the velocity v (`velocity`) contains the learning rate.

While lr is constant, the steps are those of `momentum` and `nesterov`. `nesterov_velocity` keeps
the point that Nesterov's method looks ahead to in p (Bengio et al., section 3.5).

Hyper-parameters:
    lr: η, the weight of a new gradient in v
    momentum: μ, the share of v that is kept at each step

Use it: to reproduce Keras or scikit-learn.
Weaknesses: a new lr takes about 1/(1 − μ) steps to act in full; one learning rate for all
    parameters; a larger μ needs a smaller η.
References:
    Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.
    Bengio, Boulanger-Lewandowski and Pascanu, Advances in optimizing recurrent networks, 2012,
    arXiv:1212.0901.

>>> from fastopt import Optimizer  # the velocity outlives the learning rate
>>> optimizer = Optimizer(np.zeros(1), "momentum_velocity", backend="reference", lr=1.0)
>>> optimizer.step(np.ones(1))
>>> optimizer.lr = 0.0
>>> optimizer.step(np.ones(1))
>>> optimizer.parameters.round(3)  # −1 − 0.9
array([-1.9])
"""

from .rule import rule
from .vocabulary import fma


@rule
def momentum_velocity(p, g, velocity, *, lr=1e-2, momentum=0.9):
    """v = μv − ηg;  p += v"""
    velocity = fma(momentum, velocity, -lr * g)
    return p + velocity, velocity


@rule
def nesterov_velocity(p, g, velocity, *, lr=1e-2, momentum=0.9):
    """v = μv − ηg;  p += μv − ηg"""
    step = -lr * g
    velocity = fma(momentum, velocity, step)
    return p + fma(momentum, velocity, step), velocity
