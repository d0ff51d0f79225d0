"""Training of a whole network on the GPU: its memory, and steps that are captured once and then replayed.

Data go to the GPU once, where they fit; otherwise the rows of some steps at a time. For a call the host sends the
numbers of the rows and the coefficients of all steps, launches one graph a step, and reads the losses at the end. It
waits nowhere in between.

The bits are those of one GPU and one version of cuBLAS. They do not depend on how a training is cut into calls. Those
of the CPU's backends differ by rounding, since the products are summed in another order.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...rules import Sweep
from ..network import NetworkSpec
from ..protocol import Array
from ..source import number_count
from . import shim
from .buffer import DeviceBuffer
from .graph import Graph, capture
from .launch import bind
from .rule import compiled_pass
from .step import Step, Tables
from .streams import launches_on, pointer_of

__all__ = ["CudaTrainer"]

ROWS_AT_ONCE = 1 << 16
"""Rows whose numbers the host sends at a time: thousands of steps, so that it seldom waits."""

BYTES_AT_ONCE = 64 << 20
"""Bytes of data that the host sends at a time, where not all of them fit."""

SHARE_FOR_DATA = 0.5
"""The part of the free memory that data may take."""

_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)


class CudaTrainer:
    """Steps of one network under one rule, on the current GPU and on a stream of their own.

    A step of so many rows is launched as it is the first time, which loads what it needs, and captured the second time.
    """

    def __init__(self, network: NetworkSpec, sweep: Sweep | None, dtype: np.dtype[Any]) -> None:
        self._network, self._dtype = network, dtype
        self._columns = 1 if sweep is None else number_count(sweep)
        self._update: Any = None if sweep is None else compiled_pass(sweep, dtype)
        self._stream = shim.new_stream()
        self._step = Step(network, dtype, self._stream)
        self._tables = Tables(
            inputs=shim.empty(1, dtype),
            targets=shim.empty(1, _INT64),
            rows=shim.empty(1, _INT64),
            position=shim.empty(1, _INT64),
            table=shim.empty(2 * self._columns, dtype),
            coefficients=shim.empty(2 * self._columns, dtype),
            losses=shim.empty(1, _FLOAT64),
            right=shim.empty(1, _INT64),
        )
        self._placed: tuple[Any, Any] = (None, None)
        self._buffers: tuple[DeviceBuffer, ...] = ()
        self._own_gradients = DeviceBuffer(shim.empty(network.size, dtype))
        self._gradients = self._own_gradients
        self._seen: set[tuple[Any, ...]] = set()
        self._graphs: dict[tuple[Any, ...], Graph] = {}

    def __call__(
        self,
        buffers: Sequence[Any],
        gradients: Any,
        inputs: Array,
        targets: Array,
        rows: NDArray[np.int64],
        batch: int,
        coefficients: Array | None,
        loss: float,
    ) -> tuple[float, int]:
        """Take the steps; see :class:`~fastopt.backends.network.Trainer`. The buffers lie on the GPU, data do not."""
        if not len(rows):
            return loss, 0
        shim.synchronize()  # others work on the buffers, on streams of theirs
        self._bind(buffers, self._own_gradients if gradients is None else gradients)
        if self._step.reserve(batch):
            self._forget()
        fits = self._place(inputs, targets)
        steps = self._steps_at_once(inputs, targets, batch, fits)
        correct = 0
        for first in range(0, -(-len(rows) // batch), steps):
            part = np.ascontiguousarray(rows[first * batch : (first + steps) * batch], np.int64)
            if not fits:
                self._copy_data(np.take(inputs, part, axis=0), np.take(targets, part, axis=0))
                part = np.arange(len(part))
            own = None if coefficients is None else coefficients[first : first + steps]
            loss, right = self._take(part, batch, own, loss, labels=targets.ndim == 1)
            correct += right
        return loss, correct

    def _take(
        self, rows: NDArray[np.int64], batch: int, coefficients: Array | None, loss: float, *, labels: bool
    ) -> tuple[float, int]:
        """Take the steps over rows of the data on the GPU, and wait for what they tell."""
        tables, steps = self._tables, -(-len(rows) // batch)
        self._send(tables.rows, rows)
        self._send(tables.position, np.zeros(1, np.int64))
        spans: tuple[tuple[int, int, int], ...] = ()
        if coefficients is not None:
            self._send(tables.table, coefficients)
            spans = self._spans(alike=np.array_equal(coefficients[:, 0], coefficients[:, 1]))
        shim.synchronize()
        for start in range(0, len(rows), batch):
            self._replay(min(batch, len(rows) - start), batch, labels, spans)
        shim.synchronize()
        losses, right = tables.losses[:steps].copy_to_host(), tables.right[:steps].copy_to_host()
        # One after the other, so that cutting a training into calls changes no bit.
        return float(np.cumsum([loss, *losses])[-1]), int(right.sum())

    def _replay(self, count: int, batch: int, labels: bool, spans: tuple[tuple[int, int, int], ...]) -> None:
        """Take one step, by the graph of steps like it where there is one."""
        kind = (count, batch, labels, spans)
        if kind not in self._graphs and kind not in self._seen:
            self._seen.add(kind)
            self._launch(count, batch, labels, spans)
            return
        if kind not in self._graphs:
            own = weakref.proxy(self)  # a circle of references would hold the GPU's memory for nobody knows how long
            self._graphs[kind] = capture(lambda: own._launch(*kind), self._stream)
        self._graphs[kind].replay()

    def _launch(self, count: int, batch: int, labels: bool, spans: tuple[tuple[int, int, int], ...]) -> None:
        parameters, gradients = self._buffers[0].array, self._gradients.array
        self._step.launch(self._tables, parameters, gradients, count, batch, labels=labels)
        with launches_on(pointer_of(self._stream)):
            for start, stop, group in spans:
                self._update_span(slice(start, stop), group)

    def _update_span(self, where: slice, group: int) -> None:
        """Launch the rule's pass over a slice of the buffers, with the coefficients of that group."""
        parameters, *states = (buffer[where] for buffer in self._buffers)
        own = DeviceBuffer(self._tables.coefficients[group * self._columns : (group + 1) * self._columns])
        gradients = self._gradients[where]
        bind(*self._update, (parameters, gradients, *states), own, gradients)(False)

    def _spans(self, *, alike: bool) -> tuple[tuple[int, int, int], ...]:
        """Return begin, end and group of what one pass updates: all, where weights and biases take the same numbers."""
        if alike:
            return ((0, self._network.size, 0),)
        spans = []
        for layer in self._network.layers:
            middle = layer.offset + layer.inputs * layer.outputs
            spans += [(layer.offset, middle, 0), (middle, middle + layer.outputs, 1)]
        return tuple(spans)

    def _bind(self, buffers: Sequence[DeviceBuffer], gradients: DeviceBuffer) -> None:
        """Note whose memory the steps work in; other memory is a reason to capture anew."""
        bound, held = (*buffers, gradients), (*self._buffers, self._gradients)
        if len(bound) != len(held) or any(a is not b for a, b in zip(bound, held, strict=True)):
            self._forget()
        self._buffers, self._gradients = tuple(buffers), gradients

    def _place(self, inputs: Array, targets: Array) -> bool:
        """Have the data on the GPU; return False, and do nothing, where they do not fit."""
        if inputs is self._placed[0] and targets is self._placed[1]:
            return True
        tables = self._tables
        held = tables.inputs.nbytes + tables.targets.nbytes
        needed = inputs.nbytes + targets.nbytes
        if needed > held and needed > SHARE_FOR_DATA * shim.free_memory():
            return False
        self._copy_data(inputs, targets)
        self._placed = (inputs, targets)
        return True

    def _copy_data(self, inputs: Array, targets: Array) -> None:
        self._placed = (None, None)
        tables = self._tables
        tables.inputs = self._room(tables.inputs, inputs.size, inputs.dtype)
        tables.targets = self._room(tables.targets, targets.size, targets.dtype)
        self._send(tables.inputs, inputs)
        self._send(tables.targets, targets)

    def _steps_at_once(self, inputs: Array, targets: Array, batch: int, fits: bool) -> int:
        """Return how many steps the host sends at a time, and make room for what they need."""
        limit = ROWS_AT_ONCE
        if not fits:
            limit = min(limit, BYTES_AT_ONCE // ((inputs.nbytes + targets.nbytes) // len(inputs)))
        steps = max(1, min(limit // batch, -(-len(inputs) // batch)))
        tables = self._tables
        tables.rows = self._room(tables.rows, steps * batch, _INT64)
        tables.table = self._room(tables.table, steps * 2 * self._columns, self._dtype)
        tables.losses = self._room(tables.losses, steps, _FLOAT64)
        tables.right = self._room(tables.right, steps, _INT64)
        return steps

    def _room(self, held: Any, size: int, dtype: np.dtype[Any]) -> Any:
        """Return an array of at least that size: the one that is held, or a new one, and then nothing captured."""
        if held.size >= size and held.dtype == dtype:
            return held
        self._forget()
        return shim.empty(size, dtype)

    def _send(self, array: Any, values: Array) -> None:
        """Copy values to the front of an array on the GPU."""
        array[: values.size].copy_to_device(np.ascontiguousarray(values).reshape(-1))

    def _forget(self) -> None:
        self._graphs.clear()
