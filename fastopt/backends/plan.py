"""What a step with several stages computes between them, as instructions over slots.

A slot is a place for one float64 number. The first slots hold what is given for a step: settings that all groups share,
then the coefficients of each group. The others hold sums, and the numbers that are computed from them. What exists for
each span of a group has neighbouring slots. A device executes the instructions of moment k before stage k: see
:class:`~fastopt.backends.protocol.Numbers`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from ..rules import GRADIENT_FACTOR, GRADIENT_NORM, TOTAL, MatrixStage, Number, Rule, Sweep, is_limited

__all__ = ["CONSTANTS", "Evaluate", "Instruction", "Move", "PassSums", "Plan", "Row", "Total"]

ZERO, ONE, INFINITY, SCALE, CLIP_VALUE, MAX_NORM, MAX_SEGMENT_NORM, COMMON = range(8)
"""The slots of what is given for all groups: three constants and the gradient's options; how many they are."""

CONSTANTS = (0.0, 1.0, math.inf)
"""What the first slots hold in every step."""


@dataclass(frozen=True)
class Evaluate:
    """For each j below `count`: slot `result` + j becomes the number's function of slots first + j·stride."""

    number: Number
    arguments: tuple[tuple[int, int], ...]
    result: int
    count: int


@dataclass(frozen=True)
class Total:
    """Slot `result` becomes the sum of the slots `terms`, added in order."""

    terms: tuple[int, ...]
    result: int


@dataclass(frozen=True)
class Move:
    """Slot `result` becomes what slot `source` is."""

    source: int
    result: int


Instruction = Evaluate | Total | Move


@dataclass(frozen=True)
class Row:
    """The slots of the numbers that a pass takes; passes are counted through all spans, stage by stage in each."""

    number_of_pass: int
    slots: tuple[int, ...]

    @property
    def is_constant(self) -> bool:
        """Whether they are the same in every step."""
        return max(self.slots) < len(CONSTANTS)


@dataclass(frozen=True)
class PassSums:
    """The slots of the sums that a pass over so many elements writes."""

    number_of_pass: int
    size: int
    slots: tuple[int, ...]


class Plan:
    """The instructions of a step.

    Parameters
    ----------
    rules
        The stages of each group.
    coefficients
        The names of each group's coefficients.
    spans
        For each span, in the order of the layout: the number of its group, and its size.

    Attributes
    ----------
    size, given
        Number of slots; number of those at the front that are given for each step. After the `COMMON` ones follow, for
        each group, its coefficients and the prelude's `weight_decay` and `decay_factor`.
    moments : tuple of tuple of Instruction
        What is computed before the first stage and after each stage.
    rows : tuple of tuple of Row
        For each stage, the numbers of its passes.
    sums : tuple of tuple of PassSums
        For each stage, what its passes add up.
    matrices : mapping
        For each matrix stage, by the numbers of its span and of the stage: the slots of its numbers by name.
    memory : tuple of mapping
        For each group, the slots of its memory by name. They change at the end of a step.
    norms : tuple of int
        The slots of the norms of the gradient, where they are measured.
    """

    def __init__(
        self, rules: Sequence[Rule], coefficients: Sequence[Sequence[str]], spans: Sequence[tuple[int, int]]
    ) -> None:
        self._rules, self._spans = rules, spans
        members: list[int] = [0] * len(rules)
        self._place_in_group: list[int] = []
        for group, _ in spans:
            self._place_in_group.append(members[group])
            members[group] += 1
        self.size = COMMON
        self._slots = [self._given_slots(rule, names) for rule, names in zip(rules, coefficients, strict=True)]
        self.given = self.size
        self.memory: tuple[Mapping[str, int], ...] = tuple(
            {number.name: self._take(1) for number in rule.numbers if number.start is not None} for rule in rules
        )
        self._local = [
            frozenset(chain(rule.schedule.per_segment, *(stage.sums for stage in rule.stages))) for rule in rules
        ]
        for rule, slots, local, count in zip(rules, self._slots, self._local, members, strict=True):
            for name in chain((number.name for number in rule.numbers), *(stage.sums for stage in rule.stages)):
                slots[name] = self._take(count if name in local else 1)
        self._members = members
        self._totals: dict[tuple[int, str], int] = {}
        self.moments = self._all_moments()
        self.rows, self.sums, self.matrices = self._per_stage()
        self.norms = tuple(
            self._slot(span, GRADIENT_NORM) for span, (group, _) in enumerate(spans) if is_limited(rules[group])
        )

    def _take(self, count: int) -> int:
        first = self.size
        self.size += count
        return first

    def _given_slots(self, rule: Rule, names: Sequence[str]) -> dict[str, int]:
        """Return the slots of a group's coefficients and of its decay, in the order in which they are given."""
        own = {name: self._take(1) for name in names}
        own |= {_WEIGHT_DECAY: self._take(1), _DECAY_FACTOR: self._take(1)}
        limits = {"scale": SCALE, "max_norm": MAX_NORM, "max_segment_norm": MAX_SEGMENT_NORM}
        return {**own, **limits} if is_limited(rule) else {**limits, **own}

    def _slot(self, span: int, name: str) -> int:
        """Return the slot of a name for one span."""
        group, _ = self._spans[span]
        return self._slots[group][name] + (self._place_in_group[span] if name in self._local[group] else 0)

    def _all_moments(self) -> tuple[tuple[Instruction, ...], ...]:
        kept = [(saved, self._slots[k][name]) for k, names in enumerate(self.memory) for name, saved in names.items()]
        schedules = [rule.schedule.after for rule in self._rules]
        moments = [
            self._moment(place, list(dict.fromkeys(chain.from_iterable(numbers))))
            for place, numbers in enumerate(zip_longest(*schedules, fillvalue=()))
        ]
        moments[0] = (*(Move(saved, slot) for saved, slot in kept), *moments[0])
        moments[-1] = (*moments[-1], *(Move(slot, saved) for saved, slot in kept))
        return tuple(moments)

    def _moment(self, place: int, numbers: Sequence[Number]) -> tuple[Instruction, ...]:
        """Return what is computed then: each number for all groups that have it, before the next number."""
        instructions: list[Instruction] = []
        for number in numbers:
            for group, rule in enumerate(self._rules):
                after = rule.schedule.after
                if place < len(after) and number in after[place]:
                    instructions += self._evaluation(group, number, instructions)
        return tuple(instructions)

    def _evaluation(self, group: int, number: Number, before: Sequence[Instruction]) -> list[Instruction]:
        """Return what computes a number for a group, with the totals that it takes and that are not there yet."""
        slots, local = self._slots[group], self._local[group]
        totals: list[Instruction] = []
        arguments: list[tuple[int, int]] = []
        for parameter in number.parameters:
            if parameter.startswith(TOTAL) and parameter not in slots:
                total = self._total(group, parameter.removeprefix(TOTAL))
                if total not in before and total not in totals:
                    totals.append(total)
                arguments.append((total.result, 0))
            else:
                arguments.append((slots[parameter], int(parameter in local)))
        count = self._members[group] if number.name in local else 1
        return [*totals, Evaluate(number, tuple(arguments), slots[number.name], count)]

    def _total(self, group: int, name: str) -> Total:
        """Return what adds up a name over all spans that have it from the same source."""
        source = self._rules[group].source_of(name)
        terms = [
            self._slot(span, name)
            for span, (other, _) in enumerate(self._spans)
            if name in self._local[other] and self._rules[other].source_of(name) is source
        ]
        key = (id(source), name)
        if key not in self._totals:
            self._totals[key] = self._take(1)
        return Total(tuple(terms), self._totals[key])

    def _per_stage(self) -> tuple[tuple[tuple[Row, ...], ...], tuple[tuple[PassSums, ...], ...], Matrices]:
        stages = max((len(rule.stages) for rule in self._rules), default=0)
        rows: list[list[Row]] = [[] for _ in range(stages)]
        sums: list[list[PassSums]] = [[] for _ in range(stages)]
        matrices: dict[tuple[int, int], dict[str, int]] = {}
        passes = 0
        for span, (group, size) in enumerate(self._spans):
            for place, stage in enumerate(self._rules[group].stages):
                if isinstance(stage, MatrixStage):
                    matrices[span, place] = {name: self._slot(span, name) for name in stage.numbers}
                    continue
                own = (self._slot(span, name) for name in stage.numbers)
                rows[place].append(Row(passes, (*self._prelude(span, place), *own)))
                if stage.sums:
                    sums[place].append(PassSums(passes, size, tuple(self._slot(span, name) for name in stage.sums)))
                passes += 1
        return tuple(map(tuple, rows)), tuple(map(tuple, sums)), matrices

    def _prelude(self, span: int, place: int) -> tuple[int, int, int, int]:
        """Return the slots of the prelude's numbers.

        The stage that measures the gradient sees it as it is. Decay acts until a stage has written the parameters.
        """
        group, _ = self._spans[span]
        rule = self._rules[group]
        if is_limited(rule) and place == 0:
            return ONE, INFINITY, ZERO, ONE
        scale = self._slot(span, GRADIENT_FACTOR) if is_limited(rule) else SCALE
        if any("p" in stage.writes for stage in rule.stages[:place] if isinstance(stage, Sweep)):
            return scale, CLIP_VALUE, ZERO, ONE
        return scale, CLIP_VALUE, self._slot(span, _WEIGHT_DECAY), self._slot(span, _DECAY_FACTOR)


Matrices = Mapping[tuple[int, int], Mapping[str, int]]

_WEIGHT_DECAY, _DECAY_FACTOR = "prelude's weight_decay", "prelude's decay_factor"
"""No names that a rule can have."""
