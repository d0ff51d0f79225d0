"""Programs: an optimizer bound to a model and its data, so that one call takes training steps.

A program updates inside the backward pass, or after it in stages, or it computes the whole gradient in a call of its
own, all in compiled code and with the same bits; or it computes the gradient in NumPy, which differs by rounding. This
is the only package that knows where an optimizer keeps its parameters and how a backend trains a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, DenseSpec, NetworkSpec, StagedTrainer, Trainer, backend_of, key_of
from ..nn import Network
from ..optim import Optimizer
from ..rules import Rule, Sweep
from .batches import Batches
from .staged import StagedNumbers, staged_update

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
    sweep = _local_sweep(model, optimizer)
    staged = None if sweep else staged_update(optimizer)
    parts, threads = optimizer.parts, optimizer.threads
    if staged:
        staged_trainer = parts.backend.staged_trainer(_network(model), staged, parts.storage, threads)
        if staged_trainer:
            return _StagedProgram(model, optimizer, batches, staged_trainer, StagedNumbers(optimizer, staged))
    trainer = parts.backend.trainer(_network(model), sweep, parts.storage, threads)
    if trainer is None:
        return _NumPyProgram(model, optimizer, batches)
    return (_FusedProgram if sweep else _TwoPhaseProgram)(model, optimizer, batches, trainer)


class Program(ABC):
    """Training steps of one model with one optimizer on one data set."""

    def __init__(self, model: Network, optimizer: Optimizer, batches: Batches) -> None:
        self._model, self._optimizer, self._batches = model, optimizer, batches
        self._spans = optimizer.parts.spans

    @property
    def is_current(self) -> bool:
        """Whether the stages of the optimizer's step are still those that the program was made for."""
        return self._optimizer.parts.spans is self._spans

    @property
    def takes_many(self) -> bool:
        """Whether one call of :meth:`take` can take more than one step."""
        return False

    def upload(self) -> None:
        """Copy the model's parameters to the optimizer's memory, if that is not the model's."""
        if self._optimizer.on_device:
            parts = self._optimizer.parts
            parts.device.write(parts.parameters, self._model.parameters)

    def download(self) -> None:
        """Copy the optimizer's parameters to the model's memory, if that is not the optimizer's."""
        if self._optimizer.on_device:
            parts = self._optimizer.parts
            parts.device.read(parts.parameters, self._model.parameters)

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
    """What compiled programs share: data and buffers in the form that compiled code takes."""

    def __init__(self, model: Network, optimizer: Optimizer, batches: Batches) -> None:
        super().__init__(model, optimizer, batches)
        self._buffers = (optimizer.parameters, *optimizer.state.values())

    def _run(
        self,
        trainer: Callable[..., tuple[float, int]],
        gradients: NDArray[Any] | None,
        rows: NDArray[np.int64],
        batch_size: int,
        *numbers: Any,
    ) -> tuple[float, int | None]:
        """Call a trainer with what it takes after the batch size, `numbers`, the sum of the losses last."""
        inputs, targets = self._batches.inputs, self._batches.targets
        if inputs is None:  # on disk: load this batch only
            count = self._batches.load(rows)
            workspace = self._model.workspace
            inputs, targets, rows = workspace.inputs[:count], workspace.targets[:count], np.arange(count)
        loss, correct = trainer(self._buffers, gradients, inputs, targets, rows, batch_size, *numbers)
        return loss, correct if self._model.loss.counts_correct(targets) else None


class _TwoPhaseProgram(_CompiledProgram):
    """The whole gradient, then the optimizer's step: for options that depend on more than each element's gradient."""

    def __init__(self, model: Network, optimizer: Optimizer, batches: Batches, trainer: Trainer) -> None:
        super().__init__(model, optimizer, batches)
        self._trainer = trainer
        parts = optimizer.parts
        on_device = optimizer.on_device
        self._gradients = (
            parts.device.zeros(model.layout.size, parts.parameters.dtype) if on_device else model.gradients
        )

    def take(
        self, rows: NDArray[np.int64], batch_size: int, lr_scales: Sequence[float], loss_sum: float
    ) -> tuple[float, int | None]:
        (self._optimizer.lr_scale,) = lr_scales
        result = self._run(self._trainer, self._gradients, rows, batch_size, None, loss_sum)
        self._optimizer.step(self._gradients)
        return result


class _ManyStepsProgram(_CompiledProgram):
    """What programs share whose calls take many steps, unless the data is on disk."""

    @property
    def takes_many(self) -> bool:
        return self._batches.inputs is not None

    def _count_steps(self, lr_scales: Sequence[float]) -> None:
        self._optimizer.steps += len(lr_scales)
        self._optimizer.lr_scale = lr_scales[-1]


class _StagedProgram(_ManyStepsProgram):
    """Each gradient, then the stages of its update, in one call of many steps: norms, and rules with sums."""

    def __init__(
        self, model: Network, optimizer: Optimizer, batches: Batches, trainer: StagedTrainer, numbers: StagedNumbers
    ) -> None:
        super().__init__(model, optimizer, batches)
        self._trainer, self._numbers = trainer, numbers

    def take(
        self, rows: NDArray[np.int64], batch_size: int, lr_scales: Sequence[float], loss_sum: float
    ) -> tuple[float, int | None]:
        given, memory = self._numbers.given(lr_scales), self._numbers.memory()
        result = self._run(self._trainer, self._model.gradients, rows, batch_size, given, memory, loss_sum)
        self._numbers.keep(memory)
        self._count_steps(lr_scales)
        return result


class _FusedProgram(_ManyStepsProgram):
    """The update inside the backward pass: gradients never travel to memory."""

    def __init__(self, model: Network, optimizer: Optimizer, batches: Batches, trainer: Trainer) -> None:
        super().__init__(model, optimizer, batches)
        self._trainer = trainer

    def take(
        self, rows: NDArray[np.int64], batch_size: int, lr_scales: Sequence[float], loss_sum: float
    ) -> tuple[float, int | None]:
        result = self._run(self._trainer, None, rows, batch_size, self._coefficients(lr_scales), loss_sum)
        self._count_steps(lr_scales)
        return result

    def _coefficients(self, lr_scales: Sequence[float]) -> NDArray[Any]:
        """Return what the passes of the coming steps take, for the weights and for the biases."""
        optimizer, parts = self._optimizer, self._optimizer.parts
        segments = optimizer.layout.segments
        scale, _, clip_value, *_ = optimizer.options()
        members = (next((s for s in segments if s.group == name), segments[0]) for name in _GROUPS)
        table = parts.groups.table(
            [parts.groups.of(segment) for segment in members],
            optimizer.steps + 1,
            lr_scales,
            scale,
            clip_value,
            parts.backend.compute_dtype(parts.parameters.dtype),
        )
        if not parts.storage.is_random:
            return table
        keys = [key_of(parts.seed, optimizer.steps + 1 + k) for k in range(len(lr_scales))]
        return np.concatenate([table, np.repeat(np.array(keys, table.dtype)[:, None], len(_GROUPS), axis=1)], axis=2)


def _local_sweep(model: Network, optimizer: Optimizer) -> Sweep | None:
    """Return the sweep that can run on any part of a gradient; None where a step needs, or leaves, all of it."""
    rules = [span.rule for span in optimizer.parts.spans.list]
    by_group = optimizer.layout is model.layout or len(optimizer.layout) == 1
    if optimizer.zero_grad or not by_group:
        return None
    if not all(rule.is_local and rule.stages == rules[0].stages for rule in rules):
        return None
    (sweep,) = rules[0].stages
    return sweep if isinstance(sweep, Sweep) else None


def _network(model: Network) -> NetworkSpec:
    layers = []
    for number, layer in enumerate(model.layers):
        n_in, n_out = layer.weight.shape
        offset = model.layout.segments[2 * number].offset
        layers.append(DenseSpec(n_in, n_out, offset, layer.activation.element))
    return NetworkSpec(tuple(layers), model.loss.element, model.config["kink"])
