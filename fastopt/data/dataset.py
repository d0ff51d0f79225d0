"""A dataset: rows of numbers, and the target to predict from each of them.

Inputs may be a memory map larger than memory. A subset of such a dataset refers to the map and stores the indices of
its rows; nothing here reads more than a batch, or a small block of rows, at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Dataset", "check_dataset", "check_inputs", "check_shapes"]

_BLOCK_ELEMENTS = 1 << 18  # 2 MiB as float64: a block and its temporaries stay in the cache


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets, row by row.

    Parameters
    ----------
    inputs
        Shape (n, d), of any real numeric dtype; may be a read-only ``np.memmap``.
    targets
        Class indices of shape (n,) and dtype int64, or for regression (n, k) of float32 or float64.
        With `rows` they are the targets of those rows, in that order.
    classes
        The label that each class index stands for; None for regression.
    name
        A short name, also used for folders.
    source
        The origin of the data: ``"built in"``, or the path as it was given.
    rows
        Indices of the rows of `inputs` that belong to this dataset, in order; None for all of them.
    columns
        The name of each feature, from the header of a CSV file; None for other formats.

    Examples
    --------
    >>> data = Dataset(np.arange(6).reshape(3, 2), np.array([0, 1, 0]), ("no", "yes"), "tiny", "built in")
    >>> len(data), data.features, data.is_classification
    (3, 2, True)
    >>> data.gather([2, 0], np.empty((2, 2), np.float32))
    array([[4., 5.],
           [0., 1.]], dtype=float32)
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    classes: tuple[str, ...] | None
    name: str
    source: str
    rows: NDArray[np.int64] | None = None
    columns: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.inputs) if self.rows is None else len(self.rows)

    @property
    def features(self) -> int:
        """Number of values in one row of inputs."""
        return int(self.inputs.shape[1])

    @property
    def is_classification(self) -> bool:
        """Whether the targets are class indices."""
        return self.classes is not None

    def take(self, indices: ArrayLike) -> Dataset:
        """Return the dataset of the given rows, in the given order.

        Inputs and targets are copied; inputs that are a memory map are not: the new dataset refers to the map.

        Raises
        ------
        TypeError
            The indices are not integers.
        IndexError
            There is no such row.
        """
        chosen = _as_positions(indices, len(self), self.name)
        targets = np.asarray(self.targets[chosen])
        if self.rows is not None:
            return replace(self, targets=targets, rows=self.rows[chosen])
        if isinstance(self.inputs, np.memmap):
            return replace(self, targets=targets, rows=chosen)
        return replace(self, inputs=self.inputs[chosen], targets=targets)

    def gather(self, positions: ArrayLike, out: NDArray[Any]) -> NDArray[Any]:
        """Write the inputs of the given rows into `out`, converted to its dtype, and return it.

        A value too large for the dtype becomes infinite, without a warning.

        Raises
        ------
        TypeError
            The positions are not integers, or `out` is not an array of floats.
        ValueError
            `out` does not have the shape (number of positions, features).
        IndexError
            There is no such row.
        """
        chosen = _as_positions(positions, len(self), self.name)
        if out.dtype.kind != "f":
            raise TypeError(f"out: got dtype {out.dtype}, expected floats such as float32")
        if out.shape != (len(chosen), self.features):
            raise ValueError(f"out: got shape {out.shape}, expected {(len(chosen), self.features)}")
        with np.errstate(over="ignore"):
            np.copyto(out, self.inputs[chosen if self.rows is None else self.rows[chosen]])
        return out

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (first position, inputs) of consecutive small blocks of rows, in the inputs' own dtype."""
        height = max(1, _BLOCK_ELEMENTS // self.features)
        for start in range(0, len(self), height):
            part = slice(start, start + height)
            yield start, np.asarray(self.inputs[part if self.rows is None else self.rows[part]])


def check_shapes(dataset: Dataset) -> Dataset:
    """Return `dataset` if its shapes and dtypes fit together; the values of the inputs are not read.

    Raises
    ------
    TypeError
        Inputs or targets of a dtype that is not supported.
    ValueError
        No data, wrong dimensions, or inputs and targets of different lengths.
    """
    inputs, targets, name = dataset.inputs, dataset.targets, dataset.name
    rows = dataset.rows
    check_inputs(inputs, name)
    if not len(dataset):
        raise ValueError(f"{name}: got no data: 0 rows of {dataset.features} features")
    if rows is not None and (rows.min() < 0 or rows.max() >= len(inputs)):
        raise ValueError(f"{name}: got rows from {rows.min()} to {rows.max()}, expected 0 to {len(inputs) - 1}")
    if dataset.columns is not None and len(dataset.columns) != dataset.features:
        raise ValueError(
            f"{name}: got {len(dataset.columns)} names of columns, expected {dataset.features}, one for each feature"
        )
    if dataset.is_classification and (targets.ndim != 1 or targets.dtype != np.int64):
        raise TypeError(f"{name}: got targets {_describe(targets)}, expected int64 class indices of one dimension")
    if not dataset.is_classification and (targets.ndim != 2 or targets.dtype not in (np.float32, np.float64)):
        raise TypeError(
            f"{name}: got targets {_describe(targets)} and no classes, "
            "expected float32 or float64 of shape (rows, outputs); for classification, give the classes"
        )
    if len(targets) != len(dataset):
        raise ValueError(
            f"{name}: got {len(dataset)} rows of inputs and {len(targets)} targets, expected one target for each row"
        )
    if not dataset.is_classification and not targets.shape[1]:
        raise ValueError(f"{name}: got targets of shape {targets.shape}, expected at least one output")
    return dataset


def check_inputs(inputs: NDArray[Any], name: str) -> NDArray[Any]:
    """Return `inputs` if their shape and dtype are those of rows of numbers; the values are not read.

    Raises
    ------
    TypeError
        A dtype that is not supported.
    ValueError
        No data, or wrong dimensions.
    """
    if inputs.dtype.kind not in "biuf":
        raise TypeError(f"{name}: got inputs of dtype {inputs.dtype}, expected real numbers such as uint8 or float32")
    if inputs.ndim != 2:
        raise ValueError(f"{name}: got inputs of shape {inputs.shape}, expected (rows, features)")
    if not inputs.size:
        raise ValueError(f"{name}: got no data: {inputs.shape[0]} rows of {inputs.shape[1]} features")
    return inputs


def check_dataset(dataset: Dataset) -> Dataset:
    """Return `dataset` if it can be trained on; reads every value once, a block of rows at a time.

    Raises
    ------
    TypeError
        Inputs or targets of a dtype that is not supported.
    ValueError
        No data, shapes that do not fit together, NaN or infinite values, or class indices that are out of range.
    """
    check_shapes(dataset)
    _check_finite(dataset.name, "input", dataset.blocks(), dataset.inputs.dtype)
    if dataset.classes is None:
        _check_finite(dataset.name, "target", [(0, dataset.targets)], dataset.targets.dtype)
        return dataset
    low, high = int(dataset.targets.min()), int(dataset.targets.max())
    if low < 0 or high >= len(dataset.classes):
        raise ValueError(
            f"{dataset.name}: got class indices from {low} to {high}, "
            f"expected 0 to {len(dataset.classes) - 1} for {len(dataset.classes)} classes"
        )
    return dataset


def _check_finite(name: str, kind: str, blocks: Iterable[tuple[int, NDArray[Any]]], dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f":
        return
    count, first = 0, ""
    for start, block in blocks:
        finite = np.isfinite(block)
        if finite.all():
            continue
        if not count:
            row, column = np.argwhere(~finite)[0]
            first = f"{block[row, column]} in row {start + row}, column {column} (counted from 0)"
        count += int(finite.size - np.count_nonzero(finite))
    if count:
        raise ValueError(
            f"{name}: got {count} {kind} value{'s' * (count > 1)} NaN or infinite, first {first}; "
            "expected finite numbers: drop those rows or fill in the values"
        )


def _as_positions(positions: ArrayLike, count: int, name: str) -> NDArray[np.int64]:
    chosen = np.asarray(positions)
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
        raise TypeError(
            f"{name}: got row indices {_describe(chosen)}, expected integers of one dimension; "
            "for a mask, pass np.flatnonzero(mask)"
        )
    if chosen.size and (chosen.min() < 0 or chosen.max() >= count):
        raise IndexError(f"{name}: got row indices from {chosen.min()} to {chosen.max()}, expected 0 to {count - 1}")
    return chosen.astype(np.int64, copy=False)


def _describe(array: NDArray[Any]) -> str:
    return f"of dtype {array.dtype} and shape {array.shape}"
