"""Scalar functions of activations and losses, made ready for a backend that compiles Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import FunctionType
from typing import Any

import numpy as np

from ..elements import IN_DTYPE, Activation, ElementLoss
from .functions import identity_of, substituted, with_constants

__all__ = ["arguments", "does_not_compile", "element_compiler", "element_name"]

Function = Callable[..., Any]


def element_compiler(dtype: np.dtype[Any], words: Mapping[Any, Any], inlined: Function) -> Callable[[Function], Any]:
    """Return what compiles a scalar function, with number literals in the dtype.

    Parameters
    ----------
    dtype
        float32 or float64; it says which exponential and which hyperbolic tangent are called.
    words
        Function to the backend's instruction in its place.
    inlined
        Makes a function part of those that call it.
    """

    def helper(function: FunctionType) -> Any:
        return inlined(with_constants(function, dtype.type))

    known = dict(words)

    def compiled(function: Function) -> Any:
        return helper(substituted(function, known, helper))

    own: dict[Function, Any] = {}
    for word, function in IN_DTYPE[dtype.name].items():
        if function not in own:
            own[function] = compiled(function)
        known[word] = own[function]
    return compiled


def arguments(function: Function, **given: str) -> str:
    """Return the arguments of a call of the function: its parameters' names, or what is given for them."""
    return ", ".join(given.get(name, name) for name in inspect.signature(function).parameters)


def element_name(element: Activation | ElementLoss, *comes_from: str) -> str:
    """Return a name with a digest of all that an element's machine code comes from: its functions, and the rest."""
    functions: list[Any] = [element.value, element.slope]
    if isinstance(element, ElementLoss):
        functions.append(element.intermediate)
    signatures = [str(inspect.signature(function)) for function in functions if function]
    sources = [identity_of(function) for function in functions if function]
    digest = sha256(repr((sources, signatures, comes_from)).encode()).hexdigest()[:12]
    return f"{element.name}_{digest}"


def does_not_compile(element: Activation | ElementLoss, dtype: np.dtype[Any], error: Exception) -> TypeError:
    """Return what is said of functions that a compiler could not type."""
    kind = "activation" if isinstance(element, Activation) else "loss"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    starts = ("No implementation", "Invalid use", "Unknown", "Untyped", "it computes", "fma got")
    reason = next((line for line in lines if line.startswith(starts)), lines[0])
    return TypeError(
        f"{kind} {element.name} does not compile for {dtype.name}: {reason}. It is arithmetic on its arguments: "
        "call exp, sigmoid, tanh, fma, clip, where, abs, math.sqrt and such functions only"
    )
