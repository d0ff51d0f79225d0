"""Groups of segments: which rule updates them, with which hyper-parameters, and what the rule remembers for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name
from ..backends.host import evaluate, picker
from ..buffers import Segment
from ..rules import Hyper, Rule, get_rule

__all__ = ["Group", "Groups"]


@dataclass(eq=False)
class Group:
    """Segments that one rule updates with one set of hyper-parameters.

    Attributes
    ----------
    rule
        The rule.
    hyper
        Its hyper-parameters.
    memory
        The numbers that the rule keeps from step to step.
    at_step
        ``at_step(t, lr)`` gives the coefficients of step t by name, at a learning rate.
    """

    rule: Rule
    hyper: dict[str, Hyper]
    memory: dict[str, float] = field(init=False)
    at_step: Callable[[int, float], Mapping[str, float]] = field(init=False)

    def __post_init__(self) -> None:
        self.memory = self.rule.memory_at_start(self.hyper)
        self._in_order = picker(self.rule.stages[-1].numbers)
        self._has_numbers = bool(self.rule.numbers)
        self.update({})

    def update(self, hyper: Mapping[str, Any]) -> None:
        """Take other values for some of the hyper-parameters; raises what :meth:`Rule.checked` raises."""
        self.hyper = self.rule.checked({**self.hyper, **hyper})
        self.at_step = self.rule.coefficients_with(self.hyper)
        lr, weight_decay = self.hyper["lr"], self.hyper.get("weight_decay", 0.0)
        assert isinstance(lr, float)
        assert isinstance(weight_decay, float)
        self.lr = lr
        self._l2 = weight_decay if self.rule.decay == "l2" else 0.0
        self._decoupled = weight_decay if self.rule.decay == "decoupled" else 0.0

    def decay(self, lr: float) -> tuple[float, float]:
        """Return the prelude's `weight_decay` and `decay_factor` at a learning rate."""
        return self._l2, 1.0 - lr * self._decoupled

    def numbers(self, t: int, lr: float, scale: float, clip_value: float) -> tuple[float, ...]:
        """Return the numbers of the rule's only sweep at step t, and take the memory to the next step.

        `scale` and `clip_value` are what the prelude does to the gradient.
        """
        values = self.at_step(t, lr)
        if self._has_numbers:
            values = self._with_numbers(values)
        return (scale, clip_value, self._l2, 1.0 - lr * self._decoupled, *self._in_order(values))

    def _with_numbers(self, coefficients: Mapping[str, float]) -> Mapping[str, float]:
        """Return the coefficients and the numbers that follow from them and the memory, and keep the new memory."""
        values = {**self.memory, **coefficients}
        for number in self.rule.numbers:
            values[number.name] = evaluate(number, [values[name] for name in number.parameters])
        self.memory = {name: values[name] for name in self.memory}
        return values

    def is_like(self, other: Group) -> bool:
        """Return whether one set of numbers serves the segments of both."""
        return self.rule is other.rule and self.hyper == other.hyper


class Groups:
    """The groups of an optimizer.

    Parameters
    ----------
    rule
        Of every group that does not name another.
    segments
        What is updated.
    hyper
        Hyper-parameters of `rule`.
    differing
        Group name to what is different in it: hyper-parameters, and under ``"rule"`` a rule, whose other
        hyper-parameters are then its own defaults.

    Raises
    ------
    ValueError, TypeError
        An unknown group, rule or hyper-parameter, or a value out of its range.
    """

    def __init__(
        self,
        rule: Rule,
        segments: Iterable[Segment],
        hyper: Mapping[str, Any],
        differing: Mapping[str, Mapping[str, Any]],
    ) -> None:
        segments = list(segments)
        names = {segment.group for segment in segments}
        for name in differing:
            if name not in names:
                raise unknown_name("group", name, names)
        if "lr" not in rule.hyper:
            raise TypeError(
                f"rule {rule.name}: got the hyper-parameters {', '.join(rule.hyper)}, expected lr among them"
            )
        self.default = Group(rule, rule.checked(hyper))
        self._named: dict[str, Group] = {}
        self._of = {segment.name: self._group(segment, dict(differing.get(segment.group, {}))) for segment in segments}

    def _group(self, segment: Segment, differing: dict[str, Any]) -> Group:
        """Return the group of a segment, a new one for the first segment of a kind."""
        rule = get_rule(differing.pop("rule", self.default.rule))
        is_vector = rule.vectors is not None and len(segment.shape) != 2
        name = f"{segment.group} (vectors)" if is_vector else segment.group
        if name not in self._named:
            hyper = rule.checked({**(self.default.hyper if rule is self.default.rule else {}), **differing})
            if is_vector:
                assert rule.vectors is not None
                own = rule.vectors.hyper
                rule, hyper = rule.vectors, {**own, **{key: hyper[key] for key in hyper.keys() & own.keys()}}
            self._named[name] = Group(rule, hyper)
        return self._named[name]

    def of(self, segment: Segment) -> Group:
        """Return the group of a segment."""
        return self._of[segment.name]

    def __iter__(self) -> Iterator[Group]:
        return iter(self._named.values())

    def first_like(self, group: Group) -> Group:
        """Return the first group that one set of numbers serves as well as this one."""
        return next(other for other in self if other.is_like(group))

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states that the rules of the groups keep."""
        return tuple(dict.fromkeys(state for group in self for state in group.rule.states))

    def set(self, hyper: Mapping[str, Any]) -> None:
        """Set hyper-parameters in every group that has them; raises what :meth:`Rule.checked` raises."""
        self.default.update(hyper)
        for group in self:
            group.update({name: value for name, value in hyper.items() if name in group.hyper})

    def table(
        self,
        groups: Sequence[Group],
        t: int,
        lr_scales: Sequence[float],
        scale: float,
        clip_value: float,
        dtype: np.dtype[Any],
    ) -> NDArray[Any]:
        """Return the numbers of the sweeps of steps t and on, of shape (steps, groups, numbers).

        Parameters
        ----------
        groups
            Whose numbers; their rules consist of one sweep without sums.
        lr_scales
            A factor on the learning rate for each step.
        scale, clip_value
            What the prelude does to the gradient.
        """
        tables: dict[Group, list[tuple[float, ...]]] = {}
        for group in map(self.first_like, groups):
            if group not in tables:
                tables[group] = [
                    group.numbers(t + k, group.lr * factor, scale, clip_value) for k, factor in enumerate(lr_scales)
                ]
        with np.errstate(over="ignore"):
            return np.array([tables[self.first_like(group)] for group in groups], dtype).swapaxes(0, 1).copy()

    def state_dict(self) -> dict[str, Any]:
        """Return rule, hyper-parameters and memory of each group."""
        return {
            name: {
                "rule": group.rule.name,
                "hyper": dict(group.hyper),
                "memory": dict(self.first_like(group).memory),
            }
            for name, group in self._named.items()
        }

    def check(self, saved: Mapping[str, Any]) -> None:
        """Raise ValueError or TypeError unless :meth:`load` can take what :meth:`state_dict` has given."""
        if saved.keys() != self._named.keys():
            raise ValueError(f"state: got the groups {sorted(saved)}, expected {sorted(self._named)}")
        for name, group in self._named.items():
            if saved[name]["rule"] != group.rule.name:
                raise ValueError(f"state: group {name} got rule {saved[name]['rule']!r}, expected {group.rule.name!r}")
            group.rule.checked(saved[name]["hyper"])
            memory = saved[name]["memory"]
            if memory.keys() != group.memory.keys() or not all(map(math.isfinite, memory.values())):
                raise ValueError(
                    f"state: group {name} got the memory {memory}, expected {sorted(group.memory)}, finite"
                )

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take hyper-parameters and memory from what :meth:`state_dict` has given."""
        for name, group in self._named.items():
            group.update(saved[name]["hyper"])
            group.memory = {key: float(value) for key, value in saved[name]["memory"].items()}
