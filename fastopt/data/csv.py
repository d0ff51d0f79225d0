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

from .._errors import quoted, short, unknown_name
from .classes import encode_labels
from .csv_cells import read_cells, read_header, to_number
from .dataset import Dataset, check_inputs, check_shapes
from .parts import Options, Part

__all__ = ["csv_parts"]


def csv_parts(path: Path, options: Options) -> list[Part]:
    """Return the rows of a file, plain or gzipped, with targets if it has the target column.

    A target column of whole numbers or of text is for classification, one with other numbers for regression, as is any
    with ``options.regression``.

    Raises
    ------
    ValueError
        The header is missing, lacks one of ``options.columns``, or has a name too often; or the file cannot be decoded.
    """
    header, columns, target = read_header(path), options.columns, options.target
    known = columns is not None and set(columns).issubset(header)
    if not known and all(to_number(name) is not None for name in header):
        raise ValueError(f"{path}: got only numbers in the first row, expected a header row with the columns' names")
    if target is not None and header.count(target) > 1:
        raise ValueError(
            f"{path}: got {header.count(target)} columns named {short(target)}, expected one; rename the others"
        )
    features = _features(path, header, columns, target)

    def read() -> tuple[NDArray[Any], Dataset | None]:
        name = path.name.removesuffix(".gz").rpartition(".")[0]
        column = header.index(target) if target in header else None
        inputs, codes, texts = read_cells(path, header, features, column)
        if column is None:
            return check_inputs(inputs, name), None
        targets, classes = _interpret_target(path, header[column], codes, texts, options.regression)
        names = tuple([header[i] for i in features])
        return inputs, check_shapes(Dataset(inputs, targets, classes, name, options.source, columns=names))

    return [Part(read, _training_error(path, header, target))]


def _training_error(path: Path, header: Sequence[str], target: str | None) -> ValueError | None:
    if len(header) < 2:
        return ValueError(
            f"{path}: got the header {short(header[0])}, expected at least two columns (a feature and the target), "
            "separated by commas"
        )
    if target is None:
        return ValueError(f"{path}: got no target, expected the column to predict, one of {quoted(header)}")
    return None if target in header else unknown_name(f"target column of {path.name}", target, header)


def _features(path: Path, header: Sequence[str], columns: Sequence[str] | None, target: str | None) -> list[int]:
    """Return the positions of the features in the header; columns of the same name keep their order."""
    if columns is None:
        return [i for i, name in enumerate(header) if name != target]
    if target in columns:
        raise ValueError(f"columns: got the target {target!r} among them, expected only features")
    present, wanted = Counter(header), Counter(columns)
    missing = [name for name in wanted if name not in present]
    if missing:
        nearest = get_close_matches(missing[0], [name for name in present if name not in wanted], n=1)
        hint = f"did you mean {short(nearest[0])}? " if nearest else ""
        raise ValueError(
            f"{path}: found no column {quoted(missing)}, expected every feature of the training data; "
            f"{hint}there are {quoted(header)}"
        )
    name = next((name for name in wanted if present[name] != wanted[name]), None)
    if name is not None:
        raise ValueError(
            f"{path}: got {present[name]} columns named {short(name)}, expected {wanted[name]} as in training; "
            "rename the others"
        )
    positions = {name: iter([i for i, other in enumerate(header) if other == name]) for name in wanted}
    return [next(positions[name]) for name in columns]


def _interpret_target(
    path: Path, name: str, codes: NDArray[np.int64], texts: Sequence[str], regression: bool
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Return (class indices, labels), or (quantities, None); row i of the column is ``texts[codes[i]]``."""
    numbers = [to_number(text) for text in texts]
    bad = [number is None or not math.isfinite(number) for number in numbers]
    fractions = any(number is not None and number % 1 > 0 for number in numbers)
    labels: list[Any] = list(texts)
    if regression or fractions or None not in numbers:
        if True in bad:
            code, hint = bad.index(True), "; for labels, leave out regression (--regression)" * regression
            raise ValueError(
                f"{path}: row {int(np.argmax(codes == code)) + 1} (the header not counted), column {short(name)}: "
                f"got {short(texts[code])} among numbers, expected a finite number; drop the row{hint}"
            )
        if regression or fractions:
            return np.array(numbers, np.float64)[codes].reshape(-1, 1), None
        labels = [_whole(text) for text in texts]
    indices, classes = encode_labels(np.array(labels, dtype=object))  # whole numbers may be too large for int64
    return indices[codes], classes


def _whole(text: str) -> int:
    """Return a whole number, so that 3, 3.0 and 03 are one class."""
    try:
        return int(text)
    except ValueError:
        return int(float(text))
