"""Class labels and their indices. Labels are kept as text, so that files of different formats can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import quoted
from .dataset import Dataset

__all__ = ["align_classes", "check_classes", "encode_labels"]


def encode_labels(labels: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class index of each label, and the sorted labels as text.

    Examples
    --------
    >>> encode_labels(np.array([10, 9, 10]))
    (array([1, 0, 1]), ('9', '10'))
    """
    found, indices = np.unique(labels, return_inverse=True)
    return indices.reshape(-1).astype(np.int64, copy=False), tuple([str(label) for label in found])


def align_classes(dataset: Dataset, classes: Sequence[str] | None) -> Dataset:
    """Return `dataset` with its targets renumbered as indices into `classes`; None stands for regression.

    Raises
    ------
    ValueError
        It has a label that is not among the classes, or one is for classification and the other for regression.

    Examples
    --------
    >>> data = Dataset(np.zeros((2, 1)), np.array([0, 1]), ("cat", "dog"), "pets", "built in")
    >>> align_classes(data, ("bird", "cat", "dog")).targets
    array([1, 2])
    """
    if dataset.classes is None or classes is None:
        if dataset.classes is None and classes is None:
            return dataset
        kinds = ("classification", "regression") if classes is None else ("regression", "classification")
        raise ValueError(f"{dataset.name}: got targets for {kinds[0]}, expected targets for {kinds[1]} as in training")
    index = {label: i for i, label in enumerate(classes)}
    present = np.unique(dataset.targets)
    unseen = [dataset.classes[i] for i in present if dataset.classes[i] not in index]
    if unseen:
        raise ValueError(
            f"{dataset.name}: got the label{'s' * (len(unseen) > 1)} {quoted(unseen)}, expected only labels seen in "
            f"training: {quoted(classes)}; remove those rows, or train on data that has them"
        )
    table = np.array([index.get(label, -1) for label in dataset.classes], dtype=np.int64)
    return replace(dataset, targets=table[dataset.targets], classes=tuple(classes))


def check_classes(train: Dataset, test: Dataset | None = None) -> None:
    """Raise unless the training part has a row of each of its classes, and the test part has no other classes.

    Raises
    ------
    ValueError
        A class has no training row; or one part is for classification and the other for regression.
    """
    if test is not None:
        test = align_classes(test, train.classes)
    if train.classes is None:
        return
    counts = np.bincount(train.targets, minlength=len(train.classes))
    missing = [label for label, count in zip(train.classes, counts, strict=True) if not count]
    if missing:
        raise ValueError(
            f"{train.name}: got no training row of class {quoted(missing)}, expected at least one of each class; "
            "add rows, or remove the class"
        )
