"""Activation functions: forward in place, derivative from the output alone, no allocation when scratch is given.

At exactly zero, relu and leaky_relu have no derivative but a set of subgradients; `kink` in [0, 1] chooses one: 0 is
the slope to the left of zero, 1 the slope to the right. A zero of relu's output stands for z = 0 and for z < 0 alike,
so where the choice matters (kink > 0) the sign of that zero tells them apart: +0 is the kink, -0 was negative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name

__all__ = ["ACTIVATIONS", "Activation", "get_activation", "sigmoid_in_place", "smallest_exponent"]

LEAKY_SLOPE = 0.01

Array = NDArray[Any]


@dataclass(frozen=True)
class Activation:
    """An element-wise function f and its derivative, written with the output f(z).

    Made for the table :data:`ACTIVATIONS`.

    Attributes
    ----------
    name
        What configurations and error messages call it.
    equation
        f(z) in mathematical notation.
    apply
        ``apply(z, scratch, kink)`` replaces z by f(z).
    derive
        ``derive(output, out, kink)`` writes f'(z) into `out`, which is not `output`.

    Examples
    --------
    >>> z = np.array([-2.0, 0.0, 3.0])
    >>> relu = get_activation("relu")
    >>> relu.forward(z)
    array([0., 0., 3.])
    >>> relu.backward(np.full(3, 10.0), z)
    array([ 0.,  0., 10.])
    """

    name: str
    equation: str
    apply: Callable[[Array, Array, float], None]
    derive: Callable[[Array, Array, float], None]

    def forward(self, z: Array, scratch: Array | None = None, kink: float = 0.0) -> Array:
        """Replace `z` by f(z) and return it; `scratch` has the shape and dtype of `z`."""
        if self.apply is not _identity:
            self.apply(z, np.empty_like(z) if scratch is None else scratch, kink)
        return z

    def backward(self, gradient: Array, output: Array, scratch: Array | None = None, kink: float = 0.0) -> Array:
        """Multiply `gradient` by f'(z) in place and return it; `output` is what `forward` gave with the same `kink`."""
        if self.derive is not _derive_identity:
            scratch = np.empty_like(output) if scratch is None else scratch
            self.derive(output, scratch, kink)
            np.multiply(gradient, scratch, out=gradient)
        return gradient


def smallest_exponent(dtype: np.dtype[Any]) -> float:
    """Return the limit below which exp is taken as exp(limit): nothing next to 1, yet normal when a mean divides it."""
    return -80.0 if dtype == np.float32 else -700.0


def sigmoid_in_place(z: Array, scratch: Array) -> None:
    """Replace z by 1/(1+exp(-z)). Only exp of numbers ≤ 0 is taken, which cannot overflow."""
    np.abs(z, out=scratch)
    np.negative(scratch, out=scratch)
    np.maximum(scratch, smallest_exponent(z.dtype), out=scratch)
    np.exp(scratch, out=scratch)
    # The numerator is 1 for z ≥ 0 and exp(-|z|) ≤ 1 otherwise: the larger of the step function and the exponential.
    np.greater_equal(z, 0.0, out=z)
    np.maximum(z, scratch, out=z)
    np.add(scratch, 1.0, out=scratch)
    np.divide(z, scratch, out=z)


def _identity(z: Array, scratch: Array, kink: float) -> None:
    return


def _derive_identity(output: Array, out: Array, kink: float) -> None:
    out.fill(1.0)


def _sigmoid(z: Array, scratch: Array, kink: float) -> None:
    sigmoid_in_place(z, scratch)


def _derive_sigmoid(output: Array, out: Array, kink: float) -> None:
    np.subtract(1.0, output, out=out)
    np.multiply(out, output, out=out)


def _tanh(z: Array, scratch: Array, kink: float) -> None:
    np.tanh(z, out=z)


def _derive_tanh(output: Array, out: Array, kink: float) -> None:
    np.multiply(output, output, out=out)
    np.subtract(1.0, out, out=out)


def _relu(z: Array, scratch: Array, kink: float) -> None:
    if not kink:
        np.maximum(z, 0.0, out=z)
        return
    np.add(z, 0.0, out=z)  # -0 becomes +0, since it is no negative number
    np.maximum(z, 0.0, out=scratch)
    np.copysign(scratch, z, out=z)


def _leaky_relu(z: Array, scratch: Array, kink: float) -> None:
    if kink:
        np.add(z, 0.0, out=z)
    np.multiply(z, LEAKY_SLOPE, out=scratch)
    np.maximum(z, scratch, out=z)


def _derive_relu(output: Array, out: Array, kink: float) -> None:
    if not kink:
        np.greater(output, 0.0, out=out)  # heaviside is not vectorised
        return
    np.copysign(kink, output, out=out)
    np.heaviside(output, out, out=out)
    np.maximum(out, 0.0, out=out)


def _derive_leaky_relu(output: Array, out: Array, kink: float) -> None:
    _derive_relu(output, out, kink)
    np.multiply(out, 1.0 - LEAKY_SLOPE, out=out)
    np.add(out, LEAKY_SLOPE, out=out)


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("identity", "z", _identity, _derive_identity),
        Activation("leaky_relu", f"max(z, {LEAKY_SLOPE}·z)", _leaky_relu, _derive_leaky_relu),
        Activation("relu", "max(z, 0)", _relu, _derive_relu),
        Activation("sigmoid", "1/(1+exp(−z))", _sigmoid, _derive_sigmoid),
        Activation("tanh", "tanh(z)", _tanh, _derive_tanh),
    )
}
"""Name to activation."""


def get_activation(name: str) -> Activation:
    """Return the activation of that name.

    Raises
    ------
    ValueError
        There is none of that name; the message gives the nearest one.

    Examples
    --------
    >>> get_activation("leaky_relu").equation
    'max(z, 0.01·z)'
    """
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
