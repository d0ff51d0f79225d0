"""The ways to take training steps: updating inside the backward pass, gradient first, or in NumPy.

The first two give the same bits; NumPy's own differ by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backends import DenseSpec, NetworkSpec, Trainer
from ..optim import Optimizer
from .batches import Batches

if TYPE_CHECKING:
    from .mlp import MLP

__all__ = ["Steps", "make_steps"]

_GROUPS = ("weight", "bias")


class Steps(Protocol):
    """Takes the steps of one training."""

    @property
    def many(self) -> bool:
        """Whether one call may take many steps."""

    def begin(self) -> None:
        """Take the model's parameters as they are now."""

    def end(self) -> None:
        """Give the model its parameters as they are now."""

    def take(
        self, rows: NDArray[np.int64], batch: int, lr_scales: Sequence[float], loss: float
    ) -> tuple[float, int | None]:
        """Take a step for each of `lr_scales`; return `loss` plus the rows' losses, and how many rows were right."""


def make_steps(model: MLP, optimizer: Optimizer, batches: Batches) -> Steps:
    """Return the fastest way that the backend, the optimizer and the data allow."""
    trainer = optimizer.trainer(_network(model))
    if trainer is None:
        return _InNumPy(model, optimizer, batches)
    by_group = optimizer.layout is model.layout or len(optimizer.layout) == 1
    if optimizer.needs_whole_gradient or not by_group:
        return _GradientFirst(model, optimizer, batches, trainer)
    return _UpdateInBackward(model, optimizer, batches, trainer)


class _InNumPy:
    many = False

    def __init__(self, model: MLP, optimizer: Optimizer, batches: Batches) -> None:
        self._model, self._optimizer, self._batches = model, optimizer, batches

    def begin(self) -> None:
        return

    def end(self) -> None:
        return

    def take(
        self, rows: NDArray[np.int64], batch: int, lr_scales: Sequence[float], loss: float
    ) -> tuple[float, int | None]:
        (self._optimizer.lr_scale,) = lr_scales
        mean, correct = self._model.step_gradient(self._batches.load(rows), count_correct=True)
        self._optimizer.step(self._model.gradients)
        return loss + mean * len(rows), correct


class _Compiled:
    """What the compiled ways share: the data as the trainer takes it."""

    def __init__(self, model: MLP, optimizer: Optimizer, batches: Batches, trainer: Trainer) -> None:
        self._model, self._optimizer, self._batches, self._trainer = model, optimizer, batches, trainer
        self._buffers = (optimizer.parameters, *optimizer.state.values())

    def begin(self) -> None:
        if self._optimizer.on_device:
            self._optimizer.write_parameters(self._model.parameters)

    def end(self) -> None:
        if self._optimizer.on_device:
            self._optimizer.read_parameters(self._model.parameters)

    def _run(
        self, gradients: NDArray[Any] | None, rows: NDArray[np.int64], batch: int, coefficients: Any, loss: float
    ) -> tuple[float, int | None]:
        inputs, targets = self._batches.inputs, self._batches.targets
        if inputs is None:  # on disk: this one batch is brought in
            count = self._batches.load(rows)
            workspace = self._model.workspace
            inputs, targets, rows = workspace.inputs[:count], workspace.targets[:count], np.arange(count)
        loss, correct = self._trainer(self._buffers, gradients, inputs, targets, rows, batch, coefficients, loss)
        return loss, correct if self._model.loss.counts_correct(targets) else None


class _GradientFirst(_Compiled):
    many = False

    def __init__(self, model: MLP, optimizer: Optimizer, batches: Batches, trainer: Trainer) -> None:
        super().__init__(model, optimizer, batches, trainer)
        self._gradients = optimizer.new_gradients() if optimizer.on_device else model.gradients
        self._unused = np.zeros_like(optimizer.next_coefficients([1.0], _GROUPS))

    def take(
        self, rows: NDArray[np.int64], batch: int, lr_scales: Sequence[float], loss: float
    ) -> tuple[float, int | None]:
        (self._optimizer.lr_scale,) = lr_scales
        result = self._run(self._gradients, rows, batch, self._unused, loss)
        self._optimizer.step(self._gradients)
        return result


class _UpdateInBackward(_Compiled):
    @property
    def many(self) -> bool:
        return self._batches.inputs is not None

    def take(
        self, rows: NDArray[np.int64], batch: int, lr_scales: Sequence[float], loss: float
    ) -> tuple[float, int | None]:
        coefficients = self._optimizer.next_coefficients(lr_scales, _GROUPS)
        result = self._run(None, rows, batch, coefficients, loss)
        self._optimizer.count_steps(lr_scales)
        return result


def _network(model: MLP) -> NetworkSpec:
    layers = []
    for number, layer in enumerate(model.layers):
        n_in, n_out = layer.weight.shape
        offset = model.layout.segments[2 * number].offset
        layers.append(DenseSpec(n_in, n_out, offset, layer.activation.element))
    return NetworkSpec(tuple(layers), model.loss.element, model.config["kink"])
