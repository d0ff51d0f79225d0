"""An optimizer's step as stages within a training step: the update that a backend compiles, and what it is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._constants import KEY_NUMBERS
from ..backends import SpanSpec, StagedUpdate, key_of
from ..optim import Group, Optimizer
from ..rules import TOTAL, Sweep
from ..rules.frame import GIVEN

__all__ = ["StagedNumbers", "staged_update"]

_NO_KEY = (0.0,) * KEY_NUMBERS
"""What stands in the place of a key where nothing is rounded at random."""


def staged_update(optimizer: Optimizer) -> StagedUpdate | None:
    """Return the update of the optimizer; None where the host has to do a part of it.

    That is a matrix stage, a look at whether the gradient is finite, a gradient that is set to zero, or rules that
    differ between groups.
    """
    spans = optimizer.parts.spans.list
    rule, groups = spans[0].rule, _groups(optimizer)
    same = all(
        span.rule.stages == rule.stages
        and span.rule.numbers == rule.numbers
        and list(span.rule.coefficients_at(1)) == list(rule.coefficients_at(1))
        for span in spans
    )
    sweeps_only = all(isinstance(stage, Sweep) for stage in rule.stages)
    if not same or not sweeps_only or optimizer.skip_nonfinite or optimizer.zero_grad:
        return None
    specs = (SpanSpec(span.where.start, span.size, groups.index(span.group)) for span in spans)
    totals = any(name.startswith(TOTAL) for number in rule.numbers for name in number.parameters)
    return StagedUpdate(
        rule, tuple(optimizer.state), tuple(specs), by_layer=len(spans) == len(optimizer.layout) and not totals
    )


class StagedNumbers:
    """What the steps of an update are given, and the memory of its groups, in float64."""

    def __init__(self, optimizer: Optimizer, update: StagedUpdate) -> None:
        self._optimizer, self._groups, self._memory = optimizer, _groups(optimizer), update.frame.memory
        self._seed, self._is_random = optimizer.parts.seed, optimizer.parts.storage.is_random
        self._coefficients = update.frame.given[len(GIVEN) :]

    def given(self, lr_scales: Sequence[float]) -> NDArray[np.float64]:
        """Return the numbers that the coming steps are given, of shape (steps, groups, numbers)."""
        scale, _, clip_value, max_norm, max_segment_norm = self._optimizer.options()
        common = (1.0, np.inf, 0.0, clip_value, scale, max_norm, max_segment_norm)
        rows = []
        for t, factor in enumerate(lr_scales, self._optimizer.steps + 1):
            key = key_of(self._seed, t) if self._is_random else _NO_KEY
            rows.append([(*common, *self._own(group, t, group.lr * factor, key)) for group in self._groups])
        return np.array(rows)

    def _own(self, group: Group, t: int, lr: float, key: tuple[float, ...]) -> tuple[float, ...]:
        """Return what a group is given at step t, after what all are."""
        values = group.at_step(t, lr)
        return (*group.decay(lr), *key, *(values[name] for name in self._coefficients))

    def memory(self) -> NDArray[np.float64]:
        """Return the memory of the groups, of shape (groups, memories)."""
        self._optimizer.parts.step.save_memory()
        rows = [[group.memory[name] for name in self._memory] for group in self._groups]
        return np.array(rows, np.float64).reshape(len(self._groups), len(self._memory))

    def keep(self, memory: NDArray[np.float64]) -> None:
        """Give the groups their memory after the steps."""
        for group, row in zip(self._groups, memory.tolist(), strict=True):
            group.memory = dict(zip(self._memory, row, strict=True))
        self._optimizer.parts.step.load_memory()


def _groups(optimizer: Optimizer) -> list[Group]:
    return list(dict.fromkeys(span.group for span in optimizer.parts.spans.list))
