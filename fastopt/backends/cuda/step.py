"""The launches of one training step: gather, forward, losses, backward, each on the stream of its trainer.

None of them asks anything of the host: which batch it is, and what its update takes, the kernels read from the GPU's
memory. So the launches can be captured once and replayed for every batch of as many rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...elements import RowLoss
from ..network import NetworkSpec
from . import activations, gather, losses, shim, sums
from .products import make_products

__all__ = ["Step", "Tables"]

_WARP = 32


@dataclass
class Tables:
    """What the steps of one call read, and what they tell of themselves.

    Attributes
    ----------
    inputs, targets
        The data.
    rows
        Numbers of the rows of all steps, one behind the other.
    position
        The number of the step that is next.
    table
        Coefficients of all steps.
    coefficients
        Those of the step that is being taken.
    losses, right
        Each step's sum of its rows' losses, and its number of rows that are right.
    """

    inputs: Any
    targets: Any
    rows: Any
    position: Any
    table: Any
    coefficients: Any
    losses: Any
    right: Any


class Step:
    """Kernels of one network, and memory for what its layers give for a batch of up to `capacity` rows.

    Parameters
    ----------
    network
        The layers and the loss.
    dtype
        Of all numbers but the losses.
    stream
        What everything is launched on.
    """

    def __init__(self, network: NetworkSpec, dtype: np.dtype[Any], stream: Any) -> None:
        self._network, self._dtype, self._stream = network, dtype, stream
        self._multiply = make_products(dtype, stream)
        self._gather, self._sum_columns = gather.gather_kernel(dtype), sums.column_kernel(dtype)
        self._close = sums.close_kernel(dtype)
        self._activate = [activations.activate_kernel(dtype, layer.activation) for layer in network.layers]
        self._derive = [
            None if layer.activation.is_identity else activations.derive_kernel(dtype, layer.activation, network.kink)
            for layer in network.layers
        ]
        self.capacity = 0

    def reserve(self, batch: int) -> bool:
        """Make room for `batch` rows; return whether memory was replaced."""
        if batch <= self.capacity:
            return False
        layers = self._network.layers
        self._inputs = shim.empty(batch * layers[0].inputs, self._dtype)
        self._outputs = [shim.empty(batch * layer.outputs, self._dtype) for layer in layers]
        self._weighted = [
            shim.empty(batch * layer.outputs, self._dtype) if layer.activation.keeps_input else outputs
            for layer, outputs in zip(layers, self._outputs, strict=True)
        ]
        self._deltas = [shim.empty(batch * layer.outputs, self._dtype) for layer in layers]
        self._losses = shim.empty(batch, np.dtype(np.float64))
        self._right = shim.empty(batch, np.dtype(np.int64))
        self.capacity = batch
        return True

    def launch(self, tables: Tables, parameters: Any, gradients: Any, count: int, batch: int, *, labels: bool) -> None:
        """Launch the step that `tables.position` says: it leaves the gradient, and goes on by one.

        Parameters
        ----------
        parameters, gradients
            Flat arrays on the GPU; the gradients are overwritten.
        count
            Rows of this step.
        batch
            Rows of each step before it.
        labels
            Whether the targets are labels.
        """
        self._forward(tables, parameters, count, batch)
        self._lose(tables, count, batch, labels)
        self._backward(parameters, gradients, count)

    def _forward(self, tables: Tables, parameters: Any, count: int, batch: int) -> None:
        columns = self._network.layers[0].inputs
        grid, block = _rows_and_columns(count, columns, gather.BLOCK)
        numbers = np.uint64(batch), np.uint64(columns)
        self._gather[grid, block, self._stream](tables.inputs, tables.rows, tables.position, *numbers, self._inputs)
        inputs = self._inputs
        layers = zip(self._network.layers, self._weighted, self._outputs, self._activate, strict=True)
        for layer, weighted, outputs, activate in layers:
            weights, biases = _slices(parameters, layer)
            self._multiply(weighted, inputs, weights, (count, layer.outputs, layer.inputs))
            grid, block = _rows_and_columns(count, layer.outputs, activations.BLOCK)
            activate[grid, block, self._stream](weighted, outputs, biases, np.uint64(layer.outputs))
            inputs = outputs

    def _lose(self, tables: Tables, count: int, batch: int, labels: bool) -> None:
        loss, outputs = self._network.loss, self._network.layers[-1].outputs
        kernel = losses.loss_kernel(self._dtype, loss, labels)
        mean_over = count if isinstance(loss, RowLoss) else count * outputs
        kernel[-(-count // losses.BLOCK), losses.BLOCK, self._stream](
            self._outputs[-1],
            self._deltas[-1],
            tables.targets,
            tables.rows,
            tables.position,
            np.uint64(batch),
            np.uint64(count),
            np.uint64(outputs),
            1.0 / mean_over,
            self._losses,
            self._right,
        )
        self._close[1, sums.LANES, self._stream](
            self._losses,
            self._right,
            np.uint64(count),
            tables.losses,
            tables.right,
            tables.table,
            tables.coefficients,
            tables.position,
        )

    def _backward(self, parameters: Any, gradients: Any, count: int) -> None:
        layers = self._network.layers
        for index in reversed(range(len(layers))):
            layer, deltas = layers[index], self._deltas[index]
            self._bend(index, count)
            weights, _ = _slices(parameters, layer)
            of_weights, of_biases = _slices(gradients, layer)
            below = self._outputs[index - 1] if index else self._inputs
            self._multiply(of_weights, below, deltas, (layer.inputs, layer.outputs, count), transpose_a=True)
            blocks = -(-layer.outputs // sums.COLUMNS)
            self._sum_columns[blocks, sums.COLUMN_BLOCK, self._stream](
                deltas, np.uint64(count), np.uint64(layer.outputs), of_biases
            )
            if index:
                sizes = count, layer.inputs, layer.outputs
                self._multiply(self._deltas[index - 1], deltas, weights, sizes, transpose_b=True)

    def _bend(self, index: int, count: int) -> None:
        """Take the derivatives by a layer's outputs on to those by its weighted sums."""
        derive, size = self._derive[index], count * self._network.layers[index].outputs
        if derive is not None:
            block = activations.BLOCK
            arrays = self._deltas[index], self._weighted[index], self._outputs[index]
            derive[-(-size // block), block, self._stream](*arrays, np.uint64(size))


def _rows_and_columns(rows: int, columns: int, most: int) -> tuple[tuple[int, int], int]:
    """Return a grid with a row for each x and the columns along y, and the threads of its blocks: whole warps."""
    block = min(most, -(-columns // _WARP) * _WARP)
    return (rows, -(-columns // block)), block


def _slices(flat: Any, layer: Any) -> tuple[Any, Any]:
    """Return a layer's weights and its biases in a flat array."""
    middle = layer.offset + layer.inputs * layer.outputs
    return flat[layer.offset : middle], flat[middle : middle + layer.outputs]
