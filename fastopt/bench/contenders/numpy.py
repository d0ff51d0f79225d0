"""NumPy: Adam as its users write it, in place and without temporaries."""

from __future__ import annotations

import math

import numpy as np

from ... import get_rule
from ..cases import StepCase
from . import base
from .base import Array

__all__ = ["Stepper"]


class Stepper(base.Stepper):
    """Adam and AdamW in ufuncs with ``out=``."""

    def __init__(self, case: StepCase, p: Array, g: Array) -> None:
        rule = get_rule(case.rule)
        self._hyper = {name: value for name, value in rule.hyper.items() if isinstance(value, float)}
        self._decoupled = rule.decay == "decoupled"
        self._max_norm = case.max_norm
        self._p, self._g = p, g
        self._m, self._v, self._a, self._b = (np.zeros_like(p) for _ in range(4))
        self._t = 0

    def step(self) -> None:
        p, g, m, v, a, b = self._p, self._g, self._m, self._v, self._a, self._b
        lr, eps, decay = self._hyper["lr"], self._hyper["eps"], self._hyper["weight_decay"]
        self._t += 1
        if self._max_norm is not None:
            g = np.multiply(g, min(1.0, self._max_norm / (float(np.linalg.norm(g)) + 1e-6)), out=b)
        if self._decoupled:
            p *= 1.0 - lr * decay
        np.multiply(g, g, out=a)
        a *= 1.0 - 0.999
        v *= 0.999
        v += a
        np.multiply(g, 1.0 - 0.9, out=a)
        m *= 0.9
        m += a
        np.sqrt(v, out=a)
        a /= math.sqrt(1.0 - 0.999**self._t)
        a += eps
        np.divide(m, a, out=a)
        a *= lr / (1.0 - 0.9**self._t)
        p -= a

    def load_gradient(self, g: Array) -> None:
        self._g = g

    def fill_state(self, value: float) -> None:
        self._m.fill(value)
        self._v.fill(value)

    def parameters(self) -> Array:
        return self._p
