"""Checks of data: real, finite numbers of the right shape. Data is only read, hence converted where necessary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_real", "check_finite", "check_inputs", "check_same_length", "convert"]


def as_real(name: str, values: object) -> NDArray[Any]:
    """Return `values` as an array of booleans, integers or floats.

    Raises
    ------
    TypeError
        They are something else, such as strings or objects.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name}: got {type(values).__name__} of dtype {array.dtype}, expected real numbers; "
            "encode or convert it first, for example with .astype('float32')"
        )
    return array


def convert(name: str, array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `array` in `dtype`, without a copy if it has that dtype; raise ValueError for NaN and Inf."""
    with np.errstate(over="ignore"):
        converted = array.astype(dtype, copy=False)
    check_finite(name, converted)
    return converted


def check_finite(name: str, array: NDArray[Any]) -> None:
    """Raise ValueError with the count and the first position of NaN and Inf, if there are any."""
    # A finite sum proves that all are finite, without an array of flags; only a sum that is not needs a second look.
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(np.sum(array, dtype=np.float64)):
            return
    wrong = ~np.isfinite(array)
    count = int(np.count_nonzero(wrong))
    if count:
        place = np.unravel_index(int(wrong.argmax()), array.shape)
        raise ValueError(
            f"{name}: got {count:,} of {array.size:,} values that are NaN or Inf in {array.dtype}, the first "
            f"({array[place]}) at {_words(place)}; expected finite numbers, so fill or drop them"
        )


def check_inputs(x: object, n_inputs: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return `x` as a (rows, n_inputs) array of `dtype`.

    Raises
    ------
    TypeError
        It does not contain real numbers.
    ValueError
        It has another shape, no rows, or contains NaN or Inf.
    """
    array = as_real("x", x)
    if array.ndim != 2 or array.shape[1] != n_inputs:
        hint = "; for one sample pass x.reshape(1, -1)" if array.shape == (n_inputs,) else ""
        raise ValueError(f"x: got shape {array.shape}, expected (rows, {n_inputs}){hint}")
    if not len(array):
        raise ValueError(f"x: got no rows, expected at least one row of {n_inputs} numbers")
    return convert("x", array, dtype)


def check_same_length(x: NDArray[Any], y: NDArray[Any]) -> None:
    """Raise ValueError when the inputs and the targets differ in their number of rows."""
    if len(x) != len(y):
        raise ValueError(f"y: got {len(y)} rows, expected {len(x)}, one for each row of x")


def _words(place: tuple[Any, ...]) -> str:
    return ", ".join(f"{axis} {int(index)}" for axis, index in zip(("row", "column"), place, strict=False))
