"""The device's memory: copies and a triad between buffers, which no pass can be faster than."""

from __future__ import annotations

from ..cases import GpuCase
from .base import Array
from .cuda import ArrayStepper, buffer_of

__all__ = ["Stepper"]


class Stepper(ArrayStepper):
    """A movement into the first buffer from the second and, of a triad, the third."""

    def __init__(self, case: GpuCase, p: Array, g: Array) -> None:
        from ...backends.cuda.movements import MOVEMENTS, WIDTH, bind_movement

        if case.size % WIDTH:
            raise ValueError(f"size: got {case.size}, expected a multiple of {WIDTH}, the elements of a vector")
        self._p, self._g = buffer_of(case, p), buffer_of(case, g)
        others = [self._g, *(buffer_of(case, p) for _ in range(MOVEMENTS[case.rule] - 2))]
        self._move = bind_movement(case.rule, (self._p, *others))

    def step(self) -> None:
        self._move()
