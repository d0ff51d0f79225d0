"""The loops around activations and losses: functions with addresses, for one dtype each, whatever the network.

They are generated, and run under the file and module of the element: there Numba's cache finds them again.
"""

from __future__ import annotations

from functools import cache
from math import copysign
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.np.numpy_support import from_dtype

from ...elements import IN_DTYPE, Activation, ElementLoss, Loss, RowLoss, add_exponent, exp, exponential, hyperbolic
from ...rules import vocabulary
from .. import elements as scalars
from .. import functions
from ..elements import arguments, does_not_compile, element_compiler, element_name
from ..functions import define_at, substituted
from . import decorators, intrinsics, memory, part, rows
from .decorators import inlined
from .digest import digest_of

__all__ = ["compiled_activation", "compiled_loss", "scalar"]

_WORDS = {add_exponent: intrinsics.add_exponent, copysign: intrinsics.copysign}

_ACTIVATION = """\
def activate_row(z, a, columns):
    restrict()
    for j in range(columns):
        {target}[j] = same_dtype(value(z[j]), z[j])


def {name}_activate(z, a, lead, rows, columns):
    for i in range(rows):
        activate_row(shifted(z, i * lead), shifted(a, i * lead), columns)


def derive_row(z, a, d, subgradient, columns):
    restrict()
    at_zero = subgradient[0]
    for j in range(columns):
        d[j] = d[j] * same_dtype(slope({arguments}), d[j])


def {name}_derive(z, a, d, subgradient, lead, rows, columns):
    for i in range(rows):
        derive_row(shifted(z, i * lead), shifted(a, i * lead), shifted(d, i * lead), subgradient, columns)
"""

_LOSS = """\
def {name}(has_labels, z, d, lead, outputs, count, targets, rows, batch, losses, right):
    labels, values = whole(targets), pointer_at(targets, z)
    zero, one = as_dtype_of(z, 0.0), as_dtype_of(z, 1.0)
    part = as_dtype_of(z, 1.0 / (batch * outputs))
{everywhere}
    for i in range(count):
        line, delta = shifted(z, i * lead), shifted(d, i * lead)
        if has_labels:
            label = labels[rows[i]]
            right[i] = {right_label}
{for_labels}
        else:
            wanted = shifted(values, rows[i] * outputs)
            right[i] = {right_values}
{for_values}
"""
_SHARED_EVERYWHERE = """\
    for j in range(count * lead):
        d[j] = same_dtype(shared(z[j]), z[j])
"""
_SHARED = """\
            for j in range(outputs):
                delta[j] = same_dtype(shared({shared}), line[j])
"""
_ROW = """\
            total = 0.0
            for j in range(outputs):
                total += value({value})
            losses[i] = total / outputs
            for j in range(outputs):
                delta[j] = same_dtype(slope({slope}), line[j]) * part
"""


def scalar(dtype: np.dtype[Any]) -> Any:
    """Return what compiles scalar functions for kernels of that dtype."""
    return element_compiler(dtype, _WORDS, inlined)


@cache
def compiled_activation(activation: Activation, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return two functions with addresses, over some rows and columns that lie `lead` apart.

    ``(z, a, lead, rows, columns)`` writes a = f(z), over z itself unless the activation keeps its input;
    ``(z, a, d, subgradient, lead, rows, columns)`` multiplies d by f′. `subgradient` points to the slope at zero.

    Raises
    ------
    TypeError
        The activation does not compile for the dtype.
    """
    compiled = scalar(dtype)
    name = element_name(activation, dtype.name, _digest())
    source = _ACTIVATION.format(
        name=name,
        target="a" if activation.keeps_input else "z",
        arguments=arguments(activation.slope, z="z[j]", a="a[j]"),
    )
    space = _run(activation, source, {"value": compiled(activation.value), "slope": compiled(activation.slope)})
    for row in ("activate_row", "derive_row"):
        space[row] = inlined(space[row], forceinline=True)
    real, n = types.CPointer(from_dtype(dtype)), types.int64
    try:
        return (
            part.part(space[f"{name}_activate"], real, real, n, n, n),
            part.part(space[f"{name}_derive"], real, real, real, real, n, n, n),
        )
    except TypingError as error:
        raise does_not_compile(activation, dtype, error) from None


@cache
def compiled_loss(loss: Loss, dtype: np.dtype[Any]) -> Any:
    """Return the losses of `count` rows of a batch of `batch`, whether each is right, and the derivatives by z.

    A function with an address ``(has_labels, z, d, lead, outputs, count, targets, rows, batch, losses, right)``, where
    `targets` is the address of labels, or of values in the dtype of z. A label stands for a row that is 1 there and 0
    elsewhere. Of d, what lies between `outputs` and `lead` may be written too.

    Raises
    ------
    TypeError
        The loss does not compile for the dtype.
    """
    real, n = types.CPointer(from_dtype(dtype)), types.int64
    ints, doubles = types.CPointer(n), types.CPointer(types.float64)
    signature = n, real, real, n, n, n, n, ints, n, doubles, ints
    if isinstance(loss, RowLoss):
        own_exp = scalar(dtype)(IN_DTYPE[dtype.name][exp])
        function = substituted(rows.softmax_cross_entropy, {exp: own_exp})
        return part.part(function, *signature, digest=_digest())
    name = element_name(loss, dtype.name, _digest())
    compiled = scalar(dtype)
    helpers = {"value": scalar(np.dtype(np.float64))(loss.value), "slope": compiled(loss.slope)}
    if loss.intermediate:
        helpers["shared"] = compiled(loss.intermediate)
    space = _run(loss, _loss_source(loss, name), helpers)
    try:
        return part.part(space[name], *signature)
    except TypingError as error:
        raise does_not_compile(loss, dtype, error) from None


def _loss_source(loss: ElementLoss, name: str) -> str:
    shared = loss.intermediate
    everywhere = shared is not None and arguments(shared) == "z"

    def row(y: str) -> str:
        given = {"z": "line[j]", "y": y, **({shared.__name__: "delta[j]"} if shared else {})}
        in_float64 = {key: f"float64({place})" for key, place in given.items()}
        first = _SHARED.format(shared=arguments(shared, **given)) if shared and not everywhere else ""
        value, slope = arguments(loss.value, **in_float64), arguments(loss.slope, **given)
        return (first + _ROW.format(value=value, slope=slope)).rstrip()

    return _LOSS.format(
        name=name,
        everywhere=_SHARED_EVERYWHERE if everywhere else "",
        right_label="largest(line, outputs)[0] == label",
        right_values="agrees_everywhere(line, wanted, outputs)" if loss.probabilities else "0",
        for_labels=row("(one if j == label else zero)"),
        for_values=row("wanted[j]"),
    )


def _run(element: Activation | ElementLoss, source: str, own: dict[str, Any]) -> dict[str, Any]:
    """Return the namespace of the generated functions."""
    function = element.value
    space: dict[str, Any] = {
        "__name__": function.__module__,
        **own,
        "agrees_everywhere": rows.agrees_everywhere,
        "as_dtype_of": memory.as_dtype_of,
        "float64": np.float64,
        "largest": rows.largest,
        "pointer_at": memory.pointer_at,
        "restrict": intrinsics.restrict,
        "same_dtype": intrinsics.same_dtype,
        "shifted": memory.shifted,
        "whole": memory.whole,
    }
    define_at(function, source, space)
    return space


@cache
def _digest() -> str:
    """Return a digest of the sources that every element's machine code comes from."""
    modules = (decorators, exponential, functions, hyperbolic, intrinsics, memory, part, rows, scalars, vocabulary)
    return digest_of(__name__, *(module.__name__ for module in modules))[:12]
