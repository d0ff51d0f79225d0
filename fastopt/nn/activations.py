"""Activations of whole arrays."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import elements
from .arrays import on_arrays, row_blocks

__all__ = ["ACTIVATIONS", "Activation", "get_activation"]

Array = NDArray[Any]


class Activation:
    """An element-wise function f on arrays, and what its derivative does to a gradient.

    Made by :func:`get_activation`.

    Attributes
    ----------
    element : fastopt.elements.Activation
        The scalar functions that it consists of.
    name, equation : str
        Those of `element`.

    Examples
    --------
    >>> z = np.array([-2.0, 0.0, 3.0])
    >>> relu = get_activation("relu")
    >>> a = relu.forward(z)
    >>> a
    array([-0.,  0.,  3.])
    >>> relu.backward(np.full(3, 10.0), z, a)
    array([ 0.,  0., 10.])
    """

    def __init__(self, element: elements.Activation) -> None:
        self.element, self.name, self.equation = element, element.name, element.equation
        self._value, self._slope = on_arrays(element.value), on_arrays(element.slope)

    def forward(self, z: Array, out: Array | None = None) -> Array:
        """Write f(z) into `out`, which may be z, or into a new array; return it."""
        out = np.empty_like(z) if out is None else out
        if out is not z or not self.element.is_identity:
            for part in row_blocks(z):
                out[part] = self._value(z=z[part])
        return out

    def backward(self, gradient: Array, z: Array, output: Array, kink: float = 0.0) -> Array:
        """Multiply `gradient` by f′(z) in place and return it.

        `output` is f(z). `z` may be anything unless the activation keeps its input. `kink` in [0, 1] chooses between
        the slopes on both sides of zero.
        """
        if not self.element.is_identity:
            at_zero = gradient.dtype.type(self.element.slope_at_zero(kink))
            for part in row_blocks(gradient):
                gradient[part] *= self._slope(z=z[part], a=output[part], at_zero=at_zero)
        return gradient

    def __repr__(self) -> str:
        return repr(self.element)


@cache
def _of(element: elements.Activation) -> Activation:
    return Activation(element)


def get_activation(name: str | elements.Activation) -> Activation:
    """Return the activation of that name, or of ``file.py:name``, or of those scalar functions.

    Raises what :func:`fastopt.elements.get_activation` raises.

    Examples
    --------
    >>> get_activation("leaky_relu").equation
    'max(z, 0.01·z)'
    """
    return _of(elements.get_activation(name))


ACTIVATIONS: dict[str, Activation] = {name: get_activation(name) for name in elements.ACTIVATIONS}
"""Name to activation."""
