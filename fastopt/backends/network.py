"""What a backend has to know of a network to train it in compiled code, and what it then gives.

A compiled training step computes, for every element, one fixed sequence of operations, with each multiply-add an
explicit fma. So its bits do not depend on tiles, vector widths or threads, and are the same in every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..elements import Activation, Loss

__all__ = ["DenseSpec", "NetworkSpec", "Trainer"]

Array = NDArray[Any]


@dataclass(frozen=True)
class DenseSpec:
    """One dense layer: its weights W[inputs, outputs] begin at `offset` of the flat buffers, its biases follow them."""

    inputs: int
    outputs: int
    offset: int
    activation: Activation


@dataclass(frozen=True)
class NetworkSpec:
    """The layers, first to last, the loss, and the subgradient of relu and leaky_relu at zero."""

    layers: tuple[DenseSpec, ...]
    loss: Loss
    kink: float = 0.0

    @property
    def size(self) -> int:
        """Number of parameters."""
        last = self.layers[-1]
        return last.offset + (last.inputs + 1) * last.outputs


class Trainer(Protocol):
    """Steps of one network under one rule, in one dtype."""

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
        """Take ``ceil(len(rows) / batch)`` steps, the last of them on what remains.

        Parameters
        ----------
        buffers
            ``(p, *states)``, updated in place; with `gradients` only read.
        gradients
            None to update inside the backward pass. Otherwise a flat buffer that is overwritten with the gradient of
            the one batch that `rows` is, and nothing is updated.
        inputs, targets
            The whole data set: C-contiguous (n, features) in the dtype of the buffers, and int64 labels of shape (n,)
            or values of shape (n, outputs) in that dtype.
        rows
            Which rows, in order.
        batch
            Rows a step.
        coefficients
            Of shape (steps, 2, numbers of the sweep): for weights, and for biases. None with `gradients`.
        loss
            What the rows' losses are added to, a step at a time: cutting a training into calls changes no bit of it.

        Returns
        -------
        loss
            `loss` and the losses of all rows, each a mean over the outputs.
        correct
            Number of rows that were predicted right before their update; 0 where the loss does not know.
        """
