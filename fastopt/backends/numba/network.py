"""Training of a whole network in compiled code: its memory, its tables, and the rule's pass as machine code to call."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._aligned import aligned_zeros
from ..._constants import PARTS
from ...rules import Sweep
from ..network import NetworkSpec, Trainer
from ..protocol import Array
from ..storage import Storage
from ..threads import is_forked_child
from .arrays import address
from .elements import compiled_activation, compiled_loss
from .engine import launch, parts
from .launch import parallel_threads
from .layers import BATCH_TOGETHER, COLUMNS_TOGETHER, HIGH, PACKED_DEPTH
from .rule import compiled_pass
from .steps import LARGE_TILE, Call, Of, most_part_rows
from .team import APART
from .vectors import vector_bytes

__all__ = ["NumbaTrainer", "make_trainer"]


def make_trainer(network: NetworkSpec, sweep: Sweep | None, storage: Storage, threads: int) -> Trainer:
    """Return what takes steps of the network by the sweep, compiled.

    The engine compiles once for each dtype, in seconds, and a rule's pass in less than one; from the cache both load in
    milliseconds.

    Raises
    ------
    TypeError
        The rule does not compile for the dtype.
    """
    update = None if sweep is None else compiled_pass(sweep, storage)
    return NumbaTrainer(network, update, storage.arithmetic, threads)


class NumbaTrainer:
    """Memory and tables of one network; its steps run one call at a time.

    Parameters
    ----------
    network
        The layers and the loss.
    update
        The compiled pass that updates within the backward pass; None to compute gradients.
    dtype, threads
        Of the buffers; how many there may be.
    plan
        The table of the update in stages that follows each gradient; none by default.
    """

    def __init__(
        self,
        network: NetworkSpec,
        update: Any,
        dtype: np.dtype[Any],
        threads: int,
        plan: NDArray[np.int64] | None = None,
    ) -> None:
        threads = min(threads, parallel_threads())
        self._network, self._update, self._dtype, self._threads = network, update, dtype, threads
        self._plan = plan
        self._parts = {**parts(dtype), Call.RUN_LOSS: compiled_loss(network.loss, dtype)}
        self._call = np.zeros(Call.SIZE, np.int64)
        self._no_coefficients = np.zeros((1, 2, 0), dtype)
        self._capacity = 0
        self._rows = 0
        self._bound: tuple[Array, ...] = ()
        layers = network.layers
        widest = max(layer.outputs for layer in layers)
        apart = 128 // dtype.itemsize
        tile = _round_up(max(LARGE_TILE, 8 * widest) + 9 * widest, apart)
        panel = 2 * vector_bytes() // dtype.itemsize
        copy = _round_up(BATCH_TOGETHER * (COLUMNS_TOGETHER + panel) + PACKED_DEPTH * panel, apart)
        self._sync = np.zeros((threads + 1) * APART, np.int64)
        self._tiles, self._copies = aligned_zeros(threads * tile, dtype), aligned_zeros(threads * copy, dtype)
        self._nothing = aligned_zeros(_round_up(max(widest, panel), apart), dtype)
        self._eights = np.arange(0, HIGH * BATCH_TOGETHER, HIGH)
        self._one = np.ones(1, dtype)
        self._at_zero = np.array([layer.activation.slope_at_zero(network.kink) for layer in layers], dtype)
        self._activations = [
            None if layer.activation.is_identity else compiled_activation(layer.activation, dtype) for layer in layers
        ]
        numbers = {
            Call.DEPTH: len(layers),
            Call.THREADS: threads,
            Call.PANEL: panel,
            Call.TILE_SIZE: tile,
            Call.COPY_SIZE: copy,
            Call.ITEM_SIZE: dtype.itemsize,
            Call.RUN_UPDATE: update.address if update else 0,
            Call.PLAN: 0 if plan is None else address(plan),
            Call.NOTHING: address(self._nothing),
            Call.EIGHTS: address(self._eights),
            Call.SYNC: address(self._sync),
            Call.TILES: address(self._tiles),
            Call.COPIES: address(self._copies),
            Call.ONE: address(self._one),
        }
        for place, number in numbers.items():
            self._call[place] = number
        for place, code in self._parts.items():
            self._call[place] = code.address
        self._reserve(1)
        self._reserve_rows(1)

    def __call__(
        self,
        buffers: Sequence[Array],
        gradients: Array | None,
        inputs: Array,
        targets: Array,
        rows: NDArray[np.int64],
        batch: int,
        coefficients: Array | None,
        loss: float,
    ) -> tuple[float, int]:
        """Take the steps; see :class:`~fastopt.backends.network.Trainer`."""
        count = len(rows)
        if not count:
            return loss, 0
        batch = min(batch, count)
        if batch > self._capacity:
            self._reserve(batch)
        if count > self._rows:
            self._reserve_rows(count)
        arrays = (*buffers, inputs, targets)
        if len(arrays) != len(self._bound) or any(a is not b for a, b in zip(arrays, self._bound, strict=True)):
            self._bind(buffers, inputs, targets)
        rows = np.ascontiguousarray(rows, np.int64)
        np.multiply(rows, inputs.shape[1], out=self._first_places[:count])
        has_labels = targets.ndim == 1
        threads = 1 if is_forked_child() else self._threads
        call = self._call
        call[Call.ROWS], call[Call.COUNT], call[Call.BATCH] = address(rows), count, batch
        given = self._no_coefficients if coefficients is None else coefficients
        call[Call.COEFFICIENTS], call[Call.COEFFICIENT_COUNT] = address(given), given.shape[-1]
        call[Call.GRADIENTS] = 0 if gradients is None else address(gradients)
        call[Call.HAS_LABELS], call[Call.THREADS] = has_labels, threads
        self._sync.fill(0)
        return launch(call, self._losses[:count], self._right[:count], batch, threads, loss)

    def _bind(self, buffers: Sequence[Array], inputs: Array, targets: Array) -> None:
        self._buffers = np.array([*map(address, buffers), 0], np.int64)  # the flat buffers begin at position 0
        call = self._call
        call[Call.BUFFERS], call[Call.PARAMETERS] = address(self._buffers), self._buffers[0]
        call[Call.INPUTS], call[Call.TARGETS] = address(inputs), address(targets)
        self._bound = (*buffers, inputs, targets)

    def _reserve(self, batch: int) -> None:
        """Make room for what the layers give for `batch` rows, and for its derivatives.

        What was there stays until everything new is: where memory ends half-way, smaller batches can still be trained.
        """
        layers = self._network.layers
        leads = [_lead(layer.outputs) for layer in layers]
        arrays = [3 if layer.activation.keeps_input else 2 for layer in layers]
        workspace = aligned_zeros(batch * sum(map(operator.mul, arrays, leads)), self._dtype)
        in_parts = [most_part_rows(layer.inputs, layer.outputs) for layer in layers]
        # Sums by parts are of batches this small: a larger one's deltas, which come later, hold those of its last rows.
        apart = [batch < PARTS * rows for rows in in_parts]
        sizes = (min(batch, rows) * lead * own for rows, lead, own in zip(in_parts, leads, apart, strict=True))
        sums = aligned_zeros(PARTS * max(sizes), self._dtype)
        places = np.arange(batch) * np.array([0, *leads])[:, None]
        zeros = np.zeros(batch, np.int64)
        table = np.zeros((len(layers), Of.SIZE), np.int64)
        used = address(workspace)
        for index, (layer, lead, row) in enumerate(zip(layers, leads, table, strict=True)):
            size = batch * lead * self._dtype.itemsize
            row[Of.INPUTS], row[Of.OUTPUTS], row[Of.OFFSET] = layer.inputs, layer.outputs, layer.offset
            row[Of.LEAD], row[Of.AT_ZERO] = lead, address(self._at_zero[index:])
            row[Of.RESULT], row[Of.DELTA] = used, used + size
            row[Of.WEIGHTED] = used + 2 * size if layer.activation.keeps_input else used
            for place, code in zip((Of.ACTIVATE, Of.DERIVE), self._activations[index] or (), strict=False):
                row[place] = code.address
            row[Of.PLACES] = address(places[index]) if index else -1
            row[Of.OWN_PLACES] = address(places[index + 1])
            row[Of.SUMS] = address(sums) if apart[index] else row[Of.DELTA]
            used += arrays[index] * size
        self._held = (workspace, sums, places, zeros, table)
        self._call[Call.LAYERS], self._call[Call.ZEROS] = address(table), address(zeros)
        self._capacity = batch

    def _reserve_rows(self, count: int) -> None:
        """Make room for the losses of `count` rows in one call."""
        places, losses, right = np.empty(count, np.int64), np.empty(count), np.empty(count, np.int64)
        self._first_places, self._losses, self._right = places, losses, right
        self._call[Call.PLACES] = address(places)
        self._call[Call.LOSSES], self._call[Call.RIGHT] = address(losses), address(right)
        self._rows = count


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _lead(outputs: int) -> int:
    """Return the distance of rows: whole vectors, and for long rows an odd number of them.

    At distances of powers of two, the rows of a block would all fall into the same few sets of the cache.
    """
    lead = _round_up(outputs, 16)
    return lead + 16 if outputs >= 128 and lead // 16 % 2 == 0 else lead
