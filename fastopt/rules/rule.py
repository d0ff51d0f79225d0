"""What a rule is: a scalar update, the coefficients it takes at step t, and the hyper-parameters these come from."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from operator import itemgetter
from typing import Any, Literal, overload

from .._errors import unknown_name

__all__ = ["Hyper", "Rule", "check_hyper", "rule"]

Hyper = float | tuple[float, ...]
"""The value of a hyper-parameter: a number, or a pair of numbers such as ``betas``."""

_FRACTIONS = {"alpha", "beta", "betas", "momentum", "rho"}
_NO_RULE_MAY_NAME = {"weight_decay"}


@dataclass(frozen=True, eq=False)
class Rule:
    """An update rule: one element in, one element out.

    Made by the decorator :func:`rule`; every backend makes its kernels from one of these.

    Attributes
    ----------
    name
        What the command line and the error messages call it.
    update
        The scalar function ``update(p, g, *states, *, coefficient, ...) -> (p, *states)``.
    states
        Names of the per-element buffers that it keeps, in PyTorch's words where PyTorch has them. All start at zero.
    coefficient_names
        Names of the numbers that it takes at each step.
    hyper
        Hyper-parameters and their defaults, `weight_decay` included.
    decay
        How `weight_decay` λ acts. ``"l2"``: g + λp takes the place of g. ``"decoupled"``: p is first multiplied by
        1 − ηλ.
    equation
        The update in mathematical notation.
    """

    name: str
    update: Callable[..., Any]
    states: tuple[str, ...]
    coefficient_names: tuple[str, ...]
    hyper: Mapping[str, Hyper]
    decay: Literal["l2", "decoupled"]
    equation: str
    _coefficients: Callable[..., Mapping[str, float]]

    def coefficients(self, function: Callable[..., Mapping[str, float]]) -> Callable[..., Mapping[str, float]]:
        """Decorate the function ``(t, *, lr=..., ...)`` that gives the coefficients of step t, in float64.

        Its keyword arguments are the rule's hyper-parameters, with their defaults. It is called once a step.
        """
        object.__setattr__(self, "_coefficients", function)
        object.__setattr__(self, "hyper", {**_keyword_defaults(self.name, function), "weight_decay": 0.0})
        return function

    def at_step(self, t: int, hyper: Mapping[str, Hyper]) -> tuple[float, ...]:
        """Return the coefficients of step `t` (from 1), in the order of `coefficient_names`."""
        return _picker(self.coefficient_names)(self._coefficients(t, **_own(hyper)))

    def steps_with(self, hyper: Mapping[str, Hyper]) -> Callable[[int, float], tuple[float, ...]]:
        """Return what gives the coefficients of step t at a learning rate, the others being what they are now.

        What does not change from step to step is done here, once: a call is most of a step of few parameters.
        """
        own, function, in_order = _own(hyper), self._coefficients, _picker(self.coefficient_names)

        def at_step(t: int, lr: float) -> tuple[float, ...]:
            own["lr"] = lr
            return in_order(function(t, **own))

        return at_step

    def variant(self, name: str, *, equation: str, decay: Literal["l2", "decoupled"], **hyper: Hyper) -> Rule:
        """Return the same update under another name, with another kind of decay and other defaults."""
        return replace(self, name=name, equation=equation, decay=decay, hyper={**self.hyper, **hyper})

    def words_per_parameter(self) -> int:
        """Return how many numbers one pass reads and writes for each parameter: p and the states both ways, g once."""
        return 3 + 2 * len(self.states)

    def __repr__(self) -> str:
        return f"<rule {self.name}: {self.equation}>"


def _own(hyper: Mapping[str, Hyper]) -> dict[str, Hyper]:
    """Return the hyper-parameters that are the rule's business, which weight decay is not: it is the pass's."""
    return {name: value for name, value in hyper.items() if name != "weight_decay"}


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, float]], tuple[float, ...]]:
    """Return what picks those values out of a mapping."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda named: tuple(map(named.__getitem__, names))  # where an itemgetter gives no tuple


def check_hyper(rule: Rule, given: Mapping[str, Any]) -> dict[str, Hyper]:
    """Return the rule's hyper-parameters with the `given` ones put in, or say which one is wrong.

    Raises
    ------
    ValueError
        A name that the rule does not have, or a value that is not finite, negative, or no fraction where one is wanted.
    TypeError
        A value that is no number, or a single number where a pair is wanted.
    """
    values = dict(rule.hyper)
    if "lr" not in values:
        raise TypeError(f"rule {rule.name}: got the hyper-parameters {', '.join(values)}, expected lr among them")
    for name, value in given.items():
        if name not in values:
            raise unknown_name(f"hyper-parameter of {rule.name}", name, values)
        values[name] = _check_value(rule, name, value)
    return values


def _check_value(rule: Rule, name: str, value: Any) -> Hyper:
    default = rule.hyper[name]
    wanted = len(default) if isinstance(default, tuple) else 1
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(numbers) != wanted or isinstance(value, (tuple, list)) != isinstance(default, tuple):
        raise TypeError(
            f"{rule.name}: got {name}={value!r}, expected {'one number' if wanted == 1 else f'{wanted} numbers'}, "
            f"such as the default {default!r}"
        )
    for number in numbers:
        if not isinstance(number, Real):
            raise TypeError(f"{rule.name}: got {name}={value!r}, expected a number such as {default!r}")
        if not math.isfinite(number):
            raise ValueError(f"{rule.name}: got {name}={value!r}, expected a finite number")
        if number < 0:
            raise ValueError(f"{rule.name}: got {name}={value!r}, expected a number that is not negative")
        if name in _FRACTIONS and float(number) >= 1:
            raise ValueError(f"{rule.name}: got {name}={value!r}, expected a number in [0, 1)")
    return tuple(map(float, numbers)) if isinstance(default, tuple) else float(numbers[0])


@overload
def rule(update: Callable[..., Any], /) -> Rule: ...
@overload
def rule(*, name: str) -> Callable[[Callable[..., Any]], Rule]: ...
def rule(update: Callable[..., Any] | None = None, /, *, name: str | None = None) -> Any:
    """Make a rule of a scalar function ``(p, g, *states, *, coefficient, ...) -> (p, *states)``.

    The docstring is the equation. Positional parameters behind `p` and `g` name the states; keyword-only parameters
    name the coefficients. Where these have defaults, they are the hyper-parameters themselves; where they have to be
    computed from others at each step, say how with :meth:`Rule.coefficients`.

    A coefficient comes in the dtype of the buffers. A literal does not: ``0.5 * g`` would make a float32 loop a float64
    one, and the compiled backends refuse it. Write multiply-adds as :func:`fma`, so that all backends give the same
    bits.

    Raises
    ------
    TypeError
        The signature is not of that form.

    Examples
    --------
    >>> from fastopt import fma, rule
    >>> @rule
    ... def heavy_ball(p, g, velocity, *, lr=0.01, beta=0.9):
    ...     "v = βv + g;  p −= ηv"
    ...     velocity = fma(beta, velocity, g)
    ...     return fma(-lr, velocity, p), velocity
    >>> heavy_ball.states
    ('velocity',)
    """
    if update is None:
        return lambda function: _make(function, name)
    return _make(update, None)


def _make(update: Callable[..., Any], name: str | None) -> Rule:
    name = name or update.__name__
    parameters = inspect.signature(update).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keyword = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if positional[:2] != ["p", "g"] or len(positional) + len(keyword) != len(parameters):
        raise TypeError(
            f"rule {name}: got the signature {inspect.signature(update)}, "
            "expected (p, g, state, ..., *, coefficient, ...), for example (p, g, velocity, *, lr=0.01, beta=0.9)"
        )
    hyper = {k.name: float(k.default) for k in parameters if k.kind is k.KEYWORD_ONLY and k.default is not k.empty}
    hyper.setdefault("weight_decay", 0.0)
    return Rule(
        name=name,
        update=update,
        states=tuple(positional[2:]),
        coefficient_names=tuple(keyword),
        hyper=hyper,
        decay="l2",
        equation=" ".join((update.__doc__ or "").split()),
        _coefficients=lambda t, **values: values,
    )


def _keyword_defaults(name: str, function: Callable[..., Any]) -> dict[str, Hyper]:
    parameters = inspect.signature(function).parameters.values()
    hyper = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    if list(inspect.signature(function).parameters)[:1] != ["t"] or len(hyper) != len(parameters) - 1:
        raise TypeError(f"rule {name}: coefficients got {inspect.signature(function)}, expected (t, *, lr=..., ...)")
    missing = [key for key, default in hyper.items() if default is inspect.Parameter.empty]
    if missing:
        raise TypeError(f"rule {name}: hyper-parameter {missing[0]} has no default; give it one")
    taken = _NO_RULE_MAY_NAME & hyper.keys()
    if taken:
        raise TypeError(f"rule {name}: every rule has {taken.pop()} already; leave it out")
    return hyper
