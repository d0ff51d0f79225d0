"""CSV files: a header row, numeric features, and one named column to predict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import unknown_name
from .cells import errors_named, is_finite, read_cells, read_header, to_number
from .classes import named
from .dataset import Dataset, check_inputs, check_shapes

__all__ = ["read_csv", "read_csv_inputs"]


def read_csv(path: Path, target: str | None, source: str, *, regression: bool = False) -> Dataset:
    """Return the dataset of a CSV file, plain or gzipped; `target` names the column to predict.

    A target column of whole numbers or of text is for classification, one with other numbers for regression, as is any
    with `regression`.

    Raises
    ------
    ValueError
        The target is not named or not a column, a cell is missing or no number, a row has another number of cells, the
        header is missing, or the file cannot be decoded.
    """
    with errors_named(path):
        header = read_header(path)
        if len(header) < 2:
            raise ValueError(
                f"{path}: got the header {header[0]!r}, expected at least two columns (a feature and the target), "
                "separated by commas"
            )
        _refuse_numbers(path, header)
        column = _target_column(path, header, target)
        features = [i for i in range(len(header)) if i != column]
        return _dataset(path, header, features, column, source, regression)


def read_csv_inputs(
    path: Path, columns: Sequence[str] | None, target: str | None, source: str, *, regression: bool = False
) -> tuple[NDArray[Any], Dataset | None]:
    """Return the inputs in a CSV file, the named `columns` in that order, and their dataset if it has the target.

    Raises
    ------
    ValueError
        As :func:`read_csv`, but the target is not missed; or one of the columns is missing.
    """
    with errors_named(path):
        header = read_header(path)
        if columns is None or not set(columns).issubset(header):
            _refuse_numbers(path, header)
        column = _target_column(path, header, target) if target in header else None
        features = _places(path, header, columns, target)
        if column is not None:
            dataset = _dataset(path, header, features, column, source, regression)
            return dataset.inputs, dataset
        return check_inputs(read_cells(path, header, features, None)[0], _name(path)), None


def _dataset(
    path: Path, header: Sequence[str], features: Sequence[int], column: int, source: str, regression: bool
) -> Dataset:
    inputs, codes, texts = read_cells(path, header, features, column)
    targets, classes = _interpret_target(path, header[column], codes, texts, regression)
    names = tuple([header[i] for i in features])
    return check_shapes(Dataset(inputs, targets, classes, _name(path), source, columns=names))


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]


def _refuse_numbers(path: Path, header: Sequence[str]) -> None:
    if all(to_number(name) is not None for name in header):
        raise ValueError(f"{path}: got only numbers in the first row, expected a header row with the columns' names")


def _target_column(path: Path, header: list[str], target: str | None) -> int:
    if target is None:
        raise ValueError(f"{path}: got no target, expected the column to predict, one of {', '.join(header)}")
    if target not in header:
        raise unknown_name(f"target column of {path.name}", target, header)
    if header.count(target) > 1:
        raise ValueError(
            f"{path}: got {header.count(target)} columns named {target!r}, expected one; rename the others"
        )
    return header.index(target)


def _places(path: Path, header: Sequence[str], columns: Sequence[str] | None, target: str | None) -> list[int]:
    """Return where the features are in the header; of several columns of one name, the first is the first."""
    if columns is None:
        return [i for i, name in enumerate(header) if name != target]
    if target in columns:
        raise ValueError(f"columns: got the target {target!r} among them, expected the features alone")
    there, wanted = Counter(header), Counter(columns)
    missing = [name for name in wanted if name not in there]
    if missing:
        nearest = get_close_matches(missing[0], [name for name in there if name not in wanted], n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ValueError(
            f"{path}: found no column {named(missing)}, expected every feature of the training data; "
            f"{hint}there are {named(header)}"
        )
    unclear = [name for name in wanted if there[name] != wanted[name]]
    if unclear:
        name = unclear[0]
        raise ValueError(
            f"{path}: got {there[name]} columns named {name!r}, expected {wanted[name]} as in training; "
            "rename the others"
        )
    places = {name: iter([i for i, other in enumerate(header) if other == name]) for name in wanted}
    return [next(places[name]) for name in columns]


def _interpret_target(
    path: Path, name: str, codes: NDArray[np.int64], texts: list[str], regression: bool
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    numbers = [to_number(text) for text in texts]
    fractions = any(number is not None and math.isfinite(number) and not number.is_integer() for number in numbers)
    quantities = regression or fractions
    if None in numbers and not quantities:
        classes = sorted(texts)
        index = {label: i for i, label in enumerate(classes)}
        return np.array([index[label] for label in texts], dtype=np.int64)[codes], tuple(classes)
    for code, text in enumerate(texts):
        if not is_finite(text):
            labels = "; for labels, leave out regression (--regression)" if regression else ""
            raise ValueError(
                f"{path}: row {int(np.argmax(codes == code)) + 1} (the header not counted), column {name!r}: "
                f"got {text!r} among numbers, expected a finite number; drop the row{labels}"
            )
    if quantities:
        return np.array(numbers, dtype=np.float64)[codes].reshape(-1, 1), None
    whole = [_whole(text) for text in texts]
    values = sorted(set(whole))
    place = {value: i for i, value in enumerate(values)}
    return np.array([place[value] for value in whole], dtype=np.int64)[codes], tuple([str(value) for value in values])


def _whole(text: str) -> int:
    """Return a whole number, so that 3, 3.0 and 03 are one class."""
    try:
        return int(text)
    except ValueError:
        return int(float(text))
