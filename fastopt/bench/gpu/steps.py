"""The worker's end of a GPU case: optimizers over buffers in rotation, and the GPU's own clock."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from ...runs.settings import find_rule
from ..cases import GpuCase, start_block
from ..contenders import Contender, device_stepper
from ..contenders.base import DeviceStepper
from ..roof import roof_rule
from ..timing import without_gc
from ..validation import device_step_error, movement_error
from .plan import rotation

__all__ = ["GpuSteps"]

_ENOUGH = 2e-4
"""Seconds of work that are timed together."""

_MOST_CALLS = 64
"""Calls of a sample: the queue to a GPU has a thousand places, of which a step of many kernels takes some at a time."""

_MOST_SAMPLES = 20
"""In a round."""

_CALLS_OF_A_SET = 8
"""In a sample: an optimizer that sends something with each step waits where it is too far ahead."""


class GpuSteps:
    """Answers requests about GPU cases."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._steppers: Sequence[DeviceStepper] = ()
        self._once: Callable[[], None] | None = None
        self._steps = 1
        self._seconds: Callable[[Callable[[], None]], float] | None = None
        self._clock: Any = None
        self._figures: dict[str, Any] = {}

    def start(self, case: GpuCase, *, cache: int, **_: Any) -> dict[str, Any]:
        """Make the optimizers; return about how many seconds a call of the timed function takes."""
        self.stop(case)
        self._steppers = self._several(case, rotation(case, cache))
        self._once, self._steps = self._work(case)
        self._seconds = self._watch(case)
        self._figures = {"sets": len(self._steppers), "host_bound": False}
        self._run(1)
        calls = 1
        while (seconds := self._run(calls)) < _ENOUGH and calls < self._most():
            calls = min(4 * calls, self._most())
        return {"seconds_per_call": [seconds / calls]}

    def round(self, case: GpuCase, *, plans: list[tuple[int, int]]) -> dict[str, Any]:
        """Return the seconds a step of each sample, after one that is not counted."""
        calls, samples = min(plans[0][0], self._most()), min(plans[0][1], _MOST_SAMPLES)
        self._run(calls)
        with without_gc():
            seconds = [self._run(calls) / (calls * self._steps) for _ in range(samples)]
        self._figures["host_bound"] |= self._clock is not None and self._clock.behind
        return {"seconds": [seconds]}

    def check(self, case: GpuCase) -> dict[str, Any]:
        """Return the difference of the result from float64, and facts about the kernel and its timing."""
        self.stop(case)
        steppers = self._several(case, 1)
        kernel = steppers[0].facts()
        error = self._error(case, steppers)
        del steppers
        self.stop(case)
        return {"error": error, "figures": self._figures | ({"kernel": kernel} if kernel else {})}

    def stop(self, case: GpuCase) -> dict[str, Any]:
        """Release the memory."""
        self._once = self._seconds = None
        self._steppers, self._steps = (), 1
        gc.collect()  # optimizers may hold themselves in cycles, and gigabytes with them
        device_stepper(self._contender).release()
        return {}

    def _error(self, case: GpuCase, steppers: Sequence[DeviceStepper]) -> float:
        only = steppers[0]
        if case.kind == "memory":
            return movement_error(case, only)
        rule = find_rule(case.rule)
        if self._contender.role == "roof":
            rule = roof_rule(rule)
        step = type(only).graph(steppers) if case.kind == "graph" else only.step
        return device_step_error(case, rule, only, step)

    def _several(self, case: GpuCase, count: int) -> Sequence[DeviceStepper]:
        kind = device_stepper(self._contender)
        return kind.several(count, case, *start_block(case.dtype, case.size), **self._contender.options)

    def _work(self, case: GpuCase) -> tuple[Callable[[], None], int]:
        """Return the function that is timed, and how many steps one call of it takes."""
        steppers = self._steppers
        if case.kind == "graph":
            return type(steppers[0]).graph(steppers), len(steppers)
        for stepper in steppers:
            stepper.step()  # the first step makes states and whatever else is made once
        turn = cycle([stepper.step for stepper in steppers])
        return lambda: next(turn)(), 1

    def _most(self) -> int:
        """Return how many calls a sample may have."""
        return max(1, min(_MOST_CALLS, _CALLS_OF_A_SET * len(self._steppers) // self._steps))

    def _watch(self, case: GpuCase) -> Callable[[Callable[[], None]], float]:
        """Return the function that takes the time: of the host for `overhead`, of the GPU for all else."""
        if case.kind == "overhead":
            self._clock = None
            return _host_seconds
        from ...backends.cuda.clock import Clock

        self._clock = Clock()
        seconds: Callable[[Callable[[], None]], float] = self._clock.seconds
        return seconds

    def _run(self, calls: int) -> float:
        assert self._once is not None
        assert self._seconds is not None
        once = self._once

        def work() -> None:
            for _ in range(calls):
                once()

        return self._seconds(work)


def _host_seconds(work: Callable[[], None]) -> float:
    """Return how long the host takes to send work to the GPU, which is idle before."""
    from ...backends.cuda.shim import synchronize

    synchronize()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
