"""CuPy: the update as an ``ElementwiseKernel``, as its users write one."""

from __future__ import annotations

from typing import Any

from fastopt import get_rule
from fastopt.bench.cases import GpuCase
from fastopt.bench.contenders import base
from fastopt.bench.contenders.base import Array, repeated

__all__ = ["RULES", "Stepper", "why_missing"]

_MOMENTUM = "b = momentum * b + one_minus_dampening * g; p -= step_size * b"
_ADAM = """
m += (g - m) * one_minus_beta1;
v = beta2 * v + one_minus_beta2 * g * g;
p -= step_size * m / (sqrt(v) * inv_sqrt_correction2 + eps)
"""

RULES = {
    "sgd": ((), "p -= lr * g"),
    "momentum": (("b",), _MOMENTUM),
    "adam": (("m", "v"), _ADAM),
    "adamw": (("m", "v"), f"p *= decay_factor; {_ADAM}"),
}
"""Rule to the names of its states and its code; the other names are the rule's coefficients."""


def why_missing() -> str | None:
    """Return why there is no CuPy for the GPU here; None where there is."""
    import cupy

    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__}: {error}"
    return None


class Stepper(base.DeviceStepper):
    """One kernel over the parameters, the gradient and the states."""

    def __init__(self, case: GpuCase, p: Array, g: Array) -> None:
        import cupy

        self._rule = get_rule(case.rule)
        names, code = RULES[case.rule]
        decoupled = ("decay_factor",) if self._rule.decay == "decoupled" else ()
        inputs = ", ".join(f"T {name}" for name in ("g", *self._rule.stages[0].numbers, *decoupled))
        outputs = ", ".join(f"T {name}" for name in ("p", *names))
        self._kernel = cupy.ElementwiseKernel(inputs, outputs, code, f"{case.rule}_step", no_return=True)
        self._p, self._g = (cupy.empty(case.size, case.dtype) for _ in range(2))
        self._states = [cupy.zeros(case.size, case.dtype) for _ in names]
        self._real, self._t = self._p.dtype.type, 0
        self._fill(self._p, p)
        self._fill(self._g, g)

    def step(self) -> None:
        self._t += 1
        hyper: Any = self._rule.hyper
        values = self._rule.coefficients_at(self._t, hyper)
        coefficients = tuple(values[name] for name in self._rule.stages[0].numbers)
        if self._rule.decay == "decoupled":
            coefficients = (*coefficients, 1.0 - hyper["lr"] * hyper["weight_decay"])
        self._kernel(self._g, *map(self._real, coefficients), self._p, *self._states)

    def load_gradient(self, g: Array) -> None:
        self._fill(self._g, g)

    def parameters(self, places: Array) -> Array:
        import cupy

        values: Array = cupy.asnumpy(self._p[cupy.asarray(places)])
        return values

    @classmethod
    def release(cls) -> None:
        import cupy

        cupy.get_default_memory_pool().free_all_blocks()

    def _fill(self, array: Any, block: Array) -> None:
        import cupy

        source = cupy.asarray(block)
        for where, part in repeated(array.size, block.size):
            array[where] = source[part]
