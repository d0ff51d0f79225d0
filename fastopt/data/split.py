"""A training and a test part, the same on every machine for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .shuffle import permutation

__all__ = ["split"]

_STREAM = (1 << 64) - 1  # far from the epochs, which count from 0


def split(dataset: Dataset, test_fraction: float = 0.2, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return (training part, test part), each in the order of the dataset.

    For classification each class is divided in the same proportion, and has at least one row in each part. The test
    part has round(n · test_fraction) rows, unless that leaves a class without a row in one part.

    Parameters
    ----------
    dataset
        The data to divide; it is not changed.
    test_fraction
        Fraction of the rows that go to the test part, between 0 and 1.
    seed
        Seed of the random choice of rows.

    Raises
    ------
    ValueError
        The fraction is not between 0 and 1, there are fewer than two rows, or a class has fewer than two.

    Examples
    --------
    >>> from .digits import digits
    >>> train, test = split(digits(), 0.2, seed=1)
    >>> len(train), len(test)
    (1438, 359)
    """
    if not 0.0 < test_fraction < 1.0:
        raise ValueError(f"test_fraction: got {test_fraction}, expected a number between 0 and 1, such as 0.2")
    if len(dataset) < 2:
        raise ValueError(f"{dataset.name}: got {len(dataset)} rows, expected at least 2 to split")
    order = permutation(len(dataset), seed=seed, stream=_STREAM)
    groups = [order] if dataset.classes is None else _by_class(dataset, order)
    sizes = _share(np.array([len(group) for group in groups]), test_fraction)
    is_test = np.zeros(len(dataset), dtype=bool)
    for group, size in zip(groups, sizes, strict=True):
        is_test[group[:size]] = True
    return dataset.take(np.flatnonzero(~is_test)), dataset.take(np.flatnonzero(is_test))


def _by_class(dataset: Dataset, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the positions of each class, in the given order."""
    classes = dataset.classes or ()
    counts = np.bincount(dataset.targets, minlength=len(classes))
    few = [f"{label!r} ({count})" for label, count in zip(classes, counts, strict=True) if count < 2]
    if few:
        raise ValueError(
            f"{dataset.name}: got too few rows of class {', '.join(few)}, expected at least 2 of each class, one for "
            "each part; add rows, or remove the class; if the targets are quantities, not classes, load them with "
            "regression=True (--regression)"
        )
    grouped = order[np.argsort(dataset.targets[order], kind="stable")]
    return np.split(grouped, np.cumsum(counts)[:-1])


def _share(counts: NDArray[Any], fraction: float) -> NDArray[np.int64]:
    """Return the number of test rows of each group: by largest remainders, at least one row in each part."""
    exact = counts * fraction
    sizes = np.clip(np.floor(exact), 1, counts - 1).astype(np.int64)
    missing = round(int(counts.sum()) * fraction) - int(sizes.sum())
    step = 1 if missing > 0 else -1
    for _ in range(abs(missing)):
        room = sizes < counts - 1 if step > 0 else sizes > 1
        if not room.any():
            break
        sizes[np.argmax(np.where(room, step * (exact - sizes), -np.inf))] += step
    return sizes
