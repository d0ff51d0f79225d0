"""fastopt itself, through its public names, and the roof, which is a rule like any other."""

from __future__ import annotations

import time
from itertools import pairwise

from ... import MLP, Optimizer
from ...data import Dataset
from ...runs.settings import find_rule
from ...train import Training
from ..cases import StepCase, TrainCase
from ..roof import roof_rule
from . import base
from .base import Array

__all__ = ["Stepper", "Trainer"]


class Stepper(base.Stepper):
    """``Optimizer(p, rule).step(g)``."""

    def __init__(self, case: StepCase, p: Array, g: Array, *, backend: str | None = None, roof: bool = False) -> None:
        rule = find_rule(case.rule)
        if roof:
            rule = roof_rule(rule)
        self._p, self._g = p, g
        self._optimizer = Optimizer(
            p, rule, backend=backend, threads=case.threads, max_norm=case.max_norm, states=case.states
        )

    def step(self) -> None:
        self._optimizer.step(self._g)

    def load_gradient(self, g: Array) -> None:
        self._g = g

    def fill_state(self, value: float) -> None:
        for state in self._optimizer.state.values():
            state.fill(value)

    def parameters(self) -> Array:
        return self._p


class Trainer(base.Trainer):
    """``MLP.fit`` without its progress bar, kept open between rounds as ``fastopt train`` keeps it."""

    def __init__(
        self, case: TrainCase, weights: list[Array], x: Array, y: Array, *, backend: str | None = None
    ) -> None:
        self._model = MLP(case.sizes)
        for name, values in zip(self._names(), weights, strict=True):
            self._model[name][...] = values
        optimizer = self._model.make_optimizer("adam", backend=backend, threads=case.threads, lr=case.lr)
        self._training = Training(
            self._model,
            optimizer,
            Dataset(x, y, None, "synthetic", "arrays"),
            batch_size=case.batch,
            sampling="sequential",
            epochs=0,
        )

    def run(self, epochs: int) -> None:
        self._training.epochs += epochs
        for _ in self._training.run():
            pass

    def weights(self) -> list[Array]:
        return [self._model[name].copy() for name in self._names()]

    def step_seconds(self) -> list[float] | None:
        if self._training.optimizer.on_device:  # looking at each step would copy the parameters to the host
            return None
        ends = [time.perf_counter()]
        self._training.epochs += 1
        for _ in self._training.run(lambda position: ends.append(time.perf_counter())):
            pass
        return [end - start for start, end in pairwise(ends)]

    def _names(self) -> list[str]:
        return [segment.name for segment in self._model.layout]
