"""PyTorch on the CPU: its loop, its horizontally and its vertically fused optimizers, and ``torch.compile``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from fastopt import get_rule
from fastopt.bench.cases import StepCase, TrainCase
from fastopt.bench.contenders import base
from fastopt.bench.contenders.base import Array

__all__ = ["OPTIMIZERS", "Stepper", "TensorStepper", "Trainer", "make_network"]

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {}),
    "nesterov": ("SGD", {"nesterov": True}),
    "adagrad": ("Adagrad", {}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_momentum": ("RMSprop", {}),
    "rmsprop_centered": ("RMSprop", {"centered": True}),
    "rmsprop_centered_momentum": ("RMSprop", {"centered": True}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {}),
}
"""Rule to PyTorch's class and further options; the hyper-parameters have PyTorch's names already."""


class TensorStepper(base.Stepper):
    """Any optimizer with PyTorch's interface over one tensor."""

    def __init__(self, case: StepCase, p: Array, g: Array) -> None:
        import torch

        torch.set_num_threads(case.threads)
        self._max_norm = case.max_norm
        self._clip = torch.nn.utils.clip_grad_norm_
        self._p = torch.nn.Parameter(torch.tensor(p))
        self._p.grad = torch.tensor(g)
        self._foreach: bool | None = None
        self._optimizer: Any = None
        self._take: Callable[[], Any] | None = None

    def step(self) -> None:
        assert self._take is not None
        if self._max_norm is not None:
            self._clip([self._p], self._max_norm, foreach=self._foreach)
        self._take()

    def load_gradient(self, g: Array) -> None:
        self._p.grad.numpy()[:] = g

    def fill_state(self, value: float) -> None:
        for state in self._optimizer.state[self._p].values():
            if getattr(state, "shape", None) == self._p.shape:
                state.fill_(value)

    def parameters(self) -> Array:
        values: Array = self._p.detach().numpy()
        return values


class Stepper(TensorStepper):
    """``torch.optim`` in one of its forms."""

    def __init__(
        self, case: StepCase, p: Array, g: Array, *, compiled: bool = False, flush_denormal: bool = False, **form: bool
    ) -> None:
        import torch

        torch.set_flush_denormal(flush_denormal)  # before there are threads: they take it over
        super().__init__(case, p, g)
        name, extra = OPTIMIZERS[case.rule]
        hyper = get_rule(case.rule).hyper
        self._foreach = form.get("foreach")
        self._optimizer = getattr(torch.optim, name)([self._p], **hyper, **extra, **form)
        self._take = self._optimizer.step
        if compiled:
            torch.compiler.reset()  # without it torch takes a case for a change of the last one, and runs it uncompiled
            self._take = torch.compile(lambda: self._optimizer.step())


class Trainer(base.Trainer):
    """The loop of PyTorch's tutorials, with the fused Adam."""

    def __init__(
        self,
        case: TrainCase,
        weights: list[Array],
        x: Array,
        y: Array,
        *,
        compiled: bool = False,
        flush_denormal: bool = False,
        device: str = "cpu",
        **adam: bool,
    ) -> None:
        import torch

        torch.set_num_threads(case.threads)
        torch.set_flush_denormal(flush_denormal)
        self._torch = torch
        self._loss = torch.nn.functional.cross_entropy
        self._model = make_network(weights).to(device)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=case.lr, fused=True, **adam)
        self._x, self._y = torch.tensor(x, device=device), torch.tensor(y, device=device)
        self._batch = case.batch
        self._step: Callable[[Any, Any], None] = self._train_step
        if compiled:
            torch.compiler.reset()
            self._step = torch.compile(self._train_step)

    def wait(self) -> None:
        """Return when all steps are done."""
        return

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, y in self._batches():
                self._step(x, y)
        self.wait()

    def weights(self) -> list[Array]:
        arrays = [parameter.detach().cpu().numpy().copy() for parameter in self._model.parameters()]
        return [array.T if array.ndim == 2 else array for array in arrays]

    def step_seconds(self) -> list[float]:
        seconds = []
        for x, y in self._batches():
            self.wait()
            start = time.perf_counter()
            self._step(x, y)
            self.wait()
            seconds.append(time.perf_counter() - start)
        return seconds

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(self._x), self._batch):
            yield self._x[start : start + self._batch], self._y[start : start + self._batch]

    def _train_step(self, x: Any, y: Any) -> None:
        self._optimizer.zero_grad()
        self._loss(self._model(x), y).backward()
        self._optimizer.step()


def make_network(weights: list[Array]) -> Any:
    """Return the network of linear layers and relu that has these weights."""
    import torch
    from torch import nn

    layers: list[Any] = []
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        linear = nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(weight.T))
            linear.bias.copy_(torch.tensor(bias))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
