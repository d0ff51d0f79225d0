"""What a step does: sweeps and matrix stages over spans, and the numbers that are computed before and between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from ..backends import CONSTANTS, Plan, key_of
from ..backends.host import picker
from .spans import Pass, Product, Span, Spans

__all__ = ["Options", "PlainStep", "SeededStep", "StagedStep", "Step", "make_step"]


Options = tuple[float, float, float, float, float]
"""What is done in a step besides the rule: the scale of the gradient, the factor on learning rates, the limit of an
element, of the norm, and of a segment's norm; a norm's limit of 0 is none."""


class Step(Protocol):
    """The passes of a step, and the numbers that they take."""

    def prepare(self, t: int, options: Options, gradients: Any) -> None:
        """Have the next launch be step t, with these gradients, as the spans are bound to them."""

    def launch(self, zero_grad: bool, skip_nonfinite: bool = False) -> bool:
        """Run the passes; return False, and leave everything as it was, where the gradient is to be skipped."""

    def save_memory(self) -> None:
        """Give the groups the memory that their rules have after the last step."""

    def load_memory(self) -> None:
        """Take the memory of the groups for the next step."""


def make_step(spans: Spans, seed: int | None = None) -> Step:
    """Return the step over the spans; with a seed, one whose stores are rounded at random."""
    step = PlainStep(spans) if all(span.rule.is_local for span in spans.list) else StagedStep(spans)
    return step if seed is None else SeededStep(step, spans, seed)


class PlainStep:
    """One step of rules that are a single sweep, whose numbers do not depend on sums."""

    def __init__(self, spans: Spans) -> None:
        self._send = None if spans.device.is_host else spans.table.send
        self._runs = [stage for span in spans.list for stage in span.passes]
        groups = dict.fromkeys(span.group for span in spans.list)
        self._puts = [(g, [stage.put for s in spans.list if s.group is g for stage in s.passes]) for g in groups]

    def prepare(self, t: int, options: Options, gradients: Any) -> None:
        """Write the numbers of step t to where the passes read them."""
        scale, lr_scale, clip_value, _, _ = options
        for group, puts in self._puts:
            numbers = group.numbers(t, group.lr * lr_scale, scale, clip_value)
            for put in puts:
                put(numbers)
        if self._send:
            self._send(gradients)

    def launch(self, zero_grad: bool, skip_nonfinite: bool = False) -> bool:
        """Run the passes."""
        for stage in self._runs:
            stage.run(zero_grad)
        return True

    def save_memory(self) -> None:
        """Do nothing: the groups have it."""

    def load_memory(self) -> None:
        """Do nothing: the groups have it."""


class StagedStep:
    """One step of an optimizer whose rules have several stages, or numbers that depend on sums.

    Numbers are float64, with IEEE's results of a division by zero and of the root of a negative number. The device
    computes them; see :class:`~fastopt.backends.Plan`.
    """

    def __init__(self, spans: Spans) -> None:
        self._spans, self._device = spans, spans.device
        self._launching = spans.device.launching
        groups = {span.group: span.rule for span in spans.list}
        order = {group: number for number, group in enumerate(groups)}
        # at the learning rate's own value: a call for the names only
        names = {group: tuple(group.at_step(1, group.lr)) for group in groups}
        self._picks = {group: picker(own) for group, own in names.items()}
        plan = Plan(
            tuple(groups.values()), tuple(names.values()), [(order[span.group], span.size) for span in spans.list]
        )
        passes = [stage for span in spans.list for stage in span.passes]
        self._plan, self._numbers = plan, self._device.numbers(plan, spans.table, [stage.put for stage in passes])
        for stage, sums in zip(passes, self._numbers.sums, strict=True):
            stage.sums = sums
        self.load_memory()
        self._stages = [
            [
                self._runner(span, place, number)
                for number, span in enumerate(spans.list)
                if place < len(span.stages) and span.stages[place] is not None
            ]
            for place in range(len(plan.rows))
        ]

    def _runner(self, span: Span, place: int, number: int) -> Callable[[bool], None]:
        """Return what runs a stage on a span; the last pass over the gradient sets it to zero, if that is asked for."""
        stage = span.stages[place]
        if isinstance(stage, Product):
            return partial(self._run_matrices, stage, self._plan.matrices[number, place])
        assert isinstance(stage, Pass)
        if stage is _last_over_gradient(span.stages):
            return lambda zero_grad: stage.run(zero_grad)  # not the method itself: the pass is bound anew to gradients
        return lambda zero_grad: stage.run(False)

    def _run_matrices(self, stage: Product, slots: Mapping[str, int], zero_grad: bool) -> None:
        stage.run({name: self._numbers.scalar(slot) for name, slot in slots.items()})

    def prepare(self, t: int, options: Options, gradients: Any) -> None:
        """Have the next launch be step t."""
        scale, lr_scale, clip_value, max_norm, max_segment_norm = options
        given = [*CONSTANTS, scale, clip_value, max_norm, max_segment_norm]
        for group, pick in self._picks.items():
            lr = group.lr * lr_scale
            given += pick(group.at_step(t, lr))
            given += group.decay(lr)
        self._numbers.begin(given, gradients)

    def launch(self, zero_grad: bool, skip_nonfinite: bool = False) -> bool:
        """Take the step; return False, and leave everything as it was, where the gradient is not finite."""
        if self._launching is None:
            return self._run(zero_grad, skip_nonfinite)
        with self._launching(self._spans.buffer):
            return self._run(zero_grad, skip_nonfinite)

    def _run(self, zero_grad: bool, skip_nonfinite: bool) -> bool:
        numbers = self._numbers
        numbers.compute(0)
        for place, runs in enumerate(self._stages):
            for run in runs:
                run(zero_grad)
            numbers.compute(place + 1)
            if place == 0 and skip_nonfinite and not all(map(math.isfinite, numbers.read(self._plan.norms))):
                return False
        return True

    def save_memory(self) -> None:
        """Read the memory from where the numbers are computed."""
        for group, slots in zip(self._picks, self._plan.memory, strict=True):
            group.memory = dict(zip(slots, self._numbers.read(list(slots.values())), strict=True))

    def load_memory(self) -> None:
        """Write the memory to where the numbers are computed."""
        for group, slots in zip(self._picks, self._plan.memory, strict=True):
            self._numbers.write(list(slots.values()), [group.memory[name] for name in slots])


class SeededStep:
    """A step whose passes take a key besides their numbers, another one in each step."""

    def __init__(self, step: Step, spans: Spans, seed: int) -> None:
        self._step, self._spans, self._seed = step, spans, seed
        self.launch, self.save_memory, self.load_memory = step.launch, step.save_memory, step.load_memory

    def prepare(self, t: int, options: Options, gradients: Any) -> None:
        """Have the next launch be step t."""
        self._step.prepare(t, options, gradients)
        self._spans.set_key(key_of(self._seed, t))


def _last_over_gradient(stages: Sequence[Pass | Product | None]) -> Pass | None:
    """Return the last sweep that reads the gradient, which may set it to zero."""
    passes = [stage for stage in stages if isinstance(stage, Pass) and "g" in stage.sweep.buffers]
    return passes[-1] if passes else None
