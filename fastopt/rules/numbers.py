"""Numbers that a step computes once: from its coefficients, from sums of its stages, and from the rule's memory.

Each is a scalar function of float64 that takes its arguments by name. A name stands for

- a coefficient of the step,
- another number, defined before it,
- a memory: a number that is kept from step to step,
- a sum of a stage, over the elements of one segment,
- ``total_`` and a name: the sum of that sum, or number, over all segments.

A number is computed as soon as the sums that it depends on are there; those of one moment in the order of their
definition. What depends on the sums of a segment is computed for each segment.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .hyper import Hyper
from .stages import Stage

__all__ = ["TOTAL", "Number", "Schedule", "number_of", "schedule_of"]

TOTAL = "total_"


@dataclass(frozen=True, eq=False)
class Number:
    """A scalar function of named numbers.

    Attributes
    ----------
    name
        Of the function, and of its value.
    function
        What computes it, in float64.
    parameters
        The names of what it takes.
    start
        None for a number of the step. For a memory, its value before the first step: a number, or the name of the
        hyper-parameter that it begins as; the function then gives the value from this step on.
    """

    name: str
    function: Callable[..., float]
    parameters: tuple[str, ...]
    start: float | str | None = None


def number_of(rule: str, function: Callable[..., float], start: float | str | None = None) -> Number:
    """Return the number that a function describes.

    Raises
    ------
    TypeError
        A parameter is not a plain one without a default.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is not p.POSITIONAL_OR_KEYWORD or p.default is not p.empty for p in parameters):
        raise TypeError(
            f"rule {rule}: number {function.__name__} got {inspect.signature(function)}, "
            "expected parameters without defaults"
        )
    return Number(function.__name__, function, tuple(p.name for p in parameters), start)


@dataclass(frozen=True)
class Schedule:
    """When the numbers of a rule are computed.

    Attributes
    ----------
    after
        For each moment, before the first stage and after each stage, the numbers that are computed then.
    per_segment
        Names of those that are computed for each segment.
    totals
        Names of the sums and numbers that are added up over all segments, each with the stage after which it is there.
    """

    after: tuple[tuple[Number, ...], ...]
    per_segment: frozenset[str]
    totals: Mapping[str, int]


def schedule_of(rule: str, numbers: Sequence[Number], stages: Sequence[Stage], coefficients: Iterable[str]) -> Schedule:
    """Return when each number is computed.

    Raises
    ------
    TypeError
        A number or a stage takes a name that nothing has then.
    """
    of_stage = {name: place for place, stage in enumerate(stages, 1) for name in stage.sums}
    memories = {number.name for number in numbers if number.start is not None}
    moment = {**dict.fromkeys((*coefficients, *memories), 0), **of_stage}
    local, totals = set(of_stage), {}
    after: list[list[Number]] = [[] for _ in range(len(stages) + 1)]
    for number in numbers:
        when = 0
        for parameter in number.parameters:
            name = parameter.removeprefix(TOTAL)
            if name not in moment or (name != parameter and name not in local):
                raise TypeError(
                    f"rule {rule}: number {number.name} takes {parameter!r}, expected one of "
                    f"{', '.join(sorted({*moment, *(TOTAL + name for name in local)}))}"
                )
            when = max(when, moment[name])
            if name != parameter:
                totals[name] = moment[name]
        if local.intersection(number.parameters):
            local.add(number.name)
        moment[number.name] = when
        after[when].append(number)
    for place, stage in enumerate(stages):
        for name in stage.numbers:
            if name not in memories and moment.get(name, place + 1) > place:
                there = sorted(known for known, when in moment.items() if when <= place)
                raise TypeError(f"rule {rule}: {stage.name} takes {name!r}, expected one of {', '.join(there)}")
    per_segment = frozenset(local - of_stage.keys())
    kept = memories & per_segment
    if kept:
        raise TypeError(f"rule {rule}: memory {kept.pop()} depends on a sum of a segment, expected total_ and its name")
    return Schedule(tuple(map(tuple, after)), per_segment, totals)


def starts_of(numbers: Sequence[Number], hyper: Mapping[str, Hyper]) -> dict[str, float]:
    """Return each memory's value before the first step."""
    starts: dict[str, float] = {}
    for number in numbers:
        if number.start is not None:
            value = hyper[number.start] if isinstance(number.start, str) else number.start
            assert isinstance(value, float)
            starts[number.name] = value
    return starts
