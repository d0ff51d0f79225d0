"""The built-in data: 1,797 handwritten digits of 8 × 8 pixels. ``DIGITS.md`` has their source and licence."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from .arrays import from_arrays
from .dataset import Dataset

__all__ = ["digits"]


def digits(*, regression: bool = False) -> Dataset:
    """Return the built-in handwritten digits: 1,797 rows of 64 pixels from 0 to 16, ten classes.

    With `regression` the digits are quantities, not classes.

    Examples
    --------
    >>> data = digits()
    >>> len(data), data.features, len(data.classes)
    (1797, 64, 10)
    """
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return from_arrays(
            archive["inputs"], archive["targets"], regression=regression, name="digits", source="built in"
        )
