"""Datasets from NumPy arrays: inputs of any dimensions become rows, targets become class indices or quantities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .classes import encode_labels
from .dataset import Dataset, check_inputs, check_shapes

__all__ = ["from_arrays", "inputs_and_dataset"]


def from_arrays(
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    regression: bool = False,
    name: str = "data",
    source: str = "arrays",
) -> Dataset:
    """Return the dataset of two arrays.

    Inputs of more than two dimensions are flattened to (n, d). Targets that are integers, booleans or strings, of shape
    (n,) or (n, 1), are class labels; floats of shape (n,) or (n, k) are quantities. With `regression` integers and
    booleans are quantities too, and become float64.

    Raises
    ------
    TypeError
        Arrays of objects, or of another dtype that is not supported.
    ValueError
        No data, shapes that do not fit, or different numbers of rows.

    Examples
    --------
    >>> data = from_arrays(np.zeros((3, 2, 2)), [7, 3, 7])
    >>> data.features, data.targets, data.classes
    (4, array([1, 0, 1]), ('3', '7'))
    >>> from_arrays(np.zeros((3, 2, 2)), [7, 3, 7], regression=True).targets.tolist()
    [[7.0], [3.0], [7.0]]
    """
    rows, found = _flatten(_as_array(inputs), name), _as_array(targets)
    values, classes = _interpret_targets(_numbers(found, name) if regression else found, name)
    return check_shapes(Dataset(rows, values, classes, name, source))


def inputs_and_dataset(
    inputs: ArrayLike, targets: ArrayLike | None, regression: bool, name: str, source: str
) -> tuple[NDArray[Any], Dataset | None]:
    """Return the inputs as rows, and their dataset if there are targets.

    Raises
    ------
    TypeError, ValueError
        As :func:`from_arrays`.
    """
    if targets is None:
        return check_inputs(_flatten(_as_array(inputs), name), name), None
    dataset = from_arrays(inputs, targets, regression=regression, name=name, source=source)
    return dataset.inputs, dataset


def _as_array(values: ArrayLike) -> NDArray[Any]:
    """Return an array in the machine's byte order; a memory map is left as it is, and converted batch by batch."""
    if isinstance(values, np.memmap):
        return values
    array = np.asarray(values)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _flatten(inputs: NDArray[Any], name: str) -> NDArray[Any]:
    if inputs.ndim < 2:
        raise ValueError(
            f"{name}: got inputs of shape {inputs.shape}, expected (rows, features) or images; "
            "for one feature, pass inputs.reshape(-1, 1)"
        )
    if inputs.ndim == 2:
        return inputs
    if isinstance(inputs, np.memmap) and not inputs.flags.c_contiguous:
        raise ValueError(
            f"{name}: got inputs of shape {inputs.shape} in Fortran order, which cannot be flattened without reading "
            "all of it; save them in C order, with np.save(path, np.ascontiguousarray(inputs))"
        )
    return inputs.reshape(len(inputs), int(np.prod(inputs.shape[1:])))


def _numbers(targets: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the targets with whole numbers converted to float64, so that they are taken for quantities."""
    if targets.dtype.kind in "USO":
        raise TypeError(
            f"{name}: got targets of dtype {targets.dtype}, expected numbers to read as quantities; "
            "for labels, leave out regression (--regression)"
        )
    return np.asarray(targets, np.float64) if targets.dtype.kind in "biu" else targets


def _interpret_targets(targets: NDArray[Any], name: str) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Return (class indices, labels), or (quantities, None)."""
    kind = targets.dtype.kind
    if kind == "f" and targets.ndim in (1, 2):
        values = targets.astype(np.float32 if targets.dtype.itemsize <= 4 else np.float64, copy=False)
        return values if values.ndim == 2 else values.reshape(-1, 1), None
    if kind in "biuU" and (targets.ndim == 1 or (targets.ndim == 2 and targets.shape[1] == 1)):
        return encode_labels(np.asarray(targets).reshape(-1))
    problem = f"{name}: got targets of dtype {targets.dtype} and shape {targets.shape}, expected "
    if kind in "biuU":
        raise ValueError(f"{problem}one label for each row; for one-hot rows, pass targets.argmax(axis=1)")
    if kind == "f":
        raise ValueError(f"{problem}(rows,) or (rows, outputs)")
    raise TypeError(f"{problem}labels (integers, booleans or strings) or quantities (floats)")
