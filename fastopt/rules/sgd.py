"""Stochastic gradient descent: Robbins and Monro, 1951. With the whole set as its batch, plain gradient descent."""

from .rule import rule
from .vocabulary import fma


@rule
def sgd(p, g, *, lr=1e-2):
    """p −= η·g"""
    return fma(-lr, g, p)
