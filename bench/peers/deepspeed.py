"""DeepSpeed's Adam for the CPU, which is compiled on its first use."""

from __future__ import annotations

from fastopt import get_rule
from fastopt.bench.cases import StepCase
from fastopt.bench.contenders.base import Array

from .torch import TensorStepper

__all__ = ["Stepper"]


class Stepper(TensorStepper):
    """``DeepSpeedCPUAdam``."""

    def __init__(self, case: StepCase, p: Array, g: Array) -> None:
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        super().__init__(case, p, g)
        hyper = dict(get_rule(case.rule).hyper)
        self._optimizer = DeepSpeedCPUAdam([self._p], adamw_mode=case.rule == "adamw", **hyper)
        self._take = self._optimizer.step
