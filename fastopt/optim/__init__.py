"""The optimizer: one rule over one flat buffer of parameters, in place."""

from .groups import Group
from .optimizer import Optimizer, OptimizerParts

__all__ = ["Group", "Optimizer", "OptimizerParts"]
