"""Batches: rows of a data set, standardised and in the model's dtype, put into the model's workspace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, Standardiser
from ..nn import Network
from ..nn.checks import check_finite

__all__ = ["Batches"]

_BLOCK = 4096


class Batches:
    """A data set in the form that training takes.

    Data in memory is converted and standardised once; a memory map stays on disk, and each batch is converted when it
    is loaded. Both give the same numbers.

    Parameters
    ----------
    model
        The model whose workspace is filled, and whose loss checks the targets.
    data
        The rows, all finite: see :func:`fastopt.data.check_dataset`.
    standardiser
        Applied to the inputs, if given.

    Attributes
    ----------
    inputs
        All inputs in the form that the model takes; None for a memory map.
    targets
        All targets in the form that the loss takes.

    Raises
    ------
    ValueError, TypeError
        The number of features is not the model's number of inputs, or the targets do not fit the loss.
    """

    def __init__(self, model: Network, data: Dataset, standardiser: Standardiser | None = None) -> None:
        if data.features != model.sizes[0]:
            raise ValueError(
                f"{data.name}: got {data.features} features a row, expected {model.sizes[0]}, the model's inputs"
            )
        self._model = model
        self._standardiser = standardiser
        # A copy: compiled code uses labels as indices, unchecked, and the caller's array may change.
        self.targets = np.array(model.loss.check_targets(data.targets, model.sizes[-1], model.dtype), order="C")
        self._on_disk = data if isinstance(data.inputs, np.memmap) else None
        self.inputs = None if self._on_disk is not None else _prepare(data, standardiser, model.dtype)

    def __len__(self) -> int:
        return len(self.targets)

    def load(self, rows: NDArray[Any]) -> int:
        """Put the numbered rows into the workspace, and return their number."""
        workspace = self._model.workspace
        if self.inputs is not None:
            return workspace.gather(self.inputs, self.targets, rows)
        assert self._on_disk is not None
        workspace.reserve(len(rows), self.targets)
        _gather(self._on_disk, self._standardiser, rows, workspace.inputs[: len(rows)])
        np.take(self.targets, rows, axis=0, out=workspace.targets[: len(rows)], mode="clip")
        return len(rows)

    def load_in_order(self, size: int) -> Iterator[int]:
        """Put all rows into the workspace, `size` at a time, and yield the number of rows each time."""
        for start in range(0, len(self), size):
            yield self.load(np.arange(start, min(start + size, len(self))))


def _prepare(data: Dataset, standardiser: Standardiser | None, dtype: np.dtype[Any]) -> NDArray[Any]:
    if standardiser is None and data.rows is None and data.inputs.dtype == dtype:
        return np.ascontiguousarray(data.inputs)
    inputs = np.empty((len(data), data.features), dtype)
    for start in range(0, len(data), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(data)))
        _gather(data, standardiser, rows, inputs[start : start + _BLOCK])
    return inputs


def _gather(data: Dataset, standardiser: Standardiser | None, rows: NDArray[Any], out: NDArray[Any]) -> None:
    if standardiser is None:
        data.gather(rows, out)
    else:
        with np.errstate(over="ignore"):  # a number too large for the dtype becomes Inf, which is found below
            out[...] = standardiser.apply(data.gather(rows, np.empty(out.shape)))
    check_finite(data.name, out)
