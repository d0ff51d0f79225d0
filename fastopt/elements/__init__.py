"""Activations and losses as scalar functions: what every backend makes its code from.

An activation or a loss is added in a module of this package; nothing else lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .._errors import unknown_name
from .._user_file import find_in_file, is_in_file
from . import losses, piecewise, smooth
from .activation import Activation, activation
from .exponential import add_exponent, exp, exp_float32, exp_float64, sigmoid
from .hyperbolic import tanh, tanh_float32, tanh_float64
from .loss import ElementLoss, Loss, RowLoss, loss

__all__ = [
    "ACTIVATIONS",
    "IN_DTYPE",
    "LOSSES",
    "Activation",
    "ElementLoss",
    "Loss",
    "RowLoss",
    "activation",
    "add_exponent",
    "exp",
    "get_activation",
    "get_loss",
    "loss",
    "sigmoid",
    "tanh",
]

IN_DTYPE: dict[str, dict[Callable[..., Any], Callable[..., Any]]] = {
    "float32": {exp: exp_float32, math.exp: exp_float32, tanh: tanh_float32, math.tanh: tanh_float32},
    "float64": {exp: exp_float64, math.exp: exp_float64, tanh: tanh_float64, math.tanh: tanh_float64},
}
"""Dtype to functions and what compiled backends have in their place; each of these may call those before it."""


def _found(kind: Any, *modules: Any) -> dict[str, Any]:
    found = (value for module in modules for value in vars(module).values() if isinstance(value, kind))
    return {value.name: value for value in sorted(found, key=lambda value: value.name)}


ACTIVATIONS: dict[str, Activation] = _found(Activation, piecewise, smooth)
"""Name to activation."""

LOSSES: dict[str, Loss] = _found((ElementLoss, RowLoss), losses)
"""Name to loss."""


def get_activation(name: str | Activation) -> Activation:
    """Return the activation of that name, or of ``file.py:name``; an activation is returned as it is.

    Raises
    ------
    ValueError
        There is none of that name; the message gives the nearest one. Or the file cannot be run.
    FileNotFoundError
        There is no such file.
    TypeError
        It has no derivative.

    Examples
    --------
    >>> get_activation("leaky_relu").equation
    'max(z, 0.01·z)'
    """
    found = name if isinstance(name, Activation) else _by_name("activation", name, ACTIVATIONS, Activation)
    _ = found.slope
    return found


def get_loss(name: str | Loss) -> Loss:
    """Return the loss of that name, or of ``file.py:name``; a loss is returned as it is.

    Raises
    ------
    ValueError
        There is none of that name; the message gives the nearest one. Or the file cannot be run.
    FileNotFoundError
        There is no such file.
    TypeError
        It has no derivative, or a function of it takes what there is not.

    Examples
    --------
    >>> get_loss("mean_squared_error")
    <loss mean_squared_error: (z − y)²>
    """
    found = name if isinstance(name, Loss) else _by_name("loss", name, LOSSES, ElementLoss)
    if isinstance(found, ElementLoss):
        found.check()
    return found


def _by_name(kind: str, name: str, known: dict[str, Any], wanted: type) -> Any:
    if isinstance(name, str) and is_in_file(name):
        return find_in_file(name, kind, wanted)
    if not isinstance(name, str) or name not in known:
        raise unknown_name(kind, name, known)
    return known[name]
