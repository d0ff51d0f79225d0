"""PyTorch on a GPU: the loop of its tutorials, compiled, and the whole step as a captured graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from fastopt.bench.cases import TrainCase
from fastopt.bench.contenders import base
from fastopt.bench.contenders.base import Array

from .torch import make_network

__all__ = ["Trainer", "why_missing"]

_WARM_UP = 3
"""Steps before a capture, as PyTorch's notes on CUDA graphs have them."""


def why_missing() -> str | None:
    """Return why PyTorch has no GPU here; None when it has."""
    import torch

    return None if torch.cuda.is_available() else "PyTorch finds no GPU"


class Trainer(base.Trainer):
    """Training with the fused Adam, data and network on the GPU, products in true float32.

    Parameters
    ----------
    form
        ``"eager"``; ``"compiled"``: the step under ``torch.compile``; ``"graph"``: the step captured once and replayed.
    """

    def __init__(self, case: TrainCase, weights: list[Array], x: Array, y: Array, *, form: str = "eager") -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = False
        self._torch = torch
        self._loss = torch.nn.functional.cross_entropy
        self._model = make_network(weights).cuda()
        captured = {"capturable": True} if form == "graph" else {}
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=case.lr, fused=True, **captured)
        self._x, self._y = torch.tensor(x, device="cuda"), torch.tensor(y, device="cuda")
        self._batch = case.batch
        self._step: Callable[[Any, Any], None] = self._train_step
        if form == "compiled":
            torch.compiler.reset()
            self._step = torch.compile(self._train_step)
        if form == "graph":
            self._step = self._captured()

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for x, y in self._batches():
                self._step(x, y)
        self._torch.cuda.synchronize()

    def weights(self) -> list[Array]:
        arrays = [parameter.detach().cpu().numpy().copy() for parameter in self._model.parameters()]
        return [array.T if array.ndim == 2 else array for array in arrays]

    def step_seconds(self) -> list[float]:
        seconds = []
        for x, y in self._batches():
            self._torch.cuda.synchronize()
            start = time.perf_counter()
            self._step(x, y)
            self._torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return seconds

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(self._x), self._batch):
            yield self._x[start : start + self._batch], self._y[start : start + self._batch]

    def _train_step(self, x: Any, y: Any) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(self._model(x), y).backward()
        self._optimizer.step()

    def _captured(self) -> Callable[[Any, Any], None]:
        """Return the step as a graph. The steps of the warm-up are undone, since all contenders start alike."""
        torch = self._torch
        x, y = self._x[: self._batch].clone(), self._y[: self._batch].clone()
        start = [parameter.detach().clone() for parameter in self._model.parameters()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._train_step(x, y)
        torch.cuda.current_stream().wait_stream(side)
        self._optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._loss(self._model(x), y).backward()
            self._optimizer.step()
        with torch.no_grad():
            for parameter, value in zip(self._model.parameters(), start, strict=True):
                parameter.copy_(value)
                for state in self._optimizer.state[parameter].values():
                    state.zero_()

        def step(inputs: Any, targets: Any) -> None:
            if len(inputs) == len(x):
                x.copy_(inputs)
                y.copy_(targets)
                graph.replay()
            else:  # an epoch's last batch, which may be smaller
                self._train_step(inputs, targets)

        return step
