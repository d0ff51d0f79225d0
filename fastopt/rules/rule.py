"""What a rule is: stages of scalar functions, and the numbers that these take at step t."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from copy import copy
from functools import cached_property
from typing import Any, Literal, overload

from .hyper import Hyper, Range, checked, range_of
from .numbers import Number, Schedule, number_of, schedule_of, starts_of
from .stages import MatrixStage, Stage, Sweep, matrix_stage_of, sweep_of

__all__ = ["Decay", "Rule", "rule"]

Decay = Literal["l2", "decoupled"] | None


class Rule:
    """An update rule; made by the decorator :func:`rule`. Every backend makes its kernels from one of these.

    Called with hyper-parameters, it gives the same rule with these as its defaults.

    Attributes
    ----------
    name : str
        What the command line and the error messages call it.
    stages : tuple of Sweep or MatrixStage
        What a step does, one after the other.
    numbers : tuple of Number
        What is computed once a step, from sums and from the rule's memory.
    states : tuple of str
        Names of the per-element buffers that it keeps, in PyTorch's words where PyTorch has them.
    starts : mapping
        What a state is at first, where it is not zero: a number, ``"p"`` for a copy of the parameters, or the name of a
        hyper-parameter.
    hyper : mapping
        Hyper-parameters and their defaults, `weight_decay` included.
    ranges : mapping of str to Range
        What values a hyper-parameter may have.
    decay : {"l2", "decoupled", None}
        How `weight_decay` λ acts. ``"l2"``: g + λp takes the place of g. ``"decoupled"``: p is first multiplied by
        1 − ηλ. None: the rule handles it, or has none.
    vectors : Rule or None
        The rule of segments that are no matrices, for a rule that is made for matrices only.
    equation : str
        The update in mathematical notation.

    Examples
    --------
    >>> from fastopt import RULES
    >>> RULES["adam"](lr=0.01).hyper["lr"]
    0.01
    """

    def __init__(
        self,
        name: str,
        first: Sweep,
        *,
        equation: str,
        decay: Decay,
        hyper: Mapping[str, Hyper],
        starts: Mapping[str, float | str],
        ranges: Mapping[str, Range],
        vectors: Rule | None,
    ) -> None:
        self.name, self.equation, self.decay = name, equation, decay
        self.stages: tuple[Stage, ...] = (first,)
        self.numbers: tuple[Number, ...] = ()
        self.starts, self.vectors = dict(starts), vectors
        self._own_ranges = dict(ranges)
        self._coefficients: Callable[..., Mapping[str, float]] = _themselves
        self._set_hyper(hyper)

    def coefficients(self, function: Callable[..., Mapping[str, float]]) -> Callable[..., Mapping[str, float]]:
        """Decorate the function ``(t, *, lr=..., ...)`` that gives the coefficients of step t, in float64.

        Its keyword arguments are the rule's hyper-parameters, with their defaults. It is called once a step.
        """
        hyper = _keyword_defaults(self.name, function)
        if self.decay is not None:
            if "weight_decay" in hyper:
                raise TypeError(
                    f"rule {self.name}: a rule with decay={self.decay!r} has weight_decay already; leave it out"
                )
            hyper["weight_decay"] = self.hyper["weight_decay"]
        self._coefficients = function
        self._set_hyper(hyper)
        return function

    def sweep(self, *, writes: tuple[str, ...] | None = None, sums: tuple[str, ...] = ()) -> Callable[..., Any]:
        """Decorate the function of a further sweep; see :class:`Sweep` for `writes` and `sums`."""

        def add(update: Callable[..., Any]) -> Callable[..., Any]:
            self._add(sweep_of(f"{self.name}_{update.__name__}", update, sums, writes))
            return update

        return add

    def matrices(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function of whole matrices; see :class:`MatrixStage`."""
        self._add(matrix_stage_of(self.name, function))
        return function

    def number(self, function: Callable[..., float]) -> Callable[..., float]:
        """Decorate the function of a number that is computed once a step; see :mod:`fastopt.rules.numbers`."""
        self.numbers = (*self.numbers, number_of(self.name, function))
        return function

    def memory(self, *, start: float | str) -> Callable[..., Any]:
        """Decorate the function of a number that is kept from step to step; see :class:`Number`."""

        def add(function: Callable[..., float]) -> Callable[..., float]:
            self.numbers = (*self.numbers, number_of(self.name, function, start))
            return function

        return add

    def variant(self, name: str, *, equation: str, decay: Decay, **hyper: Hyper) -> Rule:
        """Return the same update under another name, with another kind of decay and other defaults."""
        other = copy(self)
        other.name, other.equation, other.decay = name, equation, decay
        other._set_hyper({**self.hyper, **hyper})
        return other

    def __call__(self, **hyper: Any) -> Rule:
        """Return this rule with other defaults; raises what :meth:`checked` raises."""
        other = copy(self)
        other._set_hyper(self.checked(hyper))
        return other

    def checked(self, given: Mapping[str, Any]) -> dict[str, Hyper]:
        """Return the hyper-parameters, those given in the place of the defaults.

        Raises
        ------
        ValueError
            There is no hyper-parameter of that name, or the value is not in its range.
        TypeError
            The value is no number, or another number of numbers than the default.
        """
        return checked(self.name, self.hyper, self.ranges, given)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the per-element buffers that it keeps."""
        taken = (stage.states if isinstance(stage, Sweep) else (stage.buffer,) for stage in self.stages)
        return tuple(dict.fromkeys(name for names in taken for name in names))

    @property
    def is_local(self) -> bool:
        """Whether it is one sweep whose numbers do not depend on sums: it can run on any part of a gradient."""
        return len(self.stages) == 1 and not self.stages[0].sums

    @property
    def is_per_segment(self) -> bool:
        """Whether it treats each segment as a whole, by sums over it or as a matrix."""
        return any(isinstance(stage, MatrixStage) for stage in self.stages) or bool(self.schedule.per_segment)

    @cached_property
    def schedule(self) -> Schedule:
        """When its numbers are computed."""
        given = ("scale", "max_norm", "max_segment_norm", *self.coefficients_at(1))
        return schedule_of(self.name, self.numbers, self.stages, given)

    def source_of(self, name: str) -> object:
        """Return the stage or the number that a sum or a number of that name comes from."""
        stages = {total: stage for stage in self.stages for total in stage.sums}
        return stages.get(name) or next(number for number in self.numbers if number.name == name)

    def coefficients_at(self, t: int, hyper: Mapping[str, Hyper] | None = None) -> Mapping[str, float]:
        """Return the coefficients of step `t` (from 1) by name, of its own hyper-parameters or of others."""
        return self._coefficients(t, **self._own(self.hyper if hyper is None else hyper))

    def coefficients_with(self, hyper: Mapping[str, Hyper]) -> Callable[[int, float], Mapping[str, float]]:
        """Return what gives the coefficients of step t at a learning rate, the others being what they are now.

        What does not change from step to step is done here, once: a call is most of a step of few parameters.
        """
        own, function = self._own(hyper), self._coefficients

        def at_step(t: int, lr: float) -> Mapping[str, float]:
            own["lr"] = lr
            return function(t, **own)

        return at_step

    def memory_at_start(self, hyper: Mapping[str, Hyper]) -> dict[str, float]:
        """Return the rule's memory before the first step."""
        return starts_of(self.numbers, hyper)

    def words_per_parameter(self) -> int:
        """Return how many numbers the sweeps of a step read and write for each parameter."""
        return sum(stage.words for stage in self.stages if isinstance(stage, Sweep))

    @property
    def documentation(self) -> str:
        """What its module says of it."""
        return inspect.getdoc(sys.modules[self.stages[0].update.__module__]) or ""  # type: ignore[union-attr]

    def __repr__(self) -> str:
        return f"<rule {self.name}: {self.equation}>"

    def _add(self, stage: Stage) -> None:
        self.stages = (*self.stages, stage)
        self.__dict__.pop("schedule", None)

    def _set_hyper(self, hyper: Mapping[str, Hyper]) -> None:
        self.hyper = dict(hyper)
        self.ranges = {name: range_of(name, default) for name, default in hyper.items()} | {
            name: own for name, own in self._own_ranges.items() if name in hyper
        }

    def _own(self, hyper: Mapping[str, Hyper]) -> dict[str, Hyper]:
        """Return the hyper-parameters that its coefficients are made from: not the decay that the prelude does."""
        return {name: value for name, value in hyper.items() if name != "weight_decay" or self.decay is None}


@overload
def rule(update: Callable[..., Any], /) -> Rule: ...
@overload
def rule(
    *,
    name: str | None = None,
    decay: Decay = "l2",
    weight_decay: float = 0.0,
    writes: tuple[str, ...] | None = None,
    sums: tuple[str, ...] = (),
    starts: Mapping[str, float | str] | None = None,
    ranges: Mapping[str, Range] | None = None,
    vectors: Rule | None = None,
) -> Callable[[Callable[..., Any]], Rule]: ...
def rule(update: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a rule of a scalar function ``(p, g, *states, *, coefficient, ...) -> (p, *states)``.

    The docstring is the equation. Positional parameters after `p` and `g` name the states, which start at zero;
    keyword-only parameters name the coefficients. Where these have defaults, they are the hyper-parameters themselves;
    where they have to be computed from others at each step, say how with :meth:`Rule.coefficients`.

    The function computes in the dtype of the buffers: coefficients and number literals have that dtype. It may call
    ``math.sqrt``, ``abs``, :func:`fma`, :func:`clip`, :func:`sign`, :func:`where`, and other such functions. Write
    multiply-adds as :func:`fma`, so that all backends give the same bits.

    Parameters
    ----------
    name : str, optional
        The function's name by default.
    decay : {"l2", "decoupled", None}
        How `weight_decay` acts; None where the rule handles it, or has none. See :class:`Rule`.
    weight_decay : float
        The default, where `decay` is not None.
    writes, sums
        What the function gives, where that is not a new value of each buffer that it takes; see :class:`Sweep`.
    starts : mapping, optional
        State to what it is at first: a number, ``"p"`` for a copy of the parameters, or the name of a hyper-parameter.
    ranges : mapping, optional
        Hyper-parameter to :class:`Range`, where :func:`range_of` does not say it.
    vectors : Rule, optional
        The rule of segments that are no matrices.

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
        return lambda function: _make(function, **options)
    return _make(update)


def _make(
    update: Callable[..., Any],
    *,
    name: str | None = None,
    decay: Decay = "l2",
    weight_decay: float = 0.0,
    writes: tuple[str, ...] | None = None,
    sums: tuple[str, ...] = (),
    starts: Mapping[str, float | str] | None = None,
    ranges: Mapping[str, Range] | None = None,
    vectors: Rule | None = None,
) -> Rule:
    name = name or update.__name__
    first = sweep_of(update.__name__, update, sums, writes)
    if "g" not in first.buffers:
        raise TypeError(
            f"rule {name}: got the signature {inspect.signature(update)}, "
            "expected (p, g, state, ..., *, coefficient, ...), for example (p, g, velocity, *, lr=0.01, beta=0.9)"
        )
    hyper: dict[str, Hyper] = {key: float(value) for key, value in (update.__kwdefaults__ or {}).items()}
    if decay is not None:
        hyper.setdefault("weight_decay", weight_decay)
    return Rule(
        name,
        first,
        equation=" ".join((update.__doc__ or "").split()),
        decay=decay,
        hyper=hyper,
        starts=starts or {},
        ranges=ranges or {},
        vectors=vectors,
    )


def _themselves(t: int, **hyper: Any) -> Mapping[str, float]:
    """The coefficients of a rule whose hyper-parameters its function takes as they are."""
    return hyper


def _keyword_defaults(name: str, function: Callable[..., Any]) -> dict[str, Hyper]:
    parameters = inspect.signature(function).parameters.values()
    hyper = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    if list(inspect.signature(function).parameters)[:1] != ["t"] or len(hyper) != len(parameters) - 1:
        raise TypeError(f"rule {name}: coefficients got {inspect.signature(function)}, expected (t, *, lr=..., ...)")
    missing = [key for key, default in hyper.items() if default is inspect.Parameter.empty]
    if missing:
        raise TypeError(f"rule {name}: hyper-parameter {missing[0]} has no default; give it one")
    return hyper
