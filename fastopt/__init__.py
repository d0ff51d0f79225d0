"""fastopt: optimizer update rules, written once, as fused kernels; and an MLP trained with them.

Importing it imports NumPy and nothing heavier; the rest is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .buffers import Layout, Segment
    from .elements import activation, exp, loss, sigmoid, tanh
    from .optim import Optimizer
    from .rules import RULES, Rule, clip, fma, get_rule, rule, sign, where
    from .train import MLP

__version__ = "0.1.0"

_HOME = {
    "Layout": "buffers",
    "MLP": "train",
    "Optimizer": "optim",
    "RULES": "rules",
    "Rule": "rules",
    "Segment": "buffers",
    "activation": "elements",
    "clip": "rules",
    "exp": "elements",
    "fma": "rules",
    "get_rule": "rules",
    "loss": "elements",
    "rule": "rules",
    "sigmoid": "elements",
    "sign": "rules",
    "tanh": "elements",
    "where": "rules",
}

__all__ = [  # noqa: RUF022 - sorted without regard to case, which a test checks
    "activation",
    "clip",
    "exp",
    "fma",
    "get_rule",
    "Layout",
    "loss",
    "MLP",
    "Optimizer",
    "Rule",
    "rule",
    "RULES",
    "Segment",
    "sigmoid",
    "sign",
    "tanh",
    "where",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastopt' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
