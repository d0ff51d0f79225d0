"""The memory of a gradient: a batch of data, the outputs of each layer, and the derivatives of the loss by these.

It is allocated for the largest batch so far: a batch of that size or smaller allocates nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .losses import LossScratch

__all__ = ["Workspace"]


class Workspace:
    """Preallocated arrays for batches of up to `capacity` rows; a batch of b uses the first b rows of each.

    `reserve`, `load` and `gather` may replace the arrays by larger ones: take them from the workspace afterwards.

    Attributes
    ----------
    capacity
        The largest number of rows that fits now.
    inputs
        The batch's data, of shape (capacity, sizes[0]).
    targets
        The batch's targets, in the form that the loss's `check_targets` returns.
    outputs
        The outputs of each layer, of shape (capacity, n_out) each.
    weighted
        The weighted sums that each layer's activation is applied to: arrays of their own where `kept` says so, else
        those of `outputs`.
    deltas
        The derivatives of the loss by the outputs, of the same shapes.
    loss_scratch
        Temporary memory of the loss.

    Examples
    --------
    >>> workspace = Workspace((3, 2), np.dtype("float32"))
    >>> workspace.gather(np.eye(3, dtype=np.float32), np.array([0, 1, 0]), rows=np.array([2, 0]))
    2
    >>> workspace.inputs
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    >>> workspace.targets
    array([0, 0])
    """

    def __init__(self, sizes: tuple[int, ...], dtype: np.dtype[Any], kept: Sequence[bool] | None = None) -> None:
        self.sizes = sizes
        self.dtype = dtype
        self._kept = [False] * (len(sizes) - 1) if kept is None else kept
        self.targets: NDArray[Any] = np.empty(0, np.intp)
        self._allocate(0)

    def reserve(self, batch: int, targets: NDArray[Any] | None = None) -> None:
        """Make room for `batch` rows, and for targets of the dtype and row shape of `targets`."""
        if batch > self.capacity:
            self._allocate(batch)
        if targets is not None:
            row = targets.shape[1:]
            held = self.targets
            if len(held) < self.capacity or held.dtype != targets.dtype or held.shape[1:] != row:
                self.targets = np.empty((self.capacity, *row), targets.dtype)

    def load(self, inputs: NDArray[Any], targets: NDArray[Any] | None = None) -> int:
        """Copy a batch in, and return its number of rows."""
        batch = len(inputs)
        self.reserve(batch, targets)
        np.copyto(self.inputs[:batch], inputs)
        if targets is not None:
            np.copyto(self.targets[:batch], targets)
        return batch

    def gather(self, inputs: NDArray[Any], targets: NDArray[Any], rows: NDArray[Any]) -> int:
        """Copy a batch in, the numbered `rows` of a data set, and return its number of rows.

        Nothing is checked: `inputs` must have the workspace's dtype, and every row number must be in range.
        """
        batch = len(rows)
        self.reserve(batch, targets)
        # NumPy's default mode would gather into a buffer first.
        np.take(inputs, rows, axis=0, out=self.inputs[:batch], mode="clip")
        np.take(targets, rows, axis=0, out=self.targets[:batch], mode="clip")
        return batch

    def _allocate(self, capacity: int) -> None:
        widths = self.sizes[1:]
        self.capacity = capacity
        self.inputs = np.empty((capacity, self.sizes[0]), self.dtype)
        self.outputs = [np.empty((capacity, width), self.dtype) for width in widths]
        self.deltas = [np.empty((capacity, width), self.dtype) for width in widths]
        self.weighted = [
            np.empty_like(outputs) if kept else outputs for outputs, kept in zip(self.outputs, self._kept, strict=True)
        ]
        self.loss_scratch = LossScratch(capacity, widths[-1], self.dtype)
