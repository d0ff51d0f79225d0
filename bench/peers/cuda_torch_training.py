"""PyTorch on a GPU: the loop of its tutorials, compiled, and the whole step as a captured graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastopt.bench.cases import TrainCase
from fastopt.bench.contenders.base import Array

from . import torch as torch_cpu

__all__ = ["Trainer", "why_missing"]

_WARM_UP = 3
"""Steps before a capture, as PyTorch's notes on CUDA graphs have them."""


def why_missing() -> str | None:
    """Return why PyTorch has no GPU here; None when it has."""
    import torch

    return None if torch.cuda.is_available() else "PyTorch finds no GPU"


class Trainer(torch_cpu.Trainer):
    """Training with the fused Adam, data and network on the GPU, products in true float32.

    Parameters
    ----------
    form
        ``"eager"``; ``"compiled"``: the step under ``torch.compile``; ``"graph"``: the step captured once and replayed.
    """

    def __init__(self, case: TrainCase, weights: list[Array], x: Array, y: Array, *, form: str = "eager") -> None:
        from torch.backends import cuda

        cuda.matmul.allow_tf32 = False
        captured = {"capturable": True} if form == "graph" else {}
        super().__init__(case, weights, x, y, compiled=form == "compiled", device="cuda", **captured)
        if form == "graph":
            self._step = self._captured()

    def wait(self) -> None:
        self._torch.cuda.synchronize()

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
