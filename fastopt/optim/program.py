"""What a step does: sweeps and matrix stages over spans, and the numbers that are computed before and between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..rules import GRADIENT_FACTOR, GRADIENT_NORM, TOTAL, Number, Rule, is_limited
from .groups import Group, evaluate
from .spans import Pass, Product, Span, Spans

__all__ = ["GradientOptions", "PlainStep", "StagedStep", "Step", "make_step"]


class GradientOptions(NamedTuple):
    """What is done to a gradient before the rule takes it, in numbers; a limit of 0 is none."""

    scale: float
    lr_scale: float
    clip_value: float
    max_norm: float
    max_segment_norm: float


class Step(Protocol):
    """The passes of a step, and the numbers that they take."""

    def prepare(self, t: int, options: GradientOptions, gradients: Any) -> None:
        """Have the next launch be step t, with these gradients, as the spans are bound to them."""

    def launch(self, *, zero_grad: bool, skip_nonfinite: bool = False) -> bool:
        """Run the passes; return False, and leave everything as it was, where the gradient is to be skipped."""


def make_step(spans: Spans) -> Step:
    """Return the step over the spans."""
    return PlainStep(spans) if all(span.rule.is_local for span in spans.list) else StagedStep(spans.list)


class PlainStep:
    """One step of rules that are a single sweep, whose numbers do not depend on sums."""

    def __init__(self, spans: Spans) -> None:
        self._table = spans.table
        self._runs = [stage for span in spans.list for stage in span.passes]
        groups = dict.fromkeys(span.group for span in spans.list)
        self._passes = [(g, [stage for s in spans.list if s.group is g for stage in s.passes]) for g in groups]

    def prepare(self, t: int, options: GradientOptions, gradients: Any) -> None:
        """Write the numbers of step t to where the passes read them."""
        scale, lr_scale, clip_value, *_ = options
        for group, passes in self._passes:
            numbers = group.numbers(t, group.lr * lr_scale, scale, clip_value)
            for stage in passes:
                stage.put(numbers)
        self._table.send(gradients)

    def launch(self, *, zero_grad: bool, skip_nonfinite: bool = False) -> bool:
        """Run the passes."""
        for stage in self._runs:
            stage.run(zero_grad)
        return True


class StagedStep:
    """One step of an optimizer whose rules have several stages, or numbers of their own.

    Numbers are float64, with IEEE's results of a division by zero and of the root of a negative number.

    Parameters
    ----------
    spans
        In the order of the layout.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._rules = {span.group: span.rule for span in spans}
        self._values: dict[Group, dict[str, float]] = {}
        schedules = [rule.schedule.after for rule in self._rules.values()]
        # The numbers of each moment, in their order: all that two rules have in common are those in front.
        self._moments = [
            list(dict.fromkeys(chain.from_iterable(numbers))) for numbers in zip_longest(*schedules, fillvalue=())
        ]

    def prepare(self, t: int, options: GradientOptions, gradients: Any) -> None:
        """Have the next launch be step t."""
        self._t, self._options = t, options

    def launch(self, *, zero_grad: bool, skip_nonfinite: bool = False) -> bool:
        """Take the step; return False, and leave everything as it was, where the gradient is not finite."""
        options = self._options
        with np.errstate(all="ignore"):
            self._begin(self._t, options)
            for number, following in enumerate(self._moments[1:]):
                for span in self._spans:
                    if number < len(span.stages):
                        self._run_stage(span, number, options, zero_grad)
                self._compute(following)
                if number == 0 and skip_nonfinite and not self._is_finite():
                    return False
        for group in self._rules:
            group.memory = {name: self._values[group][name] for name in group.memory}
        return True

    def _begin(self, t: int, options: GradientOptions) -> None:
        limits = {"scale": options.scale, "max_norm": options.max_norm, "max_segment_norm": options.max_segment_norm}
        for group in self._rules:
            coefficients = group.at_step(t, group.lr * options.lr_scale)
            self._values[group] = {**group.memory, **coefficients, **limits}
        for span in self._spans:
            span.values = {}
        for moment in self._moments[:1]:
            self._compute(moment)

    def _compute(self, numbers: Iterable[Number]) -> None:
        for number in numbers:
            for group, rule in self._rules.items():
                if number in rule.numbers:
                    self._compute_for(group, rule, number)

    def _compute_for(self, group: Group, rule: Rule, number: Number) -> None:
        """Compute a number for one group, or for each of its spans."""
        totals = [name for name in number.parameters if name.startswith(TOTAL)]
        values = {**self._values[group], **{name: self._total(name.removeprefix(TOTAL), rule) for name in totals}}
        if number.name not in rule.schedule.per_segment:
            self._values[group][number.name] = evaluate(number, values)
            return
        for span in self._spans:
            if span.group is group:
                span.values[number.name] = evaluate(number, {**values, **span.values})

    def _total(self, name: str, rule: Rule) -> float:
        """Return the sum over all spans that have the same number, in the order of the layout."""
        source, total = rule.source_of(name), 0.0
        for span in self._spans:
            if name in span.values and span.rule.source_of(name) is source:
                total += span.values[name]
        return total

    def _run_stage(self, span: Span, number: int, options: GradientOptions, zero_grad: bool) -> None:
        stage, values = span.stages[number], {**self._values[span.group], **span.values}
        if isinstance(stage, Product):
            stage.run(values)
        if isinstance(stage, Pass):
            stage.put((*_prelude(span, number, values, options), *(values[name] for name in stage.sweep.numbers)))
            stage.run(zero_grad and stage is _last_over_gradient(span.stages))
            if stage.sums is not None:
                span.values.update(zip(stage.sweep.sums, stage.sums.tolist(), strict=True))

    def _is_finite(self) -> bool:
        return all(math.isfinite(span.values[GRADIENT_NORM]) for span in self._spans)


def _prelude(
    span: Span, number: int, values: Mapping[str, float], options: GradientOptions
) -> tuple[float, float, float, float]:
    """Return the numbers of the prelude.

    The stage that measures the gradient sees it as it is. Decay acts until a stage has written the parameters.
    """
    if is_limited(span.rule) and GRADIENT_FACTOR not in values:
        return 1.0, math.inf, 0.0, 1.0
    scale = values.get(GRADIENT_FACTOR, options.scale)
    if any("p" in stage.sweep.writes for stage in span.stages[:number] if isinstance(stage, Pass)):
        return scale, options.clip_value, 0.0, 1.0
    return (scale, options.clip_value, *span.group.decay(span.group.lr * options.lr_scale))


def _last_over_gradient(stages: Sequence[Pass | Product | None]) -> Pass | None:
    """Return the last sweep that reads the gradient, which may set it to zero."""
    passes = [stage for stage in stages if isinstance(stage, Pass) and "g" in stage.sweep.buffers]
    return passes[-1] if passes else None
