"""What a loss is: a sum of scalar functions over outputs, or a structure over rows that backends have built in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, overload

__all__ = ["ElementLoss", "Loss", "RowLoss", "loss"]

Function = Callable[..., Any]


@dataclass(frozen=True)
class RowLoss:
    """A loss of whole rows against class indices, the mean over rows. Each backend has its own code for it.

    Attributes
    ----------
    name : str
        What the command line and error messages call it.
    equation : str
        The loss in mathematical notation: z the outputs, y the targets, b rows.
    """

    name: str
    equation: str


class ElementLoss:
    """A loss of one output z and its target y, the mean over all outputs; made by the decorator :func:`loss`.

    Attributes
    ----------
    name : str
        What the command line and error messages call it.
    equation : str
        The loss of one output in mathematical notation.
    value, slope : callable
        The loss and its derivative by z. Their parameters are any of `z`, `y`, and the name of `intermediate`.
    intermediate : callable or None
        What is computed first, in the dtype of the network, and given to both.
    probabilities : bool
        Whether z is the logit of a probability and y a probability, instead of two values.

    Examples
    --------
    >>> from fastopt.elements import LOSSES
    >>> LOSSES["huber"].value(3.0, 1.0), LOSSES["huber"].slope(3.0, 1.0)
    (1.5, 1.0)
    """

    def __init__(self, value: Function, probabilities: bool) -> None:
        self.name, self.value, self.probabilities = value.__name__, value, probabilities
        self.__module__ = value.__module__
        self.equation = " ".join((value.__doc__ or "").split())
        self.intermediate: Function | None = None
        self._slope: Function | None = None

    def derivative(self, slope: Function) -> Function:
        """Decorate the function that gives the derivative by z."""
        self._slope = slope
        return slope

    def shared(self, function: Function) -> Function:
        """Decorate a function of `z`, or of `z` and `y`, whose result value and derivative take by its name.

        It spares them doing the same twice, and is computed by a loop of its own, in the dtype of the network.
        """
        self.intermediate = function
        return function

    @property
    def slope(self) -> Function:
        """The function that gives the derivative by z."""
        if self._slope is None:
            raise TypeError(f"loss {self.name}: it has no derivative; decorate one with @{self.name}.derivative")
        return self._slope

    def check(self) -> None:
        """Raise TypeError unless the functions take what they are given."""
        shared = self.intermediate
        known = ["z", "y", *([shared.__name__] if shared else [])]
        functions = [(self.value, known), (self.slope, known), *([(shared, ["z", "y"])] if shared else [])]
        for function, names in functions:
            given = list(inspect.signature(function).parameters)
            if not given or not set(given).issubset(names):
                raise TypeError(
                    f"loss {self.name}: {function.__name__} got {inspect.signature(function)}, "
                    f"expected parameters among {', '.join(names)}, for example (z, y)"
                )

    def __reduce__(self) -> str:
        return self.value.__name__  # it stands in its module under the name of the function that it was made of

    def __repr__(self) -> str:
        return f"<loss {self.name}: {self.equation}>"


Loss = ElementLoss | RowLoss


@overload
def loss(value: Function, /) -> ElementLoss: ...
@overload
def loss(*, probabilities: bool = False) -> Callable[[Function], ElementLoss]: ...
def loss(value: Function | None = None, /, *, probabilities: bool = False) -> Any:
    """Make a loss of a scalar function ``f(z, y)`` of one output and its target, whose docstring is the equation.

    Its derivative by z follows, decorated by :meth:`ElementLoss.derivative`. The derivative computes in the dtype of
    the network, the value in float64. They may call what an activation may, see :func:`activation`, and the value may
    call ``math.log1p`` too.

    Parameters
    ----------
    probabilities : bool
        Whether z is the logit of a probability, and y a number from 0 to 1.

    Examples
    --------
    >>> from fastopt import clip, loss, where
    >>> @loss
    ... def huber(z, y):
    ...     "½e² for e = |z − y| up to 1, e − ½ from there on"
    ...     return where(abs(z - y) < 1, 0.5 * (z - y) * (z - y), abs(z - y) - 0.5)
    >>> @huber.derivative
    ... def slope(z, y):
    ...     return clip(z - y, -1, 1)
    >>> huber.value(0.0, 3.0)
    2.5
    """
    if value is None:
        return lambda function: ElementLoss(function, probabilities)
    return ElementLoss(value, probabilities)
