"""Data on its way into a model's workspace: batches of a data set, standardised, in the model's dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, Standardiser
from .checks import check_finite

if TYPE_CHECKING:
    from .mlp import MLP

__all__ = ["Batches"]

_BLOCK = 4096


class Batches:
    """A data set ready to be gathered from.

    Data in memory is converted and standardised once; a memory map stays on disk, and each batch of it is converted
    as it is gathered. Both give the same numbers.

    Parameters
    ----------
    model
        Whose workspace is filled, and whose loss says which targets are right.
    data
        The rows; finite, as ``check_dataset`` sees to.
    standardiser
        What to do to the inputs; nothing when None.

    Attributes
    ----------
    inputs
        All of them as the model takes them; None for a memory map.
    targets
        As the loss takes them.

    Raises
    ------
    ValueError, TypeError
        The data does not have the model's inputs, or its targets are not what the loss takes.
    """

    def __init__(self, model: MLP, data: Dataset, standardiser: Standardiser | None = None) -> None:
        if data.features != model.sizes[0]:
            raise ValueError(
                f"{data.name}: got {data.features} features a row, expected {model.sizes[0]}, the model's inputs"
            )
        self._model = model
        self._standardiser = standardiser
        # A copy: compiled code takes a label for an index, and the caller's array may change.
        self.targets = np.array(model.loss.check_targets(data.targets, model.sizes[-1], model.dtype), order="C")
        self._on_disk = data if isinstance(data.inputs, np.memmap) else None
        self.inputs = None if self._on_disk is not None else _prepare(data, standardiser, model.dtype)

    def __len__(self) -> int:
        return len(self.targets)

    def load(self, rows: NDArray[Any]) -> int:
        """Put the numbered rows into the workspace, and return how many there are."""
        workspace = self._model.workspace
        if self.inputs is not None:
            return workspace.gather(self.inputs, self.targets, rows)
        assert self._on_disk is not None
        workspace.reserve(len(rows), self.targets)
        _gather(self._on_disk, self._standardiser, rows, workspace.inputs[: len(rows)])
        np.take(self.targets, rows, axis=0, out=workspace.targets[: len(rows)], mode="clip")
        return len(rows)


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
        with np.errstate(over="ignore"):  # what is too large for the dtype becomes Inf, and is found below
            out[...] = standardiser.apply(data.gather(rows, np.empty(out.shape)))
    check_finite(data.name, out)
