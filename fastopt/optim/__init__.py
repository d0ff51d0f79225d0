"""The optimizer: one rule over one flat buffer of parameters, in place."""

from .optimizer import Optimizer

__all__ = ["Optimizer"]
