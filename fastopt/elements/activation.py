"""What an activation is: two scalar functions, its value and its slope."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, overload

__all__ = ["Activation", "activation"]

Function = Callable[..., Any]


class Activation:
    """A function f that a layer applies to each weighted sum z; made by the decorator :func:`activation`.

    Every backend makes its code from one of these.

    Attributes
    ----------
    name : str
        What the command line and error messages call it.
    equation : str
        f(z) in mathematical notation.
    value : callable
        ``value(z)`` is f(z).
    slope : callable
        f′(z), from those of `z`, the output `a` and `at_zero` that its parameters name.
    sides : tuple of float
        The slopes to the left and to the right of zero. Where they differ, any number in between is a subgradient.

    Examples
    --------
    >>> from fastopt.elements import ACTIVATIONS
    >>> ACTIVATIONS["leaky_relu"].value(-2.0)
    -0.02
    """

    def __init__(self, value: Function, name: str | None, sides: tuple[float, float]) -> None:
        self.name, self.value, self.sides = name or value.__name__, value, sides
        self.__module__ = value.__module__
        if list(inspect.signature(value).parameters) != ["z"]:
            raise TypeError(f"activation {self.name}: got {inspect.signature(value)}, expected (z)")
        self.equation = " ".join((value.__doc__ or "").split())
        self._slope: Function | None = None

    def derivative(self, slope: Function) -> Function:
        """Decorate the function that gives f′(z).

        Its parameters are any of `z`, the weighted sum; `a`, the output f(z); and `at_zero`, the chosen subgradient at
        zero. A layer keeps its weighted sums for the backward pass only where `z` is among them.
        """
        names = list(inspect.signature(slope).parameters)
        if not {"z", "a", "at_zero"}.issuperset(names):
            raise TypeError(
                f"activation {self.name}: its derivative got {inspect.signature(slope)}, "
                "expected parameters among z, a and at_zero, for example (z, a)"
            )
        self._slope = slope
        return slope

    @property
    def slope(self) -> Function:
        """The function that gives f′(z)."""
        if self._slope is None:
            raise TypeError(f"activation {self.name}: it has no derivative; decorate one with @{self.name}.derivative")
        return self._slope

    @property
    def keeps_input(self) -> bool:
        """Whether the derivative needs z: the output does not tell it."""
        return "z" in inspect.signature(self.slope).parameters

    @property
    def is_identity(self) -> bool:
        """Whether it is the built-in identity, which needs no code."""
        return self.value.__module__.startswith(__package__) and self.name == "identity"

    def slope_at_zero(self, kink: float) -> float:
        """Return the subgradient at zero for a `kink` from 0, the slope to the left, to 1, the slope to the right."""
        left, right = self.sides
        return left + kink * (right - left)

    def __reduce__(self) -> str:
        return self.value.__name__  # it stands in its module under the name of the function that it was made of

    def __repr__(self) -> str:
        return f"<activation {self.name}: {self.equation}>"


@overload
def activation(value: Function, /) -> Activation: ...
@overload
def activation(
    *, name: str | None = None, sides: tuple[float, float] = (0.0, 0.0)
) -> Callable[[Function], Activation]: ...
def activation(
    value: Function | None = None, /, *, name: str | None = None, sides: tuple[float, float] = (0.0, 0.0)
) -> Any:
    """Make an activation of a scalar function ``f(z)``, whose docstring is the equation.

    Its derivative follows, decorated by :meth:`Activation.derivative`. Both compute in the dtype of the network, also
    with number literals. They may call ``exp``, ``sigmoid``, ``tanh``, ``fma``, ``clip``, ``where``, ``abs``,
    ``math.sqrt`` and functions made of these. Write a branch as ``where(condition, a, b)``, which works on arrays too,
    and a multiply-add as ``fma``, which gives the same bits everywhere.

    Parameters
    ----------
    name : str, optional
        The function's name by default.
    sides : tuple of float
        The slopes to the left and to the right of a kink at zero, for a derivative that takes `at_zero`.

    Raises
    ------
    TypeError
        The signature is another one.

    Examples
    --------
    >>> from fastopt import activation, fma, sigmoid
    >>> @activation
    ... def swish(z):
    ...     "z·σ(z)"
    ...     return z * sigmoid(z)
    >>> @swish.derivative
    ... def slope(z, a):
    ...     return fma(a, 1 - sigmoid(z), sigmoid(z))
    >>> swish
    <activation swish: z·σ(z)>
    """
    if value is None:
        return lambda function: Activation(function, name, sides)
    return Activation(value, name, sides)
