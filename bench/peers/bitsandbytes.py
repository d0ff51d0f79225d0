"""bitsandbytes' Adam with states of 32 bits, on the CPU."""

from __future__ import annotations

from fastopt import get_rule
from fastopt.bench.cases import StepCase
from fastopt.bench.contenders.base import Array

from .torch import TensorStepper

__all__ = ["Stepper"]


class Stepper(TensorStepper):
    """``bitsandbytes.optim``."""

    def __init__(self, case: StepCase, p: Array, g: Array) -> None:
        from bitsandbytes import optim

        super().__init__(case, p, g)
        kind = {"adam": optim.Adam, "adamw": optim.AdamW}[case.rule]
        self._optimizer = kind([self._p], **get_rule(case.rule).hyper)
        self._take = self._optimizer.step
