"""The cells of a CSV file: its header, its rows as numbers, and which cell is wrong.

Every file is opened by :func:`_open`, whose errors name the file.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np
from numpy.typing import NDArray

from .._errors import short
from .parts import gzip_errors

__all__ = ["read_cells", "read_header", "to_number"]

_ENCODING = "utf-8-sig"  # spreadsheets write a byte order mark

_LONGEST_ROW = 1 << 22
"""Characters of a row: a file without line ends, or whose quote is never closed, would be held in memory as a whole."""

_MOST_COLUMNS = 100_000


def read_header(path: Path) -> list[str]:
    """Return the names in the first row, stripped of white space.

    Raises
    ------
    ValueError
        There is no first row, or nothing after it.
    """
    with _open(path) as file:
        lines = _lines(file, path)
        names = [name.strip() for name in _first_row(lines, path)]
        if len(names) > _MOST_COLUMNS:
            raise ValueError(
                f"{path}: got {len(names):,} columns, expected at most {_MOST_COLUMNS:,}; use an .npy file"
            )
        if any(_is_broken(name) for name in names):
            _check_quotes(path)
        if not any(names):
            raise ValueError(f"{path}: got an empty first row, expected a header row with the columns' names")
        if not any(line.strip() for line in lines):
            raise ValueError(f"{path}: got a header and no rows, expected data")
    return names


def read_cells(
    path: Path, header: Sequence[str], features: Sequence[int], target: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    """Return the features as numbers, the target of each row as an index into the distinct texts, and those texts.

    Columns that are neither a feature nor the target may hold anything.

    Raises
    ------
    ValueError
        A feature is not a finite number, a cell is missing, a row is too long or too short, or a quote is not closed.
    """
    codes: dict[str, int] = {}
    broken: list[str] = []  # cells of several lines

    def encode(text: str) -> float:
        return codes.setdefault(text.strip(), len(codes))

    def skip(text: str) -> float:
        if _is_broken(text):
            broken.append(text)
        return 0.0

    # Cells to be skipped are parsed too, so that a row of another length is noticed.
    converters: dict[int | str, Callable[[str], Any]] = dict.fromkeys(set(range(len(header))) - set(features), skip)
    if target is not None:
        converters[target] = encode
    with _open(path) as file:
        lines = _lines(file, path)
        _first_row(lines, path)
        try:
            cells = np.loadtxt(lines, delimiter=",", quotechar='"', comments=None, ndmin=2, converters=converters)
        except (UnicodeDecodeError, _TooLongError):
            raise
        except ValueError as error:
            _raise_for_bad_cell(path, header, features, target, error)
    if cells.shape[1] != len(header) or "" in codes or not np.isfinite(cells).all():
        _raise_for_bad_cell(path, header, features, target, None)
    if broken or any(_is_broken(text) for text in codes):
        _check_quotes(path)
    indices = np.zeros(len(cells), np.int64) if target is None else cells[:, target].astype(np.int64)
    return np.take(cells, features, axis=1), indices, list(codes)


def to_number(text: str) -> float | None:
    """Return the number in a cell, which may be NaN or infinite, or None for text, such as Python's ``1_000``."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """Open the text, and turn the errors of unzipping and decoding it into a ValueError that names the file."""
    try:
        with (
            gzip_errors(path),
            (
                gzip.open(path, "rt", encoding=_ENCODING, newline="")
                if path.name.lower().endswith(".gz")
                else path.open(encoding=_ENCODING, newline="")
            ) as file,
        ):
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: got bytes that are not UTF-8 text ({error}); save it as UTF-8") from error


class _TooLongError(ValueError):
    """A row is longer than any row of a table."""


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield the lines, as long as no row exceeds what is held in memory; quotes may stretch one over several lines."""
    length, is_quoted = 0, False
    readline = file.readline
    while line := readline(_LONGEST_ROW + 1):
        if is_quoted or '"' in line:  # seldom: most lines cost a search and a comparison
            is_quoted = _ends_quoted(line, is_quoted)
            length = length + len(line) if is_quoted else 0
        if len(line) > _LONGEST_ROW or length > _LONGEST_ROW:
            raise _TooLongError(
                f"{path}: got a row of more than {_LONGEST_ROW:,} characters, expected the row of a table; "
                "is a quote not closed, or are there no line ends?"
            )
        yield line


_QUOTED = re.compile('[^"]*(?:""[^"]*)*')
"""What may follow an opening quote, up to the closing one."""


def _ends_quoted(line: str, is_quoted: bool) -> bool:
    """Return whether a line ends within a quoted cell; a quote counts as one where a cell begins only."""
    place = 0
    while True:
        if not is_quoted and line.startswith('"', place):
            place, is_quoted = place + 1, True
        if is_quoted:
            place = _QUOTED.match(line, place).end()  # type: ignore[union-attr]
            if place >= len(line):
                return True
        comma = line.find(",", place)
        if comma < 0:
            return False
        place, is_quoted = comma + 1, False


def _first_row(lines: Iterator[str], path: Path, *, strict: bool = False) -> list[str]:
    try:
        return next(csv.reader(lines, strict=strict), [])
    except csv.Error as error:
        raise ValueError(f"{path}: got a header that is not CSV ({error}); is a quote not closed?") from error


def _rows(path: Path, *, strict: bool = False) -> Iterator[tuple[str, list[str]]]:
    """Yield (the place of the row for messages, its cells), slowly."""
    row = 0
    with _open(path) as file:
        lines = _lines(file, path)
        _first_row(lines, path, strict=strict)
        try:
            for row, cells in enumerate(filter(None, csv.reader(lines, strict=strict)), start=1):
                yield _place(path, row), cells
        except csv.Error as error:
            raise ValueError(
                f"{_place(path, row + 1)}: got text that is not CSV ({error}); is a quote not closed?"
            ) from error


def _place(path: Path, row: int) -> str:
    return f"{path}: row {row} (the header not counted)"


def _is_broken(text: str) -> bool:
    return "\n" in text or "\r" in text


def _check_quotes(path: Path) -> None:
    """Raise if a quote is not closed, so that the lines up to the next quote were taken for one cell."""
    for _ in _rows(path, strict=True):
        pass


def _raise_for_bad_cell(
    path: Path, header: Sequence[str], features: Sequence[int], target: int | None, cause: ValueError | None
) -> NoReturn:
    """Read the file again, and say which cell is wrong."""
    numeric = set(features)
    for where, cells in _rows(path):
        problem = _problem(cells, header, numeric, target)
        if problem:
            if any(_is_broken(text) for text in cells):
                _check_quotes(path)
            raise ValueError(f"{where}{problem}") from cause
    raise ValueError(f"{path}: got a file that cannot be read as a table ({cause})") from cause


def _problem(cells: Sequence[str], header: Sequence[str], numeric: set[int], target: int | None) -> str:
    """Return what is wrong with a row, or an empty text."""
    if len(cells) != len(header):
        return f": got {len(cells)} cells, expected {len(header)} as in the header"
    for i, text in enumerate(cells):
        if not text.strip() and (i in numeric or i == target):
            wanted = "a label or a number" if i == target else "a number"
            return f", column {short(header[i])}: the value is missing, expected {wanted}; fill it in or drop the row"
        number = to_number(text) if i in numeric else 0.0
        if number is None or not math.isfinite(number):
            return (
                f", column {short(header[i])}: got {short(text)}, expected a finite number; encode text as numbers, "
                "or drop the column"
            )
    return ""
