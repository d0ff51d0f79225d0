"""Programs: an optimizer bound to a model and its data, so that one call takes training steps.

A program updates inside the backward pass, or computes the whole gradient first, both in compiled code and with the
same bits; or it computes the gradient in NumPy, which differs by rounding. This is the only module that knows where an
optimizer keeps its parameters and how a backend trains a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, DenseSpec, NetworkSpec, Trainer, backend_of
from ..nn import Network
from ..optim import Optimizer
from ..rules import Rule
from .batches import Batches

__all__ = ["Program", "make_optimizer", "make_program"]

_GROUPS = ("weight", "bias")


def make_optimizer(
    model: Network, rule: str | Rule = "adam", *, backend: str | Backend | None = None, **options: Any
) -> Optimizer:
    """Return an optimizer over the model's parameters, or over a copy of them where the backend has its own memory."""
    device = backend_of(backend).device
    parameters = model.parameters
    if not device.is_host:
        parameters = device.zeros(parameters.size, model.dtype)
        device.write(parameters, model.parameters)
    return Optimizer(parameters, rule, layout=model.layout, backend=backend, **options)


def make_program(model: Network, optimizer: Optimizer, batches: Batches) -> Program:
    """Return the fastest program that the backend, the optimizer and the data allow.

    Raises
    ------
    ValueError
        The optimizer updates parameters other than the model's.
    """
    own = optimizer.layout is model.layout if optimizer.on_device else optimizer.parameters is model.parameters
    if not own:
        raise ValueError("optimizer: it updates other parameters; make it with model.make_optimizer(...)")
    trainer = optimizer.trainer(_network(model))
    if trainer is None:
        return _NumPyProgram(model, optimizer, batches)
    by_group = optimizer.layout is model.layout or len(optimizer.layout) == 1
    if optimizer.needs_whole_gradient or not by_group:
        return _TwoPhaseProgram(model, optimizer, batches, trainer)
    return _FusedProgram(model, optimizer, batches, trainer)


class Program(ABC):
    """Training steps of one model with one optimizer on one data set."""

    def __init__(self, model: Network, optimizer: Optimizer, batches: Batches) -> None:
        self._model, self._optimizer, self._batches = model, optimizer, batches

    @property
    def takes_many(self) -> bool:
        """Whether one call of :meth:`take` can take more than one step."""
        return False

    def upload(self) -> None:
        """Copy the model's parameters to the optimizer's memory, if that is not the model's."""
        if self._optimizer.on_device:
            self._optimizer.write_parameters(self._model.parameters)

    def download(self) -> None:
        """Copy the optimizer's parameters to the model's memory, if that is not the optimizer's."""
        if self._optimizer.on_device:
            self._optimizer.read_parameters(self._model.parameters)

    @abstractmethod
    def take(
        self, rows: NDArray[np.int64], batch_size: int, lr_scales: Sequence[float], loss_sum: float
    ) -> tuple[float, int | None]:
        """Take one step for each of `lr_scales`.

        Parameters
        ----------
        rows
            The rows of all steps, in order.
        batch_size
            Rows in a step; the last step has the remainder.
        lr_scales
            Factors on the learning rate.
        loss_sum
            The sum of the losses of the epoch's rows so far.

        Returns
        -------
        loss_sum
            The same sum including these rows, each with its loss before the update.
        correct
            How many of these rows were predicted correctly; None where the loss cannot tell.
        """


class _NumPyProgram(Program):
    """The model's own gradient, then the optimizer's step."""

    def take(
        self, rows: NDArray[np.int64], batch_size: int, lr_scales: Sequence[float], loss_sum: float
    ) -> tuple[float, int | None]:
        (self._optimizer.lr_scale,) = lr_scales
        mean, correct = self._model.step_gradient(self._batches.load(rows), count_correct=True)
        self._optimizer.step(self._model.gradients)
        return loss_sum + mean * len(rows), correct


class _CompiledProgram(Program):
    """The shared part of both compiled programs: data and buffers in the form that compiled code takes."""

    def __init__(self, model: Network, optimizer: Optimizer, batches: Batches, trainer: Trainer) -> None:
        super().__init__(model, optimizer, batches)
        self._trainer = trainer
        self._buffers = (optimizer.parameters, *optimizer.state.values())

    def _run(
        self, gradients: NDArray[Any] | None, rows: NDArray[np.int64], batch_size: int, coefficients: Any, loss: float
    ) -> tuple[float, int | None]:
        inputs, targets = self._batches.inputs, self._batches.targets
        if inputs is None:  # on disk: load this batch only
            count = self._batches.load(rows)
            workspace = self._model.workspace
            inputs, targets, rows = workspace.inputs[:count], workspace.targets[:count], np.arange(count)
        loss, correct = self._trainer(self._buffers, gradients, inputs, targets, rows, batch_size, coefficients, loss)
        return loss, correct if self._model.loss.counts_correct(targets) else None


class _TwoPhaseProgram(_CompiledProgram):
    """The whole gradient, then the optimizer's step: for options that depend on more than each element's gradient."""

    def __init__(self, model: Network, optimizer: Optimizer, batches: Batches, trainer: Trainer) -> None:
        super().__init__(model, optimizer, batches, trainer)
        self._gradients = optimizer.new_gradients() if optimizer.on_device else model.gradients

    def take(
        self, rows: NDArray[np.int64], batch_size: int, lr_scales: Sequence[float], loss_sum: float
    ) -> tuple[float, int | None]:
        (self._optimizer.lr_scale,) = lr_scales
        result = self._run(self._gradients, rows, batch_size, None, loss_sum)
        self._optimizer.step(self._gradients)
        return result


class _FusedProgram(_CompiledProgram):
    """The update inside the backward pass: gradients never travel to memory."""

    @property
    def takes_many(self) -> bool:
        return self._batches.inputs is not None

    def take(
        self, rows: NDArray[np.int64], batch_size: int, lr_scales: Sequence[float], loss_sum: float
    ) -> tuple[float, int | None]:
        coefficients = self._optimizer.next_coefficients(lr_scales, _GROUPS)
        result = self._run(None, rows, batch_size, coefficients, loss_sum)
        self._optimizer.count_steps(lr_scales)
        return result


def _network(model: Network) -> NetworkSpec:
    layers = []
    for number, layer in enumerate(model.layers):
        n_in, n_out = layer.weight.shape
        offset = model.layout.segments[2 * number].offset
        layers.append(DenseSpec(n_in, n_out, offset, layer.activation.element))
    return NetworkSpec(tuple(layers), model.loss.element, model.config["kink"])
