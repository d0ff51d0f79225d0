"""fastopt's pass on the GPU with another number of elements a thread."""

from __future__ import annotations

from typing import Any, cast

from fastopt.backends import Backend
from fastopt.bench.cases import GpuCase
from fastopt.bench.contenders import cuda
from fastopt.bench.contenders.base import Array

__all__ = ["Stepper"]


class Stepper(cuda.Stepper):
    """``Optimizer(p, rule, backend=CudaBackend(elements)).step(g)``."""

    def __init__(self, case: GpuCase, p: Array, g: Array, *, elements: int) -> None:
        from fastopt.backends.cuda.backend import CudaBackend

        super().__init__(case, p, g, backend=cast(Backend, CudaBackend(elements)))  # whose arrays are not NumPy's
        self._elements = elements

    def facts(self) -> dict[str, Any] | None:
        from fastopt.backends.cuda.facts import pass_facts

        return pass_facts(self._rule, self._dtype, self._elements)
