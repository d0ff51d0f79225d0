"""PyTorch on the GPU: its fused and its foreach optimizers, and ``torch.compile`` of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastopt import get_rule
from fastopt.bench.cases import GpuCase
from fastopt.bench.contenders import base
from fastopt.bench.contenders.base import Array, repeated

from .torch import OPTIMIZERS

__all__ = ["Stepper", "why_missing"]

_CAPTURABLE = ("Adam", "AdamW", "RMSprop")
"""Optimizers that need an option to be captured. The others count no steps, or cannot be captured."""


def why_missing() -> str | None:
    """Return why there is no PyTorch for the GPU here; None where there is."""
    import torch

    return None if torch.cuda.is_available() else f"PyTorch {torch.__version__} sees no GPU"


class Stepper(base.DeviceStepper):
    """``torch.optim`` over one tensor in one of its forms."""

    def __init__(
        self, case: GpuCase, p: Array, g: Array, *, compiled: bool = False, device: str = "cuda", **form: bool
    ) -> None:
        import torch

        name, extra = OPTIMIZERS[case.rule]
        if case.kind == "graph" and name in _CAPTURABLE:
            form = {**form, "capturable": True}
        self._p = torch.nn.Parameter(torch.empty(case.size, dtype=getattr(torch, case.dtype), device=device))
        self._p.grad = torch.empty_like(self._p)
        self._start = p
        self._fill(self._p, p)
        self._fill(self._p.grad, g)
        self._optimizer = getattr(torch.optim, name)([self._p], **get_rule(case.rule).hyper, **extra, **form)
        self._take: Callable[[], Any] = self._optimizer.step
        if compiled:
            torch.compiler.reset()  # without it torch takes a case for a change of the last one, and runs it uncompiled
            self._take = torch.compile(self._optimizer.step)

    def step(self) -> None:
        self._take()

    def load_gradient(self, g: Array) -> None:
        self._fill(self._p.grad, g)

    def parameters(self, places: Array) -> Array:
        import torch

        chosen = torch.from_numpy(np.asarray(places, np.int64)).to(self._p.device)
        values: Array = self._p.detach()[chosen].cpu().numpy()
        return values

    @classmethod
    def several(cls, count: int, *arguments: Any, **options: Any) -> Sequence[base.DeviceStepper]:
        if not options.get("compiled") or count == 1:
            return super().several(count, *arguments, **options)
        first = cls(*arguments, **options)
        first.step()  # its states are made with the first step
        others = (cls(*arguments, **{**options, "compiled": False}) for _ in range(count - 1))
        return [_Swapped(first, own) for own in (first, *others)]

    @classmethod
    def graph(cls, steppers: Sequence[base.DeviceStepper]) -> Callable[[], None]:
        import torch

        own = [stepper for stepper in steppers if isinstance(stepper, Stepper)]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for stepper in own:
                stepper.step()  # makes its states, which a replay must not make again
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for stepper in own:
                stepper.step()
        for stepper in own:
            stepper.reset()
        replay: Callable[[], None] = graph.replay
        return replay

    @classmethod
    def release(cls) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def reset(self) -> None:
        """Reset parameters and states to their values before the first step."""
        import torch

        self._fill(self._p, self._start)
        for state in self.tensors()[2:]:
            with torch.no_grad():
                state.zero_()

    def tensors(self) -> list[Any]:
        """Return the parameters, the gradient, and the states that there are by now."""
        import torch

        states = self._optimizer.state[self._p].values()
        return [self._p, self._p.grad, *(state for state in states if isinstance(state, torch.Tensor))]

    def _fill(self, tensor: Any, block: Array) -> None:
        import torch

        source = torch.from_numpy(block).to(tensor.device)
        with torch.no_grad():
            for where, part in repeated(tensor.numel(), block.size):
                tensor[where] = source[part]


class _Swapped(base.DeviceStepper):
    """One of several sets of buffers for an optimizer that is compiled once: its tensors change their memory."""

    def __init__(self, compiled: Stepper, own: Stepper) -> None:
        if own is not compiled:
            own.step()
        self._compiled = compiled
        self._pairs = [
            (shell, tensor.data)
            for shell, tensor in zip(compiled.tensors(), own.tensors(), strict=True)
            if shell.shape == own.tensors()[0].shape
        ]

    def step(self) -> None:
        self._swap_in().step()

    def load_gradient(self, g: Array) -> None:
        self._swap_in().load_gradient(g)

    def parameters(self, places: Array) -> Array:
        return self._swap_in().parameters(places)

    def _swap_in(self) -> Stepper:
        for shell, memory in self._pairs:
            shell.data = memory
        return self._compiled
