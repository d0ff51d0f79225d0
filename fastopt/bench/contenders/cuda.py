"""fastopt on the GPU through its public names, and the roof, which is a rule like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import Optimizer
from ...backends import Backend, get_backend
from ...runs.settings import find_rule
from ..cases import BLOCK, GpuCase
from ..roof import roof_rule
from . import base
from .base import Array
from .fastopt import Trainer

__all__ = ["ArrayStepper", "Stepper", "Trainer", "buffer_of"]


class ArrayStepper(base.DeviceStepper):
    """The common part of steps over arrays of fastopt's own device."""

    _p: Any
    _g: Any

    def load_gradient(self, g: Array) -> None:
        _fill(self._g, g)

    def parameters(self, places: Array) -> Array:
        if self._p.size > BLOCK:  # gigabytes, for a few thousand numbers
            return np.array([self._p.array[int(place)] for place in places], self._p.dtype)
        values: Array = self._p.copy_to_host()[places]
        return values

    @classmethod
    def release(cls) -> None:
        from ...backends.cuda.facts import free_unused

        free_unused()


class Stepper(ArrayStepper):
    """``Optimizer(p, rule, backend="cuda").step(g)``,"""

    def __init__(
        self,
        case: GpuCase,
        p: Array,
        g: Array,
        *,
        backend: str | Backend = "cuda",
        roof: bool = False,
    ) -> None:
        rule = find_rule(case.rule)
        if roof:
            rule = roof_rule(rule)
        self._rule, self._dtype = rule, np.dtype(case.dtype)
        self._start = p
        self._p, self._g = buffer_of(case, p), buffer_of(case, g)
        self._optimizer: Any = Optimizer(self._p, rule, backend=backend)

    def step(self) -> None:
        self._optimizer.step(self._g)

    def facts(self) -> dict[str, Any] | None:
        from ...backends.cuda.facts import pass_facts

        return pass_facts(self._rule, self._dtype)

    @classmethod
    def graph(cls, steppers: Sequence[base.DeviceStepper]) -> Callable[[], None]:
        device: Any = get_backend("cuda").device
        own = [stepper for stepper in steppers if isinstance(stepper, cls)]
        for stepper in own:
            stepper.step()  # allocates what a step needs: nothing may be allocated in a capture
            stepper.reset()

        def launch() -> None:
            for stepper in own:
                stepper._optimizer.launch(stepper._g)

        passes: Callable[[], None] = device.capture(launch, own[0]._g)

        def replay() -> None:
            for stepper in own:
                stepper._optimizer.prepare()
            passes()

        return replay

    def reset(self) -> None:
        """Reset parameters, states and memory to their values before the first step."""
        _fill(self._p, self._start)
        fresh = Optimizer(np.resize(self._start, self._p.size), self._rule, backend="reference")
        self._optimizer.load_state_dict(fresh.state_dict())


def buffer_of(case: GpuCase, block: Array) -> Any:
    """Return a buffer in the device's memory, filled with the repeated block."""
    device = get_backend("cuda").device
    assert device is not None
    buffer = device.zeros(case.size, np.dtype(case.dtype))
    _fill(buffer, block)
    return buffer


def _fill(buffer: Any, block: Array) -> None:
    """Write the block once, and repeat it by copies of all that is there, each twice as long as the one before."""
    device = get_backend("cuda").device
    assert device is not None
    filled = min(block.size, buffer.size)
    device.write(buffer[:filled], block[:filled])
    while filled < buffer.size:
        count = min(filled, buffer.size - filled)
        device.write(buffer[filled : filled + count], buffer[:count])
        filled += count
