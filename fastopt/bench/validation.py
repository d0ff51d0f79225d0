"""Whether timed steps and trainings are right: the same again from the same start, compared in float64.

A step is compared with the reference backend on a sample of the elements; every element is updated alike. A training is
compared by its loss with a plain NumPy one that is written here, from the textbook.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import Optimizer, Rule
from ..runs.settings import find_rule
from .cases import GpuCase, StepCase, TrainCase, start_block, start_buffers, start_weights, training_data
from .contenders.base import DeviceStepper, Stepper

__all__ = [
    "LOSS_TOLERANCE",
    "STEP_TOLERANCE",
    "check_steps",
    "device_step_error",
    "mean_loss",
    "movement_error",
    "step_error",
    "step_tolerance",
    "train_reference",
]

Array = NDArray[Any]

STEP_TOLERANCE = {"float32": 1e-3, "float64": 1e-6}
"""Largest error of a parameter, as a share of the largest change. Rounding gives a hundredth of it."""

_BFLOAT16_TOLERANCE = 2e-2
"""The same where states are bfloat16, as they are in the reference: a number in the middle of two may become either."""

LOSS_TOLERANCE = 0.01
"""Largest error of the loss, as a share of how far the reference's has moved."""

_SCALES = (1.0, -0.5, 2.0, 0.25, -1.5)
"""Factors on the gradient from step to step: with a constant one, bias corrections hide the betas of Adam."""

_SAMPLE = 4099
_LOSS_ROWS = 1024


def step_error(case: StepCase, make: Callable[[StepCase, Array, Array], Stepper]) -> float:
    """Return the largest error of a parameter after some steps, as a share of the largest change; NaN for NaN."""
    p, g = start_buffers(case)
    chosen = _sample(case.size) if find_rule(case.rule).is_local else np.arange(case.size)
    before = p[chosen].astype(np.float64)
    norm = None if case.max_norm is None else math.sqrt(float(np.sum(np.square(g, dtype=np.float64))))
    start = p[chosen] if case.states == "bfloat16" else before.copy()  # with states of bfloat16 p is float32
    expected = _reference(find_rule(case.rule), start, g[chosen], norm, case.max_norm, case.states)
    stepper = make(case, p, g)
    for scale in _SCALES:
        stepper.load_gradient(g * g.dtype.type(scale))
        stepper.run(1)
    return _share(stepper.parameters()[chosen], expected, before)


def device_step_error(case: GpuCase, rule: Rule, stepper: DeviceStepper, step: Callable[[], None]) -> float:
    """Return the same of a GPU's optimizer that has taken no step, whose steps `step` takes by that rule."""
    p, g = start_block(case.dtype, case.size)
    chosen = _sample(case.size)
    before = p[chosen % p.size].astype(np.float64)
    expected = _reference(rule, before.copy(), g[chosen % g.size])
    for scale in _SCALES:
        stepper.load_gradient(g * g.dtype.type(scale))
        step()
    return _share(stepper.parameters(chosen), expected, before)


def movement_error(case: GpuCase, stepper: DeviceStepper) -> float:
    """Return the largest error of a movement."""
    p, g = start_block(case.dtype, case.size)
    chosen = _sample(case.size) % p.size
    expected = g[chosen] + 2.0 * p[chosen].astype(np.float64) if case.rule == "triad" else g[chosen]
    stepper.step()
    return _share(stepper.parameters(_sample(case.size)), expected, p[chosen].astype(np.float64))


def _sample(size: int) -> Array:
    return np.linspace(0, size - 1, min(size, _SAMPLE)).astype(np.int64)


def _share(found: Array, expected: Array, before: Array) -> float:
    """Return the largest error as a share of the largest change.

    What the dtype cannot hold is no error: each step rounds a parameter to half a unit of its last place.
    """
    largest = float(np.max(np.abs(expected - before)))
    rounding = len(_SCALES) * 0.5 * np.finfo(found.dtype).eps * np.abs(expected)
    errors = np.abs(found.astype(np.float64) - expected) - rounding
    return max(0.0, float(np.max(errors))) / (largest or 1.0) if np.isfinite(errors).all() else math.nan


def _reference(
    rule: Rule,
    p: Array,
    g: Array,
    norm: float | None = None,
    max_norm: float | None = None,
    states: str | None = None,
) -> Array:
    optimizer = Optimizer(p, rule, backend="reference", threads=1, states=states)
    sample = g.astype(p.dtype)
    for scale in _SCALES:
        limited = 1.0
        if norm is not None and max_norm is not None:
            limited = min(1.0, max_norm / (norm * abs(scale) + 1e-6))
        optimizer.step(sample * p.dtype.type(scale), grad_scale=limited)
    return p.astype(np.float64)


def mean_loss(weights: Sequence[Array], x: Array, y: Array) -> float:
    """Return the mean softmax cross-entropy of a relu network, in float64, over the first rows."""
    outputs = _forward([w.astype(np.float64) for w in weights], x[:_LOSS_ROWS].astype(np.float64))[-1]
    top = outputs.max(axis=1)
    logs = np.log(np.exp(outputs - top[:, None]).sum(axis=1)) + top
    return float(np.mean(logs - outputs[np.arange(len(outputs)), y[:_LOSS_ROWS]]))


def step_tolerance(case: StepCase | GpuCase) -> float:
    """Return the largest error that a step's result may have."""
    has_bfloat16 = isinstance(case, StepCase) and case.states == "bfloat16" and find_rule(case.rule).states
    return _BFLOAT16_TOLERANCE if has_bfloat16 else STEP_TOLERANCE[case.dtype]


def check_steps(case: TrainCase) -> int:
    """Return after how many steps the losses are compared: few, since rounding grows from step to step."""
    return min(10, case.rows // case.batch)


@cache
def train_reference(case: TrainCase) -> tuple[float, float]:
    """Return the loss before and after :func:`check_steps`, by gradient, Adam and arithmetic of NumPy in float64."""
    x, y = training_data(case)
    weights = [w.astype(np.float64) for w in start_weights(case.sizes)]
    before = mean_loss(weights, x, y)
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    for step in range(check_steps(case)):
        rows = slice(step * case.batch, (step + 1) * case.batch)
        gradients = _gradients(weights, x[rows].astype(np.float64), y[rows])
        for w, g, m, v in zip(weights, gradients, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= case.lr * (m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
    return before, mean_loss(weights, x, y)


def _forward(weights: Sequence[Array], x: Array) -> list[Array]:
    layers = [x]
    for number in range(0, len(weights), 2):
        layers.append(np.maximum(layers[-1], 0.0) @ weights[number] + weights[number + 1])
    return layers


def _gradients(weights: Sequence[Array], x: Array, y: Array) -> list[Array]:
    layers = _forward(weights, x)  # inputs are not negative: relu leaves them
    exponentials = np.exp(layers[-1] - layers[-1].max(axis=1, keepdims=True))
    delta = exponentials / exponentials.sum(axis=1, keepdims=True)
    delta[np.arange(len(y)), y] -= 1.0
    delta /= len(y)
    gradients: list[Array] = []
    for number in reversed(range(len(weights) // 2)):
        gradients = [np.maximum(layers[number], 0.0).T @ delta, delta.sum(axis=0), *gradients]
        delta = (delta @ weights[2 * number].T) * (layers[number] > 0)
    return gradients
