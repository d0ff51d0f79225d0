"""Standardisation: each feature shifted and scaled to mean 0 and standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset

__all__ = ["Standardiser"]


@dataclass(frozen=True, eq=False)
class Standardiser:
    """x ← (x − mean) / scale, feature by feature.

    Fit it on the training part only: statistics of the test part must not reach the model.

    Parameters
    ----------
    mean, scale
        float64 arrays of shape (features,).

    Examples
    --------
    >>> data = Dataset(np.array([[1, 5], [3, 5]]), np.array([0, 1]), ("a", "b"), "tiny", "built in")
    >>> Standardiser.fit(data).apply(np.array([[1.0, 5.0], [5.0, 6.0]]))
    array([[-1.,  0.],
           [ 3.,  1.]])
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, dataset: Dataset) -> Standardiser:
        """Return the mean and the (population) standard deviation of each feature; a constant feature has scale 1.

        Reads the inputs once, a block of rows at a time, in float64. Blocks are merged as in Chan, Golub and LeVeque,
        1983, which does not cancel when the mean is large compared to the deviation.

        Raises
        ------
        ValueError
            There are no rows, or a feature has values that are not finite or spread too far for float64.
        """
        if not len(dataset):
            raise ValueError(f"{dataset.name}: got no rows, expected at least one to standardise by")
        count = 0
        mean, squares = np.zeros(dataset.features), np.zeros(dataset.features)
        low, high = np.full(dataset.features, np.inf), np.full(dataset.features, -np.inf)
        with np.errstate(over="ignore", invalid="ignore"):
            for _, block in dataset.blocks():
                values = block.astype(np.float64)
                np.minimum(low, values.min(axis=0), out=low)
                np.maximum(high, values.max(axis=0), out=high)
                height, centre = len(values), values.mean(axis=0)
                values -= centre
                delta = centre - mean
                squares += np.square(values, out=values).sum(axis=0)
                squares += delta * delta * (count * height / (count + height))
                mean += delta * (height / (count + height))
                count += height
        # Compared exactly: the mean of equal values may differ from them by a rounding, and leave a tiny deviation.
        constant = low == high
        scale = np.sqrt(squares / count)
        mean[constant], scale[constant] = low[constant], 1.0
        scale[scale == 0.0] = 1.0
        _check_usable(dataset.name, mean, scale)
        return cls(mean, scale)

    def apply(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Return a standardised copy, of the same dtype, of a float array of shape (rows, features).

        The arithmetic is in float64: in float32, subtracting a mean that is large compared to the deviation would
        cancel all digits. Pass float64 values for the same reason.

        Raises
        ------
        TypeError
            The batch is not an array of floats.
        ValueError
            It has another number of features.
        """
        if batch.dtype.kind != "f":
            raise TypeError(f"batch: got dtype {batch.dtype}, expected floats such as float64")
        if batch.ndim != 2 or batch.shape[1] != len(self.mean):
            raise ValueError(f"batch: got shape {batch.shape}, expected (rows, {len(self.mean)})")
        standardised: NDArray[Any] = np.subtract(batch, self.mean, dtype=np.float64)
        standardised /= self.scale
        return standardised.astype(batch.dtype, copy=False)


def _check_usable(name: str, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
    bad = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(scale)))
    if bad.size:
        raise ValueError(
            f"{name}: got mean {mean[bad[0]]} and deviation {scale[bad[0]]} for feature {bad[0]} (counted from 0), "
            "expected finite numbers; look for NaN, infinite or huge values there"
        )
